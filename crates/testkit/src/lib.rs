//! Tools for tests: a seeded workload, naive models of the ledger, of service calls and of claims, a checker, a manual clock.
//!
//! Role: tests only; no crate of the node depends on it outside of its tests.
//! Independence: the model shares no rule, no arithmetic and no type of the `ledger` crate, so that an error there is
//! not repeated here. Only [`Ids`] and the checker know both sides.
//! Non-goals: concurrency, time limits, keys that are forgotten. A workload stays within the retention of keys.

mod calls;
mod checker;
mod claims;
mod clock;
mod command;
mod ids;
mod model;
mod random;
mod workload;

pub use calls::{CallOutcome, CallRules, CallStep, CallToken, Calls, Promise, Purse};
pub use checker::{Reading, differences};
pub use claims::{ClaimAction, ClaimOutcome, ClaimPurse, Claims, Disputed, PaidOnce, Voice};
pub use clock::ManualClock;
pub use command::{Action, Command, Item, Money, Payee, RAILS};
pub use ids::{Ids, LedgerCommand};
pub use model::{Account, ItemResult, Model, ModelOutcome, ModelWallet};
pub use random::{Random, seed};
pub use workload::{Config, Workload};
