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
        spread::lower_priority(niceness);
        work()
    })
}
