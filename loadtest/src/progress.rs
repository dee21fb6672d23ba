//! What a run looks like while it goes on, for whoever watches it.

use std::time::Duration;

/// How often a watcher is told.
pub(crate) const MOMENT_EVERY: Duration = Duration::from_millis(200);

/// One look at a running load.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// What is being done.
    pub label: &'a str,
    /// Part of it that is done, from 0 to 1; `None` when nobody can say.
    pub fraction: Option<f64>,
    pub elapsed: Duration,
    /// Length of the whole, if it is one of time.
    pub total: Option<Duration>,
    /// Still before the measured window.
    pub warming_up: bool,
    /// 2xx answers so far.
    pub succeeded: u64,
    /// Other answers and lost requests so far.
    pub failed: u64,
    /// 2xx answers per second since the last moment.
    pub per_second: f64,
    /// Latency in the last complete slice of time.
    pub p50: Option<Duration>,
    pub p99: Option<Duration>,
    /// Connections that are open.
    pub connections: usize,
}

/// Is told about a run a few times per second, on the driver's thread: it must be quick.
pub trait Watch {
    fn moment(&mut self, moment: &Moment<'_>);

    /// The phase is over; its line can be cleared.
    fn phase_ends(&mut self) {}
}

/// Watches nothing.
pub struct Unwatched;

impl Watch for Unwatched {
    fn moment(&mut self, _moment: &Moment<'_>) {}
}
