//! Disputes: their course, who may do what, lists, trust, debts, and what races leave.

use engine::{Asker, DisputeFilter, OpenDispute, Refusal};
use ledger::{
    Denial, DisputeMove, DisputeStatus, EVIDENCE_MAX, Party as Side, PayCommand, PaymentState, Timestamp,
};
use wal::testing::MemoryStorage;

use crate::harness::{
    Market, Node, Party, Setup, amount, denial, dispute_of, eventually, evidence_for, external, fund, key,
    page, pay, refund_of,
};

struct Scene {
    setup: Setup,
    node: Node,
    alice: Party,
    bob: Party,
    payment: ledger::PaymentId,
}

impl Scene {
    /// Alice had 100 dollars and has paid bob 10.
    fn new() -> Self {
        let setup = Setup::new(MemoryStorage::new()).with_history();
        let node = setup.start();
        let (alice, bob) = (node.party("alice"), node.party("bob"));
        node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
        let paid = node.run(node.engine.pay(&alice.caller, pay(&alice, bob.wallet, "10"))).expect("paid");
        Self { setup, node, alice, bob, payment: paid.value.id }
    }

    fn open(&self) -> ledger::DisputeId {
        self.node.open_dispute(&self.alice, self.payment).expect("opened").value.id
    }
}

fn listed(node: &Node, asker: Asker<'_>, filter: DisputeFilter) -> Vec<(ledger::DisputeId, DisputeStatus)> {
    let found = node.run(node.engine.disputes(asker, filter, page(100))).expect("a list");
    found.items.into_iter().map(|view| (view.id, view.status)).collect()
}

#[test]
fn a_dispute_takes_its_course_to_a_refund() {
    let scene = Scene::new();
    let (node, alice, bob) = (&scene.node, &scene.alice, &scene.bob);
    node.refund(bob, scene.payment, "1").expect("refunded");
    let opened = node.open_dispute(alice, scene.payment).expect("opened").value;
    assert_eq!((opened.status, opened.by, opened.payment), (DisputeStatus::Open, Side::Payer, scene.payment));
    assert_eq!((opened.amount, opened.set_aside), (amount("9"), amount("9")));
    assert_eq!(node.parts(bob), ["0", "0", "9"]);
    let (id, status) = (opened.id, DisputeStatus::Open);
    assert_eq!(denial(node.refund(bob, scene.payment, "1")), Denial::PaymentDisputed { dispute: id, status });
    assert_eq!(denial(node.open_dispute(bob, scene.payment)), Denial::DisputeExists { dispute: id, status });
    for (party, content) in [(alice, "HTTP 503"), (bob, "it was 200")] {
        let add = evidence_for(id, content, None);
        node.run(node.engine.add_evidence(Asker::Agent(&party.caller), add)).expect("added");
    }
    assert_eq!(denial(node.go_on(Some(bob), id, DisputeMove::Withdraw)), Denial::OnlyTheOpener);
    let reviewed = node.go_on(None, id, DisputeMove::Review).expect("taken up");
    assert_eq!((reviewed.value.status, reviewed.replayed), (DisputeStatus::UnderReview, false));
    assert!(node.go_on(None, id, DisputeMove::Review).expect("answered again").replayed);
    let status = DisputeStatus::UnderReview;
    assert_eq!(
        denial(node.go_on(Some(alice), id, DisputeMove::Withdraw)),
        Denial::WrongDisputeStatus { status }
    );
    let resolved = node.go_on(None, id, DisputeMove::Refund).expect("resolved").value;
    assert_eq!(resolved.status, DisputeStatus::ResolvedRefunded);
    assert_eq!(resolved.resolution.expect("an end").returned, amount("9"));
    assert_eq!(
        (node.parts(bob), node.available(alice)),
        (["0", "0", "0"].map(String::from), amount("99.96"))
    );
    let claim = node.claim(scene.payment).expect("a claim");
    assert_eq!((claim.state, claim.refunded), (PaymentState::Refunded, amount("10")));
    node.check_trial_balance();

    let story = |node: &Node| node.run(node.engine.dispute(Asker::Agent(&bob.caller), id)).expect("shown");
    let told = story(node);
    let said: Vec<_> = told.evidence.iter().map(|piece| (piece.number, piece.by, &*piece.content)).collect();
    assert_eq!(said, [(1, Side::Payer, "HTTP 503"), (2, Side::Payee, "it was 200")]);
    let moves: Vec<_> = told.moves.iter().map(|step| step.to).collect();
    assert_eq!(moves, [DisputeStatus::UnderReview, DisputeStatus::ResolvedRefunded]);
    scene.node.kill();
    let node = scene.setup.start();
    assert_eq!(story(&node), told, "the log tells it after a restart");
    let stranger = node.party("stranger");
    let asked = node.run(node.engine.dispute(Asker::Agent(&stranger.caller), id));
    assert_eq!(denial(asked), Denial::UnknownDispute);
    node.shutdown();
    let audit = scene.setup.audit();
    assert_eq!((audit.claims, audit.open_disputes), (1, 0));
}

/// What the payee has spent meanwhile becomes its debt, and a debt spends nothing.
#[test]
fn what_is_not_there_is_owed() {
    let scene = Scene::new();
    let (node, alice, bob) = (&scene.node, &scene.alice, &scene.bob);
    let spend = |units| PayCommand { payee: external("shop"), ..pay(bob, alice.wallet, units) };
    node.run(node.engine.pay(&bob.caller, spend("7.5"))).expect("spent");
    let id = scene.open();
    assert_eq!(node.parts(bob), ["0", "0", "2.47"]);
    let refused = node.run(node.engine.pay(&bob.caller, spend("0.1")));
    assert!(matches!(denial(refused), Denial::InsufficientBalance { .. }), "what is disputed is not spent");
    node.go_on(None, id, DisputeMove::Refund).expect("resolved");
    assert_eq!(
        (node.parts(bob), node.available(alice)),
        (["-7.53", "0", "0"].map(String::from), amount("99.96"))
    );
    node.check_trial_balance();
    node.run(node.engine.fund(&bob.caller, fund(bob, "7"))).expect("funded");
    let (available, held) = (amount("0").minus(amount("0.53")), amount("0"));
    let needed = amount("0.1004");
    let refused = node.run(node.engine.pay(&bob.caller, spend("0.1")));
    assert_eq!(denial(refused), Denial::InsufficientBalance { available, held, needed });
    let command = pay(alice, bob.wallet, "1");
    node.run(node.engine.pay(&alice.caller, command)).expect("credits arrive");
    assert_eq!(node.available(bob), amount("0.47"));
    node.run(node.engine.pay(&bob.caller, spend("0.1"))).expect("paid back, it spends again");
    scene.node.shutdown();
    scene.setup.audit();
}

#[test]
fn what_was_set_aside_comes_back_when_the_claim_fails() {
    for step in [DisputeMove::Deny, DisputeMove::Withdraw] {
        let scene = Scene::new();
        let (node, alice, bob) = (&scene.node, &scene.alice, &scene.bob);
        let id = scene.open();
        assert_eq!(node.parts(bob), ["0", "0", "10"]);
        let asker = (step == DisputeMove::Withdraw).then_some(alice);
        node.go_on(asker, id, step).expect("ended");
        assert!(node.go_on(asker, id, step).expect("answered again").replayed);
        assert_eq!(
            (node.parts(bob), node.available(alice)),
            (["10", "0", "0"].map(String::from), amount("89.96"))
        );
        let status = step.to();
        assert_eq!(
            denial(node.open_dispute(alice, scene.payment)),
            Denial::DisputeExists { dispute: id, status }
        );
        let late = evidence_for(id, "late", None);
        let refused = node.run(node.engine.add_evidence(Asker::Agent(&alice.caller), late));
        assert_eq!(denial(refused), Denial::WrongDisputeStatus { status });
        node.refund(bob, scene.payment, "").expect("of its own free will");
        scene.node.shutdown();
        scene.setup.audit();
    }
}

#[test]
fn parties_dispute_inside_the_window_and_nobody_else() {
    let scene = Scene::new();
    let (node, bob) = (&scene.node, &scene.bob);
    let stranger = node.party("stranger");
    assert_eq!(node.open_dispute(&stranger, scene.payment).map(drop), Err(Refusal::UnknownPayment));
    let window = i64::try_from(scene.setup.options.rules.dispute_window_ms).expect("short");
    let at = |millis| Timestamp::from_millis(1_790_000_000_000 + millis);
    let open = |millis| {
        let command = OpenDispute { at: at(millis), ..dispute_of(scene.payment) };
        node.run(node.engine.open_dispute(Asker::Agent(&bob.caller), command))
    };
    assert_eq!(denial(open(window)), Denial::DisputeWindowClosed { closed_at: at(window) });
    let opened = open(window - 1).expect("just in time").value;
    assert_eq!(opened.by, Side::Payee);
    let forged = ledger::DisputeId::from_raw(opened.id.raw() ^ 2);
    let asked = node.run(node.engine.dispute(Asker::Operator, forged));
    assert_eq!(denial(asked), Denial::UnknownDispute);
    let of_payment = ledger::DisputeId::from_raw(scene.payment.raw());
    assert_eq!(denial(node.go_on(None, of_payment, DisputeMove::Review)), Denial::UnknownDispute);
}

#[test]
fn an_outside_payee_has_nothing_set_aside() {
    let scene = Scene::new();
    let (node, alice) = (&scene.node, &scene.alice);
    let command = PayCommand { payee: external("shop"), ..pay(alice, scene.bob.wallet, "10") };
    let payment = node.run(node.engine.pay(&alice.caller, command)).expect("paid").value.id;
    let opened = node.open_dispute(alice, payment).expect("opened").value;
    assert_eq!((opened.set_aside, opened.payee_agent), (amount("0"), None));
    assert_eq!(node.parts(alice), ["79.92", "0", "0"]);
    node.go_on(None, opened.id, DisputeMove::Refund).expect("resolved");
    assert_eq!(node.available(alice), amount("89.92"));
    node.check_trial_balance();
    scene.node.kill();
    scene.setup.audit();
}

#[test]
fn lists_show_every_side_its_disputes() {
    let scene = Scene::new();
    let (node, alice, bob) = (&scene.node, &scene.alice, &scene.bob);
    let first = scene.open();
    let back = node.run(node.engine.pay(&alice.caller, pay(alice, bob.wallet, "1"))).expect("paid").value.id;
    let second = node.open_dispute(bob, back).expect("opened").value.id;
    node.go_on(None, first, DisputeMove::Deny).expect("denied");
    let (denied, open) = ((first, DisputeStatus::ResolvedDenied), (second, DisputeStatus::Open));
    let all = DisputeFilter::default();
    let role = |role| DisputeFilter { role: Some(role), ..all };
    let status = |status| DisputeFilter { status: Some(status), ..all };
    let check = |node: &Node| {
        for asker in [Asker::Agent(&alice.caller), Asker::Agent(&bob.caller), Asker::Operator] {
            assert_eq!(listed(node, asker, all), [open, denied]);
            assert_eq!(listed(node, asker, status(DisputeStatus::Open)), [open]);
            assert_eq!(listed(node, asker, status(DisputeStatus::Withdrawn)), []);
        }
        assert_eq!(listed(node, Asker::Agent(&alice.caller), role(Side::Payer)), [open, denied]);
        assert_eq!(listed(node, Asker::Agent(&alice.caller), role(Side::Payee)), []);
        assert_eq!(listed(node, Asker::Agent(&bob.caller), role(Side::Payee)), [open, denied]);
        let one = node.run(node.engine.disputes(Asker::Operator, all, page(1))).expect("a page");
        let rest = engine::PageRequest { cursor: one.next, limit: 1 };
        let rest = node.run(node.engine.disputes(Asker::Operator, all, rest)).expect("a page");
        assert_eq!((one.items[0].id, rest.items[0].id, rest.next), (second, first, None));
    };
    check(node);
    let stranger = node.party("stranger");
    assert_eq!(listed(node, Asker::Agent(&stranger.caller), all), []);
    scene.node.kill();
    let node = scene.setup.clone().without_index().start();
    check(&node);
    node.kill();
}

#[test]
fn evidence_is_bounded_and_repeats_under_its_key() {
    let scene = Scene::new();
    let (node, alice) = (&scene.node, &scene.alice);
    let id = scene.open();
    let add = |content: &str, with| {
        let command = evidence_for(id, content, with);
        node.run(node.engine.add_evidence(Asker::Agent(&alice.caller), command))
    };
    let first = add("one", key("e-1", 1)).expect("added");
    let again = add("one", key("e-1", 1)).expect("answered again");
    assert!(again.replayed && again.value == first.value);
    assert_eq!(denial(add("two", key("e-1", 2))), Denial::KeyConflict);
    for number in 2..=EVIDENCE_MAX {
        assert_eq!(add("more", None).expect("added").value.number, number);
    }
    assert_eq!(denial(add("too much", None)), Denial::TooMuchEvidence { limit: EVIDENCE_MAX });
    let told = node.run(node.engine.dispute(Asker::Operator, id)).expect("shown");
    assert_eq!(told.evidence.len(), EVIDENCE_MAX as usize);
    assert_eq!(told.dispute.evidence, EVIDENCE_MAX);
}

/// A settled call whose dispute ends with a refund speaks against its service, the same after a replay.
#[test]
fn a_refunded_dispute_lowers_trust() {
    let setup = Setup::new(MemoryStorage::new()).with_history();
    let node = setup.start();
    let market = Market::open(&node, None);
    // Another operator's agent, so that the call counts.
    let mut agent = crate::harness::new_agent("customer", Vec::new());
    agent.operator = "somebody else".into();
    let agent = node.run(node.engine.create_agent(agent)).expect("created");
    let consumer = Party::of(&agent);
    node.run(node.engine.fund(&consumer.caller, fund(&consumer, "100"))).expect("funded");
    let market = Market { consumer, ..market };
    let call = || {
        let token = market.reserve(&node).id;
        market.verify(&node, token);
        market.start(&node, token);
        market.accept(&node, token);
        market.complete(&node, token).payment_id.expect("settled")
    };
    let score = |node: &Node| node.engine.service(market.service).expect("a service").trust_score;
    let payment = call();
    let comes_to = |wanted| {
        eventually("the score moves", || {
            setup.clock.advance(1_000);
            score(&node) == wanted
        });
    };
    comes_to(54);
    let id = node.open_dispute(&market.consumer, payment).expect("opened").value.id;
    node.go_on(None, id, DisputeMove::Refund).expect("resolved");
    // 50·80 / (80 + 16): the settled call does not count any more.
    comes_to(41);
    assert_eq!(node.engine.trust_score(market.provider.id()), 41, "its provider's score follows");
    assert_eq!(node.parts(&market.provider), ["0", "0", "0"]);
    node.kill();
    setup.audit();
    let node = setup.start();
    assert_eq!((score(&node), node.engine.trust_score(market.provider.id())), (41, 41));
    node.shutdown();
    setup.audit();
}

/// A thousand at once of everything that excludes each other: one dispute, and money moves once.
#[test]
fn refunds_race_disputes_and_money_moves_once() {
    let scene = Scene::new();
    let (node, alice, bob) = (&scene.node, &scene.alice, &scene.bob);
    let mut tasks = Vec::new();
    for number in 0..1_000 {
        let (engine, payer, payee) = (node.engine.clone(), alice.caller.clone(), bob.caller.clone());
        let payment = scene.payment;
        tasks.push(node.spawn(async move {
            if number % 2 == 0 {
                let refund = engine.refund(Asker::Agent(&payee), refund_of(payment, "0.01")).await;
                refund.map(|answer| (Some(answer.value.amount), None))
            } else {
                let opened = engine.open_dispute(Asker::Agent(&payer), dispute_of(payment)).await;
                opened.map(|answer| (None, Some(answer.value)))
            }
        }));
    }
    let (mut refunded, mut opened, mut refused) = (amount("0"), Vec::new(), 0);
    for task in tasks {
        match node.run(task).expect("no task panics") {
            Ok((amount, dispute)) => {
                refunded = refunded.plus(amount.unwrap_or_default());
                opened.extend(dispute);
            }
            Err(Refusal::Denied(Denial::PaymentDisputed { .. } | Denial::DisputeExists { .. })) => {
                refused += 1
            }
            Err(refusal) => panic!("{refusal:?}"),
        }
    }
    assert_eq!(opened.len(), 1, "one dispute");
    assert!(refused >= 499);
    let (dispute, left) = (&opened[0], amount("10").minus(refunded));
    assert_eq!((dispute.amount, dispute.set_aside), (left, left), "what refunds had left");
    assert_eq!(node.wallet(bob).disputed, left);
    assert_eq!(node.available(alice), amount("89.96").plus(refunded));

    let id = dispute.id;
    let mut tasks = Vec::new();
    for number in 0..1_000 {
        let (engine, payer) = (node.engine.clone(), alice.caller.clone());
        let step = [DisputeMove::Refund, DisputeMove::Deny, DisputeMove::Withdraw][number % 3];
        tasks.push(node.spawn(async move {
            let asker = if step == DisputeMove::Withdraw { Asker::Agent(&payer) } else { Asker::Operator };
            let at = Timestamp::from_millis(1_790_000_000_000);
            let moved = engine.move_dispute(asker, id, step, None, at).await;
            moved.map(|answer| (answer.value.status, answer.replayed))
        }));
    }
    let mut ends = Vec::new();
    for task in tasks {
        match node.run(task).expect("no task panics") {
            Ok((status, replayed)) => ends.push((status, replayed)),
            lost => assert!(matches!(denial(lost), Denial::WrongDisputeStatus { .. })),
        }
    }
    assert_eq!(ends.iter().filter(|(_, replayed)| !replayed).count(), 1, "it ends once");
    let (status, _) = ends[0];
    assert!(ends.iter().all(|(other, _)| *other == status), "and one way");
    let back = if status == DisputeStatus::ResolvedRefunded { amount("10") } else { refunded };
    assert_eq!(node.available(alice), amount("89.96").plus(back));
    assert_eq!((node.available(bob), node.wallet(bob).disputed), (amount("10").minus(back), amount("0")));
    node.check_trial_balance();
    assert_eq!(node.engine.gauges().in_flight, 0);
    scene.node.shutdown();
    scene.setup.audit();
}
