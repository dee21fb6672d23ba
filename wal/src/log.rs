//! An opened log: locked, its end known, not being written.

use crate::allocator::{Allocator, Mint, Minted};
use crate::batch::Tip;
use crate::event::Event;
use crate::intake::Place;
use crate::published::{Published, Segment};
use crate::recovery::{Judged, Survey, Torn, survey};
use crate::scan::open_segment;
use crate::segment::{FIRST_NUMBER, Identity, capacity_min, file_name, genesis};
use crate::shared::Shared;
use crate::storage::{Access, Lock, Storage};
use crate::writer::Writer;
use crate::{Error, Lsn, Options, Reader, Wal};
use std::io;
use std::sync::Arc;

/// An opened, locked log whose end has been judged, and that is not being written yet.
pub struct Log {
    pub(crate) storage: Arc<dyn Storage>,
    options: Options,
    lock: Lock,
    pub(crate) published: Arc<Published>,
    pub(crate) tip: Tip,
    log: Option<u128>,
    /// All segments, used or not.
    identities: Vec<Identity>,
    /// Segments from this index on are blank and can be used.
    blank_from: usize,
    temporaries: Vec<String>,
    residual_risk: Option<String>,
    watermarked: bool,
}

/// Everything that a running log consists of, before its threads are started.
pub(crate) struct Parts<T> {
    pub(crate) shared: Arc<Shared<T>>,
    pub(crate) writer: Writer<T>,
    pub(crate) allocator: Allocator<T>,
    pub(crate) lock: Lock,
}

impl Log {
    /// Locks the directory, makes everything in it durable, and only then reads and judges the last segments.
    /// The segments before are verified when they are replayed or read. An empty directory is an empty log.
    ///
    /// Nothing is changed: [`Error::Corrupt`] leaves the files as they were.
    pub fn open(storage: Arc<dyn Storage>, options: Options) -> Result<Log, Error> {
        options.validate()?;
        let place = || storage.place();
        let lock = storage.lock().map_err(|source| Error::Directory { place: place(), source })?;
        let lock = lock.ok_or_else(|| Error::Locked { directory: place() })?;
        let survey = survey(&*storage, true)?;
        let judged = survey.judge(&*storage, &options, survey.judge_from())?;
        let published = publish(Arc::clone(&storage), &survey, &judged);
        Ok(Log {
            storage,
            options,
            lock,
            published: Arc::new(published),
            tip: judged.tip,
            log: survey.log(),
            identities: survey.segments.iter().map(|surveyed| surveyed.identity).collect(),
            blank_from: judged.blank_from,
            temporaries: survey.temporaries,
            residual_risk: judged.torn.as_ref().map(describe_risk),
            watermarked: judged.torn.is_none() && judged.last_records.unwrap_or(0) == 0,
        })
    }

    /// First position that a batch begins at; zero, which is also the end, for an empty log.
    pub fn begin(&self) -> Lsn {
        self.published.begin()
    }

    /// End of the valid prefix: every record below it is durable, and none is at or above it.
    pub fn end(&self) -> Lsn {
        self.tip.end
    }

    /// What recovery could not tell apart, as a sentence for the operator. `None`: there was nothing to
    /// doubt.
    pub fn residual_risk(&self) -> Option<&str> {
        self.residual_risk.as_deref()
    }

    /// A reader; it stays usable when the log is started.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.published))
    }

    /// Makes sure that a fresh segment is at hand and starts the log thread. `sink` runs on the log thread,
    /// in log order; it must be quick and must never wait for the log.
    ///
    /// On a full disk the log starts read-only ([`crate::Admission::ReadOnly`]) and opens by itself once
    /// there is space.
    pub fn start<T: Send + 'static>(
        self,
        sink: impl FnMut(Event<T>) + Send + 'static,
    ) -> Result<Wal<T>, Error> {
        Wal::start(self.prepare()?, sink)
    }

    pub(crate) fn prepare<T>(mut self) -> Result<Parts<T>, Error> {
        for name in &self.temporaries {
            self.remove(name)?;
        }
        self.discard_small_blanks()?;
        let mut ready = Vec::new();
        for identity in &self.identities[self.blank_from..] {
            let file = open_segment(&*self.storage, identity.number, Access::Write)?;
            ready.push(Arc::new(Place { identity: *identity, file }));
        }
        let mut mint = self.mint()?;
        let mut disk_full = false;
        if ready.is_empty() {
            match mint.make(self.tip.end, &self.options, &|| true)? {
                Minted::Segment(place) => ready.push(place),
                Minted::Full => disk_full = true,
                Minted::Abandoned => unreachable!("nobody ends a log that has not started"),
            }
        }
        let tip = if self.log.is_some() { self.tip } else { genesis(mint.log()) };
        let shared = Arc::new(Shared::new(self.options, self.published, ready));
        if disk_full {
            shared.set_disk_full();
        }
        let writer = Writer::new(Arc::clone(&shared), tip, self.watermarked);
        let allocator = Allocator::new(Arc::clone(&shared), mint);
        Ok(Parts { shared, writer, allocator, lock: self.lock })
    }

    fn mint(&self) -> Result<Mint, Error> {
        let log = match self.log {
            Some(log) => log,
            None => self.options.entropy.draw().map_err(|source| Error::Entropy { source })?,
        };
        let (number, base) = match self.identities.last() {
            Some(last) => (last.number + 1, last.limit()),
            None => (FIRST_NUMBER, Lsn::ZERO),
        };
        Ok(Mint::new(Arc::clone(&self.storage), log, number, base))
    }

    /// Segments kept ready by a start with smaller records cannot take the largest record of today. They were
    /// never written to, so they are made anew.
    fn discard_small_blanks(&mut self) -> Result<(), Error> {
        let needed = capacity_min(self.options.record_bytes_max);
        if self.identities[self.blank_from..].iter().all(|identity| identity.capacity >= needed) {
            return Ok(());
        }
        // From the last to the second, so that an interruption leaves no gap in the numbers. The first stays
        // until its successor takes its name: a sealed segment is always followed by another.
        while self.identities.len() > self.blank_from + 1 {
            let identity = self.identities.pop().expect("there is one");
            self.remove(&file_name(identity.number))?;
            self.storage.sync_directory().map_err(|source| Error::SyncDirectory { source })?;
        }
        self.identities.truncate(self.blank_from);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        match self.storage.remove(name) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::Remove { name: name.to_owned(), source })
            }
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("begin", &self.begin()).field("end", &self.end()).finish_non_exhaustive()
    }
}

/// What readers see of a log that was judged.
pub(crate) fn publish(storage: Arc<dyn Storage>, survey: &Survey, judged: &Judged) -> Published {
    let mut segments = Vec::new();
    for (surveyed, end) in survey.segments.iter().zip(&judged.ends) {
        if let (Some(link), Some(end)) = (surveyed.link, end) {
            segments.push(Arc::new(Segment::new(surveyed.identity, link, Some(*end))));
        }
    }
    Published::new(storage, judged.tip.end, segments)
}

fn describe_risk(torn: &Torn) -> String {
    format!(
        "segment {} holds an incomplete batch between lsn {} and {} ({}): cut short by a crash and never \
         acknowledged, or acknowledged in the last moment before the stop and damaged since; the log cannot \
         tell which",
        torn.segment, torn.from, torn.to, torn.flaw
    )
}
