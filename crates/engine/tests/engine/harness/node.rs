//! An engine under test: how it is started on a disk, stopped, and killed.

use std::{
    future::Future,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use engine::{
    Activation, AgentMeter, Audit, Caller, Engine, HistoryAt, KeyOptions, NewAgent, Options, Refusal,
    StartError, Status, WalletView,
};
use ledger::{Agent, AgentId, Amount, Currency, Key, Timestamp, WalletId};
use snapshot::{FileStore, Generation};
use testkit::{ManualClock, Random};
use tokio::runtime::Runtime;
use wal::{Log, Storage};

use super::{PATIENCE, open_wallet};

/// Arrival of the first command of a test.
const START_MS: i64 = 1_790_000_000_000;

/// Everything that a start needs and that survives a stop: the disk, the snapshots, the settings, the time.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) options: Options,
    pub(crate) clock: ManualClock,
    pub(crate) workers: usize,
    entropy: Arc<SeededEntropy>,
    snapshots: PathBuf,
    /// Where the history index is, when there is one.
    history: Option<PathBuf>,
    /// Removed with the last clone.
    directory: Arc<tempfile::TempDir>,
}

impl Setup {
    /// Small segments, so that tests cross their borders; no snapshots but those that a test takes.
    pub(crate) fn new(storage: impl Storage) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let wal = wal::Options {
            segment_bytes: 1 << 18,
            record_bytes_max: 1 << 16,
            batch_bytes_max: 1 << 16,
            ..wal::Options::default()
        };
        let options = Options {
            wal,
            snapshot_every: Duration::ZERO,
            snapshots_kept: 2,
            // The index gives way to everything else, and the tests of other modules leave it little.
            history_wait: PATIENCE,
            // Both ways to an owner, in turns.
            activation: Activation::Every(NonZeroU32::new(2).expect("not zero")),
            ..Options::default()
        };
        Self {
            storage: Arc::new(storage),
            options,
            clock: ManualClock::new(START_MS),
            workers: 2,
            entropy: Arc::new(SeededEntropy(Mutex::new(Random::new(7)))),
            snapshots: directory.path().join("snapshots"),
            history: None,
            directory: Arc::new(directory),
        }
    }

    /// The same settings and snapshots on another disk, as after a crash.
    pub(crate) fn on(&self, storage: impl Storage) -> Self {
        Self { storage: Arc::new(storage), ..self.clone() }
    }

    /// The same settings and disk with the snapshots of another directory.
    pub(crate) fn with_snapshots(&self, snapshots: &Path) -> Self {
        Self { snapshots: snapshots.to_owned(), ..self.clone() }
    }

    /// Changes the settings.
    pub(crate) fn tuned(mut self, tune: impl FnOnce(&mut Options)) -> Self {
        tune(&mut self.options);
        self
    }

    /// With a history index in the temporary directory.
    pub(crate) fn with_history(self) -> Self {
        let directory = self.directory.path().join("history");
        Self { history: Some(directory), ..self }
    }

    /// With room for so many idempotency keys in memory and a directory for the others.
    pub(crate) fn with_keys_on_disk(mut self, in_memory_max: u64) -> Self {
        let directory = Some(self.directory.path().join("keys"));
        self.options.keys = KeyOptions { directory, in_memory_max, ..KeyOptions::default() };
        self
    }

    /// With an index that has to be built from the log again.
    pub(crate) fn without_index(self) -> Self {
        let history = self.history.as_ref().expect("there was an index");
        std::fs::remove_dir_all(history).expect("nobody uses it");
        self
    }

    pub(crate) fn snapshots(&self) -> &Path {
        &self.snapshots
    }

    /// Segments that stand ready behind the one in use; nothing while the log cannot be looked at.
    pub(crate) fn segments_ready(&self) -> Option<u64> {
        wal::stat(self.storage.clone(), self.options.wal.clone()).ok().map(|stat| stat.segments_ready)
    }

    pub(crate) fn start(&self) -> Node {
        self.try_start().expect("the engine starts")
    }

    pub(crate) fn try_start(&self) -> Result<Node, StartError> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(self.workers).enable_all().build().expect("a runtime");
        let status = Status::new();
        let begun = Instant::now();
        let engine = loop {
            match runtime.block_on(self.start_on(status.clone())) {
                // The threads of a node that was killed give free what they hold a little later.
                Err(
                    StartError::Log(wal::Error::Locked { .. })
                    | StartError::History(history::Error::Locked { .. })
                    | StartError::Keys(idempotency::Error::Locked { .. }),
                ) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                started => break started?,
            }
        };
        Ok(Node { engine, status, runtime: Some(runtime), _directory: self.directory.clone() })
    }

    async fn start_on(&self, status: Status) -> Result<Engine, StartError> {
        let snapshots = FileStore::open(&self.snapshots).expect("a snapshot directory");
        let history = self.history.clone();
        let history = history.map(|directory| HistoryAt { directory, options: history::Options::default() });
        let (clock, entropy) = (Arc::new(TestClock(self.clock.clone())), self.entropy.clone());
        let (options, storage) = (self.options.clone(), self.storage.clone());
        Engine::start(options, storage, Arc::new(snapshots), history, clock, entropy, status).await
    }

    /// Compares the replay of the whole log with the newest snapshot and the log above it. The engine must be stopped.
    #[track_caller]
    pub(crate) fn audit(&self) -> Audit {
        let log = Log::open(self.storage.clone(), self.options.wal.clone()).expect("the log opens");
        let snapshots = FileStore::open(&self.snapshots).expect("a snapshot directory");
        let audit = engine::audit(&log, &snapshots, &self.options.rules).expect("the log replays");
        assert_eq!(audit.findings, Vec::<String>::new());
        audit
    }
}

/// A running engine with a runtime of its own, so that killing it takes every task along.
pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) status: Status,
    runtime: Option<Runtime>,
    /// Snapshots and index stay as long as somebody writes them.
    _directory: Arc<tempfile::TempDir>,
}

impl Node {
    /// Runs `work` to its end, which has to come.
    #[track_caller]
    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let runtime = self.runtime.as_ref().expect("present until the node goes");
        let outcome = runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await });
        outcome.expect("an answer comes")
    }

    /// Starts `work` on the engine's runtime.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.as_ref().expect("present until the node goes").spawn(work)
    }

    pub(crate) fn runtime(&self) -> tokio::runtime::Handle {
        self.runtime.as_ref().expect("present until the node goes").handle().clone()
    }

    /// An agent with one wallet in dollars.
    pub(crate) fn party(&self, name: &str) -> Party {
        self.party_with_keys(name, Vec::new())
    }

    pub(crate) fn party_with_keys(&self, name: &str, keys: Vec<Key>) -> Party {
        let agent = self.run(self.engine.create_agent(new_agent(name, keys))).expect("the agent is created");
        Party::of(&agent)
    }

    /// A further wallet of the same agent.
    pub(crate) fn another(&self, party: &Party, currency: Currency) -> Party {
        let opened = self.run(self.engine.open_wallet(&party.caller, open_wallet(currency)));
        Party { caller: party.caller.clone(), wallet: opened.expect("the wallet is opened").value.id }
    }

    pub(crate) fn wallet(&self, party: &Party) -> WalletView {
        self.run(self.engine.wallet(&party.caller, party.wallet)).expect("one's own wallet can be read")
    }

    pub(crate) fn available(&self, party: &Party) -> Amount {
        self.wallet(party).available
    }

    /// Stops in order, with a snapshot.
    pub(crate) fn shutdown(self) -> Generation {
        self.run(self.engine.shutdown(PATIENCE)).expect("an orderly end")
    }

    /// Ends without any order: tasks and threads go, nothing is drained, no snapshot is taken.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Sums of all accounts are zero in every currency.
    #[track_caller]
    pub(crate) fn check_trial_balance(&self) {
        let balance = self.engine.trial_balance();
        for currency in [Currency::USD, Currency::EUR] {
            let rows = balance.rows.iter().filter(|row| row.currency == currency);
            let sum: i128 = rows.map(|row| row.sum.nanos()).sum();
            assert_eq!(sum, 0, "{}: {balance:?}", currency.as_str());
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

/// An agent as a caller, with one of its wallets.
#[derive(Clone)]
pub(crate) struct Party {
    pub(crate) caller: Caller,
    pub(crate) wallet: WalletId,
}

impl Party {
    pub(crate) fn of(agent: &Agent) -> Self {
        Self::new(agent.id, agent.wallets[0])
    }

    pub(crate) fn new(agent: AgentId, wallet: WalletId) -> Self {
        Self { caller: Caller { agent, meter: Arc::new(AgentMeter::default()) }, wallet }
    }

    pub(crate) fn id(&self) -> AgentId {
        self.caller.agent
    }
}

pub(crate) fn new_agent(name: &str, keys: Vec<Key>) -> NewAgent {
    NewAgent {
        name: name.into(),
        operator: "self".into(),
        metadata: None,
        public_key: [3; 32],
        keys,
        at: Timestamp::from_millis(START_MS),
    }
}

struct TestClock(ManualClock);

impl engine::Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

struct SeededEntropy(Mutex<Random>);

impl engine::Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut random = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&random.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// The denial that a refusal carries.
#[track_caller]
pub(crate) fn denial<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> ledger::Denial {
    match outcome {
        Err(Refusal::Denied(denial)) => denial,
        other => panic!("expected a denial, got {other:?}"),
    }
}
