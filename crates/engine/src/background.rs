//! Threads that work beside payments: for these a payment never waits long.

use std::thread::{Builder, JoinHandle};

/// Starts a thread of lower priority.
pub(crate) fn start(
    name: &'static str,
    niceness: i32,
    work: impl FnOnce() + Send + 'static,
) -> JoinHandle<()> {
    let thread = Builder::new().name(name.to_owned()).spawn(move || {
        // On Linux niceness belongs to a thread although POSIX gives it to the process.
        if let Err(error) = rustix::process::setpriority_process(None, niceness) {
            tracing::warn!(%error, niceness, name, "this thread works at normal priority");
        }
        work();
    });
    thread.expect("a thread can be started")
}
