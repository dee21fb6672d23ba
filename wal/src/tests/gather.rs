//! What ends the log thread's wait for company, besides time: each test would wait an hour without it.

use super::{Driven, small};
use crate::testing::MemoryStorage;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const FOR_EVER: Duration = Duration::from_secs(3600);

fn started() -> Driven {
    let mut log = Driven::start(Arc::new(MemoryStorage::default()), small(1)).expect("an empty log starts");
    log.allocate();
    log
}

/// The log thread gathers on a thread of its own while `act` runs, and must come to an end.
fn gathers_until(log: &mut Driven, act: impl FnOnce(&mut Driven)) {
    let shared = log.shared();
    let log_thread = thread::spawn(move || shared.gather(FOR_EVER));
    while !log.shared().log_sleeps() {
        thread::yield_now();
    }
    act(log);
    log_thread.join().expect("gathering does not panic");
}

#[test]
fn enough_companions_end_the_wait_whoever_they_come_with() {
    let mut log = started();
    log.shared().gather_to(3);
    gathers_until(&mut log, |log| {
        log.append(vec![1]).expect("there is room");
        log.attach().expect("the log runs");
        assert!(log.shared().log_sleeps(), "two are not three");
        log.append(vec![2]).expect("there is room");
    });
    // They wait already when the next wait would begin.
    log.shared().gather(FOR_EVER);
    log.rest();
}

#[test]
fn a_full_batch_ends_the_wait() {
    let mut log = started();
    gathers_until(&mut log, |log| {
        log.append(vec![7; 700]).expect("there is room");
        assert!(log.shared().log_sleeps(), "the batch takes more");
        log.append(vec![7; 700]).expect("a batch of its own");
    });
    log.rest();
}

#[test]
fn the_end_of_the_log_and_a_failed_allocation_end_the_wait() {
    let mut log = started();
    gathers_until(&mut log, |log| {
        log.append(vec![1]).expect("there is room");
        log.shared().close();
    });
    let mut log = started();
    gathers_until(&mut log, |log| {
        log.append(vec![1]).expect("there is room");
        let source = std::io::Error::other("planted");
        log.shared().fail(crate::Error::Write { segment: 1, offset: 0, source });
    });
}
