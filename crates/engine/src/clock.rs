//! The two effects the engine needs from outside: what time it is, and random bits. Tests move the one and seed the
//! other; the binary is the only place that asks the system.

use ledger::Timestamp;

/// Wall clock in UTC milliseconds. May jump; nothing in the engine lets a jump move money.
pub trait Clock: Send + Sync + 'static {
    /// The present time.
    fn now(&self) -> Timestamp;
}

/// Unpredictable bits for new ids.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}
