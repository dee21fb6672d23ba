//! Power cuts (T7, and T8 for some of them). One busy run is recorded call by call; then the power goes at many of its
//! calls, un-synced sectors and names survive or not, and a new engine recovers from what is left, with the snapshots
//! that had been finished by then. Everything that anybody had been told before the cut must still be true.
//!
//! `ENGINE_CRASH_POINTS` sets how many moments are tried.

mod run;
mod verdict;

use std::path::Path;

use testkit::Random;
use wal::testing::{Disk, FaultyStorage, Loss, MemoryStorage};

use crate::harness::Setup;
use run::{Recording, Told};
use verdict::Verdict;

/// Moments tried when nothing else is asked for.
const POINTS: usize = 520;

/// Every how many points the recovery is cut short as well.
const AGAIN: usize = 8;

#[test]
fn nothing_that_anybody_was_told_is_lost() {
    const REPLAY: &str = "cargo test -p engine --test engine nothing_that_anybody_was_told_is_lost";
    let mut random = Random::new(testkit::seed(REPLAY));
    let points =
        std::env::var("ENGINE_CRASH_POINTS").ok().and_then(|text| text.parse().ok()).unwrap_or(POINTS);
    let recording = Recording::make(random.next_u64());
    let last = recording.calls.len();
    let snapshots = recording.told.iter().filter(|(_, told)| matches!(told, Told::Snapshot(_))).count();
    eprintln!("{points} points among {last} calls, {} answers, {snapshots} snapshots", recording.told.len());
    assert!(last > 300 && snapshots > 1 && recording.told.len() > 1_000, "a run worth cutting");
    let mut moments: Vec<usize> = (0..points).map(|_| random.index(last + 1)).collect();
    moments.sort_unstable();
    let (mut disk, mut applied) = (Disk::new(), 0);
    for (index, moment) in moments.into_iter().enumerate() {
        for call in &recording.calls[applied..moment] {
            disk.apply(call);
        }
        applied = moment;
        let loss = match random.below(4) {
            0 => Loss::Dropped,
            1 => Loss::Kept,
            _ => Loss::Random(random.next_u64()),
        };
        let told = recording.told.partition_point(|(calls, _)| *calls <= moment);
        let point = format!("call {moment} of {last}, {loss:?}, {told} answers given");
        let directory = tempfile::tempdir().expect("a temporary directory");
        recording.copy_snapshots(told, directory.path());
        let verdict = Verdict { recording: &recording, told, point: &point };
        let image = disk.image(loss);
        let image = if index % AGAIN == 0 {
            cut_again(&recording.setup, image, directory.path(), &mut random)
        } else {
            image
        };
        verdict.check(image, directory.path(), &mut random);
    }
}

/// A recovery whose power goes too, at some call of its start.
fn cut_again(setup: &Setup, image: MemoryStorage, snapshots: &Path, random: &mut Random) -> MemoryStorage {
    let disk = FaultyStorage::with_image(&image);
    setup.on(disk.clone()).with_snapshots(snapshots).start().kill();
    let calls = disk.calls();
    let mut cut = Disk::with_files(image.files());
    for call in &calls[..random.index(calls.len() + 1)] {
        cut.apply(call);
    }
    cut.image(Loss::Random(random.next_u64()))
}
