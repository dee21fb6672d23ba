//! One actor per wallet that is being used. The actor owns the wallet's state; the registry keeps it while nobody uses
//! it. `owner.rs` decides, `actor.rs` is the ractor shell around it, `inbox.rs` is how work and credits reach it,
//! `handle.rs` is all that the rest of the engine sees.

mod actor;
mod handle;
mod inbox;
mod message;
mod owner;

pub(crate) use handle::Handle;
pub(crate) use inbox::Inbox;
pub(crate) use message::{Command, RowFacts, Work};
pub(crate) use owner::{apply_own, preview};
