//! The engine without HTTP, beside the actor library alone. Each program prints lines of JSON; `engine_pairs` one per
//! shape of load.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Settings, program};
use crate::report::Row;
use crate::summary::grouped;

/// For full batches of random pairs over the first million payments.
const BATCHED_PER_SECOND_TARGET: f64 = 800_000.0;

pub(super) fn measure(settings: &Settings) -> Result<Vec<Row>> {
    let ceiling = run(&program(settings, "actor_ceiling")?, &[])?;
    let ceiling = ceiling.first().context("`actor_ceiling` printed nothing")?;
    let pairs_per_second = figure(ceiling, "pairs_per_second")?;

    // The program removes its directory when it is done.
    let parent = tempfile::Builder::new().prefix("bench-").tempdir_in(&settings.work_dir)?;
    let dir = parent.path().join("engine");
    let payments = settings.engine_payments.to_string();
    let arguments = ["--payments", &payments, "--dir", &dir.to_string_lossy()].map(str::to_owned);
    let shapes = run(&program(settings, "engine_pairs")?, &arguments)?;
    shapes.iter().map(|shape| row(shape, ceiling, pairs_per_second)).collect()
}

fn row(shape: &Value, ceiling: &Value, pairs_per_second: f64) -> Result<Row> {
    let rate = figure(shape, "payments_per_second")?;
    let size = figure(shape, "size")?;
    let is_batched = size > 1.0;
    Ok(Row {
        name: format!(
            "engine without HTTP, durable payments of random pairs, {} client(s) with {} per call",
            grouped(figure(shape, "clients")?),
            grouped(size)
        ),
        measured: format!(
            "{}/s, {:.0} log bytes each",
            grouped(rate),
            figure(shape, "log_bytes_per_payment")?
        ),
        compared: format!("ractor alone, debit and credit message: {} pairs/s", grouped(pairs_per_second)),
        ratio: Some(rate / pairs_per_second),
        target: if is_batched {
            format!("≥ {}/s", grouped(BATCHED_PER_SECOND_TARGET))
        } else {
            String::new()
        },
        met: is_batched.then_some(rate >= BATCHED_PER_SECOND_TARGET),
        details: json!({ "engine_pairs": shape, "actor_ceiling": ceiling }),
    })
}

/// Runs a measuring program to its end and reads its lines.
pub(super) fn run(program: &Path, arguments: &[String]) -> Result<Vec<Value>> {
    let output =
        Command::new(program).args(arguments).output().context("cannot start a measuring program")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} ended with {}: {stdout}{stderr}", program.display(), output.status);
    stdout
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("not a line of JSON: {line}")))
        .collect()
}

pub(super) fn figure(report: &Value, name: &str) -> Result<f64> {
    report[name].as_f64().with_context(|| format!("no number `{name}` in {report}"))
}
