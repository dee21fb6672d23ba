//! Following the log from a position of one's own: how everything downstream learns of records.

use crate::batch::Records;
use crate::frame::{self, FRAME_HEADER};
use crate::published::{Published, Segment};
use crate::reader::{as_size, explain};
use crate::{Error, Lsn, ReadError};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes read at a time; also bounds what a [`TailBatch`] holds, unless a single record is larger.
const READ_BYTES: u64 = 1 << 18;

/// Follows the durable log. Each tail has its own position; a slow one holds up nobody.
pub struct Tail {
    published: Arc<Published>,
    cursor: Lsn,
    /// The memory of a batch that was given back.
    spare: Vec<u8>,
}

/// Some consecutive records of the log, in log order. Not aligned with the batches they were written in.
#[derive(Debug)]
pub struct TailBatch {
    bytes: Vec<u8>,
    at: Lsn,
    end: Lsn,
}

impl TailBatch {
    /// The records and their positions.
    pub fn records(&self) -> impl Iterator<Item = (Lsn, &[u8])> {
        Records::new(&self.bytes, self.at)
    }

    /// Where to go on after these records. A tail from here delivers what follows them.
    pub fn end(&self) -> Lsn {
        self.end
    }
}

impl Tail {
    pub(crate) fn new(published: Arc<Published>, from: Lsn) -> Tail {
        Tail { published, cursor: from, spare: Vec::new() }
    }

    /// Position of the next record that may be delivered: everything below it was.
    pub fn cursor(&self) -> Lsn {
        self.cursor
    }

    /// Bytes of the log that are durable and not delivered yet.
    pub fn behind(&self) -> u64 {
        self.published.durable().get().saturating_sub(self.cursor.get())
    }

    /// Gives a batch back, so that the next one is read into its memory.
    pub fn recycle(&mut self, batch: TailBatch) {
        self.spare = batch.bytes;
    }

    /// The next records. `None` when nothing became durable within `timeout`.
    ///
    /// [`ReadError::Ended`] when everything was delivered and nothing will follow. [`ReadError::NotDurable`]
    /// when the tail began beyond the durable end, [`ReadError::NotARecord`] when it began where nothing
    /// begins. Each record's checksum is verified.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<TailBatch>, ReadError> {
        let started = Instant::now();
        loop {
            // Asked before the position, so that what became durable before the end is still seen.
            let ended = self.published.ended();
            let durable = self.published.durable();
            if self.cursor < durable {
                // A tail of a log that was empty learns only now where the log begins.
                self.cursor = self.cursor.max(self.published.begin());
            }
            while self.cursor < durable {
                if let Some(batch) = self.advance(durable)? {
                    return Ok(Some(batch));
                }
            }
            if self.cursor > durable {
                return Err(ReadError::NotDurable);
            }
            if ended {
                return Err(ReadError::Ended);
            }
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            self.published.wait_above(self.cursor, left);
        }
    }

    /// Moves the cursor over what is durable: to the next segment, or over some frames. `None`: no record
    /// among them.
    fn advance(&mut self, durable: Lsn) -> Result<Option<TailBatch>, ReadError> {
        let (segment, next) = self.published.locate(self.cursor);
        let segment = segment.ok_or(ReadError::NotARecord)?;
        let end = segment.end().unwrap_or(durable).min(durable);
        if self.cursor == end {
            // Durable lies beyond this segment, so the next one has batches.
            self.cursor = next.ok_or(ReadError::NotARecord)?.identity.first();
            return Ok(None);
        }
        if self.cursor < segment.identity.first() || self.cursor > end {
            return Err(ReadError::NotARecord);
        }
        let batch = self.read(&segment, end)?;
        self.cursor = batch.end;
        let has_records = batch.records().next().is_some();
        Ok(has_records.then_some(batch))
    }

    /// Whole, verified frames from the cursor on.
    fn read(&mut self, segment: &Segment, end: Lsn) -> Result<TailBatch, ReadError> {
        let number = segment.identity.number;
        let offset = segment.identity.offset_of(self.cursor);
        let left = end.since(self.cursor);
        let failed = |source| ReadError::Io(Error::Read { segment: number, offset, source });
        let file = self.published.file(number).map_err(ReadError::Io)?;
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.resize(as_size(left.min(READ_BYTES)), 0);
        file.read_at(offset, &mut bytes).map_err(failed)?;
        if let Ok(outline) = frame::outline(&bytes, self.cursor) {
            let held = bytes.len();
            if outline.bytes as u64 <= left && outline.bytes > held {
                bytes.resize(outline.bytes, 0);
                file.read_at(offset + held as u64, &mut bytes[held..]).map_err(failed)?;
            }
        }
        let mut sound = 0;
        while sound < bytes.len() {
            let at = self.cursor.plus(sound as u64);
            let rest = &bytes[sound..];
            match frame::open(rest, at, segment.seed) {
                Ok(frame) => sound += frame.bytes,
                // The last frame of the read may be cut off; it comes with the next one.
                Err(_) if sound > 0 && is_cut_off(rest, at, end) => break,
                Err(flaw) => return Err(explain(Ok(file), segment, at, end, flaw)),
            }
        }
        bytes.truncate(sound);
        Ok(TailBatch { bytes, at: self.cursor, end: self.cursor.plus(sound as u64) })
    }
}

/// Whether these bytes stop before the frame does, or before its header tells.
fn is_cut_off(bytes: &[u8], at: Lsn, end: Lsn) -> bool {
    let all = end.since(at);
    if (bytes.len() as u64) == all {
        return false;
    }
    bytes.len() < FRAME_HEADER
        || frame::outline(bytes, at)
            .is_ok_and(|outline| outline.bytes > bytes.len() && outline.bytes as u64 <= all)
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}
