//! Refunds: what each answers, who may ask, what stands in the books and lists afterwards, and what races leave.

use engine::{Asker, PaymentFilter, PaymentReceipt, RefundPayment, Refusal, Transaction};
use ledger::{Denial, Party as Side, PayCommand, PaymentState, WalletStatus};
use wal::testing::MemoryStorage;

use crate::harness::{
    Market, Node, Party, Setup, amount, batch, batch_item, denial, eventually, external, fund, key, page,
    pay, pay_keyed, refund_of,
};

struct Scene {
    setup: Setup,
    node: Node,
    alice: Party,
    bob: Party,
}

impl Scene {
    /// Alice has 100 dollars, bob none.
    fn new() -> Self {
        let setup = Setup::new(MemoryStorage::new()).with_history();
        let node = setup.start();
        let (alice, bob) = (node.party("alice"), node.party("bob"));
        node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
        Self { setup, node, alice, bob }
    }

    /// Alice pays bob.
    fn pay(&self, units: &str) -> PaymentReceipt {
        let command = pay(&self.alice, self.bob.wallet, units);
        self.node.run(self.node.engine.pay(&self.alice.caller, command)).expect("paid").value
    }

    /// Statement of a party, newest first: kind, delta, and whether the line names `payment`.
    fn statement(&self, party: &Party, payment: ledger::PaymentId) -> Vec<(&'static str, String, bool)> {
        let entries = self.node.engine.entries(party.id(), party.wallet, Default::default(), page(100));
        let entries = self.node.run(entries).expect("a statement").items;
        let line = |entry: &engine::EntryView| {
            (entry.kind, entry.delta.to_string(), entry.payment_id == Some(payment))
        };
        entries.iter().map(line).collect()
    }

    fn listed(&self, party: &Party, status: &'static str) -> Vec<ledger::PaymentId> {
        let filter = PaymentFilter { status: Some(status), ..PaymentFilter::default() };
        let found = self.node.run(self.node.engine.payments(party.id(), filter, page(100)));
        let id = |found: Transaction| match found {
            Transaction::Payment(receipt) => receipt.id,
            other => panic!("{other:?}"),
        };
        found.expect("a list").items.into_iter().map(id).collect()
    }
}

#[test]
fn a_payment_goes_back_in_parts_and_its_fee_stays() {
    let scene = Scene::new();
    let (node, alice, bob) = (&scene.node, &scene.alice, &scene.bob);
    let payment = scene.pay("10").id;
    assert_eq!(node.claim(payment), None);
    let part = node.refund(bob, payment, "4").expect("refunded").value;
    assert_eq!((part.amount, part.refunded, part.by), (amount("4"), amount("4"), Side::Payee));
    assert_eq!(part.state, PaymentState::PartiallyRefunded);
    assert_eq!(part.balance_after.expect("the payee pays").available, amount("6"));
    assert_eq!(scene.listed(alice, "partially_refunded"), [payment]);
    let rest = node.refund(bob, payment, "").expect("refunded").value;
    assert_eq!((rest.amount, rest.refunded, rest.state), (amount("6"), amount("10"), PaymentState::Refunded));
    assert_eq!((node.available(alice), node.available(bob)), (amount("99.96"), amount("0")));
    assert_eq!(denial(node.refund(bob, payment, "")), Denial::AlreadyRefunded);
    let claim = node.claim(payment).expect("a claim");
    assert_eq!((claim.state, claim.refunded, claim.dispute), (PaymentState::Refunded, amount("10"), None));
    let line = |kind, delta: &str| (kind, delta.to_owned(), true);
    let sent = [line("refund_sent", "-6"), line("refund_sent", "-4"), line("payment_received", "10")];
    assert_eq!(scene.statement(bob, payment), sent);
    let received =
        [line("refund_received", "6"), line("refund_received", "4"), line("payment_sent", "-10.04")];
    assert_eq!(scene.statement(alice, payment)[..3], received);
    for party in [alice, bob] {
        assert_eq!(scene.listed(party, "refunded"), [payment]);
        assert!(scene.listed(party, "completed").is_empty() && scene.listed(party, "failed").is_empty());
    }
    node.check_trial_balance();
    assert_eq!((node.engine.gauges().claims, node.engine.gauges().in_flight), (1, 0));
    scene.node.shutdown();
    assert_eq!(scene.setup.audit().claims, 1);
    let node = scene.setup.start();
    assert_eq!(node.claim(payment), Some(claim), "after a restart too");
    assert_eq!(denial(node.refund(&scene.bob, payment, "1")), Denial::AlreadyRefunded);
    node.shutdown();
}

#[test]
fn only_who_was_paid_gives_back_or_an_operator() {
    let scene = Scene::new();
    let (node, alice, bob) = (&scene.node, &scene.alice, &scene.bob);
    let stranger = node.party("stranger");
    let payment = scene.pay("10").id;
    assert_eq!(denial(node.refund(alice, payment, "1")), Denial::OnlyThePayee);
    assert_eq!(node.refund(&stranger, payment, "1").map(drop), Err(Refusal::UnknownPayment));
    let forged = ledger::PaymentId::from_raw(payment.raw() ^ 1);
    assert_eq!(node.refund(bob, forged, "1").map(drop), Err(Refusal::UnknownPayment));
    let funded = node.run(node.engine.fund(&bob.caller, fund(bob, "1"))).expect("funded").value.id;
    assert_eq!(node.refund(bob, funded, "1").map(drop), Err(Refusal::UnknownPayment), "no payment");
    let at = node.engine.clock().now();
    let freeze = node.engine.set_status(&bob.caller, bob.wallet, WalletStatus::Frozen, at);
    node.run(freeze).expect("frozen");
    assert_eq!(denial(node.refund(bob, payment, "1")), Denial::WalletFrozen);
    let by_operator = node.run(node.engine.refund(Asker::Operator, refund_of(payment, "1")));
    assert_eq!(by_operator.expect("an operator is not bound by a freeze").value.by, Side::Operator);
    let dear = node.run(node.engine.refund(Asker::Operator, refund_of(payment, "9.5")));
    let refundable = amount("9");
    let (refunded, needed) = (amount("1"), amount("9.5"));
    assert_eq!(denial(dear), Denial::RefundTooLarge { refundable, refunded, needed });
    assert_eq!(node.available(alice), amount("90.96"));
}

#[test]
fn a_refund_needs_the_payees_money() {
    let scene = Scene::new();
    let (node, alice, bob) = (&scene.node, &scene.alice, &scene.bob);
    let payment = scene.pay("10").id;
    let spend = PayCommand { payee: external("shop"), ..pay(bob, alice.wallet, "7.5") };
    node.run(node.engine.pay(&bob.caller, spend)).expect("spent");
    let (available, held, needed) = (amount("2.47"), amount("0"), amount("10"));
    let poor = Denial::InsufficientBalance { available, held, needed };
    assert_eq!(denial(node.refund(bob, payment, "")), poor);
    node.refund(bob, payment, "2.47").expect("what is there");
    assert_eq!(node.available(bob), amount("0"));
}

#[test]
fn an_outside_payee_is_refunded_by_operators_alone() {
    let scene = Scene::new();
    let (node, alice) = (&scene.node, &scene.alice);
    let command = PayCommand { payee: external("shop"), ..pay(alice, scene.bob.wallet, "10") };
    let payment = node.run(node.engine.pay(&alice.caller, command)).expect("paid").value.id;
    assert_eq!(denial(node.refund(alice, payment, "1")), Denial::OnlyThePayee);
    let refund =
        node.run(node.engine.refund(Asker::Operator, refund_of(payment, ""))).expect("refunded").value;
    assert_eq!(refund.balance_after, None, "the payer pays nothing");
    assert_eq!(node.available(alice), amount("99.96"));
    let rows = node.engine.trial_balance().rows;
    let outside = rows.iter().find(|row| row.account == "external").expect("a row");
    assert!(outside.sum.is_zero());
    assert_eq!(scene.statement(alice, payment)[0], ("refund_received", "10".to_owned(), true));
    node.check_trial_balance();
    scene.node.kill();
    scene.setup.audit();
}

#[test]
fn items_of_a_batch_and_settled_calls_are_payments_too() {
    let scene = Scene::new();
    let (node, alice, bob) = (&scene.node, &scene.alice, &scene.bob);
    let items = ["1", "2", "3"].map(|units| (alice.wallet, batch_item(bob.wallet, units)));
    let paid = node.run(node.engine.pay_batch(&alice.caller, batch(items.to_vec()))).expect("paid").value;
    let ids: Vec<_> = paid.into_iter().map(|item| item.expect("paid").value.id).collect();
    node.refund(bob, ids[1], "").expect("refunded");
    assert_eq!(node.available(bob), amount("4"));
    assert_eq!(scene.listed(bob, "completed"), [ids[2], ids[0]]);
    assert_eq!(scene.listed(bob, "refunded"), [ids[1]]);
    assert_eq!(scene.statement(alice, ids[1])[0], ("refund_received", "2".to_owned(), true));

    let market = Market::open(node, None);
    let token = market.reserve(node).id;
    market.verify(node, token);
    market.start(node, token);
    market.accept(node, token);
    let payment = market.complete(node, token).payment_id.expect("settled");
    assert_eq!(market.books(node), ["99.5", "0", "0.5"]);
    node.refund(&market.provider, payment, "").expect("refunded");
    assert_eq!(market.books(node), ["100", "0", "0"]);
    node.check_trial_balance();
}

#[test]
fn a_key_belongs_to_its_payment_and_is_answered_again() {
    let scene = Scene::new();
    let (node, bob) = (&scene.node, &scene.bob);
    let (first, second) = (scene.pay("10").id, scene.pay("10").id);
    let keyed = |payment, units, fingerprint| RefundPayment {
        key: key("r-1", fingerprint),
        ..refund_of(payment, units)
    };
    let refund = |node: &Node, command| node.run(node.engine.refund(Asker::Agent(&bob.caller), command));
    let answer = refund(node, keyed(first, "4", 1)).expect("refunded");
    assert!(!answer.replayed);
    node.refund(bob, first, "").expect("the rest");
    let again = refund(node, keyed(first, "4", 1)).expect("answered again");
    assert!(again.replayed && again.value == answer.value, "byte for byte, whatever came since");
    assert_eq!(denial(refund(node, keyed(first, "5", 2))), Denial::KeyConflict);
    let other = refund(node, keyed(second, "4", 2)).expect("another payment");
    assert!(!other.replayed);
    assert_eq!(node.available(bob), amount("6"));
    scene.node.kill();
    let node = scene.setup.start();
    let again = refund(&node, keyed(first, "4", 1)).expect("answered after a restart");
    assert!(again.replayed && again.value == answer.value);
    node.kill();
}

/// The key of a refund is found again once it is on disk, under its payment and no other.
#[test]
fn a_key_is_answered_again_from_disk() {
    let setup = Setup::new(MemoryStorage::new()).with_keys_on_disk(8);
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
    let pay =
        || node.run(node.engine.pay(&alice.caller, pay(&alice, bob.wallet, "10"))).expect("paid").value.id;
    let (first, second) = (pay(), pay());
    let refund = |payment| {
        let command = RefundPayment { key: key("r-1", 1), ..refund_of(payment, "1") };
        node.run(node.engine.refund(Asker::Agent(&bob.caller), command)).expect("an answer")
    };
    let answer = refund(first);
    for number in 0..64 {
        let command = pay_keyed(&alice, bob.wallet, "0.01", &number.to_string(), 1);
        node.run(node.engine.pay(&alice.caller, command)).expect("paid");
    }
    eventually("the key moves to disk", || node.engine.gauges().keys_in_memory < 9);
    let again = refund(first);
    assert!(again.replayed && again.value == answer.value);
    assert!(!refund(second).replayed);
    node.kill();
}

/// A thousand at once: a payment of 10 has room for forty refunds of 0.25.
#[test]
fn a_thousand_refunds_give_back_what_was_paid_and_no_more() {
    let scene = Scene::new();
    let (node, bob) = (&scene.node, &scene.bob);
    node.run(node.engine.fund(&bob.caller, fund(bob, "1000"))).expect("funded");
    let payment = scene.pay("10").id;
    let tasks: Vec<_> = (0..1_000)
        .map(|_| {
            let (engine, caller) = (node.engine.clone(), bob.caller.clone());
            node.spawn(async move { engine.refund(Asker::Agent(&caller), refund_of(payment, "0.25")).await })
        })
        .collect();
    let mut sums = Vec::new();
    for task in tasks {
        match node.run(task).expect("no task panics") {
            Ok(answer) => sums.push(answer.value.refunded),
            lost => assert_eq!(denial(lost), Denial::AlreadyRefunded),
        }
    }
    sums.sort_unstable();
    let expected: Vec<_> = (1..=40).map(|n| ledger::Amount::from_nanos(n * 250_000_000)).collect();
    assert_eq!(sums, expected, "each sum of refunds was told once");
    assert_eq!((node.available(bob), node.available(&scene.alice)), (amount("1000"), amount("99.96")));
    node.check_trial_balance();
    scene.node.shutdown();
    scene.setup.audit();
}

#[test]
fn a_thousand_refunds_under_one_key_are_one() {
    let scene = Scene::new();
    let (node, bob) = (&scene.node, &scene.bob);
    let payment = scene.pay("10").id;
    let tasks: Vec<_> = (0..1_000)
        .map(|_| {
            let (engine, caller) = (node.engine.clone(), bob.caller.clone());
            let command = RefundPayment { key: key("once", 7), ..refund_of(payment, "1") };
            node.spawn(async move { engine.refund(Asker::Agent(&caller), command).await })
        })
        .collect();
    let answers: Vec<_> =
        tasks.into_iter().map(|task| node.run(task).expect("no task panics").expect("an answer")).collect();
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert!(answers.iter().all(|answer| answer.value == answers[0].value));
    assert_eq!(node.available(bob), amount("9"));
}
