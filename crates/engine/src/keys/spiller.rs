//! The thread that keeps the memory for idempotency keys within its bound: it moves the keys of the oldest records into
//! runs, has their owners forget them, joins and drops runs, and builds what is damaged again from the log.

use std::{
    sync::{Arc, Weak},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{GatherError, Keys};
use crate::{background, directory, shared::Shared};

/// How often it looks when nobody asks. Runs are dropped with this delay.
const PAUSE: Duration = Duration::from_secs(1);
/// A third of a payment's share of a core when both want it: enough to keep up with a full node.
const NICENESS: i32 = 5;
/// Work at a stretch while nothing presses, and the rest behind it: a third of a core, which moves three times the keys of a
/// full node.
const STRETCH: Duration = Duration::from_micros(250);
const REST: Duration = Duration::from_micros(500);
/// Agents that are asked to forget in one message.
const AGENTS_AT_ONCE: usize = 256;

pub(crate) struct Spiller {
    keys: Arc<Keys>,
    thread: JoinHandle<()>,
}

impl Spiller {
    /// `None` when there is nowhere to spill to.
    pub(crate) fn start(shared: &Arc<Shared>, directory: directory::Handle) -> Option<Self> {
        let keys = shared.keys.clone();
        keys.store.as_ref()?;
        let shared = Arc::downgrade(shared);
        let run = {
            let keys = keys.clone();
            move || run(&shared, &keys, &directory)
        };
        let thread = background::start("keys", NICENESS, run);
        Some(Self { keys, thread: thread.expect("a thread can be started") })
    }

    /// Ends the thread after the step it is at and gives the directory free. Blocks.
    pub(crate) fn stop(self) {
        self.keys.stop();
        if self.thread.join().is_err() {
            tracing::error!("moving idempotency keys ended in disorder; the log has them all");
        }
        if let Some(store) = &self.keys.store {
            store.close();
        }
    }
}

fn run(shared: &Weak<Shared>, keys: &Keys, directory: &directory::Handle) {
    while keys.wait(PAUSE) {
        let Some(shared) = shared.upgrade() else { return };
        if let Err(error) = tend(&shared, directory) {
            // What is in memory stays there; when it reaches twice its bound, admission closes.
            tracing::error!(%error, "idempotency keys cannot be moved to disk now");
        }
    }
}

fn tend(shared: &Arc<Shared>, directory: &directory::Handle) -> Result<(), GatherError> {
    let keys = &*shared.keys;
    let Some(store) = &keys.store else { return Ok(()) };
    let reader = shared.wal.reader();
    if store.discard_damaged()? > 0 || store.covers() < keys.floor() {
        // Keys that are missing refuse their commands.
        keys.write_rate.set(None);
        keys.fill_gaps(&reader, keys.floor(), shared.time.now())?;
    }
    let mut breath = Breath { keys, since: Instant::now() };
    let mut breathe = || breath.breathe();
    if keys.is_over() {
        while keys.should_go_on() && keys.spill_step(&reader, shared.time.now(), &mut breathe)? {
            shared.registry.forget_keys(keys, &mut breathe);
            forget_of_agents(keys, directory);
        }
    }
    while store.maintain(shared.time.now(), &mut breathe)? {}
    Ok(())
}

/// How the thread shares processors and disk. Niceness decides who gets how much, not who waits: a thread that computes
/// may keep its core for milliseconds while a payment wants it, or lose it while it holds a guard. One that has just
/// slept has its turn at once.
struct Breath<'k> {
    keys: &'k Keys,
    /// Since the last rest.
    since: Instant,
}

impl Breath<'_> {
    /// Called every few entries, without a guard.
    fn breathe(&mut self) {
        let pressure = self.keys.pressure();
        self.keys.settle_write_rate(pressure);
        if self.keys.hurries() {
            return;
        }
        if pressure > 0 {
            std::thread::yield_now();
        } else if self.since.elapsed() >= STRETCH {
            std::thread::sleep(REST);
            self.since = Instant::now();
        }
    }
}

/// The directory forgets some agents' keys at a time. When it does not answer, the process is ending.
fn forget_of_agents(keys: &Keys, directory: &directory::Handle) {
    let (below, mut after) = (keys.floor(), None);
    loop {
        let (reply, receiver) = oneshot::channel();
        directory.send(directory::Message::ForgetKeys { below, after, limit: AGENTS_AT_ONCE, reply });
        match receiver.blocking_recv() {
            Ok(Some(last)) => after = Some(last),
            Ok(None) | Err(_) => return,
        }
    }
}
