//! What comes of a command.

use crate::{Denial, KeyPlace};

/// The outcome of deciding one command. Deciding changes nothing: a fact takes effect when it is recorded and applied.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum Decision<F> {
    /// To be recorded and applied.
    Fact(F),
    Denied(Denial),
    /// The same request was decided before; its answer is in the record there.
    Replay(KeyPlace),
}
