//! The log with its threads, on disks in memory that fail when told to.

// Under the model checker's feature there are no real threads.
#![cfg(not(feature = "shuttle"))]

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use wal::testing::{Fault, FaultyStorage, Loss, MemoryStorage, On};
use wal::{Admission, Error, Event, Log, Lsn, Options, ReadError, Refused, Storage, Wal, verify};

const PATIENCE: Duration = Duration::from_secs(60);

fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        record_bytes_max: 4 << 10,
        allocation_retry: Duration::from_millis(1),
        ..Options::default()
    }
}

fn start(storage: Arc<dyn Storage>, options: Options) -> (Wal<u64>, Receiver<Event<u64>>) {
    let (sender, receiver) = channel();
    let log = Log::open(storage, options).expect("the log opens");
    let wal = log.start(move |event| drop(sender.send(event))).expect("the log starts");
    (wal, receiver)
}

/// Waits for something that another thread will bring about.
fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let tries = 60_000;
    for _ in 0..tries {
        if reached() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{what} did not happen");
}

#[test]
fn many_appenders_get_their_companions_back_once_and_durable() {
    const THREADS: u64 = 4;
    const EACH: u64 = 3_000;
    let storage = FaultyStorage::new();
    let (wal, events) = start(Arc::new(storage.clone()), Options { segment_bytes: 1 << 20, ..options() });
    let appenders: Vec<_> = (0..THREADS)
        .map(|thread| {
            let wal = wal.clone();
            std::thread::spawn(move || {
                for number in thread * EACH..(thread + 1) * EACH {
                    until("room", || match wal.append_with(&number.to_le_bytes(), |_| number) {
                        Ok(_) => true,
                        Err(Refused::Full) => false,
                        Err(refused) => panic!("{refused}"),
                    });
                    assert!(wal.durable_lsn() <= wal.appended_lsn());
                }
            })
        })
        .collect();
    let mut companions = Vec::new();
    let mut last = Lsn::ZERO;
    while companions.len() < usize::try_from(THREADS * EACH).expect("small") {
        match events.recv_timeout(PATIENCE).expect("the log thread goes on") {
            Event::Committed(batch) => {
                let numbers: Vec<u64> = batch
                    .records()
                    .map(|(lsn, payload)| {
                        assert!(last < lsn && lsn < batch.end());
                        last = lsn;
                        u64::from_le_bytes(payload.try_into().expect("eight bytes"))
                    })
                    .collect();
                assert_eq!(numbers, batch.companions);
                assert_eq!(batch.stats().records as usize, numbers.len());
                companions.extend(numbers);
            }
            Event::Poisoned { error, .. } => panic!("{error}"),
        }
    }
    appenders.into_iter().for_each(|appender| appender.join().expect("the appender ends"));
    companions.sort_unstable();
    assert!(companions.into_iter().eq(0..THREADS * EACH));
    wal.close().expect("a clean end");
    assert_eq!(wal.append_with(b"late", |_| 0), Err(Refused::Closed));
    assert!(matches!(wal.attach(7), Err((Refused::Closed, 7))));
    let report = verify(Arc::new(storage.crash_image(Loss::Dropped)), options()).expect("readable");
    assert_eq!((report.records, report.corruption.is_none()), (THREADS * EACH, true));
}

#[test]
fn a_companion_without_a_record_writes_nothing() {
    let storage = FaultyStorage::new();
    let (wal, events) = start(
        Arc::new(storage.clone()),
        Options { watermark_after: PATIENCE, segments_ahead: 1, ..options() },
    );
    let calls = storage.call_count();
    wal.attach(5).expect("the log runs");
    let Event::Committed(batch) = events.recv_timeout(PATIENCE).expect("an answer") else {
        panic!("not poisoned");
    };
    assert_eq!((batch.companions.as_slice(), batch.end(), batch.stats().bytes), (&[5][..], Lsn::ZERO, 0));
    assert_eq!(batch.records().count(), 0);
    assert_eq!(storage.call_count(), calls);
    wal.close().expect("a clean end");
}

#[test]
fn an_idle_log_writes_one_watermark() {
    let (wal, events) = start(
        Arc::new(MemoryStorage::new()),
        Options { watermark_after: Duration::from_millis(1), ..options() },
    );
    let lsn = wal.append_with(b"record", |_| 1).expect("room");
    let mut sizes = Vec::new();
    for _ in 0..2 {
        match events.recv_timeout(PATIENCE).expect("a batch and a watermark") {
            Event::Committed(batch) => sizes.push((batch.stats().records, batch.companions.len())),
            Event::Poisoned { error, .. } => panic!("{error}"),
        }
    }
    assert_eq!(sizes, [(1, 1), (0, 0)]);
    assert!(events.recv_timeout(Duration::from_millis(20)).is_err(), "one watermark is enough");
    assert!(wal.durable_lsn() > lsn);
    wal.close().expect("a clean end");
    assert_eq!(wal.durable_lsn(), wal.appended_lsn());
}

#[test]
fn a_failed_sync_poisons_the_log_for_everybody() {
    let storage = FaultyStorage::new();
    let rested = Options { watermark_after: PATIENCE, ..options() };
    let (wal, events) = start(Arc::new(storage.clone()), rested);
    // The first record takes a segment; once another is ready the allocator rests, and the next sync is ours.
    wal.append_with(b"first", |_| 0).expect("room");
    assert!(matches!(events.recv_timeout(PATIENCE).expect("news"), Event::Committed(_)));
    until("segments ahead", || wal.stat().segments_ready == 2);
    let mut tail = wal.reader().tail(wal.durable_lsn());
    storage.fail(Fault { on: On::Sync, nth: 1, kind: ErrorKind::Other, lasting: false });
    let lsn = wal.append_with(b"record", |_| 1).expect("room");
    let Event::Poisoned { error, companions } = events.recv_timeout(PATIENCE).expect("news") else {
        panic!("nothing was committed");
    };
    assert!(matches!(*error, Error::Sync { segment: 1, .. }), "{error}");
    assert_eq!(companions, [1]);
    assert_eq!(wal.admission(), Admission::Poisoned);
    assert_eq!(wal.append_with(b"more", |_| 2), Err(Refused::Poisoned));
    assert!(matches!(wal.attach(3), Err((Refused::Poisoned, 3))));
    assert!(matches!(wal.reader().read(lsn), Err(ReadError::NotDurable)));
    assert!(matches!(tail.next(PATIENCE), Err(ReadError::Ended)));
    assert!(matches!(wal.close(), Err(Error::Poisoned { .. })));
    assert!(events.recv().is_err(), "nothing follows");
}

#[test]
fn an_allocator_that_meets_a_broken_disk_poisons_the_log() {
    let storage = FaultyStorage::new();
    let (wal, events) = start(Arc::new(storage.clone()), options());
    until("a segment ahead", || wal.stat().segments_ready == 2);
    storage.fail(Fault { on: On::SyncDirectory, nth: 1, kind: ErrorKind::Other, lasting: true });
    let error = loop {
        let _ = wal.append_with(&[1; 2000], |_| 1);
        match events.try_recv() {
            Ok(Event::Poisoned { error, .. }) => break error,
            Ok(Event::Committed(_)) => {}
            Err(_) => std::thread::yield_now(),
        }
    };
    assert!(matches!(*error, Error::SyncDirectory { .. }), "{error}");
    assert!(matches!(wal.close(), Err(Error::Poisoned { .. })));
}

#[test]
fn a_full_disk_closes_admission_and_space_opens_it_again() {
    let storage = FaultyStorage::new();
    let (wal, events) = start(Arc::new(storage.clone()), options());
    until("segments ahead", || wal.stat().segments_ready == 2);
    storage.fail(Fault { on: On::Space, nth: 1, kind: ErrorKind::StorageFull, lasting: true });
    let mut appended = 0;
    until("a full log", || match wal.append_with(&[1; 1000], |_| 1) {
        Ok(_) => {
            appended += 1;
            false
        }
        Err(refused) => {
            assert_eq!(refused, Refused::Full);
            true
        }
    });
    assert_eq!(wal.admission(), Admission::ReadOnly);
    let mut durable = 0;
    while durable < appended {
        match events.recv_timeout(PATIENCE).expect("the log thread goes on") {
            Event::Committed(batch) => durable += batch.records().count(),
            Event::Poisoned { error, .. } => panic!("{error}"),
        }
    }
    storage.heal();
    until("admission", || wal.admission() == Admission::Open);
    wal.append_with(&[1; 1000], |_| 1).expect("room again");
    wal.close().expect("a clean end");
}

#[test]
fn the_last_handle_closes_the_log() {
    let storage = MemoryStorage::new();
    let (wal, events) = start(Arc::new(storage.clone()), options());
    wal.append_with(b"record", |_| 1).expect("room");
    let second = wal.clone();
    drop(wal);
    assert!(matches!(Log::open(Arc::new(storage.clone()), options()), Err(Error::Locked { .. })));
    drop(second);
    assert!(events.iter().any(|event| matches!(event, Event::Committed(batch) if batch.companions == [1])));
    let log = Log::open(Arc::new(storage), options()).expect("unlocked");
    let replayed = log.replay(Lsn::ZERO, |_, _| Ok::<(), ()>(())).expect("sound");
    assert_eq!(replayed.records, 1);
}
