//! Webhooks in the ledger: decided once, seen when durable, the same after every end; and the events that the log tells.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use engine::{Asker, Authorize, CreateWebhook, Event, EventsError, Happening};
use ledger::{
    Denial, DisputeMove, EventKind, KeyUse, PatchWebhookCommand, PayCommand, Policy, PolicyRule, Timestamp,
    TokenStatus, Webhook, WebhookDisabled,
};
use wal::testing::{FaultyStorage, Loss, MemoryStorage};

use crate::harness::{
    GatedStorage, Market, Node, Party, Setup, amount, denial, eventually, evidence_for, external, fund, key,
    pass, pay,
};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn everything(key: Option<KeyUse>) -> CreateWebhook {
    let events = ["payment.*", "wallet.*", "token.*", "service.*", "dispute.*"].map(Into::into).to_vec();
    CreateWebhook { url: "https://a.example/hook".into(), events, description: None, key, at: at(1) }
}

fn listen(node: &Node, party: &Party) -> Webhook {
    let created = node.run(node.engine.create_webhook(&party.caller, everything(None))).expect("created");
    let found = node.engine.webhook(party.id(), created.value.webhook).expect("published with the answer");
    (*found).clone()
}

/// Everything that the log tells from `from` on.
fn told(node: &Node, from: u64) -> Vec<Event> {
    let runtime = node.runtime();
    let engine = node.engine.clone();
    let telling = std::thread::spawn(move || {
        let (mut tail, mut events) = (engine.events(from), Vec::new());
        loop {
            match tail.next(Duration::from_millis(50), &runtime) {
                Ok(Some(batch)) => events.extend(batch.events),
                Ok(None) | Err(EventsError::Ended) => return events,
                Err(error) => panic!("{error}"),
            }
        }
    });
    telling.join().expect("the tail does not panic")
}

fn names(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind.name()).collect()
}

#[test]
fn webhooks_are_the_same_after_a_crash_and_from_a_snapshot() {
    let disk = FaultyStorage::new();
    let setup = Setup::new(disk.clone());
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    let (kept, gone) = (listen(&node, &alice), listen(&node, &alice));
    let id = kept.id;
    let patch = PatchWebhookCommand { description: Some(Some("d".into())), at: at(2), ..Default::default() };
    node.run(node.engine.patch_webhook(&alice.caller, id, patch.clone())).expect("patched");
    assert_eq!(denial(node.run(node.engine.patch_webhook(&bob.caller, id, patch))), Denial::UnknownWebhook);
    node.run(node.engine.rotate_webhook(&alice.caller, id, at(9), None, at(3))).expect("rotated");
    node.run(node.engine.disable_webhook(id, WebhookDisabled::Gone, at(4))).expect("disabled");
    node.run(node.engine.disable_webhook(id, WebhookDisabled::Failing, at(5))).expect("off already");
    node.run(node.engine.delete_webhook(&alice.caller, gone.id, at(6))).expect("deleted");
    let deleted = node.run(node.engine.delete_webhook(&alice.caller, gone.id, at(7)));
    assert_eq!(denial(deleted), Denial::UnknownWebhook);
    assert!(node.engine.webhook(bob.id(), id).is_none(), "nobody else's");

    let [webhook] = &node.engine.webhooks(alice.id())[..] else { panic!("one is left") };
    assert_eq!((webhook.listens_since, webhook.disabled), (kept.listens_since, Some(WebhookDisabled::Gone)));
    assert_ne!(webhook.secret, kept.secret);
    assert_eq!(webhook.previous, Some((kept.secret, at(9))));
    let expected = (**webhook).clone();

    let image = disk.crash_image(Loss::Dropped);
    node.kill();
    let node = setup.on(image.clone()).start();
    let seen =
        |node: &Node| node.engine.webhooks(alice.id()).iter().map(|w| (**w).clone()).collect::<Vec<_>>();
    assert_eq!(seen(&node), std::slice::from_ref(&expected), "after a crash");
    node.shutdown();
    let setup = setup.on(image);
    let node = setup.start();
    assert_eq!(seen(&node), [expected], "from a snapshot");
    node.shutdown();
    setup.audit();
}

#[test]
fn a_repeated_creation_and_rotation_get_their_first_answer() {
    let setup = Setup::new(MemoryStorage::new());
    let node = setup.start();
    let alice = node.party("alice");
    let create = |node: &Node, key| node.run(node.engine.create_webhook(&alice.caller, everything(key)));
    let first = create(&node, key("k", 1)).expect("created");
    let again = create(&node, key("k", 1)).expect("answered again");
    assert!(!first.replayed && again.replayed);
    assert_eq!(first.value, again.value, "with its secret");
    let id = first.value.webhook;
    let rotate =
        |node: &Node| node.run(node.engine.rotate_webhook(&alice.caller, id, at(9), key("r", 1), at(3)));
    let rotated = rotate(&node).expect("rotated");
    node.kill();
    let node = setup.start();
    let again = rotate(&node).expect("answered again");
    assert!(again.replayed);
    assert_eq!(again.value, rotated.value, "once, also after a restart");
    assert_eq!(node.engine.webhooks(alice.id()).len(), 1);
}

#[test]
fn an_agent_has_so_many_webhooks() {
    let setup = Setup::new(MemoryStorage::new()).tuned(|options| options.rules.webhooks_per_agent_max = 2);
    let node = setup.start();
    let alice = node.party("alice");
    let first = listen(&node, &alice);
    listen(&node, &alice);
    let third = || node.run(node.engine.create_webhook(&alice.caller, everything(None)));
    assert_eq!(denial(third()), Denial::TooManyWebhooks { limit: 2 });
    node.run(node.engine.delete_webhook(&alice.caller, first.id, at(2))).expect("deleted");
    third().expect("there is room again");
}

/// A dispute that ends with a refund is told as both; the object is as its record left it, whenever it is read.
#[test]
fn the_log_tells_of_refunds_and_disputes_to_both_parties() {
    let setup = Setup::new(MemoryStorage::new());
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
    listen(&node, &alice);
    listen(&node, &bob);
    let from = node.engine.delivered_end();
    let command = pay(&alice, bob.wallet, "10");
    let payment = node.run(node.engine.pay(&alice.caller, command)).expect("paid").value.id;
    node.refund(&bob, payment, "4").expect("refunded");
    let dispute = node.open_dispute(&alice, payment).expect("opened").value.id;
    let add = evidence_for(dispute, "HTTP 503", None);
    node.run(node.engine.add_evidence(Asker::Agent(&bob.caller), add)).expect("added");
    for step in [DisputeMove::Review, DisputeMove::Refund] {
        node.go_on(None, dispute, step).expect("moved");
    }
    let events = told(&node, from);
    let expected = [
        "payment.completed",
        "payment.refunded",
        "dispute.opened",
        "dispute.evidence_added",
        "dispute.under_review",
        "dispute.resolved",
        "payment.refunded",
    ];
    assert_eq!(names(&events), expected);
    assert!(events.iter().all(|event| event.agents == [alice.id(), bob.id()]));
    let refund = |event: &Event| match &event.what {
        Happening::Refund(receipt) => {
            (receipt.amount, receipt.refunded, receipt.state.as_str(), receipt.dispute)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(refund(&events[1]), (amount("4"), amount("4"), "partially_refunded", None));
    assert_eq!(refund(&events[6]), (amount("6"), amount("10"), "refunded", Some(dispute)));
    let states: Vec<_> = events[2..6]
        .iter()
        .map(|event| match &event.what {
            Happening::Dispute(view, evidence) => (view.status.as_str(), view.evidence, evidence.is_some()),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected =
        [("open", 0, false), ("open", 1, true), ("under_review", 0, false), ("resolved_refunded", 0, false)];
    assert_eq!(states, expected);
    assert!(events[1].subject == events[6].subject && events[2].subject == events[5].subject);
    node.kill();
    let node = setup.start();
    assert_eq!(format!("{:?}", told(&node, from)), format!("{events:?}"), "the same after a restart");
    node.kill();
}

#[test]
fn the_log_tells_of_payments_and_wallets_to_those_concerned() {
    let setup = Setup::new(MemoryStorage::new());
    let node = setup.start();
    let (alice, bob, carol) = (node.party("alice"), node.party("bob"), node.party("carol"));
    node.run(node.engine.fund(&carol.caller, fund(&carol, "5"))).expect("funded");
    assert!(told(&node, 0).is_empty(), "nobody listens");
    listen(&node, &alice);
    listen(&node, &bob);
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
    node.run(node.engine.pay(&alice.caller, pay(&alice, bob.wallet, "5"))).expect("paid");
    node.run(node.engine.pay(&carol.caller, pay(&carol, bob.wallet, "1"))).expect("paid");
    let outside = PayCommand { payee: external("shop"), ..pay(&carol, bob.wallet, "1") };
    node.run(node.engine.pay(&carol.caller, outside)).expect("paid");
    let frozen = ledger::WalletStatus::Frozen;
    node.run(node.engine.set_status(&alice.caller, alice.wallet, frozen, at(2))).expect("frozen");
    let events = told(&node, 0);
    assert_eq!(names(&events), ["wallet.funded", "payment.completed", "payment.completed", "wallet.frozen"]);
    assert_eq!(events[1].agents, [alice.id(), bob.id()]);
    assert_eq!(events[2].agents, [bob.id()], "carol has no webhook");
    let Happening::Payment(receipt) = &events[1].what else { panic!("a payment") };
    assert_eq!(receipt.payment.amount, amount("5"));
    // The same again, whenever it is read.
    let again = told(&node, 0);
    assert_eq!(format!("{events:?}"), format!("{again:?}"));
    assert_eq!(told(&node, node.engine.delivered_end()).len(), 0);
}

#[test]
fn nothing_is_told_that_a_power_cut_can_take_back() {
    let disk = GatedStorage::new(Arc::new(MemoryStorage::new()));
    let node = Setup::new(disk.clone()).start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    listen(&node, &alice);
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
    let before = node.engine.gauges().appended_lsn;
    let shut = disk.shut();
    let (engine, caller, command) = (node.engine.clone(), alice.caller.clone(), pay(&alice, bob.wallet, "5"));
    let paying = node.spawn(async move { engine.pay(&caller, command).await });
    eventually("the payment is appended", || node.engine.gauges().appended_lsn > before);
    eventually("the disk is stuck", || disk.waiting() > 0);
    assert_eq!(names(&told(&node, 0)), ["wallet.funded"], "the payment is not durable");
    shut.open();
    node.run(paying).expect("no panic").expect("paid");
    assert_eq!(names(&told(&node, 0)), ["wallet.funded", "payment.completed"]);
}

#[test]
fn the_log_tells_of_a_token_in_order_as_each_step_left_it() {
    let setup = Setup::new(MemoryStorage::new()).with_history();
    let node = setup.start();
    let market = Market::open(&node, None);
    listen(&node, &market.consumer);
    let token = market.reserve(&node).id;
    market.verify(&node, token);
    market.start(&node, token);
    market.accept(&node, token);
    market.complete(&node, token);
    let cancelled = market.reserve(&node).id;
    node.run(node.engine.cancel_token(&market.consumer.caller, cancelled)).expect("cancelled");
    let short = Authorize { ttl_ms: Some(1_000), ..market.ask() };
    node.run(node.engine.authorize(&market.consumer.caller, short)).expect("reserved");
    pass(&node, &setup.clock, 1_000);
    let check = |node: &Node| {
        let mut states: BTreeMap<u128, Vec<(&str, TokenStatus)>> = BTreeMap::new();
        let events = told(node, 0);
        for event in &events {
            if let Happening::Token(view) = &event.what {
                states.entry(view.id.raw()).or_default().push((event.kind.name(), view.status));
            }
        }
        assert_eq!(
            states[&token.raw()],
            [
                ("token.authorized", TokenStatus::Reserved),
                ("token.verified", TokenStatus::Verified),
                ("token.started", TokenStatus::Started),
                ("token.accepted", TokenStatus::Accepted),
                ("token.completed", TokenStatus::Settled),
            ]
        );
        assert_eq!(
            states[&cancelled.raw()],
            [("token.authorized", TokenStatus::Reserved), ("token.cancelled", TokenStatus::Cancelled)]
        );
        let expired = [("token.authorized", TokenStatus::Reserved), ("token.expired", TokenStatus::Expired)];
        assert!(states.values().any(|states| *states == expired), "{states:?}");
        let settled = events.iter().filter(|event| event.kind == EventKind::PaymentCompleted);
        assert_eq!(settled.count(), 1, "a settled call is a payment");
        format!("{events:?}")
    };
    let first = check(&node);
    node.shutdown();
    // The tokens have left memory; what the records do not tell is found by the index.
    let node = setup.start();
    assert_eq!(check(&node), first, "the same events, whenever they are read");
}

/// A denial moves nothing, and is in the log all the same where somebody listens: once per rule and second, and again
/// after a crash.
#[test]
fn a_policys_denials_are_told_once_a_second() {
    let setup = Setup::new(MemoryStorage::new());
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    for party in [&alice, &bob] {
        node.run(node.engine.fund(&party.caller, fund(party, "100"))).expect("funded");
        let policy = Policy { max_per_payment: Some(amount("1")), ..Policy::default() };
        node.run(node.engine.set_policy(&party.caller, party.wallet, policy, at(1))).expect("set");
    }
    let events = vec!["policy.denied".into()];
    node.run(node.engine.create_webhook(&alice.caller, CreateWebhook { events, ..everything(None) }))
        .expect("created");
    let try_to_pay = |payer: &Party, payee: &Party| {
        let refused = node.run(node.engine.pay(&payer.caller, pay(payer, payee.wallet, "2")));
        assert!(matches!(denial(refused), Denial::Policy(_)));
    };
    for _ in 0..5 {
        try_to_pay(&alice, &bob);
        // Nobody listens there.
        try_to_pay(&bob, &alice);
    }
    pass(&node, &setup.clock, 1_000);
    try_to_pay(&alice, &bob);
    let tried = node.run(node.engine.dry_run(&alice.caller, pay(&alice, bob.wallet, "2")));
    assert!(matches!(denial(tried), Denial::Policy(_)), "trying is not told");
    let denials = |node: &Node| {
        let mut events = told(node, 0);
        events.retain(|event| event.kind == EventKind::PolicyDenied);
        events
    };
    let events = denials(&node);
    assert_eq!(names(&events), ["policy.denied", "policy.denied"]);
    let Happening::Denied(denied) = &events[0].what else { panic!("{events:?}") };
    assert_eq!((denied.wallet, denied.agent), (alice.wallet, alice.id()));
    assert_eq!(denied.denial.rule, PolicyRule::MaxPerPayment);
    node.kill();
    let node = setup.start();
    assert_eq!(names(&denials(&node)), ["policy.denied", "policy.denied"]);
    node.shutdown();
    setup.audit();
}
