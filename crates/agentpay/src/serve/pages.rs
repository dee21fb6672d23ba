//! Which pages the kernel gives the process memory in.
//!
//! A huge page comes as 2 MiB of zeros, in one piece, to the payment whose allocation is the first in it. Where a
//! hypervisor has to find that memory first this takes milliseconds. So what a start builds, before anybody pays, is
//! in huge pages, and what payments add to it in small ones.

/// Small pages from now on; those that are huge stay so.
pub(super) fn small_from_now_on() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::warn!(%error, "the kernel goes on giving huge pages: payments may wait for one now and then");
    }
}
