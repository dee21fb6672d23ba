//! Sequential reading of one segment, batch by batch, with every check there is. Used by recovery, replay,
//! and the offline tools.
//!
//! Memory: one window of [`WINDOW_BYTES`], or one batch if that is larger; a batch is never larger than what
//! its segment has left.

use crate::batch::{self, BATCH_FRAME, Checked, Tip};
use crate::frame::{ALIGN, Flaw, Kind, resembles};
use crate::segment::{Identity, file_name};
use crate::storage::{Access, Storage, StorageFile};
use crate::{Error, Lsn};
use std::sync::Arc;

/// Bytes read at a time: large enough for the disk, small enough for the processor's cache.
const WINDOW_BYTES: u64 = 1 << 18;

/// Part of a file that is in memory.
pub(crate) struct Window {
    file: Arc<dyn StorageFile>,
    number: u64,
    limit: u64,
    bytes: Vec<u8>,
    /// Offset of the first byte in `bytes`.
    from: u64,
}

impl Window {
    /// A window over the first `limit` bytes of a segment's file.
    pub(crate) fn new(file: Arc<dyn StorageFile>, number: u64, limit: u64) -> Window {
        Window { file, number, limit, bytes: Vec::new(), from: 0 }
    }

    /// Bytes from `offset` on: at least `least` of them, or as many as there are.
    pub(crate) fn view(&mut self, offset: u64, least: u64) -> Result<&[u8], Error> {
        let end = offset.saturating_add(least).min(self.limit);
        let filled = self.from + self.bytes.len() as u64;
        if offset < self.from || end > filled {
            self.fill(offset, end)?;
        }
        let start = usize::try_from(offset - self.from).expect("the window fits into memory");
        Ok(&self.bytes[start..])
    }

    fn fill(&mut self, offset: u64, end: u64) -> Result<(), Error> {
        let kept = self.from + self.bytes.len() as u64;
        if offset >= self.from && offset < kept {
            self.bytes.drain(..usize::try_from(offset - self.from).expect("the window fits into memory"));
        } else {
            self.bytes.clear();
        }
        self.from = offset;
        let held = self.bytes.len();
        let wanted = end.max(offset.saturating_add(WINDOW_BYTES)).min(self.limit).saturating_sub(offset);
        let wanted = usize::try_from(wanted).expect("the window fits into memory");
        self.bytes.resize(wanted.max(held), 0);
        let read = self.file.read_at(offset + held as u64, &mut self.bytes[held..]);
        read.map_err(|source| Error::Read { segment: self.number, offset, source })
    }
}

/// One step through a segment.
pub(crate) enum Step<'a> {
    /// The next batch, sound in every respect.
    Batch { at: Lsn, bytes: &'a [u8], checked: Checked },
    /// The stop was reached, or the segment is sealed.
    End,
    /// What stands at the position is not the batch that should.
    Flawed(Flaw),
}

/// Reads the batches of one segment.
pub(crate) struct Scan {
    identity: Identity,
    seed: u32,
    window: Window,
    at: Lsn,
    stop: Lsn,
    sealed: Option<Lsn>,
}

impl Scan {
    /// From the first batch on up to `stop`, which is where the valid part is known to end, or the segment's
    /// limit.
    pub(crate) fn new(identity: Identity, file: Arc<dyn StorageFile>, stop: Lsn) -> Scan {
        let window = Window::new(file, identity.number, identity.offset_of(stop));
        Scan { identity, seed: identity.seed(), window, at: identity.first(), stop, sealed: None }
    }

    /// Opens the segment's file and reads it up to `stop`.
    pub(crate) fn open(storage: &dyn Storage, identity: Identity, stop: Lsn) -> Result<Scan, Error> {
        Ok(Scan::new(identity, open_segment(storage, identity.number, Access::Read)?, stop))
    }

    /// Position of the next batch.
    pub(crate) fn at(&self) -> Lsn {
        self.at
    }

    /// Forgets what was read ahead.
    pub(crate) fn look_again(&mut self) {
        self.window.bytes.clear();
    }

    /// Where the next segment begins, once the seal was read.
    pub(crate) fn sealed(&self) -> Option<Lsn> {
        self.sealed
    }

    /// The next batch, which has to follow `tip`.
    pub(crate) fn next(&mut self, tip: &Tip) -> Result<Step<'_>, Error> {
        if self.at == self.stop || self.sealed.is_some() {
            return Ok(Step::End);
        }
        let (at, offset) = (self.at, self.identity.offset_of(self.at));
        let room = self.stop.since(at);
        let head = self.window.view(offset, BATCH_FRAME as u64)?;
        let header = match batch::header(head, at, self.seed, room) {
            Ok(header) => header,
            Err(flaw) => return Ok(Step::Flawed(flaw)),
        };
        let bytes = &self.window.view(offset, header.bytes as u64)?[..header.bytes];
        match batch::check(bytes, &header, at, self.seed, tip) {
            Ok(checked) => {
                self.at = checked.tip.end;
                self.sealed = checked.sealed;
                Ok(Step::Batch { at, bytes, checked })
            }
            Err(flaw) => Ok(Step::Flawed(flaw)),
        }
    }

    /// Looks at everything from the next batch's position to the end of the segment: what is there that is
    /// not zero, and is any of it the sound header of a batch?
    pub(crate) fn rest(&mut self) -> Result<Rest, Error> {
        let mut rest = Rest::default();
        let mut at = self.at;
        while at < self.stop {
            let bytes = self.window.view(self.identity.offset_of(at), BATCH_FRAME as u64)?;
            // The last positions of a view are looked at in the next one, where the bytes behind them are in
            // sight as well.
            let last_view = at.plus(bytes.len() as u64) == self.stop;
            let usable = if last_view { bytes.len() } else { bytes.len() - BATCH_FRAME + ALIGN };
            if !is_blank(bytes) {
                rest.look_at(&bytes[..usable], bytes, at, self.seed, self.stop);
            }
            at = at.plus(usable as u64);
        }
        Ok(rest)
    }
}

/// What stands behind the valid part of a segment.
#[derive(Default, Debug)]
pub(crate) struct Rest {
    /// First and last position that is not zero.
    pub(crate) written: Option<(Lsn, Lsn)>,
    /// Sound headers of batches: the first one, and the first one that stands behind the first position.
    pub(crate) batches: Vec<(Lsn, u64)>,
}

impl Rest {
    fn look_at(&mut self, usable: &[u8], bytes: &[u8], from: Lsn, seed: u32, stop: Lsn) {
        for offset in (0..usable.len()).step_by(ALIGN) {
            let here = &bytes[offset..];
            if here.iter().take(ALIGN).all(|byte| *byte == 0) {
                continue;
            }
            let at = from.plus(offset as u64);
            self.written = Some((self.written.map_or(at, |(first, _)| first), at));
            if self.batches.len() < 2
                && resembles(here, Kind::Batch)
                && let Ok(header) = batch::header(here, at, seed, stop.since(at))
            {
                self.batches.push((at, header.number));
            }
        }
    }
}

/// Whether all is zero; a block at a time, because a loop that may end at every byte looks at every byte. Whole segments
/// that were never written to are read at each start.
fn is_blank(bytes: &[u8]) -> bool {
    bytes.chunks(4096).all(|block| block.iter().fold(0, |seen, byte| seen | byte) == 0)
}

/// Opens the file of a segment.
pub(crate) fn open_segment(
    storage: &dyn Storage,
    number: u64,
    access: Access,
) -> Result<Arc<dyn StorageFile>, Error> {
    storage.open(&file_name(number), access).map_err(|source| Error::Open { segment: number, source })
}
