//! The ceiling of the actor library alone: debit and credit messages between wallets that do nothing else.
//!
//! A fixed number of tokens circulates: a debit makes its actor send a credit to a random other actor, a credit makes
//! its actor send the next debit. So mailboxes stay short and no producer has to be throttled. Prints one line of JSON.

#![expect(clippy::print_stdout, reason = "the figures are the output of this program")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use ractor::{Actor, ActorProcessingErr, ActorRef};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Message pairs per second of bare actors.
#[derive(Parser)]
struct Arguments {
    /// Actors that exist.
    #[arg(long, default_value_t = 10_000)]
    actors: usize,
    /// Runtime threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Messages under way at any time.
    #[arg(long, default_value_t = 4_096)]
    tokens: usize,
    /// Length of the measured window.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

enum Message {
    Debit,
    Credit,
}

type Peers = Arc<OnceLock<Vec<ActorRef<Message>>>>;

struct Wallet;

struct WalletState {
    peers: Peers,
    balance: i64,
    rng: fastrand::Rng,
    /// Credits taken; written by this actor only, so its cache line is not fought over.
    credits: Arc<AtomicU64>,
}

impl WalletState {
    fn random_peer(&mut self) -> &ActorRef<Message> {
        let peers = self.peers.get().expect("messages are sent after all actors exist");
        &peers[self.rng.usize(0..peers.len())]
    }
}

impl Actor for Wallet {
    type Msg = Message;
    type State = WalletState;
    type Arguments = WalletState;

    async fn pre_start(
        &self,
        _myself: ActorRef<Message>,
        state: WalletState,
    ) -> Result<WalletState, ActorProcessingErr> {
        Ok(state)
    }

    async fn handle(
        &self,
        _myself: ActorRef<Message>,
        message: Message,
        state: &mut WalletState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Debit => {
                state.balance -= 1;
                state.random_peer().send_message(Message::Credit)?;
            }
            Message::Credit => {
                state.balance += 1;
                state.credits.fetch_add(1, Ordering::Relaxed);
                state.random_peer().send_message(Message::Debit)?;
            }
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(arguments.threads)
        .enable_all()
        .build()
        .context("the runtime")?;
    let report = runtime.block_on(measure(&arguments))?;
    println!("{report}");
    // The actors circulate messages for ever; nothing of theirs is worth waiting for.
    runtime.shutdown_background();
    Ok(())
}

async fn measure(arguments: &Arguments) -> Result<serde_json::Value> {
    let peers: Peers = Arc::default();
    let mut counters = Vec::with_capacity(arguments.actors);
    let mut actors = Vec::with_capacity(arguments.actors);
    let spawning = Instant::now();
    for seed in 0..arguments.actors {
        let credits = Arc::new(AtomicU64::new(0));
        counters.push(Arc::clone(&credits));
        let state = WalletState {
            peers: Arc::clone(&peers),
            balance: 0,
            rng: fastrand::Rng::with_seed(seed as u64),
            credits,
        };
        actors.push(Actor::spawn(None, Wallet, state).await.context("an actor")?.0);
    }
    let spawn_micros = spawning.elapsed().as_secs_f64() * 1e6 / arguments.actors as f64;
    let actors = peers.get_or_init(|| actors);
    for token in 0..arguments.tokens {
        actors[token % actors.len()].send_message(Message::Debit)?;
    }
    let total = || counters.iter().map(|counter| counter.load(Ordering::Relaxed)).sum::<u64>();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (begin, before) = (Instant::now(), total());
    tokio::time::sleep(Duration::try_from_secs_f64(arguments.seconds)?).await;
    let (after, seconds) = (total(), begin.elapsed().as_secs_f64());
    Ok(serde_json::json!({
        "name": "actor_ceiling",
        "actors": arguments.actors,
        "threads": arguments.threads,
        "pairs_per_second": (after - before) as f64 / seconds,
        "spawn_micros": spawn_micros,
    }))
}
