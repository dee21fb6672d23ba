//! The long forms of tests that CI runs short: same code, more rounds, told through an environment variable.

use crate::run::{cargo, only_option, run};
use anyhow::{Context, Result};

/// Kill -9 under load: no acknowledged payment lost, none doubled, no balance negative.
pub(crate) fn crash(options: &[String]) -> Result<()> {
    let cycles = count(options, "--cycles", 1_000)?;
    run(cargo(&["build", "--locked", "--package", "agentpay"]))?;
    let mut command = cargo(&["test", "--locked", "--package", "system-tests", "--test", "system", "crash"]);
    command.env("AGENTPAY_CRASH_CYCLES", cycles.to_string());
    command.args(["--", "--nocapture"]);
    run(command)
}

/// Simulated power cuts of the log at every call and inside every write; a run has about 700 of these moments.
pub(crate) fn wal(options: &[String]) -> Result<()> {
    let runs = count(options, "--runs", 400)?;
    let mut command = cargo(&["test", "--locked", "--release", "--package", "wal", "crash"]);
    command.env("WAL_CRASH_RUNS", runs.to_string());
    command.args(["--", "--nocapture"]);
    run(command)
}

fn count(options: &[String], name: &str, default: u64) -> Result<u64> {
    match only_option(options, name)? {
        None => Ok(default),
        Some(text) => text.parse().with_context(|| format!("{name} {text:?} is not a number")),
    }
}
