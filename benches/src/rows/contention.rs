//! One hot payer, and one hot payee (a merchant whom everybody pays), beside uniform load.

use anyhow::{Context, Result};
use loadtest::{Market, Mix, Plan, Roster, Shape, Traffic, TrafficSpec, nanos, run};
use serde_json::json;

use super::{Bed, FUNDS, Settings, WALLETS, clean};
use crate::report::Row;
use crate::summary::Summary;

const CONNECTIONS: usize = 64;
/// Owners decide alone, so it should not matter who pays whom.
const RATIO_TARGET: f64 = 0.9;

pub(super) fn measure(settings: &Settings) -> Result<Vec<Row>> {
    let bed = Bed::start(settings)?;
    let roster = Roster::new(&bed.population()?);
    let shapes = [Shape::Uniform, Shape::OneHotPayee, Shape::OneHotPayer];
    let mut rates = shapes.map(|_| Vec::new());
    for round in 0..settings.rounds {
        for (index, shape) in shapes.into_iter().enumerate() {
            let seed = settings.seed + 7_000 + (round * shapes.len() + index) as u64;
            rates[index].push(one_round(settings, &bed, &roster, shape, seed)?);
        }
    }
    bed.node.stop()?;
    let [uniform, hot @ ..] = rates.map(Summary::new);
    let rows = hot.into_iter().zip([Shape::OneHotPayee, Shape::OneHotPayer]).map(|(hot, shape)| {
        let ratio = hot.median() / uniform.median();
        Row {
            name: format!("`POST /v1/payments`, {}, {CONNECTIONS} connections", shape.name()),
            measured: hot.per_second(),
            compared: format!("uniform over {WALLETS} wallets: {}", uniform.per_second()),
            ratio: Some(ratio),
            target: format!("ratio ≥ {RATIO_TARGET}"),
            met: Some(ratio >= RATIO_TARGET),
            details: json!({ "hot_per_second": hot.median(), "uniform_per_second": uniform.median() }),
        }
    });
    Ok(rows.collect())
}

fn one_round(settings: &Settings, bed: &Bed, roster: &Roster, shape: Shape, seed: u64) -> Result<f64> {
    let spec = TrafficSpec {
        mix: Mix::payments(shape),
        seed,
        connections: CONNECTIONS,
        opening_nanos: nanos(FUNDS.as_bytes()).context("the funds are an amount")?,
        keep: Some(0),
        may_pause: false,
    };
    let mut traffic = Traffic::new(bed.target(), roster, Market::default(), spec);
    let plan = Plan::closed(bed.target().clone(), CONNECTIONS, settings.warm_up, settings.window);
    Ok(clean(&shape.name(), run(&plan, &mut traffic)?)?.per_second())
}
