//! Random payer/payee pairs through the engine's own API: no HTTP, everything else real (actors, log, fsync). Prints
//! one JSON line per shape.
//!
//! `engine_pairs [--wallets 10000] [--payments 1000000] [--dir DIR]`; the directory must not exist, and is removed at the
//! end.

#![expect(clippy::print_stdout, reason = "the figures are the output of this program")]

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use benches::system::{SystemClock, SystemEntropy, open_funded};
use engine::{Caller, Clock, Engine, NewAgent, Options, PayBatch, Status};
use ledger::{Amount, BatchItem, PayCommand, Payee, Rail, WalletId};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// xorshift64*: a cheap stream per client.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).expect("31 bits") % bound
    }

    fn pair(&mut self, wallets: &[WalletId]) -> (WalletId, WalletId) {
        let payer = self.below(wallets.len());
        let payee = (payer + 1 + self.below(wallets.len() - 1)) % wallets.len();
        (wallets[payer], wallets[payee])
    }
}

struct Arguments {
    wallets: usize,
    payments: u64,
    dir: PathBuf,
}

fn arguments() -> Arguments {
    let mut parsed = Arguments {
        wallets: 10_000,
        payments: 1_000_000,
        dir: std::env::temp_dir().join(format!("engine-pairs-{}", std::process::id())),
    };
    let mut given = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (given.next(), given.next()) {
        match name.as_str() {
            "--wallets" => parsed.wallets = value.parse().expect("--wallets takes a number"),
            "--payments" => parsed.payments = value.parse().expect("--payments takes a number"),
            "--dir" => parsed.dir = value.into(),
            _ => panic!("unknown argument {name}; known: --wallets, --payments, --dir"),
        }
    }
    parsed
}

fn main() {
    let arguments = arguments();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(run(&arguments));
    runtime.shutdown_timeout(Duration::from_secs(5));
    std::fs::remove_dir_all(&arguments.dir).expect("the directory was made by this run");
}

async fn run(arguments: &Arguments) {
    let engine = start(arguments).await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let (caller, wallets) = populate(&engine, arguments.wallets).await;
    let wallets: Arc<[WalletId]> = wallets.into();
    for (shape, clients, size) in [
        ("pairs batched", 1, 8_189),
        ("pairs batched", 2, 8_189),
        ("pairs batched", 8, 8_189),
        ("pairs single", 4_096, 1),
    ] {
        let before = engine.gauges();
        let left = Arc::new(AtomicU64::new(arguments.payments));
        let started = Instant::now();
        let tasks: Vec<_> = (1..=clients)
            .map(|seed| {
                let (engine, caller, wallets) = (engine.clone(), caller.clone(), wallets.clone());
                let (left, clock) = (left.clone(), clock.clone());
                tokio::spawn(
                    async move { client(&engine, &caller, &wallets, &*clock, &left, seed, size).await },
                )
            })
            .collect();
        let mut done = 0;
        for task in tasks {
            done += task.await.expect("a client does not panic");
        }
        let seconds = started.elapsed().as_secs_f64();
        let bytes = engine.gauges().durable_lsn - before.durable_lsn;
        println!(
            "{{\"shape\":\"{shape}\",\"clients\":{clients},\"size\":{size},\"payments\":{done},\"seconds\":{seconds:.3},\
             \"payments_per_second\":{:.0},\"log_bytes_per_payment\":{:.1}}}",
            done as f64 / seconds,
            bytes as f64 / done as f64
        );
    }
    engine.shutdown(Duration::from_secs(10)).await.expect("closes in order");
}

async fn start(arguments: &Arguments) -> Engine {
    let log = arguments.dir.join("log");
    std::fs::create_dir_all(&log).expect("the directory can be made");
    let storage = Arc::new(wal::FileStorage::open(&log).expect("the log's directory can be opened"));
    let snapshots = Arc::new(snapshot::FileStore::open(&arguments.dir.join("snapshots")).expect("snapshots"));
    let mut options = Options { snapshot_every: Duration::ZERO, ..Options::default() };
    options.rules.wallets_per_agent_max = u32::MAX;
    options.rules.faucet_cap = Amount::MAX;
    Engine::start(
        options,
        storage,
        snapshots,
        None,
        Arc::new(SystemClock::default()),
        Arc::new(SystemEntropy),
        Status::new(),
    )
    .await
    .expect("an empty directory starts")
}

async fn populate(engine: &Engine, count: usize) -> (Caller, Vec<WalletId>) {
    let at = engine.clock().now();
    let new = NewAgent {
        name: "bench".into(),
        operator: "bench".into(),
        metadata: None,
        public_key: [0; 32],
        keys: Vec::new(),
        at,
    };
    let agent = engine.create_agent(new).await.expect("created");
    let caller = Caller { agent: agent.id, meter: Arc::default() };
    let wallets = open_funded(engine, &caller, count).await;
    (caller, wallets)
}

/// Pays until the common count is used up; returns how many payments this client made.
async fn client(
    engine: &Engine,
    caller: &Caller,
    wallets: &[WalletId],
    clock: &dyn Clock,
    left: &AtomicU64,
    seed: u64,
    size: u64,
) -> u64 {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let amount = Amount::parse("0.001").expect("an amount");
    let mut done = 0;
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(size)).is_ok() {
        let at = clock.now();
        if size == 1 {
            let (payer, payee) = random.pair(wallets);
            let command = PayCommand {
                caller: caller.agent,
                payer,
                payee: Payee::Wallet(payee),
                payee_agent: None,
                amount,
                currency: None,
                rail: Rail::Internal,
                description: None,
                metadata: None,
                key: None,
                agent_terms: None,
                at,
            };
            engine.pay(caller, command).await.expect("paid");
        } else {
            let items = (0..size).map(|_| item(random.pair(wallets), amount)).collect();
            let results = engine.pay_batch(caller, PayBatch { items, atomic: false, key: None, at }).await;
            let results = results.expect("carried out").value;
            assert!(results.iter().all(Result::is_ok), "every payment is covered");
        }
        done += size;
    }
    done
}

fn item((payer, payee): (WalletId, WalletId), amount: Amount) -> (WalletId, BatchItem) {
    let item = BatchItem {
        payee: Payee::Wallet(payee),
        payee_agent: None,
        amount,
        currency: None,
        rail: Rail::Internal,
        description: None,
        metadata: None,
        key: None,
        refused: None,
    };
    (payer, item)
}
