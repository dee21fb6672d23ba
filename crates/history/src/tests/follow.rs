//! The follower's thread: keeping up, being waited for, stopping, and ending with the log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::lists::check_queries;
use super::model::Generator;
use super::*;
use crate::run;

/// Longer than any machine takes; a test that waits this long has failed.
const FOREVER: Duration = Duration::from_secs(120);

#[test]
fn a_list_after_an_acknowledgement_has_it() {
    let (directory, mut log) = (directory(), TestLog::new());
    let mut generator = Generator::new(1, 6);
    let history = Arc::new(open(directory.path(), &log, tight()));
    let stop = Arc::new(AtomicBool::new(false));
    let follower = thread::spawn({
        let (history, stop, tail) =
            (Arc::clone(&history), Arc::clone(&stop), log.reader().tail(history.cursor()));
        move || run(history, tail, &stop)
    });
    for round in 0..50 {
        generator.append(&mut log, 1 + round % 7);
        let (records, next) = log.read(history.cursor(), usize::MAX);
        let last = records.last().map_or(next, |(lsn, _)| *lsn);
        if !records.is_empty() {
            assert!(history.wait_for(last, FOREVER), "the follower comes by");
            assert!(history.cursor() > last);
        }
        check_queries(&history, &mut generator, 3);
    }
    assert!(!history.wait_for(log.wal.appended_lsn(), Duration::ZERO), "what does not exist never comes");
    stop.store(true, Ordering::Relaxed);
    follower.join().expect("it does not panic").expect("it stops");
    let stat = history.stat();
    assert_eq!((stat.sealed, stat.recent_entries), (stat.next, 0), "what was in memory was written out");
    drop(history);

    let history = open(directory.path(), &log, tight());
    assert_eq!(history.cursor(), stat.next);
    check_queries(&history, &mut generator, 30);
}

#[test]
fn a_long_log_is_caught_up_with_in_parts_and_the_end_of_the_log_is_the_end() {
    let (directory, mut log) = (directory(), TestLog::new());
    let mut generator = Generator::new(2, 6);
    generator.append(&mut log, 5_000);
    log.wal.close().expect("it closes");
    let history = Arc::new(open(directory.path(), &log, tight()));
    let tail = log.reader().tail(history.cursor());
    // Without a stop: it ends because the log does.
    run(Arc::clone(&history), tail, &AtomicBool::new(false)).expect("it ends");
    let stat = history.stat();
    assert_eq!((stat.records, stat.entries), (5_000, generator.model.count(history.cursor()) as u64));
    assert_eq!((stat.sealed, stat.recent_entries), (stat.next, 0));
    assert!(stat.disk_bytes > 0);
    check_queries(&history, &mut generator, 50);
}

#[test]
fn readers_meet_whole_batches_while_parts_are_written_out() {
    let (directory, mut log) = (directory(), TestLog::new());
    let mut generator = Generator::new(3, 3);
    generator.append(&mut log, 4_000);
    let history = Arc::new(open(directory.path(), &log, tight()));
    let follower = thread::spawn({
        let (history, log) = (Arc::clone(&history), log);
        move || {
            while !log.read(history.cursor(), 1).0.is_empty() {
                feed(&history, &log, 37);
                history.seal().expect("it is sealed");
            }
        }
    });
    // Every page is a consistent moment: the running balances join without a gap, newest first.
    while !follower.is_finished() {
        for wallet in &generator.wallets {
            let entries =
                history.entries(*wallet, None, crate::TimeRange::default(), 400).expect("it is read").items;
            for pair in entries.windows(2) {
                assert_eq!(pair[0].balance_after, pair[1].balance_after.plus(pair[0].delta));
            }
        }
    }
    follower.join().expect("it does not panic");
    check_queries(&history, &mut generator, 50);
}
