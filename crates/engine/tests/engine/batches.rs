//! Many payments in one request.

use engine::{Answer, Engine, PayBatch, PaymentReceipt, Refusal};
use ledger::{Amount, BatchItem, Denial, Payee, WalletId};
use wal::{FileStorage, testing::MemoryStorage};

use crate::harness::{
    Node, Party, Setup, amount, batch, batch_item, denial, external, fund, key, pay, pay_keyed,
};

type ItemResult = Result<Answer<PaymentReceipt>, Refusal>;

/// Two wallets of one agent with 100 each, and somebody to pay.
struct Scene {
    node: Node,
    first: Party,
    second: Party,
    payee: Party,
}

impl Scene {
    fn new() -> Self {
        let node = Setup::new(MemoryStorage::new()).start();
        let first = node.party("payer");
        let second = node.another(&first, ledger::Currency::USD);
        let payee = node.party("payee");
        for payer in [&first, &second] {
            node.run(node.engine.fund(&payer.caller, fund(payer, "100"))).expect("funded");
        }
        Self { node, first, second, payee }
    }

    fn engine(&self) -> &Engine {
        &self.node.engine
    }

    fn send(&self, request: PayBatch) -> Result<Answer<Vec<ItemResult>>, Refusal> {
        self.node.run(self.engine().pay_batch(&self.first.caller, request))
    }

    fn item(&self, payer: &Party, units: &str) -> (WalletId, BatchItem) {
        (payer.wallet, batch_item(self.payee.wallet, units))
    }

    fn keyed_item(&self, payer: &Party, units: &str, text: &str, fingerprint: u64) -> (WalletId, BatchItem) {
        let (payer, item) = self.item(payer, units);
        (payer, BatchItem { key: key(text, fingerprint), ..item })
    }

    /// What the three wallets hold.
    #[track_caller]
    fn check_balances(&self, first: &str, second: &str, payee: &str) {
        let held = [&self.first, &self.second, &self.payee].map(|party| self.node.available(party));
        assert_eq!(held, [first, second, payee].map(amount));
        self.node.check_trial_balance();
    }
}

#[track_caller]
fn paid(result: &ItemResult) -> &Answer<PaymentReceipt> {
    result.as_ref().unwrap_or_else(|refusal| panic!("expected a payment, got {refusal:?}"))
}

#[test]
fn items_of_several_payers_are_answered_in_order() {
    let scene = Scene::new();
    let request = batch(vec![
        scene.item(&scene.first, "10"),
        scene.item(&scene.second, "20"),
        scene.item(&scene.first, "1000"),
        (scene.first.wallet, BatchItem { payee: external("shop"), ..batch_item(scene.payee.wallet, "5") }),
        scene.item(&scene.second, "30"),
    ]);
    let answer = scene.send(request).expect("each item for itself");
    assert!(!answer.replayed);
    let found: Vec<_> = answer.value.iter().map(|result| result.as_ref().ok()).collect();
    let amounts: Vec<_> = found.iter().map(|paid| paid.map(|paid| paid.value.payment.amount)).collect();
    assert_eq!(amounts, [Some("10"), Some("20"), None, Some("5"), Some("30")].map(|text| text.map(amount)));
    let needed = amount("1004");
    let available = amount("89.96");
    let expected = Denial::InsufficientBalance { available, held: Amount::ZERO, needed };
    assert_eq!(answer.value[2], Err(expected.into()));
    scene.check_balances("84.94", "49.8", "60");
}

#[test]
fn an_atomic_batch_moves_everything_or_nothing() {
    let scene = Scene::new();
    let items = vec![scene.item(&scene.first, "60"), scene.item(&scene.first, "60")];
    let refused = denial(scene.send(PayBatch { atomic: true, ..batch(items) }));
    assert!(
        matches!(&refused, Denial::AtomicBatch { item: 1, because }
        if matches!(**because, Denial::InsufficientBalance { .. })),
        "{refused:?}"
    );
    scene.check_balances("100", "100", "0");

    let items = vec![scene.item(&scene.first, "40"), scene.item(&scene.first, "40")];
    let answer = scene.send(PayBatch { atomic: true, ..batch(items) }).expect("affordable");
    assert!(answer.value.iter().all(Result::is_ok));
    scene.check_balances("19.68", "100", "80");
}

#[test]
fn an_atomic_batch_has_one_payer() {
    let scene = Scene::new();
    let items = vec![scene.item(&scene.first, "1"), scene.item(&scene.second, "1")];
    assert_eq!(denial(scene.send(PayBatch { atomic: true, ..batch(items) })), Denial::MixedPayers);
    scene.check_balances("100", "100", "0");
    assert_eq!(scene.engine().gauges().in_flight, 0);
}

#[test]
fn an_empty_batch_answers_nothing() {
    let scene = Scene::new();
    let before = scene.engine().gauges().appended_lsn;
    let answer = scene.send(PayBatch { key: key("k", 1), ..batch(Vec::new()) }).expect("nothing to refuse");
    assert_eq!((answer.value.len(), answer.replayed), (0, false));
    assert_eq!(scene.engine().gauges().in_flight, 0);
    assert!(scene.engine().gauges().appended_lsn - before < 256, "at most a watermark was written");
}

#[test]
fn a_batch_key_answers_again_as_it_did_first() {
    let scene = Scene::new();
    for payers in [vec![&scene.first], vec![&scene.first, &scene.second]] {
        let text = format!("batch-of-{}", payers.len());
        let request = || {
            let mut items = Vec::new();
            for payer in &payers {
                items.push(scene.item(payer, "3"));
                items.push(scene.item(payer, "5000"));
            }
            PayBatch { key: key(&text, 7), ..batch(items) }
        };
        let first = scene.send(request()).expect("decided");
        let again = scene.send(request()).expect("answered again");
        assert!(!first.replayed && again.replayed);
        assert_eq!(again.value, first.value, "{text}: word for word");
    }
    scene.check_balances("93.976", "96.988", "9");
}

#[test]
fn a_batch_key_taken_for_another_request_moves_nothing() {
    let scene = Scene::new();
    let keyed = |items, fingerprint| PayBatch { key: key("taken", fingerprint), ..batch(items) };
    let single = vec![scene.item(&scene.first, "3")];
    scene.send(keyed(single.clone(), 1)).expect("first use");
    scene.check_balances("96.988", "100", "3");

    assert_eq!(denial(scene.send(keyed(single, 2))), Denial::KeyConflict);
    // The other payer does not know the key; it must not pay either.
    let both = vec![scene.item(&scene.second, "3"), scene.item(&scene.first, "3")];
    assert_eq!(denial(scene.send(keyed(both, 3))), Denial::KeyConflict);
    scene.check_balances("96.988", "100", "3");
    assert_eq!(scene.engine().gauges().in_flight, 0);
}

#[test]
fn item_keys_are_replayed_and_repeated_within_a_batch() {
    let scene = Scene::new();
    let engine = scene.engine();
    let first = &scene.first;
    let alone = pay_keyed(first, scene.payee.wallet, "2", "alone", 1);
    let alone = scene.node.run(engine.pay(&first.caller, alone)).expect("paid");
    let request = batch(vec![
        scene.keyed_item(first, "2", "alone", 1),
        scene.keyed_item(first, "4", "new", 2),
        scene.keyed_item(first, "4", "new", 2),
        scene.keyed_item(first, "5", "new", 3),
        scene.keyed_item(first, "9", "alone", 4),
    ]);
    let answer = scene.send(request).expect("each item for itself").value;
    let (replayed, new, repeated) = (paid(&answer[0]), paid(&answer[1]), paid(&answer[2]));
    assert!(replayed.replayed && replayed.value == alone.value);
    assert!(!new.replayed && repeated.replayed && repeated.value == new.value);
    assert_eq!(answer[3], Err(Denial::KeyConflict.into()));
    assert_eq!(answer[4], Err(Denial::KeyConflict.into()));
    scene.check_balances("93.976", "100", "6");

    let again =
        scene.node.run(engine.pay(&first.caller, pay_keyed(first, scene.payee.wallet, "4", "new", 2)));
    let again = again.expect("answered from the batch");
    assert!(again.replayed && again.value == new.value);
}

/// An item that is its payer's only one is decided as a single payment. Its key may lead to an item of an earlier
/// batch that had a key of its own.
#[test]
fn the_only_item_of_a_payer_may_repeat_an_item_of_a_keyed_batch() {
    let scene = Scene::new();
    let (first, second) = (&scene.first, &scene.second);
    let earlier = vec![
        scene.keyed_item(first, "1", "one", 1),
        scene.keyed_item(first, "2", "two", 2),
        scene.keyed_item(first, "3", "three", 3),
    ];
    let earlier = scene.send(PayBatch { key: key("batch", 9), ..batch(earlier) }).expect("paid").value;
    for (place, units, text, fingerprint) in [(0, "1", "one", 1), (1, "2", "two", 2), (2, "3", "three", 3)] {
        let items = vec![scene.keyed_item(first, units, text, fingerprint), scene.item(second, "1")];
        let answer = scene.send(batch(items)).expect("each item for itself").value;
        let (replayed, new) = (paid(&answer[0]), paid(&answer[1]));
        assert!(replayed.replayed && !new.replayed);
        assert_eq!(replayed.value, paid(&earlier[place]).value, "{text}");
    }
    scene.check_balances("93.976", "96.988", "9");
}

/// The fingerprint is 64 bits of a digest that is not secret: equal ones for different requests can be made.
#[test]
fn a_forged_fingerprint_ends_nothing_but_its_own_request() {
    let scene = Scene::new();
    let first = &scene.first;
    let keyed = |items| PayBatch { key: key("forged", 1), ..batch(items) };
    let two = vec![scene.item(first, "1"), scene.item(first, "2")];
    scene.send(keyed(two)).expect("first use");
    let three = vec![scene.item(first, "1"), scene.item(first, "2"), scene.item(first, "3")];
    assert_eq!(denial(scene.send(keyed(three))), Denial::KeyConflict);
    let both = vec![scene.item(first, "1"), scene.item(&scene.second, "4")];
    let answer = scene.send(keyed(both)).expect("each payer for itself").value;
    assert_eq!(answer[0], Err(Denial::KeyConflict.into()));
    assert!(answer[1].is_ok());
    scene.check_balances("96.988", "95.984", "7");
}

#[test]
fn wallets_of_others_tell_nothing_and_pay_nothing() {
    let scene = Scene::new();
    let (node, stranger) = (&scene.node, &scene.payee);
    let request = PayBatch {
        key: key("theirs", 5),
        ..batch(vec![(stranger.wallet, batch_item(scene.first.wallet, "1"))])
    };
    node.run(node.engine.fund(&stranger.caller, fund(stranger, "10"))).expect("funded");
    node.run(node.engine.pay_batch(&stranger.caller, request)).expect("paid by its owner");

    let unknown = WalletId::new(0, 12_345);
    for text in [None, Some("theirs")] {
        // Whether the key is known there, and whether the wallet exists, makes no difference to the answer.
        for theirs in [stranger.wallet, unknown] {
            let item = (theirs, batch_item(scene.second.wallet, "1"));
            let key = text.and_then(|text| key(text, 6));
            let alone = PayBatch { key: key.clone(), ..batch(vec![item.clone()]) };
            assert_eq!(denial(scene.send(alone)), Denial::UnknownWallet, "{theirs} {text:?}");
            let mixed = PayBatch { key, ..batch(vec![item, scene.item(&scene.first, "1")]) };
            let answer = scene.send(mixed).expect("each item for itself").value;
            assert_eq!(answer[0], Err(Denial::UnknownWallet.into()), "{theirs} {text:?}");
        }
    }
    let theirs = [stranger.wallet, unknown].map(|theirs| (theirs, batch_item(scene.second.wallet, "1")));
    let answer =
        scene.send(PayBatch { key: key("theirs", 6), ..batch(theirs.to_vec()) }).expect("item by item");
    assert!(!answer.replayed);
    assert_eq!(answer.value, vec![Err(Denial::UnknownWallet.into()); 2]);
    assert_eq!(scene.engine().gauges().in_flight, 0);
    assert_eq!(node.available(stranger), amount("11.996"));
}

#[test]
fn items_refused_at_the_face_are_answered_among_the_others() {
    let scene = Scene::new();
    let euro = scene.node.another(&scene.first, ledger::Currency::EUR);
    let first = &scene.first;
    let to = |payee| (first.wallet, batch_item(payee, "1"));
    let request = batch(vec![
        to(WalletId::new(0, 1)),
        to(first.wallet),
        to(euro.wallet),
        to(scene.payee.wallet),
        (
            first.wallet,
            BatchItem { payee: Payee::Wallet(scene.payee.wallet), ..batch_item(euro.wallet, "1") },
        ),
    ]);
    let answer = scene.send(request).expect("each item for itself").value;
    let denials: Vec<_> = answer.iter().map(|result| result.as_ref().err().cloned()).collect();
    let mismatch = denials[2].clone();
    assert!(matches!(mismatch, Some(Refusal::Denied(Denial::CurrencyMismatch { .. }))), "{mismatch:?}");
    assert_eq!(
        denials,
        [Some(Denial::UnknownPayee.into()), Some(Denial::SameWallet.into()), mismatch, None, None]
    );
    scene.check_balances("97.992", "100", "2");
}

#[test]
fn ten_thousand_items_are_one_record() {
    let setup = Setup::new(MemoryStorage::new()).tuned(|options| {
        options.wal =
            wal::Options { segment_bytes: 16 << 20, record_bytes_max: 8 << 20, ..Default::default() };
    });
    let node = setup.start();
    let payer = node.party("payer");
    let payees: Vec<Party> = (0..100).map(|index| node.party(&format!("payee {index}"))).collect();
    node.run(node.engine.fund(&payer.caller, fund(&payer, "20000"))).expect("funded");
    let item = |index: usize| (payer.wallet, batch_item(payees[index % payees.len()].wallet, "1"));
    let request = PayBatch { atomic: true, key: key("all", 1), ..batch((0..10_000).map(item).collect()) };
    let answer = node.run(node.engine.pay_batch(&payer.caller, request.clone())).expect("affordable");
    assert_eq!(answer.value.iter().filter(|result| result.is_ok()).count(), 10_000);
    assert_eq!(node.available(&payer), amount("9960"));
    for payee in &payees {
        assert_eq!(node.available(payee), amount("100"));
    }
    let last = paid(&answer.value[9_999]).value.clone();
    let found = node.run(node.engine.transaction(payees[99].id(), last.id));
    assert_eq!(found, Ok(engine::Transaction::Payment(last)));
    let again = node.run(node.engine.pay_batch(&payer.caller, request)).expect("answered again");
    assert!(again.replayed && again.value == answer.value);
    assert_eq!(node.engine.gauges().in_flight, 0);
    node.shutdown();
    assert_eq!(setup.audit().records, 103);
}

#[test]
fn a_batch_beyond_one_record_of_the_log_is_refused_whole() {
    let scene = Scene::new();
    let long = "x".repeat(1 << 16);
    let item = BatchItem { description: Some(long.into()), ..batch_item(scene.payee.wallet, "1") };
    let refused = scene.send(batch(vec![(scene.first.wallet, item)]));
    assert_eq!(refused.map(|_| ()), Err(Refusal::TooLarge));
    assert_eq!(scene.engine().gauges().in_flight, 0);
    scene.check_balances("100", "100", "0");
    let paid = pay(&scene.first, scene.payee.wallet, "1");
    scene.node.run(scene.engine().pay(&scene.first.caller, paid)).expect("the wallet goes on");
}

/// Enough payers for several shares, which workers decide side by side: every result is in its item's place, and every
/// balance is what the results say, with payers that cannot afford theirs in between.
#[test]
fn thousands_of_payers_get_their_own_results() {
    let scene = Scene::new();
    let payers: Vec<Party> = (0..900)
        .map(|number| {
            let payer = scene.node.another(&scene.first, ledger::Currency::USD);
            let units = if number % 7 == 0 { "1" } else { "50" };
            scene.node.run(scene.engine().fund(&payer.caller, fund(&payer, units))).expect("funded");
            payer
        })
        .collect();
    let request = || {
        // Every payer has one item, every third a second one, far from the first.
        let order = (0..900).chain((0..900).rev().filter(|payer| payer % 3 == 0));
        let items = order.enumerate().map(|(place, payer)| {
            let units = format!("{}.{place:04}", 2 + payer % 5);
            scene.keyed_item(&payers[payer], &units, &format!("item-{place}"), 7)
        });
        items.collect::<Vec<_>>()
    };
    let asked = request();
    let answer = scene.send(batch(request())).expect("decided item by item").value;
    assert_eq!(answer.len(), 1_200);
    for (place, (result, (payer, item))) in answer.iter().zip(&asked).enumerate() {
        let number = payers.iter().position(|party| party.wallet == *payer).expect("one of the payers");
        if number.is_multiple_of(7) {
            let is_denied = matches!(result, Err(Refusal::Denied(Denial::InsufficientBalance { .. })));
            assert!(is_denied, "item {place}: {result:?}");
        } else {
            let payment = &paid(result).value.payment;
            assert_eq!((payment.payer, payment.amount), (*payer, item.amount), "item {place}");
        }
    }
    let debited = |wallet: WalletId| {
        let of_wallet = answer.iter().flatten().filter(|paid| paid.value.payment.payer == wallet);
        of_wallet.fold(Amount::ZERO, |sum, paid| {
            sum.checked_add(paid.value.payment.total_debited()).expect("small amounts")
        })
    };
    for (number, payer) in payers.iter().enumerate() {
        let funded = amount(if number % 7 == 0 { "1" } else { "50" });
        let left = funded.checked_sub(debited(payer.wallet)).expect("small amounts");
        assert_eq!(scene.node.available(payer), left, "payer {number}");
    }

    let again = scene.send(batch(request())).expect("decided again").value;
    for (first, again) in answer.iter().zip(&again) {
        match (first, again) {
            (Ok(first), Ok(again)) => assert!(again.replayed && again.value == first.value),
            (first, again) => assert_eq!(first, again),
        }
    }
    assert_eq!(scene.engine().gauges().in_flight, 0);
}

/// Whoever asked goes away in the middle: what was decided stays, nothing is left behind, and the next one is served.
#[test]
fn a_requester_that_goes_away_leaves_no_places_taken() {
    let scene = Scene::new();
    let payers: Vec<Party> = (0..600)
        .map(|_| {
            let payer = scene.node.another(&scene.first, ledger::Currency::USD);
            scene.node.run(scene.engine().fund(&payer.caller, fund(&payer, "50"))).expect("funded");
            payer
        })
        .collect();
    for round in 0..20 {
        let items = payers.iter().map(|payer| scene.item(payer, "1")).collect();
        let (engine, caller) = (scene.engine().clone(), scene.first.caller.clone());
        let sent = scene.node.spawn(async move { engine.pay_batch(&caller, batch(items)).await });
        std::thread::sleep(std::time::Duration::from_micros(100 * round));
        sent.abort();
        drop(scene.node.run(sent));
    }
    let items = payers.iter().map(|payer| scene.item(payer, "1")).collect();
    let answer = scene.send(batch(items)).expect("served").value;
    assert!(answer.iter().all(Result::is_ok));
    assert_eq!(scene.engine().gauges().in_flight, 0);
}

/// Clients that together use all places of their agent: whoever has its answer has its places back, so nobody is refused.
/// The benchmark of full batches, eight clients at the limit, was refused once in some hundred requests.
#[test]
fn places_are_free_before_the_answer_can_be_acted_on() {
    const CLIENTS: u32 = 8;
    const PAYERS: u32 = 600;
    let directory = tempfile::tempdir().expect("a directory");
    // With real syncs a batch of the log is on its way for long enough to matter.
    let mut setup = Setup::new(FileStorage::open(directory.path()).expect("a log's directory"));
    setup.options.in_flight_per_agent_max = CLIENTS * PAYERS;
    // Segments as in operation: a disk that makes small ones too slowly refuses commands for another reason.
    setup.options.wal.segment_bytes = wal::Options::default().segment_bytes;
    let node = setup.start();
    let (first, payee) = (node.party("payer"), node.party("payee"));
    let payers: Vec<WalletId> = (0..PAYERS)
        .map(|_| {
            let payer = node.another(&first, ledger::Currency::USD);
            node.run(node.engine.fund(&payer.caller, fund(&payer, "5000"))).expect("funded");
            payer.wallet
        })
        .collect();
    let client = |_| {
        let (engine, caller, payers) = (node.engine.clone(), first.caller.clone(), payers.clone());
        node.spawn(async move {
            for round in 0..150 {
                let items = payers.iter().map(|payer| (*payer, batch_item(payee.wallet, "0.01"))).collect();
                let answer = engine.pay_batch(&caller, batch(items)).await;
                assert!(answer.is_ok(), "round {round}: {answer:?}");
            }
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    clients.into_iter().for_each(|client| node.run(client).expect("nobody is refused"));
    assert_eq!(node.engine.gauges().in_flight, 0);
}
