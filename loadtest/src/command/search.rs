//! Step search: the highest rate of an open loop whose p99 stays within a bound.
//!
//! It begins at half of what a closed loop reaches, goes up while a step holds and down while it does not, and then
//! halves the distance. A step that fails is tried once more: on a shared machine one bad step proves little.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::arguments::seconds;
use super::bed::Bed;
use super::measured::{Measured, plots, verification_blocks};
use super::single::prepare;
use super::{Finished, Session, machine_note, measured, verification_problems};
use crate::report::{Block, Document, Figure, Plot, Scale, Series, Table, grouped, millis};
use crate::{Outcome, Pace, Plan, Traffic, run_watched};

/// Neighbouring rates that are this close are the same for all we can measure.
const RESOLUTION: f64 = 0.04;
/// A rate below this share of the first one is no use to anybody.
const LEAST_SHARE: f64 = 0.02;
const STEPS_MAX: usize = 24;
/// Of the intended requests of a step, so many must have been answered before its window ended: a backlog that grows
/// is no rate that holds, however wide the bound.
const ACHIEVED_MIN: f64 = 0.98;

/// What is known about rates: one that holds, one that does not.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bracket {
    start: f64,
    holds: Option<f64>,
    fails: Option<f64>,
}

impl Bracket {
    /// The rate to try next; `None`: it is known well enough.
    fn next(&self) -> Option<f64> {
        match (self.holds, self.fails) {
            (None, None) => Some(self.start),
            (Some(holds), None) => Some(holds * 1.4),
            (None, Some(fails)) if fails / 2.0 < self.start * LEAST_SHARE => None,
            (None, Some(fails)) => Some(fails / 2.0),
            (Some(holds), Some(fails)) if fails <= holds * (1.0 + RESOLUTION) => None,
            (Some(holds), Some(fails)) => Some((holds + fails) / 2.0),
        }
    }

    fn learn(&mut self, rate: f64, held: bool) {
        *if held { &mut self.holds } else { &mut self.fails } = Some(rate);
    }
}

/// One step.
struct Step {
    rate: f64,
    outcome: Outcome,
    held: bool,
}

pub(super) fn carry_out(mut session: Session<'_>) -> Result<Finished> {
    let bound_ms = session.run.search_p99_ms.context("a search has a bound")?;
    let bound = seconds(bound_ms / 1e3, "--search-p99-ms")?;
    ensure!(!bound.is_zero(), "--search-p99-ms must be above zero");
    let bed = Bed::open(&session.run.url, &session.run.node, session.operator_token(), &mut session.line)?;
    let roster = bed.populate(&session.population(), &mut session.line)?;
    let seed = session.seed;
    let mut traffic = prepare(&mut session, &bed, &roster, seed)?;
    session.line.set_prefix("top rate".to_owned());
    let units = traffic.units();
    let top = run_watched(&step_plan(&session, &bed, Pace::Closed)?, &mut traffic, &mut session.line)?;
    let top = measured("closed loop", top, &traffic, units);
    ensure!(top.outcome.succeeded > 0, "nothing was answered within the window\n{}", top.outcome);
    let (steps, best) = climb(&mut session, &bed, &mut traffic, bound, top.outcome.per_second() / 2.0)?;
    session.line.set_prefix(String::new());
    let spec = session.verify_spec();
    let verification = bed.verify(&mut traffic, &roster, spec, &mut session.line)?;

    let mut problems = verification_problems("verification", &verification);
    let mut document = Document {
        title: format!("Highest rate of {} with p99 within {bound_ms} ms", session.load.name()),
        lead: session.describe(&bed.target),
        ..Document::default()
    };
    let mut json = session.json();
    json["top"] = top.to_json();
    json["bound_ms"] = bound_ms.into();
    json["steps"] = steps
        .iter()
        .map(|step| json!({ "rate": step.rate, "held": step.held, "outcome": step.outcome.to_json() }))
        .collect();
    document.blocks.push(figures(&top, best.as_ref()));
    document.blocks.push(table(&steps));
    document.blocks.push(Block::Plot(rate_plot(&steps, bound_ms)));
    match &best {
        Some(best) => {
            json["best"] = best.to_json();
            document.blocks.push(Block::Heading("The highest rate that held".to_owned()));
            document.blocks.push(best.percentiles());
            document.blocks.extend(plots(&[best]));
        }
        None => problems.push(format!("no rate holds a p99 of {bound_ms} ms")),
    }
    document.blocks.extend(verification_blocks(&verification));
    document.blocks.push(Block::Note(format!(
        "seed {}; again: {}",
        session.seed,
        super::replay(session.seed)
    )));
    document.blocks.push(machine_note());
    json["verification"] = verification.to_json();
    bed.close()?;
    Ok(Finished { document, json, problems })
}

fn step_plan(session: &Session<'_>, bed: &Bed, pace: Pace) -> Result<Plan> {
    let length = seconds(session.run.search_step_seconds, "--search-step-seconds")?;
    let plan = Plan::closed(bed.target.clone(), session.run.connections, length / 4, length);
    Ok(Plan { pace, label: "step", ..plan })
}

/// All steps, and the best one that held.
fn climb(
    session: &mut Session<'_>,
    bed: &Bed,
    traffic: &mut Traffic<'_>,
    bound: Duration,
    start: f64,
) -> Result<(Vec<Step>, Option<Measured>)> {
    let mut bracket = Bracket { start, holds: None, fails: None };
    let mut steps = Vec::new();
    let mut best = None;
    traffic.set_may_pause(false);
    while let Some(rate) = bracket.next().filter(|_| steps.len() < STEPS_MAX) {
        let mut held = false;
        for attempt in ["", ", second try"] {
            session.line.set_prefix(format!("{}/s{attempt}", grouped(rate)));
            let units = traffic.units();
            // What a failed step left unanswered belongs to it and not to the next one.
            traffic.set_connections(session.run.connections);
            let plan = step_plan(session, bed, Pace::Open { requests_per_second: rate })?;
            let outcome = run_watched(&plan, traffic, &mut session.line)?;
            held = holds(&outcome, rate, bound);
            steps.push(Step { rate, outcome: outcome.clone(), held });
            if held {
                best = Some(measured("highest rate", outcome, traffic, units));
                break;
            }
        }
        bracket.learn(rate, held);
    }
    Ok((steps, best))
}

fn holds(outcome: &Outcome, rate: f64, bound: Duration) -> bool {
    outcome.is_clean() && outcome.latency_at(0.99) <= bound && outcome.per_second() >= rate * ACHIEVED_MIN
}

fn figures(top: &Measured, best: Option<&Measured>) -> Block {
    let closed = Figure::new(
        "closed loop",
        format!("{}/s", grouped(top.units_per_second())),
        format!("p99 {}", millis(top.p99())),
    );
    let found = match best {
        Some(best) => Figure::new(
            "highest rate that holds",
            format!("{}/s", grouped(best.units_per_second())),
            format!("{}, p99 {}", best.unit, millis(best.p99())),
        ),
        None => Figure::new("highest rate that holds", "none", ""),
    };
    Block::Figures(vec![found, closed])
}

fn table(steps: &[Step]) -> Block {
    let mut table = Table::new(&["requests/s", "answered/s", "p50", "p99", "max", "holds"]);
    for step in steps {
        table.row(vec![
            grouped(step.rate),
            grouped(step.outcome.per_second()),
            millis(step.outcome.latency_at(0.5)),
            millis(step.outcome.latency_at(0.99)),
            millis(Duration::from_nanos(step.outcome.latency.max())),
            if step.held { "yes" } else { "no" }.to_owned(),
        ]);
    }
    Block::Table(table)
}

fn rate_plot(steps: &[Step], bound_ms: f64) -> Plot {
    let mut points: Vec<(f64, f64)> =
        steps.iter().map(|step| (step.rate, step.outcome.latency_at(0.99).as_secs_f64() * 1e3)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let ends = [points.first(), points.last()].map(|point| point.map_or(0.0, |(rate, _)| *rate));
    Plot {
        title: "99th percentile by rate".to_owned(),
        x_label: "requests per second".to_owned(),
        y_label: "ms".to_owned(),
        x_scale: Scale::Linear,
        y_scale: Scale::Log,
        series: vec![
            Series { name: "steps".to_owned(), points },
            Series { name: "bound".to_owned(), points: ends.map(|rate| (rate, bound_ms)).to_vec() },
        ],
        shaded: None,
        marks: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rates up to `limit` hold: the search must end close below it.
    fn found(start: f64, limit: f64) -> Option<f64> {
        let mut bracket = Bracket { start, holds: None, fails: None };
        let mut steps = 0;
        while let Some(rate) = bracket.next() {
            bracket.learn(rate, rate <= limit);
            steps += 1;
            assert!(steps < STEPS_MAX, "{bracket:?}");
        }
        bracket.holds
    }

    #[test]
    fn the_limit_is_found_from_both_sides() {
        for limit in [3_000.0, 9_000.0, 20_000.0, 24_900.0, 25_000.0, 80_000.0, 200_000.0] {
            let rate = found(25_000.0, limit).expect("some rate holds");
            assert!(rate <= limit && rate >= limit / (1.0 + RESOLUTION), "{rate} for {limit}");
        }
        assert_eq!(found(25_000.0, 1.0), None, "nothing holds");
    }
}
