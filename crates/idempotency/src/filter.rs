//! A blocked Bloom filter: one cache line per key, seven bits in it. It may say "perhaps" of a key that is not there (about
//! one in a thousand), and never "no" of one that is.
//!
//! Lines lie in pages of the run, 63 to a page with the checksum behind them, so that a filter that is not held in memory
//! costs one checked page per question.

use crate::entry::mix;
use crate::page::{PAGE_BYTES, Page};

const LINE_BYTES: usize = 64;
pub(crate) const LINES_PER_PAGE: u64 = 63;
const BITS_PER_KEY: u64 = 16;
const BITS_SET: u32 = 7;
const BITS_PER_LINE: u64 = 512;

/// Pages of the filter of a run of `keys` keys.
pub(crate) fn pages_for(keys: u64) -> u64 {
    (keys * BITS_PER_KEY).div_ceil(BITS_PER_LINE).div_ceil(LINES_PER_PAGE)
}

/// Where the bits of a digest are: the page, and the line in it.
pub(crate) fn place(digest: u64, pages: u64) -> (u64, usize) {
    let lines = pages * LINES_PER_PAGE;
    let line = u64::try_from((u128::from(mix(!digest)) * u128::from(lines)) >> 64).expect("below `lines`");
    (line / LINES_PER_PAGE, usize::try_from(line % LINES_PER_PAGE).expect("below 63") * LINE_BYTES)
}

/// Sets the bits of a digest in the pages of a filter.
pub(crate) fn insert(pages: &mut [Page], digest: u64) {
    let (page, start) = place(digest, pages.len() as u64);
    let page = &mut pages[usize::try_from(page).expect("a page of this slice")];
    for bit in bits(digest) {
        page[start + bit / 8] |= 1 << (bit % 8);
    }
}

/// Whether the line that begins at `start` of `page` has all bits of a digest.
pub(crate) fn holds(page: &[u8], start: usize, digest: u64) -> bool {
    assert!(page.len() == PAGE_BYTES && start + LINE_BYTES < PAGE_BYTES, "a line lies in its page");
    bits(digest).all(|bit| page[start + bit / 8] & (1 << (bit % 8)) != 0)
}

fn bits(digest: u64) -> impl Iterator<Item = usize> {
    let spread = mix(digest ^ 0x5851_f42d_4c95_7f2d);
    (0..BITS_SET).map(move |index| usize::try_from((spread >> (9 * index)) & 511).expect("nine bits"))
}
