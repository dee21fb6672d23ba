//! The effects the engine needs from outside: what time it is, how much has passed, and random bits. Tests move the one and seed the
//! other; the binary is the only place that asks the system.

use std::time::Duration;

use ledger::Timestamp;

/// Time from outside. The wall clock may jump; nothing in the engine lets a jump move money.
pub trait Clock: Send + Sync + 'static {
    /// The present time, in UTC milliseconds.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment. Never goes back.
    fn monotonic(&self) -> Duration;
}

/// Unpredictable bits for new ids.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}
