//! The index: its layers, its writer, and waiting for it.
//!
//! Layers, newest first: the part being filled, the part being written out, the database. Each record is in exactly one
//! of them, and positions fall from one to the next, so a reader goes through them one after the other and never merges
//! them. A part is written out while the next is being filled.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use ledger::WalletId;
use wal::{Lsn, Reader};

use crate::balances::Balances;
use crate::batch::{Batch, Writer};
use crate::directory::Directory;
use crate::entry::Head;
use crate::open::{Opened, open};
use crate::pace::Pace;
use crate::recent::Recent;
use crate::table::Table;
use crate::watermark::Watermark;
use crate::{Error, Options};

/// Statement lines and payments by wallet, newest first. See the crate's head for what it promises.
pub struct History {
    pub(crate) options: Options,
    directory: Directory,
    pub(crate) table: Box<dyn Table>,
    pub(crate) pace: Arc<Pace>,
    layers: RwLock<Layers>,
    /// Held by the one batch that there may be.
    writer: Mutex<Writer>,
    /// Held while a part is written out.
    sealing: Mutex<()>,
    /// Memory of the last part that was written out, for the next one.
    spare: Mutex<Option<Recent>>,
    progress: Mutex<Progress>,
    advanced: Condvar,
    wanted: Condvar,
}

pub(crate) struct Layers {
    pub(crate) active: Recent,
    /// On its way into the database. Stays readable here until it is there.
    pub(crate) frozen: Option<Arc<Recent>>,
    /// What the database holds.
    pub(crate) sealed: Watermark,
}

/// How far readers may rely on the index, and how far they want it.
struct Progress {
    next: Lsn,
    /// Highest record that somebody waits for.
    wanted: Option<Lsn>,
}

/// Bytes of log by which the index may fall behind out of courtesy: seconds of a full load.
const BEHIND_BYTES_MAX: u64 = 64 << 20;

/// Numbers for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Everything below this position of the log is in the index.
    pub next: Lsn,
    /// Everything below this position is in the database: where the log is read on after a crash.
    pub sealed: Lsn,
    /// Records indexed since the index was created.
    pub records: u64,
    /// Entries indexed since the index was created.
    pub entries: u64,
    /// Entries held in memory.
    pub recent_entries: usize,
    /// Bytes of the database on disk.
    pub disk_bytes: u64,
}

impl History {
    /// Opens the index of `log` in `directory`, creating it if needed. One that is damaged, of another format version, or
    /// not of this log is renamed to `<directory>.damaged-<n>` and rebuilt from the log's first record.
    pub fn open(directory: &Path, log: &Reader, options: Options) -> Result<History, Error> {
        let opened = open(directory, log, &options)?;
        Ok(History::new(opened, options))
    }

    pub(crate) fn new(opened: Opened, options: Options) -> History {
        let Opened { directory, table, watermark, pace } = opened;
        let active = Recent::behind(watermark);
        let writer = Writer::new(Balances::new(options.balances));
        History {
            options,
            directory,
            table,
            pace,
            layers: RwLock::new(Layers { active, frozen: None, sealed: watermark }),
            writer: Mutex::new(writer),
            sealing: Mutex::new(()),
            spare: Mutex::new(None),
            progress: Mutex::new(Progress { next: watermark.next, wanted: None }),
            advanced: Condvar::new(),
            wanted: Condvar::new(),
        }
    }

    /// Where the log is to be read on; [`Lsn::ZERO`] for an empty index, which means the log's first record.
    pub fn cursor(&self) -> Lsn {
        self.progress().next
    }

    /// Begins to add records. One batch exists at a time: a second caller waits here.
    pub fn batch(&self) -> Batch<'_> {
        Batch::begin(self, self.writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the record at `lsn` is in the index, so that a list shows what was just acknowledged. False when it
    /// takes longer than `timeout`. Blocks the calling thread.
    pub fn wait_for(&self, lsn: Lsn, timeout: Duration) -> bool {
        let mut progress = self.progress();
        if progress.next > lsn {
            return true;
        }
        progress.wanted = progress.wanted.max(Some(lsn));
        self.pace.hurry(true);
        self.wanted.notify_one();
        let waited = self.advanced.wait_timeout_while(progress, timeout, |progress| progress.next <= lsn);
        let (progress, _) = waited.unwrap_or_else(PoisonError::into_inner);
        progress.next > lsn
    }

    /// Sets the pace of an index that is `behind` bytes of log behind.
    pub(crate) fn set_pace(&self, behind: u64) {
        let progress = self.progress();
        let wanted = progress.wanted.is_some_and(|wanted| wanted >= progress.next);
        let is_far_behind = behind > BEHIND_BYTES_MAX;
        self.pace.hurry(wanted || is_far_behind);
        self.pace.rush(is_far_behind);
    }

    /// Pauses the follower for `pause`, unless somebody waits for more than there is.
    pub(crate) fn linger(&self, pause: Duration) {
        let idle = |progress: &mut Progress| progress.wanted.is_none_or(|wanted| wanted < progress.next);
        // Woken early or late, the follower just looks at the log again.
        drop(self.wanted.wait_timeout_while(self.progress(), pause, idle));
    }

    /// True when the part being filled ought to be written out.
    pub fn is_full(&self) -> bool {
        self.layers().active.is_full(self.options.recent_entries)
    }

    /// Writes everything up to now into the database, durably. Adding and reading go on meanwhile.
    ///
    /// On an error nothing is lost: the part stays readable in memory, and the next call tries again.
    pub fn seal(&self) -> Result<(), Error> {
        let end = self.cursor();
        while self.layers().sealed.next < end {
            self.seal_part()?;
        }
        Ok(())
    }

    /// Writes one part out: the one that an earlier call could not write, or all there is now. What is added meanwhile is
    /// left to the next call: parts of what came while another was written would be small, and many.
    pub(crate) fn seal_part(&self) -> Result<(), Error> {
        let _sealing = self.sealing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(part) = self.freeze() else { return Ok(()) };
        self.table.ingest(&part).inspect_err(|error| self.condemn_if_damaged(error))?;
        let mut layers = self.layers_mut();
        layers.sealed = part.watermark();
        layers.frozen = None;
        drop(layers);
        // A reader that is still at it keeps the part, and its memory with it.
        *self.spare() = Arc::into_inner(part);
        Ok(())
    }

    /// The part to be written out next.
    fn freeze(&self) -> Option<Arc<Recent>> {
        let mut layers = self.layers_mut();
        if layers.frozen.is_none() && !layers.active.is_empty() {
            let watermark = layers.active.watermark();
            let empty = match self.spare().take() {
                Some(done) => Recent::behind_in(watermark, done),
                None => Recent::behind(watermark),
            };
            layers.frozen = Some(Arc::new(std::mem::replace(&mut layers.active, empty)));
        }
        layers.frozen.clone()
    }

    /// Gives back memory that only a busy index is faster with.
    pub(crate) fn rest(&self) {
        *self.spare() = None;
    }

    /// Numbers for metrics.
    pub fn stat(&self) -> Stat {
        let layers = self.layers();
        let Watermark { next, records, entries, .. } = layers.active.watermark();
        let frozen = layers.frozen.as_ref().map_or(0, |frozen| frozen.len());
        Stat {
            next,
            sealed: layers.sealed.next,
            records,
            entries,
            recent_entries: layers.active.len() + frozen,
            disk_bytes: self.table.bytes(),
        }
    }

    /// Where a wallet stands behind its newest entry.
    pub(crate) fn head(&self, wallet: WalletId) -> Result<Option<Head>, Error> {
        let layers = self.layers();
        let frozen = layers.frozen.clone();
        let in_memory = match layers.active.head(wallet)? {
            Some(head) => Some(head),
            None => frozen.as_ref().map_or(Ok(None), |frozen| frozen.head(wallet))?,
        };
        drop(layers);
        in_memory.map_or_else(|| self.table.head(wallet), |head| Ok(Some(head)))
    }

    /// Lets the next start rebuild the index when `error` means that it is damaged.
    pub(crate) fn condemn_if_damaged(&self, error: &Error) {
        if error.is_damage()
            && let Err(failed) = self.directory.condemn(&error.to_string())
        {
            tracing::warn!(error = %failed, "the damaged history index could not be marked for rebuilding");
        }
    }

    /// Tells everybody how far the index is now.
    pub(crate) fn publish(&self, next: Lsn) {
        let mut progress = self.progress();
        assert!(next >= progress.next, "the index only grows");
        progress.next = next;
        drop(progress);
        self.advanced.notify_all();
    }

    pub(crate) fn layers(&self) -> RwLockReadGuard<'_, Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn layers_mut(&self) -> RwLockWriteGuard<'_, Layers> {
        self.layers.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn spare(&self) -> MutexGuard<'_, Option<Recent>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("cursor", &self.cursor()).finish_non_exhaustive()
    }
}
