//! Power cuts at every call and within every write, with what was not synced kept, dropped, or in shreds.
//!
//! One run against a recording disk gives the crash points; the state after each is rebuilt from the record. Whatever the
//! cut leaves, the log must open, hold every acknowledged record, and nothing that was not appended.
//!
//! `WAL_CRASH_SEED` replays one run; `WAL_CRASH_RUNS` and `WAL_CRASH_SUBSETS` widen the search.

use super::{Driven, Record, payload, replay, small};
use crate::Log;
use crate::testing::{Call, Disk, FaultyStorage, Loss, MemoryStorage, Random};
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

/// Runs random operations, restarts among them, each restart on what a killed process leaves.
fn record(seed: u64, operations: usize) -> Recording {
    let mut random = Random::new(seed);
    let storage = FaultyStorage::new();
    let mut recording = Recording { calls: Vec::new(), milestones: Vec::new(), lives: Vec::new() };
    let mut driven = Driven::start(Arc::new(storage.clone()), small(seed)).expect("an empty log starts");
    for operation in 0..operations {
        match random.below(100) {
            0..60 => drop(driven.append(payload(&mut random, 300))),
            60..85 => drop(driven.commit()),
            85..93 => driven.allocate(),
            93..96 => driven.rest(),
            96..98 => driven.attach().expect("the log runs"),
            _ => {
                recording.lives.push(std::mem::take(&mut driven.records));
                drop(driven);
                let seed = seed ^ (operation as u64) << 16;
                driven =
                    Driven::start(Arc::new(storage.clone()), small(seed)).expect("a killed log restarts");
            }
        }
        let (call, life, durable) = (storage.call_count(), recording.lives.len(), driven.durable);
        recording.milestones.push(Milestone { call, life, durable });
    }
    recording.lives.push(driven.records);
    recording.calls = storage.calls();
    recording
}

/// What one crash point must show.
struct Expected<'a> {
    durable: usize,
    records: &'a [Record],
}

impl Expected<'_> {
    fn check(&self, image: &MemoryStorage, options: crate::Options) -> Result<(), String> {
        let log = Log::open(Arc::new(image.clone()), options).map_err(|error| format!("open: {error}"))?;
        let found = replay(&log, crate::Lsn::ZERO).map_err(|error| format!("replay: {error}"))?;
        if found.len() < self.durable {
            return Err(format!("{} records found, {} were acknowledged", found.len(), self.durable));
        }
        if self.records.get(..found.len()) != Some(&found[..]) {
            return Err("the log holds what was not appended".to_owned());
        }
        Ok(())
    }
}

#[test]
fn acknowledged_records_survive_a_power_cut_at_any_moment() {
    let seeds = match variable("WAL_CRASH_SEED") {
        Some(seed) => vec![seed],
        None => (1..=variable("WAL_CRASH_RUNS").unwrap_or(14)).collect(),
    };
    let subsets = variable("WAL_CRASH_SUBSETS").unwrap_or(20);
    let mut points = 0;
    let single = seeds.len() == 1;
    for seed in seeds {
        points += crash_everywhere(seed, subsets);
    }
    assert!(single || points >= 10_000, "only {points} crash points");
}

fn crash_everywhere(seed: u64, subsets: u64) -> usize {
    let recording = record(seed, 500);
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
                if let Err(what) = expected.check(&disk.image(loss), small(seed)) {
                    panic!(
                        "{what}: power cut {point} call {index} ({call:?}), {loss:?}\n\
                         replay: WAL_CRASH_SEED={seed} cargo test -p wal acknowledged_records_survive"
                    );
                }
            }
        };
        check(&disk, "before");
        if let Call::Write { file, offset, bytes } = call {
            let first = 512 - usize::try_from(offset % 512).expect("small");
            for cut in (first..bytes.len()).step_by(512) {
                let mut torn = disk.clone();
                torn.apply(&Call::Write { file: *file, offset: *offset, bytes: bytes[..cut].into() });
                check(&torn, "inside");
            }
        }
        disk.apply(call);
    }
    points
}

pub(super) fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number in the environment variable"))
}
