//! What a store keeps, lists and forgets.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spread::Rate;

use super::*;
use crate::ROW_BYTES_MAX;
use crate::writer::CHUNK_BYTES;

const NO_FILES: [PathBuf; 0] = [];

#[test]
fn rows_come_back_in_order_with_their_summary() {
    let directory = directory();
    let store = FileStore::open(directory.path()).expect("it opens");
    for wallets in [0, 1, 7, 5_000] {
        let rows = rows(wallets, wallets);
        let written = write(&store, 3, 40, &rows).expect("it is written");
        let (found, read) = read(&store, written.id).expect("it is read");
        assert!(found == rows, "{wallets} wallets come back unchanged");
        assert_eq!(read, written);
        assert_eq!((read.partition, read.summary.start, read.summary.covers), (3, 40, 90));
        assert_eq!((read.summary.wallets, read.summary.agents), (wallets, 1));
        assert_eq!(read.created_at, CREATED_AT);
        assert_eq!(store.verify(read.id).expect("it is whole"), read);
    }
}

#[test]
fn a_generation_without_rows_is_one() {
    let directory = directory();
    let store = FileStore::open(directory.path()).expect("it opens");
    let written = write(&store, 0, 0, &[]).expect("it is written");
    assert_eq!(read(&store, written.id).expect("it is read"), (vec![], written.clone()));
    assert_eq!(store.list().expect("it lists").generations, [written]);
}

#[test]
fn equal_rows_have_equal_digests_and_others_have_others() {
    let directory = directory();
    let store = FileStore::open(directory.path()).expect("it opens");
    let one = write(&store, 0, 5, &rows(1, 50)).expect("it is written");
    let other = write(&store, 0, 5, &rows(2, 50)).expect("it is written");
    assert_ne!(one.digest, other.digest);
    let elsewhere = self::directory();
    let store = FileStore::open(elsewhere.path()).expect("it opens");
    assert_eq!(write(&store, 0, 5, &rows(1, 50)).expect("it is written").digest, one.digest);
}

#[test]
fn a_row_longer_than_a_chunk_has_one_of_its_own() {
    let directory = directory();
    let store = FileStore::open(directory.path()).expect("it opens");
    let mut agent = agent(1);
    agent.name = "x".repeat(1_000_000).into();
    let rows = vec![wallet(1, 1), Row::Agent(agent), wallet(1, 2)];
    let written = write(&store, 0, 5, &rows).expect("it is written");
    assert!(read(&store, written.id).expect("it is read").0 == rows);
}

#[test]
fn an_oversized_row_ends_its_generation() {
    let directory = directory();
    let store = FileStore::open(directory.path()).expect("it opens");
    let mut writer = store.begin(0, 1).expect("it begins");
    let row = vec![1; ROW_BYTES_MAX + 1];
    assert!(matches!(writer.put(&row), Err(Error::RowTooLarge { .. })));
    assert!(matches!(writer.put(&row[..9]), Err(Error::GivenUp { id: 1 })));
    assert!(matches!(
        writer.finish(Tally::default().summary(1, 1), CREATED_AT),
        Err(Error::GivenUp { id: 1 })
    ));
    assert_eq!(files(directory.path()), NO_FILES);
}

#[test]
fn nothing_is_visible_before_the_end_and_nothing_stays_of_what_is_dropped() {
    let directory = directory();
    let store = FileStore::open(directory.path()).expect("it opens");
    let writer = store.begin(0, 1).expect("it begins");
    assert_eq!(store.list().expect("it lists").generations, []);
    assert_eq!(files(directory.path()).len(), 1);

    // Looking at the store from elsewhere leaves the running writer alone.
    let inspector = FileStore::open(directory.path()).expect("it opens a second time");
    assert!(inspector.list().expect("it lists").damaged.is_empty());
    assert_eq!(files(directory.path()).len(), 1);

    drop(writer);
    assert_eq!(files(directory.path()), NO_FILES);
}

#[test]
fn two_generations_at_once_do_not_meet() {
    let directory = directory();
    let store = FileStore::open(directory.path()).expect("it opens");
    let first = store.begin(0, 1).expect("it begins");
    let second = store.begin(1, 2).expect("it begins");
    let second = second.finish(Tally::default().summary(2, 2), CREATED_AT).expect("it is written");
    let first = first.finish(Tally::default().summary(1, 1), CREATED_AT).expect("it is written");
    assert_eq!((first.id, second.id), (1, 2));
    assert_eq!(store.list().expect("it lists").generations, [second, first]);
}

#[test]
fn the_newest_of_each_partition_are_kept() {
    let directory = directory();
    let store = FileStore::open(directory.path()).expect("it opens");
    for (partition, start) in [(0, 1), (1, 1), (0, 2), (0, 3), (0, 4)] {
        write(&store, partition, start, &rows(start, 3)).expect("it is written");
    }
    store.retain(2).expect("it retains");
    let kept = store.list().expect("it lists").generations;
    assert_eq!(
        kept.iter().map(|kept| (kept.id, kept.partition)).collect::<Vec<_>>(),
        [(5, 0), (4, 0), (2, 1)]
    );
}

#[test]
fn a_damaged_generation_does_not_count_as_kept() {
    let directory = directory();
    let store = FileStore::open(directory.path()).expect("it opens");
    for start in 1..=4 {
        write(&store, 0, start, &rows(start, 300)).expect("it is written");
    }
    // In the rows, where only a full reading finds it.
    let newest = &files(directory.path())[3];
    let mut bytes = std::fs::read(newest).expect("it is read");
    bytes[500] ^= 1;
    std::fs::write(newest, &bytes).expect("it is written");

    // A store that did not write the generations itself has to read them.
    let store = FileStore::open(directory.path()).expect("it opens");
    store.retain(2).expect("it retains");
    let ids = |store: &FileStore| {
        store.list().expect("it lists").generations.iter().map(|kept| kept.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&store), [4, 3, 2]);

    // Once it is older than what is kept, it goes.
    for start in 5..=6 {
        write(&store, 0, start, &rows(start, 3)).expect("it is written");
    }
    store.retain(2).expect("it retains");
    assert_eq!(ids(&store), [6, 5]);
}

#[test]
fn a_file_that_is_damaged_at_its_ends_is_listed_as_such_and_removed_when_it_is_the_oldest() {
    let directory = directory();
    let store = FileStore::open(directory.path()).expect("it opens");
    for start in 1..=3 {
        write(&store, 0, start, &rows(start, 3)).expect("it is written");
    }
    for file in [&files(directory.path())[0], &files(directory.path())[2]] {
        let bytes = std::fs::read(file).expect("it is read");
        std::fs::write(file, &bytes[..bytes.len() - 1]).expect("it is written");
    }
    let store = FileStore::open(directory.path()).expect("it opens");
    let listing = store.list().expect("it lists");
    assert_eq!(listing.generations.iter().map(|whole| whole.id).collect::<Vec<_>>(), [2]);
    assert_eq!(listing.damaged.iter().map(|damaged| damaged.id).collect::<Vec<_>>(), [3, 1]);
    let text = listing.damaged[0].error.to_string();
    assert!(
        text.contains("generation-00000000000000000003.snapshot") && text.contains("move the file away"),
        "{text}"
    );

    // With one whole generation where two are wanted, nothing is removed; with two, the oldest damage is.
    store.retain(2).expect("it retains");
    assert_eq!(files(directory.path()).len(), 3);
    let newest = write(&store, 0, 4, &rows(4, 3)).expect("it is written");
    assert_eq!(newest.id, 4, "a damaged file keeps its number");
    store.retain(2).expect("it retains");
    let listing = store.list().expect("it lists");
    assert_eq!(listing.generations.iter().map(|whole| whole.id).collect::<Vec<_>>(), [4, 2]);
    assert_eq!(listing.damaged.iter().map(|damaged| damaged.id).collect::<Vec<_>>(), [3]);
}

#[test]
fn other_files_are_left_alone() {
    let directory = directory();
    let names = [
        "generation-1.snapshot",
        "generation-0000000000000000000x.snapshot",
        "notes.txt",
        "generation-.snapshot.tmp",
    ];
    for name in names {
        std::fs::write(directory.path().join(name), "mine").expect("it is written");
    }
    let store = FileStore::open(directory.path()).expect("it opens");
    let listing = store.list().expect("it lists");
    assert!(listing.generations.is_empty() && listing.damaged.is_empty());
    assert_eq!(write(&store, 0, 1, &[]).expect("it is written").id, 1);
    assert_eq!(files(directory.path()).len(), names.len() + 1);
}

#[test]
fn a_missing_generation_and_a_refused_row_are_told_apart() {
    let directory = directory();
    let store = FileStore::open(directory.path()).expect("it opens");
    assert!(matches!(read(&store, 8), Err(Error::Missing { id: 8 })));
    let written = write(&store, 0, 1, &rows(1, 2)).expect("it is written");
    let refused = store.load(written.id, &mut |_| Err(Error::Refused("not mine".into())));
    assert!(matches!(refused, Err(Error::Refused(_))));
}

#[test]
#[should_panic(expected = "keeps the start it was begun with")]
fn a_summary_belongs_to_the_generation_that_was_begun() {
    let directory = directory();
    let store = FileStore::open(directory.path()).expect("it opens");
    let writer = store.begin(0, 1).expect("it begins");
    let _ = writer.finish(Tally::default().summary(2, 2), CREATED_AT);
}

/// The format is kept: a file of version 1 stays readable, and today's writer still gives the same bytes. The rows are
/// opaque here; their own versions are the journal's.
#[test]
fn golden_file_of_version_1() {
    let golden = include_bytes!("golden-v1.snapshot");
    let directory = directory();
    let store = FileStore::open(directory.path()).expect("it opens");
    let mut writer = store.begin(2, 70).expect("it begins");
    writer.put(b"first row").expect("it is put");
    writer.put(b"second").expect("it is put");
    let sums = vec![(Currency::USD, Amount::from_nanos(-5)), (Currency::EUR, Amount::from_nanos(7))];
    let summary = crate::Summary { start: 70, covers: 90, wallets: 1, agents: 1, sums };
    let written = writer.finish(summary, CREATED_AT).expect("it is written");
    assert_eq!(std::fs::read(&files(directory.path())[0]).expect("it is read"), golden);

    std::fs::write(&files(directory.path())[0], golden).expect("it is written");
    let mut rows = Vec::new();
    let scanned =
        crate::reader::scan(&files(directory.path())[0], 1, crate::reader::Reading::Alone, |_, row| {
            rows.push(row.to_vec());
            Ok(())
        });
    assert_eq!(scanned.expect("it is read"), written);
    assert_eq!(rows, [&b"first row"[..], b"second"]);
}

/// A writer is held to its rate from below, and a quarter of the time more for reading back.
#[test]
fn a_writer_takes_the_time_that_its_bytes_may() {
    const PER_SECOND: u64 = 4 << 20;
    let directory = directory();
    let store = FileStore::open(directory.path()).expect("it opens");
    let begun = Instant::now();
    let mut writer = store.begin(0, 5).expect("it begins");
    writer.set_rate(Arc::new(Rate::new(NonZeroU64::new(PER_SECOND))));
    let (mut tally, mut scratch) = (Tally::default(), Scratch::new());
    for row in rows(1, 5_000) {
        encode_row(row.as_ref(), &mut scratch);
        tally.row(&row);
        writer.put(scratch.bytes()).expect("it is put");
    }
    let written = writer.finish(tally.summary(5, 6), CREATED_AT).expect("it is written");
    // Without the last chunk, which nothing follows that would have to wait, and what reading back sees less: lengths.
    let chunk = CHUNK_BYTES as u64;
    let counted = (written.bytes - chunk) * 9 / 8;
    assert!(written.bytes > 4 * chunk, "several chunks");
    assert!(begun.elapsed() >= Duration::from_millis(counted * 1_000 / PER_SECOND), "{:?}", begun.elapsed());
}
