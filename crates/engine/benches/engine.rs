//! What the engine itself costs per payment: everything but HTTP and the disk, which is memory here.
//!
//! `payment/active`, `payment/resting`: one payment after the other, answered before the next is asked, so a figure
//! is the whole way (hand over, decision, log thread, delivery, answer) with four changes of thread in it.
//! `payment/pipelined`: many at once by several payers; the figure is per payment.
//! `batch/external`, `batch/resting`: 1 000 items in one record, paid to nobody's wallet and to as many wallets at
//! rest; the difference is what posting a credit costs.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::{AgentMeter, Caller, Clock, Engine, Entropy, NewAgent, Options, PayBatch, Status};
use ledger::{Amount, BatchItem, FundCommand, PayCommand, Payee, Rail, Timestamp, WalletId};
use snapshot::FileStore;
use tokio::runtime::Runtime;
use wal::testing::MemoryStorage;

const AT: Timestamp = Timestamp::from_millis(1_790_000_000_000);
/// Enough that a wallet is at rest again when its turn comes.
const RESTING: usize = 8_192;
const PIPELINED: usize = 512;
const ITEMS: usize = 1_000;

struct Fixed(AtomicU64);

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
        for chunk in bytes.chunks_mut(8) {
            let next = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            chunk.copy_from_slice(&(next ^ (next >> 29)).to_le_bytes()[..chunk.len()]);
        }
    }
}

#[derive(Clone)]
struct Party {
    caller: Caller,
    wallet: WalletId,
}

struct Bench {
    runtime: Runtime,
    engine: Engine,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new(idle_after: Duration) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let runtime = Runtime::new().expect("a runtime");
        let wal = wal::Options { segment_bytes: 64 << 20, ..wal::Options::default() };
        let options = Options { wal, idle_after, snapshot_every: Duration::ZERO, ..Options::default() };
        let engine = runtime.block_on(Engine::start(
            options,
            Arc::new(MemoryStorage::new()),
            Arc::new(FileStore::open(directory.path()).expect("a directory")),
            None,
            Arc::new(Fixed(AtomicU64::new(1))),
            Arc::new(Fixed(AtomicU64::new(2))),
            Status::new(),
        ));
        Self { runtime, engine: engine.expect("started"), _directory: directory }
    }

    fn party(&self) -> Party {
        let (name, operator) = ("payer".into(), "self".into());
        let new = NewAgent { name, operator, metadata: None, public_key: [0; 32], keys: Vec::new(), at: AT };
        self.runtime.block_on(async {
            let agent = self.engine.create_agent(new).await.expect("created");
            let caller = Caller { agent: agent.id, meter: Arc::new(AgentMeter::default()) };
            let wallet = agent.wallets[0];
            let amount = Amount::from_nanos(1_000_000_000_000_000);
            let fund = FundCommand { caller: agent.id, wallet, amount, key: None, at: AT };
            self.engine.fund(&caller, fund).await.expect("funded");
            Party { caller, wallet }
        })
    }

    fn pay(&self, payer: &Party, payee: WalletId) {
        let answer = self.runtime.block_on(self.engine.pay(&payer.caller, command(payer, payee)));
        black_box(answer.expect("paid"));
    }
}

fn command(payer: &Party, payee: WalletId) -> PayCommand {
    PayCommand {
        caller: payer.caller.agent,
        payer: payer.wallet,
        payee: Payee::Wallet(payee),
        payee_agent: None,
        amount: Amount::from_nanos(1_000),
        currency: None,
        rail: Rail::Internal,
        description: None,
        metadata: None,
        key: None,
        agent_terms: None,
        at: AT,
    }
}

fn item(payee: Payee) -> BatchItem {
    let amount = Amount::from_nanos(1_000);
    let (currency, rail) = (None, Rail::Internal);
    BatchItem {
        payee,
        payee_agent: None,
        amount,
        currency,
        rail,
        description: None,
        metadata: None,
        key: None,
        refused: None,
    }
}

fn payments(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("payment");
    group.throughput(Throughput::Elements(1));
    let awake = Bench::new(Duration::from_secs(3_600));
    let (payer, payee) = (awake.party(), awake.party());
    group.bench_function("active", |bencher| bencher.iter(|| awake.pay(&payer, payee.wallet)));

    let payers: Vec<_> = (0..16).map(|_| awake.party()).collect();
    group.throughput(Throughput::Elements(PIPELINED as u64));
    group.bench_function("pipelined", |bencher| {
        bencher.iter(|| {
            awake.runtime.block_on(async {
                let mut tasks = Vec::with_capacity(payers.len());
                for payer in &payers {
                    let (engine, payer, payee) = (awake.engine.clone(), payer.clone(), payee.wallet);
                    tasks.push(tokio::spawn(async move {
                        for _ in 0..PIPELINED / 16 {
                            black_box(engine.pay(&payer.caller, command(&payer, payee)).await.expect("paid"));
                        }
                    }));
                }
                for task in tasks {
                    task.await.expect("no panic");
                }
            });
        });
    });

    let restless = Bench::new(Duration::from_millis(5));
    let payers: Vec<_> = (0..RESTING).map(|_| restless.party()).collect();
    let payee = restless.party().wallet;
    let mut turns = payers.iter().cycle();
    group.throughput(Throughput::Elements(1));
    group.bench_function("resting", |bencher| {
        bencher.iter(|| restless.pay(turns.next().expect("endless"), payee));
    });
    group.finish();
}

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Elements(ITEMS as u64));
    // The log stays in memory: 100 KB for each round.
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    let bench = Bench::new(Duration::from_millis(20));
    let payer = bench.party();
    let payees: Vec<_> = (0..ITEMS).map(|_| bench.party().wallet).collect();
    while bench.engine.gauges().active_actors > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let nobody: Vec<_> = (0..ITEMS).map(|_| item(Payee::External("shop".into()))).collect();
    let resting: Vec<_> = payees.into_iter().map(|payee| item(Payee::Wallet(payee))).collect();
    for (name, items) in [("external", nobody), ("resting", resting)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let items = items.iter().map(|item| (payer.wallet, item.clone())).collect();
                let request = PayBatch { items, atomic: true, key: None, at: AT };
                let answer = bench.runtime.block_on(bench.engine.pay_batch(&payer.caller, request));
                black_box(answer.expect("paid"));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, payments, batches);
criterion_main!(benches);
