//! Snapshot generations: the state of all owners at rest, so that recovery replays only the log behind them.
//!
//! Role: a generation is a stream of typed rows (`journal::Row`) in one order of writing, closed by a [`Summary`].
//! A store makes it durable and proves it by re-reading before it counts. State: none besides the files; the log stays
//! the truth, and every generation can be thrown away as long as the log behind it exists.
//!
//! Threads: [`SnapshotWriter`] belongs to one thread (the snapshot thread); a store may be used from several.
//!
//! Invariants: `start <= covers` (replay starts at or below what the rows contain). A row handed out by
//! [`SnapshotStore::load`] comes from a file whose every byte was verified before the first row. A generation that
//! is listed was complete, synced and re-read before it got its name.
//!
//! Non-goals: a snapshot is fuzzy, so its rows need not add up to zero; the trial balance is the business of whoever
//! replays the log behind it. Which rows are written, and when, is decided by the engine.

mod disk;
mod error;
mod format;
mod reader;
mod store;
mod tally;
mod writer;

#[cfg(test)]
mod tests;

pub use error::Error;
pub use store::FileStore;
pub use tally::Tally;

use std::sync::Arc;

use journal::Row;
use ledger::{Amount, Currency, Timestamp};
use spread::Rate;

/// Longest row in bytes. Far above any honest owner; it keeps lengths in 32 bits.
pub const ROW_BYTES_MAX: usize = 1 << 30;

/// What a generation contains and where replay goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Lsn where replay starts: what the commit stream had delivered when the generation was begun.
    pub start: u64,
    /// Durable Lsn that every row is at or below.
    pub covers: u64,
    /// Number of wallet rows.
    pub wallets: u64,
    /// Number of agent rows.
    pub agents: u64,
    /// Sum over all wallet rows of `Wallet::total`, per currency. A currency without wallets may be missing.
    pub sums: Vec<(Currency, Amount)>,
}

/// A complete generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Grows with every generation of a store; never reused while an older one exists.
    pub id: u64,
    /// Partition whose owners it holds.
    pub partition: u16,
    pub summary: Summary,
    /// Last value of the BLAKE3 chain over everything in the generation.
    pub digest: [u8; 32],
    /// Size in bytes.
    pub bytes: u64,
    /// When it was finished, as told by the caller.
    pub created_at: Timestamp,
}

/// Generations that a store holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// Newest first. Only the frame (header, trailer, length) was checked; [`SnapshotStore::load`] checks the rest.
    pub generations: Vec<Generation>,
    /// What looks like a generation and is not one, newest first.
    pub damaged: Vec<Damaged>,
}

/// A generation that cannot be used.
#[derive(Debug)]
pub struct Damaged {
    pub id: u64,
    pub error: Error,
}

/// Where generations live.
pub trait SnapshotStore: Send + Sync + 'static {
    /// Begins a generation whose replay will start at `start`. Nothing is visible before [`SnapshotWriter::finish`];
    /// dropping the writer gives the generation up.
    fn begin(&self, partition: u16, start: u64) -> Result<Box<dyn SnapshotWriter>, Error>;

    /// Everything that is there, damaged generations included. Fails only when the store itself cannot be read.
    fn list(&self) -> Result<Listing, Error>;

    /// Verifies the whole generation, then hands its rows to `visit` in the order of writing.
    ///
    /// An error after the first row (the medium failed between the two passes, or a row cannot be decoded, or the
    /// rows do not agree with the summary) means that what was visited must be thrown away.
    fn load(&self, id: u64, visit: &mut dyn FnMut(Row) -> Result<(), Error>) -> Result<Generation, Error>;

    /// Verifies every byte, every row and the summary of a generation, without keeping anything of it.
    fn verify(&self, id: u64) -> Result<Generation, Error>;

    /// Keeps the newest `keep` verified generations of each partition and removes what is older. Generations that were
    /// not verified by this process are verified here. Damaged ones never count, and go once they are the oldest.
    fn retain(&self, keep: usize) -> Result<(), Error>;
}

/// A generation being written.
pub trait SnapshotWriter: Send {
    /// Appends one row, as encoded by `journal::encode_row`.
    fn put(&mut self, row_bytes: &[u8]) -> Result<(), Error>;

    /// From now on writes so many bytes per second at most, and reads four times as many back, which costs the disk less.
    fn set_rate(&mut self, rate: Arc<Rate>);

    /// Makes the generation durable, proves it by re-reading, and only then gives it its name.
    ///
    /// On an error the generation may or may not exist under its name, and is whole if it does.
    fn finish(self: Box<Self>, summary: Summary, created_at: Timestamp) -> Result<Generation, Error>;
}
