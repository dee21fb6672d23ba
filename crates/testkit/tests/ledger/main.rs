//! The ledger and the journal against the naive model: decide, encode, view, apply, crash, replay.

mod lag;
mod node;
mod state_machine;
