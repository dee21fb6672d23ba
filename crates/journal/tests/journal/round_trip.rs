//! Random facts come back as they went, and a view says of the bytes what the ledger says of the fact.

use journal::{Encode, Owner, Scratch, decode, view};
use ledger::{
    Account, Amount, BatchPayment, Currency, Fact, ItemOutcome, KeyPlace, KeyUse, Parts, Payee, Payment,
    PaymentBatch, Rail, Timestamp, WalletId,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::samples;

fn text() -> impl Strategy<Value = Option<Box<str>>> {
    proptest::option::of(".{0,60}".prop_map(Box::from))
}

fn key() -> impl Strategy<Value = Option<KeyUse>> {
    let key = ("[ -~]{1,255}", any::<u64>());
    proptest::option::of(key.prop_map(|(text, fingerprint)| KeyUse { text: text.into(), fingerprint }))
}

/// An amount and a fee on top of it.
fn money() -> impl Strategy<Value = (Amount, Amount)> {
    let amount = prop_oneof![1..10_000i128, 1..=Amount::MAX.nanos()];
    amount
        .prop_flat_map(|amount| (Just(amount), 0..=amount))
        .prop_map(|(amount, fee)| (Amount::from_nanos(amount), Amount::from_nanos(fee)))
}

fn payee() -> impl Strategy<Value = Payee> {
    prop_oneof![
        (1..u128::MAX).prop_map(|raw| Payee::Wallet(WalletId::from_raw(raw))),
        ".{0,40}".prop_map(|label| Payee::External(label.into())),
    ]
}

fn rail() -> impl Strategy<Value = Rail> {
    proptest::sample::select(&Rail::ALL[..])
}

fn currency() -> impl Strategy<Value = Currency> {
    "[A-Z]{3}".prop_map(|code| Currency::parse(&code).expect("three letters"))
}

fn payment() -> impl Strategy<Value = Payment> {
    let parts = (any::<i128>(), any::<i128>());
    (payee(), money(), currency(), rail(), text(), text(), key(), any::<i64>(), parts).prop_map(
        |(payee, (amount, fee), currency, rail, description, metadata, key, at, (available, held))| Payment {
            payer: WalletId::from_raw(0),
            payee,
            amount,
            fee,
            currency,
            rail,
            description,
            metadata,
            key,
            at: Timestamp::from_millis(at),
            balance_after: Parts { available: Amount::from_nanos(available), held: Amount::from_nanos(held) },
        },
    )
}

fn outcome() -> impl Strategy<Value = ItemOutcome> {
    let paid = (payee(), money(), rail(), text(), text(), key()).prop_map(
        |(payee, (amount, fee), rail, description, metadata, key)| {
            let available_after = Amount::ZERO;
            ItemOutcome::Paid(BatchPayment {
                payee,
                amount,
                fee,
                rail,
                description,
                metadata,
                key,
                available_after,
            })
        },
    );
    let denied = proptest::sample::select(samples::denials()).prop_map(ItemOutcome::Denied);
    let replayed = (any::<u64>(), 0..65_536u32);
    prop_oneof![
        4 => paid,
        2 => denied,
        1 => replayed.prop_map(|(lsn, item)| ItemOutcome::Replayed(KeyPlace { lsn, item })),
    ]
}

fn batch() -> impl Strategy<Value = PaymentBatch> {
    let items = proptest::collection::vec(outcome(), 0..20);
    (items, currency(), any::<bool>(), key(), any::<i64>()).prop_map(
        |(mut items, currency, atomic, key, at)| {
            // What the items before leave, counted from the last one back.
            let mut available = Amount::ZERO;
            for item in items.iter_mut().rev() {
                if let ItemOutcome::Paid(payment) = item {
                    payment.available_after = available;
                    available = available.plus(payment.amount).plus(payment.fee);
                }
            }
            PaymentBatch {
                payer: WalletId::from_raw(0),
                currency,
                at: Timestamp::from_millis(at),
                atomic,
                key,
                held_after: Amount::from_nanos(3),
                items,
            }
        },
    )
}

#[test]
fn random_facts_come_back() {
    let seed = testkit::seed("cargo test -p journal --test journal random_facts");
    let config = Config {
        cases: 2_000,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    };
    let fact = prop_oneof![payment().prop_map(Fact::from), batch().prop_map(Fact::from)];
    let outcome = TestRunner::new(config).run(&fact, |fact| {
        let mut scratch = Scratch::new();
        fact.encode(&mut scratch);
        prop_assert_eq!(&decode(scratch.bytes()), &Ok(fact.clone()));
        check_view(scratch.bytes(), &fact);
        Ok(())
    });
    assert_eq!(outcome, Ok(()));
}

#[test]
fn samples_are_viewed_as_they_are_decided() {
    let mut scratch = Scratch::new();
    for (name, fact) in samples::facts() {
        fact.encode(&mut scratch);
        check_view(scratch.bytes(), &fact);
        assert!(
            name.starts_with(view(scratch.bytes()).expect("a sample").kind().as_str())
                || name.starts_with("status")
        );
    }
}

fn check_view(payload: &[u8], fact: &Fact) {
    let view = view(payload).expect("what was encoded can be read");
    assert_eq!((view.change(), view.at()), (fact.change(), fact.at()));
    let owner = match view.owner() {
        Owner::Wallet(wallet) => Some(Account::Wallet(wallet)),
        Owner::Directory(_) | Owner::Token(_) | Owner::Service(_) | Owner::Clock => None,
    };
    let (mut postings, mut foreign) = (Vec::new(), Vec::new());
    fact.for_each_posting(|posting| postings.push(posting));
    postings.retain(|posting| Some(posting.account) != owner);
    view.for_each_foreign(|posting| foreign.push(posting));
    assert_eq!(foreign, postings);
    let (mut decided, mut recorded) = (Vec::new(), Vec::new());
    fact.for_each_key(|hash, fingerprint, item| decided.push((hash, fingerprint, item)));
    view.for_each_key(|hash, fingerprint, item| recorded.push((hash, fingerprint, item)));
    assert_eq!(recorded, decided);
}

#[test]
fn a_scratch_is_used_again_and_gives_large_buffers_back() {
    let mut scratch = Scratch::new();
    assert_eq!(scratch.bytes(), &[] as &[u8]);
    let long = Payment { description: Some("x".repeat(1 << 20).into()), ..samples::payment() };
    long.encode(&mut scratch);
    assert!(scratch.bytes().len() > 1 << 20);
    samples::payment().encode(&mut scratch);
    let first = scratch.bytes().to_vec();
    samples::payment().encode(&mut scratch);
    assert_eq!(scratch.bytes(), first);
    assert_eq!(decode(&first), Ok(samples::payment().into()));
}
