//! Indexes that cannot be trusted: set aside, rebuilt, and never a reason not to start.

use std::fs;
use std::path::PathBuf;

use super::lists::check_queries;
use super::model::Generator;
use ledger::WalletId;

use super::*;
use crate::{Entry, Error, TimeRange};

/// An index of a log with everything in the database.
fn sealed_index(directory: &Path, seed: u64) -> (TestLog, Generator) {
    let mut log = TestLog::new();
    let mut generator = Generator::new(seed, 5);
    generator.append(&mut log, 200);
    let history = open(directory, &log, Options::default());
    feed_all(&history, &log);
    history.seal().expect("it is sealed");
    (log, generator)
}

/// Names next to the index that begin like it, sorted.
fn set_aside(directory: &Path) -> Vec<String> {
    let parent = directory.parent().expect("it has a parent");
    let names =
        fs::read_dir(parent).expect("it is listed").map(|entry| entry.expect("it is listed").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.into_string().expect("it is text"))
        .filter(|name| name.starts_with("history.damaged-"))
        .collect();
    names.sort();
    names
}

/// Opens the index, which must have been set aside for the `times`-th time, and rebuilds it.
#[track_caller]
fn check_rebuilt(directory: &Path, log: &TestLog, generator: &mut Generator, times: usize) {
    let history = open(directory, log, Options::default());
    assert_eq!(history.cursor(), Lsn::ZERO, "it begins from the start");
    assert_eq!(set_aside(directory).len(), times);
    feed_all(&history, log);
    check_queries(&history, generator, 30);
    history.seal().expect("it is sealed");
    let cursor = history.cursor();
    drop(history);
    let history = open(directory, log, Options::default());
    assert_eq!(history.cursor(), cursor, "once rebuilt it stays");
    assert_eq!(set_aside(directory).len(), times);
}

/// Every file of the database, sorted.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![directory.join("index")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("it is listed") {
            let path = entry.expect("it is listed").path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

#[test]
fn another_log_in_the_same_place_is_noticed() {
    let parent = directory();
    let directory = parent.path().join("history");
    drop(sealed_index(&directory, 1));
    // A log that is longer, and one that ends before the index does.
    let mut longer = TestLog::new();
    let mut generator = Generator::new(2, 5);
    generator.append(&mut longer, 400);
    check_rebuilt(&directory, &longer, &mut generator, 1);
    let mut shorter = TestLog::new();
    let mut generator = Generator::new(3, 5);
    generator.append(&mut shorter, 20);
    check_rebuilt(&directory, &shorter, &mut generator, 2);
    assert_eq!(set_aside(&directory), ["history.damaged-1", "history.damaged-2"]);
}

#[test]
fn a_log_that_was_taken_back_to_an_earlier_state_is_noticed() {
    let parent = directory();
    let directory = parent.path().join("history");
    let storage = MemoryStorage::new();
    let mut log = TestLog::open(&storage);
    let mut generator = Generator::new(8, 5);
    generator.append(&mut log, 100);
    log.wal.close().expect("it closes");
    let backup = MemoryStorage::with_files(storage.files());

    // The log goes on and is indexed; then the backup is restored and goes on differently, beyond the same length.
    let mut log = TestLog::open(&storage);
    let mut other = Generator::new(9, 5);
    other.append(&mut log, 50);
    let history = open(&directory, &log, Options::default());
    feed_all(&history, &log);
    history.seal().expect("it is sealed");
    drop(history);
    let mut log = TestLog::open(&backup);
    generator.append(&mut log, 100);
    check_rebuilt(&directory, &log, &mut generator, 1);
}

/// Records of the same sizes at the same positions, between other wallets.
#[test]
fn a_log_of_the_same_shape_is_noticed() {
    let parent = directory();
    let directory = parent.path().join("history");
    drop(sealed_index(&directory, 10));
    let mut log = TestLog::new();
    let mut generator = Generator::new(10, 5);
    generator.wallets.rotate_left(1);
    generator.append(&mut log, 200);
    check_rebuilt(&directory, &log, &mut generator, 1);
}

#[test]
fn a_condemned_index_and_one_whose_opening_never_ends_are_set_aside() {
    let parent = directory();
    let directory = parent.path().join("history");
    let (log, mut generator) = sealed_index(&directory, 4);
    fs::write(directory.join("condemned"), "a test").expect("it is written");
    check_rebuilt(&directory, &log, &mut generator, 1);

    // One unfinished opening may be a kill at the wrong moment; it is forgiven.
    fs::write(directory.join("opening"), "x").expect("it is written");
    let history = open(&directory, &log, Options::default());
    assert_ne!(history.cursor(), Lsn::ZERO);
    drop(history);
    assert!(!directory.join("opening").exists());

    fs::write(directory.join("opening"), "xx").expect("it is written");
    check_rebuilt(&directory, &log, &mut generator, 2);
}

#[test]
fn an_index_without_or_with_a_foreign_watermark_is_set_aside() {
    let parent = directory();
    let directory = parent.path().join("history");
    let (log, mut generator) = sealed_index(&directory, 5);
    for (times, watermark) in [(1, None), (2, Some(&[9; 41][..])), (3, Some(&[1; 7]))] {
        let database = fjall::Database::builder(directory.join("index")).open().expect("it opens");
        let rows = database.keyspace("entries", fjall::KeyspaceCreateOptions::default).expect("it opens");
        match watermark {
            None => rows.remove([0]).expect("it is removed"),
            Some(row) => rows.insert([0], row).expect("it is written"),
        }
        drop((rows, database));
        check_rebuilt(&directory, &log, &mut generator, times);
    }
}

#[test]
fn an_index_that_is_open_elsewhere_is_left_alone() {
    let parent = directory();
    let directory = parent.path().join("history");
    let (log, _) = sealed_index(&directory, 6);
    let history = open(&directory, &log, Options::default());
    let second = History::open(&directory, &log.reader(), Options::default());
    assert!(matches!(second, Err(Error::Locked { .. })), "{second:?}");
    assert!(set_aside(&directory).is_empty());
    drop(history);
}

#[test]
fn options_out_of_range_are_refused() {
    let log = TestLog::new();
    let directory = directory();
    for options in [
        Options { cache_bytes: 0, ..Options::default() },
        Options { recent_entries: 0, ..Options::default() },
        Options { recent_entries: usize::MAX, ..Options::default() },
        Options { balances: 1, ..Options::default() },
        Options { niceness: 20, ..Options::default() },
        Options { niceness: -1, ..Options::default() },
    ] {
        let refused = History::open(directory.path(), &log.reader(), options.clone());
        assert!(matches!(refused, Err(Error::Options { .. })), "{options:?}");
    }
}

/// Whatever happens to its files, the index opens, and what it lists is right or an error; what errs is rebuilt.
#[test]
fn damaged_files_never_give_wrong_lists() {
    for_each_seed("damaged_files_never_give_wrong_lists", 24, |seed| {
        let parent = directory();
        let directory = parent.path().join("history");
        let (log, mut generator) = sealed_index(&directory, seed);
        let mut random = Random::new(seed);
        let files = files(&directory);
        let file = &files[usize::try_from(random.below(files.len() as u64)).expect("it is small")];
        damage(file, &mut random);

        let history = open(&directory, &log, Options::default());
        match refill(&history, &log).and_then(|()| statements(&history, &generator)) {
            Ok(found) => {
                let end = history.cursor();
                let range = TimeRange::default();
                let expected =
                    |wallet: &WalletId| generator.model.entries(end, *wallet, None, range, 1_000).items;
                let expected: Vec<_> = generator.wallets.iter().map(expected).collect();
                assert_eq!(found, expected, "after damage to {}", file.display());
            }
            Err(error) => {
                assert!(error.is_damage(), "after damage to {}: {error}", file.display());
                drop(history);
                check_rebuilt(&directory, &log, &mut generator, 1);
            }
        }
    });
}

/// Adds what is missing; an index that misses nothing may still be damaged.
fn refill(history: &History, log: &TestLog) -> Result<(), Error> {
    let (records, next) = log.read(history.cursor(), usize::MAX);
    let mut batch = history.batch();
    records.iter().try_for_each(|(lsn, payload)| batch.record(*lsn, payload))?;
    batch.commit(next);
    Ok(())
}

fn statements(history: &History, generator: &Generator) -> Result<Vec<Vec<Entry>>, Error> {
    let statement =
        |wallet: &WalletId| Ok(history.entries(*wallet, None, TimeRange::default(), 1_000)?.items);
    generator.wallets.iter().map(statement).collect()
}

fn damage(file: &Path, random: &mut Random) {
    let mut bytes = fs::read(file).expect("it is read");
    match random.below(3) {
        0 => bytes.clear(),
        1 if !bytes.is_empty() => {
            bytes.truncate(usize::try_from(random.below(bytes.len() as u64)).expect("it is small"))
        }
        _ => {
            // The database's own journal is 64 MiB of zeros: only its beginning is worth hitting.
            let reach = if bytes.len() > 1 << 20 { 4_096 } else { bytes.len() as u64 };
            for _ in 0..8 {
                if reach > 0 {
                    let index = usize::try_from(random.below(reach)).expect("it is small");
                    bytes[index] ^= 1 << random.below(8);
                }
            }
        }
    }
    fs::write(file, bytes).expect("it is written");
}
