//! Spending policies of agents: what all wallets of one may spend together, whatever races, and after every kind of end.

use std::sync::Arc;

use engine::{Authorize, Engine, PolicyView, Refusal};
use ledger::{
    Amount, Currency, Denial, Policy, PolicyDenial, PolicyFigures, PolicyRule, PolicyScope, Recipient, Span,
    SpendLimit, Timestamp, Window,
};
use testkit::Random;
use wal::testing::{FaultyStorage, MemoryStorage};

use crate::harness::{
    Market, Node, Party, Setup, amount, batch, batch_item, denial, eventually, for_each_power_cut, fund,
    pass, pay,
};

const AT: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const MONTH: Span = Span { window: Window::Month, rolling: true };

fn limit(units: &str) -> Policy {
    Policy { limits: vec![SpendLimit { amount: amount(units), span: MONTH }], ..Policy::default() }
}

fn set(node: &Node, party: &Party, policy: Policy) -> PolicyView {
    node.run(node.engine.set_agent_policy(&party.caller, policy, AT)).expect("one's own agent takes a policy")
}

fn read(node: &Node, party: &Party) -> PolicyView {
    node.run(node.engine.agent_policy(&party.caller)).expect("one's own policy can be read")
}

fn used(view: &PolicyView) -> Amount {
    let PolicyFigures::Amounts { used, .. } = view.remaining[0].figures else { panic!("{view:?}") };
    used
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> PolicyDenial {
    match denial(outcome) {
        Denial::Policy(denial) => *denial,
        other => panic!("expected a policy's denial, got {other:?}"),
    }
}

/// Alice has 100 dollars in each of two wallets; bob has an empty one.
fn scene(setup: &Setup) -> (Node, [Party; 2], Party) {
    let node = setup.start();
    let alice = node.party("alice");
    let wallets = [node.another(&alice, Currency::USD), alice];
    for wallet in &wallets {
        node.run(node.engine.fund(&wallet.caller, fund(wallet, "100"))).expect("funded");
    }
    let bob = node.party("bob");
    (node, wallets, bob)
}

#[test]
fn wallets_draw_on_one_budget() {
    let (node, [one, two], bob) = scene(&Setup::new(MemoryStorage::new()));
    set(&node, &one, limit("10"));
    let from =
        |wallet: &Party, units| node.run(node.engine.pay(&wallet.caller, pay(wallet, bob.wallet, units)));
    from(&one, "5").expect("there is room");
    let denied = refused(from(&two, "5"));
    assert_eq!((denied.scope, denied.rule), (PolicyScope::Agent, PolicyRule::Limits));
    let [limited, spent, needed] = ["10", "5.02", "5.02"].map(amount);
    assert_eq!(denied.figures, PolicyFigures::Amounts { limit: limited, used: spent, needed });
    let tried = node.run(node.engine.dry_run(&two.caller, pay(&two, bob.wallet, "5")));
    assert_eq!(refused(tried), denied);
    let items = [(&one, "2"), (&two, "2"), (&two, "0.5")];
    let items = items.map(|(wallet, units)| (wallet.wallet, batch_item(bob.wallet, units))).into();
    let results = node.run(node.engine.pay_batch(&one.caller, batch(items))).expect("carried out").value;
    let outcomes: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(outcomes, [true, true, true], "9.538 of 10");
    assert_eq!(used(&read(&node, &one)), amount("9.538"));
    // Others are not concerned, and without a policy nothing is asked.
    node.run(node.engine.fund(&bob.caller, fund(&bob, "100"))).expect("funded");
    node.run(node.engine.pay(&bob.caller, pay(&bob, one.wallet, "50"))).expect("bob has no policy");
    set(&node, &one, Policy::default());
    from(&two, "50").expect("no policy any more");
}

#[test]
fn what_is_refused_elsewhere_uses_nothing() {
    let (node, [one, two], bob) = scene(&Setup::new(MemoryStorage::new()));
    set(&node, &one, Policy { blocked_recipients: vec![Recipient::Label("x".into())], ..limit("150") });
    for _ in 0..3 {
        let poor = node.run(node.engine.pay(&one.caller, pay(&one, bob.wallet, "120")));
        assert!(matches!(denial(poor), Denial::InsufficientBalance { .. }));
    }
    let blocked = ledger::PayCommand { payee: crate::harness::external("x"), ..pay(&one, bob.wallet, "1") };
    let denied = refused(node.run(node.engine.pay(&one.caller, blocked)));
    assert_eq!((denied.scope, denied.rule), (PolicyScope::Agent, PolicyRule::BlockedRecipients));
    assert_eq!(used(&read(&node, &one)), Amount::ZERO);
    for wallet in [&one, &two] {
        node.run(node.engine.pay(&wallet.caller, pay(wallet, bob.wallet, "70"))).expect("all of it is there");
    }
}

#[test]
fn holds_of_all_wallets_count_and_go_back() {
    let setup = Setup::new(MemoryStorage::new());
    let node = setup.start();
    let market = Market::open(&node, None);
    let alice = market.consumer.clone();
    set(&node, &alice, limit("1"));
    let ask = || Authorize { ttl_ms: Some(1_000), ..market.ask() };
    let reserve = || node.run(node.engine.authorize(&alice.caller, ask()));
    let first = reserve().expect("there is room").value;
    reserve().expect("there is room for two");
    assert_eq!(refused(reserve()).scope, PolicyScope::Agent);
    node.run(node.engine.cancel_token(&alice.caller, first.id)).expect("cancelled");
    reserve().expect("there is room again");
    assert!(!used(&read(&node, &alice)).is_zero());
    pass(&node, &setup.clock, 1_100);
    eventually("holds go back", || used(&read(&node, &alice)).is_zero());
    node.shutdown();
    setup.audit();
}

/// Whoever has an answer finds its reservation gone: nobody is refused for what he has given back, whichever task decided
/// for him and however late that task goes on.
#[test]
fn an_answered_request_reserves_nothing() {
    let node = Setup::new(MemoryStorage::new()).start();
    let market = Market::open(&node, None);
    set(&node, &market.consumer, limit("1"));
    // Threads that want the processors, so that tasks are interrupted anywhere.
    let wanted = Arc::new(());
    for _ in 0..2 {
        let wanted = Arc::downgrade(&wanted);
        std::thread::spawn(move || while wanted.strong_count() > 0 {});
    }
    for _ in 0..300 {
        for token in [market.reserve(&node), market.reserve(&node)] {
            node.run(node.engine.cancel_token(&market.consumer.caller, token.id)).expect("cancelled");
        }
    }
}

/// Two wallets race for room that only some of them can have.
#[test]
fn wallets_that_race_never_pass_the_limit_together() {
    let (node, wallets, bob) = scene(&Setup::new(MemoryStorage::new()).tuned(|options| {
        options.in_flight_per_wallet_max = 10_000;
        options.in_flight_per_agent_max = 10_000;
    }));
    set(&node, &wallets[0], limit("1.506"));
    let tasks: Vec<_> = (0..1_000)
        .map(|task| {
            let (engine, wallet, bob) = (node.engine.clone(), wallets[task % 2].clone(), bob.wallet);
            node.spawn(async move { engine.pay(&wallet.caller, pay(&wallet, bob, "0.01")).await.map(drop) })
        })
        .collect();
    let paid = node.run(async move {
        let mut paid = 0;
        for task in tasks {
            match task.await.expect("no task panics") {
                Ok(()) => paid += 1,
                refusal => assert_eq!(refused(refusal).scope, PolicyScope::Agent),
            }
        }
        paid
    });
    let left = wallets.iter().fold(Amount::ZERO, |sum, wallet| sum.plus(node.available(wallet)));
    let spent = amount("200").minus(left);
    assert!(paid <= 150 && spent <= amount("1.506"), "{paid} payments, {spent}");
    assert_eq!(used(&read(&node, &wallets[0])), spent);
    // A race may refuse early; nobody stays locked out of what is left.
    for _ in paid..150 {
        node.run(node.engine.pay(&wallets[0].caller, pay(&wallets[0], bob.wallet, "0.01")))
            .expect("room is left");
    }
    let last = node.run(node.engine.pay(&wallets[1].caller, pay(&wallets[1], bob.wallet, "0.01")));
    assert_eq!(refused(last).rule, PolicyRule::Limits);
}

#[test]
fn a_budget_is_the_same_after_a_kill_a_snapshot_and_both() {
    let setup = Setup::new(MemoryStorage::new());
    let (node, [one, two], bob) = scene(&setup);
    set(&node, &one, limit("50"));
    let spend = |node: &Node, wallet: &Party| {
        node.run(node.engine.pay(&wallet.caller, pay(wallet, bob.wallet, "5"))).expect("paid");
    };
    spend(&node, &one);
    spend(&node, &two);
    node.kill();
    let node = setup.start();
    assert_eq!(used(&read(&node, &one)), amount("10.04"));
    node.run(node.engine.snapshot_now()).expect("a snapshot");
    spend(&node, &two);
    set(&node, &one, Policy { max_per_payment: Some(amount("40")), ..limit("60") });
    let before = read(&node, &one);
    node.kill();
    setup.audit();
    let node = setup.start();
    let after = read(&node, &one);
    assert_eq!((after.policy, after.remaining), (before.policy, before.remaining));
    assert_eq!(used(&read(&node, &one)), amount("15.06"));
    node.shutdown();
    setup.audit();
    let node = setup.start();
    assert_eq!(used(&read(&node, &one)), amount("15.06"));
}

async fn client(engine: Engine, market: Arc<Market>, wallets: Arc<[Party; 2]>, mut random: Random) {
    for step in 0..40 {
        let wallet = &wallets[random.index(2)];
        match random.below(3) {
            0 => {
                let ask = engine::Authorize { payer: wallet.wallet, ..market.ask() };
                if let Ok(token) = engine.authorize(&wallet.caller, ask).await
                    && random.below(2) == 0
                {
                    engine.cancel_token(&wallet.caller, token.value.id).await.expect("cancelled");
                }
            }
            1 => {
                let items =
                    wallets.iter().map(|wallet| (wallet.wallet, batch_item(market.provider.wallet, "0.25")));
                engine.pay_batch(&wallet.caller, batch(items.collect())).await.expect("carried out");
            }
            _ => drop(engine.pay(&wallet.caller, pay(wallet, market.provider.wallet, "0.5")).await),
        }
        if step == 20 {
            let policy = Policy { max_per_payment: Some(amount("30")), ..limit("60") };
            engine.set_agent_policy(&wallet.caller, policy, AT).await.expect("set");
        }
    }
}

/// Power cuts at many moments: what is used is what has left the spendable money of all wallets, always.
#[test]
fn a_budget_follows_the_money_through_power_cuts() {
    const REPLAY: &str = "cargo test -p engine --test engine a_budget_follows_the_money_through_power_cuts";
    let mut random = Random::new(testkit::seed(REPLAY));
    let disk = FaultyStorage::new();
    let setup = Setup::new(disk.clone()).with_many_segments();
    let node = setup.start();
    let market = Arc::new(Market::open(&node, None));
    let second = node.another(&market.consumer, Currency::USD);
    node.run(node.engine.fund(&second.caller, fund(&second, "100"))).expect("funded");
    let wallets = Arc::new([market.consumer.clone(), second]);
    set(&node, &wallets[0], limit("60"));
    let opened = disk.call_count();
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let random = Random::new(random.next_u64());
            node.spawn(client(node.engine.clone(), market.clone(), wallets.clone(), random))
        })
        .collect();
    node.run(async move {
        for task in tasks {
            task.await.expect("no task panics");
        }
    });
    node.kill();
    let calls = disk.calls();
    for_each_power_cut(&calls, opened, 20, &mut random, |moment, image| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let setup = setup.on(image).with_snapshots(directory.path());
        let node = setup.start();
        let left = wallets.iter().fold(Amount::ZERO, |sum, wallet| sum.plus(node.available(wallet)));
        let used = used(&read(&node, &wallets[0]));
        assert_eq!(used, amount("200").minus(left), "at call {moment}");
        assert!(used <= amount("60"));
        node.shutdown();
        setup.audit();
    });
}
