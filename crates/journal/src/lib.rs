//! The records of the log and the rows of snapshots, as bytes.
//!
//! Role: turn facts and state into payloads and back. A payload is a schema version byte, a kind byte, and an rkyv
//! archive (little-endian, unaligned, 32-bit offsets). Nothing is parsed on the hot path: [`view()`] checks a payload in
//! place, and a [`View`] walks the archived bytes without allocating.
//! Owner of state: none; a [`Scratch`] belongs to the thread that encodes with it.
//! Invariants: old versions stay readable for ever (golden files prove it); hostile bytes give an [`Error`], never a
//! panic and never a fact whose postings do not sum to zero; equal facts give equal bytes.
//! Non-goals: checksums, framing and positions, which are the log's; what facts mean, which is the ledger's.

mod archive;
mod check;
mod claims;
mod decode;
mod encode;
mod error;
mod kind;
mod paid;
mod policies;
mod records;
mod rows;
mod scratch;
mod services;
mod tokens;
mod view;
mod webhooks;

pub use encode::Encode;
pub use error::Error;
pub use kind::Kind;
pub use paid::{Paid, PaidTo};
pub use rows::{Row, RowRef, decode_row, encode_row};
pub use scratch::Scratch;
pub use view::{Owner, View, view};

/// The fact in a payload, owned: for reads by id and repeated answers.
pub fn decode(payload: &[u8]) -> Result<ledger::Fact, Error> {
    view(payload)?.to_fact()
}
