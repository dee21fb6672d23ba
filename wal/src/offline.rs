//! Tools that look at a log without opening it: no lock, no sync, nothing changed. Beside a running log they
//! see a moment of it.

use crate::batch::Records;
use crate::log::publish;
use crate::recovery::{Judged, Survey, Torn, corrupt, survey};
use crate::scan::{Scan, Step};
use crate::storage::Storage;
use crate::{Error, Lsn, Options, ReplayError};
use std::sync::Arc;

/// Sizes and positions of a log.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Stat {
    /// Segments that hold records or watermarks.
    pub segments: u64,
    /// Bytes of their files.
    pub segment_bytes: u64,
    /// Segments kept ready for use.
    pub segments_ready: u64,
    /// First position that a batch begins at.
    pub begin: Lsn,
    /// Everything below is durable.
    pub durable: Lsn,
    /// End of what was appended; `durable` for a log that is not running.
    pub appended: Lsn,
}

/// What [`verify`] found.
#[derive(Debug, Default)]
pub struct Report {
    /// Sizes and positions.
    pub stat: Stat,
    /// Batches that are sound in every respect, watermarks included.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// First damage, if any. Everything before it is sound.
    pub corruption: Option<Error>,
    /// An incomplete batch behind the end, as a crash leaves it.
    pub torn: Option<TornTail>,
}

/// Bytes behind the end of the log that look like a batch cut short.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct TornTail {
    /// The segment they lie in.
    pub segment: u64,
    /// First position that is not zero.
    pub from: Lsn,
    /// Last position that is not zero, to the nearest 8 bytes.
    pub to: Lsn,
}

/// Verifies every byte of every segment. `Err` only when the log could not be read; damage is in the report.
pub fn verify(storage: Arc<dyn Storage>, options: Options) -> Result<Report, Error> {
    options.validate()?;
    let outcome = at_rest(|| {
        let survey = survey(&*storage, false)?;
        let judged = survey.judge(&*storage, &options, 0)?;
        let torn = judged.torn.map(|Torn { segment, from, to, .. }| TornTail { segment, from, to });
        let stat = describe(&storage, &survey, &judged);
        Ok(Report { stat, batches: judged.batches, records: judged.records, corruption: None, torn })
    });
    match outcome {
        Err(error @ (Error::Corrupt { .. } | Error::Version { .. })) => {
            Ok(Report { corruption: Some(error), ..Report::default() })
        }
        outcome => outcome,
    }
}

/// Calls `visit` for every sound record at or above `from` and returns how many there were. On damage the
/// records before it have been visited.
pub fn dump<E>(
    storage: Arc<dyn Storage>,
    options: Options,
    from: Lsn,
    mut visit: impl FnMut(Lsn, &[u8]) -> Result<(), E>,
) -> Result<u64, ReplayError<E>> {
    options.validate()?;
    let survey = survey(&*storage, false)?;
    let mut records = 0;
    for surveyed in &survey.segments {
        let (Some(link), identity) = (surveyed.link, surveyed.identity) else { continue };
        if identity.limit() <= from {
            continue;
        }
        let mut tip = link;
        let mut scan = Scan::open(&*storage, identity, identity.limit())?;
        let mut suspected = None;
        loop {
            match scan.next(&tip)? {
                Step::Batch { at, bytes, checked } => {
                    tip = checked.tip;
                    for (lsn, payload) in Records::new(bytes, at).filter(|(lsn, _)| *lsn >= from) {
                        records += 1;
                        visit(lsn, payload).map_err(ReplayError::Visit)?;
                    }
                }
                Step::End => break,
                Step::Flawed(flaw) => {
                    let at = scan.at();
                    if !scan.rest()?.batches.iter().any(|(later, _)| *later > at) {
                        break;
                    }
                    // A running log may have written both batches between the two looks; a third one tells.
                    if suspected == Some(at) {
                        let what = format!("batch {}: {flaw}", tip.batch + 1);
                        return Err(corrupt(identity.number, identity.offset_of(at), at, what).into());
                    }
                    suspected = Some(at);
                    scan.look_again();
                }
            }
        }
    }
    Ok(records)
}

/// Sizes and positions, from the heads of the segments and the last batches.
pub fn stat(storage: Arc<dyn Storage>, options: Options) -> Result<Stat, Error> {
    options.validate()?;
    at_rest(|| {
        let survey = survey(&*storage, false)?;
        let judged = survey.judge(&*storage, &options, survey.judge_from())?;
        Ok(describe(&storage, &survey, &judged))
    })
}

fn describe(storage: &Arc<dyn Storage>, survey: &Survey, judged: &Judged) -> Stat {
    let published = publish(Arc::clone(storage), survey, judged);
    let durable = published.durable();
    let segments_ready = (survey.segments.len() - judged.blank_from) as u64;
    let mut stat =
        Stat { segments_ready, begin: published.begin(), durable, appended: durable, ..Stat::default() };
    for segment in published.segments() {
        stat.segments += 1;
        stat.segment_bytes += segment.identity.capacity;
    }
    stat
}

/// Judges until two looks agree: a running log moves on between the look at the heads and the look at the
/// batches, and what that resembles is damage, each time in another place. Real damage stays where it is.
fn at_rest<R>(mut judge: impl FnMut() -> Result<R, Error>) -> Result<R, Error> {
    let mut suspected = None;
    loop {
        match judge() {
            Err(Error::Corrupt { segment, offset, lsn, what }) => {
                if suspected.replace((segment, offset)) == Some((segment, offset)) {
                    return Err(corrupt(segment, offset, lsn, what));
                }
            }
            outcome => return outcome,
        }
    }
}
