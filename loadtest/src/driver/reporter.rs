//! What a run tells its watcher while it goes on.

use std::time::Instant;

use super::Driver;
use crate::progress::MOMENT_EVERY;
use crate::{Moment, Watch};

/// Tells the watcher how it goes.
pub(super) struct Reporter {
    pub(super) due: Instant,
    last: Instant,
    succeeded: u64,
}

impl Reporter {
    pub(super) fn new(started: Instant) -> Reporter {
        Reporter { due: started + MOMENT_EVERY, last: started, succeeded: 0 }
    }

    pub(super) fn tell<W>(&mut self, driver: &Driver<'_, W>, now: Instant, watch: &mut dyn Watch) {
        let (succeeded, answers) = driver.outcome.answers();
        let elapsed = now - driver.window.started;
        let total = driver.plan.total();
        let fraction = match (total, driver.plan.expected) {
            (Some(total), _) => Some(elapsed.as_secs_f64() / total.as_secs_f64()),
            (None, Some(expected)) => Some(answers as f64 / expected.max(1) as f64),
            (None, None) => None,
        };
        let slice = driver.timeline.last().filter(|slice| slice.succeeded > 0);
        watch.moment(&Moment {
            label: driver.plan.label,
            fraction: fraction.map(|fraction| fraction.min(1.0)),
            elapsed,
            total,
            warming_up: now < driver.window.begin,
            succeeded,
            failed: answers - succeeded + driver.outcome.lost,
            per_second: (succeeded - self.succeeded) as f64 / (now - self.last).as_secs_f64(),
            p50: slice.map(|slice| slice.p50),
            p99: slice.map(|slice| slice.p99),
            connections: driver.connections.iter().flatten().count(),
        });
        (self.due, self.last, self.succeeded) = (now + MOMENT_EVERY, now, succeeded);
    }
}
