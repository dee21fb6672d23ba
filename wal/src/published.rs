//! What readers may see: the durable position, the segments below it, open files for reading.
//!
//! Shared by the log thread (the only one that moves `durable` and adds segments), the appenders (who move
//! `appended` under their lock) and any number of readers. Invariant, asserted where each moves: `durable <=
//! appended`.

use crate::batch::Tip;
use crate::segment::{Identity, file_name};
use crate::storage::{Access, Storage, StorageFile};
use crate::sync::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, RwLock, lock};
use crate::{Admission, Error, Lsn};
use std::sync::Arc;
use std::time::Duration;

/// Files kept open for reading. A log has as many segments as it likes; a process has not as many
/// descriptors.
const OPEN_FILES_MAX: usize = 64;

/// A segment that holds durable batches.
pub(crate) struct Segment {
    pub(crate) identity: Identity,
    pub(crate) seed: u32,
    /// Where the log stood before the segment's first batch.
    pub(crate) link: Tip,
    /// First position after its last batch; `u64::MAX` while it may still get more.
    end: AtomicU64,
}

impl Segment {
    pub(crate) fn new(identity: Identity, link: Tip, end: Option<Lsn>) -> Segment {
        let end = AtomicU64::new(end.map_or(u64::MAX, Lsn::get));
        Segment { identity, seed: identity.seed(), link, end }
    }

    /// First position after its last batch, once that is known.
    pub(crate) fn end(&self) -> Option<Lsn> {
        let end = self.end.load(Ordering::Acquire);
        (end != u64::MAX).then_some(Lsn::new(end))
    }

    /// No further batch will come.
    pub(crate) fn finish(&self, end: Lsn) {
        assert!(end > self.identity.first() && end <= self.identity.limit(), "a segment ends within itself");
        self.end.store(end.get(), Ordering::Release);
    }
}

pub(crate) struct Published {
    storage: Arc<dyn Storage>,
    durable: AtomicU64,
    appended: AtomicU64,
    admission: AtomicU8,
    /// No batch will ever follow: closed or poisoned.
    ended: AtomicBool,
    /// Ascending by position.
    segments: RwLock<Vec<Arc<Segment>>>,
    files: Mutex<Vec<(u64, Arc<dyn StorageFile>)>>,
    /// Tails that wait for `durable` to move. The log thread takes the lock only when there are any.
    waiting: AtomicUsize,
    gate: Mutex<()>,
    moved: Condvar,
}

impl Published {
    pub(crate) fn new(storage: Arc<dyn Storage>, end: Lsn, segments: Vec<Arc<Segment>>) -> Published {
        Published {
            storage,
            durable: AtomicU64::new(end.get()),
            appended: AtomicU64::new(end.get()),
            admission: AtomicU8::new(Admission::ReadOnly as u8),
            ended: AtomicBool::new(false),
            segments: RwLock::new(segments),
            files: Mutex::new(Vec::new()),
            waiting: AtomicUsize::new(0),
            gate: Mutex::new(()),
            moved: Condvar::new(),
        }
    }

    pub(crate) fn durable(&self) -> Lsn {
        Lsn::new(self.durable.load(Ordering::SeqCst))
    }

    pub(crate) fn appended(&self) -> Lsn {
        Lsn::new(self.appended.load(Ordering::Acquire))
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    pub(crate) fn admission(&self) -> Admission {
        match self.admission.load(Ordering::Acquire) {
            value if value == Admission::Open as u8 => Admission::Open,
            value if value == Admission::Pressed as u8 => Admission::Pressed,
            value if value == Admission::Poisoned as u8 => Admission::Poisoned,
            _ => Admission::ReadOnly,
        }
    }

    /// Called under the appenders' lock.
    pub(crate) fn set_admission(&self, admission: Admission) {
        self.admission.store(admission as u8, Ordering::Release);
    }

    /// Called under the appenders' lock.
    pub(crate) fn advance_appended(&self, to: Lsn) {
        assert!(to > self.appended(), "positions only grow");
        self.appended.store(to.get(), Ordering::Release);
    }

    /// Called by the log thread after a sync: everything below `to` survives a power cut.
    pub(crate) fn advance_durable(&self, to: Lsn) {
        assert!(self.durable() < to && to <= self.appended(), "durable grows and stays within appended");
        self.durable.store(to.get(), Ordering::SeqCst);
        self.wake_waiting();
    }

    /// Called by the log thread, last.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.wake_waiting();
    }

    fn wake_waiting(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            let _gate = lock(&self.gate);
            self.moved.notify_all();
        }
    }

    /// Waits until `durable` is above `position`, the log ended, or `timeout` went by; may return early. A
    /// waiter counts itself before it looks, and the log thread moves `durable` before it looks for waiters,
    /// so neither misses the other.
    pub(crate) fn wait_above(&self, position: Lsn, timeout: Duration) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let gate = lock(&self.gate);
        if self.durable() <= position && !self.ended() {
            drop(self.moved.wait_timeout(gate, timeout).expect("no thread panicked at the gate"));
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// Called by the log thread before `durable` enters the segment.
    pub(crate) fn add_segment(&self, segment: Arc<Segment>, file: Arc<dyn StorageFile>) {
        let number = segment.identity.number;
        let mut segments = self.segments.write().expect("no thread panicked with the segments");
        assert!(segments.last().is_none_or(|last| last.identity.number < number), "segments ascend");
        segments.push(segment);
        drop(segments);
        self.keep_open(number, file);
    }

    /// The segment that `position` lies in (or in the gap behind it), and the one after that.
    pub(crate) fn locate(&self, position: Lsn) -> (Option<Arc<Segment>>, Option<Arc<Segment>>) {
        let segments = self.segments.read().expect("no thread panicked with the segments");
        let after = segments.partition_point(|segment| segment.identity.base <= position);
        let own = after.checked_sub(1).map(|index| Arc::clone(&segments[index]));
        (own, segments.get(after).cloned())
    }

    /// All segments that hold durable batches.
    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().expect("no thread panicked with the segments").clone()
    }

    /// First position that a batch begins at; zero for an empty log.
    pub(crate) fn begin(&self) -> Lsn {
        // The first segment is listed a moment before its first batch counts as durable.
        if self.durable() == Lsn::ZERO {
            return Lsn::ZERO;
        }
        let segments = self.segments.read().expect("no thread panicked with the segments");
        segments.first().expect("a durable batch lies in a segment").identity.first()
    }

    /// The file of a segment, opened if need be.
    pub(crate) fn file(&self, number: u64) -> Result<Arc<dyn StorageFile>, Error> {
        if let Some((_, file)) = lock(&self.files).iter().rev().find(|(open, _)| *open == number) {
            return Ok(Arc::clone(file));
        }
        let file = self
            .storage
            .open(&file_name(number), Access::Read)
            .map_err(|source| Error::Open { segment: number, source })?;
        self.keep_open(number, Arc::clone(&file));
        Ok(file)
    }

    fn keep_open(&self, number: u64, file: Arc<dyn StorageFile>) {
        let mut files = lock(&self.files);
        if files.len() == OPEN_FILES_MAX {
            files.remove(0);
        }
        files.push((number, file));
    }
}
