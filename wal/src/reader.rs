//! Reading single records by position.

use crate::batch::Records;
use crate::frame::{self, Flaw, Kind};
use crate::published::{Published, Segment};
use crate::recovery::corrupt;
use crate::scan::{Scan, Step};
use crate::{Error, Lsn, ReadError, Tail};
use std::sync::Arc;

/// Bytes read at once in the hope that they hold the whole record.
const GUESS_BYTES: usize = 1024;

/// Reads durable records while the log is being written. Cheap to clone; never returns anything at or above
/// the durable position.
#[derive(Clone)]
pub struct Reader {
    published: Arc<Published>,
}

impl Reader {
    pub(crate) fn new(published: Arc<Published>) -> Reader {
        Reader { published }
    }

    /// Payload of the record at `lsn`. One positioned read for a record of up to 1 KiB, two for a larger one.
    pub fn read(&self, lsn: Lsn) -> Result<Vec<u8>, ReadError> {
        let durable = self.published.durable();
        if lsn >= durable {
            return Err(ReadError::NotDurable);
        }
        let (Some(segment), _) = self.published.locate(lsn) else {
            return Err(ReadError::NotARecord);
        };
        let end = segment.end().unwrap_or(durable);
        if lsn < segment.identity.first() || lsn >= end || !lsn.get().is_multiple_of(frame::ALIGN as u64) {
            return Err(ReadError::NotARecord);
        }
        let bytes = self.read_frame(&segment, lsn, end)?;
        match frame::open(&bytes, lsn, segment.seed) {
            Ok(frame) if frame.kind == Kind::Record => Ok(frame.payload.to_vec()),
            Ok(_) => Err(ReadError::NotARecord),
            Err(flaw) => Err(explain(self.published.file(segment.identity.number), &segment, lsn, end, flaw)),
        }
    }

    /// The frame at `lsn`, as far as its header can be believed.
    fn read_frame(&self, segment: &Segment, lsn: Lsn, end: Lsn) -> Result<Vec<u8>, ReadError> {
        let number = segment.identity.number;
        let file = self.published.file(number).map_err(ReadError::Io)?;
        let offset = segment.identity.offset_of(lsn);
        let left = end.since(lsn);
        let failed = |source| ReadError::Io(Error::Read { segment: number, offset, source });
        let mut bytes = vec![0; as_size(left).min(GUESS_BYTES)];
        file.read_at(offset, &mut bytes).map_err(failed)?;
        if let Ok(outline) = frame::outline(&bytes, lsn) {
            let whole = outline.bytes as u64;
            let held = bytes.len();
            if whole <= left && outline.bytes > held {
                bytes.resize(outline.bytes, 0);
                file.read_at(offset + held as u64, &mut bytes[held..]).map_err(failed)?;
            }
        }
        Ok(bytes)
    }

    /// Follows the log from `from` on, which is where a record or batch begins, or the durable end; anything
    /// below the beginning of the log means all of it.
    pub fn tail(&self, from: Lsn) -> Tail {
        Tail::new(Arc::clone(&self.published), from)
    }

    /// Everything below is durable.
    pub fn durable_lsn(&self) -> Lsn {
        self.published.durable()
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("durable", &self.durable_lsn()).finish_non_exhaustive()
    }
}

/// Why there is no sound frame at `lsn`: because none begins there, or because it is damaged? Only walking
/// the segment tells, so that is done in this rare case: a lost record must never look like one that never
/// was.
pub(crate) fn explain(
    file: Result<Arc<dyn crate::storage::StorageFile>, Error>,
    segment: &Segment,
    lsn: Lsn,
    end: Lsn,
    flaw: Flaw,
) -> ReadError {
    let identity = segment.identity;
    let damaged = || corrupt(identity.number, identity.offset_of(lsn), lsn, format!("record: {flaw}"));
    match file.and_then(|file| begins_at(Scan::new(identity, file, end), segment, lsn)) {
        Ok(false) => ReadError::NotARecord,
        Ok(true) => ReadError::Corrupt(damaged()),
        Err(error @ Error::Corrupt { .. }) => ReadError::Corrupt(error),
        Err(error) => ReadError::Io(error),
    }
}

/// Whether a record begins at `lsn`, by every frame before it.
fn begins_at(mut scan: Scan, segment: &Segment, lsn: Lsn) -> Result<bool, Error> {
    let mut tip = segment.link;
    loop {
        let before = scan.at();
        match scan.next(&tip)? {
            Step::Batch { at, bytes, checked } if checked.tip.end > lsn => {
                return Ok(Records::new(bytes, at).any(|(record, _)| record == lsn));
            }
            Step::Batch { checked, .. } => tip = checked.tip,
            Step::End => return Ok(false),
            Step::Flawed(flaw) => {
                let offset = segment.identity.offset_of(before);
                let what = format!("batch {}: {flaw}", tip.batch + 1);
                return Err(corrupt(segment.identity.number, offset, before, what));
            }
        }
    }
}

pub(crate) fn as_size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a part of a segment fits into memory")
}
