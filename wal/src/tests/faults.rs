//! Calls that fail, each in turn, and disks that are full.

use super::{Driven, Record, payload, replay, small};
use crate::testing::{Disk, Fault, FaultyStorage, Loss, On, Random};
use crate::{Admission, Error, Log, Lsn, Refused};
use std::io::ErrorKind;
use std::sync::Arc;

/// What came of a run in which something failed.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The log did not start.
    NotStarted,
    Poisoned,
    /// The failure did no harm, or did not come.
    Running,
}

struct Run {
    storage: FaultyStorage,
    end: End,
    records: Vec<Record>,
    durable: usize,
}

/// A run of fixed operations, two lives long, against a disk that fails.
fn run(fault: Fault) -> Run {
    let storage = FaultyStorage::new();
    storage.fail(fault);
    let mut random = Random::new(11);
    let (mut records, mut durable) = (Vec::new(), 0);
    for life in 0..2 {
        let mut driven = match Driven::start(Arc::new(storage.clone()), small(life)) {
            Ok(driven) => driven,
            Err(error) => {
                assert!(!matches!(error, Error::Corrupt { .. } | Error::Locked { .. }), "{error}");
                return Run { storage, end: End::NotStarted, records, durable };
            }
        };
        for _ in 0..60 {
            let _ = driven.append(payload(&mut random, 200));
            driven.allocate();
            if random.below(3) == 0 {
                driven.commit();
            }
            if random.below(20) == 0 {
                driven.rest();
            }
        }
        driven.rest();
        (records, durable) = (driven.records, driven.durable);
        if driven.poisoned.is_some() {
            return Run { storage, end: End::Poisoned, records, durable };
        }
    }
    Run { storage, end: End::Running, records, durable }
}

impl Run {
    /// Whatever failed: what was acknowledged is there, after a restart on the same machine as well as after
    /// a power cut.
    fn check(&self, what: &str) {
        self.storage.heal();
        let mut disks = vec![self.storage.disk()];
        let losses = [Loss::Kept, Loss::Dropped].into_iter().chain((0..6).map(Loss::Random));
        disks.extend(losses.map(|loss| Disk::with_files(self.storage.crash_image(loss).files())));
        for (index, disk) in disks.into_iter().enumerate() {
            let storage = FaultyStorage::with_disk(disk);
            let mut driven = Driven::start(Arc::new(storage.clone()), small(100))
                .unwrap_or_else(|error| panic!("{what}, disk {index}: {error}"));
            assert!(driven.records.len() >= self.durable, "{what}, disk {index}: records are gone");
            assert!(self.records.starts_with(&driven.records), "{what}, disk {index}: strange records");
            // And the log goes on, and loses nothing of what it showed.
            driven.append(vec![1; 50]).expect("room");
            driven.rest();
            let log = Log::open(Arc::new(storage.crash_image(Loss::Dropped)), small(100)).expect("opens");
            assert_eq!(replay(&log, Lsn::ZERO).expect("sound"), driven.records, "{what}, disk {index}");
        }
    }
}

#[test]
fn whichever_call_fails_the_log_stops_and_loses_nothing() {
    for lasting in [false, true] {
        let mut ends = [0; 2];
        for nth in 1.. {
            let fault = Fault { on: On::Any, nth, kind: ErrorKind::Other, lasting };
            let run = run(fault);
            if run.storage.is_fault_pending() {
                assert_eq!(run.end, End::Running);
                break;
            }
            assert_ne!(run.end, End::Running, "call {nth} failed, and the log went on");
            ends[usize::from(run.end == End::Poisoned)] += 1;
            run.check(&format!("call {nth} fails"));
        }
        assert!(ends[0] > 10 && ends[1] > 100, "{ends:?}");
    }
}

#[test]
fn whichever_call_finds_the_disk_full_nothing_is_lost() {
    let mut ends = [0; 2];
    for nth in 1.. {
        let run = run(Fault { on: On::Any, nth, kind: ErrorKind::StorageFull, lasting: false });
        if run.storage.is_fault_pending() {
            break;
        }
        ends[usize::from(run.end == End::Running)] += 1;
        run.check(&format!("call {nth} finds the disk full"));
    }
    // Making segments survives it; a batch that does not arrive in its own, preallocated place does not.
    assert!(ends[0] > 50 && ends[1] > 50, "{ends:?}");
}

fn disk_full() -> Fault {
    Fault { on: On::Space, nth: 1, kind: ErrorKind::StorageFull, lasting: true }
}

#[test]
fn a_full_disk_closes_admission_while_half_a_segment_is_left() {
    let storage = FaultyStorage::new();
    let options = small(1);
    let half = options.segment_bytes / 2;
    let mut driven = Driven::start(Arc::new(storage.clone()), options.clone()).expect("starts");
    assert_eq!(driven.admission(), Admission::Open);
    storage.fail(disk_full());
    let mut after_closing = 0;
    let refused = loop {
        driven.allocate();
        let closed = driven.admission() == Admission::ReadOnly;
        match driven.append(vec![7; 100]) {
            Ok(_) => after_closing += if closed { 100 } else { 0 },
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, Refused::Full);
    assert!(after_closing > half / 2, "only {after_closing} bytes of what was admitted fitted");
    // Everything that was taken becomes durable on the full disk, and the log closes in good order.
    driven.rest();
    assert_eq!((driven.durable, driven.poisoned.is_none()), (driven.records.len(), true));
    let records = driven.kill();

    // Started again on the full disk: everything can be read, nothing is taken, companions come back.
    storage_restarts_read_only(&storage, &records);
    storage.heal();
    let mut driven = Driven::start(Arc::new(storage), options).expect("starts");
    assert_eq!((driven.admission(), &driven.records), (Admission::Open, &records));
    driven.append(vec![8; 10]).expect("there is space");
}

fn storage_restarts_read_only(storage: &FaultyStorage, records: &[Record]) {
    // The process was killed: its locks are gone.
    let restarted = FaultyStorage::with_disk(storage.disk());
    restarted.fail(disk_full());
    let mut driven = Driven::start(Arc::new(restarted.clone()), small(2)).expect("starts on a full disk");
    assert_eq!((driven.admission(), &driven.records[..]), (Admission::ReadOnly, records));
    assert_eq!(driven.append(vec![8; 10]), Err(Refused::Full));
    driven.attach().expect("companions wait for nothing");
    assert!(driven.commit());
    driven.rest();
    driven.allocate();
    assert_eq!(driven.admission(), Admission::ReadOnly);
    restarted.heal();
    driven.allocate();
    assert_eq!(driven.admission(), Admission::Open);
    driven.append(vec![8; 10]).expect("there is space again");
    assert_eq!(driven.admission(), Admission::Open, "the next segment is being made");
    driven.rest();
    assert_eq!(driven.durable, records.len() + 1);
}

#[test]
fn admission_is_pressed_before_appenders_outrun_the_allocator() {
    let mut driven = Driven::start(Arc::new(FaultyStorage::new()), small(1)).expect("starts");
    let mut seen = Vec::new();
    loop {
        let refused = driven.append(vec![7; 100]).err();
        if seen.last() != Some(&(driven.admission(), refused)) {
            seen.push((driven.admission(), refused));
        }
        if refused.is_some() {
            break;
        }
    }
    let expected =
        [(Admission::Open, None), (Admission::Pressed, None), (Admission::Pressed, Some(Refused::Full))];
    assert_eq!(seen, expected);
    driven.allocate();
    driven.append(vec![7; 100]).expect("room again");
    assert_eq!(driven.admission(), Admission::Open);
}

#[test]
fn an_empty_directory_on_a_full_disk_starts_read_only() {
    let storage = FaultyStorage::new();
    storage.fail(disk_full());
    storage_restarts_read_only(&storage, &[]);
}

#[test]
fn a_segment_kept_ready_lets_a_full_disk_write_after_a_restart() {
    let storage = FaultyStorage::new();
    let mut driven = Driven::start(Arc::new(storage.clone()), small(1)).expect("starts");
    driven.append(vec![1; 10]).expect("room");
    driven.rest();
    driven.allocate();
    drop(driven);
    storage.fail(disk_full());
    let mut driven = Driven::start(Arc::new(storage.clone()), small(2)).expect("starts");
    assert_eq!(driven.admission(), Admission::Open);
    driven.append(vec![2; 10]).expect("room");
    driven.rest();
    assert_eq!(driven.durable, 2);
}

#[test]
fn segments_kept_ready_for_smaller_records_are_made_anew() {
    let storage = FaultyStorage::new();
    let mut driven = Driven::start(Arc::new(storage.clone()), small(1)).expect("starts");
    driven.append(vec![1; 1000]).expect("room");
    driven.rest();
    driven.allocate();
    driven.allocate();
    drop(driven);
    let larger = crate::Options { segment_bytes: 16_384, record_bytes_max: 8192, ..small(2) };
    let mut driven = Driven::start(Arc::new(storage.clone()), larger.clone()).expect("starts");
    driven.append(vec![2; 8192]).expect("room for the larger record");
    driven.rest();
    let records = driven.records;
    let log = Log::open(Arc::new(storage.crash_image(Loss::Dropped)), larger).expect("opens");
    assert_eq!(replay(&log, Lsn::ZERO).expect("sound"), records);
}
