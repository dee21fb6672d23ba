//! What the log costs: appending, committing in groups on a real file, replaying; and beside it the floor,
//! which is one positioned write and one `fdatasync` of the same bytes into a preallocated file without any
//! log around it.
//!
//! The files lie in `WAL_BENCH_DIRECTORY`, or in the temporary directory; put them on the disk that is to be
//! measured.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::fs::File;
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wal::storage::{Access, FileStorage, Lock, Storage, StorageFile};
use wal::{Event, Log, Lsn, Options, Refused, Wal};

/// A payment's record is about this large.
const PAYLOAD: [u8; 200] = [0xA5; 200];
/// What such a record takes in the log.
const FRAME_BYTES: usize = 216;
/// What a batch takes besides its records.
const BATCH_BYTES: usize = 72;
const GROUPS: [usize; 3] = [1, 64, 1024];
const REPLAYED: u64 = 200_000;

fn directory() -> TempDir {
    let parent = std::env::var_os("WAL_BENCH_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(parent).expect("a directory for the bench")
}

/// A log that tells through the channel when a companion `true` has come back.
fn start(storage: Arc<dyn Storage>, options: Options) -> (Wal<bool>, Receiver<()>) {
    let (sender, receiver) = sync_channel(1);
    let log = Log::open(storage, options).expect("the log opens");
    let wal = log.start(move |event| match event {
        Event::Committed(batch) => {
            if batch.companions.iter().any(|last| *last) {
                sender.send(()).expect("the bench waits");
            }
        }
        Event::Poisoned { error, .. } => panic!("{error}"),
    });
    (wal.expect("the log starts"), receiver)
}

fn append(wal: &Wal<bool>, last: bool) -> Lsn {
    loop {
        match wal.append_with(&PAYLOAD, |_| last) {
            Ok(lsn) => return lsn,
            // The bench appends faster than a disk allocates.
            Err(Refused::Full) => std::thread::sleep(Duration::from_micros(50)),
            Err(refused) => panic!("{refused}"),
        }
    }
}

/// A disk that costs nothing and keeps nothing.
struct Discard;

impl Storage for Discard {
    fn place(&self) -> String {
        "nowhere".to_owned()
    }

    fn lock(&self) -> io::Result<Option<Lock>> {
        Ok(Some(Box::new(())))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn create(&self, _: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(Discard))
    }

    fn open(&self, _: &str, _: Access) -> io::Result<Arc<dyn StorageFile>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }
}

impl StorageFile for Discard {
    fn length(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    fn write_at(&self, _: u64, bytes: &[u8]) -> io::Result<()> {
        black_box(bytes);
        Ok(())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }
}

/// `append_with` alone while the log thread works beside it, and both together: what the processor spends per
/// record.
fn append_to_nowhere(criterion: &mut Criterion) {
    let options = Options { segment_bytes: 1 << 30, ..Options::default() };
    let (wal, done) = start(Arc::new(Discard), options);
    let mut group = criterion.benchmark_group("no disk");
    group.throughput(Throughput::Elements(1));
    for (name, includes_log_thread) in [("append_with", false), ("append_with and log thread", true)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                let mut left = iterations;
                while left > 0 {
                    let round = left.min(4_000);
                    let started = Instant::now();
                    for _ in 1..round {
                        black_box(append(&wal, false));
                    }
                    black_box(append(&wal, true));
                    let appended = started.elapsed();
                    done.recv().expect("the log thread goes on");
                    spent += if includes_log_thread { started.elapsed() } else { appended };
                    left -= round;
                }
                spent
            });
        });
    }
    group.finish();
    wal.close().expect("a clean end");
}

/// Appends a group and waits until its last record is durable.
fn commit_groups(criterion: &mut Criterion) {
    let directory = directory();
    let storage = FileStorage::open(directory.path()).expect("the directory");
    let (wal, done) = start(Arc::new(storage), Options::default());
    let mut group = criterion.benchmark_group("append and commit");
    for size in GROUPS {
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(format!("{size} records"), |bencher| {
            bencher.iter(|| {
                for _ in 1..size {
                    append(&wal, false);
                }
                append(&wal, true);
                done.recv().expect("the log thread goes on");
            });
        });
    }
    group.finish();
    wal.close().expect("a clean end");
}

/// One write and one sync of the same number of bytes.
fn floor(criterion: &mut Criterion) {
    const FILE_BYTES: usize = 64 << 20;
    let directory = directory();
    let file = File::create(directory.path().join("floor")).expect("a file");
    file.write_all_at(&vec![0; FILE_BYTES], 0).expect("written");
    file.sync_all().expect("synced");
    let mut group = criterion.benchmark_group("floor: write and fdatasync");
    for size in GROUPS {
        let bytes = vec![0xA5; BATCH_BYTES + size * FRAME_BYTES];
        let mut offset = 0;
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(format!("bytes of {size} records"), |bencher| {
            bencher.iter(|| {
                if offset + bytes.len() > FILE_BYTES {
                    offset = 0;
                }
                file.write_all_at(&bytes, offset as u64).expect("written");
                file.sync_data().expect("synced");
                offset += bytes.len();
            });
        });
    }
    group.finish();
}

/// Reads, verifies and visits every record of a log on a real file.
fn replay(criterion: &mut Criterion) {
    let directory = directory();
    let storage: Arc<dyn Storage> = Arc::new(FileStorage::open(directory.path()).expect("the directory"));
    let (wal, done) = start(Arc::clone(&storage), Options::default());
    for number in 1..=REPLAYED {
        append(&wal, number == REPLAYED);
    }
    done.recv().expect("the log thread goes on");
    wal.close().expect("a clean end");
    drop(wal);
    let log = Log::open(storage, Options::default()).expect("the log opens");
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Elements(REPLAYED));
    group.bench_function(format!("{REPLAYED} records"), |bencher| {
        bencher.iter_batched(
            || 0_u64,
            |mut bytes| {
                let visit = |_: Lsn, payload: &[u8]| {
                    bytes += payload.len() as u64;
                    Ok::<(), ()>(())
                };
                let replayed = log.replay(Lsn::ZERO, visit).expect("a sound log");
                assert_eq!((replayed.records, bytes), (REPLAYED, REPLAYED * PAYLOAD.len() as u64));
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3));
    targets = append_to_nowhere, commit_groups, floor, replay
}
criterion_main!(benches);
