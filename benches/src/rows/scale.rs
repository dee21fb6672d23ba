//! Scale of state, by the program `scale`: memory per wallet at rest, restarts, latency and snapshots with many wallets
//! beside few, and the memory of very many idempotency keys. Not part of a usual run; with `--long` it takes ten million
//! wallets and a day of keys, and some 12 GB of disk.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Settings, program};
use crate::report::Row;
use crate::summary::{Summary, grouped};

const FEW_WALLETS: u64 = 10_000;
const BYTES_PER_WALLET_TARGET: f64 = 250.0;
const P99_RATIO_TARGET: f64 = 1.2;
const SNAPSHOT_P99_TARGET: f64 = 1.1;
const SNAPSHOT_MAX_MILLIS_TARGET: f64 = 50.0;
const REPLAY_PER_SECOND_TARGET: f64 = 2_000_000.0;
/// Payments per second of the open loop: about half of what a node takes over HTTP on two cores.
const RATE: &str = "30000";
/// So many that none are moved to disk while something else is measured.
const KEYS_IN_MEMORY: &str = "100000000";

pub(super) fn measure(settings: &Settings) -> Result<Vec<Row>> {
    let (many, keys) = if settings.long { (10_000_000, 86_400_000) } else { (1_000_000, 5_000_000) };
    let work = tempfile::Builder::new().prefix("bench-").tempdir_in(&settings.work_dir)?;
    let scale = program(settings, "scale")?;
    let dir_of = |wallets: u64| work.path().join(wallets.to_string());
    let paid = |name: &str, wallets: u64, seconds: f64, more: &[&str]| {
        let (dir, wallets, seconds) = (dir_of(wallets), wallets.to_string(), seconds.to_string());
        let arguments = ["--wallets", &wallets, "--seconds", &seconds, "--rate", RATE];
        stage(&scale, name, &dir, &[&arguments[..], more].concat())
    };
    let seconds = settings.window.as_secs_f64();
    let run = |wallets, seconds| paid("run", wallets, seconds, &["--keys-in-memory", KEYS_IN_MEMORY]);
    let open = |wallets| paid("open", wallets, seconds, &[]);
    // Anew for each question: what payments leave behind, keys above all, is memory and takes time at a start.
    let make = |wallets: u64| {
        let dir = dir_of(wallets);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        stage(&scale, "make", &dir, &["--wallets", &wallets.to_string()])
    };
    make(FEW_WALLETS)?;
    make(many)?;
    let rounds = (0..settings.rounds).map(|_| Ok((open(FEW_WALLETS)?, open(many)?)));
    let rounds = rounds.collect::<Result<Vec<_>>>()?;
    make(FEW_WALLETS)?;
    make(many)?;
    let (few, lots) = (run(FEW_WALLETS, seconds)?, run(many, seconds)?);
    let again = (0..settings.rounds).map(|_| run(FEW_WALLETS, 0.0)).collect::<Result<Vec<_>>>()?;
    let lots_again = run(many, 0.0)?;
    let keys = stage(&scale, "keys", &work.path().join("keys"), &["--keys", &keys.to_string()])?;
    Ok(vec![
        memory(&few, &lots)?,
        restart(&few, &again, &lots, &lots_again)?,
        latency(&rounds)?,
        snapshot(&lots)?,
        kept(&keys)?,
    ])
}

fn memory(few: &Value, lots: &Value) -> Result<Row> {
    let wallets = figure(lots, "/wallets")? - figure(few, "/wallets")?;
    let bytes = (figure(lots, "/resident_bytes")? - figure(few, "/resident_bytes")?) / wallets;
    Ok(Row {
        name: format!("memory per wallet at rest, {} wallets", grouped(figure(lots, "/wallets")?)),
        measured: format!("{bytes:.0} bytes"),
        compared: format!(
            "with {FEW_WALLETS}: {:.0} MiB in all",
            figure(few, "/resident_bytes")? / 1_048_576.0
        ),
        ratio: None,
        target: format!("≤ {BYTES_PER_WALLET_TARGET} bytes"),
        met: Some(bytes <= BYTES_PER_WALLET_TARGET),
        details: json!({ "few": few, "lots": lots }),
    })
}

/// The few wallets show what the replay costs: a start without anything to replay is next to nothing there.
fn restart(few: &Value, few_again: &[Value], lots: &Value, lots_again: &Value) -> Result<Row> {
    let payments = figure(few, "/payments_to_replay")?;
    let starts = summary(few_again.iter().map(|again| figure(again, "/start_seconds")))?;
    let replayed = payments / (starts.median() - figure(few, "/start_seconds")?);
    Ok(Row {
        name: format!("restart after a crash, {} wallets", grouped(figure(lots, "/wallets")?)),
        measured: format!(
            "{:.1} s with {} payments above the snapshot; {:.1} s the first time",
            figure(lots_again, "/start_seconds")?,
            grouped(figure(lots, "/payments_to_replay")?),
            figure(lots, "/start_seconds")?
        ),
        compared: format!("replay, {FEW_WALLETS} wallets: {} records/s", grouped(replayed)),
        ratio: None,
        target: format!("≥ {} records/s", grouped(REPLAY_PER_SECOND_TARGET)),
        met: Some(replayed >= REPLAY_PER_SECOND_TARGET),
        details: json!({ "few": few_again, "lots": lots_again }),
    })
}

fn latency(rounds: &[(Value, Value)]) -> Result<Row> {
    let few = summary(rounds.iter().map(|(few, _)| figure(few, "/open/p99")))?;
    let lots = summary(rounds.iter().map(|(_, lots)| figure(lots, "/open/p99")))?;
    let ratio = lots.median() / few.median();
    let millis = |of: &Summary| format!("{:.2} ms ({:.2}–{:.2})", of.median(), of.min(), of.max());
    Ok(Row {
        name: format!("p99 at {RATE}/s, {} wallets, engine", grouped(figure(&rounds[0].1, "/wallets")?)),
        measured: millis(&lots),
        compared: format!("with {FEW_WALLETS}: {}", millis(&few)),
        ratio: Some(ratio),
        target: format!("≤ {P99_RATIO_TARGET}"),
        met: Some(ratio <= P99_RATIO_TARGET),
        details: rounds
            .iter()
            .map(|(few, lots)| json!({ "few": few["open"], "lots": lots["open"] }))
            .collect(),
    })
}

fn snapshot(lots: &Value) -> Result<Row> {
    let ratio = figure(lots, "/open_with_snapshot/p99")? / figure(lots, "/open_as_long/p99")?;
    let longer = figure(lots, "/open_with_snapshot/max")? - figure(lots, "/open_as_long/max")?;
    Ok(Row {
        name: format!(
            "the same while a snapshot is taken ({:.0} MB)",
            figure(lots, "/snapshot_bytes")? / 1e6
        ),
        measured: format!(
            "p99 {:.2} ms, longest {:.0} ms",
            figure(lots, "/open_with_snapshot/p99")?,
            figure(lots, "/open_with_snapshot/max")?
        ),
        compared: format!(
            "without, for as long: p99 {:.2} ms, longest {:.0} ms",
            figure(lots, "/open_as_long/p99")?,
            figure(lots, "/open_as_long/max")?
        ),
        ratio: Some(ratio),
        target: format!("≤ {SNAPSHOT_P99_TARGET}, longest + {SNAPSHOT_MAX_MILLIS_TARGET} ms"),
        met: Some(ratio <= SNAPSHOT_P99_TARGET && longer <= SNAPSHOT_MAX_MILLIS_TARGET),
        details: json!({
            "seconds": lots["snapshot_seconds"],
            "with": lots["open_with_snapshot"],
            "without": lots["open_as_long"],
        }),
    })
}

fn kept(keys: &Value) -> Result<Row> {
    Ok(Row {
        name: format!("{} idempotency keys on disk", grouped(figure(keys, "/keys")?)),
        measured: format!(
            "{:.0} MiB of memory ({:.0} MiB while runs are joined), {:.1} GB of disk",
            figure(keys, "/resident_bytes")? / 1_048_576.0,
            figure(keys, "/most_bytes")? / 1_048_576.0,
            figure(keys, "/disk_bytes")? / 1e9
        ),
        compared: format!(
            "a new key {:.1} µs, a used one {:.0} µs; {} keys/s moved",
            figure(keys, "/lookup_new_micros")?,
            figure(keys, "/lookup_old_micros")?,
            grouped(figure(keys, "/keys")? / figure(keys, "/fill_seconds")?)
        ),
        ratio: None,
        target: String::new(),
        met: None,
        details: keys.clone(),
    })
}

/// Runs one stage to its end and reads its line.
fn stage(program: &Path, name: &str, dir: &Path, arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new(program);
    command.arg(name).arg("--dir").arg(dir).args(arguments);
    let output = command.output().context("cannot start `scale`")?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "`scale {name}` ended with {}: {stdout}{stderr}", output.status);
    serde_json::from_str(&stdout).with_context(|| format!("not a line of JSON: {stdout}"))
}

fn summary(rounds: impl Iterator<Item = Result<f64>>) -> Result<Summary> {
    Ok(Summary::new(rounds.collect::<Result<_>>()?))
}

fn figure(line: &Value, pointer: &str) -> Result<f64> {
    let number = line.pointer(pointer).and_then(Value::as_f64);
    number.with_context(|| format!("no number `{pointer}` in {line}"))
}
