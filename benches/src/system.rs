//! The machine's clock and randomness, for programs that run an engine without a node.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine::{Clock, Entropy};
use ledger::Timestamp;

/// Wall clock, and monotonic time since it was made.
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        Timestamp::from_millis(i64::try_from(since.as_millis()).expect("in range"))
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the system has random bytes");
    }
}
