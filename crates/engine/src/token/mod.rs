//! Tokens: who owns one, and what becomes of it.
//!
//! A token rests in a slot of [`Tokens`] for all its life and is owned by whoever holds the slot's guard: the task of a
//! party that asks for a step, the timer thread when a deadline has come, the commit stream when it is born. A step is a
//! comparison and an append, so nobody waits long and no actor is needed to queue for it. `owner.rs` decides,
//! `tokens.rs` is the map, `former.rs` what has left it, `view.rs` what is shown, `face.rs` what the engine offers.

mod face;
mod former;
mod owner;
mod tokens;
mod view;

pub(crate) use former::FormerToken;
pub(crate) use owner::{Lapse, Owner};
pub(crate) use tokens::Tokens;
pub use view::{Authorize, TokenFilter, TokenView, VerifiedToken, VerifyToken};
pub(crate) use view::{view_after, view_reserved};
