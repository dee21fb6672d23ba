//! Readers, tails, replay from a position, and the offline tools.

use super::{Driven, Record, payload, replay, small};
use crate::storage::Storage;
use crate::testing::{Fault, FaultyStorage, Loss, MemoryStorage, On, Random};
use crate::{Error, Log, Lsn, Options, ReadError, Reader, dump, stat, verify};
use std::convert::Infallible;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

/// A log over several segments and two lives, and its files.
fn sample() -> (Driven, FaultyStorage) {
    let storage = FaultyStorage::new();
    let mut random = Random::new(5);
    let mut driven = Driven::start(Arc::new(storage.clone()), small(5)).expect("starts");
    for number in 0..60 {
        if number == 25 {
            while driven.commit() {}
            drop(driven);
            driven = Driven::start(Arc::new(storage.clone()), small(6)).expect("restarts");
        }
        driven.allocate();
        driven.append(payload(&mut random, 400)).expect("room");
        if random.below(3) == 0 {
            while driven.commit() {}
        }
    }
    driven.rest();
    (driven, storage)
}

fn collect(reader: &Reader, from: Lsn) -> Result<Vec<Record>, ReadError> {
    let mut tail = reader.tail(from);
    let mut records = Vec::new();
    while let Some(batch) = tail.next(Duration::ZERO)? {
        records.extend(batch.records().map(|(lsn, payload)| (lsn, payload.to_vec())));
        assert_eq!(batch.end(), tail.cursor());
    }
    assert_eq!(tail.cursor(), reader.durable_lsn());
    Ok(records)
}

#[test]
fn a_reader_finds_every_record_and_nothing_else() {
    let (driven, _storage) = sample();
    let reader = driven.reader();
    let mut found = Vec::new();
    for lsn in (0..reader.durable_lsn().get()).map(Lsn::new) {
        match reader.read(lsn) {
            Ok(payload) => found.push((lsn, payload)),
            Err(ReadError::NotARecord) => {}
            Err(error) => panic!("at {lsn}: {error}"),
        }
    }
    assert_eq!(found, driven.records);
    assert!(matches!(reader.read(reader.durable_lsn()), Err(ReadError::NotDurable)));
    assert!(matches!(reader.read(Lsn::new(u64::MAX)), Err(ReadError::NotDurable)));
}

#[test]
fn what_is_appended_but_not_durable_is_not_read() {
    let (mut driven, _storage) = sample();
    let reader = driven.reader();
    let lsn = driven.append(vec![1; 9]).expect("room");
    assert!(matches!(reader.read(lsn), Err(ReadError::NotDurable)));
    assert_eq!(collect(&reader, Lsn::ZERO).expect("sound").len(), driven.durable);
    driven.commit();
    assert_eq!(reader.read(lsn).expect("durable now"), vec![1; 9]);
}

#[test]
fn a_damaged_record_never_looks_like_one_that_never_was() {
    let (driven, storage) = sample();
    let files = storage.crash_image(Loss::Dropped).files();
    let log = Log::open(Arc::new(MemoryStorage::with_files(files.clone())), small(7)).expect("opens");
    let (lsn, _) = driven.records[3];
    let offset = usize::try_from(lsn.get()).expect("in the first segment");
    for byte in offset..offset + 16 {
        let damaged = MemoryStorage::with_files(files.clone());
        let mut first = files["0000000001.wal"].clone();
        first[byte] ^= 0x40;
        damaged.put("0000000001.wal", first);
        // Damage to a segment before the last ones is met when it is read.
        let log = Log::open(Arc::new(damaged), small(7)).expect("opens");
        let reader = log.reader();
        assert!(matches!(reader.read(lsn), Err(ReadError::Corrupt(Error::Corrupt { .. }))), "byte {byte}");
        assert!(matches!(collect(&reader, lsn), Err(ReadError::Corrupt(_))), "byte {byte}");
        let error = replay(&log, Lsn::ZERO).expect_err("damaged");
        assert!(matches!(error, Error::Corrupt { segment: 1, .. }), "{error}");
    }
    assert!(log.reader().read(lsn).is_ok());
}

#[test]
fn a_tail_and_a_replay_begin_at_every_boundary_and_nowhere_else() {
    let (driven, storage) = sample();
    let log = Log::open(Arc::new(storage.crash_image(Loss::Dropped)), small(7)).expect("opens");
    let reader = log.reader();
    let mut boundaries = 0;
    for from in (0..=log.end().get()).step_by(8).map(Lsn::new) {
        let expected: Vec<Record> = driven.records.iter().filter(|(lsn, _)| *lsn >= from).cloned().collect();
        match replay(&log, from) {
            Ok(found) => {
                assert_eq!(found, expected, "replay from {from}");
                assert_eq!(collect(&reader, from).expect("a boundary"), expected, "tail from {from}");
                boundaries += u32::from(from >= log.begin());
            }
            Err(Error::NotABoundary { lsn }) => {
                assert_eq!(lsn, from);
                assert!(!driven.records.iter().any(|(lsn, _)| *lsn == from), "{from} is a record");
                // A tail does not know batches, only frames, so it may begin at more places, with the same
                // records.
                match collect(&reader, from) {
                    Err(ReadError::NotARecord) => {}
                    Ok(found) => assert_eq!(found, expected, "tail from {from}"),
                    Err(error) => panic!("tail from {from}: {error}"),
                }
            }
            Err(error) => panic!("replay from {from}: {error}"),
        }
    }
    assert!(boundaries > 80, "{boundaries} boundaries");
    let beyond = Lsn::new(log.end().get() + 8);
    assert!(matches!(replay(&log, beyond), Err(Error::NotABoundary { .. })));
    assert!(matches!(collect(&reader, beyond), Err(ReadError::NotDurable)));
}

#[test]
fn a_tail_reads_records_larger_than_its_window() {
    let options =
        Options { segment_bytes: 4 << 20, record_bytes_max: 1 << 20, batch_bytes_max: 64 << 10, ..small(8) };
    let storage = FaultyStorage::new();
    let mut driven = Driven::start(Arc::new(storage), options).expect("starts");
    for size in [10, 300_000, 5, 200_000, 70_000, 1 << 20, 1, 250_000, 262_000, 0] {
        driven.allocate();
        driven.append(vec![3; size]).expect("room");
    }
    driven.rest();
    let reader = driven.reader();
    assert_eq!(collect(&reader, Lsn::ZERO).expect("sound"), driven.records);
    for (lsn, payload) in &driven.records {
        assert_eq!(&reader.read(*lsn).expect("durable"), payload);
    }
}

/// A disk that does not answer is not a damaged log.
#[test]
fn a_failed_read_is_told_from_damage() {
    let (driven, storage) = sample();
    let fail = |nth| storage.fail(Fault { on: On::Read, nth, kind: ErrorKind::Other, lasting: false });
    fail(1);
    assert!(matches!(driven.reader().read(driven.records[0].0), Err(ReadError::Io(Error::Read { .. }))));
    fail(2);
    assert!(matches!(collect(&driven.reader(), Lsn::ZERO), Err(ReadError::Io(Error::Read { .. }))));
    let disk = storage.disk();
    for nth in 1.. {
        let storage = FaultyStorage::with_disk(disk.clone());
        storage.fail(Fault { on: On::Read, nth, kind: ErrorKind::Other, lasting: false });
        match Log::open(Arc::new(storage.clone()), small(7)).and_then(|log| replay(&log, Lsn::ZERO)) {
            Err(Error::Read { .. }) => {}
            Err(error) => panic!("read {nth} fails: {error}"),
            Ok(found) => {
                assert!(storage.is_fault_pending() && nth > 10, "read {nth} was the last");
                assert_eq!(found, driven.records);
                break;
            }
        }
    }
}

#[test]
fn a_visitor_can_stop_a_replay() {
    let (driven, storage) = sample();
    let log = Log::open(Arc::new(storage.crash_image(Loss::Dropped)), small(7)).expect("opens");
    let mut left = 10;
    let visit = |lsn: Lsn, _: &[u8]| {
        left -= 1;
        if left == 0 { Err(lsn) } else { Ok(()) }
    };
    let stopped = log.replay(Lsn::ZERO, visit).expect_err("stopped");
    assert!(matches!(stopped, crate::ReplayError::Visit(lsn) if lsn == driven.records[9].0));
}

#[test]
fn the_offline_tools_describe_sound_torn_and_corrupt_logs() {
    let (mut driven, storage) = sample();
    let options = small(7);
    let disk = |storage: &FaultyStorage, loss| -> Arc<dyn Storage> { Arc::new(storage.crash_image(loss)) };

    let sound = disk(&storage, Loss::Dropped);
    let report = verify(Arc::clone(&sound), options.clone()).expect("readable");
    assert!(report.corruption.is_none() && report.torn.is_none(), "{report:?}");
    assert_eq!(report.records, 60);
    assert_eq!(report.stat, stat(Arc::clone(&sound), options.clone()).expect("readable"));
    assert_eq!((report.stat.begin, report.stat.segments_ready), (Lsn::new(1024), 1));
    assert_eq!(report.stat.durable, driven.reader().durable_lsn());
    assert_eq!(report.stat.segment_bytes, report.stat.segments * options.segment_bytes);
    let from = driven.records[40].0;
    let mut dumped = Vec::new();
    let visit = |lsn: Lsn, payload: &[u8]| {
        dumped.push((lsn, payload.to_vec()));
        Ok::<(), Infallible>(())
    };
    assert_eq!(dump(sound, options.clone(), from, visit).expect("readable"), 20);
    assert_eq!(dumped, driven.records[40..]);

    // A batch of which only the beginning arrived.
    let before = storage.crash_image(Loss::Dropped).files();
    driven.append(vec![9; 900]).expect("room");
    while driven.commit() {}
    let mut files = storage.crash_image(Loss::Dropped).files();
    let (name, written) =
        files.iter_mut().rfind(|(name, bytes)| before[*name] != **bytes).expect("written to");
    let first = written.iter().zip(&before[name]).position(|(now, before)| now != before).expect("differs");
    written[first + 300..].fill(0);
    let torn: Arc<dyn Storage> = Arc::new(MemoryStorage::with_files(files.clone()));
    let report = verify(Arc::clone(&torn), options.clone()).expect("readable");
    assert!(report.corruption.is_none() && report.torn.is_some() && report.records == 60, "{report:?}");
    let log = Log::open(torn, options.clone()).expect("opens");
    assert!(log.residual_risk().is_some_and(|risk| risk.contains("incomplete batch")));

    files.get_mut("0000000001.wal").expect("the first segment")[1300] ^= 1;
    let corrupt: Arc<dyn Storage> = Arc::new(MemoryStorage::with_files(files));
    let report = verify(Arc::clone(&corrupt), options.clone()).expect("readable");
    assert!(matches!(report.corruption, Some(Error::Corrupt { segment: 1, .. })), "{report:?}");
    assert!(dump(corrupt, options, Lsn::ZERO, |_, _| Ok::<(), Infallible>(())).is_err());
}
