//! Priority of the threads that work for the index: they take what payments leave.

/// Lowers the priority of the calling thread, and of the threads that it starts from now on. On Linux niceness belongs to
/// a thread although POSIX gives it to the process.
pub(crate) fn lower(niceness: i32) {
    if let Err(error) = rustix::process::setpriority_process(None, niceness) {
        // Slower payments while the index catches up are no reason to have no index.
        tracing::warn!(%error, niceness, "the history index runs at normal priority");
    }
}
