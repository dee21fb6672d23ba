//! Webhooks as the ledger knows them: who wants to hear of what, and where. The directory actor decides about them;
//! the commit stream publishes what is durable. Nothing here sends anything.
//!
//! `state.rs` is what the directory actor owns, `published.rs` what requests and deliveries see, `face.rs` what the
//! engine offers.

mod face;
mod published;
mod state;

pub use face::CreateWebhook;
pub(crate) use published::PublishedWebhooks;
pub(crate) use state::{WebhookCommand, WebhookPlace, WebhookRows, Webhooks};
