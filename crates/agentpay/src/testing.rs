//! For tests: a ledger in a temporary directory, opened as the program opens it, and some payments in it.

use crate::config::Config;
use crate::data_dir::{DataDir, OwnedDataDir};
use crate::node;
use engine::{AgentMeter, Caller, Engine, NewAgent, Status};
use ledger::{Agent, Amount, FundCommand, PayCommand, Payee, PaymentId, Rail, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// A ledger in a temporary directory.
pub(crate) struct TestLedger {
    _temporary: tempfile::TempDir,
    pub(crate) config: Config,
}

const AT: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub(crate) const DRAIN: Duration = Duration::from_secs(10);

impl TestLedger {
    pub(crate) fn new() -> TestLedger {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config::default();
        config.data.dir = temporary.path().join("data").to_str().expect("UTF-8").to_owned();
        config.log.segment_bytes = 1 << 20;
        config.log.record_bytes_max = 1 << 16;
        config.history.enabled = false;
        TestLedger { _temporary: temporary, config }
    }

    pub(crate) async fn start(&self) -> (OwnedDataDir, Engine) {
        let owned = DataDir::own(&self.config.data.dir).expect("owned");
        let engine = node::start(&self.config, &owned, Status::new()).await.expect("started");
        (owned, engine)
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

/// What [`fill`] made.
pub(crate) struct Filled {
    pub(crate) payer: Caller,
    pub(crate) payments: Vec<PaymentId>,
}

/// Two agents, a funding, and `count` payments of 0.5 with a fee of 0.002 each.
pub(crate) async fn fill(engine: &Engine, count: u32) -> Filled {
    let (payer, payer_agent) = agent(engine, "payer").await;
    let (_, payee_agent) = agent(engine, "payee").await;
    let (from, to) = (payer_agent.wallets[0], payee_agent.wallets[0]);
    let amount = Amount::parse("100").expect("an amount");
    let fund = FundCommand { caller: payer.agent, wallet: from, amount, key: None, at: AT };
    engine.fund(&payer, fund).await.expect("funded");
    let mut payments = Vec::new();
    for _ in 0..count {
        let command = PayCommand {
            caller: payer.agent,
            payer: from,
            payee: Payee::Wallet(to),
            payee_agent: None,
            amount: Amount::parse("0.5").expect("an amount"),
            currency: None,
            rail: Rail::Internal,
            description: None,
            metadata: None,
            key: None,
            agent_terms: None,
            at: AT,
        };
        payments.push(engine.pay(&payer, command).await.expect("paid").value.id);
    }
    Filled { payer, payments }
}
