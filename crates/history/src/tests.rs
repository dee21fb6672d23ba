//! Harness: a log in memory, facts from a seed, and a model that keeps every entry in one plain list.

mod crash;
mod damage;
mod follow;
mod lists;
mod model;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use journal::{Encode, Scratch};
use ledger::Fact;
use wal::testing::{MemoryStorage, Random};
use wal::{Event, Log, Lsn, ReadError, Reader, Refused, Wal};

use crate::{Batch, History, Options};

/// Companion of a record: whoever waits for its durability.
type Waiting = Option<Sender<()>>;

/// A durable log in memory.
struct TestLog {
    wal: Wal<Waiting>,
    scratch: Scratch,
}

impl TestLog {
    fn new() -> TestLog {
        TestLog::open(&MemoryStorage::new())
    }

    fn open(storage: &MemoryStorage) -> TestLog {
        let options = wal::Options {
            segment_bytes: 1 << 20,
            record_bytes_max: 256 << 10,
            batch_bytes_max: 64 << 10,
            ..wal::Options::default()
        };
        let log = Log::open(Arc::new(storage.clone()), options).expect("it opens");
        let wal = log.start(|event: Event<Waiting>| match event {
            Event::Committed(committed) => {
                for waiting in committed.companions.into_iter().flatten() {
                    waiting.send(()).expect("it waits");
                }
            }
            Event::Poisoned { error, .. } => panic!("memory does not fail: {error}"),
        });
        TestLog { wal: wal.expect("it starts"), scratch: Scratch::new() }
    }

    /// Appends a record that is durable after the next [`TestLog::sync`].
    fn append(&mut self, fact: &Fact) -> Lsn {
        fact.encode(&mut self.scratch);
        loop {
            match self.wal.append_with(self.scratch.bytes(), |_| None) {
                Ok(lsn) => return lsn,
                // Its segments are small and memory is quick: the next segment may not be ready yet.
                Err(Refused::Full) => self.sync(),
                Err(refused) => panic!("memory does not fail: {refused}"),
            }
        }
    }

    /// Waits until everything that was appended is durable.
    fn sync(&self) {
        let (sender, receiver) = channel();
        assert!(self.wal.attach(Some(sender)).is_ok(), "the log is open");
        receiver.recv().expect("it becomes durable");
    }

    fn reader(&self) -> Reader {
        self.wal.reader()
    }

    /// Up to `count` durable records from `from` on, and where the log goes on behind them.
    fn read(&self, from: Lsn, count: usize) -> (Vec<(Lsn, Vec<u8>)>, Lsn) {
        let mut tail = self.reader().tail(from);
        let mut records = Vec::new();
        loop {
            let batch = match tail.next(Duration::ZERO) {
                Ok(Some(batch)) => batch,
                Ok(None) | Err(ReadError::Ended) => break,
                Err(error) => panic!("memory does not fail: {error}"),
            };
            for (lsn, payload) in batch.records() {
                if records.len() == count {
                    return (records, lsn);
                }
                records.push((lsn, payload.to_vec()));
            }
        }
        (records, tail.cursor())
    }
}

/// Options under which every bound is met: parts of a few entries, and almost no balances in memory.
fn tight() -> Options {
    Options { cache_bytes: 1 << 20, recent_entries: 40, balances: 4, ..Options::default() }
}

fn open(directory: &Path, log: &TestLog, options: Options) -> History {
    History::open(directory, &log.reader(), options).expect("it opens")
}

/// Adds up to `count` records from `from` on, whether they are known already or not.
fn feed_from(history: &History, log: &TestLog, from: Lsn, count: usize) {
    let (records, next) = log.read(from, count);
    let mut batch = history.batch();
    add(&mut batch, &records);
    batch.commit(next);
}

/// Adds up to `count` records that the index does not know yet.
fn feed(history: &History, log: &TestLog, count: usize) {
    feed_from(history, log, history.cursor(), count);
}

/// Adds everything that is left.
fn feed_all(history: &History, log: &TestLog) {
    feed(history, log, usize::MAX);
}

fn add(batch: &mut Batch<'_>, records: &[(Lsn, Vec<u8>)]) {
    for (lsn, payload) in records {
        batch.record(*lsn, payload).expect("it is indexed");
    }
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// A number in a range, from both ends' point of view.
fn between(random: &mut Random, least: u64, most: u64) -> u64 {
    least + random.below(most - least + 1)
}

fn chance(random: &mut Random, percent: u64) -> bool {
    random.below(100) < percent
}

/// Runs `test` with the seeds of this build, or with the one of `HISTORY_SEED`. A failure prints how to repeat it.
fn for_each_seed(name: &str, seeds: u64, test: impl Fn(u64)) {
    let seeds = match std::env::var("HISTORY_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("HISTORY_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..seeds,
    };
    for seed in seeds {
        let replay = Replay { name, seed };
        test(seed);
        std::mem::forget(replay);
    }
}

/// Prints the command that repeats a failure when it is dropped by one.
struct Replay<'a> {
    name: &'a str,
    seed: u64,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        let Replay { name, seed } = self;
        eprintln!("seed {seed}; repeat with: HISTORY_SEED={seed} cargo test -p history {name}");
    }
}
