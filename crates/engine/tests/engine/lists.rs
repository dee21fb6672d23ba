//! Lists by wallet, agent and time: complete right after the answer, in order, and page by page without a gap.

use engine::{Cursor, Page, PaymentFilter, PaymentReceipt, TimeRange, Transaction};
use ledger::{BatchItem, Denial, Rail, Timestamp};
use testkit::Random;
use wal::testing::MemoryStorage;

use crate::harness::{Node, Party, Setup, amount, batch, batch_item, denial, external, fund, page, pay, usd};

fn setup() -> Setup {
    Setup::new(MemoryStorage::new()).with_history()
}

fn list(node: &Node, party: &Party, filter: PaymentFilter) -> Vec<PaymentReceipt> {
    receipts(node.run(node.engine.payments(party.id(), filter, page(1_000))).expect("a list"))
}

fn receipts(page: Page<Transaction>) -> Vec<PaymentReceipt> {
    let receipt = |transaction| match transaction {
        Transaction::Payment(receipt) => receipt,
        other => panic!("no payment of a wallet: {other:?}"),
    };
    page.items.into_iter().map(receipt).collect()
}

fn paid(node: &Node, payer: &Party, command: ledger::PayCommand) -> PaymentReceipt {
    node.run(node.engine.pay(&payer.caller, command)).expect("paid").value
}

#[test]
fn a_payment_is_listed_right_after_its_answer() {
    let setup = setup();
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
    let mut newest_first = Vec::new();
    for _ in 0..50 {
        newest_first.insert(0, paid(&node, &alice, pay(&alice, bob.wallet, "1")));
        for party in [&alice, &bob] {
            assert_eq!(list(&node, party, PaymentFilter::default()), newest_first);
        }
    }
    node.shutdown();
    let node = setup.start();
    assert_eq!(list(&node, &bob, PaymentFilter::default()), newest_first);
    node.shutdown();
}

/// The index is younger than the snapshot that the node starts from, and nothing is left to replay.
#[test]
fn lists_are_complete_after_a_start_with_an_empty_index() {
    const RECORDS: usize = 9_000;
    let setup = setup();
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "1000"))).expect("funded");
    // More than the index takes in at once.
    let paying: Vec<_> = (0..RECORDS / 100)
        .map(|_| {
            let (engine, payer, payee) = (node.engine.clone(), alice.clone(), bob.wallet);
            node.spawn(async move {
                for _ in 0..100 {
                    engine.pay(&payer.caller, pay(&payer, payee, "0.01")).await.expect("paid");
                }
            })
        })
        .collect();
    node.run(async move {
        for task in paying {
            task.await.expect("no task panics");
        }
    });
    let last = paid(&node, &alice, pay(&alice, bob.wallet, "1"));
    node.shutdown();

    let node = setup.without_index().start();
    assert_eq!(list(&node, &bob, PaymentFilter::default())[0], last);
    let lines = node.run(node.engine.entries(bob.id(), bob.wallet, TimeRange::default(), page(RECORDS + 2)));
    assert_eq!(lines.expect("a statement").items.len(), RECORDS + 1);
    node.shutdown();
}

#[test]
fn pages_follow_each_other_without_gap_or_repetition() {
    const REPLAY: &str =
        "cargo test -p engine --test engine pages_follow_each_other_without_gap_or_repetition";
    let mut random = Random::new(testkit::seed(REPLAY));
    let node = setup().start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    let second = node.another(&alice, ledger::Currency::USD);
    for payer in [&alice, &second] {
        node.run(node.engine.fund(&payer.caller, fund(payer, "1000"))).expect("funded");
    }
    let mut oldest_first = Vec::new();
    while oldest_first.len() < 200 {
        let payer = if random.chance(50) { &alice } else { &second };
        if random.chance(60) {
            oldest_first.push(paid(&node, payer, pay(payer, bob.wallet, "0.5")));
            continue;
        }
        let count = 1 + random.index(12);
        let items = vec![(payer.wallet, batch_item(bob.wallet, "0.25")); count];
        let answer = node.run(node.engine.pay_batch(&payer.caller, batch(items))).expect("paid").value;
        oldest_first.extend(answer.into_iter().map(|result| result.expect("affordable").value));
    }
    let newest_first: Vec<_> = oldest_first.into_iter().rev().collect();
    for (party, wallet) in
        [(&alice, None), (&bob, None), (&alice, Some(second.wallet)), (&bob, Some(bob.wallet))]
    {
        let filter = PaymentFilter { wallet, ..PaymentFilter::default() };
        let involved = |receipt: &&PaymentReceipt| {
            party.wallet == bob.wallet || wallet.is_none_or(|wallet| receipt.payment.payer == wallet)
        };
        let expected: Vec<_> = newest_first.iter().filter(involved).cloned().collect();
        let (mut found, mut cursor): (Vec<PaymentReceipt>, Option<Cursor>) = (Vec::new(), None);
        loop {
            let limit = 1 + random.index(30);
            let request = engine::PageRequest { cursor, limit };
            let page = node.run(node.engine.payments(party.id(), filter.clone(), request)).expect("a page");
            cursor = page.next;
            let items = receipts(page);
            assert!(items.len() <= limit && (cursor.is_none() || items.len() == limit));
            found.extend(items);
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found, expected);
    }
    node.shutdown();
}

#[test]
fn a_statement_adds_up_to_the_balance() {
    let node = setup().start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
    paid(&node, &alice, pay(&alice, bob.wallet, "10"));
    let shop = ledger::PayCommand { payee: external("shop"), ..pay(&alice, bob.wallet, "5") };
    paid(&node, &alice, shop);
    paid(&node, &bob, pay(&bob, alice.wallet, "2"));
    let lines = node.run(node.engine.entries(alice.id(), alice.wallet, TimeRange::default(), page(10)));
    let lines = lines.expect("a statement").items;
    let shown: Vec<_> = lines
        .iter()
        .map(|line| (line.kind, line.delta, line.balance_after, line.counterparty.clone()))
        .collect();
    let bob_id = Some(bob.wallet.to_string());
    let expected = [
        ("payment_received", amount("2"), amount("86.94"), bob_id.clone()),
        ("payment_sent", usd(-5_020_000_000), amount("84.94"), Some("shop".to_owned())),
        ("payment_sent", usd(-10_040_000_000), amount("89.96"), bob_id),
        ("funding", amount("100"), amount("100"), None),
    ];
    assert_eq!(shown, expected);
    assert_eq!(lines[0].balance_after, node.available(&alice));
    for line in &lines {
        let found = node
            .run(node.engine.transaction(alice.id(), line.payment_id.expect("a payment or a funding")))
            .expect("every line has its record");
        match found {
            Transaction::Payment(receipt) => assert_eq!(Some(receipt.id), line.payment_id),
            Transaction::Funding(funding) => {
                assert_eq!((Some(funding.id), line.kind), (line.payment_id, "funding"))
            }
            Transaction::Settlement(settlement) => panic!("nothing was called: {settlement:?}"),
        }
    }
    node.shutdown();
}

#[test]
fn filters_pick_what_they_say() {
    let node = setup().start();
    let (alice, bob, carol) = (node.party("alice"), node.party("bob"), node.party("carol"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
    let at = |millis| Timestamp::from_millis(millis);
    let mut all = Vec::new();
    for (index, payee) in [bob.wallet, carol.wallet, bob.wallet, carol.wallet].into_iter().enumerate() {
        let time = at(1_000 * i64::try_from(index).expect("few"));
        all.push(paid(&node, &alice, ledger::PayCommand { at: time, ..pay(&alice, payee, "1") }));
    }
    let shop = ledger::PayCommand { payee: external("shop"), at: at(4_000), ..pay(&alice, bob.wallet, "1") };
    all.push(paid(&node, &alice, shop));
    #[track_caller]
    fn check(node: &Node, party: &Party, filter: PaymentFilter, expected: &[&PaymentReceipt]) {
        let listed = list(node, party, filter.clone());
        assert_eq!(listed.iter().collect::<Vec<_>>(), expected, "{filter:?}");
    }
    let any = PaymentFilter::default;
    let to = |counterparty: String| PaymentFilter { counterparty: Some(counterparty), ..any() };
    check(&node, &alice, to(bob.wallet.to_string()), &[&all[2], &all[0]]);
    check(&node, &carol, to(alice.wallet.to_string()), &[&all[3], &all[1]]);
    check(&node, &alice, to("shop".to_owned()), &[&all[4]]);
    check(&node, &alice, to("nobody".to_owned()), &[]);
    let within = |after, before| PaymentFilter { range: TimeRange { after, before }, ..any() };
    check(&node, &alice, within(Some(at(1_000)), Some(at(3_000))), &[&all[2]]);
    check(&node, &alice, within(None, Some(at(1_000))), &[&all[0]]);
    check(&node, &alice, within(Some(at(3_000)), None), &[&all[4]]);
    let on = |rail| PaymentFilter { rail: Some(rail), ..any() };
    check(&node, &bob, on(Rail::Internal), &[&all[2], &all[0]]);
    check(&node, &bob, on(Rail::Card), &[]);
    let of = |status| PaymentFilter { status: Some(status), ..any() };
    check(&node, &bob, of("completed"), &[&all[2], &all[0]]);
    check(&node, &bob, of("refunded"), &[]);
    let theirs = PaymentFilter { wallet: Some(bob.wallet), ..any() };
    assert_eq!(
        denial(node.run(node.engine.payments(alice.id(), theirs, page(5))).map(drop)),
        Denial::UnknownWallet
    );
    let theirs = node.run(node.engine.entries(alice.id(), bob.wallet, TimeRange::default(), page(5)));
    assert_eq!(denial(theirs.map(drop)), Denial::UnknownWallet);
    node.shutdown();
}

/// Refused items are in the record of their batch and in no list.
#[test]
fn refused_items_are_not_listed() {
    let node = setup().start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "10"))).expect("funded");
    let too_much = BatchItem { amount: amount("500"), ..batch_item(bob.wallet, "1") };
    let items = [batch_item(bob.wallet, "1"), too_much, batch_item(bob.wallet, "2")];
    let request = batch(items.into_iter().map(|item| (alice.wallet, item)).collect());
    let answer = node.run(node.engine.pay_batch(&alice.caller, request)).expect("item by item").value;
    let listed = list(&node, &bob, PaymentFilter::default());
    let expected: Vec<_> = [2, 0].map(|place: usize| answer[place].clone().expect("paid").value).to_vec();
    assert_eq!(listed, expected);
    node.shutdown();
}
