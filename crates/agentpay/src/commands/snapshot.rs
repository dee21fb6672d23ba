//! `agentpay snapshot now|list|verify`.

use crate::config::Config;
use crate::control::{self, Asked, Reply, Request};
use crate::data_dir::DataDir;
use crate::exit::{Exit, Failure, chain};
use crate::node;
use crate::output::{Output, table};
use ledger::Timestamp;
use serde::{Deserialize, Serialize};
use snapshot::{Generation, SnapshotStore};
use std::time::Duration;

/// One snapshot generation, as printed and as told over the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GenerationLine {
    id: u64,
    created_at: String,
    /// Position at which replay starts.
    start: u64,
    /// Everything in it is at or below this position.
    covers: u64,
    wallets: u64,
    agents: u64,
    bytes: u64,
    /// BLAKE3, hexadecimal.
    digest: String,
    sums: Vec<SumLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SumLine {
    currency: String,
    /// Decimal text.
    wallets: String,
}

impl GenerationLine {
    pub(crate) fn of(generation: &Generation) -> GenerationLine {
        let summary = &generation.summary;
        GenerationLine {
            id: generation.id,
            created_at: rfc3339(generation.created_at),
            start: summary.start,
            covers: summary.covers,
            wallets: summary.wallets,
            agents: summary.agents,
            bytes: generation.bytes,
            digest: generation.digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            sums: summary
                .sums
                .iter()
                .map(|(currency, sum)| SumLine { currency: currency.to_string(), wallets: sum.to_string() })
                .collect(),
        }
    }

    fn row(&self) -> Vec<String> {
        [
            self.id.to_string(),
            self.created_at.clone(),
            self.start.to_string(),
            self.covers.to_string(),
            self.wallets.to_string(),
            self.agents.to_string(),
            self.bytes.to_string(),
        ]
        .to_vec()
    }
}

const HEADER: [&str; 7] = ["id", "created_at", "start", "covers", "wallets", "agents", "bytes"];

/// A generation that is there but cannot be used.
#[derive(Serialize)]
struct DamagedLine {
    id: u64,
    error: String,
}

#[derive(Serialize)]
struct Listed {
    snapshots: Vec<GenerationLine>,
    damaged: Vec<DamagedLine>,
}

/// How long an offline snapshot waits for what is under way; nothing is.
const OFFLINE_DRAIN: Duration = Duration::from_secs(10);

/// Asks the running node; without one, recovers offline, takes the snapshot and closes again.
pub(crate) fn now(config: &Config, output: Output) -> Result<(), Failure> {
    let dir = DataDir::existing(&config.data.dir)?;
    let line = match control::ask(&dir, Request::Snapshot)? {
        Asked::Answered(Reply::Snapshot(line)) => line,
        Asked::Answered(Reply::Failed(why)) => return Err(Failure::new(Exit::Failure, why)),
        Asked::Answered(Reply::TokenKeys(_)) => return Err(control::wrong_answer()),
        Asked::NobodyThere => offline(config)?,
    };
    output.answer(&line, || table(&HEADER, &[line.row()]))
}

fn offline(config: &Config) -> Result<GenerationLine, Failure> {
    let owned = DataDir::own(&config.data.dir)?;
    node::runtime(config)?.block_on(async {
        let engine = node::start(config, &owned, engine::Status::new()).await?;
        let generation = engine
            .shutdown(OFFLINE_DRAIN)
            .await
            .map_err(|error| Failure::because("cannot take the snapshot", &error))?;
        Ok(GenerationLine::of(&generation))
    })
}

/// Lists what is there without reading it whole.
pub(crate) fn list(config: &Config, output: Output) -> Result<(), Failure> {
    let dir = DataDir::existing(&config.data.dir)?;
    print(&listed(&node::snapshots(&dir)?)?, output)
}

/// Reads every generation whole.
pub(crate) fn verify(config: &Config, output: Output) -> Result<(), Failure> {
    let dir = DataDir::existing(&config.data.dir)?;
    let store = node::snapshots(&dir)?;
    let mut listed = listed(&store)?;
    let found = std::mem::take(&mut listed.snapshots);
    for line in found {
        match store.verify(line.id) {
            Ok(generation) => listed.snapshots.push(GenerationLine::of(&generation)),
            Err(error) => listed.damaged.push(DamagedLine { id: line.id, error: chain(&error) }),
        }
    }
    print(&listed, output)?;
    if listed.damaged.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Corrupt,
        format!("{} of the snapshots cannot be used; the log leads to the same state", listed.damaged.len()),
    ))
}

fn listed(store: &impl SnapshotStore) -> Result<Listed, Failure> {
    let listing = store.list().map_err(|error| Failure::because("cannot list the snapshots", &error))?;
    Ok(Listed {
        snapshots: listing.generations.iter().map(GenerationLine::of).collect(),
        damaged: listing
            .damaged
            .iter()
            .map(|damaged| DamagedLine { id: damaged.id, error: chain(&damaged.error) })
            .collect(),
    })
}

fn print(listed: &Listed, output: Output) -> Result<(), Failure> {
    output.answer(listed, || {
        let rows: Vec<Vec<String>> = listed.snapshots.iter().map(GenerationLine::row).collect();
        let mut text = table(&HEADER, &rows);
        for damaged in &listed.damaged {
            text.push_str(&format!("\n{} cannot be used: {}", damaged.id, damaged.error));
        }
        text
    })
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .map_or_else(|_| format!("{} ms since 1970", at.millis()), |at| format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(Timestamp::from_millis(1_700_000_000_123)), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(Timestamp::from_millis(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(Timestamp::from_millis(i64::MAX)), format!("{} ms since 1970", i64::MAX));
    }
}
