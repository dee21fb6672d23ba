//! One run: prepare, load (perhaps with kills), verify.

use anyhow::{Context, Result};

use super::arguments::{Load, seconds};
use super::bed::{Bed, Place};
use super::measured::{Measured, plots, verification_blocks};
use super::{Finished, Session, machine_note, measured, verification_problems};
use crate::report::{Block, Document};
use crate::{
    Chaos, Mix, Outcome, Pace, Plan, Roster, Traffic, TrafficSpec, Verification, kill_during, run_watched,
};

/// A started node may need this long to come back after a kill.
const KILL_PATIENCE_SECONDS: u64 = 120;

pub(super) fn carry_out(mut session: Session<'_>) -> Result<Finished> {
    let mut bed =
        Bed::open(&session.run.url, &session.run.node, session.operator_token(), &mut session.line)?;
    let roster = bed.populate(&session.population(), &mut session.line)?;
    let seed = session.seed;
    let mut traffic = prepare(&mut session, &bed, &roster, seed)?;
    let (measured, refused) = load(&mut session, &mut bed, &mut traffic)?;
    let spec = session.verify_spec();
    let verification = bed.verify(&mut traffic, &roster, spec, &mut session.line)?;
    let finished = finish(&session, &bed, &measured, refused, &verification);
    bed.close()?;
    Ok(finished)
}

/// The traffic of a session, with the payments that its reads need.
pub(super) fn prepare<'r>(
    session: &mut Session<'_>,
    bed: &Bed,
    roster: &'r Roster,
    seed: u64,
) -> Result<Traffic<'r>> {
    let run = session.run;
    let mix = session.load.mix().context("this load has no mix")?;
    let market = bed.open_market(roster, session.providers(), run.connections, seed, &mut session.line)?;
    let spec = TrafficSpec {
        mix: mix.clone(),
        seed,
        connections: run.connections,
        opening_nanos: session.opening_nanos()?,
        keep: run.verify_sample,
        may_pause: run.rate.is_none() && run.ramp.is_none(),
    };
    let mut traffic = Traffic::new(&bed.target, roster, market, spec);
    if let Load::Reads { payments, .. } = session.load {
        traffic.change_mix(Mix { cents: mix.cents.clone(), ..Mix::payments(crate::Shape::Uniform) });
        traffic.limit(*payments);
        let plan = Plan {
            label: "make payments to read",
            expected: Some(*payments),
            ..Plan::exhaust(bed.target.clone(), run.connections)
        };
        let outcome = run_watched(&plan, &mut traffic, &mut session.line)?;
        anyhow::ensure!(outcome.is_clean(), "the payments to be read could not be made\n{outcome}");
        traffic.limit(u64::MAX);
        traffic.change_mix(mix);
    }
    Ok(traffic)
}

/// Runs the load; with kills if they were asked for. Returns what was measured and how many payments were refused.
fn load(session: &mut Session<'_>, bed: &mut Bed, traffic: &mut Traffic<'_>) -> Result<(Measured, u64)> {
    let units = traffic.units();
    let plan = session.plan(&bed.target)?;
    let Some(every) = session.run.kill_every else {
        let outcome = run_watched(&plan, traffic, &mut session.line)?;
        let refused = traffic.book.refused;
        return Ok((measured(session.load.name(), outcome, traffic, units), refused));
    };
    let Place::Ours { node, .. } = &mut bed.place else {
        anyhow::bail!("only a node that loadtest has started can be killed: add --start-node");
    };
    let node = node.take().context("the node is running")?;
    let chaos = Chaos { every: seconds(every, "--kill-every")?, seed: session.seed };
    let plan = Plan {
        patience: std::time::Duration::from_secs(KILL_PATIENCE_SECONDS),
        drain: std::time::Duration::from_secs(KILL_PATIENCE_SECONDS),
        ..plan
    };
    let line = &mut session.line;
    let (outcome, survived) = kill_during(node, chaos, || run_watched(&plan, traffic, line));
    // That the node did not come back is the reason, whatever the load says about it.
    let (alive, kills) = survived.context("after a kill")?;
    *node_slot(bed) = Some(alive);
    let outcome: Outcome = outcome?;
    let refused = traffic.book.refused;
    let measured = Measured { kills, ..measured(session.load.name(), outcome, traffic, units) };
    Ok((measured, refused))
}

fn node_slot(bed: &mut Bed) -> &mut Option<crate::NodeProcess> {
    match &mut bed.place {
        Place::Ours { node, .. } => node,
        Place::Elsewhere => unreachable!("the node was taken from here"),
    }
}

fn finish(
    session: &Session<'_>,
    bed: &Bed,
    measured: &Measured,
    refused: u64,
    verification: &Verification,
) -> Finished {
    let mut problems = session.problems(session.load.name(), &measured.outcome, refused);
    problems.extend(verification_problems("verification", verification));
    let mut blocks = vec![measured.figures(), measured.percentiles()];
    blocks.extend(measured.trouble());
    blocks.extend(plots(&[measured]));
    blocks.extend(measured.kill_blocks());
    blocks.extend(verification_blocks(verification));
    blocks.push(Block::Note(format!("seed {}; again: {}", session.seed, super::replay(session.seed))));
    blocks.push(machine_note());
    let mut json = session.json();
    json["run"] = measured.to_json();
    json["verification"] = verification.to_json();
    let document = Document {
        title: format!("Load test: {}", session.load.name()),
        lead: session.describe(&bed.target),
        verdict: None,
        blocks,
    };
    Finished { document, json, problems }
}

/// Whether a plan has intended start times.
pub(super) fn is_open(plan: &Plan) -> bool {
    plan.pace != Pace::Closed
}
