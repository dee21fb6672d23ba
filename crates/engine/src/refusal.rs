//! Why a command was not carried out, apart from the rules of money.

use ledger::Denial;

/// Everything that can come back instead of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A rule of the ledger said no; nothing moved.
    Denied(Denial),
    /// No such transaction, or none that this agent may see.
    UnknownPayment,
    /// No such agent.
    UnknownAgent,
    /// This agent or wallet has too much under way already; nothing moved.
    TooManyInFlight,
    /// The whole engine has too much under way; nothing moved.
    Overloaded,
    /// The log cannot grow (disk full); nothing moved.
    ReadOnly,
    /// The log failed after the command was taken: it may or may not have happened. Retry with the same key.
    OutcomeUnknown,
    /// The command is larger than one record of the log may be; nothing moved.
    TooLarge,
    /// The engine is starting or shutting down; nothing moved.
    Stopping,
    /// The engine keeps no history index, so it has no lists.
    NoIndex,
    /// The token has ended, and without a history index nobody finds how.
    EndNotIndexed,
    /// A record that was written can no longer be read back: damage, reported rather than guessed around.
    Damaged,
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

/// A refused append wrote nothing, so it is a refusal and not an unknown outcome.
impl From<wal::Refused> for Refusal {
    fn from(refused: wal::Refused) -> Self {
        match refused {
            wal::Refused::Full => Self::ReadOnly,
            wal::Refused::TooLarge => Self::TooLarge,
            wal::Refused::Poisoned | wal::Refused::Closed => Self::Stopping,
        }
    }
}
