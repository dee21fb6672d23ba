//! The k-th effect on the disk fails, for every k, and nothing works after it: what a restart finds is the older
//! generation, or the newer one whole.

use super::*;
use crate::disk::Disk;

const OLD_START: u64 = 3;
const NEW_START: u64 = 9;

/// A store with one generation, on a disk that can be made to die.
fn old_generation(directory: &Path) -> (FileStore, Disk) {
    let disk = Disk::default();
    let store = FileStore::open_on(disk.clone(), directory).expect("it opens");
    write(&store, 0, OLD_START, &rows(1, 6_000)).expect("it is written");
    (store, disk)
}

/// Steps that writing the newer generation and dropping the older one takes.
fn steps() -> u64 {
    let directory = directory();
    let (store, disk) = old_generation(directory.path());
    let before = disk.faults.steps();
    replace(&store).expect("nothing fails");
    disk.faults.steps() - before
}

fn replace(store: &FileStore) -> Result<Generation, Error> {
    let written = write(store, 0, NEW_START, &rows(2, 6_000))?;
    store.retain(1)?;
    Ok(written)
}

/// After a restart: no leftovers, no damage, and the newest generation is whole and one of the two.
#[track_caller]
fn check_restart(directory: &Path, why: impl std::fmt::Display) -> u64 {
    let store = FileStore::open(directory).expect("it opens");
    let listing = store.list().expect("it lists");
    assert!(listing.damaged.is_empty(), "{why}: {:?}", listing.damaged);
    assert_eq!(files(directory).len(), listing.generations.len(), "{why}: no leftovers");
    let newest = listing.generations.first().unwrap_or_else(|| panic!("{why}: a generation is left"));
    let (found, generation) = read(&store, newest.id).unwrap_or_else(|error| panic!("{why}: {error}"));
    let expected = if generation.summary.start == OLD_START { rows(1, 6_000) } else { rows(2, 6_000) };
    assert!(found == expected, "{why}: the rows are those that were written");
    let next = write(&store, 0, 20, &rows(3, 2)).expect("the store goes on");
    assert!(next.id > newest.id, "{why}: ids grow");
    generation.summary.start
}

#[test]
fn every_step_fails_once() {
    let steps = steps();
    assert!(steps > 8, "several chunks, a sync, a rename and a removal: {steps}");
    let mut outcomes = Vec::new();
    for step in 1..=steps {
        let directory = directory();
        let (store, disk) = old_generation(directory.path());
        disk.faults.die_at(step);
        let error = replace(&store).expect_err("the disk has died");
        assert!(matches!(error, Error::Io { .. }), "step {step}: {error}");
        drop(store);
        outcomes.push(check_restart(directory.path(), format_args!("step {step} of {steps}")));
    }
    assert_eq!(outcomes.first(), Some(&OLD_START));
    assert_eq!(outcomes.last(), Some(&NEW_START));
    assert!(outcomes.is_sorted(), "once it has its name it stays: {outcomes:?}");
}

/// Nothing gets a name that is not on the disk, and no name counts that is not.
#[test]
fn content_then_name_then_directory() {
    let directory = directory();
    let (store, disk) = old_generation(directory.path());
    disk.faults.take_actions();
    write(&store, 0, NEW_START, &rows(2, 80_000)).expect("it is written");
    let actions = disk.faults.take_actions();
    let (last, first) =
        actions.split_last_chunk::<4>().map(|(first, last)| (last, first)).expect("there are more");
    assert_eq!(*last, ["write to", "sync", "rename", "sync the directory"]);
    assert_eq!(first[0], "create");
    let written = first.iter().filter(|action| **action == "write to").count();
    let begun = first.iter().filter(|action| **action == "write back").count();
    assert!(begun > 0, "{written} chunks are not left to one sync at the end");
    assert_eq!(1 + written + begun, first.len(), "the file system commits once, at the end");
}

#[test]
fn a_rename_that_was_not_durable_is_as_if_it_never_was() {
    let directory = directory();
    let (store, _) = old_generation(directory.path());
    let written = write(&store, 0, NEW_START, &rows(2, 6_000)).expect("it is written");
    assert_eq!(written.id, 2);
    drop(store);
    let named = files(directory.path()).pop().expect("the newest file");
    let mut temporary = named.clone().into_os_string();
    temporary.push(".tmp");
    std::fs::rename(&named, &temporary).expect("it is renamed");
    assert_eq!(check_restart(directory.path(), "rename undone"), OLD_START);
}

#[test]
fn a_failure_ends_the_writer_for_good() {
    let directory = directory();
    let (store, disk) = old_generation(directory.path());
    let mut writer = store.begin(0, NEW_START).expect("it begins");
    disk.faults.die_at(1);
    let row = vec![1; 300_000];
    assert!(matches!(writer.put(&row), Err(Error::Io { action: "write to", .. })));
    assert!(matches!(writer.put(&row), Err(Error::GivenUp { id: 2 })));
    let summary = Tally::default().summary(NEW_START, NEW_START);
    assert!(matches!(writer.finish(summary, CREATED_AT), Err(Error::GivenUp { id: 2 })));
    drop(store);
    assert_eq!(check_restart(directory.path(), "after a failed put"), OLD_START);
}
