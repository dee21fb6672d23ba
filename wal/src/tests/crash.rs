//! Power cuts at every call and within every write, with what was not synced kept, dropped, or in shreds; and
//! again while the log recovers from the last one.
//!
//! One run against a recording disk gives the crash points; the disk at each is rebuilt from the record.
//! Whatever the cut leaves, the log must open, hold every record that was acknowledged or shown, and nothing
//! that was not appended.
//!
//! `WAL_CRASH_SEED` replays one run; `WAL_CRASH_RUNS`, `WAL_CRASH_OPERATIONS` and `WAL_CRASH_SUBSETS` widen
//! the search.

use super::planted::Plant;
use super::{Driven, Record, payload, replay, small, variable};
use crate::testing::{Call, Disk, FaultyStorage, Loss, MemoryStorage, Random};
use crate::{Log, Lsn, Options};
use std::sync::Arc;

/// What must hold from a certain call on.
struct Milestone {
    call: usize,
    /// Index into the lives of the run.
    life: usize,
    /// Records of that life that were acknowledged or shown by then.
    durable: usize,
}

/// A run, recorded.
struct Recording {
    calls: Vec<Call>,
    milestones: Vec<Milestone>,
    /// All records of each life, durable or not.
    lives: Vec<Vec<Record>>,
}

/// What a log must hold after a crash.
#[derive(Clone, Copy)]
struct Expected<'a> {
    durable: usize,
    records: &'a [Record],
}

/// Other sizes in every life: what is kept ready may be too small for the next one.
fn varied(seed: u64) -> Options {
    let mut random = Random::new(seed);
    let sizes = [(2048, 512), (2560, 1024), (4096, 1024), (8192, 1024)];
    let (segment_bytes, record_bytes_max) = sizes[usize::try_from(random.below(4)).expect("small")];
    let batch_bytes_max = 512 << random.below(3);
    let segments_ahead = 1 + u32::from(random.below(2) == 0);
    Options { segment_bytes, record_bytes_max, batch_bytes_max, segments_ahead, ..small(seed) }
}

/// Runs random operations; among them the process is killed, in the middle of a commit at times, and
/// restarted.
fn record(seed: u64, operations: u64, plant: Plant) -> Result<Recording, String> {
    let mut random = Random::new(seed);
    let mut recording = Recording { calls: Vec::new(), milestones: Vec::new(), lives: Vec::new() };
    let mut disk = Disk::new();
    while recording.milestones.len() < usize::try_from(operations).expect("small") {
        let storage = FaultyStorage::with_disk(disk.clone());
        let life = recording.lives.len();
        let options = varied(seed ^ (life as u64) << 16);
        let mut driven =
            Driven::start(plant.storage(&storage), options).map_err(|error| format!("start: {error}"))?;
        let mut milestones = vec![(storage.call_count(), driven.durable)];
        for _ in 0..random.below(60) {
            match random.below(100) {
                0..60 => _ = driven.append(payload(&mut random, 300)),
                60..86 => _ = driven.commit(),
                86..94 => driven.allocate(),
                94..97 => driven.rest(),
                _ => driven.attach().expect("the log runs"),
            }
            milestones.push((storage.call_count(), driven.durable));
        }
        let before_last = storage.call_count();
        let _ = driven.append(payload(&mut random, 300));
        driven.commit();
        let calls = storage.calls();
        let killed_after = before_last
            + usize::try_from(random.below((calls.len() - before_last + 1) as u64)).expect("small");
        let earlier = recording.calls.len();
        for (call, durable) in milestones {
            recording.milestones.push(Milestone { call: earlier + call, life, durable });
        }
        calls[..killed_after].iter().for_each(|call| disk.apply(call));
        recording.calls.extend_from_slice(&calls[..killed_after]);
        recording.lives.push(driven.records);
    }
    Ok(recording)
}

impl Expected<'_> {
    fn check(&self, image: &MemoryStorage, options: Options) -> Result<(), String> {
        let log = Log::open(Arc::new(image.clone()), options).map_err(|error| format!("open: {error}"))?;
        let found = replay(&log, Lsn::ZERO).map_err(|error| format!("replay: {error}"))?;
        self.check_records(&found)
    }

    fn check_records(&self, found: &[Record]) -> Result<(), String> {
        if found.len() < self.durable {
            return Err(format!("{} records found, {} were acknowledged", found.len(), self.durable));
        }
        if self.records.get(..found.len()) != Some(found) {
            return Err("the log holds what was not appended".to_owned());
        }
        Ok(())
    }
}

/// Crashes one run everywhere; the number of crash points, or what went wrong and how to see it again.
pub(super) fn crash_everywhere(
    seed: u64,
    operations: u64,
    subsets: u64,
    plant: Plant,
) -> Result<u64, String> {
    let recording = record(seed, operations, plant)?;
    let mut disk = Disk::new();
    let mut milestones = recording.milestones.iter().peekable();
    let mut expected = Expected { durable: 0, records: &recording.lives[0] };
    let mut points = 0;
    for (index, call) in recording.calls.iter().enumerate() {
        while let Some(reached) = milestones.next_if(|milestone| milestone.call <= index) {
            expected = Expected { durable: reached.durable, records: &recording.lives[reached.life] };
        }
        let mut check = |disk: &Disk, point: &str| {
            points += 1;
            let random = (0..subsets).map(|subset| Loss::Random(subset ^ (index as u64) << 20));
            for loss in [Loss::Kept, Loss::Dropped].into_iter().chain(random) {
                let outcome = expected.check(&disk.image(loss), small(seed));
                outcome
                    .map_err(|what| format!("{what}: power cut {point} call {index} ({call:?}), {loss:?}"))?;
            }
            Ok::<(), String>(())
        };
        check(&disk, "before")?;
        if let Call::Write { file, offset, bytes } = call {
            let first = 512 - usize::try_from(offset % 512).expect("small");
            for cut in (first..bytes.len()).step_by(512) {
                let mut torn = disk.clone();
                torn.apply(&Call::Write { file: *file, offset: *offset, bytes: bytes[..cut].into() });
                check(&torn, "inside")?;
            }
        }
        disk.apply(call);
    }
    Ok(points)
}

#[test]
fn acknowledged_records_survive_a_power_cut_at_any_moment() {
    let subsets = variable("WAL_CRASH_SUBSETS").unwrap_or(20);
    let only = variable("WAL_CRASH_SEED");
    let operations = variable("WAL_CRASH_OPERATIONS").unwrap_or(500);
    let seeds = only.map_or(1..=variable("WAL_CRASH_RUNS").unwrap_or(10), |seed| seed..=seed);
    let mut points = 0;
    for seed in seeds {
        points += crash_everywhere(seed, operations, subsets, Plant::Nothing).unwrap_or_else(|what| {
            panic!(
                "{what}\nreplay: WAL_CRASH_SEED={seed} WAL_CRASH_OPERATIONS={operations} \
                 WAL_CRASH_SUBSETS={subsets} cargo test -p wal power_cut_at_any_moment"
            )
        });
    }
    assert!(only.is_some() || points >= 10_000, "only {points} crash points");
}

#[test]
fn one_long_run_survives_as_well() {
    let operations = variable("WAL_CRASH_OPERATIONS").unwrap_or(2_000);
    let seed = variable("WAL_CRASH_SEED").unwrap_or(100);
    let subsets = variable("WAL_CRASH_SUBSETS").unwrap_or(2);
    let points = crash_everywhere(seed, operations, subsets, Plant::Nothing).unwrap_or_else(|what| {
        panic!("{what}\nreplay: WAL_CRASH_SEED={seed} cargo test -p wal one_long_run_survives")
    });
    assert!(points >= operations / 2, "only {points} crash points");
}

/// Recovers, works a little, and is killed or loses the power at a random call, be it of the recovery; over
/// and over.
#[test]
fn a_crash_during_recovery_from_a_crash_loses_nothing() {
    let only = variable("WAL_CRASH_SEED");
    let seeds = only.map_or(1..=variable("WAL_CRASH_RUNS").unwrap_or(150), |seed| seed..=seed);
    for seed in seeds {
        crash_again_and_again(seed, 25).unwrap_or_else(|what| {
            panic!("{what}\nreplay: WAL_CRASH_SEED={seed} cargo test -p wal crash_during_recovery")
        });
    }
}

fn crash_again_and_again(seed: u64, crashes: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut disk = Disk::new();
    let mut records: Vec<Record> = Vec::new();
    let mut durable = 0;
    for crash in 0..crashes {
        let storage = FaultyStorage::with_disk(disk.clone());
        let mut driven = Driven::start(Arc::new(storage.clone()), varied(seed ^ crash << 16))
            .map_err(|error| format!("start after crash {crash}: {error}"))?;
        Expected { durable, records: &records }
            .check_records(&driven.records)
            .map_err(|what| format!("{what}: after crash {crash}"))?;
        let mut progress = vec![(storage.call_count(), driven.durable)];
        for _ in 0..random.below(30) {
            match random.below(10) {
                0..6 => _ = driven.append(payload(&mut random, 300)),
                6..8 => _ = driven.commit(),
                8 => driven.rest(),
                _ => driven.allocate(),
            }
            progress.push((storage.call_count(), driven.durable));
        }
        let calls = storage.calls();
        let cut = usize::try_from(random.below(calls.len() as u64 + 1)).expect("small");
        calls[..cut].iter().for_each(|call| disk.apply(call));
        let loss = match random.below(6) {
            0 => None,
            1 => Some(Loss::Kept),
            2 => Some(Loss::Dropped),
            _ => Some(Loss::Random(random.draw())),
        };
        if let Some(loss) = loss {
            disk = Disk::with_files(disk.image(loss).files());
        }
        // Cut before the start was done, nothing new was shown, and what was durable before still is.
        if let Some((_, reached)) = progress.iter().rfind(|(call, _)| *call <= cut) {
            durable = *reached;
            records = driven.records;
        }
    }
    Ok(())
}
