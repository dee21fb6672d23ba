//! How rate and latency change with connections, wallets, and age of the log: whether anything grows faster than it must.
//!
//! Every curve has a node of its own, and every node is verified at the end. Besides the closed loop, which shows the
//! highest rate, the curves over wallets and log age show latency at one fixed rate for all points: half of what the
//! first point reached.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::arguments::{CurveArguments, CurveName, seconds};
use super::bed::{Bed, places};
use super::disk::ensure_room;
use super::live_line::LiveLine;
use super::measured::verification_blocks;
use super::{Finished, machine_json, machine_note, replay, verification_problems};
use crate::report::{Block, Document, Plot, Scale, Series, Table, grouped, millis};
use crate::{
    Market, Mix, NANOS_PER_UNIT, Outcome, Pace, Plan, PopulationSpec, Roster, Shape, Traffic, TrafficSpec,
    VerifySpec, Weights, run_watched,
};

/// Wallets of the curves that are not about wallets.
const WALLETS: usize = 10_000;
const WALLETS_PER_AGENT: usize = 100;
const WALLETS_MIN: usize = 100;
const RECORDS_MIN: u64 = 1_000_000;
/// Faucet amount of each wallet, in whole units.
const FUND: i128 = 100_000;
/// Connections while preparing.
const PREPARING: usize = 256;
/// The log is filled with batches of so many payments on so many connections. Payers take turns, so that every payment is
/// a record: those of one payer in a batch share theirs.
const FILLING_ITEMS: usize = 8_189;
const FILLING: usize = 2;
/// After filling, the node's index and keys catch up: the curve is about the age of a log, not about a bulk load.
const REST_PER_RECORD: Duration = Duration::from_micros(30);
const REST_MAX: Duration = Duration::from_secs(30);
const WARM_UP: Duration = Duration::from_secs(1);

/// One point of a curve.
struct Point {
    x: f64,
    closed: Outcome,
    /// At the fixed rate.
    open: Option<(f64, Outcome)>,
}

struct Curve {
    name: CurveName,
    points: Vec<Point>,
    blocks: Vec<Block>,
    verifications: Vec<Value>,
    problems: Vec<String>,
}

/// What the curves share.
struct Session<'a> {
    arguments: &'a CurveArguments,
    seed: u64,
    window: Duration,
    line: LiveLine,
}

pub(super) fn carry_out(arguments: &CurveArguments) -> Result<Finished> {
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut line = LiveLine::new(arguments.output.quiet);
    line.say(&format!("seed {seed}; again: {}", replay(seed)));
    ensure!(arguments.max_connections > 0, "--max-connections must be at least 1");
    ensure!(arguments.max_wallets >= WALLETS_MIN, "--max-wallets must be at least {WALLETS_MIN}");
    let window = seconds(arguments.seconds, "--seconds")?;
    let mut session = Session { arguments, seed, window, line };
    let mut wanted = arguments.only.clone();
    if wanted.is_empty() {
        wanted.extend([CurveName::Connections, CurveName::Wallets, CurveName::LogAge]);
    }
    let mut curves = Vec::new();
    for name in wanted {
        curves.push(match name {
            CurveName::Connections => session.over_connections()?,
            CurveName::Wallets => session.over_wallets()?,
            CurveName::LogAge => session.over_log_age()?,
        });
    }
    Ok(finish(&session, curves))
}

impl Session<'_> {
    fn over_connections(&mut self) -> Result<Curve> {
        let mut curve = Curve::new(CurveName::Connections);
        let wallets = WALLETS.min(self.arguments.max_wallets);
        let (bed, roster) = self.bed(agents_of(wallets), wallets)?;
        let mut traffic = self.traffic(&bed, &roster);
        let powers = (0..).map(|power| 1_usize << power);
        for connections in powers.take_while(|connections| *connections <= self.arguments.max_connections) {
            let x = connections as f64;
            self.line.set_prefix(format!("{connections} connections"));
            let closed = self.measure(&bed, &mut traffic, connections, Pace::Closed)?;
            curve.add(self, Point { x, closed, open: None });
        }
        self.verify(bed, &roster, &mut traffic, &mut curve)?;
        Ok(curve)
    }

    fn over_wallets(&mut self) -> Result<Curve> {
        let mut curve = Curve::new(CurveName::Wallets);
        let mut wallets = WALLETS_MIN;
        while wallets <= self.arguments.max_wallets {
            self.line.set_prefix(format!("{} wallets", grouped(wallets as f64)));
            let (bed, roster) = self.bed(agents_of(wallets), wallets)?;
            let mut traffic = self.traffic(&bed, &roster);
            let point = self.point(&bed, &mut traffic, wallets as f64, curve.fixed_rate())?;
            curve.add(self, point);
            self.verify(bed, &roster, &mut traffic, &mut curve)?;
            wallets *= 10;
        }
        Ok(curve)
    }

    fn over_log_age(&mut self) -> Result<Curve> {
        let mut curve = Curve::new(CurveName::LogAge);
        let arguments = self.arguments;
        let (_, work_dir) = places(&arguments.start_node, arguments.work_dir.as_deref())?;
        ensure_room(&work_dir, arguments.max_records, &mut self.line)?;
        let wallets = WALLETS.min(arguments.max_wallets);
        let (bed, roster) = self.bed(1, wallets)?;
        let mut traffic = self.traffic(&bed, &roster);
        // Every wallet and every funding is one record, and so is every payment.
        let prepared = 2 * wallets as u64;
        let mut age = RECORDS_MIN.min(arguments.max_records);
        while age <= arguments.max_records {
            let records = grouped(age as f64);
            self.line.set_prefix(format!("to {records} records"));
            let missing = age.saturating_sub(prepared + traffic.units());
            let filled = self.fill(&bed, &mut traffic, missing)?;
            self.line.set_prefix(format!("resting at {records} records"));
            thread::sleep(REST_MAX.min(REST_PER_RECORD * u32::try_from(filled).unwrap_or(u32::MAX)));
            self.line.set_prefix(format!("at {records} records"));
            let point = self.point(&bed, &mut traffic, age as f64, curve.fixed_rate())?;
            curve.add(self, point);
            age *= 10;
        }
        self.verify(bed, &roster, &mut traffic, &mut curve)?;
        Ok(curve)
    }

    fn bed(&mut self, agents: usize, wallets: usize) -> Result<(Bed, Roster)> {
        let arguments = self.arguments;
        let bed = Bed::start(
            &arguments.start_node,
            arguments.work_dir.as_deref(),
            &arguments.node_setting,
            &mut self.line,
        )?;
        let spec = PopulationSpec {
            agents,
            wallets_per_agent: wallets / agents,
            fund: Some(FUND.to_string()),
            connections: PREPARING,
        };
        let roster = bed.populate(&spec, &mut self.line)?;
        Ok((bed, roster))
    }

    fn traffic<'r>(&self, bed: &Bed, roster: &'r Roster) -> Traffic<'r> {
        let spec = TrafficSpec {
            mix: Mix::payments(Shape::Uniform),
            seed: self.seed,
            connections: self.arguments.connections,
            opening_nanos: FUND * NANOS_PER_UNIT,
            keep: Some(self.arguments.verify_sample),
            may_pause: true,
        };
        Traffic::new(&bed.target, roster, Market::default(), spec)
    }

    /// The highest rate, and latency at the fixed one, which the first point of a curve sets.
    fn point(&mut self, bed: &Bed, traffic: &mut Traffic<'_>, x: f64, fixed: Option<f64>) -> Result<Point> {
        let connections = self.arguments.connections;
        let closed = self.measure(bed, traffic, connections, Pace::Closed)?;
        let rate = fixed.unwrap_or(closed.per_second() / 2.0);
        let open = self.measure(bed, traffic, connections, Pace::Open { requests_per_second: rate })?;
        Ok(Point { x, closed, open: Some((rate, open)) })
    }

    fn measure(
        &mut self,
        bed: &Bed,
        traffic: &mut Traffic<'_>,
        connections: usize,
        pace: Pace,
    ) -> Result<Outcome> {
        traffic.set_connections(connections);
        traffic.set_may_pause(pace == Pace::Closed);
        let plan = Plan { pace, ..Plan::closed(bed.target.clone(), connections, WARM_UP, self.window) };
        Ok(run_watched(&plan, traffic, &mut self.line)?)
    }

    /// Batches until the log has about so many more records. Returns how many it got.
    fn fill(&mut self, bed: &Bed, traffic: &mut Traffic<'_>, records: u64) -> Result<u64> {
        let singles = traffic.mix().clone();
        let items = FILLING_ITEMS.min(WALLETS.min(self.arguments.max_wallets));
        let batches = records.div_ceil(items as u64);
        let before = traffic.units();
        let weights = Weights { batches: 1, ..Weights::default() };
        let mix = Mix { weights, batch_items: items, payers_take_turns: true, ..singles.clone() };
        traffic.change_mix(mix);
        traffic.set_connections(FILLING);
        traffic.set_may_pause(true);
        traffic.limit(batches);
        let plan = Plan {
            label: "fill the log",
            expected: Some(batches),
            ..Plan::exhaust(bed.target.clone(), FILLING)
        };
        let outcome = run_watched(&plan, traffic, &mut self.line)?;
        traffic.limit(u64::MAX);
        traffic.change_mix(singles);
        // A node that is filled faster than it moves keys to disk asks for patience, and is given it.
        let waits = |status: &u16| matches!(status, 429 | 503);
        let is_right = outcome.lost == 0 && outcome.surprises.keys().all(waits);
        let filled = traffic.units() - before;
        ensure!(
            is_right && filled == batches * items as u64,
            "the log could not be filled: {filled} payments were made\n{outcome}"
        );
        self.line.say(&format!(
            "{} payments filled the log at {}/s",
            grouped(filled as f64),
            grouped(filled as f64 / outcome.seconds.max(1e-9))
        ));
        Ok(filled)
    }

    fn verify(
        &mut self,
        bed: Bed,
        roster: &Roster,
        traffic: &mut Traffic<'_>,
        curve: &mut Curve,
    ) -> Result<()> {
        let spec = VerifySpec {
            connections: PREPARING,
            sample: Some(self.arguments.verify_sample),
            ..VerifySpec::default()
        };
        let report = bed.verify(traffic, roster, spec, &mut self.line)?;
        curve.problems.extend(verification_problems(curve.name.title(), &report));
        curve.verifications.push(report.to_json());
        if !report.holds() {
            curve.blocks.extend(verification_blocks(&report));
        }
        bed.close().context("after a curve")
    }
}

fn agents_of(wallets: usize) -> usize {
    (wallets / WALLETS_PER_AGENT).clamp(10, 100_000)
}

impl CurveName {
    fn title(self) -> &'static str {
        match self {
            CurveName::Connections => "Connections",
            CurveName::Wallets => "Wallets",
            CurveName::LogAge => "Age of the log",
        }
    }

    fn axis(self) -> &'static str {
        match self {
            CurveName::Connections => "connections",
            CurveName::Wallets => "wallets",
            CurveName::LogAge => "records in the log",
        }
    }
}

impl Curve {
    fn new(name: CurveName) -> Curve {
        Curve {
            name,
            points: Vec::new(),
            blocks: Vec::new(),
            verifications: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn fixed_rate(&self) -> Option<f64> {
        self.points.first().and_then(|point| point.open.as_ref()).map(|(rate, _)| *rate)
    }

    fn add(&mut self, session: &mut Session<'_>, point: Point) {
        let text = format!(
            "{} {}: {}/s, p99 {}",
            grouped(point.x),
            self.name.axis(),
            grouped(point.closed.per_second()),
            millis(point.closed.latency_at(0.99))
        );
        session.line.say(&text);
        for outcome in [Some(&point.closed), point.open.as_ref().map(|(_, outcome)| outcome)] {
            if let Some(outcome) = outcome.filter(|outcome| !outcome.is_clean()) {
                self.problems.push(format!("{text}: not every answer was a success"));
                self.blocks.push(Block::Lines(outcome.to_string().lines().map(str::to_owned).collect()));
            }
        }
        self.points.push(point);
    }

    fn has_fixed_rate(&self) -> bool {
        self.fixed_rate().is_some()
    }

    fn table(&self) -> Block {
        let mut head = vec![self.name.axis(), "payments/s", "p50", "p99"];
        if self.has_fixed_rate() {
            head.extend(["p50, fixed rate", "p99, fixed rate"]);
        }
        let mut table = Table::new(&head);
        for point in &self.points {
            let mut row = vec![grouped(point.x), grouped(point.closed.per_second())];
            row.extend([0.5, 0.99].map(|quantile| millis(point.closed.latency_at(quantile))));
            if let Some((_, open)) = &point.open {
                row.extend([0.5, 0.99].map(|quantile| millis(open.latency_at(quantile))));
            }
            table.row(row);
        }
        Block::Table(table)
    }

    fn plots(&self) -> [Block; 2] {
        let series = |name: &str, value: &dyn Fn(&Point) -> f64| Series {
            name: name.to_owned(),
            points: self.points.iter().map(|point| (point.x, value(point))).collect(),
        };
        let ms = |outcome: &Outcome, quantile| outcome.latency_at(quantile).as_secs_f64() * 1e3;
        let rate = Plot {
            title: format!("Payments by {}", self.name.axis()),
            x_label: self.name.axis().to_owned(),
            y_label: "per second".to_owned(),
            x_scale: Scale::Log,
            y_scale: Scale::Linear,
            series: vec![series("payments", &|point| point.closed.per_second())],
            shaded: None,
            marks: None,
        };
        let mut lines = vec![
            series("median", &|point| ms(&point.closed, 0.5)),
            series("99th percentile", &|point| ms(&point.closed, 0.99)),
        ];
        if self.has_fixed_rate() {
            lines.push(series("99th percentile at the fixed rate", &|point| {
                point.open.as_ref().map_or(f64::NAN, |(_, open)| ms(open, 0.99))
            }));
        }
        let latency = Plot {
            title: format!("Latency by {}", self.name.axis()),
            y_label: "ms".to_owned(),
            y_scale: Scale::Log,
            series: lines,
            ..rate.clone()
        };
        [Block::Plot(rate), Block::Plot(latency)]
    }

    fn to_json(&self) -> Value {
        let points: Vec<Value> = self
            .points
            .iter()
            .map(|point| {
                let open = point
                    .open
                    .as_ref()
                    .map(|(rate, outcome)| json!({ "rate": rate, "outcome": outcome.to_json() }));
                json!({ "x": point.x, "closed": point.closed.to_json(), "fixed_rate": open })
            })
            .collect();
        json!({ "axis": self.name.axis(), "points": points, "verifications": self.verifications })
    }
}

fn finish(session: &Session<'_>, curves: Vec<Curve>) -> Finished {
    let mut blocks = Vec::new();
    let mut problems = Vec::new();
    for curve in &curves {
        blocks.push(Block::Heading(curve.name.title().to_owned()));
        blocks.push(curve.table());
        if let Some(rate) = curve.fixed_rate() {
            blocks.push(Block::Note(format!(
                "The fixed rate is {} payments per second, half of what the first point reached.",
                grouped(rate)
            )));
        }
        blocks.extend(curve.plots());
        blocks.extend(curve.blocks.clone());
        problems.extend(curve.problems.clone());
    }
    blocks.push(Block::Note(format!(
        "Every node was verified afterwards, with samples of {} payments and wallets.",
        grouped(session.arguments.verify_sample as f64)
    )));
    blocks.push(Block::Note(format!("seed {}; again: {}", session.seed, replay(session.seed))));
    blocks.push(machine_note());
    let json = json!({
        "load": "curves", "seed": session.seed, "command": replay(session.seed), "machine": machine_json(),
        "curves": curves.iter().map(Curve::to_json).collect::<Vec<_>>(),
    });
    let document = Document {
        title: "Rate and latency curves".to_owned(),
        lead: format!(
            "One durable payment per request; windows of {} s after {} s of warm-up.",
            session.window.as_secs_f64(),
            WARM_UP.as_secs()
        ),
        verdict: None,
        blocks,
    };
    Finished { document, json, problems }
}
