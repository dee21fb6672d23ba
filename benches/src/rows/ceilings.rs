//! The engine without HTTP (if its program is built), and ractor alone. Each program prints one line of JSON with
//! `pairs_per_second`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Settings, exists, program};
use crate::report::Row;
use crate::summary::grouped;

const PAIRS_PER_SECOND_TARGET: f64 = 450_000.0;

pub(super) fn measure(settings: &Settings) -> Result<Vec<Row>> {
    let ceiling = run(&program(settings, "actor_ceiling")?, &[])?;
    let ceiling_rate = pairs_per_second(&ceiling)?;
    let compared = format!("ractor alone, debit and credit message: {} pairs/s", grouped(ceiling_rate));
    let engine_pairs = settings.programs.join("engine_pairs");
    if !exists(&engine_pairs) {
        return Ok(vec![Row {
            name: "engine without HTTP, random pairs".to_owned(),
            measured: "not measured: the program `engine_pairs` is not built".to_owned(),
            compared,
            ratio: None,
            target: String::new(),
            met: None,
            details: ceiling,
        }]);
    }
    let work_dir = settings.work_dir.to_string_lossy();
    let engine = run(&engine_pairs, &["--dir", &work_dir])?;
    let rate = pairs_per_second(&engine)?;
    Ok(vec![Row {
        name: "engine without HTTP, durable payments between random pairs of 10 000 wallets".to_owned(),
        measured: format!("{}/s", grouped(rate)),
        compared,
        ratio: Some(rate / ceiling_rate),
        target: format!("≥ {}/s", grouped(PAIRS_PER_SECOND_TARGET)),
        met: Some(rate >= PAIRS_PER_SECOND_TARGET),
        details: serde_json::json!({ "engine_pairs": engine, "actor_ceiling": ceiling }),
    }])
}

fn run(program: &Path, arguments: &[&str]) -> Result<Value> {
    let output =
        Command::new(program).args(arguments).output().context("cannot start a measuring program")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} ended with {}: {stdout}{stderr}", program.display(), output.status);
    let line = stdout.lines().last().context("a measuring program printed nothing")?;
    serde_json::from_str(line).with_context(|| format!("not a line of JSON: {line}"))
}

fn pairs_per_second(report: &Value) -> Result<f64> {
    report["pairs_per_second"].as_f64().with_context(|| format!("no pairs_per_second in {report}"))
}
