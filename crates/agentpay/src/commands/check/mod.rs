//! `agentpay check`: replays the whole log twice and proves every balance and sum.
//!
//! First the proof: plain sums with arithmetic of its own. Then the audit: the engine's recovery from the first record,
//! compared wallet by wallet with what the newest snapshot and the log above it lead to, and with the proof. Needs no
//! lock and changes nothing, so it also runs beside a node; it then sees everything up to the moment it began.

mod proof;

use crate::config::Config;
use crate::control;
use crate::data_dir::DataDir;
use crate::exit::{Exit, Failure};
use crate::node;
use crate::output::Output;
use crate::read_only::ReadOnlyStorage;
use engine::{Audit, StartError};
use ledger::{Amount, Rules};
use proof::Proof;
use serde::Serialize;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;
use wal::{FileStorage, Log, ReplayError};

/// What was found, as printed.
#[derive(Debug, Serialize)]
struct Report {
    proved: bool,
    records: u64,
    /// Time of the proof: reading, verifying and adding up every record.
    seconds: f64,
    records_per_second: f64,
    /// Time of the audit: the engine's recovery from the first record and from the newest snapshot.
    audit_seconds: f64,
    /// End of the log that was read.
    end: u64,
    wallets: u64,
    agents: u64,
    /// Payment tokens whose hold stands.
    open_tokens: u64,
    /// Payments of which something was claimed back.
    claims: u64,
    /// Disputes that have not ended.
    open_disputes: u64,
    /// Snapshot that leads to the same state; none when there is none.
    snapshot: Option<u64>,
    trial_balance: Vec<Row>,
    findings: Vec<String>,
    more_findings: u64,
    /// Whether a node runs on the directory, so that the log may have grown since.
    beside_running_node: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    currency: String,
    account: &'static str,
    /// Decimal text.
    sum: String,
}

/// Tries beside a running node: its last batch may be seen half written once, hardly twice.
const TRIES: u32 = 5;

pub(crate) fn check(config: &Config, output: Output) -> Result<(), Failure> {
    let dir = DataDir::existing(&config.data.dir)?;
    let is_running = control::is_running(&dir);
    if is_running && !output.is_json() {
        output.line("a node runs on this directory: reading beside it, up to what is in the log now")?;
    }
    let mut tries = if is_running { TRIES } else { 1 };
    let report = loop {
        tries -= 1;
        match report(config, &dir, is_running) {
            Err(failure) if tries > 0 && failure.exit == Exit::Corrupt => continue,
            other => break other?,
        }
    };
    output.answer(&report, || text(&report))?;
    if report.proved {
        return Ok(());
    }
    let count = report.findings.len() as u64 + report.more_findings;
    Err(Failure::new(
        Exit::Disproved,
        format!(
            "{count} findings: balances or sums do not follow from the log; stop the node and keep the files"
        ),
    ))
}

fn report(config: &Config, dir: &DataDir, beside_running_node: bool) -> Result<Report, Failure> {
    let storage = FileStorage::open_existing(dir.log()).map_err(|error| node::log_failure(&error))?;
    let options = node::wal_options(config).map_err(node::refused)?;
    let rules = node::rules(config).map_err(node::refused)?;
    let log = Log::open(Arc::new(ReadOnlyStorage::new(storage)), options)
        .map_err(|error| node::log_failure(&error))?;

    let begun = Instant::now();
    let mut proof = prove(&log)?;
    let seconds = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    // The engine asserts what the proof finds: on a log that is disproved already it would end the process.
    let audited = if proof.findings.is_empty() { audit(&log, dir, &rules, &mut proof)? } else { None };
    let audit_seconds = begun.elapsed().as_secs_f64();

    #[expect(clippy::cast_precision_loss, reason = "a rate for people; records stay far below 2^52")]
    let records_per_second = proof.records as f64 / seconds.max(1e-9);
    Ok(Report {
        proved: proof.findings.is_empty(),
        records: proof.records,
        seconds,
        records_per_second,
        audit_seconds,
        end: log.end().get(),
        wallets: proof.wallets(),
        agents: proof.agents,
        open_tokens: proof.open_tokens(),
        claims: proof.claims(),
        open_disputes: proof.open_disputes(),
        snapshot: audited.and_then(|audit| audit.snapshot),
        trial_balance: rows(&proof),
        findings: proof.findings,
        more_findings: proof.more_findings,
        beside_running_node,
    })
}

fn prove(log: &Log) -> Result<Proof, Failure> {
    let mut proof = Proof::default();
    let replayed = log.replay(log.begin(), |lsn, payload| {
        proof.record(lsn, payload);
        Ok::<(), Infallible>(())
    });
    match replayed {
        Ok(_) => {}
        Err(ReplayError::Log(error)) => return Err(node::log_failure(&error)),
        Err(ReplayError::Visit(never)) => match never {},
    }
    proof.close();
    Ok(proof)
}

fn audit(log: &Log, dir: &DataDir, rules: &Rules, proof: &mut Proof) -> Result<Option<Audit>, Failure> {
    match engine::audit(log, &node::snapshots(dir)?, rules) {
        Ok(audit) => {
            compare(proof, &audit);
            Ok(Some(audit))
        }
        Err(StartError::Unbalanced { end }) => {
            proof.finding(format!("the engine's accounts do not add up to zero at {end}"));
            Ok(None)
        }
        Err(error) => Err(node::start_failure(&error)),
    }
}

/// The engine's outcome must be the proof's outcome.
fn compare(proof: &mut Proof, audit: &Audit) {
    for finding in &audit.findings {
        proof.finding(finding.clone());
    }
    let counts = [
        ("records", proof.records, audit.records),
        ("wallets", proof.wallets(), audit.wallets),
        ("agents", proof.agents, audit.agents),
        ("open tokens", proof.open_tokens(), audit.open_tokens),
        ("claims", proof.claims(), audit.claims),
        ("open disputes", proof.open_disputes(), audit.open_disputes),
    ];
    for (what, proved, found) in counts {
        if proved != found {
            proof.finding(format!("the log has {proved} {what}, the engine counts {found}"));
        }
    }
    let mut found: BTreeMap<_, i128> = BTreeMap::new();
    for row in &audit.trial_balance.rows {
        *found.entry((row.currency, row.account)).or_default() += row.sum.nanos();
    }
    let mut proved = proof.trial_balance();
    found.retain(|_, sum| *sum != 0);
    proved.retain(|_, sum| *sum != 0);
    if found != proved {
        proof.finding(format!("the engine's sums {found:?} are not those of the log {proved:?} (10^-9)"));
    }
}

fn rows(proof: &Proof) -> Vec<Row> {
    proof
        .trial_balance()
        .into_iter()
        .map(|((currency, account), sum)| Row {
            currency: currency.to_string(),
            account,
            sum: Amount::from_nanos(sum).to_string(),
        })
        .collect()
}

fn text(report: &Report) -> String {
    let mut text = format!(
        "{} records up to {}: {} wallets, {} agents, {} open tokens, {} claims, {} open disputes, in {:.2} s ({:.0} \
         records/s); audit {:.2} s",
        report.records,
        report.end,
        report.wallets,
        report.agents,
        report.open_tokens,
        report.claims,
        report.open_disputes,
        report.seconds,
        report.records_per_second,
        report.audit_seconds
    );
    for row in &report.trial_balance {
        text.push_str(&format!("\n  {} {:<8} {}", row.currency, row.account, row.sum));
    }
    match report.snapshot {
        Some(id) => text.push_str(&format!("\nsnapshot {id} and the log above it lead to the same state")),
        None => text.push_str("\nthere is no snapshot to compare with"),
    }
    for finding in &report.findings {
        text.push_str(&format!("\nFINDING {finding}"));
    }
    if report.proved {
        text.push_str("\nevery record sums to zero, no balance is below zero but for debts from disputes, all accounts sum to zero");
    }
    text
}

#[cfg(test)]
mod tests;
