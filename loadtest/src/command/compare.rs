//! The same load against two addresses in alternation, so that a noisy machine disturbs both alike.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::bed::{Bed, Place};
use super::measured::{Measured, plots, verification_blocks};
use super::single::{is_open, prepare};
use super::{Finished, Session, machine_note, measured, verification_problems};
use crate::report::{Block, Document, Figure, Table, grouped, millis, short};
use crate::{Market, Roster, Target, Traffic, TrafficSpec, run_watched};

/// Seed of the second side: other keys, the same form.
const OTHER_SEED: u64 = 0x5bd1_e995;

/// One side of the comparison.
struct Side<'a> {
    name: String,
    bed: Bed,
    traffic: Traffic<'a>,
    roster: &'a Roster,
    /// Whether it is a node that keeps promises.
    is_verified: bool,
    rounds: Vec<Measured>,
}

pub(super) fn carry_out(mut session: Session<'_>) -> Result<Finished> {
    let url = session.run.compare.clone().context("a comparison names a second address")?;
    ensure!(session.run.rounds > 0, "a comparison needs at least one round");
    let first = Bed::open(&session.run.url, &session.run.node, session.operator_token(), &mut session.line)?;
    let second = Bed { target: Target::parse(&url)?, place: Place::Elsewhere, operator_token: None };
    let first_roster = first.populate(&session.population(), &mut session.line)?;
    let second_roster = if session.run.compare_is_floor {
        Roster::default()
    } else {
        second.populate(&session.population(), &mut session.line).with_context(|| {
            format!("{url} (a server that is no node is compared with --compare-is-floor)")
        })?
    };
    let seed = session.seed;
    let traffic = prepare(&mut session, &first, &first_roster, seed)?;
    let mut sides = vec![Side::new("first", first, traffic, &first_roster, true)];
    if session.run.compare_is_floor {
        let traffic = floor_traffic(&session, &second, &first_roster)?;
        sides.push(Side::new("floor", second, traffic, &first_roster, false));
    } else {
        let traffic = prepare(&mut session, &second, &second_roster, seed ^ OTHER_SEED)?;
        sides.push(Side::new("second", second, traffic, &second_roster, true));
    }
    for round in 1..=session.run.rounds {
        for side in &mut sides {
            session.line.set_prefix(format!("round {round} of {}, {}", session.run.rounds, side.name));
            side.round(&mut session)?;
        }
    }
    session.line.set_prefix(String::new());
    finish(session, sides)
}

/// The requests of the first address, over the same wallets, to a server that looks at none of them.
fn floor_traffic<'r>(session: &Session<'_>, bed: &Bed, roster: &'r Roster) -> Result<Traffic<'r>> {
    ensure!(
        session.providers() == 0,
        "a floor cannot be called as a service: --compare-is-floor does not go with x402"
    );
    let mix = session.load.mix().context("this load has no mix")?;
    let spec = TrafficSpec {
        mix,
        seed: session.seed ^ OTHER_SEED,
        connections: session.run.connections,
        opening_nanos: session.opening_nanos()?,
        keep: Some(0),
        may_pause: !is_open(&session.plan(&bed.target)?),
    };
    Ok(Traffic::new(&bed.target, roster, Market::default(), spec))
}

impl<'a> Side<'a> {
    fn new(name: &str, bed: Bed, traffic: Traffic<'a>, roster: &'a Roster, is_verified: bool) -> Side<'a> {
        let name = format!("{name} ({})", bed.target.authority);
        Side { name, bed, traffic, roster, is_verified, rounds: Vec::new() }
    }

    fn round(&mut self, session: &mut Session<'_>) -> Result<()> {
        let units = self.traffic.units();
        // What the round before left unanswered is asked again now.
        self.traffic.set_connections(session.run.connections);
        let plan = session.plan(&self.bed.target)?;
        let outcome = run_watched(&plan, &mut self.traffic, &mut session.line)?;
        let mut measured = measured(&self.name, outcome, &self.traffic, units);
        if !self.is_verified {
            // A constant answer says nothing about items; every request stands for what it asked.
            measured.units_per_answer = 1.0;
        }
        self.rounds.push(measured);
        Ok(())
    }

    fn rates(&self) -> Vec<f64> {
        let mut rates: Vec<f64> = self.rounds.iter().map(|round| round.outcome.per_second()).collect();
        rates.sort_by(f64::total_cmp);
        rates
    }

    /// The round whose rate is the median.
    fn median(&self) -> &Measured {
        let mut rounds: Vec<&Measured> = self.rounds.iter().collect();
        rounds.sort_by(|a, b| a.outcome.per_second().total_cmp(&b.outcome.per_second()));
        rounds[rounds.len() / 2]
    }
}

fn finish(mut session: Session<'_>, mut sides: Vec<Side<'_>>) -> Result<Finished> {
    let mut problems = Vec::new();
    let mut verifications = Vec::new();
    let mut json = session.json();
    for side in &mut sides {
        // A floor answers no items, so it refuses none.
        let refused = if side.is_verified { side.traffic.book.refused } else { 0 };
        for round in &side.rounds {
            problems.extend(session.problems(&side.name, &round.outcome, refused));
        }
        if side.is_verified {
            let spec = session.verify_spec();
            let report = side.bed.verify(&mut side.traffic, side.roster, spec, &mut session.line)?;
            problems.extend(verification_problems(&side.name, &report));
            verifications.push((side.name.clone(), report));
        }
    }
    let medians: Vec<&Measured> = sides.iter().map(Side::median).collect();
    let ratio = medians[0].outcome.per_second() / medians[1].outcome.per_second().max(1e-9);
    json["ratio"] = ratio.into();
    json["sides"] = sides
        .iter()
        .map(|side| {
            let rounds: Vec<Value> = side.rounds.iter().map(Measured::to_json).collect();
            json!({ "name": side.name, "rounds": rounds })
        })
        .collect();
    json["verifications"] = verifications
        .iter()
        .map(|(name, report)| json!({ "name": name, "verification": report.to_json() }))
        .collect();

    let mut blocks = vec![
        Block::Figures(vec![Figure::new(
            "ratio",
            short(ratio),
            "rate of the first over the second, medians of alternating rounds",
        )]),
        table(&sides),
    ];
    sides.iter().for_each(|side| blocks.extend(side.median().trouble()));
    blocks.extend(plots(&medians));
    for (name, report) in &verifications {
        blocks.push(Block::Heading(name.clone()));
        blocks.extend(verification_blocks(report));
    }
    blocks.push(Block::Note(format!("seed {}; again: {}", session.seed, super::replay(session.seed))));
    blocks.push(machine_note());
    let lead = session.describe(&sides[0].bed.target);
    let title = format!("Comparison: {}", session.load.name());
    let document = Document { title, lead, verdict: None, blocks };
    for side in sides {
        side.bed.close()?;
    }
    Ok(Finished { document, json, problems })
}

fn table(sides: &[Side<'_>]) -> Block {
    let mut table = Table::new(&["", "requests/s", "lowest", "highest", "p50", "p99", "max"]);
    for side in sides {
        let (rates, median) = (side.rates(), side.median());
        let at = |quantile| millis(median.outcome.latency_at(quantile));
        table.row(vec![
            side.name.clone(),
            grouped(median.outcome.per_second()),
            grouped(rates[0]),
            grouped(rates[rates.len() - 1]),
            at(0.5),
            at(0.99),
            at(1.0),
        ]);
    }
    Block::Table(table)
}
