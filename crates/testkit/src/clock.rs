//! Time that moves when a test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// UTC milliseconds under a test's control; clones share one time. It may run backwards: clocks do.
#[derive(Clone, Debug)]
pub struct ManualClock {
    millis: Arc<AtomicI64>,
}

impl ManualClock {
    pub fn new(millis: i64) -> Self {
        Self { millis: Arc::new(AtomicI64::new(millis)) }
    }

    pub fn now(&self) -> ledger::Timestamp {
        ledger::Timestamp::from_millis(self.millis.load(Ordering::SeqCst))
    }

    pub fn set(&self, millis: i64) {
        self.millis.store(millis, Ordering::SeqCst);
    }

    /// Moves by `millis`, backwards when negative.
    pub fn advance(&self, millis: i64) {
        self.millis.fetch_add(millis, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_one_time() {
        let clock = ManualClock::new(1_000);
        let other = clock.clone();
        clock.advance(500);
        assert_eq!(other.now().millis(), 1_500);
        other.advance(-2_000);
        assert_eq!(clock.now().millis(), -500);
        clock.set(7);
        assert_eq!(other.now().millis(), 7);
    }
}
