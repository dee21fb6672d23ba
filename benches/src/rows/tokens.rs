//! A million live tokens in the engine without HTTP: what one costs, how late its deadline is, how long a burst of
//! deadlines and a start take. `engine_tokens` prints one line of JSON per question.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::ceilings::{figure, run};
use super::{Settings, program};
use crate::report::Row;
use crate::summary::grouped;

const BYTES_TARGET: f64 = 300.0;
const LATE_MS_TARGET: f64 = 50.0;
const START_SECONDS_TARGET: f64 = 10.0;

pub(super) fn measure(settings: &Settings) -> Result<Vec<Row>> {
    // The program removes its directory when it is done.
    let parent = tempfile::Builder::new().prefix("bench-").tempdir_in(&settings.work_dir)?;
    let dir = parent.path().join("engine");
    let arguments = ["--dir", &dir.to_string_lossy()].map(str::to_owned);
    let lines = run(&program(settings, "engine_tokens")?, &arguments)?;
    let rows = lines.iter().map(|line| {
        let question = line["question"].as_str().context("a line without a question")?;
        match question {
            "live tokens" => live(line),
            "lateness" => lateness(line),
            "start" => start(line),
            "lifecycles" => lifecycles(line),
            _ => burst(line),
        }
    });
    rows.collect()
}

fn live(line: &Value) -> Result<Row> {
    let bytes = figure(line, "bytes_per_token")?;
    let (tokens, rate) = (figure(line, "tokens")?, figure(line, "reservations_per_second")?);
    Ok(Row {
        name: format!("memory per live token, timer included, at {}", grouped(tokens)),
        measured: format!("{bytes:.0} bytes; {} reservations/s while they were made", grouped(rate)),
        compared: String::new(),
        ratio: None,
        target: format!("≤ {BYTES_TARGET:.0} bytes"),
        met: Some(bytes <= BYTES_TARGET),
        details: json!(line),
    })
}

fn lifecycles(line: &Value) -> Result<Row> {
    Ok(Row {
        name: "whole calls in the engine without HTTP, five durable steps each".to_owned(),
        measured: format!("{} calls/s", grouped(figure(line, "calls_per_second")?)),
        compared: String::new(),
        ratio: None,
        target: String::new(),
        met: None,
        details: json!(line),
    })
}

fn lateness(line: &Value) -> Result<Row> {
    let (early, latest) = (figure(line, "early")?, figure(line, "max_ms")?);
    let (live, rate) = (figure(line, "live")?, figure(line, "deadlines_per_second")?);
    Ok(Row {
        name: format!("lateness of deadlines at {}/s among {} live tokens", grouped(rate), grouped(live)),
        measured: format!(
            "median {:.0} ms, p99 {:.0} ms, latest {latest:.0} ms, {early:.0} early",
            figure(line, "p50_ms")?,
            figure(line, "p99_ms")?
        ),
        compared: String::new(),
        ratio: None,
        target: format!("≤ {LATE_MS_TARGET:.0} ms, none early"),
        met: Some(latest <= LATE_MS_TARGET && early == 0.0),
        details: json!(line),
    })
}

fn start(line: &Value) -> Result<Row> {
    let seconds = figure(line, "seconds")?;
    let from = line["from"].as_str().context("a start without its source")?;
    Ok(Row {
        name: format!("start with {} live tokens, from the {from}", grouped(figure(line, "tokens")?)),
        measured: format!("{seconds:.2} s"),
        compared: String::new(),
        ratio: None,
        target: format!("≤ {START_SECONDS_TARGET:.0} s"),
        met: Some(seconds <= START_SECONDS_TARGET),
        details: json!(line),
    })
}

fn burst(line: &Value) -> Result<Row> {
    let (before, during) = (figure(line, "payment_p99_ms_before")?, figure(line, "payment_p99_ms_during")?);
    Ok(Row {
        name: format!("{} deadlines at one moment", grouped(figure(line, "deadlines")?)),
        measured: format!("drained in {:.1} s", figure(line, "drained_ms")? / 1_000.0),
        compared: format!("payments beside it: p99 {during:.2} ms, {before:.2} ms before"),
        ratio: None,
        target: "seconds, payments go on".to_owned(),
        met: None,
        details: json!(line),
    })
}
