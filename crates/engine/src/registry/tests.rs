use std::{num::NonZeroU32, sync::Arc, time::Duration};

use ledger::{FundCommand, Timestamp};
use snapshot::FileStore;
use wal::testing::MemoryStorage;

use crate::{Activation, AgentMeter, Caller, Clock, Engine, Entropy, NewAgent, Options, Status};

use super::*;

const AT: Timestamp = Timestamp::from_millis(1);

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        AT
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("random bytes");
    }
}

/// An engine that sweeps only when the test does.
async fn engine(directory: &tempfile::TempDir) -> Engine {
    let hour = Duration::from_secs(3_600);
    let activation = Activation::Every(NonZeroU32::MIN);
    let options =
        Options { idle_after: hour, snapshot_every: Duration::ZERO, activation, ..Options::default() };
    let snapshots = FileStore::open(directory.path()).expect("a directory");
    let storage = Arc::new(MemoryStorage::new());
    let (clock, entropy) = (Arc::new(Fixed), Arc::new(Fixed));
    let started = Engine::start(options, storage, Arc::new(snapshots), None, clock, entropy, Status::new());
    started.await.expect("started")
}

async fn party(engine: &Engine) -> (Caller, WalletId) {
    let new = NewAgent {
        name: "a".into(),
        operator: "self".into(),
        metadata: None,
        public_key: [0; 32],
        keys: Vec::new(),
        at: AT,
    };
    let agent = engine.create_agent(new).await.expect("created");
    (Caller { agent: agent.id, meter: Arc::new(AgentMeter::default()) }, agent.wallets[0])
}

/// A wallet that wakes up between two sweeps, again and again, is watched once.
#[tokio::test]
async fn a_wallet_is_watched_once_however_often_it_comes_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = engine(&directory).await;
    let (caller, wallet) = party(&engine).await;
    let registry = &engine.shared().registry;
    // The housekeeper's first tick comes at once, so it is over when a later timer fires.
    tokio::time::sleep(Duration::from_millis(20)).await;
    for round in 0..5 {
        let (agent, amount) = (caller.agent, Amount::from_nanos(1));
        let command = FundCommand { caller: agent, wallet, amount, key: None, at: AT };
        engine.fund(&caller, command).await.expect("funded");
        assert_eq!(registry.active_len(), 1);
        registry.sweep();
        assert_eq!(registry.active.lock().as_slice(), [wallet], "round {round}");
        registry.sweep();
        while registry.active_len() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(registry.at_rest(wallet, |_| ()).is_some());
    }
    registry.sweep();
    assert_eq!(registry.active.lock().len(), 0, "a wallet at rest is watched no more");
}
