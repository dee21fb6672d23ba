//! Idempotency keys that are kept but no longer in memory: immutable sorted files, called runs.
//!
//! Role: owners keep the keys of recent records in memory; the keys of all records below a position of the log are
//! here. Each run holds the keys of the records of one range of the log, so the runs are a function of the log and any
//! of them can be built again from it. Owner of state: the directory of runs, through one [`KeyStore`] per process.
//! Threads: lookups from any; adding, merging and dropping from one (the engine's spilling thread, or recovery).
//!
//! Invariants: a run counts once it is synced and has its name; every page of it is checked before it is believed; what
//! cannot be read is an error and never "not there". Keys go in whole runs, the youngest key of which is older than the
//! retention. Memory: one filter per run, two bytes per key, up to a bound; beyond it filters are read from the file.
//!
//! Non-goals: deciding what a found key means, reading the log, and knowing the time.

mod entry;
mod error;
mod filter;
mod merge;
mod page;
mod run;
mod sort;
mod store;
mod writer;

#[cfg(test)]
mod tests;

pub use error::Error;
pub use store::{Figures, KeyStore, Options};

use ledger::{KeyHash, KeyPlace, Timestamp};

/// A key on its way out of memory.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct SpilledKey {
    /// Id of the wallet or agent whose key it is.
    pub owner: u128,
    pub hash: KeyHash,
    /// The record that used it.
    pub place: KeyPlace,
    pub fingerprint: u64,
    /// When it was used.
    pub at: Timestamp,
}
