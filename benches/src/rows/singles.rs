//! One durable payment per request, closed loop, against bare hyper under the same requests, without and with a sync
//! before each answer.

use anyhow::Result;
use loadtest::{Payer, Payments, Plan, Target, run};
use serde_json::json;

use super::{Bed, Settings, answer_bytes, clean, program};
use crate::report::Row;
use crate::server::Server;
use crate::summary::Summary;

/// The node does rules, actors, log and sync; it has to keep two thirds of what HTTP alone can do.
const RATIO_TARGET: f64 = 0.65;

pub(super) fn measure(settings: &Settings) -> Result<Vec<Row>> {
    let bed = Bed::start(settings)?;
    let payers = bed.populate()?;
    let body_bytes = answer_bytes(bed.target(), &payers, settings.seed)?;
    let program = program(settings, "floor")?;
    let floor = Server::floor(&program, &settings.work_dir, body_bytes)?;
    let durable = Server::durable_floor(&program, &settings.work_dir, body_bytes)?;
    let mut rows = Vec::new();
    for connections in [64, 256] {
        let mut series = Series { settings, payers: &payers, connections, round: 0 };
        let mut rounds = Rounds::default();
        for _ in 0..settings.rounds {
            rounds.of_floor.push(series.round(&floor.target)?);
            rounds.of_node.push(series.round(bed.target())?);
            rounds.of_durable.push(series.round(&durable.target)?);
        }
        rows.push(row(connections, body_bytes, &rounds));
    }
    bed.node.stop()?;
    Ok(rows)
}

/// Rounds of the same load; each has its own seed, so that no idempotency key comes twice.
struct Series<'a> {
    settings: &'a Settings,
    payers: &'a [Payer],
    connections: usize,
    round: u64,
}

/// What alternates.
#[derive(Default)]
struct Rounds {
    of_node: Vec<Round>,
    of_floor: Vec<Round>,
    /// The floor that syncs.
    of_durable: Vec<Round>,
}

/// Figures of one round.
struct Round {
    per_second: f64,
    p50_millis: f64,
    p99_millis: f64,
    generator_cpu_share: f64,
}

impl Series<'_> {
    fn round(&mut self, target: &Target) -> Result<Round> {
        self.round += 1;
        let seed = self.settings.seed + 1_000 * self.connections as u64 + self.round;
        let mut payments = Payments::new(target, self.payers, seed);
        let plan =
            Plan::closed(target.clone(), self.connections, self.settings.warm_up, self.settings.window);
        let outcome = clean("single payments", run(&plan, &mut payments)?)?;
        Ok(Round {
            per_second: outcome.per_second(),
            p50_millis: outcome.latency_at(0.5).as_secs_f64() * 1e3,
            p99_millis: outcome.latency_at(0.99).as_secs_f64() * 1e3,
            generator_cpu_share: outcome.generator_cpu_seconds / outcome.seconds,
        })
    }
}

fn row(connections: usize, body_bytes: usize, rounds: &Rounds) -> Row {
    let Rounds { of_node, of_floor, of_durable } = rounds;
    let rate = |rounds: &[Round]| Summary::new(rounds.iter().map(|round| round.per_second).collect());
    let middle =
        |rounds: &[Round], pick: fn(&Round) -> f64| Summary::new(rounds.iter().map(pick).collect()).median();
    let (node, floor, durable) = (rate(of_node), rate(of_floor), rate(of_durable));
    let p50 = middle(of_node, |round| round.p50_millis);
    let p99 = middle(of_node, |round| round.p99_millis);
    let ratio = node.median() / floor.median();
    let details = |rounds: &[Round]| {
        let one = |round: &Round| {
            json!({
                "per_second": round.per_second, "p50_millis": round.p50_millis, "p99_millis": round.p99_millis,
                "generator_cpu_share": round.generator_cpu_share,
            })
        };
        rounds.iter().map(one).collect::<Vec<_>>()
    };
    Row {
        name: format!("`POST /v1/payments`, durable, {connections} connections"),
        measured: format!("{}, p50 {p50:.2} ms, p99 {p99:.2} ms", node.per_second()),
        compared: format!(
            "bare hyper, constant {body_bytes}-byte answer: {}; with a sync before each answer: {}",
            floor.per_second(),
            durable.per_second(),
        ),
        ratio: Some(ratio),
        target: format!("ratio ≥ {RATIO_TARGET}"),
        met: Some(ratio >= RATIO_TARGET),
        details: json!({
            "node": details(of_node), "floor": details(of_floor), "durable_floor": details(of_durable),
            "body_bytes": body_bytes,
        }),
    }
}
