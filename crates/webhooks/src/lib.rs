//! Signed delivery of events to those who asked for them.
//!
//! Role: follows the ledger's events with a durable cursor of its own, turns each into one delivery per webhook that wants
//! it, and sends deliveries, again and again, until the receiver takes them or the schedule ends. Also the one place
//! that the node calls foreign addresses from.
//! Owner of state: [`Webhooks`]. Deliveries and cursor are on disk ([`Store`]); which of them are due when is in memory
//! (`queue`) and follows from them. Who listens to what is the ledger's state and only read here.
//! Threads: one that follows the log, one task that sends, one task per attempt.
//! Invariants: at least once, with the same id and the same body every time; nothing above the durable position is sent;
//! a slow or hostile receiver delays no other, holds up no payment, and is reached at public addresses only.
//! Non-goals: order between different objects, exactly once, and what a body looks like (the API writes it).

mod client;
mod deliver;
mod error;
mod follow;
mod guard;
mod life;
mod metrics;
mod options;
mod prove;
mod queue;
mod schedule;
mod sign;
mod store;
mod webhooks;

pub use client::{Answer, Client, Failure};
pub use error::Error;
pub use guard::{Host, Reach, Resolve, Resolving, SystemResolver, Target, URL_CHARS_MAX};
pub use options::Options;
pub use prove::{Challenge, Proof};
pub use sign::secret_text;
pub use store::{Attempt, Listed, Place, Row, State, Store};
pub use webhooks::{Refused, Render, Webhooks};
