//! What has happened, for those who want to be told: the durable log as events about payments, wallets, tokens and
//! services, each with the agents it concerns.
//!
//! Owner of state: an [`EventTail`] has a position of its own and belongs to one thread, which it may block. Invariants:
//! nothing above the delivered position is told, so whoever asks about what it was told finds it; a record leads to the
//! same events whenever it is read. Records that concern nobody with a webhook are passed over before they are decoded.
//! Non-goals: who has asked for which events, sending, remembering how far somebody has come.

mod happening;
mod tail;

pub use happening::{DeniedByPolicy, Event, FrozenWallet, Happening};
pub use tail::{EventBatch, EventTail, EventsError};
