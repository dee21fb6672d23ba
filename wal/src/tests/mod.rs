//! Tests of the whole log, driven step by step without its threads, so that a seed repeats a run exactly.

mod crash;
mod damage;
mod faults;
mod gather;
mod golden;
mod lost;
mod planted;
mod readers;
mod replay;

use crate::event::Committed;
use crate::intake::Work;
use crate::log::Parts;
use crate::options::Entropy;
use crate::shared::Shared;
use crate::storage::Storage;
use crate::testing::Random;
use crate::{Admission, Error, Event, Log, Lsn, Options, Reader, Refused};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A record and its position.
type Record = (Lsn, Vec<u8>);

/// Chance that every run repeats.
pub(crate) struct Seeded(pub(crate) AtomicU64);

impl Entropy for Seeded {
    fn draw(&self) -> io::Result<u128> {
        let drawn = self.0.fetch_add(1, Ordering::Relaxed);
        let mut random = Random::new(drawn);
        Ok(u128::from(random.draw()) << 64 | u128::from(random.draw()))
    }
}

/// Small segments and batches, so that a short run crosses many of both.
pub(crate) fn small(seed: u64) -> Options {
    Options {
        segment_bytes: 4096,
        record_bytes_max: 1024,
        batch_bytes_max: 1024,
        segments_ahead: 1,
        allocation_retry: Duration::from_nanos(1),
        entropy: Arc::new(Seeded(AtomicU64::new(seed << 32))),
        ..Options::default()
    }
}

/// A running log whose threads are the test itself.
pub(crate) struct Driven {
    parts: Parts<u64>,
    /// Every record of the log: those found at the start, then those appended.
    pub(crate) records: Vec<Record>,
    /// How many of them are durable: found at the start, or committed.
    pub(crate) durable: usize,
    /// Companions that have not come back, oldest first.
    waiting: Vec<u64>,
    next_companion: u64,
    /// What poisoned the log.
    pub(crate) poisoned: Option<Arc<Error>>,
}

impl Driven {
    /// Opens, replays and starts a log.
    pub(crate) fn start(storage: Arc<dyn Storage>, options: Options) -> Result<Driven, Error> {
        let log = Log::open(storage, options)?;
        let records = replay(&log, Lsn::ZERO)?;
        Ok(Driven {
            parts: log.prepare()?,
            durable: records.len(),
            records,
            waiting: Vec::new(),
            next_companion: 0,
            poisoned: None,
        })
    }

    pub(crate) fn admission(&self) -> Admission {
        self.parts.shared.published.admission()
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.parts.shared.published))
    }

    pub(crate) fn shared(&self) -> Arc<Shared<u64>> {
        Arc::clone(&self.parts.shared)
    }

    pub(crate) fn append(&mut self, payload: Vec<u8>) -> Result<Lsn, Refused> {
        let companion = self.next_companion;
        let lsn = self.parts.shared.append(&payload, |_| Some(companion))?;
        assert!(self.records.last().is_none_or(|(last, _)| *last < lsn), "positions grow");
        self.next_companion += 1;
        self.waiting.push(companion);
        self.records.push((lsn, payload));
        Ok(lsn)
    }

    /// A companion without a record.
    pub(crate) fn attach(&mut self) -> Result<(), Refused> {
        self.parts.shared.attach(self.next_companion).map_err(|(refused, _)| refused)?;
        self.waiting.push(self.next_companion);
        self.next_companion += 1;
        Ok(())
    }

    /// One turn of the log thread. `false`: there was nothing to do.
    pub(crate) fn commit(&mut self) -> bool {
        if self.poisoned.is_some() {
            return false;
        }
        let work = {
            let spare = self.parts.writer.prepare_spare();
            self.parts.shared.poll(spare)
        };
        match work {
            Some(Work::Batch(batch)) => match self.parts.writer.commit(batch) {
                Ok(committed) => self.committed(&committed),
                Err((error, companions)) => self.poison(error, companions),
            },
            Some(Work::Failed(error)) => self.poison(error, Vec::new()),
            Some(Work::Over) | None => return false,
        }
        true
    }

    fn committed(&mut self, committed: &Committed<u64>) {
        for record in committed.records() {
            let (lsn, payload) = &self.records[self.durable];
            assert_eq!(record, (*lsn, &payload[..]), "records are committed in order, as they were appended");
            self.durable += 1;
        }
        let came_back: Vec<u64> = self.waiting.drain(..committed.companions.len()).collect();
        assert_eq!(committed.companions, came_back, "companions come back in order");
        let published = &self.parts.shared.published;
        assert!(committed.end() <= published.durable() && published.durable() <= published.appended());
    }

    fn poison(&mut self, error: Error, companions: Vec<u64>) {
        let Event::Poisoned { error, companions } = self.parts.writer.poison(error, companions) else {
            panic!("the last event says that the log is poisoned");
        };
        assert_eq!(companions, self.waiting, "everybody who waits is told");
        assert_eq!(self.append(vec![1]), Err(Refused::Poisoned));
        assert_eq!(self.attach(), Err(Refused::Poisoned));
        self.waiting.clear();
        self.poisoned = Some(error);
    }

    /// Kills the process; what the log held.
    pub(crate) fn kill(self) -> Vec<Record> {
        self.records
    }

    /// One turn of the allocator.
    pub(crate) fn allocate(&mut self) {
        if self.parts.shared.wants_segment() {
            self.parts.allocator.turn(&|_| true);
        }
    }

    /// What an idle log does.
    pub(crate) fn rest(&mut self) {
        while self.commit() {}
        if self.poisoned.is_none()
            && !self.parts.writer.is_watermarked()
            && let Some(batch) = self.parts.shared.watermark()
        {
            match self.parts.writer.commit(batch) {
                Ok(committed) => self.committed(&committed),
                Err((error, companions)) => self.poison(error, companions),
            }
        }
    }
}

/// All records at or above `from`.
pub(crate) fn replay(log: &Log, from: Lsn) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    let visit = |lsn: Lsn, payload: &[u8]| {
        records.push((lsn, payload.to_vec()));
        Ok(())
    };
    match log.replay::<std::convert::Infallible>(from, visit) {
        Ok(replayed) => assert_eq!((replayed.records, replayed.end), (records.len() as u64, log.end())),
        Err(crate::ReplayError::Log(error)) => return Err(error),
    }
    Ok(records)
}

/// A payload that nothing else resembles.
pub(crate) fn payload(random: &mut Random, bytes_max: u64) -> Vec<u8> {
    let length = random.below(bytes_max + 1);
    (0..length).map(|_| random.draw().to_le_bytes()[0]).collect()
}

/// A number from the environment, to widen a search or to replay a failure.
pub(crate) fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number in the environment variable"))
}
