//! Latency at half of the node's top rate, open loop, against the p99 of one fdatasync on the same disk.

use anyhow::Result;
use hdrhistogram::Histogram;
use loadtest::{Payments, Plan, run};
use serde_json::json;

use super::{Bed, Settings, answer_bytes, clean, program};
use crate::fsync_floor;
use crate::report::Row;
use crate::server::Server;
use crate::summary::grouped;

const CONNECTIONS: usize = 256;
/// The wait for a group commit is at most the one under way plus its own.
const RATIO_TARGET: f64 = 2.0;

pub(super) fn measure(settings: &Settings) -> Result<Vec<Row>> {
    let bed = Bed::start(settings)?;
    let payers = bed.populate()?;
    let target = bed.target().clone();
    let body_bytes = answer_bytes(&target, &payers, settings.seed)?;
    let floor = Server::floor(&program(settings, "floor")?, &settings.work_dir, body_bytes)?;

    let closed = Plan::closed(target.clone(), CONNECTIONS, settings.warm_up, settings.window);
    let top = run(&closed, &mut Payments::new(&target, &payers, settings.seed + 1))?;
    let top = clean("the top rate", top)?.per_second();
    let rate = top / 2.0;

    // The disk is measured before and after, so that a change of its mood is seen.
    let before = fsync_floor::measure(&settings.work_dir, settings.window)?;
    let open = Plan::open(target.clone(), CONNECTIONS, rate, settings.warm_up, settings.window * 4);
    let outcome = run(&open, &mut Payments::new(&target, &payers, settings.seed + 2))?;
    let outcome = clean("half of the top rate", outcome)?;
    let bare = Plan::open(floor.target.clone(), CONNECTIONS, rate, settings.warm_up, settings.window * 4);
    let bare = run(&bare, &mut Payments::new(&floor.target, &payers, settings.seed + 3))?;
    let bare = clean("the floor at the same rate", bare)?;
    let after = fsync_floor::measure(&settings.work_dir, settings.window)?;
    bed.node.stop()?;

    let mut sync = before.latency.clone();
    sync.add(&after.latency)?;
    let ratio = at(&outcome.latency, 0.99) / at(&sync, 0.99);
    Ok(vec![Row {
        name: format!("latency of a payment at {}/s (half of the top rate), open loop", grouped(rate)),
        measured: format!("{}, max {:.1} ms", quantiles(&outcome.latency), at(&outcome.latency, 1.0)),
        compared: format!(
            "4 KiB write + fdatasync: {}; bare hyper at the same rate: {}",
            quantiles(&sync),
            quantiles(&bare.latency)
        ),
        ratio: Some(ratio),
        target: format!("p99 ≤ {RATIO_TARGET} x p99 of one fdatasync"),
        met: Some(ratio <= RATIO_TARGET),
        details: json!({
            "top_per_second": top,
            "node": outcome.to_json(),
            "floor": bare.to_json(),
            "fsync_before": before.to_json(),
            "fsync_after": after.to_json(),
        }),
    }])
}

/// Milliseconds.
fn at(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1e6
}

fn quantiles(latency: &Histogram<u64>) -> String {
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| at(latency, quantile));
    format!("p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms")
}
