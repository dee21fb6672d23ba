//! A wallet has one owner at a time. Usually that is the requester's own task, under the guard of the slot that the
//! wallet rests in; a wallet that several want at once gets an actor. `owner.rs` decides for both, `actor.rs` is the
//! ractor shell, `inbox.rs` is how work and credits reach it, `handle.rs` is all that the rest of the engine sees.

mod actor;
mod handle;
mod inbox;
mod message;
mod owner;

pub(crate) use handle::Handle;
pub(crate) use inbox::Inbox;
pub(crate) use message::{Asked, Command, RowFacts, RowReply, Work};
pub(crate) use owner::{Owner, apply_own, preview};
