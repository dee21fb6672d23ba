//! The derived index: which payments and fundings a wallet has had and which tokens an agent, newest first.
//!
//! Role: lists by wallet, agent and time. It is filled by reading the log from a cursor of its own, and is never asked
//! for a balance: `balance_after` of a statement line is the running sum in log order, not a wallet's state.
//!
//! Owner of state: [`History`]. Entries arrive through [`Batch`], one at a time, from the follower's thread ([`run`]);
//! queries come from any thread and block on disk reads. Neither waits for the other beyond the copying of one batch.
//!
//! Invariants: every record below the cursor is in the index exactly once, whatever crashes and repetitions there were:
//! the cursor is written in the same atomic step as the entries, and records below it are skipped. The deltas of a
//! wallet's entries add up to what it has available. Nothing above the log's durable end is ever in it, because a tail
//! delivers nothing above.
//!
//! Non-goals: durability of its own (what is not written out is read from the log again), entries that change after
//! their birth, totals. An index that is damaged is not repaired: it is set aside and rebuilt.

mod balances;
mod batch;
mod bundle;
mod chunks;
mod directory;
mod disputes;
mod entry;
mod error;
mod follow;
mod history;
mod lines;
mod machine;
mod open;
mod options;
mod pace;
mod query;
mod recent;
mod removed;
mod table;
mod tokens;
mod varint;
mod watermark;
mod writeback;

#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use disputes::DisputeRole;
pub use entry::{Counterparty, Entry, EntryKey, EntryKind, PaymentStatus};
pub use error::Error;
pub use follow::run;
pub use history::{History, Stat};
pub use machine::blames_machine;
pub use options::Options;
pub use query::{Page, PaymentFilter, PaymentLine, SCANNED_MAX, TimeRange};
pub use tokens::TokenRole;
