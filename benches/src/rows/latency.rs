//! Latency at half of the node's top rate, open loop, against the p99 of one fdatasync on the same disk; beside it, at
//! the same rate, bare hyper and bare hyper that syncs.

use anyhow::Result;
use hdrhistogram::Histogram;
use loadtest::{Outcome, Payer, Payments, Plan, Target, run};
use serde_json::json;

use super::{Bed, Settings, answer_bytes, clean, program};
use crate::fsync_floor;
use crate::report::Row;
use crate::server::Server;
use crate::summary::grouped;

const CONNECTIONS: usize = 256;
/// The wait for a group commit is at most the one under way plus its own.
const RATIO_TARGET: f64 = 2.2;

pub(super) fn measure(settings: &Settings) -> Result<Vec<Row>> {
    let bed = Bed::start(settings)?;
    let payers = bed.populate()?;
    let target = bed.target().clone();
    let body_bytes = answer_bytes(&target, &payers, settings.seed)?;
    let floor = program(settings, "floor")?;
    let bare = Server::floor(&floor, &settings.work_dir, body_bytes)?;
    let durable = Server::durable_floor(&floor, &settings.work_dir, body_bytes)?;

    let closed = Plan::closed(target.clone(), CONNECTIONS, settings.warm_up, settings.window);
    let top = run(&closed, &mut Payments::new(&target, &payers, settings.seed + 1))?;
    let top = clean("the top rate", top)?.per_second();
    let mut at_half = AtRate { settings, payers: &payers, rate: top / 2.0, turn: 1 };

    // The disk is measured before and after, so that a change of its mood is seen.
    let before = fsync_floor::measure(&settings.work_dir, settings.window)?;
    let node = at_half.outcome("half of the top rate", &target)?;
    let durable = at_half.outcome("bare hyper with a sync at the same rate", &durable.target)?;
    let bare = at_half.outcome("bare hyper at the same rate", &bare.target)?;
    let after = fsync_floor::measure(&settings.work_dir, settings.window)?;
    bed.node.stop()?;

    let mut sync = before.latency.clone();
    sync.add(&after.latency)?;
    let ratio = at(&node.latency, 0.99) / at(&sync, 0.99);
    Ok(vec![Row {
        name: format!(
            "latency of a payment at {}/s (half of the top rate), open loop",
            grouped(at_half.rate)
        ),
        measured: format!("{}, max {:.1} ms", quantiles(&node.latency), at(&node.latency, 1.0)),
        compared: format!(
            "4 KiB write + fdatasync: {}; at the same rate bare hyper: {}, with a sync before each answer: {}",
            quantiles(&sync),
            quantiles(&bare.latency),
            quantiles(&durable.latency),
        ),
        ratio: Some(ratio),
        target: format!("p99 ≤ {RATIO_TARGET} x p99 of one fdatasync"),
        met: Some(ratio <= RATIO_TARGET),
        details: json!({
            "top_per_second": top,
            "node": node.to_json(),
            "durable_floor": durable.to_json(),
            "floor": bare.to_json(),
            "fsync_before": before.to_json(),
            "fsync_after": after.to_json(),
        }),
    }])
}

/// The same open loop against one server after the other; each has its own seed.
struct AtRate<'a> {
    settings: &'a Settings,
    payers: &'a [Payer],
    rate: f64,
    turn: u64,
}

impl AtRate<'_> {
    fn outcome(&mut self, what: &str, target: &Target) -> Result<Outcome> {
        self.turn += 1;
        let window = self.settings.window * 4;
        let plan = Plan::open(target.clone(), CONNECTIONS, self.rate, self.settings.warm_up, window);
        let mut payments = Payments::new(target, self.payers, self.settings.seed + self.turn);
        clean(what, run(&plan, &mut payments)?)
    }
}

/// Milliseconds.
fn at(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1e6
}

fn quantiles(latency: &Histogram<u64>) -> String {
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| at(latency, quantile));
    format!("p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms")
}
