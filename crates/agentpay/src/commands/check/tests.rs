//! `check` over a log that the engine made.

use super::*;
use engine::{AgentMeter, Caller, Engine, NewAgent, Status};
use ledger::{Agent, FundCommand, PayCommand, Payee, Rail, Timestamp};
use std::time::Duration;

/// A ledger in a temporary directory.
struct Bench {
    _temporary: tempfile::TempDir,
    config: Config,
}

const AT: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const DRAIN: Duration = Duration::from_secs(10);

impl Bench {
    fn new() -> Bench {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config::default();
        config.data.dir = temporary.path().join("data").to_str().expect("UTF-8").to_owned();
        config.log.segment_bytes = 1 << 20;
        config.log.record_bytes_max = 1 << 16;
        config.history.enabled = false;
        Bench { _temporary: temporary, config }
    }

    async fn start(&self) -> (crate::data_dir::OwnedDataDir, Engine) {
        let owned = DataDir::own(&self.config.data.dir).expect("owned");
        let engine = node::start(&self.config, &owned, Status::new()).await.expect("started");
        (owned, engine)
    }

    fn report(&self) -> Report {
        let dir = DataDir::existing(&self.config.data.dir).expect("exists");
        report(&self.config, &dir, false).expect("readable")
    }
}

async fn agent(engine: &Engine, name: &str) -> (Caller, Agent) {
    let new = NewAgent {
        name: name.into(),
        operator: "self".into(),
        metadata: None,
        public_key: [1; 32],
        keys: Vec::new(),
        at: AT,
    };
    let agent = engine.create_agent(new).await.expect("created");
    (Caller { agent: agent.id, meter: Arc::new(AgentMeter::default()) }, agent)
}

/// Two agents, a funding, and `count` payments of 0.5 with a fee of 0.002 each.
async fn fill(engine: &Engine, count: u32) {
    let (payer, payer_agent) = agent(engine, "payer").await;
    let (_, payee_agent) = agent(engine, "payee").await;
    let (from, to) = (payer_agent.wallets[0], payee_agent.wallets[0]);
    let amount = Amount::parse("100").expect("an amount");
    let fund = FundCommand { caller: payer.agent, wallet: from, amount, key: None, at: AT };
    engine.fund(&payer, fund).await.expect("funded");
    for _ in 0..count {
        let command = PayCommand {
            caller: payer.agent,
            payer: from,
            payee: Payee::Wallet(to),
            amount: Amount::parse("0.5").expect("an amount"),
            currency: None,
            rail: Rail::Internal,
            description: None,
            metadata: None,
            key: None,
            at: AT,
        };
        engine.pay(&payer, command).await.expect("paid");
    }
}

fn sum(report: &Report, account: &str) -> String {
    report.trial_balance.iter().find(|row| row.account == account).expect("a row").sum.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_ledger_is_proved_before_and_after_a_snapshot() {
    let bench = Bench::new();
    let (owned, engine) = bench.start().await;
    fill(&engine, 20).await;

    let beside = bench.report();
    assert!(beside.proved, "{:?}", beside.findings);
    assert_eq!((beside.records, beside.wallets, beside.agents, beside.snapshot), (23, 2, 2, None));
    assert_eq!(sum(&beside, "wallets"), "99.96");
    assert_eq!((sum(&beside, "faucet"), sum(&beside, "fees")), ("-100".to_owned(), "0.04".to_owned()));

    let first = engine.snapshot_now().await.expect("a snapshot");
    fill(&engine, 5).await;
    let after = bench.report();
    assert!(after.proved, "{:?}", after.findings);
    assert_eq!((after.records, after.wallets, after.snapshot), (31, 4, Some(first.id)));

    let last = engine.shutdown(DRAIN).await.expect("closed");
    drop(owned);
    let closed = bench.report();
    assert!(closed.proved, "{:?}", closed.findings);
    assert_eq!((closed.records, closed.snapshot), (31, Some(last.id)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_ledger_goes_on_and_is_proved() {
    let bench = Bench::new();
    for round in 1..=3 {
        let (_owned, engine) = bench.start().await;
        fill(&engine, 3).await;
        engine.shutdown(DRAIN).await.expect("closed");
        assert_eq!(bench.report().records, round * 6);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_changes_nothing() {
    let bench = Bench::new();
    let (owned, engine) = bench.start().await;
    fill(&engine, 3).await;
    engine.shutdown(DRAIN).await.expect("closed");
    let before = contents(&owned.dir);
    bench.report();
    assert!(contents(&owned.dir) == before, "check must not change the log");
}

/// Names and bytes of the log's files.
fn contents(dir: &DataDir) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir.log()).expect("listed");
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("listed");
        let bytes = std::fs::read(entry.path()).expect("readable");
        (entry.file_name().to_string_lossy().into_owned(), bytes)
    };
    entries.map(file).collect()
}

#[test]
fn a_directory_without_a_log_is_explained() {
    let mut config = Config::default();
    config.data.dir = "/nonexistent/data".to_owned();
    let failure = check(&config, Output::new(false)).expect_err("nothing there");
    assert!(failure.message.contains("--data-dir"), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_has_its_own_exit_code() {
    let bench = Bench::new();
    let (owned, engine) = bench.start().await;
    fill(&engine, 50).await;
    engine.shutdown(DRAIN).await.expect("closed");
    let mut segments: Vec<_> = contents(&owned.dir).into_iter().collect();
    segments.sort();
    let (name, mut bytes) = segments.swap_remove(0);
    // In the midst of the records, far from the tail.
    let middle = 4_096 + 1_000;
    bytes[middle] ^= 1;
    std::fs::write(owned.dir.log().join(name), bytes).expect("written");
    let failure = report(&bench.config, &owned.dir, false).map(|_| ()).expect_err("damaged");
    assert_eq!(failure.exit, Exit::Corrupt, "{}", failure.message);
}
