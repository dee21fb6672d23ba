//! `agentpay wal stat|verify|dump`: looks at the log without taking its lock and without changing it. Beside a running
//! node these show a moment of it.

use crate::cli::Dump;
use crate::commands::snapshot::rfc3339;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::exit::{Exit, Failure, chain};
use crate::node;
use crate::output::{Output, table};
use journal::Owner;
use serde::Serialize;
use std::sync::Arc;
use wal::offline::{self, Report, Stat};
use wal::{FileStorage, Lsn, ReplayError};

#[derive(Serialize)]
struct StatLine {
    segments: u64,
    segment_bytes: u64,
    segments_ready: u64,
    /// First position that a batch begins at.
    begin: u64,
    /// End of the valid prefix.
    end: u64,
    /// Bytes of log between the two: frames and payloads.
    used_bytes: u64,
}

impl StatLine {
    fn of(stat: &Stat) -> StatLine {
        StatLine {
            segments: stat.segments,
            segment_bytes: stat.segment_bytes,
            segments_ready: stat.segments_ready,
            begin: stat.begin.get(),
            end: stat.durable.get(),
            used_bytes: stat.durable.get() - stat.begin.get(),
        }
    }

    fn rows(&self) -> Vec<Vec<String>> {
        [
            ("segments", self.segments),
            ("segment_bytes", self.segment_bytes),
            ("segments_ready", self.segments_ready),
            ("begin", self.begin),
            ("end", self.end),
            ("used_bytes", self.used_bytes),
        ]
        .into_iter()
        .map(|(name, figure)| vec![name.to_owned(), figure.to_string()])
        .collect()
    }
}

/// The log of a data directory and the options to read it with.
fn log(config: &Config) -> Result<(Arc<FileStorage>, wal::Options), Failure> {
    let dir = DataDir::existing(&config.data.dir)?;
    let storage = FileStorage::open_existing(dir.log()).map_err(|error| node::log_failure(&error))?;
    Ok((Arc::new(storage), node::wal_options(config).map_err(node::refused)?))
}

pub(crate) fn stat(config: &Config, output: Output) -> Result<(), Failure> {
    let (storage, options) = log(config)?;
    let line = StatLine::of(&offline::stat(storage, options).map_err(|error| node::log_failure(&error))?);
    output.answer(&line, || table(&["log", ""], &line.rows()))
}

#[derive(Serialize)]
struct Verified {
    sound: bool,
    batches: u64,
    records: u64,
    /// What an interrupted write left behind the end; recovery passes it over.
    torn_tail: Option<String>,
    damage: Option<String>,
    log: StatLine,
}

pub(crate) fn verify(config: &Config, output: Output) -> Result<(), Failure> {
    let (storage, options) = log(config)?;
    let report = offline::verify(storage, options).map_err(|error| node::log_failure(&error))?;
    let verified = judged(&report);
    output.answer(&verified, || {
        let mut text = format!("{} records in {} batches are sound", verified.records, verified.batches);
        if let Some(torn) = &verified.torn_tail {
            text.push_str(&format!("\n{torn}"));
        }
        text
    })?;
    match &report.corruption {
        None => Ok(()),
        Some(error) => Err(Failure::new(
            Exit::Corrupt,
            format!(
                "{}; everything before it is sound. Restore the data directory from a backup",
                chain(error)
            ),
        )),
    }
}

fn judged(report: &Report) -> Verified {
    Verified {
        sound: report.corruption.is_none(),
        batches: report.batches,
        records: report.records,
        torn_tail: report.torn.map(|wal::offline::TornTail { segment, from, to }| {
            format!("segment {segment} ends in an unfinished write from {from} to {to}, as a crash leaves it")
        }),
        damage: report.corruption.as_ref().map(|error| chain(error)),
        log: StatLine::of(&report.stat),
    }
}

#[derive(Serialize)]
struct RecordLine {
    lsn: u64,
    bytes: usize,
    kind: &'static str,
    owner: String,
    at: String,
    /// The decoded record, in the program's own notation; not a format to parse.
    record: String,
}

/// Why a dump ends before the log does.
enum Ended {
    Enough,
    Failed(Failure),
}

pub(crate) fn dump(config: &Config, wanted: &Dump, output: Output) -> Result<(), Failure> {
    let (storage, options) = log(config)?;
    let from = Lsn::new(wanted.from.unwrap_or(0));
    let mut left = wanted.limit;
    let dumped = offline::dump(storage, options, from, |lsn, payload| {
        if left == 0 {
            return Err(Ended::Enough);
        }
        left -= 1;
        print(lsn, payload, output).map_err(Ended::Failed)
    });
    match dumped {
        Ok(_) | Err(ReplayError::Visit(Ended::Enough)) => Ok(()),
        Err(ReplayError::Visit(Ended::Failed(failure))) => Err(failure),
        Err(ReplayError::Log(error)) => Err(node::log_failure(&error)),
    }
}

fn print(lsn: Lsn, payload: &[u8], output: Output) -> Result<(), Failure> {
    let unreadable = |error: journal::Error| {
        Failure::new(Exit::Corrupt, format!("the record at {lsn} cannot be read: {}", chain(&error)))
    };
    let view = journal::view(payload).map_err(unreadable)?;
    let fact = view.to_fact().map_err(unreadable)?;
    let line = RecordLine {
        lsn: lsn.get(),
        bytes: payload.len(),
        kind: view.kind().as_str(),
        owner: match view.owner() {
            Owner::Wallet(id) => id.to_string(),
            Owner::Directory(id) => id.to_string(),
            // A token's id is its sealed place; the key for that is not needed to look at the log.
            Owner::Token(reserved_at) => format!("token reserved at {reserved_at}"),
            Owner::Service(id) => id.to_string(),
            Owner::Budget(agent) => format!("budget of {agent}"),
            Owner::Clock => "clock".to_owned(),
        },
        at: rfc3339(view.at()),
        record: format!("{fact:?}"),
    };
    output.answer(&line, || {
        format!(
            "{:>12}  {}  {:<14}  {}  {} bytes  {}",
            line.lsn, line.at, line.kind, line.owner, line.bytes, line.record
        )
    })
}
