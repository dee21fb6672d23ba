//! Log bytes per payment and the speed of a full replay, on a log of very many single payments.

use anyhow::{Context, Result, ensure};
use loadtest::{Answer, Next, Payer, Payments, Plan, Target, Workload, run};
use serde_json::{Value, json};

use super::{Bed, Settings, data_dir};
use crate::report::Row;
use crate::server::{Server, node_json};
use crate::summary::grouped;

const CONNECTIONS: usize = 256;
/// Payments before the measured ones.
const WARM_UP_PAYMENTS: u64 = 1_000;
const BYTES_PER_PAYMENT_TARGET: f64 = 200.0;
const RECORDS_PER_SECOND_TARGET: f64 = 2_000_000.0;

/// Snapshots only at a stop, so that a crash leaves the whole log to be replayed.
const NO_SNAPSHOTS: [(&str, &str); 1] = [("AGENTPAY__SNAPSHOT__EVERY_SECONDS", "0")];

pub(super) fn measure(settings: &Settings) -> Result<Vec<Row>> {
    let bed = Bed::start(settings)?;
    let payers = bed.populate()?;
    let Bed { node, dir } = bed;
    let data = data_dir(&dir);
    node.stop()?;

    let node = Server::node_with(&settings.node, &data, &NO_SNAPSHOTS)?;
    // A restart goes on in a new segment: positions are compared within it, so that the jump does not count as bytes.
    fill(&node.target, &payers, settings.seed + 1, WARM_UP_PAYMENTS)?;
    let begin = end_of_log(&node_json(&settings.node, &["wal", "stat"], &data)?)?;
    fill(&node.target, &payers, settings.seed, settings.replay_payments)?;
    node.kill()?;
    let end = end_of_log(&node_json(&settings.node, &["wal", "stat"], &data)?)?;
    let batches = node_json(&settings.node, &["wal", "verify"], &data)?;
    let per_batch = number(&batches, "records")? / number(&batches, "batches")?;
    let crashed = Server::node_with(&settings.node, &data, &NO_SNAPSHOTS)?;
    let replay_seconds = crashed.ready_after.as_secs_f64();
    let stop_seconds = crashed.stop()?.as_secs_f64();
    let check = node_json(&settings.node, &["check"], &data)?;
    let stopped = Server::node(&settings.node, &data)?;
    let restart_seconds = stopped.ready_after.as_secs_f64();
    stopped.stop()?;

    let count = settings.replay_payments as f64;
    let bytes = (end - begin) as f64 / count;
    let replayed = count / replay_seconds;
    let proved = number(&check, "records")? / number(&check, "seconds")?;
    let details = json!({
        "payments": settings.replay_payments, "log_bytes": end - begin, "check": check,
        "replay_seconds": replay_seconds, "stop_seconds": stop_seconds, "restart_seconds": restart_seconds,
    });
    Ok(vec![
        Row {
            name: format!("log bytes per payment, {} single payments", grouped(count)),
            measured: format!("{bytes:.0} bytes"),
            compared: format!("{per_batch:.1} records per group commit"),
            ratio: None,
            target: format!("< {BYTES_PER_PAYMENT_TARGET} bytes"),
            met: Some(bytes < BYTES_PER_PAYMENT_TARGET),
            details: details.clone(),
        },
        Row {
            name: format!("restart after a crash with {} payments above the snapshot", grouped(count)),
            measured: format!("ready after {replay_seconds:.2} s, {} records/s", grouped(replayed)),
            compared: format!(
                "after a stop: ready after {restart_seconds:.2} s; `agentpay check`: {} records/s",
                grouped(proved)
            ),
            ratio: None,
            target: format!("≥ {} records/s", grouped(RECORDS_PER_SECOND_TARGET)),
            met: Some(replayed >= RECORDS_PER_SECOND_TARGET),
            details,
        },
    ])
}

/// As many single payments as asked for, over all connections.
fn fill(target: &Target, payers: &[Payer], seed: u64, count: u64) -> Result<()> {
    let mut payments = Limited { inner: Payments::new(target, payers, seed), left: count };
    let outcome = run(&Plan::exhaust(target.clone(), CONNECTIONS), &mut payments)?;
    ensure!(outcome.is_clean(), "filling the log: not every payment succeeded\n{outcome}");
    ensure!(outcome.succeeded == count, "only {} payments were made", outcome.succeeded);
    Ok(())
}

/// A workload that ends after a number of requests.
struct Limited<W> {
    inner: W,
    left: u64,
}

impl<W: Workload> Workload for Limited<W> {
    fn next(&mut self, connection: usize, request: &mut Vec<u8>) -> Next {
        if self.left == 0 {
            return Next::Finished;
        }
        self.left -= 1;
        self.inner.next(connection, request)
    }

    fn answered(&mut self, connection: usize, answer: Answer<'_>) {
        self.inner.answered(connection, answer);
    }
}

fn end_of_log(stat: &Value) -> Result<u64> {
    stat["end"].as_u64().with_context(|| format!("`agentpay wal stat --json` has no `end`: {stat}"))
}

fn number(report: &Value, field: &str) -> Result<f64> {
    report[field].as_f64().with_context(|| format!("the node's report has no `{field}`: {report}"))
}
