//! The open batch and everything that is decided under the appenders' lock: positions, when a batch is full,
//! when a segment is.
//!
//! Owner: the mutex in [`crate::shared`]. Pure but for two atomics that it publishes; no I/O, no checksums,
//! no waiting. A batch is closed by the log thread when it takes it, or by an appender when it is full or its
//! segment is; batches leave in the order of their positions.
//!
//! Invariants: the current segment always has room behind the open batch for a watermark and for a batch that
//! only seals ([`RESERVE_BYTES`]), so that both close and a change of segment need no space that is not
//! there. A batch lies in one segment.

use crate::batch::{self, BATCH_FRAME, SEAL_FRAME};
use crate::event::{Buffer, Pool};
use crate::frame::{self, Kind, frame_bytes};
use crate::published::Published;
use crate::segment::{Identity, RESERVE_BYTES};
use crate::storage::StorageFile;
use crate::{Admission, Error, Lsn, Options, Refused};
use std::collections::VecDeque;
use std::sync::Arc;

/// A segment that batches may be written to.
pub(crate) struct Place {
    pub(crate) identity: Identity,
    pub(crate) file: Arc<dyn StorageFile>,
}

/// Frames of a batch, closed: nothing is added any more.
pub(crate) struct Content {
    pub(crate) buffer: Buffer,
    pub(crate) place: Arc<Place>,
    pub(crate) at: Lsn,
    /// First batch of its segment: the link is written with it.
    pub(crate) links: bool,
    /// Last batch of its segment.
    pub(crate) seals: bool,
}

/// What one turn of the log thread makes durable.
pub(crate) struct Batch<T> {
    pub(crate) companions: Vec<T>,
    /// `None`: there is nothing to write.
    pub(crate) content: Option<Content>,
}

/// What the log thread has to do next.
pub(crate) enum Work<T> {
    Batch(Batch<T>),
    /// The allocator met an error that a full disk does not explain.
    Failed(Error),
    /// Closed, and nothing is left to do.
    Over,
}

/// Empty containers for the next batch, made outside the lock.
pub(crate) struct Spare<T> {
    pub(crate) buffer: Buffer,
    pub(crate) companions: Vec<T>,
}

impl<T> Spare<T> {
    pub(crate) fn new(pool: &Arc<Pool>, companions: usize) -> Spare<T> {
        Spare { buffer: pool.take(), companions: Vec::with_capacity(companions) }
    }
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Status {
    Running,
    Closing,
    Poisoned,
}

/// What the allocator is doing, so that it is woken only when it cares.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum AllocatorState {
    /// Makes a segment.
    Busy,
    /// Waits until a segment is wanted.
    Idle,
    /// Rests for a fixed time; only the end of the log is news to it.
    Pausing,
}

pub(crate) struct Intake<T> {
    status: Status,
    /// Frames of the open batch; without any, its first position is not decided yet.
    buffer: Buffer,
    companions: Vec<T>,
    /// Where the open batch begins, once it has a frame.
    at: Option<Lsn>,
    current: Option<Arc<Place>>,
    /// Where the next frame goes in the current segment.
    end: Lsn,
    /// The next batch is the first of its segment.
    links: bool,
    closed: VecDeque<Batch<T>>,
    ready: VecDeque<Arc<Place>>,
    /// The last try to allocate a segment found the disk full.
    disk_full: bool,
    failure: Option<Error>,
    /// The log thread waits to be woken.
    pub(crate) log_sleeps: bool,
    /// It lets the open batch fill, and has enough with so many companions.
    pub(crate) log_gathers: Option<usize>,
    pub(crate) allocator: AllocatorState,
    pool: Arc<Pool>,
    published: Arc<Published>,
    record_bytes_max: usize,
    batch_bytes_max: usize,
    segments_ahead: usize,
}

impl<T> Intake<T> {
    pub(crate) fn new(
        options: &Options,
        published: Arc<Published>,
        ready: Vec<Arc<Place>>,
        pool: Arc<Pool>,
    ) -> Intake<T> {
        let intake = Intake {
            status: Status::Running,
            buffer: pool.take(),
            companions: Vec::new(),
            at: None,
            current: None,
            end: published.appended(),
            links: false,
            closed: VecDeque::new(),
            ready: ready.into(),
            disk_full: false,
            failure: None,
            log_sleeps: false,
            log_gathers: None,
            allocator: AllocatorState::Busy,
            pool,
            published,
            record_bytes_max: options.record_bytes_max as usize,
            batch_bytes_max: options.batch_bytes_max as usize,
            segments_ahead: options.segments_ahead as usize,
        };
        intake.publish_admission();
        intake
    }

    /// Whether records and companions are taken at all.
    pub(crate) fn check_running(&self) -> Result<(), Refused> {
        match self.status {
            Status::Running => Ok(()),
            Status::Closing => Err(Refused::Closed),
            Status::Poisoned => Err(Refused::Poisoned),
        }
    }

    /// Takes a record, and what is to travel with it. `large` is a buffer made for it outside the lock when it does
    /// not fit into an ordinary batch.
    pub(crate) fn append(
        &mut self,
        payload: &[u8],
        large: Option<Buffer>,
        companion: impl FnOnce(Lsn) -> Option<T>,
    ) -> Result<Lsn, Refused> {
        self.check_running()?;
        if payload.len() > self.record_bytes_max {
            return Err(Refused::TooLarge);
        }
        let bytes = frame_bytes(payload.len());
        if !self.segment_takes(bytes) {
            self.change_segment()?;
        }
        if !self.batch_takes(bytes) {
            self.close_full_batch(false);
        }
        if let Some(large) = large {
            assert!(self.at.is_none(), "a record beyond the size of a batch begins one of its own");
            self.buffer = large;
        }
        self.begin_batch();
        let lsn = self.end;
        self.companions.extend(companion(lsn));
        frame::put(self.buffer.whole(), Kind::Record, lsn, payload);
        self.advance(bytes);
        if self.ready.is_empty() {
            self.publish_admission();
        }
        Ok(lsn)
    }

    /// Takes a companion that waits for everything appended so far.
    pub(crate) fn attach(&mut self, companion: T) {
        self.companions.push(companion);
    }

    /// What the log thread has to do next, if anything. `spare` replaces what leaves with the open batch.
    pub(crate) fn next(&mut self, spare: &mut Option<Spare<T>>) -> Option<Work<T>> {
        assert_ne!(self.status, Status::Poisoned, "the log thread ends when it poisons the log");
        if let Some(error) = self.failure.take() {
            return Some(Work::Failed(error));
        }
        if let Some(batch) = self.closed.pop_front() {
            return Some(Work::Batch(batch));
        }
        if self.at.is_some() || !self.companions.is_empty() {
            let spare = spare.take().unwrap_or_else(|| Spare::new(&self.pool, 0));
            return Some(Work::Batch(self.close_batch(spare, false)));
        }
        (self.status == Status::Closing).then_some(Work::Over)
    }

    /// An empty batch, which proves the one before it durable. `None` when there is no segment to write it
    /// to.
    pub(crate) fn watermark(&mut self) -> Option<Batch<T>> {
        assert!(self.closed.is_empty() && self.at.is_none(), "a watermark follows everything else");
        if self.current.is_none() {
            self.change_segment().ok()?;
        }
        self.begin_batch();
        let spare = Spare::new(&self.pool, 0);
        Some(self.close_batch(spare, false))
    }

    /// A segment has been allocated.
    pub(crate) fn add_ready(&mut self, place: Arc<Place>) {
        if let Some(last) = self.ready.back().or(self.current.as_ref()) {
            assert_eq!(last.identity.limit(), place.identity.base, "segments adjoin");
        }
        self.ready.push_back(place);
        self.disk_full = false;
        self.publish_admission();
    }

    /// Allocation failed for want of space.
    pub(crate) fn set_disk_full(&mut self) {
        self.disk_full = true;
        self.publish_admission();
    }

    /// Allocation failed for another reason: the log thread will stop with this error.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }

    pub(crate) fn wants_segment(&self) -> bool {
        self.status == Status::Running && self.ready.len() < self.segments_ahead
    }

    /// Whether appenders will soon need a segment that is not there.
    pub(crate) fn is_pressed(&self) -> bool {
        self.ready.is_empty()
    }

    pub(crate) fn ready_segments(&self) -> usize {
        self.ready.len()
    }

    /// Whether the log thread has nothing to let the open batch fill for, or no more.
    pub(crate) fn has_gathered(&self) -> bool {
        let is_enough = self.log_gathers.is_none_or(|enough| self.companions.len() >= enough);
        is_enough || !self.closed.is_empty() || self.failure.is_some() || !self.is_running()
    }

    /// Whether the log thread sleeps and has something to do now; from here on it counts as awake.
    pub(crate) fn takes_log_from_sleep(&mut self) -> bool {
        let wakes = self.log_sleeps && self.has_gathered();
        self.log_sleeps &= !wakes;
        wakes
    }

    /// Whether the allocator waits for what is now the case.
    pub(crate) fn wakes_allocator(&self) -> bool {
        match self.allocator {
            AllocatorState::Busy => false,
            AllocatorState::Idle => !self.is_running() || self.wants_segment(),
            AllocatorState::Pausing => !self.is_running(),
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.status == Status::Running
    }

    /// Takes nothing more; what is here will still be written.
    pub(crate) fn close(&mut self) {
        if self.status == Status::Running {
            self.status = Status::Closing;
        }
        self.publish_admission();
    }

    /// Takes nothing more and gives up what waits.
    pub(crate) fn poison(&mut self) -> Vec<T> {
        self.status = Status::Poisoned;
        self.publish_admission();
        let mut companions = Vec::new();
        for batch in self.closed.drain(..) {
            companions.extend(batch.companions);
        }
        companions.append(&mut self.companions);
        companions
    }

    fn segment_takes(&self, bytes: usize) -> bool {
        let Some(current) = &self.current else {
            return false;
        };
        // A batch that is full makes way for one with a header of its own.
        let header = if self.at.is_some() && self.batch_takes(bytes) { 0 } else { BATCH_FRAME };
        let needed = (header + bytes) as u64 + RESERVE_BYTES;
        current.identity.limit().since(self.end) >= needed
    }

    fn batch_takes(&self, bytes: usize) -> bool {
        self.at.is_none() || self.buffer.batch_bytes() + bytes <= self.batch_bytes_max
    }

    /// Seals the current segment (the seal closes the open batch) and goes on in the next one.
    fn change_segment(&mut self) -> Result<(), Refused> {
        let Some(next) = self.ready.pop_front() else {
            return Err(Refused::Full);
        };
        if let Some(current) = &self.current {
            let limit = current.identity.limit();
            assert_eq!(limit, next.identity.base, "segments adjoin");
            self.begin_batch();
            let base = next.identity.base.get().to_le_bytes();
            frame::put(self.buffer.whole(), Kind::Seal, self.end, &base);
            self.advance(SEAL_FRAME);
            assert!(self.end <= limit, "room for the seal is always kept");
            self.close_full_batch(true);
        }
        self.end = next.identity.first();
        self.links = true;
        self.current = Some(next);
        Ok(())
    }

    /// Gives the open batch its place and its header, if it has none yet.
    fn begin_batch(&mut self) {
        if self.at.is_none() {
            self.at = Some(self.end);
            batch::begin(self.buffer.whole(), self.end);
            self.advance(BATCH_FRAME);
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.end = self.end.plus(bytes as u64);
        self.published.advance_appended(self.end);
    }

    /// Closes a batch that takes nothing more. Rare (once per `batch_bytes_max`), so the containers are made
    /// here.
    fn close_full_batch(&mut self, seals: bool) {
        let spare = Spare::new(&self.pool, self.companions.len());
        let batch = self.close_batch(spare, seals);
        self.closed.push_back(batch);
    }

    fn close_batch(&mut self, spare: Spare<T>, seals: bool) -> Batch<T> {
        if let (Some(current), Some(_), false) = (&self.current, self.at, seals) {
            let left = current.identity.limit().since(self.end);
            assert!(left >= (BATCH_FRAME + SEAL_FRAME) as u64, "room for a batch that seals is always kept");
        }
        let companions = std::mem::replace(&mut self.companions, spare.companions);
        let content = self.at.take().map(|at| Content {
            buffer: std::mem::replace(&mut self.buffer, spare.buffer),
            place: Arc::clone(self.current.as_ref().expect("a batch with frames has a segment")),
            at,
            links: std::mem::take(&mut self.links),
            seals,
        });
        Batch { companions, content }
    }

    fn publish_admission(&self) {
        let admission = match self.status {
            Status::Poisoned => Admission::Poisoned,
            Status::Closing => Admission::ReadOnly,
            Status::Running => self.outlook(),
        };
        self.published.set_admission(admission);
    }

    /// What whoever is admitted now will find: room, if another segment is ready, or one is being made and the current
    /// one is not yet half full. The other half is for what was admitted before.
    fn outlook(&self) -> Admission {
        if !self.ready.is_empty() {
            return Admission::Open;
        }
        match &self.current {
            Some(current) if !self.disk_full => {
                let room = current.identity.limit().since(self.end);
                if room > current.identity.capacity / 2 { Admission::Open } else { Admission::Pressed }
            }
            _ => Admission::ReadOnly,
        }
    }
}
