//! Ten million payments in full batches of random pairs, one request at a time, on a node as it is by default: the rate over
//! the first million, and the one that lasts.
//!
//! The shape is that of the compared engine's own benchmark: 10 000 accounts, random pairs, full messages of one client that
//! waits for each, and an id for every transfer that is remembered from then on. Its figures were taken on a machine of this
//! kind in another run, so they are context and no ratio is drawn.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use loadtest::{Plan, run};
use serde_json::json;

use super::pairs::{ITEMS, population, refuse_denials, traffic};
use super::{Bed, Settings, clean};
use crate::report::Row;
use crate::summary::grouped;

const MILLION: u64 = 1_000_000;
/// Payments per second that are asked for, and the compared engine's.
const FIRST: (f64, f64) = (450_000.0, 403_000.0);
const SUSTAINED: (f64, f64) = (400_000.0, 257_000.0);
/// A run that is slower than a quarter of its target is not waited for.
const TIME_MAX: Duration = Duration::from_secs(100);

pub(super) fn measure(settings: &Settings) -> Result<Vec<Row>> {
    let bed = Bed::start(settings)?;
    let roster = population(&bed)?;
    let mut traffic = traffic(&bed, &roster, 1, settings.seed)?;
    let requests = MILLION.div_ceil(ITEMS as u64);
    let begun = Instant::now();
    let mut spans = Vec::new();
    while (spans.len() as u64) < settings.sustained_millions && begun.elapsed() < TIME_MAX {
        traffic.limit(requests);
        let outcome =
            clean("a million payments", run(&Plan::exhaust(bed.target().clone(), 1), &mut traffic)?)?;
        refuse_denials(&traffic)?;
        ensure!(outcome.succeeded == requests, "only {} batches were made", outcome.succeeded);
        spans.push(outcome.seconds);
    }
    drop(traffic);
    bed.node.stop()?;
    let payments = (requests * ITEMS as u64) as f64;
    Ok(rows(settings.sustained_millions, payments, &spans))
}

/// `spans`: seconds of each million, which has so many payments.
fn rows(wanted: u64, payments: f64, spans: &[f64]) -> Vec<Row> {
    let Some(first) = spans.first() else { return Vec::new() };
    let rates: Vec<f64> = spans.iter().map(|seconds| payments / seconds).collect();
    let mut rows = vec![row("the first million", payments / first, String::new(), FIRST, true, &rates)];
    if wanted > 1 {
        let all = spans.len() as f64;
        let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let note =
            format!(", slowest million {}/s, last {}/s", grouped(slowest), grouped(rates[rates.len() - 1]));
        let name = format!("{} million", spans.len());
        let rate = payments * all / spans.iter().sum::<f64>();
        // What was cut short has not lasted.
        rows.push(row(&name, rate, note, SUSTAINED, spans.len() as u64 == wanted, &rates));
    }
    rows
}

fn row(
    span: &str,
    rate: f64,
    note: String,
    (target, peer): (f64, f64),
    complete: bool,
    rates: &[f64],
) -> Row {
    let cut = if complete { "" } else { " (then the time was over)" };
    Row {
        name: format!(
            "full batches of {} random pairs, one request at a time, each payment with a key that is remembered, over {span}",
            grouped(ITEMS as f64)
        ),
        measured: format!("{} payments/s{note}{cut}", grouped(rate)),
        compared: format!(
            "not in this run: TigerBeetle 0.17, one replica, {}/s; the same pairs, full messages one at a time, ids that \
             are remembered, synced",
            grouped(peer)
        ),
        ratio: None,
        target: format!("≥ {} payments/s", grouped(target)),
        met: Some(complete && rate >= target),
        details: json!({ "payments_per_second_of_each_million": rates }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sustained_rate_is_that_of_all_payments_together() {
        let rows = rows(2, 1_000_000.0, &[2.0, 3.0]);
        assert!(rows[0].measured.starts_with("500 000 payments/s"), "{}", rows[0].measured);
        assert_eq!(rows[1].measured, "400 000 payments/s, slowest million 333 333/s, last 333 333/s");
        assert_eq!((rows[0].met, rows[1].met), (Some(true), Some(true)));
    }

    #[test]
    fn a_run_that_was_cut_short_meets_no_target() {
        let cut = rows(10, 1_000_000.0, &[1.0, 1.0]);
        assert_eq!((cut[0].met, cut[1].met), (Some(true), Some(false)));
        assert!(cut[1].name.ends_with("2 million") && cut[1].measured.ends_with("(then the time was over)"));
        assert_eq!(rows(1, 1_000_000.0, &[1.0]).len(), 1);
    }
}
