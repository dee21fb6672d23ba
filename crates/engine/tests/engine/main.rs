//! Tests of the engine as a whole, through its public face: one binary, one module per promise.
//!
//! Only `harness` knows how an engine is started, stopped and killed, and how commands are spelled. Disks are those of
//! `wal::testing` (and `harness::disk` on top of them), snapshots are files in a temporary directory, time and chance
//! are given by the test. Random tests print their seed and the command that replays them; where several tasks race,
//! the seed fixes what is asked and not in which order it arrives.

mod actors;
mod batches;
mod budgets;
mod claim_crash;
mod claim_model;
mod crash;
mod directory;
mod disputes;
mod failure;
mod harness;
mod keys;
mod lists;
mod model;
mod payments;
mod policies;
mod refunds;
mod rush;
mod services;
mod shutdown;
mod slow_disk;
mod snapshots;
mod spilled;
mod stuck;
mod token_crash;
mod token_model;
mod token_races;
mod token_time;
mod tokens;
mod trust;
mod visibility;
mod webhooks;
