//! A disk that is slow or does not answer at all: what is under way stays bounded, what is at rest is still read, and
//! all that was admitted is answered once the disk is back.

use std::{num::NonZeroU32, sync::Arc};

use engine::{Activation, Engine, PayBatch, Refusal};
use ledger::{PayCommand, WalletId};
use tokio::task::JoinHandle;
use wal::testing::MemoryStorage;

use crate::harness::{
    GatedStorage, Node, Party, Setup, Shut, WATCH, amount, batch, batch_item, eventually, fund, pay, usd,
};

const ENGINE_MAX: u32 = 48;
const AGENT_MAX: u32 = 20;

struct Scene {
    shut: Shut,
    disk: GatedStorage,
    node: Node,
    payers: Vec<Party>,
    payee: Party,
    resting: Party,
}

impl Scene {
    /// Four funded payers on a disk that is stuck from now on. One party stays at rest.
    fn new() -> Self {
        let disk = GatedStorage::new(Arc::new(MemoryStorage::new()));
        let setup = Setup::new(disk.clone()).tuned(|options| {
            options.in_flight_max = ENGINE_MAX;
            options.in_flight_per_agent_max = AGENT_MAX;
        });
        let node = setup.start();
        let payers: Vec<_> = (0..4).map(|index| node.party(&format!("payer {index}"))).collect();
        let (payee, resting) = (node.party("payee"), node.party("resting"));
        for payer in &payers {
            node.run(node.engine.fund(&payer.caller, fund(payer, "1000"))).expect("funded");
        }
        let shut = disk.shut();
        Self { shut, disk, node, payers, payee, resting }
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        count: u32,
        ask: impl Fn(Engine, Party, WalletId) -> F,
        party: &Party,
    ) -> Vec<JoinHandle<T>> {
        let ask = |_| self.node.spawn(ask(self.node.engine.clone(), party.clone(), self.payee.wallet));
        (0..count).map(ask).collect()
    }

    fn spawn_pays(&self, payer: usize, count: u32) -> Vec<JoinHandle<Result<(), Refusal>>> {
        let ask = |engine: Engine, payer: Party, payee| async move {
            engine.pay(&payer.caller, pay(&payer, payee, "1")).await.map(drop)
        };
        self.spawn(count, ask, &self.payers[payer])
    }

    fn finish<T>(&self, tasks: Vec<JoinHandle<T>>) -> Vec<T> {
        self.node.run(async move {
            let mut finished = Vec::new();
            for task in tasks {
                finished.push(task.await.expect("no task panics"));
            }
            finished
        })
    }

    /// Waits until all but `pending` of the tasks have been answered, and says what those got.
    #[track_caller]
    fn answered<T>(&self, tasks: &mut Vec<JoinHandle<T>>, pending: usize) -> Vec<T> {
        eventually("the others are answered", || {
            tasks.iter().filter(|task| !task.is_finished()).count() <= pending
        });
        let (done, waiting) = std::mem::take(tasks).into_iter().partition(JoinHandle::is_finished);
        *tasks = waiting;
        assert_eq!(tasks.len(), pending);
        self.finish(done)
    }
}

#[test]
fn admission_bounds_what_waits_and_gives_everything_back() {
    let scene = Scene::new();
    let (node, engine) = (&scene.node, &scene.node.engine);
    let mut first = scene.spawn_pays(0, 100);
    assert_eq!(scene.answered(&mut first, 20), vec![Err(Refusal::TooManyInFlight); 80]);
    let mut second = scene.spawn_pays(1, 100);
    assert_eq!(scene.answered(&mut second, 20), vec![Err(Refusal::TooManyInFlight); 80]);
    let mut third = scene.spawn_pays(2, 100);
    assert_eq!(scene.answered(&mut third, 8), vec![Err(Refusal::Overloaded); 92]);
    assert_eq!(engine.gauges().in_flight, u64::from(ENGINE_MAX));

    // A batch weighs as many places as it has items; a refusal leaves nothing behind.
    let items = vec![(scene.payers[3].wallet, batch_item(scene.payee.wallet, "1")); 2];
    let refused = node.run(engine.pay_batch(&scene.payers[3].caller, batch(items)));
    assert_eq!(refused.map(drop), Err(Refusal::Overloaded));
    let refused = node.run(engine.fund(&scene.payers[3].caller, fund(&scene.payers[3], "1")));
    assert_eq!(refused.map(drop), Err(Refusal::Overloaded));
    assert_eq!(engine.gauges().in_flight, u64::from(ENGINE_MAX));

    assert_eq!(node.available(&scene.resting), usd(0), "a wallet at rest is read without the disk");
    assert_eq!(node.available(&scene.payee), usd(0), "and shows nothing that is not durable");

    scene.shut.open();
    let waiting = first.into_iter().chain(second).chain(third).collect();
    assert_eq!(scene.finish(waiting), vec![Ok(()); 48]);
    assert_eq!(engine.gauges().in_flight, 0);
    assert_eq!(node.available(&scene.payee), amount("48"));
    assert_eq!(node.available(&scene.payers[2]), amount("991.968"));
    node.check_trial_balance();
}

/// A read of a wallet whose last decision is not durable has to wait, and what waits is bounded.
#[test]
fn reads_that_have_to_wait_are_bounded_too() {
    let scene = Scene::new();
    let engine = &scene.node.engine;
    let mut pays = scene.spawn_pays(0, 1);
    eventually("the payment is under way", || engine.gauges().in_flight == 1);
    eventually("the payment is appended", || scene.disk.waiting() > 0);
    let read = |engine: Engine, party: Party, _| async move {
        engine.wallet(&party.caller, party.wallet).await.map(|view| view.available)
    };
    let mut reads = scene.spawn(500, read, &scene.payers[0]);
    let places = AGENT_MAX as usize - 1;
    assert_eq!(scene.answered(&mut reads, places), vec![Err(Refusal::TooManyInFlight); 500 - places]);
    let try_out = |engine: Engine, party: Party, payee| async move {
        engine.dry_run(&party.caller, pay(&party, payee, "1")).await.map(drop)
    };
    let mut tries = scene.spawn(10, try_out, &scene.payers[0]);
    assert_eq!(scene.answered(&mut tries, 0), vec![Err(Refusal::TooManyInFlight); 10]);
    // Nobody who goes away while waiting can pile up more.
    reads.iter().for_each(JoinHandle::abort);
    std::thread::sleep(WATCH);
    assert_eq!(engine.gauges().in_flight, u64::from(AGENT_MAX));
    scene.shut.open();
    assert_eq!(scene.finish(std::mem::take(&mut pays)), [Ok(())]);
    eventually("every place is free again", || engine.gauges().in_flight == 0);
    assert_eq!(scene.node.available(&scene.payers[0]), amount("998.996"));
}

/// A requester that goes away takes nothing back: what was decided happens, and its places come back.
#[test]
fn aborted_requests_keep_their_places_until_they_are_decided() {
    let scene = Scene::new();
    let engine = &scene.node.engine;
    let pays = scene.spawn_pays(0, 10);
    eventually("all are under way", || engine.gauges().in_flight == 10);
    pays.iter().for_each(JoinHandle::abort);
    std::thread::sleep(WATCH);
    assert_eq!(engine.gauges().in_flight, 10);
    scene.shut.open();
    eventually("every place is free again", || engine.gauges().in_flight == 0);
    assert_eq!(scene.node.available(&scene.payee), amount("10"));
    assert_eq!(scene.node.available(&scene.payers[0]), amount("989.96"));
}

/// A bound below the size of one batch does not make the batch impossible.
#[test]
fn a_batch_above_every_bound_passes_alone() {
    let scene = Scene::new();
    scene.shut.open();
    let payer = &scene.payers[0];
    let items = vec![(payer.wallet, batch_item(scene.payee.wallet, "1")); 100];
    let request = PayBatch { atomic: true, ..batch(items) };
    let answer = scene.node.run(scene.node.engine.pay_batch(&payer.caller, request)).expect("paid");
    assert_eq!(answer.value.len(), 100);
    assert_eq!(scene.node.engine.gauges().in_flight, 0);
    assert_eq!(scene.node.available(&scene.payee), amount("100"));
}

/// The wallet's own bound counts what its owner has not come to yet.
#[test]
fn commands_beyond_a_wallets_bound_are_refused_and_cost_nothing() {
    let disk = MemoryStorage::new();
    let setup = Setup::new(disk).tuned(|options| {
        options.in_flight_per_wallet_max = 0;
        options.activation = Activation::Every(NonZeroU32::MIN);
    });
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    let funded = node.run(node.engine.fund(&alice.caller, fund(&alice, "1")));
    assert_eq!(funded.map(drop), Err(Refusal::TooManyInFlight));
    let command: PayCommand = pay(&alice, bob.wallet, "1");
    assert_eq!(node.run(node.engine.pay(&alice.caller, command)).map(drop), Err(Refusal::TooManyInFlight));
    let items = vec![(alice.wallet, batch_item(bob.wallet, "1"))];
    let refused = node.run(node.engine.pay_batch(&alice.caller, batch(items)));
    assert_eq!(refused.map(drop), Err(Refusal::TooManyInFlight));
    assert_eq!(node.engine.gauges().in_flight, 0);
}
