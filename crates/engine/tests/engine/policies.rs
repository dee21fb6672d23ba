//! Spending policies of wallets: what they refuse, that nothing passes a limit whatever races, and that usage is the same
//! after every kind of end.

use std::sync::Arc;

use engine::{Authorize, Engine, PolicyView, Refusal};
use ledger::{
    Amount, BatchItem, CountLimit, Denial, PayCommand, Policy, PolicyDenial, PolicyFigures, PolicyRule,
    PolicyScope, Recipient, Span, SpendLimit, Timestamp, Window,
};
use testkit::Random;
use wal::testing::{FaultyStorage, MemoryStorage};

use crate::harness::{
    Market, Node, Party, Setup, amount, batch, batch_item, denial, external, for_each_power_cut, fund, pass,
    pay, pay_keyed,
};

const AT: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const MONTH: Span = Span { window: Window::Month, rolling: true };
const MINUTE: Span = Span { window: Window::Seconds(60), rolling: true };

fn limit(units: &str, span: Span) -> Policy {
    Policy { limits: vec![SpendLimit { amount: amount(units), span }], ..Policy::default() }
}

fn set(node: &Node, party: &Party, policy: Policy) -> PolicyView {
    let set = node.run(node.engine.set_policy(&party.caller, party.wallet, policy, AT));
    set.expect("one's own wallet takes a policy")
}

fn read(node: &Node, party: &Party) -> PolicyView {
    node.run(node.engine.policy(&party.caller, party.wallet)).expect("one's own policy can be read")
}

/// What the first window has used.
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

/// Alice has 100 dollars; bob has an empty wallet.
fn scene(setup: &Setup) -> (Node, Party, Party) {
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
    (node, alice, bob)
}

#[test]
fn a_policy_is_set_read_replaced_and_removed_by_its_owner() {
    let (node, alice, bob) = scene(&Setup::new(MemoryStorage::new()));
    assert!(read(&node, &alice).policy.is_empty());
    let policy = limit("10", MONTH);
    let view = set(&node, &alice, policy.clone());
    assert_eq!((&view.policy, view.changed_at), (&policy, Some(AT)));
    let recorded = node.engine.gauges().appended_lsn;
    assert_eq!(set(&node, &alice, policy.clone()).policy, policy);
    assert_eq!(node.engine.gauges().appended_lsn, recorded, "nothing has changed, nothing is written");
    let foreign = node.run(node.engine.set_policy(&bob.caller, alice.wallet, policy, AT));
    assert_eq!(denial(foreign), Denial::UnknownWallet);
    let foreign = node.run(node.engine.policy(&bob.caller, alice.wallet));
    assert_eq!(denial(foreign), Denial::UnknownWallet);
    assert_eq!(set(&node, &alice, Policy::default()).changed_at, None);
    assert!(read(&node, &alice).remaining.is_empty());
}

#[test]
fn payments_tries_batches_and_calls_are_held_to_it() {
    let setup = Setup::new(MemoryStorage::new());
    let node = setup.start();
    let market = Market::open(&node, None);
    let alice = market.consumer.clone();
    set(&node, &alice, Policy { max_per_payment: Some(amount("2")), ..limit("2.509", MONTH) });
    let shop = market.provider.wallet;
    let to = |units| pay(&alice, shop, units);
    let over = refused(node.run(node.engine.pay(&alice.caller, to("2"))));
    assert_eq!((over.rule, over.scope), (PolicyRule::MaxPerPayment, PolicyScope::Wallet), "the fee counts");
    assert_eq!(refused(node.run(node.engine.dry_run(&alice.caller, to("2")))), over);
    let items: Vec<_> = ["1", "1", "0.5"].map(|units| (alice.wallet, batch_item(shop, units))).into();
    let results = node.run(node.engine.pay_batch(&alice.caller, batch(items.clone()))).expect("carried out");
    let outcomes: Vec<bool> = results.value.iter().map(Result::is_ok).collect();
    assert_eq!(outcomes, [true, true, false], "items draw on what earlier ones left");
    let last = refused(results.value.into_iter().next_back().expect("three items"));
    let [limit, used_up, needed] = ["2.509", "2.008", "0.502"].map(amount);
    assert_eq!(last.figures, PolicyFigures::Amounts { limit, used: used_up, needed });
    let again = refused(node.run(node.engine.pay(&alice.caller, to("0.5"))));
    assert_eq!(again, last);
    // 0.5 without a fee still fits; a second call does not.
    market.reserve(&node);
    let call = refused(node.run(node.engine.authorize(&alice.caller, market.ask())));
    assert_eq!(call.rule, PolicyRule::Limits);
    assert_eq!(used(&read(&node, &alice)), amount("2.508"));
    node.check_trial_balance();
}

#[test]
fn recipients_categories_and_replays_are_known() {
    let node = Setup::new(MemoryStorage::new()).start();
    let market = Market::open(&node, None);
    let alice = market.consumer.clone();
    let first = pay_keyed(&alice, market.provider.wallet, "1", "k", 1);
    node.run(node.engine.pay(&alice.caller, first.clone())).expect("paid");
    let only = |recipient| Policy { allowed_recipients: Some(vec![recipient]), ..Policy::default() };
    set(&node, &alice, only(Recipient::Agent(market.provider.id())));
    node.run(node.engine.pay(&alice.caller, pay(&alice, market.provider.wallet, "1"))).expect("its wallet");
    market.reserve(&node);
    let outside = PayCommand { payee: external("shop"), ..pay(&alice, market.provider.wallet, "1") };
    let denied = refused(node.run(node.engine.pay(&alice.caller, outside.clone())));
    assert_eq!(denied.rule, PolicyRule::AllowedRecipients);
    let item = BatchItem { payee: external("shop"), ..batch_item(market.provider.wallet, "1") };
    let items = vec![(alice.wallet, item), (alice.wallet, batch_item(market.provider.wallet, "1"))];
    let results = node.run(node.engine.pay_batch(&alice.caller, batch(items))).expect("carried out").value;
    assert!(results[0].is_err() && results[1].is_ok());
    set(&node, &alice, only(Recipient::Label("shop".into())));
    node.run(node.engine.pay(&alice.caller, outside)).expect("allowed now");
    let again = node.run(node.engine.pay(&alice.caller, first)).expect("answered before the policy");
    assert!(again.replayed);
    let service =
        Policy { blocked_recipients: vec![Recipient::Service(market.service)], ..Policy::default() };
    set(&node, &alice, service);
    let call = refused(node.run(node.engine.authorize(&alice.caller, market.ask())));
    assert_eq!(call.rule, PolicyRule::BlockedRecipients);
    let category = |text: &str| Policy { allowed_categories: Some(vec![text.into()]), ..Policy::default() };
    set(&node, &alice, category("llm"));
    let call = refused(node.run(node.engine.authorize(&alice.caller, market.ask())));
    assert_eq!(call.rule, PolicyRule::AllowedCategories);
    set(&node, &alice, category("data"));
    market.reserve(&node);
}

#[test]
fn holds_count_and_are_given_back_when_they_end() {
    let setup = Setup::new(MemoryStorage::new());
    let node = setup.start();
    let market = Market::open(&node, None);
    let alice = market.consumer.clone();
    set(&node, &alice, limit("1", MONTH));
    let (kept, cancelled) = (market.reserve(&node), market.reserve(&node));
    assert_eq!(
        refused(node.run(node.engine.authorize(&alice.caller, market.ask()))).rule,
        PolicyRule::Limits
    );
    node.run(node.engine.cancel_token(&alice.caller, cancelled.id)).expect("cancelled");
    assert_eq!(used(&read(&node, &alice)), amount("0.5"));
    let expiring = Authorize { ttl_ms: Some(1_000), ..market.ask() };
    node.run(node.engine.authorize(&alice.caller, expiring)).expect("there is room again");
    assert_eq!(used(&read(&node, &alice)), amount("1"));
    pass(&node, &setup.clock, 2_000);
    crate::harness::eventually("the hold goes back", || used(&read(&node, &alice)) == amount("0.5"));
    market.verify(&node, kept.id);
    market.start(&node, kept.id);
    market.accept(&node, kept.id);
    market.complete(&node, kept.id);
    assert_eq!(used(&read(&node, &alice)), amount("0.5"), "what was paid stays used");
    node.shutdown();
    setup.audit();
}

#[test]
fn a_window_lets_payments_pass_again_and_jumps_of_the_clock_change_nothing() {
    let setup = Setup::new(MemoryStorage::new());
    let (node, alice, bob) = scene(&setup);
    set(&node, &alice, limit("5.1", MINUTE));
    let try_to_pay = || node.run(node.engine.pay(&alice.caller, pay(&alice, bob.wallet, "5")));
    try_to_pay().expect("the first");
    let denied = refused(try_to_pay());
    let reset_at = denied.reset_at.expect("waiting helps");
    setup.clock.jump(3_600_000);
    assert_eq!(refused(try_to_pay()).reset_at, denied.reset_at, "no time has passed");
    setup.clock.jump(-7_200_000);
    assert_eq!(refused(try_to_pay()).reset_at, denied.reset_at);
    setup.clock.jump(3_600_000);
    pass(&node, &setup.clock, reset_at.millis() - setup.clock.now().millis());
    try_to_pay().expect("at the time that was named");
}

/// A thousand at once against room for a hundred and fifty, at rest and with an actor, alone and in batches.
#[test]
fn payments_that_race_never_pass_a_limit() {
    let (node, alice, bob) = scene(&Setup::new(MemoryStorage::new()).tuned(|options| {
        options.in_flight_per_wallet_max = 10_000;
        options.in_flight_per_agent_max = 10_000;
    }));
    let policy = Policy { max_payments: vec![CountLimit { count: 150, span: MONTH }], ..limit("1.6", MONTH) };
    set(&node, &alice, policy);
    let tasks: Vec<_> = (0..1_000)
        .map(|task| {
            let (engine, alice, bob) = (node.engine.clone(), alice.clone(), bob.wallet);
            node.spawn(async move {
                if task % 10 > 0 {
                    return vec![engine.pay(&alice.caller, pay(&alice, bob, "0.01")).await.map(drop)];
                }
                let items = vec![(alice.wallet, batch_item(bob, "0.01")); 3];
                let results = engine.pay_batch(&alice.caller, batch(items)).await.expect("carried out");
                results.value.into_iter().map(|result| result.map(drop)).collect()
            })
        })
        .collect();
    let outcomes = node.run(async move {
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.extend(task.await.expect("no task panics"));
        }
        outcomes
    });
    let paid = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(paid, 150, "exactly as many as may");
    for outcome in outcomes.into_iter().filter(Result::is_err) {
        assert_eq!(refused(outcome).rule, PolicyRule::MaxPayments);
    }
    let spent = amount("100").minus(node.available(&alice));
    assert_eq!((spent, used(&read(&node, &alice))), (amount("1.506"), amount("1.506")));
}

#[test]
fn usage_is_the_same_after_a_kill_a_snapshot_and_both() {
    let setup = Setup::new(MemoryStorage::new());
    let node = setup.start();
    let market = Market::open(&node, None);
    let alice = market.consumer.clone();
    let windows = [MONTH, MINUTE].map(|span| SpendLimit { amount: amount("50"), span });
    let counts = vec![CountLimit { count: 9, span: Span { window: Window::Day, rolling: false } }];
    set(&node, &alice, Policy { limits: windows.into(), max_payments: counts, ..Policy::default() });
    let spend = |node: &Node, units| {
        node.run(node.engine.pay(&alice.caller, pay(&alice, market.provider.wallet, units))).expect("paid");
    };
    spend(&node, "3");
    let token = market.reserve(&node);
    let check = |node: Node, before: PolicyView| {
        let after = read(&node, &alice);
        assert_eq!((&after.policy, after.changed_at), (&before.policy, before.changed_at));
        assert_eq!(after.remaining, before.remaining);
        node
    };
    let before = read(&node, &alice);
    node.kill();
    let node = check(setup.start(), before);
    node.run(node.engine.snapshot_now()).expect("a snapshot");
    spend(&node, "2");
    node.run(node.engine.cancel_token(&alice.caller, token.id)).expect("cancelled");
    let before = read(&node, &alice);
    assert_eq!(used(&before), amount("5.02"));
    node.kill();
    setup.audit();
    let node = check(setup.start(), before.clone());
    node.shutdown();
    setup.audit();
    check(setup.start(), before).kill();
}

/// Spends, reserves and gives back at random, and changes the policy now and then.
async fn client(engine: Engine, market: Arc<Market>, mut random: Random) {
    let alice = &market.consumer;
    for step in 0..40 {
        match random.below(4) {
            0 => {
                if let Ok(token) = engine.authorize(&alice.caller, market.ask()).await
                    && random.below(2) == 0
                {
                    engine.cancel_token(&alice.caller, token.value.id).await.expect("cancelled");
                }
            }
            1 => {
                let items = vec![(alice.wallet, batch_item(market.provider.wallet, "0.25")); 3];
                engine.pay_batch(&alice.caller, batch(items)).await.expect("carried out");
            }
            _ => drop(engine.pay(&alice.caller, pay(alice, market.provider.wallet, "0.5")).await),
        }
        if step % 20 == 19 {
            let most = amount(if random.below(2) == 0 { "30" } else { "40" });
            let policy = Policy { max_per_payment: Some(most), ..limit("60", MONTH) };
            engine.set_policy(&alice.caller, alice.wallet, policy, AT).await.expect("set");
        }
    }
}

/// Power cuts at many moments: what is used is what has left the wallet's spendable money, always.
#[test]
fn usage_follows_the_money_through_power_cuts() {
    const REPLAY: &str = "cargo test -p engine --test engine usage_follows_the_money_through_power_cuts";
    let mut random = Random::new(testkit::seed(REPLAY));
    let disk = FaultyStorage::new();
    let setup = Setup::new(disk.clone()).with_many_segments();
    let node = setup.start();
    let market = Arc::new(Market::open(&node, None));
    set(&node, &market.consumer, limit("60", MONTH));
    let opened = disk.call_count();
    let tasks: Vec<_> = (0..6)
        .map(|_| node.spawn(client(node.engine.clone(), market.clone(), Random::new(random.next_u64()))))
        .collect();
    node.run(async move {
        for task in tasks {
            task.await.expect("no task panics");
        }
    });
    node.kill();
    let calls = disk.calls();
    for_each_power_cut(&calls, opened, 60, &mut random, |moment, image| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let setup = setup.on(image).with_snapshots(directory.path());
        let node = setup.start();
        let used = used(&read(&node, &market.consumer));
        let left = amount("100").minus(node.available(&market.consumer));
        assert_eq!(used, left, "at call {moment}");
        assert!(used <= amount("60"));
        node.kill();
        setup.audit();
    });
}
