//! Many live tokens through the engine's own API: no HTTP, everything else real (log, fsync, timer thread). Prints one
//! JSON line per question: what a live token costs, how late deadlines are, how a burst of deadlines drains beside
//! payments, how long a start takes.
//!
//! `engine_tokens [--tokens 1000000] [--dir DIR]`; the directory must not exist, and is removed at the end.

#![expect(clippy::print_stdout, reason = "the figures are the output of this program")]

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use benches::system::{SystemClock, SystemEntropy, open_funded};
use engine::{Authorize, Caller, Engine, NewAgent, Options, RegisterService, Status, TokenView, VerifyToken};
use ledger::{Amount, Currency, PayCommand, Payee, Rail, ServiceId, ServiceTerms, WalletId};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Arguments {
    tokens: u64,
    dir: PathBuf,
}

fn arguments() -> Arguments {
    let mut parsed = Arguments {
        tokens: 1_000_000,
        dir: std::env::temp_dir().join(format!("engine-tokens-{}", std::process::id())),
    };
    let mut given = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (given.next(), given.next()) {
        match name.as_str() {
            "--tokens" => parsed.tokens = value.parse().expect("--tokens takes a number"),
            "--dir" => parsed.dir = value.into(),
            _ => panic!("unknown argument {name}; known: --tokens, --dir"),
        }
    }
    parsed
}

/// Consumers whose wallets share the tokens.
const WALLETS: usize = 1_000;
/// Reservations under way at a time.
const CLIENTS: u64 = 2_048;
const HOUR_MS: u64 = 3_600_000;
const DEADLINES_PER_SECOND: u64 = 10_000;
const DEADLINE_SECONDS: u64 = 5;

fn main() {
    let arguments = arguments();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(run(&arguments));
    runtime.shutdown_timeout(Duration::from_secs(5));
    std::fs::remove_dir_all(&arguments.dir).expect("the directory was made by this run");
}

/// Everybody who takes part.
#[derive(Clone)]
struct Market {
    consumer: Caller,
    provider: Caller,
    wallets: Arc<[WalletId]>,
    service: ServiceId,
    payee: WalletId,
}

async fn run(arguments: &Arguments) {
    let engine = start(&arguments.dir).await;
    let market = populate(&engine).await;
    // Buffers and tables get their sizes with the first quarter; what the others cost is the tokens.
    let (warming, measured) = (arguments.tokens / 4, arguments.tokens - arguments.tokens / 4);
    reserve(&engine, &market, warming, |_| HOUR_MS).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let resident = resident_bytes();
    let begun = Instant::now();
    reserve(&engine, &market, measured, |_| HOUR_MS).await;
    let seconds = begun.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let bytes = (resident_bytes() - resident) as f64 / measured as f64;
    println!(
        "{{\"question\":\"live tokens\",\"tokens\":{},\"reservations_per_second\":{:.0},\"bytes_per_token\":{bytes:.0}}}",
        arguments.tokens,
        measured as f64 / seconds
    );
    lifecycles(&engine, &market, arguments.tokens / 5).await;
    lateness(&engine, &market, arguments.tokens).await;
    engine.shutdown(Duration::from_secs(30)).await.expect("closes in order");
    drop(engine);
    let engine = timed_start(&arguments.dir, "snapshot", arguments.tokens).await;
    engine.shutdown(Duration::from_secs(30)).await.expect("closes in order");
    drop(engine);
    std::fs::remove_dir_all(arguments.dir.join("snapshots")).expect("nobody uses them");
    let engine = timed_start(&arguments.dir, "log", arguments.tokens).await;
    burst(&engine, &market, arguments.tokens).await;
    engine.shutdown(Duration::from_secs(30)).await.expect("closes in order");
}

async fn start(dir: &Path) -> Engine {
    let log = dir.join("log");
    std::fs::create_dir_all(&log).expect("the directory can be made");
    let storage = Arc::new(wal::FileStorage::open(&log).expect("the log's directory can be opened"));
    let snapshots = Arc::new(snapshot::FileStore::open(&dir.join("snapshots")).expect("snapshots"));
    let mut options = Options { snapshot_every: Duration::ZERO, ..Options::default() };
    options.rules.wallets_per_agent_max = u32::MAX;
    options.rules.faucet_cap = Amount::MAX;
    options.tokens_open_per_agent_max = u32::MAX;
    let clock = Arc::new(SystemClock::default());
    let started =
        Engine::start(options, storage, snapshots, None, clock, Arc::new(SystemEntropy), Status::new());
    started.await.expect("the directory starts")
}

async fn timed_start(dir: &Path, from: &str, tokens: u64) -> Engine {
    let begun = Instant::now();
    let engine = start(dir).await;
    println!(
        "{{\"question\":\"start\",\"from\":\"{from}\",\"tokens\":{tokens},\"seconds\":{:.3},\"timers\":{}}}",
        begun.elapsed().as_secs_f64(),
        engine.gauges().timers
    );
    engine
}

async fn agent(engine: &Engine, name: &str) -> (Caller, WalletId) {
    let new = NewAgent {
        name: name.into(),
        operator: "self".into(),
        metadata: None,
        public_key: [0; 32],
        keys: Vec::new(),
        at: engine.clock().now(),
    };
    let agent = engine.create_agent(new).await.expect("created");
    (Caller { agent: agent.id, meter: Arc::default() }, agent.wallets[0])
}

async fn populate(engine: &Engine) -> Market {
    let (consumer, _) = agent(engine, "consumer").await;
    let (provider, payee) = agent(engine, "provider").await;
    let at = engine.clock().now();
    let terms = ServiceTerms {
        name: "feed".into(),
        description: None,
        price: Amount::parse("0.005").expect("an amount"),
        currency: Currency::USD,
        category: None,
        endpoint_url: None,
        sla: None,
        metadata: None,
    };
    let command = RegisterService { terms, wallet: None, key: None, at };
    let service = engine.register_service(&provider, command).await.expect("registered").value.id;
    let wallets = open_funded(engine, &consumer, WALLETS).await.into();
    Market { consumer, provider, wallets, service, payee }
}

/// Reserves `count` calls; `ttl_ms` is asked for each in its turn.
async fn reserve(
    engine: &Engine,
    market: &Market,
    count: u64,
    ttl_ms: impl Fn(u64) -> u64 + Clone + Send + 'static,
) -> Vec<TokenView> {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (engine, market, next, ttl_ms) = (engine.clone(), market.clone(), next.clone(), ttl_ms.clone());
        tasks.spawn(async move {
            let mut views = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return views;
                }
                let wallet = usize::try_from(index).expect("64 bits") % market.wallets.len();
                let command = Authorize {
                    payer: market.wallets[wallet],
                    service: market.service,
                    max_amount: None,
                    ttl_ms: Some(ttl_ms(index)),
                    key: None,
                };
                let answer = engine.authorize(&market.consumer, command).await.expect("reserved");
                if count <= DEADLINES_PER_SECOND * DEADLINE_SECONDS {
                    views.push(answer.value);
                }
            }
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

/// Whole calls: reserved, redeemed, started, accepted, completed.
async fn lifecycles(engine: &Engine, market: &Market, count: u64) {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for _ in 0..CLIENTS {
        let (engine, market, next) = (engine.clone(), market.clone(), next.clone());
        tasks.spawn(async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return;
                }
                let wallet = usize::try_from(index).expect("64 bits") % market.wallets.len();
                let (payer, service) = (market.wallets[wallet], market.service);
                let command = Authorize { payer, service, max_amount: None, ttl_ms: None, key: None };
                let token = engine.authorize(&market.consumer, command).await.expect("reserved").value.id;
                let command = VerifyToken { token, expects: None, key: None };
                engine.verify_token(&market.provider, command).await.expect("verified");
                engine.start_call(&market.provider, token).await.expect("started");
                engine.accept_call(&market.provider, token).await.expect("accepted");
                engine.complete_call(&market.provider, token).await.expect("completed");
            }
        });
    }
    tasks.join_all().await;
    println!(
        "{{\"question\":\"lifecycles\",\"calls\":{count},\"calls_per_second\":{:.0}}}",
        count as f64 / begun.elapsed().as_secs_f64()
    );
}

/// Deadlines at a steady rate beside all the others.
async fn lateness(engine: &Engine, market: &Market, live: u64) {
    let first = engine.clock().now().millis() + 4_000;
    let now = {
        let engine = engine.clone();
        move || engine.clock().now().millis()
    };
    let count = DEADLINES_PER_SECOND * DEADLINE_SECONDS;
    let ttl_ms = move |index: u64| {
        let due = first + i64::try_from(index * 1_000 / DEADLINES_PER_SECOND).expect("small");
        u64::try_from(due - now()).unwrap_or(1)
    };
    let tokens = reserve(engine, market, count, ttl_ms).await;
    tokio::time::sleep(Duration::from_secs(DEADLINE_SECONDS + 5)).await;
    let mut late: Vec<i64> = Vec::with_capacity(tokens.len());
    for token in &tokens {
        let view = engine.token(market.consumer.agent, token.id).await.expect("it is remembered");
        late.push(view.ended_at.expect("it has ended").millis() - view.expires_at.millis());
    }
    late.sort_unstable();
    println!(
        "{{\"question\":\"lateness\",\"live\":{live},\"deadlines_per_second\":{DEADLINES_PER_SECOND},\"early\":{},\
         \"p50_ms\":{},\"p99_ms\":{},\"max_ms\":{}}}",
        late.iter().filter(|late| **late < 0).count(),
        late[late.len() / 2],
        late[late.len() * 99 / 100],
        late[late.len() - 1]
    );
}

/// All deadlines at one moment, and payments one after the other meanwhile.
async fn burst(engine: &Engine, market: &Market, tokens: u64) {
    let lead_ms = 20_000 + tokens / 25;
    let due = engine.clock().now().millis() + i64::try_from(lead_ms).expect("small");
    let now = {
        let engine = engine.clone();
        move || engine.clock().now().millis()
    };
    let fired = engine.gauges().deadlines_fired;
    reserve(engine, market, tokens, move |_| u64::try_from(due - now()).unwrap_or(1)).await;
    let left = due - engine.clock().now().millis();
    assert!(left > 4_000, "the reservations took too long");
    tokio::time::sleep(Duration::from_millis(u64::try_from(left - 3_000).expect("positive"))).await;
    let before =
        payments(engine, market, Arc::new(AtomicBool::new(false)), Some(Duration::from_millis(2_900)));
    let before = before.await;
    let stop = Arc::new(AtomicBool::new(false));
    let during = tokio::spawn({
        let (engine, market, stop) = (engine.clone(), market.clone(), stop.clone());
        async move { payments(&engine, &market, stop, None).await }
    });
    while engine.gauges().deadlines_fired - fired < tokens {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let drained = engine.clock().now().millis() - due;
    stop.store(true, Ordering::Relaxed);
    let during = during.await.expect("payments go on");
    println!(
        "{{\"question\":\"burst\",\"deadlines\":{tokens},\"drained_ms\":{drained},\"payment_p99_ms_before\":{:.2},\
         \"payment_p99_ms_during\":{:.2},\"payment_max_ms_during\":{:.2},\"payments_during\":{}}}",
        percentile(&before, 99),
        percentile(&during, 99),
        percentile(&during, 100),
        during.len()
    );
}

/// Milliseconds that each payment took, sorted.
async fn payments(
    engine: &Engine,
    market: &Market,
    stop: Arc<AtomicBool>,
    limit: Option<Duration>,
) -> Vec<f64> {
    let mut took = Vec::new();
    let begun = Instant::now();
    while !stop.load(Ordering::Relaxed) && limit.is_none_or(|limit| begun.elapsed() < limit) {
        let command = PayCommand {
            caller: market.consumer.agent,
            payer: market.wallets[took.len() % market.wallets.len()],
            payee: Payee::Wallet(market.payee),
            payee_agent: None,
            amount: Amount::parse("0.001").expect("an amount"),
            currency: None,
            rail: Rail::Internal,
            description: None,
            metadata: None,
            key: None,
            agent_terms: None,
            at: engine.clock().now(),
        };
        let one = Instant::now();
        engine.pay(&market.consumer, command).await.expect("paid");
        took.push(one.elapsed().as_secs_f64() * 1_000.0);
    }
    took.sort_unstable_by(f64::total_cmp);
    took
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells what a process has");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("the second number");
    pages * 4_096
}
