//! Whole paid service calls over HTTP, five requests each, against bare hyper under as many requests.

use anyhow::{Context, Result};
use loadtest::{
    Market, Mix, Payer, Payments, Plan, Roster, Shape, Target, Traffic, TrafficSpec, Unwatched, Weights,
    nanos, run,
};
use serde_json::json;

use super::{Bed, FUNDS, SETUP_CONNECTIONS, Settings, answer_bytes, clean, program};
use crate::report::Row;
use crate::server::Server;
use crate::summary::Summary;

const CONNECTIONS: usize = 64;
/// authorize, verify, call-started, call-accepted, call-completed.
const REQUESTS_PER_CALL: f64 = 5.0;
/// Agents that offer a service; the others call.
const PROVIDERS: usize = 10;
const RATIO_TARGET: f64 = 0.5;

pub(super) fn measure(settings: &Settings) -> Result<Vec<Row>> {
    let bed = Bed::start(settings)?;
    let target = bed.target().clone();
    let population = bed.population()?;
    let payers = Payer::all(&population);
    let body_bytes = answer_bytes(&target, &payers, settings.seed)?;
    let floor = Server::floor(&program(settings, "floor")?, &settings.work_dir, body_bytes)?;
    let roster = Roster::new(&population);
    let market = Market::open(&target, &roster, PROVIDERS, SETUP_CONNECTIONS, settings.seed, &mut Unwatched)?;
    let traffic = TrafficSpec {
        mix: Mix {
            weights: Weights { payments: 0, batches: 0, reads: 0, calls: 1 },
            ..Mix::payments(Shape::Uniform)
        },
        seed: settings.seed,
        connections: CONNECTIONS,
        opening_nanos: nanos(FUNDS.as_bytes()).context("an amount")?,
        keep: Some(0),
        may_pause: true,
    };
    let mut calls = Traffic::new(&target, &roster, market, traffic);
    let mut of_floor = Vec::new();
    let mut of_node = Vec::new();
    for round in 0..settings.rounds as u64 {
        let mut constant = Payments::new(&floor.target, &payers, settings.seed + 1 + round);
        of_floor.push(requests_per_second("the floor", settings, &floor.target, &mut constant)?);
        of_node.push(requests_per_second("service calls", settings, &target, &mut calls)?);
    }
    bed.node.stop()?;
    Ok(vec![row(&of_node, &of_floor)])
}

fn requests_per_second(
    what: &str,
    settings: &Settings,
    target: &Target,
    workload: &mut impl loadtest::Workload,
) -> Result<f64> {
    let plan = Plan::closed(target.clone(), CONNECTIONS, settings.warm_up, settings.window);
    Ok(clean(what, run(&plan, workload)?)?.per_second())
}

fn row(of_node: &[f64], of_floor: &[f64]) -> Row {
    let calls = |rates: &[f64]| Summary::new(rates.iter().map(|rate| rate / REQUESTS_PER_CALL).collect());
    let (node, floor) = (calls(of_node), calls(of_floor));
    let ratio = node.median() / floor.median();
    Row {
        name: format!("whole service calls over HTTP, five requests each, {CONNECTIONS} connections"),
        measured: format!("{} calls", node.per_second()),
        compared: format!("a fifth of bare hyper's requests: {}", floor.per_second()),
        ratio: Some(ratio),
        target: format!("ratio ≥ {RATIO_TARGET}"),
        met: Some(ratio >= RATIO_TARGET),
        details: json!({ "requests_per_second": of_node, "floor_requests_per_second": of_floor }),
    }
}
