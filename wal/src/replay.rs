//! Replay: every record from a position on, in log order.
//!
//! Two threads: one reads and verifies ahead, the caller's visits what is sound. So the checksums and the chain cost no
//! time beside a visitor that has more to do, and a disk that has to be waited for is waited for by nobody else.
//! Invariants: nothing of a batch is visited before all of it was verified; everything before a flaw is visited before
//! the flaw is reported; the reading thread ends with the replay, whichever side stops first, and what it met is the
//! outcome, never silence.
//! Memory: [`CHUNKS_AHEAD`] and two more chunks of [`CHUNK_BYTES`], each larger by one batch at most.

use crate::batch::{Records, Tip};
use crate::published::Segment;
use crate::recovery::{corrupt, wrong_link};
use crate::scan::{Scan, Step};
use crate::storage::Storage;
use crate::{Error, Log, Lsn, ReplayError};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

/// Bytes that change threads at a time: so many that the change costs nothing, and few enough that the visitor finds
/// them in a cache.
const CHUNK_BYTES: usize = 1 << 18;
/// Chunks that wait for the visitor at most. It has short halts of its own, which so many bridge.
const CHUNKS_AHEAD: usize = 8;

/// What [`Log::replay`] went through.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Replayed {
    /// Records visited.
    pub records: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Where the log ends, and with it the replay.
    pub end: Lsn,
}

impl Log {
    /// Calls `visit` for every record at or above `from`, in log order, and verifies checksums, positions and
    /// chain on the way.
    ///
    /// `from` is where a record or batch begins or the log ends; anything below [`Log::begin`] means all of
    /// it. Verification starts with the segment that holds `from`. Nothing of a batch is visited before all
    /// of it was verified.
    pub fn replay<E>(
        &self,
        from: Lsn,
        mut visit: impl FnMut(Lsn, &[u8]) -> Result<(), E>,
    ) -> Result<Replayed, ReplayError<E>> {
        let mut replayed = Replayed { end: self.end(), ..Replayed::default() };
        self.replay_runs(from, |records| {
            for (lsn, payload) in records {
                replayed.records += 1;
                replayed.payload_bytes += payload.len() as u64;
                visit(lsn, payload)?;
            }
            Ok(())
        })?;
        Ok(replayed)
    }

    /// As [`Self::replay`], many records in a row at a time: for visitors that look ahead.
    pub fn replay_runs<E>(
        &self,
        from: Lsn,
        visit: impl FnMut(Records<'_>) -> Result<(), E>,
    ) -> Result<(), ReplayError<E>> {
        if from > self.end() {
            return Err(Error::NotABoundary { lsn: from }.into());
        }
        let segments = self.published.segments();
        thread::scope(|scope| {
            let (verified, chunks) = sync_channel(CHUNKS_AHEAD);
            let (spent, spare) = channel();
            let reading = Ahead {
                storage: &*self.storage,
                segments: &segments,
                tip: self.tip,
                start: Start { from, found: from <= self.begin() },
                chunk: Chunk::default(),
                verified,
                spare,
            };
            let ahead = thread::Builder::new().name("wal-replay".to_owned());
            let ahead = ahead.spawn_scoped(scope, move || reading.run());
            let ahead = ahead.map_err(|source| Error::Spawn { source })?;
            let visited = visit_each(chunks, &spent, visit);
            let read = ahead.join().unwrap_or_else(|panic| resume_unwind(panic));
            visited.map_err(ReplayError::Visit)?;
            Ok(read?)
        })
    }
}

/// Visits what comes until nothing more does. The chunks that wait are gone when this returns, by which the reading
/// thread learns that nobody wants more.
fn visit_each<E>(
    chunks: Receiver<Chunk>,
    spent: &Sender<Vec<u8>>,
    mut visit: impl FnMut(Records<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for Chunk { bytes, at } in chunks {
        visit(Records::new(&bytes, at))?;
        // Behind the last chunk nobody takes it back any more.
        let _ = spent.send(bytes);
    }
    Ok(())
}

/// Verified frames in a row, the first of them at `at`.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    at: Lsn,
}

impl Chunk {
    fn end(&self) -> Lsn {
        self.at.plus(self.bytes.len() as u64)
    }
}

/// Why the reading thread reads no further before the end.
enum Stop {
    /// The visitor has stopped, or died.
    NobodyVisits,
    Met(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Met(error)
    }
}

/// The reading thread.
struct Ahead<'l> {
    storage: &'l dyn Storage,
    segments: &'l [Arc<Segment>],
    /// Where recovery saw the end.
    tip: Tip,
    start: Start,
    /// What is gathered for the visitor.
    chunk: Chunk,
    verified: SyncSender<Chunk>,
    /// Memory of chunks that were visited.
    spare: Receiver<Vec<u8>>,
}

impl Ahead<'_> {
    fn run(mut self) -> Result<(), Error> {
        let read = self.read();
        // What is sound before a flaw is visited like everything else.
        let handed_over = self.hand_over();
        match read.and(handed_over) {
            Ok(()) | Err(Stop::NobodyVisits) => Ok(()),
            Err(Stop::Met(error)) => Err(error),
        }
    }

    fn read(&mut self) -> Result<(), Stop> {
        let from = self.start.from;
        let first = self.segments.partition_point(|segment| segment.identity.base <= from).saturating_sub(1);
        let mut tip = self.segments.get(first).map_or(self.tip, |segment| segment.link);
        for segment in &self.segments[first..] {
            let mut scan = self.scan(segment, &tip)?;
            loop {
                match scan.next(&tip)? {
                    Step::Batch { at, bytes, checked } => {
                        tip = checked.tip;
                        self.take(at, bytes)?;
                    }
                    Step::End => break,
                    Step::Flawed(flaw) => {
                        let (identity, at) = (&segment.identity, scan.at());
                        let what = format!("batch {}: {flaw}", tip.batch + 1);
                        return Err(corrupt(identity.number, identity.offset_of(at), at, what).into());
                    }
                }
            }
        }
        self.start.check()?;
        assert_eq!(tip, self.tip, "replay ends where recovery saw the end");
        Ok(())
    }

    fn scan(&self, segment: &Segment, tip: &Tip) -> Result<Scan, Error> {
        let identity = segment.identity;
        if segment.link != *tip {
            return Err(wrong_link(&identity));
        }
        let end = segment.end().expect("a log that is not written has only finished segments");
        Scan::open(self.storage, identity, end)
    }

    /// Adds what is wanted of the batch at `at` to the chunk, and hands that over when there is enough.
    fn take(&mut self, at: Lsn, batch: &[u8]) -> Result<(), Stop> {
        let (at, bytes) = self.start.wanted(at, batch)?;
        if bytes.is_empty() {
            return Ok(());
        }
        // Between two segments there is a gap.
        if self.chunk.end() != at {
            self.hand_over()?;
            self.chunk.at = at;
        }
        self.chunk.bytes.extend_from_slice(bytes);
        if self.chunk.bytes.len() >= CHUNK_BYTES { self.hand_over() } else { Ok(()) }
    }

    /// Hands the chunk over and begins an empty one behind it.
    fn hand_over(&mut self) -> Result<(), Stop> {
        if self.chunk.bytes.is_empty() {
            return Ok(());
        }
        let mut bytes = self.spare.try_recv().unwrap_or_default();
        bytes.clear();
        let next = Chunk { bytes, at: self.chunk.end() };
        self.verified.send(std::mem::replace(&mut self.chunk, next)).map_err(|_| Stop::NobodyVisits)
    }
}

/// Where a replay begins, which has to be a position that something begins at.
struct Start {
    from: Lsn,
    found: bool,
}

impl Start {
    /// The part of a verified batch from the start on, and where that begins.
    fn wanted<'b>(&mut self, at: Lsn, batch: &'b [u8]) -> Result<(Lsn, &'b [u8]), Error> {
        let (from, end) = (self.from, at.plus(batch.len() as u64));
        if end <= from {
            self.found |= end == from;
            return Ok((end, &[]));
        }
        if at >= from {
            self.found |= at == from;
            self.check()?;
            return Ok((at, batch));
        }
        self.found |= Records::new(batch, at).any(|(lsn, _)| lsn == from);
        self.check()?;
        let before = usize::try_from(from.since(at)).expect("a part of the batch");
        Ok((from, &batch[before..]))
    }

    /// Fails once the replay is beyond its start and nothing began there.
    fn check(&self) -> Result<(), Error> {
        if self.found { Ok(()) } else { Err(Error::NotABoundary { lsn: self.from }) }
    }
}
