//! Priority at the processor.

/// Lowers the priority of the calling thread for good, and that of the threads it starts from now on. Niceness decides who
/// gets how much, not who waits: who computes for long yields in between.
pub fn lower_priority(niceness: i32) {
    // On Linux niceness belongs to a thread although POSIX gives it to the process.
    if let Err(error) = rustix::process::setpriority_process(None, niceness) {
        // Slower payments meanwhile are no reason to leave the work undone.
        tracing::warn!(%error, niceness, thread = std::thread::current().name(), "this thread works at normal priority");
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn a_thread_lowers_its_own_priority_and_that_of_its_children() {
        let own = || getpriority_process(None).expect("a thread may know its priority");
        let before = own();
        let both = thread::spawn(move || {
            lower_priority(before + 2);
            (own(), thread::spawn(own).join().expect("it ends"))
        });
        assert_eq!(both.join().expect("it ends"), (before + 2, before + 2));
        assert_eq!(own(), before);
    }
}
