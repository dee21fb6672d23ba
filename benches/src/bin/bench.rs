//! The table of `cargo xtask bench`: node, floor and disk side by side in one run, as Markdown on standard output.
//!
//! Progress goes to standard error. The exit code says whether everything could be measured, not whether targets were
//! met: a noisy machine must not look like a broken node.

#![expect(clippy::print_stdout, reason = "the table is the output of this program")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::machine::{Machine, ProcessorTime};
use benches::report::Report;
use benches::rows::{RowName, Settings};
use clap::{Parser, ValueEnum};

/// Measures a node beside the floor, the disk and the actor library.
#[derive(Parser)]
struct Arguments {
    /// The node's program.
    #[arg(long, default_value = "target/release/agentpay")]
    node: PathBuf,
    /// Where data directories are made; on the file system to measure [default: beside the node's program]
    #[arg(long)]
    work_dir: Option<PathBuf>,
    /// A version of about a minute, for a first look: one short round of everything.
    #[arg(long)]
    quick: bool,
    /// Ten million wallets and a day of idempotency keys for `--only scale`; some 12 GB of disk.
    #[arg(long)]
    long: bool,
    /// Measure only this; may be repeated.
    #[arg(long, value_enum)]
    only: Vec<RowName>,
    /// Rounds of each comparison [default: 3, quick: 1]
    #[arg(long)]
    rounds: Option<usize>,
    /// Length of a round's window in seconds [default: 6, quick: 2]
    #[arg(long)]
    seconds: Option<f64>,
    /// Seed of pairs, amounts and idempotency keys.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also write all raw figures to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// False when a row could not be measured.
fn measure(arguments: &Arguments) -> Result<bool> {
    let settings = settings(arguments)?;
    let mut wanted = arguments.only.clone();
    if wanted.is_empty() {
        wanted.extend(RowName::ALL);
    }
    let begun = Instant::now();
    let mut report = Report {
        machine: Machine::detect(),
        command: command_line(arguments),
        rows: Vec::new(),
        withheld: Vec::new(),
    };
    let mut complete = true;
    for name in wanted {
        eprintln!("[{:>4.0} s] {name:?}", begun.elapsed().as_secs_f64());
        let before = ProcessorTime::now();
        let measured = name.measure(&settings);
        if let (Some(before), Some(after)) = (before, ProcessorTime::now()) {
            report.withheld.push((value_name(name), after.withheld_since(before)));
        }
        match measured {
            Ok(rows) => report.rows.extend(rows),
            Err(error) => {
                complete = false;
                eprintln!("bench: {name:?} could not be measured: {error:#}");
            }
        }
    }
    eprintln!("[{:>4.0} s] done", begun.elapsed().as_secs_f64());
    print!("{}", report.to_markdown());
    if let Some(path) = &arguments.json {
        std::fs::write(path, format!("{:#}\n", report.to_json()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(complete)
}

fn settings(arguments: &Arguments) -> Result<Settings> {
    let node = arguments
        .node
        .canonicalize()
        .with_context(|| format!("the node is not at {}: build it first", arguments.node.display()))?;
    let beside = |path: &Path| path.parent().map(Path::to_owned).context("a program lies in a directory");
    let work_dir = match &arguments.work_dir {
        Some(dir) => dir.clone(),
        None => beside(&node)?.join("bench-data"),
    };
    std::fs::create_dir_all(&work_dir).with_context(|| format!("cannot create {}", work_dir.display()))?;
    let quick = arguments.quick;
    Ok(Settings {
        node,
        programs: beside(&std::env::current_exe()?)?,
        work_dir,
        rounds: arguments.rounds.unwrap_or(if quick { 1 } else { 3 }).max(1),
        warm_up: Duration::from_secs(1),
        window: Duration::try_from_secs_f64(arguments.seconds.unwrap_or(if quick { 2.0 } else { 6.0 }))?,
        memory_wallets: if quick { 100_000 } else { 1_000_000 },
        replay_payments: if quick { 200_000 } else { 2_000_000 },
        engine_payments: if quick { 200_000 } else { 1_000_000 },
        sustained_millions: if quick { 1 } else { 10 },
        seed: arguments.seed,
        long: arguments.long,
    })
}

/// The command that repeats this run; directories are of no use on another machine.
fn command_line(arguments: &Arguments) -> String {
    let mut line = "cargo xtask bench".to_owned();
    if arguments.quick {
        line.push_str(" --quick");
    }
    if arguments.long {
        line.push_str(" --long");
    }
    for name in &arguments.only {
        line.push_str(" --only ");
        line.push_str(&value_name(*name));
    }
    if let Some(rounds) = arguments.rounds {
        line.push_str(&format!(" --rounds {rounds}"));
    }
    if let Some(seconds) = arguments.seconds {
        line.push_str(&format!(" --seconds {seconds}"));
    }
    line
}

/// As it is given on the command line.
fn value_name(name: RowName) -> String {
    let value = name.to_possible_value().expect("every name can be given");
    value.get_name().to_owned()
}
