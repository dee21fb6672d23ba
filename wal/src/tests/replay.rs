//! Replays of logs that are much larger than what is read ahead: whoever stops, stops both threads, and nothing is lost
//! between them.

use super::{Driven, Record, replay, small};
use crate::storage::{Storage, StorageFile};
use crate::testing::{FaultyStorage, Loss, MemoryStorage};
use crate::{Error, Log, Lsn, Options, ReplayError};
use std::sync::Arc;

const SEGMENT_BYTES: u64 = 2 << 20;

fn options(life: u64) -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        record_bytes_max: 1 << 20,
        batch_bytes_max: 64 << 10,
        ..small(life)
    }
}

/// Eight MiB in five segments, batches of one record and of many, and one that is larger than what changes threads.
fn large() -> (Vec<Record>, MemoryStorage) {
    let storage = FaultyStorage::new();
    let mut driven = Driven::start(Arc::new(storage.clone()), options(1)).expect("starts");
    for number in 0..8_000_usize {
        driven.allocate();
        let size = if number == 4_000 { 700_000 } else { 500 + number % 997 };
        driven.append(vec![number.to_le_bytes()[0]; size]).expect("room");
        if number % 100 < 10 {
            while driven.commit() {}
        }
    }
    driven.rest();
    let image = storage.crash_image(Loss::Dropped);
    (driven.kill(), image)
}

#[test]
fn a_large_log_is_replayed_from_anywhere() {
    let (records, image) = large();
    let log = Log::open(Arc::new(image), options(2)).expect("opens");
    assert!(log.end().get() > 4 * SEGMENT_BYTES, "the log is large: {log:?}");
    for first in [0, 1, 17, 3_999, 4_000, 4_001, records.len() - 1] {
        assert!(replay(&log, records[first].0).expect("sound") == records[first..], "from record {first}");
    }
    assert!(replay(&log, log.end()).expect("sound").is_empty());
}

#[test]
fn what_is_sound_before_damage_is_visited_and_then_the_damage_is_told() {
    let (records, image) = large();
    let victim = 3_000;
    let (lsn, _) = records[victim];
    let name = format!("{:010}.wal", lsn.get() / SEGMENT_BYTES + 1);
    let mut bytes = image.files()[&name].clone();
    bytes[usize::try_from(lsn.get() % SEGMENT_BYTES).expect("small") + 20] ^= 1;
    image.put(&name, bytes);
    let log = Log::open(Arc::new(image), options(2)).expect("the last segments are sound");
    let mut visited = Vec::new();
    let outcome = log.replay(Lsn::ZERO, |lsn, payload| {
        visited.push((lsn, payload.to_vec()));
        Ok::<(), ()>(())
    });
    assert!(matches!(outcome, Err(ReplayError::Log(Error::Corrupt { .. }))), "{outcome:?}");
    assert!(records.starts_with(&visited) && visited.len() <= victim, "{} visited", visited.len());
    // All but the batch that the damaged record is in: ten records in a hundred come one by one.
    assert!(visited.len() > victim - 100, "{} visited", visited.len());
}

/// While the reading thread has everything that it may have ahead, and waits.
#[test]
fn a_visitor_that_stops_early_is_not_waited_for() {
    let (records, image) = large();
    let log = Log::open(Arc::new(image), options(2)).expect("opens");
    for stop_at in [0, 100, 5_000] {
        let mut visited = 0;
        let outcome = log.replay(Lsn::ZERO, |lsn, _| {
            visited += 1;
            if visited > stop_at { Err(lsn) } else { Ok(()) }
        });
        assert!(matches!(outcome, Err(ReplayError::Visit(lsn)) if lsn == records[stop_at].0), "{outcome:?}");
        assert_eq!(visited, stop_at + 1);
    }
}

#[test]
fn what_breaks_the_reading_thread_breaks_the_replay() {
    let (_, image) = large();
    let log = Log::open(Arc::new(Breaking(image)), options(2)).expect("the last segments are read");
    let mut visited = 0_u64;
    let replaying = std::panic::AssertUnwindSafe(|| {
        log.replay(Lsn::ZERO, |_, _| {
            visited += 1;
            Ok::<(), ()>(())
        })
    });
    let panic = std::panic::catch_unwind(replaying).expect_err("it does not end as if all were well");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&BROKEN));
    assert!(visited > 0, "what was read before is visited");
}

#[test]
fn what_breaks_an_examining_thread_breaks_the_verification() {
    let (_, image) = large();
    let verifying = || crate::verify(Arc::new(Breaking(image)), options(2));
    let panic =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(verifying)).expect_err("nothing is verified");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&BROKEN));
}

const BROKEN: &str = "the second segment breaks whoever reads its middle";

/// A disk whose second file ends its reader.
struct Breaking(MemoryStorage);

struct BreakingFile(Arc<dyn StorageFile>);

impl Storage for Breaking {
    fn place(&self) -> String {
        self.0.place()
    }

    fn lock(&self) -> std::io::Result<Option<crate::storage::Lock>> {
        self.0.lock()
    }

    fn list(&self) -> std::io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, name: &str) -> std::io::Result<Arc<dyn StorageFile>> {
        self.0.create(name)
    }

    fn open(&self, name: &str, access: crate::storage::Access) -> std::io::Result<Arc<dyn StorageFile>> {
        let file = self.0.open(name, access)?;
        Ok(if name == "0000000002.wal" { Arc::new(BreakingFile(file)) } else { file })
    }

    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.0.remove(name)
    }

    fn sync_directory(&self) -> std::io::Result<()> {
        self.0.sync_directory()
    }
}

impl StorageFile for BreakingFile {
    fn length(&self) -> std::io::Result<u64> {
        self.0.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        if offset > SEGMENT_BYTES / 2 {
            std::panic::panic_any(BROKEN);
        }
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn allocate(&self, bytes: u64) -> std::io::Result<()> {
        self.0.allocate(bytes)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> std::io::Result<()> {
        self.0.sync_all()
    }

    fn drop_cache(&self) -> std::io::Result<()> {
        self.0.drop_cache()
    }
}
