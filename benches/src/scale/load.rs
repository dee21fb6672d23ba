//! Payments between random wallets of a made state: as fast as they go, or at a given rate with waiting counted from the
//! intended start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine::{Caller, Engine};
use hdrhistogram::Histogram;
use ledger::{Amount, KeyUse, PayCommand, Payee, Rail};
use tokio::{runtime::Handle, sync::mpsc};

use super::made;

/// How often the open loop looks at its schedule.
const PACE: Duration = Duration::from_micros(100);

/// Payments between `wallets` wallets, each with an idempotency key.
#[derive(Clone)]
pub struct Load {
    pub engine: Engine,
    pub wallets: u64,
    pub seed: u64,
}

/// Latencies in microseconds and what was done in the time.
pub struct Outcome {
    pub latency: Histogram<u64>,
    pub seconds: f64,
}

impl Outcome {
    pub fn per_second(&self) -> f64 {
        self.latency.len() as f64 / self.seconds
    }

    pub fn millis_at(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e3
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds that make sense")
}

impl Load {
    /// For an engine that was just started: with other keys than after the starts before it, which would be answered again
    /// instead of paid.
    pub fn after_start(engine: Engine, wallets: u64) -> Load {
        let seed = engine.gauges().appended_lsn << 3;
        Load { engine, wallets, seed }
    }

    /// The same with other pairs and keys.
    pub fn seeded(&self, seed: u64) -> Load {
        Load { seed: self.seed ^ seed, ..self.clone() }
    }

    /// `clients` of whom each pays again as soon as it is answered.
    pub async fn closed(&self, clients: u64, window: Duration) -> Outcome {
        let stop = Arc::new(AtomicBool::new(false));
        let begun = Instant::now();
        let tasks: Vec<_> = (0..clients)
            .map(|client| {
                let (load, stop) = (self.clone(), stop.clone());
                let mut random = fastrand::Rng::with_seed(self.seed ^ (client << 32));
                tokio::spawn(async move {
                    let mut latency = histogram();
                    while !stop.load(Ordering::Relaxed) {
                        let begun = Instant::now();
                        load.pay(&mut random).await;
                        record(&mut latency, begun);
                    }
                    latency
                })
            })
            .collect();
        tokio::time::sleep(window).await;
        stop.store(true, Ordering::Relaxed);
        let mut latency = histogram();
        for task in tasks {
            latency.add(task.await.expect("no client panics")).expect("equal bounds");
        }
        Outcome { latency, seconds: begun.elapsed().as_secs_f64() }
    }

    /// `rate` payments a second, whatever becomes of those before.
    pub async fn open(&self, rate: f64, window: Duration) -> Outcome {
        let (sender, mut latencies) = mpsc::unbounded_channel();
        let load = self.clone();
        let begun = Instant::now();
        let runtime = Handle::current();
        // A thread of its own: the runtime's timer counts milliseconds, and its workers have other things to do.
        let pacing = tokio::task::spawn_blocking(move || {
            let mut random = fastrand::Rng::with_seed(load.seed);
            let mut sent = 0_u64;
            while begun.elapsed() < window {
                loop {
                    let intended = begun + Duration::from_secs_f64(sent as f64 / rate);
                    if intended > Instant::now() {
                        break;
                    }
                    let (load, sender, mut random) = (load.clone(), sender.clone(), random.fork());
                    runtime.spawn(async move {
                        load.pay(&mut random).await;
                        let _ = sender.send(intended.elapsed());
                    });
                    sent += 1;
                }
                std::thread::sleep(PACE);
            }
        });
        let mut latency = histogram();
        while let Some(waited) = latencies.recv().await {
            latency.saturating_record(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX).max(1));
        }
        pacing.await.expect("the pacer does not panic");
        Outcome { latency, seconds: begun.elapsed().as_secs_f64() }
    }

    async fn pay(&self, random: &mut fastrand::Rng) {
        let payer = random.u64(0..self.wallets);
        let payee = (payer + 1 + random.u64(0..self.wallets - 1)) % self.wallets;
        let agent = made::agent_of(payer);
        let caller = Caller { agent, meter: Arc::default() };
        let key = KeyUse { text: format!("{:032x}", random.u128(..)).into(), fingerprint: random.u64(..) };
        let command = PayCommand {
            caller: agent,
            payer: made::wallet(payer),
            payee: Payee::Wallet(made::wallet(payee)),
            payee_agent: None,
            amount: Amount::from_nanos(1_000_000),
            currency: None,
            rail: Rail::Internal,
            description: None,
            metadata: None,
            key: Some(key),
            agent_terms: None,
            at: self.engine.clock().now(),
        };
        self.engine.pay(&caller, command).await.expect("every payment is covered");
    }
}

fn record(latency: &mut Histogram<u64>, begun: Instant) {
    latency.saturating_record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX).max(1));
}
