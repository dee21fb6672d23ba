//! Threads that work beside payments: for these a payment never waits long.

use std::{
    io,
    thread::{Builder, JoinHandle},
};

/// Starts a thread of lower priority.
pub(crate) fn start<T: Send + 'static>(
    name: &'static str,
    niceness: i32,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        // On Linux niceness belongs to a thread although POSIX gives it to the process.
        if let Err(error) = rustix::process::setpriority_process(None, niceness) {
            tracing::warn!(%error, niceness, name, "this thread works at normal priority");
        }
        work()
    })
}
