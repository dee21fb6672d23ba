//! `POST /v1/payments/batch` with 1 000 payments from one wallet to 1 000 different wallets.

use anyhow::{Result, ensure};
use loadtest::{Batches, Payer, Plan, Target, run};
use serde_json::json;

use super::{Bed, Settings, clean};
use crate::report::Row;
use crate::summary::{Summary, grouped};

const ITEMS: usize = 1_000;
const PAYMENTS_PER_SECOND_TARGET: f64 = 400_000.0;

pub(super) fn measure(settings: &Settings) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for connections in [1, 4] {
        let bed = Bed::start(settings)?;
        let payers = bed.populate()?;
        let mut rates = Vec::new();
        let mut p50_millis = Vec::new();
        for round in 0..settings.rounds {
            let seed = settings.seed + 1_000 * connections as u64 + round as u64;
            let (rate, p50) = one_round(settings, bed.target(), &payers, connections, seed)?;
            rates.push(rate);
            p50_millis.push(p50);
        }
        let name =
            format!("`POST /v1/payments/batch`, {ITEMS} payments per request, {connections} connection(s)");
        rows.push(row(name, rates, p50_millis, PAYMENTS_PER_SECOND_TARGET));
        bed.node.stop()?;
    }
    Ok(rows)
}

/// Rounds of batches, as payments per second and the median milliseconds of a request.
pub(super) fn row(name: String, rates: Vec<f64>, p50_millis: Vec<f64>, target: f64) -> Row {
    let (rate, p50) = (Summary::new(rates.clone()), Summary::new(p50_millis).median());
    Row {
        name,
        measured: format!("{} payments, p50 of a request {p50:.2} ms", rate.per_second()),
        compared: String::new(),
        ratio: None,
        target: format!("≥ {} payments/s", grouped(target)),
        met: Some(rate.median() >= target),
        details: json!({ "payments_per_second": rates, "p50_millis": p50 }),
    }
}

/// Payments per second and the median latency of a request in milliseconds.
fn one_round(
    settings: &Settings,
    target: &Target,
    payers: &[Payer],
    connections: usize,
    seed: u64,
) -> Result<(f64, f64)> {
    let (from, to) = payers.split_at(connections);
    let payees: Vec<String> = to.iter().map(|payer| payer.wallet.clone()).collect();
    let mut batches = Batches::new(target, from, &payees, ITEMS, seed);
    let plan = Plan::closed(target.clone(), connections, settings.warm_up, settings.window);
    let outcome = clean("batches", run(&plan, &mut batches)?)?;
    ensure!(batches.unpaid() == 0, "batches: {} payments were denied", batches.unpaid());
    Ok((outcome.per_second() * ITEMS as f64, outcome.latency_at(0.5).as_secs_f64() * 1e3))
}
