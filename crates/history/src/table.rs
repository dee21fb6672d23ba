//! The database under the index: all that is known of fjall is here, behind a trait that tests replace.
//!
//! Entries are written as whole sorted runs (fjall's ingestion) and never one by one: the log holds them already, so
//! fjall's own journal and memtable would only repeat the work. A run is registered in one atomic step together with the
//! watermark, which makes the watermark the judge of what is in the index. One keyspace holds both, so that no crash can
//! part them. Nothing is ever removed or cleared.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use fjall::compaction::Leveled;
use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};
use fjall::config::FilterPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use ledger::WalletId;
use spread::Spread;

use crate::bundle::{Entries, InRow};
use crate::entry::{EntryKey, Head, KEY_BYTES, decode_key, decode_value, encode_key};
use crate::pace::Pace;
use crate::recent::Recent;
use crate::removed::Removed;
use crate::writeback::Writeback;
use crate::{Error, Options};

const KEYSPACE: &str = "entries";
/// Folder of a keyspace that has its tables, each named by its number.
const TABLES: &str = "tables";
/// Sorts before every entry: an entry's key begins with this byte at the least, and is longer.
const WATERMARK_KEY: [u8; 1] = [0];

/// Runs that may lie side by side before they are merged. Wallets are in every run, so each merge writes the level below
/// anew: fewer merges write less, and a list looks into this many runs at most.
const RUNS_MAX: u8 = 16;

/// Compacts. There is nothing to flush beside it, because runs come in whole; and with several, the first one passes a
/// compaction that waits back into their queue over and over, which keeps a core busy.
const WORKER_THREADS: usize = 1;

/// Entries of a wallet, newest first.
pub(crate) type Scan = Box<dyn Iterator<Item = Result<(EntryKey, InRow<fjall::Slice>), Error>>>;

/// Sorted storage of entries.
pub(crate) trait Table: Send + Sync + 'static {
    /// The row that was written with the last run; `None` in a new table.
    fn watermark(&self) -> Result<Option<fjall::Slice>, Error>;

    /// True when there is no row at all.
    fn is_empty(&self) -> Result<bool, Error>;

    /// Writes a run and its watermark durably, all or nothing.
    fn ingest(&self, run: &Recent) -> Result<(), Error>;

    /// Where a wallet stands behind its newest entry.
    fn head(&self, wallet: WalletId) -> Result<Option<Head>, Error>;

    /// Entries of a wallet older than `before`.
    fn scan(&self, wallet: WalletId, before: EntryKey) -> Scan;

    /// Bytes on disk.
    fn bytes(&self) -> u64;
}

/// The real one.
pub(crate) struct FjallTable {
    rows: Keyspace,
    pace: Arc<Pace>,
    writeback: Arc<Writeback>,
    removed: Arc<Removed>,
    /// Declared last, so that it is dropped behind its keyspace.
    _database: Database,
}

impl FjallTable {
    /// Opens or creates the database. Its threads inherit the priority of the calling thread.
    pub(crate) fn open(directory: &Path, options: &Options, pace: &Arc<Pace>) -> Result<FjallTable, Error> {
        let writeback = Arc::new(Writeback::new(pace.clone(), RUNS_MAX.into()));
        let removed = Arc::new(Removed::beside(directory));
        let polite: Arc<dyn Factory> =
            Arc::new(Polite { pace: pace.clone(), writeback: writeback.clone(), removed: removed.clone() });
        let database = Database::builder(directory)
            .cache_size(options.cache_bytes)
            .worker_threads(WORKER_THREADS)
            .with_compaction_filter_factories(Arc::new(move |_| Some(polite.clone())))
            .open()
            .map_err(|source| match source {
                fjall::Error::Locked => Error::Locked { directory: directory.to_owned() },
                source => failed("open")(source),
            })?;
        // Only the watermark is read by its exact key: filters would be dead weight.
        let create = || {
            KeyspaceCreateOptions::default()
                .filter_policy(FilterPolicy::disabled())
                .compaction_strategy(Arc::new(Leveled::default().with_l0_threshold(RUNS_MAX)))
        };
        let rows = database.keyspace(KEYSPACE, create).map_err(failed("open"))?;
        // Best effort. Nothing is held before the tables are known.
        let _ = removed.clear();
        writeback.set_tables(rows.path().join(TABLES));
        writeback.set_runs(rows.l0_table_count());
        Ok(FjallTable { rows, pace: pace.clone(), writeback, removed, _database: database })
    }
}

impl Table for FjallTable {
    fn watermark(&self) -> Result<Option<fjall::Slice>, Error> {
        self.rows.get(WATERMARK_KEY).map_err(failed("read"))
    }

    fn is_empty(&self) -> Result<bool, Error> {
        self.rows.is_empty().map_err(failed("read"))
    }

    fn ingest(&self, run: &Recent) -> Result<(), Error> {
        let mut ingestion = self.rows.start_ingestion().map_err(failed("write"))?;
        ingestion.write(WATERMARK_KEY, run.watermark().encode()).map_err(failed("write"))?;
        let (mut done, mut spread) = (0, self.writeback.spread());
        run.for_each_row(|wallet, oldest, entries, row| {
            self.pace.step(&mut done, entries);
            self.writeback.wrote(&mut spread, KEY_BYTES + row.len());
            ingestion.write(&encode_key(wallet, oldest)[..], row).map_err(failed("write"))
        })?;
        ingestion.finish().map_err(failed("write"))?;
        self.writeback.set_runs(self.rows.l0_table_count());
        // Best effort, as all of it.
        let _ = self.removed.free();
        Ok(())
    }

    fn head(&self, wallet: WalletId) -> Result<Option<Head>, Error> {
        let newest = self.scan(wallet, EntryKey::MAX).next().transpose()?;
        newest.map(|(_, value)| Ok(decode_value(value.as_ref())?.head)).transpose()
    }

    fn scan(&self, wallet: WalletId, before: EntryKey) -> Scan {
        let newest = encode_key(wallet, before);
        let oldest = encode_key(wallet, EntryKey::MIN);
        let rows = self.rows.range::<[u8; KEY_BYTES], _>((Bound::Excluded(newest), Bound::Included(oldest)));
        let rows = rows.map(|row| {
            let (key, row) = row.into_inner().map_err(failed("read"))?;
            let (_, oldest) = decode_key(&key)?;
            Ok((oldest, row))
        });
        Box::new(Entries::new(rows, before))
    }

    fn bytes(&self) -> u64 {
        self.rows.disk_space()
    }
}

/// A compaction that keeps everything and now and then gives way.
struct Polite {
    pace: Arc<Pace>,
    writeback: Arc<Writeback>,
    removed: Arc<Removed>,
}

impl Factory for Polite {
    fn name(&self) -> &str {
        "polite"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        // A compaction begins: what it merges is removed at its end.
        if let Some(tables) = self.writeback.tables() {
            let _ = self.removed.hold(tables);
        }
        let (pace, writeback) = (self.pace.clone(), self.writeback.clone());
        let spread = writeback.spread();
        Box::new(Kept { pace, writeback, done: 0, spread })
    }
}

struct Kept {
    pace: Arc<Pace>,
    writeback: Arc<Writeback>,
    done: u32,
    spread: Spread,
}

impl CompactionFilter for Kept {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        self.pace.step(&mut self.done, 1);
        self.writeback.wrote(&mut self.spread, item.key().len() + item.value()?.len());
        Ok(Verdict::Keep)
    }
}

fn failed(action: &'static str) -> impl Fn(fjall::Error) -> Error {
    move |source| Error::Database { action, source }
}
