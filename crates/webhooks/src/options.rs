//! Limits of delivery.

use std::time::Duration;

use crate::{Error, Reach};

/// Everything that bounds what the node sends. Memory: `pending_max` deliveries at about 100 bytes each for their
/// places in the queue (their bodies are on disk), and up to 40 KB per attempt under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub reach: Reach,
    /// From the first question of the resolver to the answer's head.
    pub attempt_timeout: Duration,
    /// Attempts under way in the whole node. Receivers that failed last or have never answered share one half.
    pub in_flight_max: usize,
    /// Attempts under way to one webhook; one until it has answered and while it fails.
    pub in_flight_per_webhook_max: usize,
    /// Deliveries that wait for one webhook; at more it is turned off.
    pub pending_per_webhook_max: usize,
    /// Deliveries that wait in the whole node; at more the webhook with the most is turned off.
    pub pending_max: usize,
    /// Ended deliveries of one webhook that can still be looked at and sent again.
    pub ended_kept_per_webhook_max: usize,
    /// Time after which they are forgotten all the same.
    pub ended_kept: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            reach: Reach::Global,
            attempt_timeout: Duration::from_secs(15),
            in_flight_max: 256,
            in_flight_per_webhook_max: 16,
            pending_per_webhook_max: 100_000,
            pending_max: 500_000,
            ended_kept_per_webhook_max: 1_000,
            ended_kept: Duration::from_secs(7 * 86_400),
        }
    }
}

impl Options {
    /// Refuses what cannot work.
    pub fn validate(&self) -> Result<(), Error> {
        let refused = |what| Err(Error::Options { what });
        if !(Duration::from_millis(100)..=Duration::from_secs(120)).contains(&self.attempt_timeout) {
            return refused("attempt_timeout_ms must lie between 100 and 120000");
        }
        if !(2..=10_000).contains(&self.in_flight_max) {
            return refused("in_flight_max must lie between 2 and 10000");
        }
        if !(1..=self.in_flight_max).contains(&self.in_flight_per_webhook_max) {
            return refused("in_flight_per_webhook_max must lie between 1 and in_flight_max");
        }
        if self.pending_per_webhook_max == 0 || self.pending_max < self.pending_per_webhook_max {
            return refused("pending_per_webhook_max must be at least 1 and at most pending_max");
        }
        if self.pending_max > 50_000_000 {
            return refused("pending_max must be at most 50000000");
        }
        Ok(())
    }
}
