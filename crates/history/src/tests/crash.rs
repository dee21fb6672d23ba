//! Crashes between batches, records that are offered again, writes that fail: the index stays what the log says.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{OnceLock, Weak};

use ledger::WalletId;

use super::lists::check_queries;
use super::model::Generator;
use super::*;
use crate::entry::{EntryKey, Head};
use crate::open::{self, Opened};
use crate::recent::Recent;
use crate::table::{Scan, Table};
use crate::{Error, TimeRange, run};

#[test]
fn crashes_and_repetitions_change_nothing() {
    for_each_seed("crashes_and_repetitions_change_nothing", 6, |seed| {
        let (directory, mut log) = (directory(), TestLog::new());
        let mut generator = Generator::new(seed, 7);
        let mut history = open(directory.path(), &log, tight());
        for _ in 0..60 {
            let count = usize::try_from(generator.random.below(30)).expect("it is small");
            match generator.random.below(8) {
                0 => generator.append(&mut log, count as u64),
                1 => feed(&history, &log, count),
                2 => feed_from(&history, &log, Lsn::ZERO, usize::MAX),
                3 => history.seal().expect("it is sealed"),
                4 => check_queries(&history, &mut generator, 5),
                5 => {
                    // A batch that never came to its commit.
                    let (records, _) = log.read(history.cursor(), count);
                    add(&mut history.batch(), &records);
                }
                6 => {
                    // A part is taken to be written out between a batch's first entry and its commit.
                    let (records, next) = log.read(history.cursor(), count);
                    let mut batch = history.batch();
                    add(&mut batch, &records);
                    history.seal().expect("it is sealed");
                    batch.commit(next);
                }
                _ => {
                    // What was only in memory is gone; what was sealed is not.
                    let (sealed, cursor) = (history.stat().sealed, history.cursor());
                    drop(history);
                    history = open(directory.path(), &log, tight());
                    assert_eq!(history.cursor(), sealed);
                    assert!(sealed <= cursor);
                }
            }
        }
        feed_all(&history, &log);
        assert_eq!(history.stat().entries, generator.model.count(history.cursor()) as u64);
        check_queries(&history, &mut generator, 60);
        assert_rebuild_is_equal(&history, &log, &generator);
    });
}

/// An index filled at one go has the same entries and numbers.
fn assert_rebuild_is_equal(history: &History, log: &TestLog, generator: &Generator) {
    let directory = directory();
    let rebuilt = open(directory.path(), log, Options::default());
    feed_all(&rebuilt, log);
    rebuilt.seal().expect("it is sealed");
    for wallet in &generator.wallets {
        let all = |history: &History| {
            history.entries(*wallet, None, TimeRange::default(), 1_000_000).expect("it is read")
        };
        assert_eq!(all(history), all(&rebuilt));
    }
    let (one, other) = (history.stat(), rebuilt.stat());
    assert_eq!((one.records, one.entries), (other.records, other.entries));
}

#[test]
fn a_table_compacted_many_times_keeps_every_entry() {
    let (directory, mut log) = (directory(), TestLog::new());
    let mut generator = Generator::new(3, 30);
    let history = open(directory.path(), &log, tight());
    // More runs than the first level holds.
    for _ in 0..40 {
        generator.append(&mut log, 20);
        feed_all(&history, &log);
        history.seal().expect("it is sealed");
    }
    check_queries(&history, &mut generator, 100);
    drop(history);
    let history = open(directory.path(), &log, tight());
    check_queries(&history, &mut generator, 100);
    assert_rebuild_is_equal(&history, &log, &generator);
}

/// What a kill leaves: no end of anything, a part in memory, and a run that was not registered.
#[test]
fn an_image_of_the_running_index_is_whole() {
    let (directory, mut log) = (directory(), TestLog::new());
    let mut generator = Generator::new(12, 5);
    let history = open(directory.path(), &log, tight());
    // Too few runs for a compaction, which would change files while they are copied.
    for _ in 0..2 {
        generator.append(&mut log, 60);
        feed_all(&history, &log);
        history.seal().expect("it is sealed");
    }
    let sealed = history.stat().sealed;
    generator.append(&mut log, 60);
    feed_all(&history, &log);

    let parent = self::directory();
    let image = parent.path().join("history");
    copy(directory.path(), &image);
    fs::write(image.join("index/keyspaces/1/tables/77"), "half a run").expect("it is written");
    let restarted = open(&image, &log, tight());
    assert_eq!(restarted.cursor(), sealed);
    check_queries(&restarted, &mut generator, 30);
    feed_all(&restarted, &log);
    restarted.seal().expect("it is sealed");
    check_queries(&restarted, &mut generator, 30);
    assert_eq!(fs::read_dir(parent.path()).expect("it is listed").count(), 1, "nothing was set aside");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("it is created");
    for entry in fs::read_dir(from).expect("it is listed") {
        let entry = entry.expect("it is listed");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            fs::copy(&source, &target).expect("it is copied");
        }
    }
}

/// A table whose next writes fail, and that writes its index out when it is read.
struct Flaky {
    table: Box<dyn Table>,
    failures: Arc<AtomicU64>,
    sealed_by_scan: Arc<OnceLock<Weak<History>>>,
    fed_by_writing: Feeder,
}

/// Adds records while a part is written out.
type Feeder = Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>;

impl Table for Flaky {
    fn watermark(&self) -> Result<Option<fjall::Slice>, Error> {
        self.table.watermark()
    }

    fn is_empty(&self) -> Result<bool, Error> {
        self.table.is_empty()
    }

    fn ingest(&self, run: &Recent) -> Result<(), Error> {
        let failures = self.failures.load(Relaxed);
        if failures > 0 {
            self.failures.store(failures - 1, Relaxed);
            let source = fjall::Error::Io(std::io::ErrorKind::StorageFull.into());
            return Err(Error::Database { action: "write", source });
        }
        if let Some(feed) = self.fed_by_writing.get() {
            feed();
        }
        self.table.ingest(run)
    }

    fn head(&self, wallet: WalletId) -> Result<Option<Head>, Error> {
        self.table.head(wallet)
    }

    fn scan(&self, wallet: WalletId, before: EntryKey) -> Scan {
        if let Some(history) = self.sealed_by_scan.get().and_then(Weak::upgrade) {
            history.seal().expect("it is sealed");
        }
        self.table.scan(wallet, before)
    }

    fn bytes(&self) -> u64 {
        self.table.bytes()
    }
}

/// The hands on a [`Flaky`] table.
struct Flaws {
    /// How many of the next writes fail.
    failures: Arc<AtomicU64>,
    /// The index that is written out whenever the table is read.
    sealed_by_scan: Arc<OnceLock<Weak<History>>>,
    /// What happens whenever a part is written.
    fed_by_writing: Feeder,
}

fn flaky(directory: &Path, log: &TestLog) -> (History, Flaws) {
    let Opened { directory, table, watermark, pace } =
        open::open(directory, &log.reader(), &tight()).expect("it opens");
    let flaws =
        Flaws { failures: Arc::default(), sealed_by_scan: Arc::default(), fed_by_writing: Feeder::default() };
    let (failures, sealed_by_scan) = (Arc::clone(&flaws.failures), Arc::clone(&flaws.sealed_by_scan));
    let fed_by_writing = Arc::clone(&flaws.fed_by_writing);
    let flaky = Flaky { table, failures, sealed_by_scan, fed_by_writing };
    (History::new(Opened { directory, table: Box::new(flaky), watermark, pace }, tight()), flaws)
}

/// A reader has left the part in memory when it is written out, and meets the same entries in the database.
#[test]
fn a_part_written_out_while_it_is_read_is_seen_once() {
    let (directory, mut log) = (directory(), TestLog::new());
    let mut generator = Generator::new(11, 4);
    let (history, Flaws { failures, sealed_by_scan, .. }) = flaky(directory.path(), &log);
    let history = Arc::new(history);
    sealed_by_scan.set(Arc::downgrade(&history)).expect("it is set once");
    for round in 0..20 {
        generator.append(&mut log, 20);
        feed_all(&history, &log);
        if round % 2 == 0 {
            // Two parts in memory: one on its way out, and one being filled.
            failures.store(1, Relaxed);
            history.seal().expect_err("the disk is full");
            generator.append(&mut log, 20);
            feed_all(&history, &log);
        }
        assert_ne!(history.stat().recent_entries, 0);
        let (wallet, range) = (generator.wallet(), TimeRange::default());
        let found = history.entries(wallet, None, range, 1_000).expect("it is read");
        assert_eq!(found, generator.model.entries(history.cursor(), wallet, None, range, 1_000));
        assert_eq!(history.stat().recent_entries, 0, "it was written out while it was read");
    }
}

/// Otherwise a busy log would be written out in ever smaller runs, and never to the end.
#[test]
fn what_is_added_while_a_part_is_written_out_waits_for_the_next() {
    let (directory, mut log) = (directory(), TestLog::new());
    let mut generator = Generator::new(13, 4);
    let (history, Flaws { fed_by_writing, .. }) = flaky(directory.path(), &log);
    let history = Arc::new(history);
    generator.append(&mut log, 500);
    feed(&history, &log, 50);
    let before = history.cursor();
    let fed = Arc::new(AtomicU64::new(0));
    let feeder = {
        let (history, fed) = (Arc::downgrade(&history), Arc::clone(&fed));
        let read = log.read(before, usize::MAX).0;
        move || {
            fed.fetch_add(1, Relaxed);
            let history = history.upgrade().expect("it is being written");
            let mut batch = history.batch();
            let unread: Vec<_> = read.iter().filter(|(lsn, _)| *lsn >= history.cursor()).collect();
            unread[..10]
                .iter()
                .for_each(|(lsn, payload)| batch.record(*lsn, payload).expect("it is indexed"));
            batch.commit(unread[10].0);
        }
    };
    assert!(fed_by_writing.set(Box::new(feeder)).is_ok(), "it is set once");
    history.seal().expect("it is sealed");
    let stat = history.stat();
    assert_eq!((fed.load(Relaxed), stat.sealed), (1, before), "one part was written");
    assert!(stat.recent_entries > 0 && stat.next > before, "what came meanwhile is in memory");
    check_queries(&history, &mut generator, 30);
}

#[test]
fn what_cannot_be_written_out_stays_readable_and_is_written_later() {
    let (directory, mut log) = (directory(), TestLog::new());
    let mut generator = Generator::new(4, 5);
    let (history, Flaws { failures, .. }) = flaky(directory.path(), &log);
    generator.append(&mut log, 50);
    feed_all(&history, &log);
    history.seal().expect("it is sealed");
    let sealed = history.stat().sealed;

    failures.store(2, Relaxed);
    for _ in 0..2 {
        generator.append(&mut log, 50);
        feed_all(&history, &log);
        let error = history.seal().expect_err("the disk is full");
        assert!(!error.is_damage(), "{error}");
        assert_eq!(history.stat().sealed, sealed);
        check_queries(&history, &mut generator, 30);
    }
    history.seal().expect("there is space again");
    let stat = history.stat();
    assert_eq!((stat.sealed, stat.recent_entries), (history.cursor(), 0));
    check_queries(&history, &mut generator, 30);
    drop(history);
    let history = open(directory.path(), &log, tight());
    assert_eq!(history.cursor(), stat.sealed);
    check_queries(&history, &mut generator, 30);
}

#[test]
fn a_follower_that_fails_can_be_started_again() {
    let (directory, mut log) = (directory(), TestLog::new());
    let mut generator = Generator::new(5, 5);
    let (history, Flaws { failures, .. }) = flaky(directory.path(), &log);
    let history = Arc::new(history);
    failures.store(1, Relaxed);
    generator.append(&mut log, 300);
    log.wal.close().expect("it closes");
    let follow = || run(Arc::clone(&history), log.reader().tail(history.cursor()), &AtomicBool::new(false));
    let error = follow().expect_err("the disk is full");
    assert!(matches!(error, Error::Database { action: "write", .. }), "{error}");
    check_queries(&history, &mut generator, 30);
    follow().expect("there is space again");
    assert_eq!(history.stat().sealed, history.cursor());
    check_queries(&history, &mut generator, 30);
    drop(history);
    assert_rebuild_is_equal(&open(directory.path(), &log, tight()), &log, &generator);
}

#[test]
fn a_record_that_cannot_be_decoded_is_named_and_loses_its_batch_only() {
    let (directory, mut log) = (directory(), TestLog::new());
    let mut generator = Generator::new(6, 4);
    let history = open(directory.path(), &log, tight());
    generator.append(&mut log, 20);
    feed_all(&history, &log);
    let cursor = history.cursor();
    generator.append(&mut log, 3);
    let (records, _) = log.read(cursor, 3);
    let mut batch = history.batch();
    add(&mut batch, &records[..2]);
    let error = batch.record(records[2].0, b"no record").expect_err("it is refused");
    assert!(matches!(error, Error::Record { lsn, .. } if lsn == records[2].0), "{error}");
    drop(batch);
    assert_eq!(history.cursor(), cursor);
    check_queries(&history, &mut generator, 20);
    feed_all(&history, &log);
    check_queries(&history, &mut generator, 20);
}
