//! The program `loadtest`: what its subcommands do, from the command line to the report.

mod arguments;
mod bed;
mod compare;
mod curves;
mod disk;
mod live_line;
mod measured;
mod search;
mod single;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser as _;
use serde_json::{Value, json};

use self::arguments::{Arguments, Load, OutputArguments, RunArguments, seconds};
use self::live_line::LiveLine;
use self::measured::Measured;
use crate::report::{Block, Document};
use crate::{Outcome, Pace, Plan, PopulationSpec, Target, Traffic, Verification, VerifySpec, nanos};

/// Carries out the command line of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match carry_out(&arguments.load) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What a subcommand has to say. It holds when nothing was wrong.
struct Finished {
    document: Document,
    json: Value,
    problems: Vec<String>,
}

fn carry_out(load: &Load) -> Result<bool> {
    let (finished, output) = match (load, load.run()) {
        (Load::Curves(curves), _) => (curves::carry_out(curves)?, &curves.output),
        (_, Some(run)) => {
            let session = Session::new(load, run)?;
            let finished = if run.compare.is_some() {
                compare::carry_out(session)?
            } else if run.search_p99_ms.is_some() {
                search::carry_out(session)?
            } else {
                single::carry_out(session)?
            };
            (finished, &run.output)
        }
        (_, None) => unreachable!("only curves come without a run"),
    };
    publish(finished, output)
}

/// Prints the report and writes the files. True when nothing was wrong.
#[expect(clippy::print_stdout, reason = "the report is the output of this program")]
fn publish(mut finished: Finished, output: &OutputArguments) -> Result<bool> {
    let holds = finished.problems.is_empty();
    let verdict = if holds {
        "all answers were as hoped, and everything that was promised is there".to_owned()
    } else {
        finished.problems.join("; ")
    };
    finished.document.verdict = Some((holds, verdict));
    finished.json["holds"] = holds.into();
    finished.json["problems"] = finished.problems.clone().into();
    print!("{}", finished.document.to_text());
    if let Some(path) = &output.json {
        write_file(path, &format!("{:#}\n", finished.json))?;
    }
    if let Some(path) = &output.html {
        write_file(path, &finished.document.to_html())?;
    }
    Ok(holds)
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// What the kinds of runs share.
struct Session<'a> {
    load: &'a Load,
    run: &'a RunArguments,
    seed: u64,
    line: LiveLine,
}

impl<'a> Session<'a> {
    fn new(load: &'a Load, run: &'a RunArguments) -> Result<Session<'a>> {
        ensure!(run.agents > 0 && run.wallets_per_agent > 0, "a load needs agents with wallets");
        ensure!(
            run.agents.saturating_mul(run.wallets_per_agent) >= 2,
            "a payment needs two wallets: raise --agents or --wallets-per-agent"
        );
        if let Load::Batch { items, .. } | Load::Mixed { items, .. } = load {
            ensure!(*items > 0, "a batch needs at least one payment: raise --items");
        }
        if let Load::Mixed { reads, batches, .. } = load {
            ensure!(
                reads.saturating_add(*batches) <= 100,
                "--reads and --batches are shares of 100 requests"
            );
        }
        if let Load::Payments { external_share, .. } | Load::Mixed { external_share, .. } = load {
            ensure!((0.0..=1.0).contains(external_share), "--external-share must be between 0 and 1");
        }
        let seed = run.seed.unwrap_or_else(|| fastrand::u64(..));
        let mut line = LiveLine::new(run.output.quiet);
        line.say(&format!("seed {seed}; again: {}", replay(seed)));
        Ok(Session { load, run, seed, line })
    }

    fn population(&self) -> PopulationSpec {
        PopulationSpec {
            agents: self.run.agents,
            wallets_per_agent: self.run.wallets_per_agent,
            fund: Some(self.load.fund().to_owned()),
            connections: self.run.connections.min(64),
        }
    }

    fn opening_nanos(&self) -> Result<i128> {
        let fund = self.load.fund();
        nanos(fund.as_bytes()).with_context(|| format!("--fund {fund:?} is not an amount"))
    }

    /// The load as it was asked for.
    fn plan(&self, target: &Target) -> Result<Plan> {
        let warm_up = seconds(self.run.warm_up_seconds, "--warm-up-seconds")?;
        let window = seconds(self.run.seconds, "--seconds")?;
        let plan = Plan::closed(target.clone(), self.run.connections, warm_up, window);
        let pace = match (self.run.rate, self.run.ramp) {
            (Some(requests_per_second), _) => Pace::Open { requests_per_second },
            (None, Some((from_per_second, to_per_second))) => Pace::Ramp { from_per_second, to_per_second },
            (None, None) => Pace::Closed,
        };
        Ok(Plan { pace, ..plan })
    }

    fn verify_spec(&self) -> VerifySpec {
        VerifySpec {
            connections: self.run.connections.clamp(1, 64),
            sample: self.run.verify_sample,
            read_lists: self.run.verify_lists || self.run.kill_every.is_some(),
            ..VerifySpec::default()
        }
    }

    fn operator_token(&self) -> Option<String> {
        self.run.operator_token.clone().or_else(|| std::env::var("AGENTPAY_OPERATOR_TOKEN").ok())
    }

    /// Agents that offer services in this load.
    fn providers(&self) -> usize {
        match self.load {
            Load::X402 { providers, .. } => *providers,
            _ => 0,
        }
    }

    /// What was asked for, in a sentence.
    fn describe(&self, target: &Target) -> String {
        let run = self.run;
        let pace = match (run.rate, run.ramp) {
            (Some(rate), _) => format!("open loop at {rate} requests per second"),
            (None, Some((from, to))) => format!("open loop from {from} to {to} requests per second"),
            (None, None) if run.search_p99_ms.is_some() => "open loop in steps".to_owned(),
            (None, None) => "closed loop".to_owned(),
        };
        let shape = match self.load {
            Load::Payments { .. } => {
                self.load.mix().map_or_else(String::new, |mix| format!(", {}", mix.shape.name()))
            }
            Load::Batch { items, .. } => format!(", {items} payments per request"),
            _ => String::new(),
        };
        format!(
            "{}{shape}, {pace}, {} connections, {} agents with {} wallets each, against {}",
            self.load.name(),
            run.connections,
            run.agents,
            run.wallets_per_agent,
            target.authority
        )
    }

    fn json(&self) -> Value {
        json!({
            "load": self.load.name(), "seed": self.seed, "command": replay(self.seed),
            "machine": machine_json(), "connections": self.run.connections,
            "wallets": self.run.agents * self.run.wallets_per_agent,
        })
    }

    /// What was wrong with one run. Refusals and lost requests belong to a run with kills.
    fn problems(&self, name: &str, outcome: &Outcome, refused: u64) -> Vec<String> {
        let mut problems = Vec::new();
        let with_kills = self.run.kill_every.is_some();
        let excused = |status: u16| {
            (with_kills && status == 503) || (self.run.allow_refusals && matches!(status, 429 | 503))
        };
        let surprises: u64 = outcome
            .surprises
            .iter()
            .filter(|(status, _)| !excused(**status))
            .map(|(_, surprise)| surprise.count)
            .sum();
        if surprises > 0 {
            problems.push(format!("{name}: {surprises} answers were not a success"));
        }
        if outcome.lost > 0 && !with_kills {
            problems.push(format!("{name}: {} requests were lost", outcome.lost));
        }
        if outcome.unanswered > 0 && !with_kills && !self.run.allow_refusals {
            problems.push(format!("{name}: {} requests were not answered in time", outcome.unanswered));
        }
        if outcome.succeeded == 0 {
            problems.push(format!("{name}: nothing was answered within the window"));
        }
        // Refused requests are among the surprises; refused items of accepted batches are not.
        if refused > 0 && surprises == 0 {
            problems.push(format!("{name}: {refused} payments were refused"));
        }
        problems
    }
}

/// A measured run of a traffic, with what its answers stand for. `units_before`: of the traffic, before the run.
fn measured(name: &str, outcome: Outcome, traffic: &Traffic<'_>, units_before: u64) -> Measured {
    let answers = outcome.answers().0.max(1);
    Measured {
        name: name.to_owned(),
        units_per_answer: (traffic.units() - units_before) as f64 / answers as f64,
        outcome,
        unit: traffic.mix().unit(),
        kills: Vec::new(),
    }
}

fn verification_problems(name: &str, verification: &Verification) -> Vec<String> {
    let findings = verification.findings.iter();
    findings.map(|(finding, count, _)| format!("{name}: {} x {count}", finding.name())).collect()
}

/// The command that repeats this process's run.
fn replay(seed: u64) -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut line = String::from("loadtest");
    for argument in &arguments {
        line.push(' ');
        line.push_str(argument);
    }
    if !arguments.iter().any(|argument| argument.starts_with("--seed")) {
        line.push_str(&format!(" --seed {seed}"));
    }
    line
}

fn machine_json() -> Value {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    json!({
        "cpu": cpu, "kernel": kernel.map(|text| text.trim().to_owned()),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
    })
}

/// What the figures were measured on, for the end of a page.
fn machine_note() -> Block {
    let machine = machine_json();
    let text = |field: &str| machine[field].as_str().unwrap_or("unknown").to_owned();
    Block::Note(format!(
        "{}, {} cores, Linux {}; load generator and server share them.",
        text("cpu"),
        machine["cores"],
        text("kernel")
    ))
}
