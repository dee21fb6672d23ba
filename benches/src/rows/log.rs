//! Log bytes per payment and the speed of a full replay, on a log of very many single payments.

use anyhow::{Context, Result, ensure};
use loadtest::{Answer, Next, Payments, Plan, Workload, run};
use serde_json::{Value, json};

use super::{Bed, Settings, data_dir};
use crate::report::Row;
use crate::server::{Server, node_json};
use crate::summary::grouped;

const CONNECTIONS: usize = 256;
const BYTES_PER_PAYMENT_TARGET: f64 = 250.0;
const RECORDS_PER_SECOND_TARGET: f64 = 1_000_000.0;

pub(super) fn measure(settings: &Settings) -> Result<Vec<Row>> {
    let bed = Bed::start(settings)?;
    let payers = bed.populate()?;
    let Bed { node, dir } = bed;
    let data = data_dir(&dir);
    node.stop()?;
    let before = end_of_log(&node_json(&settings.node, &["wal", "stat"], &data)?)?;

    let node = Server::node(&settings.node, &data)?;
    let mut payments = Limited {
        inner: Payments::new(&node.target, &payers, settings.seed),
        left: settings.replay_payments,
    };
    let outcome = run(&Plan::exhaust(node.target.clone(), CONNECTIONS), &mut payments)?;
    ensure!(outcome.is_clean(), "filling the log: not every payment succeeded\n{outcome}");
    let stopped_after = node.stop()?;
    let after = end_of_log(&node_json(&settings.node, &["wal", "stat"], &data)?)?;
    let check = node_json(&settings.node, &["check"], &data)?;
    let restarted = Server::node(&settings.node, &data)?;
    let ready_after = restarted.ready_after;
    restarted.stop()?;
    drop(dir);

    let count = settings.replay_payments as f64;
    let bytes = (after - before) as f64 / count;
    let records = number(&check, "records")?;
    let seconds = number(&check, "seconds")?;
    let replayed = records / seconds;
    let details = json!({
        "payments": settings.replay_payments, "log_bytes": after - before, "check": check,
        "stop_seconds": stopped_after.as_secs_f64(), "restart_seconds": ready_after.as_secs_f64(),
    });
    Ok(vec![
        Row {
            name: format!("log bytes per payment, {} single payments", grouped(count)),
            measured: format!("{bytes:.0} bytes"),
            compared: String::new(),
            ratio: None,
            target: format!("< {BYTES_PER_PAYMENT_TARGET} bytes"),
            met: Some(bytes < BYTES_PER_PAYMENT_TARGET),
            details: details.clone(),
        },
        Row {
            name: format!("full replay with proof (`agentpay check`), {} records", grouped(records)),
            measured: format!("{} records/s", grouped(replayed)),
            compared: format!("restart from the snapshot: ready after {:.2} s", ready_after.as_secs_f64()),
            ratio: None,
            target: format!("≥ {} records/s", grouped(RECORDS_PER_SECOND_TARGET)),
            met: Some(replayed >= RECORDS_PER_SECOND_TARGET),
            details,
        },
    ])
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
    report[field].as_f64().with_context(|| format!("`agentpay check --json` has no `{field}`: {report}"))
}
