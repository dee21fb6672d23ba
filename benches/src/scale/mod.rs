//! Scale of state, on the engine without HTTP: many wallets, restarts, snapshots under load, many idempotency keys.
//!
//! Role: the parts of the program `scale`, which `bench` runs stage by stage, each in a process of its own, so that one
//! stage's memory and caches are not another's.
//! How state of ten million wallets is made: `made` writes a snapshot generation with that many rows beside an empty log,
//! as a node would have written it; opening them one by one takes an hour on two cores. Everything that is measured is
//! then done by the engine.

pub mod keys;
pub mod load;
pub mod made;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::{Engine, KeyOptions, Options, StartError, Status};
use ledger::Amount;
use rustix::thread::disable_transparent_huge_pages;

use crate::machine::field;
use crate::system::{SystemClock, SystemEntropy};

/// The engine on the state in `dir`, without a history index and with snapshots only on demand.
pub async fn start(dir: &Path, keys_in_memory: Option<u64>) -> Result<Engine, StartError> {
    let (log, snapshots) = (dir.join("log"), dir.join("snapshots"));
    std::fs::create_dir_all(&log).expect("the directory can be made");
    let storage = Arc::new(wal::FileStorage::open(&log)?);
    let snapshots = Arc::new(snapshot::FileStore::open(&snapshots)?);
    let mut options = Options { snapshot_every: Duration::ZERO, ..Options::default() };
    options.rules.faucet_cap = Amount::MAX;
    let in_memory_max = keys_in_memory.unwrap_or(options.keys.in_memory_max);
    options.keys = KeyOptions { directory: Some(dir.join("keys")), in_memory_max, ..options.keys };
    let (clock, entropy) = (Arc::new(SystemClock::default()), Arc::new(SystemEntropy));
    let engine = Engine::start(options, storage, snapshots, None, clock, entropy, Status::new()).await?;
    // As a node does once it serves.
    disable_transparent_huge_pages(true).expect("Linux has huge pages and can do without them");
    Ok(engine)
}

/// Resident memory of this process and the most it ever was, in bytes.
pub fn resident_bytes() -> (u64, u64) {
    let kib = |name| {
        let text = field("/proc/self/status", name).expect("the kernel says so");
        text.trim_end_matches("kB").trim().parse::<u64>().expect("a number of kB")
    };
    (kib("VmRSS") * 1024, kib("VmHWM") * 1024)
}
