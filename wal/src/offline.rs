//! Tools that look at a log without opening it: no lock, no sync, nothing changed. Beside a running log they
//! see a moment of it.

use crate::batch::Records;
use crate::log::publish;
use crate::recovery::{corrupt, survey};
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
    /// An incomplete batch behind the end, as a cut by a crash leaves it: segment, first and last position
    /// that is not zero.
    pub torn: Option<(u64, Lsn, Lsn)>,
}

/// Verifies every byte of every segment. `Err` only when the log could not be read; damage is in the report.
pub fn verify(storage: Arc<dyn Storage>, options: Options) -> Result<Report, Error> {
    let mut report = Report::default();
    let outcome = survey(&*storage, false).and_then(|survey| {
        let judged = survey.judge(&*storage, &options, 0, |_, _, checked| {
            report.batches += 1;
            report.records += u64::from(checked.records);
        })?;
        report.torn = judged.torn.map(|torn| (torn.segment, torn.from, torn.to));
        Ok(())
    });
    match outcome {
        Ok(()) => report.stat = stat(storage, options)?,
        Err(error @ (Error::Corrupt { .. } | Error::Version { .. })) => report.corruption = Some(error),
        Err(error) => return Err(error),
    }
    Ok(report)
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
                    let (rest, at) = (scan.rest()?, scan.at());
                    if rest.batches.iter().any(|(later, _)| *later > at) {
                        let what = format!("batch {}: {flaw}", tip.batch + 1);
                        return Err(corrupt(identity.number, identity.offset_of(at), at, what).into());
                    }
                    break;
                }
            }
        }
    }
    Ok(records)
}

/// Sizes and positions, from the heads of the segments and the last batches.
pub fn stat(storage: Arc<dyn Storage>, options: Options) -> Result<Stat, Error> {
    options.validate()?;
    let survey = survey(&*storage, false)?;
    let judged = survey.judge(&*storage, &options, survey.judge_from(), |_, _, _| {})?;
    let segments_ready = (survey.segments.len() - judged.blank_from) as u64;
    let published = publish(Arc::clone(&storage), &survey, &judged);
    let mut stat = Stat { segments_ready, begin: published.begin(), ..Stat::default() };
    stat.durable = published.durable();
    stat.appended = published.durable();
    for segment in published.segments() {
        stat.segments += 1;
        stat.segment_bytes += segment.identity.capacity;
    }
    Ok(stat)
}
