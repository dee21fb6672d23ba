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

use engine::{Clock, Engine, Entropy, KeyOptions, Options, StartError, Status};
use ledger::{Amount, Timestamp};

use crate::machine::field;

pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        Timestamp::from_millis(i64::try_from(since.as_millis()).expect("in range"))
    }

    fn monotonic(&self) -> Duration {
        static BEGUN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        BEGUN.get_or_init(std::time::Instant::now).elapsed()
    }
}

struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the system has random bytes");
    }
}

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
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    Engine::start(options, storage, snapshots, None, clock, entropy, Status::new()).await
}

/// Resident memory of this process and the most it ever was, in bytes.
pub fn resident_bytes() -> (u64, u64) {
    let kib = |name| {
        let text = field("/proc/self/status", name).expect("the kernel says so");
        text.trim_end_matches("kB").trim().parse::<u64>().expect("a number of kB")
    };
    (kib("VmRSS") * 1024, kib("VmHWM") * 1024)
}
