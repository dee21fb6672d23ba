//! Judges what a crash left behind: how far the log is valid, and whether a power cut explains the rest.
//!
//! Reads only; a corrupt log stays as it is found. The judgement is by batch. Batch n+1 is written only once
//! batch n is durable, so exactly one batch, the last, may be incomplete, and *any* sound batch header (or
//! link) beyond a bad batch proves that the bad batch had been durable: corruption. Without such proof a bad
//! batch is a torn tail, was never acknowledged, and is ignored. What this cannot see (unless a segment was
//! made since, which notes how far the log was durable): a last batch that was acknowledged and rotted before
//! its watermark was written. That is reported as residual risk. Segments that took only a torn first batch
//! stay as void; the next segment's link confirms that they count for nothing.
//!
//! Each segment is examined for itself, from where its link says that the log stood, on as many threads as
//! there are processors. What that means is concluded in order.

use crate::batch::Tip;
use crate::frame::Flaw;
use crate::options::Sabotage;
use crate::scan::{Rest, Scan, Step, open_segment};
use crate::segment::{
    FIRST_NUMBER, HEAD_BYTES, Identity, Name, SECTOR, Sector, decode_link, genesis, parse_name,
};
use crate::storage::{Access, Storage, StorageFile};
use crate::{Error, Lsn, Options};
use std::collections::VecDeque;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::mpsc::sync_channel;
use std::thread;

/// One segment file as its head describes it.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Surveyed {
    pub(crate) identity: Identity,
    /// Where the log stood before its first batch. `None`: it has no sound link, so it holds nothing durable.
    pub(crate) link: Option<Tip>,
    /// There is something where the link belongs.
    link_written: bool,
}

/// All files of a log.
#[derive(Default, Debug)]
pub(crate) struct Survey {
    /// By number, without gaps.
    pub(crate) segments: Vec<Surveyed>,
    /// Files that never became segments.
    pub(crate) temporaries: Vec<String>,
}

/// What the files hold.
#[derive(Debug)]
pub(crate) struct Judged {
    /// Where the log stands after its last valid batch.
    pub(crate) tip: Tip,
    /// For each segment the end of its valid batches; `None`: it has none.
    pub(crate) ends: Vec<Option<Lsn>>,
    /// An incomplete batch behind the end.
    pub(crate) torn: Option<Torn>,
    /// Valid batches that were read, and the records in them.
    pub(crate) batches: u64,
    pub(crate) records: u64,
    /// Records in the last valid batch; `None` when no batch was read.
    pub(crate) last_records: Option<u32>,
    /// Segments from this index on were never written to.
    pub(crate) blank_from: usize,
}

/// Bytes behind the end of the log that look like a batch cut short.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Torn {
    pub(crate) segment: u64,
    /// First and last position that is not zero.
    pub(crate) from: Lsn,
    pub(crate) to: Lsn,
    pub(crate) flaw: Flaw,
}

/// Reads the heads of all segments. With `settle` everything is synced first, and what was synced is read
/// from the disk itself: after a crash the cache may show bytes that are not durable, or, after a failed
/// sync, that never will be.
pub(crate) fn survey(storage: &dyn Storage, settle: bool) -> Result<Survey, Error> {
    let place = || storage.place();
    let names = storage.list().map_err(|source| Error::Directory { place: place(), source })?;
    let mut survey = Survey::default();
    let mut numbers = Vec::new();
    for name in names {
        match parse_name(&name) {
            Some(Name::Segment(number)) => numbers.push(number),
            Some(Name::Temporary(_)) => survey.temporaries.push(name),
            None => {}
        }
    }
    numbers.sort_unstable();
    if settle {
        for number in &numbers {
            let synced = open_segment(storage, *number, Access::Read)?.sync_all();
            synced.map_err(|source| Error::Sync { segment: *number, source })?;
        }
        storage.sync_directory().map_err(|source| Error::SyncDirectory { source })?;
    }
    survey.read_heads(storage, &numbers)?;
    if settle {
        survey.read_tail_again(storage)?;
    }
    Ok(survey)
}

impl Survey {
    fn read_heads(&mut self, storage: &dyn Storage, numbers: &[u64]) -> Result<(), Error> {
        for (index, number) in numbers.iter().enumerate() {
            let before = self.segments.last().map(|surveyed| surveyed.identity);
            let expected = FIRST_NUMBER + index as u64;
            if *number != expected {
                let lsn = before.map_or(Lsn::ZERO, |identity| identity.limit());
                return Err(corrupt(
                    expected,
                    0,
                    lsn,
                    format!("the file is missing, but segment {number} exists"),
                ));
            }
            let file = open_segment(storage, *number, Access::Read)?;
            self.segments.push(read_head(&*file, *number, before.as_ref())?);
        }
        Ok(())
    }

    /// Only the segment in use and those behind it can have been written since their last good sync.
    fn read_tail_again(&mut self, storage: &dyn Storage) -> Result<(), Error> {
        let in_use = self.segments.iter().rposition(|surveyed| surveyed.link.is_some()).unwrap_or(0);
        for index in in_use..self.segments.len() {
            let number = self.segments[index].identity.number;
            let file = open_segment(storage, number, Access::Read)?;
            file.drop_cache().map_err(|source| Error::Read { segment: number, offset: 0, source })?;
            let before = index.checked_sub(1).map(|before| self.segments[before].identity);
            self.segments[index] = read_head(&*file, number, before.as_ref())?;
        }
        Ok(())
    }

    /// Identity of the log, unless it has no segment yet.
    pub(crate) fn log(&self) -> Option<u128> {
        self.segments.first().map(|surveyed| surveyed.identity.log)
    }

    /// Where judging must begin so that the end of the log is known for sure: the last segment that may hold
    /// batches, and the one before, in case the last took none.
    pub(crate) fn judge_from(&self) -> usize {
        let linked = |index: &usize| self.segments[*index].link.is_some();
        (0..self.segments.len()).rev().filter(linked).nth(1).unwrap_or(0)
    }

    /// Judges the segments from index `from` on.
    pub(crate) fn judge(
        &self,
        storage: &dyn Storage,
        options: &Options,
        from: usize,
    ) -> Result<Judged, Error> {
        let bytes = |bytes: u64, next: &Surveyed| bytes.saturating_add(next.identity.capacity);
        let is_worth_threads = self.segments[from..].iter().fold(0, bytes) >= THREADS_FROM_BYTES;
        let processors = || thread::available_parallelism().map_or(1, NonZero::get);
        self.judge_on(if is_worth_threads { processors() } else { 1 }, storage, options, from)
    }

    /// As [`Self::judge`], on so many threads.
    pub(crate) fn judge_on(
        &self,
        threads: usize,
        storage: &dyn Storage,
        options: &Options,
        from: usize,
    ) -> Result<Judged, Error> {
        let tip = match self.segments.get(from) {
            Some(Surveyed { link: Some(link), .. }) if from > 0 => *link,
            _ => genesis(self.log().unwrap_or(0)),
        };
        let ends = self.ends_by_links(from)?;
        let judged =
            Judged { tip, ends, torn: None, batches: 0, records: 0, last_records: None, blank_from: from };
        let mut judge = Judge { options, segments: &self.segments, judged };
        let mut index = from;
        examine_each(threads, storage, &self.segments[from..], |examined| {
            match examined {
                Examined::Linked(link, held) => judge.linked(index, &link, &held)?,
                Examined::Unlinked(rest) => judge.unlinked(index, &rest)?,
            }
            index += 1;
            Ok(())
        })?;
        judge.check_floor()?;
        Ok(judge.judged)
    }

    /// Ends of the segments before index `from`, as later links state them. Nothing is read; replay checks
    /// them.
    fn ends_by_links(&self, from: usize) -> Result<Vec<Option<Lsn>>, Error> {
        let mut ends = vec![None; from];
        let mut before = Tip { end: Lsn::ZERO, batch: 0, chain: [0; 32] };
        for (index, surveyed) in self.segments.iter().enumerate() {
            let Some(link) = surveyed.link else { continue };
            let holder = self.segments[..index].iter().rposition(|holder| {
                holder.link.is_some()
                    && link.end > holder.identity.first()
                    && link.end <= holder.identity.limit()
            });
            let follows = link.end >= before.end && link.batch >= before.batch;
            if !follows || (holder.is_none() && link.end != Lsn::ZERO) {
                return Err(wrong_link(&surveyed.identity));
            }
            if let Some(end) = holder.and_then(|holder| ends.get_mut(holder)) {
                *end = Some(link.end);
            }
            before = link;
        }
        Ok(ends)
    }
}

fn read_head(file: &dyn StorageFile, number: u64, before: Option<&Identity>) -> Result<Surveyed, Error> {
    let failed = |source| Error::Read { segment: number, offset: 0, source };
    let length = file.length().map_err(failed)?;
    let expected_base = before.map_or(Lsn::ZERO, |before| before.limit());
    let bad = |what: String| corrupt(number, 0, expected_base, what);
    if length < HEAD_BYTES {
        return Err(bad(format!("the file has only {length} bytes")));
    }
    let mut head = [[0; SECTOR]; 2];
    file.read_at(0, head.as_flattened_mut()).map_err(failed)?;
    let [identity, link]: &[Sector; 2] = &head;
    let identity = match Identity::decode(identity) {
        Ok(identity) => identity,
        Err(Flaw::Version(version)) => return Err(Error::Version { segment: number, version }),
        Err(flaw) => return Err(bad(format!("identity of the segment: {flaw}"))),
    };
    if identity.number != number {
        return Err(bad(format!("the file holds segment {}", identity.number)));
    }
    if before.is_some_and(|before| before.log != identity.log) {
        return Err(bad("the file belongs to another log".to_owned()));
    }
    if identity.base != expected_base {
        return Err(bad(format!("the file begins at lsn {}", identity.base)));
    }
    if identity.capacity != length {
        return Err(bad(format!("the file has {length} bytes, but was made with {}", identity.capacity)));
    }
    let link_written = link.iter().any(|byte| *byte != 0);
    Ok(Surveyed { identity, link: decode_link(link, identity.seed()).ok(), link_written })
}

/// What one segment holds.
enum Examined {
    /// It took batches after the log stood there.
    Linked(Tip, Held),
    /// It has no sound link.
    Unlinked(Rest),
}

/// What stands in a segment from its link on.
struct Held {
    /// Where the log stands after its last valid batch, or the link.
    tip: Tip,
    /// Where its valid batches end.
    end: Lsn,
    batches: u64,
    records: u64,
    last_records: Option<u32>,
    /// Why the batch at the end is not valid, and what stands from there on.
    flawed: Option<(Flaw, Rest)>,
    /// Where the next segment begins, if the segment says so.
    sealed: Option<Lsn>,
}

/// Bytes of segments from which on starting threads takes less time than reading on one.
const THREADS_FROM_BYTES: u64 = 4 << 20;

/// Examines segments and hands over what was found in their order, up to the first error.
fn examine_each(
    threads: usize,
    storage: &dyn Storage,
    segments: &[Surveyed],
    mut conclude: impl FnMut(Examined) -> Result<(), Error>,
) -> Result<(), Error> {
    if threads == 1 {
        return segments.iter().try_for_each(|segment| conclude(segment.examine(storage)?));
    }
    thread::scope(|scope| {
        let mut lanes = VecDeque::with_capacity(threads);
        for lane in 0..threads {
            let (found, examined) = sync_channel(1);
            let examining = move || {
                let mut segments = segments.iter().skip(lane).step_by(threads);
                // Nobody listens any more once there was an error.
                segments.try_for_each(|segment| found.send(segment.examine(storage)).ok())
            };
            let spawned =
                thread::Builder::new().name("wal-examine".to_owned()).spawn_scoped(scope, examining);
            lanes.push_back((examined, spawned.map_err(|source| Error::Spawn { source })?));
        }
        for _ in segments {
            let (examined, lane) = lanes.pop_front().expect("there is a lane for each segment");
            let Ok(found) = examined.recv() else {
                resume_unwind(lane.join().expect_err("before its last segment a lane ends by a panic only"))
            };
            conclude(found?)?;
            lanes.push_back((examined, lane));
        }
        Ok(())
    })
}

impl Surveyed {
    fn examine(&self, storage: &dyn Storage) -> Result<Examined, Error> {
        let mut scan = Scan::open(storage, self.identity, self.identity.limit())?;
        let Some(link) = self.link else { return Ok(Examined::Unlinked(scan.rest()?)) };
        let (mut tip, mut batches, mut records, mut last_records) = (link, 0, 0, None);
        let flaw = loop {
            match scan.next(&tip)? {
                Step::Batch { checked, .. } => {
                    tip = checked.tip;
                    batches += 1;
                    records += u64::from(checked.records);
                    last_records = Some(checked.records);
                }
                Step::End => break None,
                Step::Flawed(flaw) => break Some(flaw),
            }
        };
        let (end, sealed) = (scan.at(), scan.sealed());
        let flawed = flaw.map(|flaw| Ok::<_, Error>((flaw, scan.rest()?))).transpose()?;
        Ok(Examined::Linked(link, Held { tip, end, batches, records, last_records, flawed, sealed }))
    }
}

struct Judge<'a> {
    options: &'a Options,
    segments: &'a [Surveyed],
    judged: Judged,
}

impl Judge<'_> {
    /// A segment that took batches after the log stood at `link`.
    fn linked(&mut self, index: usize, link: &Tip, held: &Held) -> Result<(), Error> {
        let identity = self.segments[index].identity;
        if *link != self.judged.tip {
            return Err(wrong_link(&identity));
        }
        self.judged.tip = held.tip;
        self.judged.batches += held.batches;
        self.judged.records += held.records;
        if held.batches > 0 {
            self.judged.last_records = held.last_records;
            self.judged.torn = None;
        }
        if let Some((flaw, rest)) = &held.flawed {
            self.judge_flaw(&identity, *flaw, held.end, rest)?;
        }
        if let Some(next) = held.sealed {
            self.check_successor(index, next)?;
        }
        self.judged.ends.push((held.end > identity.first()).then_some(held.end));
        self.judged.blank_from = index + 1;
        Ok(())
    }

    /// The batch at `at` is not sound: torn, or corrupt?
    fn judge_flaw(&mut self, identity: &Identity, flaw: Flaw, at: Lsn, rest: &Rest) -> Result<(), Error> {
        let Some((from, to)) = rest.written else {
            return Ok(());
        };
        let number = self.judged.tip.batch + 1;
        let bad = |what: String| Err(corrupt(identity.number, identity.offset_of(at), at, what));
        if self.options.sabotaged(Sabotage::StopAtFirstFlaw) {
            return Ok(());
        }
        if matches!(flaw, Flaw::Sequence | Flaw::Chain) {
            return bad(format!("batch {number}: {flaw}"));
        }
        if let Some((later_at, later)) = rest.batches.iter().find(|(later_at, _)| *later_at > at) {
            return bad(format!(
                "batch {number} is damaged ({flaw}), but was durable: batch {later} follows at lsn {later_at}"
            ));
        }
        self.judged.torn = Some(Torn { segment: identity.number, from, to, flaw });
        Ok(())
    }

    /// A segment is sealed only when the next one exists.
    fn check_successor(&self, index: usize, next: Lsn) -> Result<(), Error> {
        let identity = self.segments[index].identity;
        let at = identity.limit();
        if next != at {
            let offset = identity.offset_of(self.judged.tip.end);
            let what = format!("the seal names lsn {next} as the next segment's first");
            return Err(corrupt(identity.number, offset, self.judged.tip.end, what));
        }
        if index + 1 == self.segments.len() {
            let what = format!("the file is missing, but segment {} is sealed", identity.number);
            return Err(corrupt(identity.number + 1, 0, at, what));
        }
        Ok(())
    }

    /// Each segment tells how far the log was durable when it was made, so also a segment that is lost
    /// without a trace, or replaced by an older copy of itself, is missed.
    fn check_floor(&self) -> Result<(), Error> {
        let end = self.judged.tip.end;
        match self.segments.iter().find(|surveyed| surveyed.identity.durable > end) {
            None => Ok(()),
            Some(Surveyed { identity, .. }) => {
                let what = format!("the log ends at lsn {end}, but was durable up to {}", identity.durable);
                Err(corrupt(identity.number, 0, identity.base, what))
            }
        }
    }

    /// A segment without a sound link: kept ready and never used, or its first batch is torn.
    fn unlinked(&mut self, index: usize, rest: &Rest) -> Result<(), Error> {
        let Surveyed { identity, link_written, .. } = self.segments[index];
        self.judged.ends.push(None);
        let first = identity.first();
        if rest.written.is_none() && !link_written {
            return Ok(());
        }
        let torn_one = (first, self.judged.tip.batch + 1);
        let durable = rest.batches.iter().find(|batch| **batch != torn_one);
        if let Some((at, batch)) = durable {
            let what =
                format!("the link to the segment before is damaged, but batch {batch} stands at lsn {at}");
            return Err(corrupt(identity.number, SECTOR as u64, first, what));
        }
        if index > self.judged.blank_from {
            let what = format!("the segment was written to, but segment {} was not", identity.number - 1);
            return Err(corrupt(identity.number, SECTOR as u64, first, what));
        }
        let (from, to) = rest.written.unwrap_or((first, first));
        self.judged.torn = Some(Torn { segment: identity.number, from, to, flaw: Flaw::Structure });
        self.judged.blank_from = index + 1;
        Ok(())
    }
}

/// The error for bytes that a crash does not explain.
pub(crate) fn corrupt(segment: u64, offset: u64, lsn: Lsn, what: String) -> Error {
    Error::Corrupt { segment, offset, lsn, what }
}

/// The error for a segment that does not continue the one before it.
pub(crate) fn wrong_link(identity: &Identity) -> Error {
    let what = "the segment continues a log that ended elsewhere than the segments before it".to_owned();
    corrupt(identity.number, SECTOR as u64, identity.first(), what)
}
