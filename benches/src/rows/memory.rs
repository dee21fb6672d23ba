//! Resident memory per wallet at rest: a node before and after very many wallets were opened through its API.

use std::time::Duration;

use anyhow::{Result, ensure};
use loadtest::{Population, PopulationSpec};
use serde_json::json;

use super::{AGENTS, Bed, SETUP_CONNECTIONS, Settings};
use crate::report::Row;
use crate::server::Server;
use crate::summary::grouped;

const BYTES_PER_WALLET_TARGET: f64 = 250.0;
/// Actors go to rest after seconds without work; memory counts once it has stayed the same for this long.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
const SETTLE_TRIES: usize = 20;

pub(super) fn measure(settings: &Settings) -> Result<Vec<Row>> {
    let bed = Bed::start(settings)?;
    let before = settled_resident_bytes(&bed.node)?;
    let spec = PopulationSpec {
        agents: AGENTS,
        wallets_per_agent: settings.memory_wallets / AGENTS,
        fund: None,
        connections: SETUP_CONNECTIONS,
    };
    let population = Population::create(bed.target(), &spec)?;
    let wallets = population.wallets();
    ensure!(wallets == settings.memory_wallets, "{wallets} wallets were opened");
    let after = settled_resident_bytes(&bed.node)?;
    bed.node.stop()?;

    let per_wallet = after.saturating_sub(before) as f64 / wallets as f64;
    Ok(vec![Row {
        name: format!("memory per wallet at rest, {} wallets", grouped(wallets as f64)),
        measured: format!("{} bytes", grouped(per_wallet)),
        compared: format!("resident before: {} MiB", grouped(before as f64 / 1024.0 / 1024.0)),
        ratio: None,
        target: format!("< {BYTES_PER_WALLET_TARGET} bytes"),
        met: Some(per_wallet < BYTES_PER_WALLET_TARGET),
        details: json!({ "before_bytes": before, "after_bytes": after, "wallets": wallets }),
    }])
}

/// Resident memory once it no longer changes by more than half a percent, or what it is after the last try.
fn settled_resident_bytes(node: &Server) -> Result<u64> {
    let mut last = node.resident_bytes()?;
    for _ in 0..SETTLE_TRIES {
        std::thread::sleep(SETTLED_AFTER);
        let now = node.resident_bytes()?;
        if now.abs_diff(last) <= last / 200 {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}
