//! Outcomes and verifications as parts of a report.

use std::time::Duration;

use serde_json::{Value, json};

use crate::report::{Block, Figure, Plot, Scale, Series, Table, grouped, millis};
use crate::{Finding, Kill, Outcome, Slice, Verification, decimal};

/// One run with its name in the report.
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    /// What is counted, and how much of it one answer stands for.
    pub(crate) unit: &'static str,
    pub(crate) units_per_answer: f64,
    pub(crate) kills: Vec<Kill>,
}

impl Measured {
    /// Payments, service calls, reads or requests per second.
    pub(crate) fn units_per_second(&self) -> f64 {
        self.outcome.per_second() * self.units_per_answer
    }

    pub(crate) fn p99(&self) -> Duration {
        self.outcome.latency_at(0.99)
    }

    pub(crate) fn to_json(&self) -> Value {
        let kills: Vec<Value> = self
            .kills
            .iter()
            .map(|kill| {
                json!({
                    "at_seconds": kill.at_seconds, "away_seconds": kill.away_seconds,
                    "during_recovery": kill.during_recovery,
                })
            })
            .collect();
        let mut value = self.outcome.to_json();
        value["name"] = self.name.as_str().into();
        value["unit"] = self.unit.into();
        value["units_per_second"] = self.units_per_second().into();
        value["kills"] = kills.into();
        value
    }

    /// The few numbers that matter.
    pub(crate) fn figures(&self) -> Block {
        let outcome = &self.outcome;
        let answers = format!("{} answers in {:.1} s", grouped(outcome.completed as f64), outcome.seconds);
        let share = outcome.generator_cpu_seconds / outcome.seconds.max(1e-9);
        let per_answer = outcome.generator_cpu_seconds * 1e6 / (outcome.latency.len().max(1) as f64);
        let mut figures = vec![
            Figure::new(self.unit, format!("{}/s", grouped(self.units_per_second())), answers),
            Figure::new("median", millis(outcome.latency_at(0.5)), "half of the answers were faster"),
            Figure::new("99th percentile", millis(self.p99()), "one of a hundred was slower"),
            Figure::new("slowest", millis(Duration::from_nanos(outcome.latency.max())), ""),
            Figure::new(
                "load generator",
                format!("{:.0} %", share * 100.0),
                format!("of one core, {per_answer:.1} µs per answer"),
            ),
        ];
        if outcome.overdue_max > 0 {
            let note = "requests that were due and found no idle connection, at most";
            figures.push(Figure::new("overdue", grouped(outcome.overdue_max as f64), note));
        }
        Block::Figures(figures)
    }

    pub(crate) fn percentiles(&self) -> Block {
        let mut table = Table::new(&["latency", "p50", "p90", "p99", "p99.9", "p99.99", "max"]);
        let at = |quantile| millis(self.outcome.latency_at(quantile));
        let mut row = vec![self.name.clone()];
        row.extend([0.5, 0.9, 0.99, 0.999, 0.9999, 1.0].map(at));
        table.row(row);
        Block::Table(table)
    }

    /// What was answered that nobody hoped for.
    pub(crate) fn trouble(&self) -> Vec<Block> {
        let outcome = &self.outcome;
        let mut lines: Vec<String> = outcome
            .surprises
            .iter()
            .map(|(status, surprise)| {
                format!("status {status}, {} times, first: {}", surprise.count, surprise.first_body)
            })
            .collect();
        if outcome.lost > 0 {
            let cause = outcome.lost_cause.as_deref().unwrap_or("unknown");
            lines.push(format!("{} requests lost with their connection, last cause: {cause}", outcome.lost));
        }
        if outcome.unanswered > 0 {
            lines.push(format!("{} requests not answered in time", outcome.unanswered));
        }
        if lines.is_empty() {
            return Vec::new();
        }
        let mut blocks = vec![Block::Lines(lines)];
        if !self.kills.is_empty() {
            blocks.insert(0, Block::Note("Around the kills, as it must be:".to_owned()));
        }
        blocks
    }

    pub(crate) fn kill_blocks(&self) -> Vec<Block> {
        if self.kills.is_empty() {
            return Vec::new();
        }
        let mut away: Vec<f64> = self.kills.iter().map(|kill| kill.away_seconds).collect();
        away.sort_by(f64::total_cmp);
        let again = self.kills.iter().filter(|kill| kill.during_recovery).count();
        let span = |seconds: f64| millis(Duration::from_secs_f64(seconds));
        vec![
            Block::Heading("Kills".to_owned()),
            Block::Figures(vec![
                Figure::new("SIGKILL", format!("{} times", away.len()), format!("{again} again in recovery")),
                Figure::new("away, median", span(away[away.len() / 2]), "from the kill until ready again"),
                Figure::new("away, longest", span(away[away.len() - 1]), ""),
            ]),
        ]
    }
}

/// Latency by quantile, then rate and latency over time, of one or more runs.
pub(crate) fn plots(runs: &[&Measured]) -> Vec<Block> {
    let mut blocks = vec![Block::Plot(quantile_plot(runs)), Block::Plot(rate_plot(runs))];
    match runs {
        [run] => blocks.push(Block::Plot(latency_plot(run))),
        _ => blocks.push(Block::Plot(p99_plot(runs))),
    }
    blocks
}

fn quantile_plot(runs: &[&Measured]) -> Plot {
    let series = |run: &&Measured| {
        let latency = &run.outcome.latency;
        // Up to the quantile that ten answers stand behind; beyond that a line would be made of chance.
        let last = 1.0 - 10.0 / (latency.len().max(11) as f64);
        let steps = 160_u32;
        let end = -(1.0 - last).log10();
        let quantile = |step: u32| 1.0 - 10_f64.powf(-end * f64::from(step) / f64::from(steps));
        let points = (0..=steps).map(|step| {
            let quantile = quantile(step);
            (quantile, latency.value_at_quantile(quantile) as f64 / 1e6)
        });
        Series { name: run.name.clone(), points: points.collect() }
    };
    Plot {
        title: "Latency by percentile".to_owned(),
        x_label: "share of answers that were at least as fast".to_owned(),
        y_label: "ms".to_owned(),
        x_scale: Scale::Nines,
        y_scale: Scale::Log,
        series: runs.iter().map(series).collect(),
        shaded: None,
        marks: None,
    }
}

fn rate_plot(runs: &[&Measured]) -> Plot {
    let series = |run: &&Measured| Series {
        name: run.name.clone(),
        points: over_time(run, |slice| slice.per_second() * run.units_per_answer),
    };
    Plot {
        title: format!("{} over time", capitalised(runs[0].unit)),
        y_label: "per second".to_owned(),
        y_scale: Scale::Linear,
        series: runs.iter().map(series).collect(),
        ..timed(runs[0])
    }
}

fn latency_plot(run: &Measured) -> Plot {
    let millis = |duration: Duration| {
        if duration.is_zero() { f64::NAN } else { duration.as_secs_f64() * 1e3 }
    };
    let series = |name: &str, value: fn(&Slice) -> Duration| Series {
        name: name.to_owned(),
        points: over_time(run, |slice| millis(value(slice))),
    };
    Plot {
        title: "Latency over time".to_owned(),
        y_label: "ms".to_owned(),
        y_scale: Scale::Log,
        series: vec![
            series("median", |slice| slice.p50),
            series("99th percentile", |slice| slice.p99),
            series("slowest", |slice| slice.max),
        ],
        ..timed(run)
    }
}

fn p99_plot(runs: &[&Measured]) -> Plot {
    let series =
        |run: &&Measured| Series {
            name: run.name.clone(),
            points: over_time(run, |slice| {
                if slice.p99.is_zero() { f64::NAN } else { slice.p99.as_secs_f64() * 1e3 }
            }),
        };
    Plot {
        title: "99th percentile over time".to_owned(),
        y_label: "ms".to_owned(),
        y_scale: Scale::Log,
        series: runs.iter().map(series).collect(),
        ..timed(runs[0])
    }
}

/// An empty plot over the time of a run.
fn timed(run: &Measured) -> Plot {
    let warm_up = run.outcome.warm_up_seconds;
    let shaded = (warm_up > 0.0).then(|| (0.0, warm_up, "warm-up".to_owned()));
    Plot {
        title: String::new(),
        x_label: "seconds".to_owned(),
        y_label: String::new(),
        x_scale: Scale::Linear,
        y_scale: Scale::Linear,
        series: Vec::new(),
        shaded,
        marks: Some((run.kills.iter().map(|kill| kill.at_seconds).collect(), "SIGKILL".to_owned())),
    }
}

fn over_time(run: &Measured, value: impl Fn(&Slice) -> f64) -> Vec<(f64, f64)> {
    let middle = |slice: &Slice| slice.begin_seconds + slice.length_seconds / 2.0;
    run.outcome.timeline.iter().map(|slice| (middle(slice), value(slice))).collect()
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// What was verified, in a few lines.
pub(crate) fn verification_blocks(report: &Verification) -> Vec<Block> {
    let count = |read: u64, of: u64| {
        if read == of {
            format!("all {}", grouped(of as f64))
        } else {
            format!("{} of {}", grouped(read as f64), grouped(of as f64))
        }
    };
    let sample = |read: u64, of: u64| if read == of { "" } else { "a sample, as asked for" };
    let mut figures = Vec::new();
    if report.payments > 0 {
        let (read, of) = (report.payments_read, report.payments);
        figures.push(Figure::new("payments read back", count(read, of), sample(read, of)));
    }
    if report.calls > 0 {
        let (read, of) = (report.calls_read, report.calls);
        figures.push(Figure::new("service calls read", count(read, of), sample(read, of)));
    }
    let (read, of) = (report.wallets_read, report.wallets);
    figures.push(Figure::new("wallets compared", count(read, of), sample(read, of)));
    let sums = format!(
        "funded {} - external {} - fees {}",
        decimal(report.funded),
        decimal(report.external),
        decimal(report.fees)
    );
    figures.push(Figure::new("sum of balances", decimal(report.balances), sums));
    if let Some(listed) = report.listed {
        figures.push(Figure::new("payments in lists", grouped(listed as f64), "each key counted"));
    }
    let books = if report.books_compared { "compared" } else { "not compared" };
    let why = if report.books_compared { "all accounts sum to zero" } else { "no --operator-token" };
    figures.push(Figure::new("trial balance", books, if report.holds() { why } else { "" }));
    let kinds = [Finding::Lost, Finding::Doubled].map(|finding| report.findings.count(finding));
    figures.push(Figure::new("lost / doubled", format!("{} / {}", kinds[0], kinds[1]), ""));
    let unknowns = report.unknowns;
    let note = format!(
        "asked again with their keys: {} had been applied, {} were applied then",
        unknowns.applied_before, unknowns.applied_by_retry
    );
    let note = if unknowns.requests == 0 { String::new() } else { note };
    figures.push(Figure::new("unknown outcomes", unknowns.requests.to_string(), note));
    let mut blocks = vec![Block::Heading("Verification".to_owned()), Block::Figures(figures)];
    if !report.holds() {
        blocks.push(Block::Lines(report.findings.to_string().lines().map(str::to_owned).collect()));
    }
    blocks
}
