//! Asks again whatever has an unknown outcome, with the same key, until it is known.

use std::time::{Duration, Instant};

use crate::{Answer, Error, Finding, Next, Plan, Target, Traffic, Watch, Workload, run_watched};

/// How long a node may take to answer one of the open requests before it counts as never answered.
const PATIENCE: Duration = Duration::from_secs(60);
/// Open requests are few; more connections would not help.
const CONNECTIONS_MAX: usize = 16;

pub(super) fn settle(traffic: &mut Traffic<'_>, target: &Target, watch: &mut dyn Watch) -> Result<(), Error> {
    let open = traffic.settle_only();
    if open == 0 {
        return Ok(());
    }
    traffic.set_may_pause(true);
    let plan = Plan {
        label: "settle what is unknown",
        expected: Some(open as u64),
        patience: PATIENCE,
        // A call belongs to the connection that began it, so all of them take part.
        ..Plan::exhaust(target.clone(), traffic.connections().max(open.min(CONNECTIONS_MAX)))
    };
    traffic.set_connections(plan.connections);
    let mut settling = Settling { traffic, last_progress: Instant::now() };
    run_watched(&plan, &mut settling, watch)?;
    let left = traffic.settle_only();
    if left > 0 {
        let examples = traffic.describe_open().join(" | ");
        traffic.book.findings.add(Finding::Unsettled, || {
            format!("{left} requests got no answer for {} s: {examples}", PATIENCE.as_secs())
        });
    }
    Ok(())
}

/// Ends when nothing has succeeded for too long.
struct Settling<'a, 'b> {
    traffic: &'a mut Traffic<'b>,
    last_progress: Instant,
}

impl Workload for Settling<'_, '_> {
    fn next(&mut self, connection: usize, request: &mut Vec<u8>) -> Next {
        if self.last_progress.elapsed() > PATIENCE {
            return Next::Finished;
        }
        self.traffic.next(connection, request)
    }

    fn answered(&mut self, connection: usize, answer: Answer<'_>) {
        if !answer.asks_for_patience() {
            self.last_progress = Instant::now();
        }
        self.traffic.answered(connection, answer);
    }

    fn lost(&mut self, connection: usize) {
        self.traffic.lost(connection);
    }
}
