//! Losses and mixtures in which every remaining byte is sound by itself: only what segments and batches say about
//! each other shows that something is wrong.

use super::damage::{Files, outcome};
use super::{Driven, small};
use crate::segment::{HEAD_BYTES, SECTOR, file_name};
use crate::testing::{Disk, FaultyStorage, Loss};
use crate::{Error, Options};
use std::sync::Arc;

fn options() -> Options {
    Options { segments_ahead: 2, ..small(9) }
}

fn start(storage: &FaultyStorage) -> Driven {
    Driven::start(Arc::new(storage.clone()), options()).expect("starts")
}

fn files(storage: &FaultyStorage) -> Files {
    storage.crash_image(Loss::Dropped).files()
}

/// Appends and commits one record at a time until the log has `segments` files, the last two of them blank.
fn grow(driven: &mut Driven, storage: &FaultyStorage, segments: u64) {
    while !files(storage).contains_key(&file_name(segments)) {
        driven.allocate();
        driven.append(vec![5; 200]).expect("room");
        while driven.commit() {}
        driven.allocate();
    }
}

/// As if nothing had ever been written to the segment.
fn blank(files: &mut Files, number: u64) {
    files.get_mut(&file_name(number)).expect("the segment")[SECTOR..].fill(0);
}

#[track_caller]
fn assert_corrupt(files: Files, segment: u64, words: &str) {
    match outcome(files, options()) {
        Err(Error::Corrupt { segment: named, what, .. }) => {
            assert!(named == segment && what.contains(words), "segment {named}: {what}");
        }
        other => panic!("not noticed: {:?}", other.map(|records| records.len())),
    }
}

#[test]
fn a_segment_that_became_blank_is_missed_by_the_one_made_after_it() {
    let storage = FaultyStorage::new();
    let mut driven = start(&storage);
    grow(&mut driven, &storage, 5);
    // Segment 5 was made when segment 3 was begun; let it be made anew while segment 3 holds durable records.
    driven.append(vec![6; 10]).expect("room");
    while driven.commit() {}
    driven.rest();
    drop(driven);
    let mut older = files(&storage);
    older.remove(&file_name(5));
    let storage = FaultyStorage::with_disk(Disk::with_files(older));
    let mut driven = start(&storage);
    driven.allocate();
    let mut lost = files(&storage);
    assert!(outcome(lost.clone(), options()).is_ok() && lost.contains_key(&file_name(5)));
    blank(&mut lost, 3);
    assert_corrupt(lost, 5, "was durable up to");
}

#[test]
fn all_segments_behind_a_sealed_one_cannot_be_missing() {
    let storage = FaultyStorage::new();
    let mut driven = start(&storage);
    grow(&mut driven, &storage, 5);
    drop(driven);
    for first_missing in 2..=3 {
        let mut lost = files(&storage);
        lost.retain(|name, _| *name < file_name(first_missing));
        assert_corrupt(lost, first_missing, "missing");
    }
}

#[test]
fn nothing_is_written_behind_a_blank_segment() {
    let storage = FaultyStorage::new();
    let mut driven = start(&storage);
    grow(&mut driven, &storage, 5);
    drop(driven);
    let mut strange = files(&storage);
    let head = usize::try_from(HEAD_BYTES).expect("small");
    strange.get_mut(&file_name(5)).expect("blank")[head..head + 100].fill(0xA5);
    assert_corrupt(strange, 5, "segment 4 was not");
}

#[test]
fn a_batch_that_rotted_after_a_restart_is_missed_by_the_link_behind_it() {
    let storage = FaultyStorage::new();
    let mut driven = start(&storage);
    driven.append(vec![1; 100]).expect("room");
    driven.commit();
    let lsn = driven.append(vec![2; 100]).expect("room");
    driven.commit();
    drop(driven);
    let mut driven = start(&storage);
    driven.append(vec![3; 100]).expect("room");
    driven.commit();
    drop(driven);
    // Of the first batch after the restart only the link arrived: torn. The last one before rots.
    let mut rotten = files(&storage);
    let head = usize::try_from(HEAD_BYTES).expect("small");
    rotten.get_mut(&file_name(2)).expect("in use")[head..].fill(0);
    assert_eq!(outcome(rotten.clone(), options()).expect("a torn tail").len(), 2);
    let offset = usize::try_from(lsn.get()).expect("small") + 30;
    rotten.get_mut(&file_name(1)).expect("in use")[offset] ^= 1;
    assert_corrupt(rotten, 2, "ended elsewhere");
}

/// Runs that begin with the same disk and write batches of records of these sizes into the same segment.
fn history(disk: &Disk, batches: &[usize], fill: u8) -> Files {
    let storage = FaultyStorage::with_disk(disk.clone());
    let mut driven = start(&storage);
    for size in batches {
        driven.append(vec![fill; *size]).expect("room");
        driven.commit();
    }
    files(&storage)
}

#[test]
fn batches_of_two_histories_are_not_mixed() {
    let storage = FaultyStorage::new();
    let mut driven = start(&storage);
    driven.allocate();
    driven.append(vec![1; 100]).expect("room");
    driven.rest();
    driven.allocate();
    drop(driven);
    let disk = Disk::with_files(files(&storage));
    // In bytes one batch of the first is as long as one of the second, or as two of the third.
    let first = history(&disk, &[328, 40, 40], 2);
    let table: [(&[usize], &str); 2] = [(&[328, 40, 40], "chain"), (&[120, 120, 40, 40], "does not follow")];
    let behind = usize::try_from(HEAD_BYTES).expect("small") + 72 + 16 + 328;
    for (batches, words) in table {
        let second = history(&disk, batches, 3);
        let mut mixed = first.clone();
        let name = file_name(2);
        assert_ne!(first[&name], disk.image(Loss::Dropped).files()[&name], "the runs wrote to segment 2");
        mixed.get_mut(&name).expect("in use")[behind..].copy_from_slice(&second[&name][behind..]);
        assert_corrupt(mixed, 2, words);
    }
}
