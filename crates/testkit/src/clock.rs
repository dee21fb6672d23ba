//! Time that moves when a test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// UTC milliseconds and a monotonic count under a test's control; clones share one time. The wall clock may run
/// backwards: clocks do. The monotonic one never does.
#[derive(Clone, Debug)]
pub struct ManualClock {
    millis: Arc<AtomicI64>,
    monotonic_ms: Arc<AtomicU64>,
}

impl ManualClock {
    pub fn new(millis: i64) -> Self {
        Self { millis: Arc::new(AtomicI64::new(millis)), monotonic_ms: Arc::default() }
    }

    pub fn now(&self) -> ledger::Timestamp {
        ledger::Timestamp::from_millis(self.millis.load(Ordering::SeqCst))
    }

    /// Time that has passed, whatever the wall clock says.
    pub fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_ms.load(Ordering::SeqCst))
    }

    /// Sets the wall clock; no time passes.
    pub fn set(&self, millis: i64) {
        self.millis.store(millis, Ordering::SeqCst);
    }

    /// Moves the wall clock by `millis`, backwards when negative; no time passes.
    pub fn jump(&self, millis: i64) {
        self.millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// Lets time pass that the wall clock does not show.
    pub fn advance_monotonic(&self, millis: u64) {
        self.monotonic_ms.fetch_add(millis, Ordering::SeqCst);
    }

    /// Lets `millis` pass. A negative time moves the wall clock alone.
    pub fn advance(&self, millis: i64) {
        self.advance_monotonic(u64::try_from(millis).unwrap_or(0));
        self.jump(millis);
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
        assert_eq!((other.now().millis(), other.monotonic()), (1_500, Duration::from_millis(500)));
        other.advance(-2_000);
        assert_eq!((clock.now().millis(), other.monotonic()), (-500, Duration::from_millis(500)));
        clock.set(7);
        assert_eq!(other.now().millis(), 7);
        clock.jump(5);
        other.advance_monotonic(9);
        assert_eq!((other.now().millis(), clock.monotonic()), (12, Duration::from_millis(509)));
    }
}
