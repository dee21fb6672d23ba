//! Bytes that no writer wrote: an error or a sound fact, never a panic.

use journal::{Encode, Error, Row, Scratch, decode, decode_row, encode_row, view};
use ledger::{Amount, Currency, Fact, ItemOutcome, Payee, PaymentBatch, assert_balanced};
use testkit::Random;

use crate::samples;

fn payloads() -> Vec<Vec<u8>> {
    let mut scratch = Scratch::new();
    let mut payloads = Vec::new();
    for (_, fact) in samples::facts() {
        fact.encode(&mut scratch);
        payloads.push(scratch.bytes().to_vec());
    }
    for (_, row) in samples::rows() {
        encode_row(row.as_ref(), &mut scratch);
        payloads.push(scratch.bytes().to_vec());
    }
    payloads
}

/// Reads `bytes` in every way there is. What passes must be sound and mean the same when written again.
fn check(bytes: &[u8]) -> bool {
    let row = decode_row(bytes);
    if let Ok(row) = &row {
        let mut scratch = Scratch::new();
        encode_row(row.as_ref(), &mut scratch);
        assert_eq!(decode_row(scratch.bytes()).as_ref(), Ok(row));
        match row {
            Row::Wallet(_, wallet) => assert!(wallet.total() <= sum_of_three()),
            Row::Totals(totals, _) => {
                assert!(totals.sum(Currency::USD) <= sum_of_three().plus(Amount::SUPPLY_MAX))
            }
            Row::Token(_, token) => {
                let (rules, outages) = (ledger::Rules::default(), ledger::Outages::default());
                assert_eq!(token.deadline(&rules, &outages).is_some(), token.status.is_open());
            }
            Row::Service(service) => assert!(service.trust.score() <= 100),
            Row::Outages(outages) => drop(outages.extend(ledger::Timestamp::from_millis(0), u64::MAX)),
            Row::Webhook(webhook) => assert!(!webhook.events.is_empty()),
            Row::Budget(_, mandate, ..) => assert!(mandate.usage.fits(&mandate.policy)),
            Row::Claim(_, claim) => assert!(!claim.refundable().is_negative()),
            Row::Agent(_) | Row::Spilled(_) => {}
        }
    }
    let Ok(view) = view(bytes) else {
        return row.is_ok();
    };
    let fact = view.to_fact().expect("what a view passed can be decoded");
    assert_balanced(|f| fact.for_each_posting(f));
    assert_eq!((view.change(), view.at(), view.spending()), (fact.change(), fact.at(), fact.spending()));
    view.for_each_foreign(|posting| assert!(!posting.delta.is_zero() || !posting.held.is_zero()));
    view.for_each_key(|hash, _, _| assert_eq!(hash.raw() & 0xffff, 0));
    let mut scratch = Scratch::new();
    fact.encode(&mut scratch);
    assert_eq!(decode(scratch.bytes()), Ok(fact));
    true
}

fn sum_of_three() -> Amount {
    Amount::SUPPLY_MAX.plus(Amount::SUPPLY_MAX).plus(Amount::SUPPLY_MAX)
}

#[test]
fn every_flipped_bit_is_an_error_or_a_sound_fact() {
    let mut passed = 0usize;
    for mut payload in payloads() {
        assert!(check(&payload));
        for bit in 0..payload.len() * 8 {
            payload[bit / 8] ^= 1 << (bit % 8);
            passed += usize::from(check(&payload));
            payload[bit / 8] ^= 1 << (bit % 8);
        }
    }
    assert!(passed > 1_000, "without a checksum most numbers can be changed unnoticed: {passed}");
}

#[test]
fn every_cut_is_an_error_or_a_sound_fact() {
    for payload in payloads() {
        for length in 0..payload.len() {
            check(&payload[..length]);
            check(&payload[length..]);
        }
    }
    assert_eq!(decode(&[]), Err(Error::TooShort { length: 0 }));
    assert_eq!(decode(&[1]), Err(Error::TooShort { length: 1 }));
    assert_eq!(decode_row(&[1]), Err(Error::TooShort { length: 1 }));
}

#[test]
fn overwritten_words_are_an_error_or_a_sound_fact() {
    let words = [0u32, 1, 2, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xffff_fffe, 0xffff_ffff];
    for payload in payloads() {
        for place in 2..payload.len() - 4 {
            for word in words {
                let mut changed = payload.clone();
                changed[place..place + 4].copy_from_slice(&word.to_le_bytes());
                check(&changed);
            }
        }
    }
}

#[test]
fn random_bytes_are_an_error_or_a_sound_fact() {
    let seed = testkit::seed("cargo test -p journal --test journal random_bytes");
    let mut random = Random::new(seed);
    let payloads = payloads();
    for _ in 0..20_000 {
        let length = random.index(300);
        let mut bytes: Vec<u8> = (0..length).map(|_| random.next_u64().to_le_bytes()[0]).collect();
        check(&bytes);
        // Under the right version and kind, and with the tail of something real, more of the checks are reached.
        let real = random.pick(&payloads);
        bytes.splice(0..0, real[..2].iter().copied());
        check(&bytes);
        bytes.extend_from_slice(&real[random.index(real.len())..]);
        check(&bytes);
    }
}

#[test]
fn other_versions_and_kinds_are_named() {
    let mut scratch = Scratch::new();
    samples::payment().encode(&mut scratch);
    let mut payload = scratch.bytes().to_vec();
    for version in [0, 2, 255] {
        payload[0] = version;
        assert_eq!(decode(&payload), Err(Error::UnknownVersion { version }));
        assert_eq!(decode_row(&payload), Err(Error::UnknownVersion { version }));
    }
    payload[0] = 1;
    for kind in [0, 99, 128, 129, 136, 255] {
        payload[1] = kind;
        assert_eq!(decode(&payload), Err(Error::UnknownKind { kind }));
    }
    for kind in [0, 7, 128, 143, 255] {
        payload[1] = kind;
        assert_eq!(decode_row(&payload), Err(Error::UnknownKind { kind }));
    }
    assert_eq!(decode(&[1, 7]), Err(Error::Malformed { kind: 7 }));
}

#[track_caller]
fn impossible(fact: impl Into<Fact>, what: &'static str) {
    let mut scratch = Scratch::new();
    fact.into().encode(&mut scratch);
    let found = view(scratch.bytes()).map(|view| view.kind()).expect_err(what);
    assert!(matches!(found, Error::Impossible { what: named, .. } if named == what), "{found}");
}

#[test]
fn values_that_nobody_meant_are_named() {
    let payment = samples::payment;
    for amount in [0, -1, Amount::MAX.nanos() + 1, i128::MAX, i128::MIN] {
        let fact = ledger::Payment { amount: Amount::from_nanos(amount), ..payment() };
        impossible(fact, "amount");
    }
    for fee in [-1, 5_000_000_001, i128::MAX, i128::MIN] {
        impossible(ledger::Payment { fee: Amount::from_nanos(fee), ..payment() }, "fee");
    }
    impossible(ledger::Payment { payee: Payee::Wallet(payment().payer), ..payment() }, "payee");
    let long = samples::key(&"k".repeat(256));
    impossible(ledger::Payment { key: long, ..payment() }, "idempotency key");
}

#[test]
fn tokens_services_and_outages_that_nobody_meant_are_named() {
    let fact = |wanted: &str| {
        let (_, fact) = samples::facts().into_iter().find(|(name, _)| *name == wanted).expect("a sample");
        fact
    };
    let Fact::TokenEnded(settled) = fact("token_ended_settled") else { panic!("an end") };
    let Fact::TokenEnded(breached) = fact("token_ended_sla_breached") else { panic!("an end") };
    let nanos = Amount::from_nanos;
    for fee in [nanos(-1), nanos(5_000_001)] {
        impossible(ledger::TokenEnded { fee, ..settled.clone() }, "fee");
    }
    impossible(ledger::TokenEnded { fee: nanos(1), ..breached }, "fee");
    for amount in [nanos(0), nanos(-1), Amount::MAX.plus(nanos(1))] {
        let terms = samples::other_offer(&settled.terms, |offer| offer.price = amount);
        impossible(ledger::TokenEnded { terms, fee: Amount::ZERO, ..settled.clone() }, "amount");
    }
    let payer = settled.terms.payer;
    let terms = samples::other_offer(&settled.terms, |offer| offer.payee = payer);
    impossible(ledger::TokenEnded { terms, ..settled.clone() }, "payee");
    let sla = Some(ledger::Sla { window_ms: 1, accept_within_ms: Some(2) });
    let terms = samples::other_offer(&settled.terms, |offer| offer.sla = sla);
    impossible(ledger::TokenEnded { terms, ..settled }, "SLA");
    let Fact::ServiceChanged(mut service) = fact("service_changed") else { panic!("a service") };
    service.terms.price = Amount::ZERO;
    impossible(service, "price");
    let Fact::TrustChanged(trust) = fact("trust_changed") else { panic!("a score") };
    impossible(ledger::TrustChanged { score: 101, ..trust }, "score");
    let (from, at) = (ledger::Timestamp::from_millis(2), ledger::Timestamp::from_millis(1));
    impossible(ledger::ClockFact::Outage { from, at, cause: ledger::OutageCause::Down }, "outage");
    let wallet = ledger::WalletId::from_raw(1);
    let worthless = ledger::Policy { max_per_payment: Some(Amount::ZERO), ..ledger::Policy::default() };
    let at = ledger::Timestamp::from_millis(1);
    impossible(ledger::PolicyChanged { wallet, policy: worthless, at }, "policy");
    let webhook = crate::webhook_samples::changed(ledger::WebhookChange::Patched);
    impossible(ledger::WebhookChanged { events: Vec::new(), ..webhook.clone() }, "number of filters");
    let many = vec!["a.b".into(); ledger::WEBHOOK_EVENTS_MAX + 1];
    impossible(ledger::WebhookChanged { events: many, ..webhook.clone() }, "number of filters");
    impossible(ledger::WebhookChanged { key: samples::key("k"), ..webhook }, "idempotency key");
}

#[test]
fn a_batch_carries_its_balance_from_item_to_item() {
    let payment = samples::payment();
    let batch = |items: Vec<ItemOutcome>| PaymentBatch {
        payer: payment.payer,
        currency: payment.currency,
        at: payment.at,
        atomic: false,
        key: None,
        held_after: Amount::ZERO,
        items,
    };
    let paid = |after| ItemOutcome::Paid(samples::item(100, 1, after));
    impossible(batch(vec![paid(1_000), paid(900)]), "running balance");
    impossible(batch(vec![paid(50), paid(-51)]), "running balance");
    impossible(batch(vec![paid(1_000), ItemOutcome::Repeated { item: 1 }]), "repeated item");
    impossible(batch(vec![paid(1_000), ItemOutcome::Repeated { item: 9 }]), "repeated item");
    impossible(
        batch(vec![ItemOutcome::Denied(ledger::Denial::SameWallet), ItemOutcome::Repeated { item: 0 }]),
        "repeated item",
    );

    impossible(batch(vec![paid(1_000), ItemOutcome::Repeated { item: 2 }, paid(899)]), "repeated item");

    let sound = batch(vec![paid(1_000), ItemOutcome::Repeated { item: 0 }, paid(899)]);
    let mut scratch = Scratch::new();
    sound.encode(&mut scratch);
    assert_eq!(decode(scratch.bytes()), Ok(sound.into()));
}

#[track_caller]
fn impossible_row(change: impl FnOnce(&mut ledger::Wallet), expected: &str) {
    let Some((_, Row::Wallet(id, mut wallet))) = samples::rows().into_iter().next() else {
        panic!("a wallet")
    };
    change(&mut wallet);
    let mut scratch = Scratch::new();
    encode_row(Row::Wallet(id, wallet).as_ref(), &mut scratch);
    let found = decode_row(scratch.bytes()).expect_err(expected);
    assert_eq!(found.to_string(), format!("a record of kind 129 holds an impossible {expected}"));
}

#[test]
fn balances_that_cannot_be_are_named() {
    let beyond = Amount::SUPPLY_MAX.plus(Amount::from_nanos(1));
    impossible_row(|wallet| wallet.available = beyond, "balance");
    impossible_row(|wallet| wallet.available = beyond.negated(), "balance");
    impossible_row(|wallet| wallet.held = Amount::from_nanos(-1), "balance");
    impossible_row(|wallet| wallet.disputed = Amount::from_nanos(i128::MIN), "balance");
    impossible_row(|wallet| wallet.faucet_drawn = beyond, "balance");
}
