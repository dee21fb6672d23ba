//! Full batches of random pairs over HTTP: the shape that double-entry engines are compared by. One agent owns all wallets,
//! so that every pair is as likely as any other.

use anyhow::{Context, Result, ensure};
use loadtest::{
    Market, Mix, Plan, Population, PopulationSpec, Roster, Shape, Traffic, TrafficSpec, Weights, nanos, run,
};

use super::{Bed, FUNDS, SETUP_CONNECTIONS, Settings, WALLETS, batch, clean, sustained};
use crate::report::Row;
use crate::summary::grouped;

/// As many as the compared engine puts into one message.
pub(super) const ITEMS: usize = 8_189;
const PAYMENTS_PER_SECOND_TARGET: f64 = 450_000.0;

pub(super) fn measure(settings: &Settings) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for connections in [1, 2, 8] {
        // A node of its own, so that each begins with its first million.
        let bed = Bed::start(settings)?;
        let roster = population(&bed)?;
        let (mut rates, mut p50_millis) = (Vec::new(), Vec::new());
        for round in 0..settings.rounds {
            let seed = settings.seed + 1_000 * connections as u64 + round as u64;
            let (rate, p50) = one_round(settings, &bed, &roster, connections, seed)?;
            rates.push(rate);
            p50_millis.push(p50);
        }
        let name = format!(
            "`POST /v1/payments/batch`, {} random pairs per request, {connections} connection(s)",
            grouped(ITEMS as f64)
        );
        rows.push(batch::row(name, rates, p50_millis, PAYMENTS_PER_SECOND_TARGET));
        bed.node.stop()?;
    }
    rows.extend(sustained::measure(settings)?);
    Ok(rows)
}

/// One agent with all wallets.
pub(super) fn population(bed: &Bed) -> Result<Roster> {
    let spec = PopulationSpec {
        agents: 1,
        wallets_per_agent: WALLETS,
        fund: Some(FUNDS.to_owned()),
        connections: SETUP_CONNECTIONS,
    };
    Ok(Roster::new(&Population::create(bed.target(), &spec)?))
}

/// Batches of random pairs.
pub(super) fn traffic<'r>(
    bed: &Bed,
    roster: &'r Roster,
    connections: usize,
    seed: u64,
) -> Result<Traffic<'r>> {
    let weights = Weights { batches: 1, ..Weights::default() };
    let spec = TrafficSpec {
        mix: Mix { batch_items: ITEMS, weights, ..Mix::payments(Shape::Uniform) },
        seed,
        connections,
        opening_nanos: nanos(FUNDS.as_bytes()).context("the funds are an amount")?,
        keep: Some(0),
        may_pause: false,
    };
    Ok(Traffic::new(bed.target(), roster, Market::default(), spec))
}

/// A batch is answered with 200 whatever becomes of its items.
pub(super) fn refuse_denials(traffic: &Traffic<'_>) -> Result<()> {
    let (refused, findings) = (traffic.book.refused, &traffic.book.findings);
    ensure!(refused == 0, "batches of pairs: {refused} payments were denied");
    ensure!(findings.is_empty(), "batches of pairs: not every item was answered as it must be\n{findings}");
    Ok(())
}

/// Payments per second and the median latency of a request in milliseconds.
fn one_round(
    settings: &Settings,
    bed: &Bed,
    roster: &Roster,
    connections: usize,
    seed: u64,
) -> Result<(f64, f64)> {
    let mut traffic = traffic(bed, roster, connections, seed)?;
    let plan = Plan::closed(bed.target().clone(), connections, settings.warm_up, settings.window);
    let outcome = clean("batches of pairs", run(&plan, &mut traffic)?)?;
    refuse_denials(&traffic)?;
    Ok((outcome.per_second() * ITEMS as f64, outcome.latency_at(0.5).as_secs_f64() * 1e3))
}
