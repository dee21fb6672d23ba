//! What the log thread tells its sink, and the buffers that carry it.

use crate::batch::Records;
use crate::sync::{Mutex, lock};
use crate::{Error, Lsn};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Buffers kept for reuse: one being filled, one being written, and a few in the hands of the sink's user.
const POOLED_MAX: usize = 8;

/// Bytes in front of a batch where its segment's link goes when it is the first of its segment.
pub(crate) const LEAD_BYTES: usize = crate::segment::SECTOR;

/// News from the log thread, in log order. `T` is the companion: an opaque value that travels with a batch
/// and comes back once the batch is durable.
#[derive(Debug)]
pub enum Event<T> {
    /// A batch is durable.
    Committed(Committed<T>),
    /// A write or sync failed: the outcome of everything that waited is unknown. Comes at most once, with
    /// every companion that was waiting, and is the last event.
    Poisoned {
        /// What failed.
        error: Arc<Error>,
        /// Everybody who waited, in the order of arrival.
        companions: Vec<T>,
    },
}

/// A durable batch. The records stay in the buffer they were written from, which goes back to the log on
/// drop.
pub struct Committed<T> {
    /// Companions of the batch in the order of arrival.
    pub companions: Vec<T>,
    pub(crate) buffer: Option<Buffer>,
    pub(crate) at: Lsn,
    pub(crate) end: Lsn,
    pub(crate) stats: BatchStats,
}

impl<T> Committed<T> {
    /// Records of the batch in log order. Empty for a watermark and for a batch of companions only.
    pub fn records(&self) -> impl Iterator<Item = (Lsn, &[u8])> {
        Records::new(self.buffer.as_ref().map_or(&[], |buffer| buffer.batch()), self.at)
    }

    /// `durable_lsn` after this batch.
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// What the batch cost.
    pub fn stats(&self) -> &BatchStats {
        &self.stats
    }
}

impl<T> fmt::Debug for Committed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committed")
            .field("at", &self.at)
            .field("end", &self.end)
            .field("stats", &self.stats)
            .field("companions", &self.companions.len())
            .finish_non_exhaustive()
    }
}

/// What one batch cost. `bytes == 0`: companions only, nothing was written or synced. `records == 0` and
/// `bytes > 0`: a watermark.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct BatchStats {
    /// Records in the batch.
    pub records: u32,
    /// Bytes written.
    pub bytes: u64,
    /// Time of the write call.
    pub write: Duration,
    /// Time of the sync call.
    pub sync: Duration,
}

/// Bytes of one batch, with room in front for the link of its segment.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    pool: Arc<Pool>,
}

impl Buffer {
    /// What was appended, and the room in front of it.
    pub(crate) fn whole(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The batch without the room in front.
    pub(crate) fn batch(&self) -> &[u8] {
        &self.bytes[LEAD_BYTES..]
    }

    pub(crate) fn batch_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[LEAD_BYTES..]
    }

    pub(crate) fn batch_bytes(&self) -> usize {
        self.bytes.len() - LEAD_BYTES
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.put(std::mem::take(&mut self.bytes));
    }
}

/// Buffers of the usual size. Memory that was never touched costs nothing, so each has the full size from the
/// start and an append never has to grow one.
pub(crate) struct Pool {
    buffer_bytes: usize,
    free: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    pub(crate) fn new(batch_bytes: usize) -> Arc<Pool> {
        let buffer_bytes = LEAD_BYTES + batch_bytes;
        Arc::new(Pool { buffer_bytes, free: Mutex::new(Vec::with_capacity(POOLED_MAX)) })
    }

    /// An empty buffer for a batch of the usual size.
    pub(crate) fn take(self: &Arc<Pool>) -> Buffer {
        let bytes = lock(&self.free).pop();
        let bytes = bytes.unwrap_or_else(|| fresh(self.buffer_bytes));
        Buffer { bytes, pool: Arc::clone(self) }
    }

    /// An empty buffer for one batch of unusual size.
    pub(crate) fn take_large(self: &Arc<Pool>, batch_bytes: usize) -> Buffer {
        Buffer { bytes: fresh(LEAD_BYTES + batch_bytes), pool: Arc::clone(self) }
    }

    fn put(&self, mut bytes: Vec<u8>) {
        // One that was made for a huge record would stay huge for ever.
        if bytes.capacity() < self.buffer_bytes || bytes.capacity() > 2 * self.buffer_bytes {
            return;
        }
        bytes.truncate(LEAD_BYTES);
        let mut free = lock(&self.free);
        if free.len() < POOLED_MAX {
            free.push(bytes);
        }
    }
}

fn fresh(bytes: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(bytes);
    buffer.resize(LEAD_BYTES, 0);
    buffer
}
