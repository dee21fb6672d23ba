//! The commit path under a model checker: the log's own code, with its locks, condition variables and threads
//! replaced by those of shuttle, in thousands of interleavings.
//!
//! Run: `cargo test -p wal --features shuttle --test shuttle --release`. `WAL_SHUTTLE_ITERATIONS` widens the
//! search; a failure prints the schedule, and `WAL_SHUTTLE_SCHEDULE` replays it.

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, Runner, thread};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wal::storage::{Access, Lock, Storage, StorageFile};
use wal::testing::{Fault, FaultyStorage, On};
use wal::{Entropy, Event, Log, Lsn, Options, ReadError, Refused, Wal};

/// How many interleavings each test tries.
fn iterations() -> usize {
    std::env::var("WAL_SHUTTLE_ITERATIONS").map_or(2_000, |value| value.parse().expect("a number"))
}

fn check(body: impl Fn() + Send + Sync + 'static) {
    let body = Arc::new(body);
    if let Ok(schedule) = std::env::var("WAL_SHUTTLE_SCHEDULE") {
        return shuttle::replay(move || body(), &schedule);
    }
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::Print;
    config.stack_size = 1 << 18;
    let random = Arc::clone(&body);
    Runner::new(RandomScheduler::new(iterations()), config.clone()).run(move || random());
    Runner::new(PctScheduler::new(3, iterations()), config).run(move || body());
}

struct Counter(Mutex<u128>);

impl Entropy for Counter {
    fn draw(&self) -> io::Result<u128> {
        let mut drawn = self.0.lock().expect("not poisoned");
        *drawn += 1;
        Ok(*drawn)
    }
}

fn options() -> Options {
    Options {
        segment_bytes: 2048,
        record_bytes_max: 256,
        batch_bytes_max: 512,
        segments_ahead: 1,
        // Under the model checker no time passes; the watermark comes with the close.
        watermark_after: Duration::from_secs(3600),
        entropy: Arc::new(Counter(Mutex::new(0))),
        ..Options::default()
    }
}

/// A disk that knows up to which position the log was synced, and lets other threads run in the middle of its
/// syncs.
#[derive(Clone)]
struct Watched {
    inner: FaultyStorage,
    synced: Arc<Mutex<Lsn>>,
}

struct WatchedFile {
    inner: Arc<dyn StorageFile>,
    /// Position of the file's first byte.
    base: u64,
    written: Mutex<Lsn>,
    synced: Arc<Mutex<Lsn>>,
}

impl Watched {
    fn new() -> Watched {
        Watched { inner: FaultyStorage::new(), synced: Arc::default() }
    }

    fn synced(&self) -> Lsn {
        *self.synced.lock().expect("not poisoned")
    }
}

impl Storage for Watched {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn lock(&self) -> io::Result<Option<Lock>> {
        self.inner.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let number: u64 = name[..10].parse().expect("files are numbered");
        let base = (number - 1) * options().segment_bytes;
        let (inner, synced) = (self.inner.create(name)?, Arc::clone(&self.synced));
        Ok(Arc::new(WatchedFile { inner, base, written: Mutex::new(Lsn::ZERO), synced }))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        self.inner.open(name, access)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.inner.sync_directory()
    }
}

impl StorageFile for WatchedFile {
    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, bytes)?;
        // Batches, and not the zeros and the identity that a segment is made of.
        let end = offset + bytes.len() as u64;
        if end > 1024 && bytes.iter().any(|byte| *byte != 0) {
            *self.written.lock().expect("not poisoned") = Lsn::new(self.base + end);
        }
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.inner.allocate(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        let written = *self.written.lock().expect("not poisoned");
        thread::yield_now();
        self.inner.sync_data()?;
        let mut synced = self.synced.lock().expect("not poisoned");
        *synced = written.max(*synced);
        drop(synced);
        thread::yield_now();
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.inner.drop_cache()
    }
}

/// What the sink was told.
#[derive(Default)]
struct Told {
    committed: Vec<u64>,
    records: Vec<(Lsn, Vec<u8>)>,
    /// Companions that came back with an error.
    given_up: Option<Vec<u64>>,
}

fn start(storage: &Watched) -> (Wal<u64>, Arc<Mutex<Told>>) {
    let told = Arc::new(Mutex::new(Told::default()));
    let log = Log::open(Arc::new(storage.clone()), options()).expect("the log opens");
    let (sink, watched) = (Arc::clone(&told), storage.clone());
    let wal = log.start(move |event| {
        let mut told = sink.lock().expect("not poisoned");
        assert!(told.given_up.is_none(), "nothing follows the end");
        match event {
            Event::Committed(batch) => {
                assert!(batch.end() <= watched.synced(), "acknowledged above the synced position");
                told.records.extend(batch.records().map(|(lsn, payload)| (lsn, payload.to_vec())));
                told.committed.extend(batch.companions);
            }
            Event::Poisoned { companions, .. } => told.given_up = Some(companions),
        }
    });
    let wal = wal.expect("the log starts");
    wal.gather_to(2);
    (wal, told)
}

/// Appends records of this size, numbered from `first`, until `count` are in or the log takes no more; those
/// it took.
fn append(wal: &Wal<u64>, storage: &Watched, first: u64, count: u64, size: usize) -> Vec<u64> {
    let mut taken = Vec::new();
    for number in first..first + count {
        let payload = number.to_le_bytes().repeat(size / 8);
        loop {
            match wal.append_with(&payload, |_| number) {
                Ok(lsn) => {
                    assert!(lsn < wal.appended_lsn());
                    break;
                }
                Err(Refused::Full) => thread::yield_now(),
                Err(Refused::Closed | Refused::Poisoned) => return taken,
                Err(Refused::TooLarge) => panic!("small records"),
            }
        }
        taken.push(number);
        assert!(wal.durable_lsn() <= storage.synced(), "durable above the synced position");
    }
    taken
}

#[test]
fn nothing_is_acknowledged_or_shown_above_the_synced_position() {
    check(|| {
        let storage = Watched::new();
        let (wal, told) = start(&storage);
        let appenders: Vec<_> = (0..2)
            .map(|thread| {
                let (wal, storage) = (wal.clone(), storage.clone());
                thread::spawn(move || append(&wal, &storage, thread * 10, 2, 64))
            })
            .collect();
        let mut tail = wal.reader().tail(Lsn::ZERO);
        let watched = storage.clone();
        let follower = thread::spawn(move || {
            let mut seen = Vec::new();
            loop {
                match tail.next(Duration::from_secs(3600)) {
                    Ok(Some(batch)) => {
                        assert!(batch.end() <= watched.synced(), "shown above the synced position");
                        seen.extend(batch.records().map(|(lsn, payload)| (lsn, payload.to_vec())));
                    }
                    Ok(None) => {}
                    Err(ReadError::Ended) => return seen,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        wal.attach(99).expect("the log runs");
        let mut taken = vec![99];
        for appender in appenders {
            taken.extend(appender.join().expect("the appender ends"));
        }
        wal.close().expect("a clean end");
        let seen = follower.join().expect("the follower ends");
        let mut told = told.lock().expect("not poisoned");
        assert_eq!(seen, told.records);
        told.committed.sort_unstable();
        taken.sort_unstable();
        assert_eq!(told.committed, taken);
    });
}

#[test]
fn segments_change_under_appenders() {
    check(|| {
        let storage = Watched::new();
        let (wal, told) = start(&storage);
        let appenders: Vec<_> = (0..2)
            .map(|thread| {
                let (wal, storage) = (wal.clone(), storage.clone());
                thread::spawn(move || append(&wal, &storage, thread * 10, 4, 256))
            })
            .collect();
        appenders.into_iter().for_each(|appender| drop(appender.join().expect("the appender ends")));
        wal.close().expect("a clean end");
        assert!(wal.stat().segments >= 2);
        let told = told.lock().expect("not poisoned");
        assert_eq!(told.committed.len(), 8);
        let reader = wal.reader();
        for (lsn, payload) in &told.records {
            assert_eq!(&reader.read(*lsn).expect("durable"), payload);
        }
    });
}

#[test]
fn a_close_keeps_what_was_taken() {
    check(|| {
        let storage = Watched::new();
        let (wal, told) = start(&storage);
        let (second, watched) = (wal.clone(), storage.clone());
        let appender = thread::spawn(move || append(&second, &watched, 0, 3, 64));
        let third = wal.clone();
        let closer = thread::spawn(move || third.close().expect("a clean end"));
        wal.close().expect("a clean end");
        let taken = appender.join().expect("the appender ends");
        closer.join().expect("the closer ends");
        assert_eq!(told.lock().expect("not poisoned").committed, taken);
        assert_eq!(wal.durable_lsn(), wal.appended_lsn());
    });
}

#[test]
fn a_failed_sync_reaches_everybody_who_waits() {
    for nth in 1..=4 {
        check(move || {
            let storage = Watched::new();
            let (wal, told) = start(&storage);
            storage.inner.fail(Fault { on: On::Sync, nth, kind: io::ErrorKind::Other, lasting: true });
            let appenders: Vec<_> = (0..2)
                .map(|thread| {
                    let (wal, storage) = (wal.clone(), storage.clone());
                    thread::spawn(move || append(&wal, &storage, thread * 10, 3, 64))
                })
                .collect();
            let mut taken: Vec<u64> = Vec::new();
            for appender in appenders {
                taken.extend(appender.join().expect("the appender ends"));
            }
            let closed = wal.close();
            let mut told = told.lock().expect("not poisoned");
            assert_eq!(closed.is_err(), told.given_up.is_some());
            let mut back = std::mem::take(&mut told.committed);
            back.extend(told.given_up.take().unwrap_or_default());
            back.sort_unstable();
            taken.sort_unstable();
            assert_eq!(back, taken, "every companion comes back exactly once");
        });
    }
}
