//! The log on a real file system, with its threads.

// Under the model checker's feature there are no real threads.
#![cfg(not(feature = "shuttle"))]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use wal::{Error, Event, FileStorage, Log, Lsn, Options, ReadError, Wal};

const PATIENCE: Duration = Duration::from_secs(60);

fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        record_bytes_max: 8 << 10,
        batch_bytes_max: 16 << 10,
        ..Options::default()
    }
}

fn open(directory: &tempfile::TempDir) -> Result<Log, Error> {
    let storage = FileStorage::open(directory.path().join("log"))?;
    Log::open(Arc::new(storage), options())
}

fn start(log: Log) -> (Wal<u64>, Receiver<Event<u64>>) {
    let (sender, receiver) = channel();
    let wal = log.start(move |event| drop(sender.send(event))).expect("the log starts");
    (wal, receiver)
}

fn replay(log: &Log) -> Vec<(Lsn, Vec<u8>)> {
    let mut records = Vec::new();
    let visit = |lsn: Lsn, payload: &[u8]| {
        records.push((lsn, payload.to_vec()));
        Ok::<(), ()>(())
    };
    log.replay(Lsn::ZERO, visit).expect("a sound log");
    records
}

fn payload(number: u64) -> Vec<u8> {
    let length = usize::try_from(number * 37 % 900).expect("small");
    number.to_le_bytes().into_iter().cycle().take(length + 8).collect()
}

/// Appends records until all are committed; a full log (the allocator is slower than a loop that appends) is
/// waited for.
fn append(
    wal: &Wal<u64>,
    events: &Receiver<Event<u64>>,
    numbers: std::ops::Range<u64>,
) -> Vec<(Lsn, Vec<u8>)> {
    let mut records = Vec::new();
    for number in numbers.clone() {
        let lsn = loop {
            match wal.append_with(&payload(number), |_| number) {
                Ok(lsn) => break lsn,
                Err(wal::Refused::Full) => std::thread::sleep(Duration::from_millis(1)),
                Err(refused) => panic!("refused: {refused}"),
            }
        };
        records.push((lsn, payload(number)));
    }
    let mut committed = Vec::new();
    let mut companions = Vec::new();
    while companions.len() < records.len() {
        match events.recv_timeout(PATIENCE).expect("the log thread goes on") {
            Event::Committed(batch) => {
                committed.extend(batch.records().map(|(lsn, payload)| (lsn, payload.to_vec())));
                assert!(wal.durable_lsn() >= batch.end());
                companions.extend(batch.companions);
            }
            Event::Poisoned { error, .. } => panic!("poisoned: {error}"),
        }
    }
    assert_eq!(committed, records);
    assert_eq!(companions, numbers.collect::<Vec<_>>());
    records
}

#[test]
fn records_survive_restarts_and_many_segments() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut all = Vec::new();
    for round in 0..4 {
        let log = open(&directory).expect("the log opens");
        assert_eq!(replay(&log), all);
        assert_eq!(log.residual_risk(), None);
        let (wal, events) = start(log);
        all.extend(append(&wal, &events, round * 500..(round + 1) * 500));
        let reader = wal.reader();
        for (lsn, payload) in &all {
            assert_eq!(&reader.read(*lsn).expect("a durable record"), payload);
        }
        assert!(matches!(reader.read(wal.appended_lsn()), Err(ReadError::NotDurable)));
        wal.close().expect("a clean end");
    }
    let log = open(&directory).expect("the log opens");
    assert_eq!(replay(&log), all);
    assert!(
        wal::stat(Arc::new(FileStorage::open(directory.path().join("log")).expect("opens")), options())
            .expect("stat")
            .segments
            > 10
    );
}

#[test]
fn a_second_opener_is_told_which_directory_is_taken() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(&directory).expect("the log opens");
    let error = open(&directory).expect_err("locked");
    assert!(matches!(&error, Error::Locked { directory: named } if named.ends_with("log")), "{error}");
    let (wal, _events) = start(log);
    assert!(matches!(open(&directory), Err(Error::Locked { .. })));
    wal.close().expect("a clean end");
    open(&directory).expect("free again");
}

#[test]
fn a_tail_follows_the_writer_and_ends_with_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (wal, events) = start(open(&directory).expect("the log opens"));
    let mut tail = wal.reader().tail(Lsn::ZERO);
    let follower = std::thread::spawn(move || {
        let mut seen = Vec::new();
        loop {
            match tail.next(PATIENCE) {
                Ok(Some(batch)) => {
                    seen.extend(batch.records().map(|(lsn, payload)| (lsn, payload.to_vec())));
                    assert_eq!(tail.cursor(), batch.end());
                }
                Ok(None) => panic!("nothing came"),
                Err(ReadError::Ended) => return seen,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let all = append(&wal, &events, 0..800);
    wal.close().expect("a clean end");
    assert_eq!(follower.join().expect("the follower ends"), all);
}

#[test]
fn a_directory_is_made_with_its_parents_and_nothing_else_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let deep = directory.path().join("a/b/c");
    assert!(matches!(FileStorage::open_existing(&deep), Err(Error::Directory { .. })));
    drop(FileStorage::open(&deep).expect("made"));
    drop(FileStorage::open_existing(&deep).expect("exists now"));
    let file = directory.path().join("file");
    std::fs::write(&file, b"not a directory").expect("written");
    assert!(matches!(FileStorage::open(&file), Err(Error::Directory { .. })));
    assert!(matches!(FileStorage::open(file.join("below")), Err(Error::Directory { .. })));
}

#[test]
fn strange_files_are_left_alone_and_left_overs_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    std::fs::create_dir(&path).expect("made");
    for name in ["lost+found", "notes.txt", "0000000001.wal.bak", "0000000001.tmp", "0000000007.tmp"] {
        std::fs::write(path.join(name), b"something").expect("written");
    }
    let (wal, events) = start(open(&directory).expect("the log opens"));
    append(&wal, &events, 0..3);
    wal.close().expect("a clean end");
    let exists = |name| path.join(name).exists();
    assert!(exists("lost+found") && exists("notes.txt") && exists("0000000001.wal.bak"));
    assert!(!exists("0000000001.tmp") && !exists("0000000007.tmp"));
    let length = std::fs::metadata(path.join("0000000001.wal")).expect("the first segment").len();
    assert_eq!(length, options().segment_bytes);
}

#[test]
fn the_offline_tools_work_beside_a_running_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let (wal, events) = start(open(&directory).expect("the log opens"));
    let storage = || Arc::new(FileStorage::open(directory.path().join("log")).expect("opens"));
    let mut seen = 0;
    std::thread::scope(|scope| {
        let writer = wal.clone();
        let appender = scope.spawn(move || drop(append(&writer, &events, 0..6_000)));
        while !appender.is_finished() {
            let before = wal.durable_lsn();
            let report = wal::verify(storage(), options()).expect("readable");
            assert!(report.corruption.is_none(), "{report:?}");
            assert!(report.stat.durable >= before && report.records >= seen);
            seen = report.records;
            assert!(wal::stat(storage(), options()).expect("readable").durable >= before);
            let visit = |_: Lsn, _: &[u8]| Ok::<(), ()>(());
            assert!(wal::dump(storage(), options(), Lsn::ZERO, visit).expect("readable") >= seen);
        }
    });
    wal.close().expect("a clean end");
    assert_eq!(wal::verify(storage(), options()).expect("readable").records, 6_000);
}
