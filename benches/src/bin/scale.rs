//! One stage of the measurements of scale; prints one line of JSON. See `benches::scale`.
//!
//! `scale make --dir DIR --wallets N`, then `scale open …` and `scale run …` as often as wanted, which leave the log as a
//! crash would; `scale keys --dir DIR --keys N`.

#![expect(clippy::print_stdout, reason = "the figures are the output of this program")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::scale::load::{Load, Outcome};
use benches::scale::{keys, made, resident_bytes, start};
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    stage: Stage,
}

#[derive(Subcommand)]
enum Stage {
    /// Writes the state of that many wallets.
    Make {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        wallets: u64,
    },
    /// Starts on it, measures memory and, unless the window is zero, payments and a snapshot under them.
    Run {
        #[command(flatten)]
        on: On,
        /// Payments per second of the open loop [default: half of what the closed loop reached]
        #[arg(long)]
        rate: Option<f64>,
        #[arg(long)]
        keys_in_memory: Option<u64>,
    },
    /// Starts on it and measures nothing but payments at a rate.
    Open {
        #[command(flatten)]
        on: On,
        /// Payments per second.
        #[arg(long)]
        rate: f64,
    },
    /// Keeps so many idempotency keys on disk.
    Keys {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        keys: u64,
        #[arg(long, default_value_t = 1_000)]
        per_second: u64,
    },
}

/// A state that was made, and for how long it is paid with.
#[derive(Args)]
struct On {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    wallets: u64,
    /// Length of each window in seconds.
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
}

/// Memory counts once freed pages are back with the system.
const SETTLED_AFTER: Duration = Duration::from_secs(4);
const CLIENTS: u64 = 64;
const WARM_UP: Duration = Duration::from_secs(2);

fn main() -> Result<()> {
    let line = match Arguments::parse().stage {
        Stage::Make { dir, wallets } => {
            let begun = Instant::now();
            made::make(&dir, wallets)?;
            json!({ "stage": "make", "wallets": wallets, "seconds": begun.elapsed().as_secs_f64() })
        }
        Stage::Run { on, rate, keys_in_memory } => runtime()?.block_on(run(&on, rate, keys_in_memory))?,
        Stage::Open { on, rate } => runtime()?.block_on(open(&on, rate))?,
        Stage::Keys { dir, keys, per_second } => keys::fill(&dir, keys, per_second)?,
    };
    println!("{line}");
    // As a crash would: no last snapshot, so that the next start replays the log.
    std::process::exit(0);
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

async fn open(on: &On, rate: f64) -> Result<Value> {
    let engine = start(&on.dir, None).await.context("the engine does not start")?;
    let load = Load::after_start(engine, on.wallets);
    load.seeded(1).open(rate, WARM_UP).await;
    let open = load.seeded(2).open(rate, Duration::from_secs_f64(on.seconds)).await;
    Ok(json!({ "stage": "open", "wallets": on.wallets, "rate": rate, "open": figures(&open) }))
}

async fn run(on: &On, rate: Option<f64>, keys_in_memory: Option<u64>) -> Result<Value> {
    let empty = resident_bytes().0;
    let begun = Instant::now();
    let engine = start(&on.dir, keys_in_memory).await.context("the engine does not start")?;
    let start_seconds = begun.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLED_AFTER).await;
    let (resident, most) = resident_bytes();
    let mut line = json!({
        "stage": "run", "wallets": on.wallets, "start_seconds": start_seconds, "empty_bytes": empty,
        "resident_bytes": resident, "most_bytes": most, "log_bytes": engine.gauges().durable_lsn,
    });
    if on.seconds > 0.0 {
        let window = Duration::from_secs_f64(on.seconds);
        let load = Load::after_start(engine.clone(), on.wallets);
        load.seeded(1).closed(CLIENTS, window / 4).await;
        let closed = load.seeded(2).closed(CLIENTS, window).await;
        let rate = rate.unwrap_or(closed.per_second() / 2.0);
        let (snapshot, snapshot_seconds, under) = snapshot_under_load(&load.seeded(4), rate, window).await?;
        // For as long as the snapshot took: what happens once in some seconds is in both or in neither.
        let beside = load.seeded(6).open(rate, Duration::from_secs_f64(under.seconds)).await;
        let gauges = engine.gauges();
        // What the next start has to replay: all that followed the begin of the snapshot, and more of it.
        let behind = load.seeded(5).closed(CLIENTS, window).await.latency.len();
        line["payments_to_replay"] = json!(under.latency.len() + beside.latency.len() + behind);
        line["closed"] = figures(&closed);
        line["rate"] = json!(rate);
        line["open_with_snapshot"] = figures(&under);
        line["open_as_long"] = figures(&beside);
        line["snapshot_seconds"] = json!(snapshot_seconds);
        line["snapshot_bytes"] = json!(snapshot);
        line["keys_in_memory"] = json!(gauges.keys_in_memory);
        line["keys_on_disk"] = json!(gauges.keys_on_disk);
        line["resident_after_bytes"] = json!(resident_bytes().0);
    }
    Ok(line)
}

/// Payments at `rate` for as long as a snapshot takes, at least `window`.
async fn snapshot_under_load(load: &Load, rate: f64, window: Duration) -> Result<(u64, f64, Outcome)> {
    let engine = load.engine.clone();
    let taking = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let begun = Instant::now();
        let generation = engine.snapshot_now().await;
        (generation, begun.elapsed().as_secs_f64())
    });
    let mut outcome = load.open(rate, window).await;
    let mut load = load.clone();
    while !taking.is_finished() {
        // Other keys every time: those of the window before would be answered again, from disk, instead of paid.
        load.seed = load.seed.wrapping_add(1 << 40);
        let more = load.open(rate, window / 4).await;
        outcome.latency.add(more.latency)?;
        outcome.seconds += more.seconds;
    }
    let (generation, seconds) = taking.await?;
    Ok((generation?.bytes, seconds, outcome))
}

fn figures(outcome: &Outcome) -> Value {
    json!({
        "per_second": outcome.per_second(), "p50": outcome.millis_at(0.5), "p99": outcome.millis_at(0.99),
        "p999": outcome.millis_at(0.999), "max": outcome.millis_at(1.0),
    })
}
