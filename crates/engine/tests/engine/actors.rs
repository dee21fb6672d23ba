//! Virtual actors: wallets go to rest and come back at any moment, and nothing is lost in between.

use std::{sync::Arc, time::Duration};

use engine::Engine;
use ledger::{Amount, WalletStatus};
use testkit::Random;
use wal::testing::MemoryStorage;

use crate::harness::{Node, PATIENCE, Party, Setup, amount, eventually, fund, pay, usd};

const WALLETS: usize = 24;
const EACH: &str = "1000";

/// Wallets that go to rest after a few milliseconds, on four workers.
fn restless(setup: Setup, idle: Duration) -> (Setup, Node, Arc<Vec<Party>>) {
    let mut setup = setup.tuned(|options| options.idle_after = idle);
    setup.workers = 4;
    let node = setup.start();
    let parties: Vec<_> = (0..WALLETS).map(|index| node.party(&format!("party {index}"))).collect();
    for party in &parties {
        node.run(node.engine.fund(&party.caller, fund(party, EACH))).expect("funded");
    }
    (setup, node, Arc::new(parties))
}

/// Sum of what the wallets hold, as far as their owners say.
fn held(node: &Node, parties: &[Party]) -> i128 {
    parties.iter().map(|party| node.available(party).nanos()).sum()
}

/// Pays between random wallets with pauses of random length, so that wallets rest now and then. Returns the fees.
async fn wander(engine: Engine, parties: Arc<Vec<Party>>, mut random: Random, payments: usize) -> i128 {
    let mut fees = 0;
    for _ in 0..payments {
        let (payer, payee) = (random.pick(&parties), random.pick(&parties));
        if payer.wallet == payee.wallet {
            continue;
        }
        let amount = Amount::from_nanos(1 + i128::from(random.below(1_000_000_000)));
        let command = ledger::PayCommand { amount, ..pay(payer, payee.wallet, "1") };
        let receipt = engine.pay(&payer.caller, command).await.expect("everybody has plenty").value;
        fees += receipt.payment.fee.nanos();
        if random.chance(5) {
            tokio::time::sleep(Duration::from_millis(random.below(6))).await;
        }
    }
    fees
}

#[test]
fn sums_stay_exact_while_wallets_come_and_go() {
    const REPLAY: &str = "cargo test -p engine --test engine sums_stay_exact_while_wallets_come_and_go";
    let mut random = Random::new(testkit::seed(REPLAY));
    let (setup, node, parties) = restless(Setup::new(MemoryStorage::new()), Duration::from_millis(2));
    let wandering: Vec<_> = (0..32)
        .map(|_| {
            node.spawn(wander(node.engine.clone(), parties.clone(), Random::new(random.next_u64()), 250))
        })
        .collect();
    let fees: i128 = node.run(async move {
        let mut fees = 0;
        for task in wandering {
            fees += task.await.expect("no task panics");
        }
        fees
    });
    let given: i128 = amount(EACH).nanos() * i128::try_from(WALLETS).expect("few");
    assert_eq!(held(&node, &parties), given - fees);
    node.check_trial_balance();
    assert_eq!(node.engine.gauges().wallets, WALLETS as u64);
    eventually("every wallet is at rest", || node.engine.gauges().active_actors == 0);
    assert_eq!(held(&node, &parties), given - fees, "at rest nothing has changed");
    assert_eq!(node.engine.gauges().active_actors, 0, "and reading woke nobody");
    node.shutdown();
    setup.audit();
}

/// One wallet is paid all the time and commanded now and then, just as it goes to rest.
#[test]
fn credits_arrive_whatever_state_their_wallet_is_in() {
    const REPLAY: &str =
        "cargo test -p engine --test engine credits_arrive_whatever_state_their_wallet_is_in";
    let mut random = Random::new(testkit::seed(REPLAY));
    let (setup, node, parties) = restless(Setup::new(MemoryStorage::new()), Duration::from_millis(1));
    let target = parties[0].clone();
    let payers: Vec<_> = parties[1..9]
        .iter()
        .map(|payer| {
            let (engine, payer, payee) = (node.engine.clone(), payer.clone(), target.wallet);
            node.spawn(async move {
                for _ in 0..400 {
                    engine.pay(&payer.caller, pay(&payer, payee, "0.5")).await.expect("paid");
                }
            })
        })
        .collect();
    let (engine, waker) = (node.engine.clone(), target.clone());
    let seed = random.next_u64();
    let waking = node.spawn(async move {
        let mut random = Random::new(seed);
        let mut wanted = WalletStatus::Frozen;
        for _ in 0..300 {
            let at = engine.clock().now();
            let view = engine.set_status(&waker.caller, waker.wallet, wanted, at).await.expect("in turn");
            assert_eq!(view.status, wanted);
            wanted = match wanted {
                WalletStatus::Frozen => WalletStatus::Active,
                _ => WalletStatus::Frozen,
            };
            tokio::time::sleep(Duration::from_millis(random.below(5))).await;
        }
    });
    node.run(async move {
        for task in payers {
            task.await.expect("no task panics");
        }
        waking.await.expect("no task panics");
    });
    assert_eq!(node.available(&target), amount("2600"));
    node.check_trial_balance();
    node.shutdown();
    setup.audit();
}

/// A wallet that is only paid is never woken, and one that is only read wakes nobody else.
#[test]
fn a_credit_wakes_nobody() {
    let setup = Setup::new(MemoryStorage::new()).tuned(|options| options.idle_after = PATIENCE);
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    assert_eq!(node.engine.gauges().active_actors, 0);
    node.run(node.engine.fund(&alice.caller, fund(&alice, "10"))).expect("funded");
    assert_eq!(node.engine.gauges().active_actors, 1);
    node.run(node.engine.pay(&alice.caller, pay(&alice, bob.wallet, "1"))).expect("paid");
    assert_eq!(node.available(&bob), amount("1"));
    assert_eq!(node.engine.gauges().active_actors, 1, "the payee sleeps on");
    let refused = node.run(node.engine.dry_run(&bob.caller, pay(&bob, alice.wallet, "5")));
    assert!(refused.is_err());
    assert_eq!(node.engine.gauges().active_actors, 1, "trying a payment out wakes nobody");
    assert_eq!(node.wallet(&bob).held, usd(0));
    node.shutdown();
}

/// What the metrics exporter polls is in order at every moment.
#[test]
fn gauges_are_in_order_under_load() {
    const REPLAY: &str = "cargo test -p engine --test engine gauges_are_in_order_under_load";
    let mut random = Random::new(testkit::seed(REPLAY));
    let (setup, node, parties) =
        restless(Setup::new(MemoryStorage::new()).with_history(), Duration::from_millis(2));
    let wandering: Vec<_> = (0..8)
        .map(|_| {
            node.spawn(wander(node.engine.clone(), parties.clone(), Random::new(random.next_u64()), 300))
        })
        .collect();
    while wandering.iter().any(|task| !task.is_finished()) {
        let gauges = node.engine.gauges();
        assert!(
            gauges.history_cursor <= gauges.durable_lsn
                && gauges.delivered_lsn <= gauges.durable_lsn
                && gauges.durable_lsn <= gauges.appended_lsn,
            "{gauges:?}"
        );
        node.check_trial_balance();
    }
    node.run(async move {
        for task in wandering {
            task.await.expect("no task panics");
        }
    });
    assert_eq!(node.engine.gauges().in_flight, 0);
    node.shutdown();
    setup.audit();
}
