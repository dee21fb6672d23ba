//! Random facts come back as they went, and a view says of the bytes what the ledger says of the fact.

use journal::{Encode, Owner, Paid, PaidTo, Scratch, decode, view};
use ledger::{
    Account, AgentId, Amount, BatchPayment, ClaimTerms, Currency, DisputeMoved, DisputeStatus, Fact,
    ItemOutcome, KeyPlace, KeyUse, Offer, Parts, Party, Payee, Payment, PaymentBatch, Position, Rail, Refund,
    SLA_WINDOW_MS_MAX, ServiceChange, ServiceChanged, ServiceId, ServiceStatus, ServiceTerms, Sla, Step,
    Timestamp, TokenEnd, TokenEnded, TokenReserved, TokenStepped, TokenTerms, TokenTimes, Verification,
    WalletId,
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

fn sla() -> impl Strategy<Value = Option<Sla>> {
    let sla = (1..=SLA_WINDOW_MS_MAX)
        .prop_flat_map(|window_ms| (Just(window_ms), proptest::option::of(1..=window_ms)))
        .prop_map(|(window_ms, accept_within_ms)| Sla { window_ms, accept_within_ms });
    proptest::option::of(sla)
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_millis)
}

fn token_terms() -> impl Strategy<Value = TokenTerms> {
    let ids = (any::<u128>(), any::<u128>(), any::<u64>(), any::<u128>(), 1..u128::MAX);
    (ids, money(), currency(), sla(), any::<bool>(), time()).prop_map(
        |((payer_agent, service, service_at, provider, payee), (price, _), currency, sla, counts, at)| {
            let offer = Offer {
                service: ServiceId::from_raw(service),
                service_at: Position::new(service_at),
                provider: AgentId::from_raw(provider),
                payee: WalletId::from_raw(payee),
                price,
                currency,
                sla,
            };
            TokenTerms {
                offer: offer.into(),
                payer: WalletId::from_raw(0),
                payer_agent: AgentId::from_raw(payer_agent),
                counts,
                reserved_at: at,
            }
        },
    )
}

fn reserved() -> impl Strategy<Value = TokenReserved> {
    (token_terms(), time(), key(), any::<(i128, i128)>()).prop_map(
        |(terms, expires_at, key, (available, held))| TokenReserved {
            terms,
            expires_at,
            key,
            balance_after: Parts { available: Amount::from_nanos(available), held: Amount::from_nanos(held) },
        },
    )
}

fn stepped() -> impl Strategy<Value = TokenStepped> {
    let step = prop_oneof![
        key().prop_map(|key| Step::Verify(Verification { key })),
        Just(Step::Start),
        Just(Step::Accept),
    ];
    (any::<u64>(), step, time()).prop_map(|(token, step, at)| TokenStepped {
        token: Position::new(token),
        step,
        at,
    })
}

fn ended() -> impl Strategy<Value = TokenEnded> {
    let ends = [
        TokenEnd::Settled,
        TokenEnd::Cancelled,
        TokenEnd::Expired,
        TokenEnd::SlaBreached,
        TokenEnd::Refunded,
    ];
    let times = || proptest::option::of(time());
    let times = (times(), times(), times());
    let end = proptest::sample::select(ends.to_vec());
    (token_terms(), end, times, any::<(u64, u64)>(), any::<u64>(), time(), 0..=10_000u32).prop_map(
        |(terms, end, (verified_at, started_at, accepted_at), redeemed_by, token, at, share)| {
            let fee = terms.price.nanos() / 10_000 * i128::from(share);
            TokenEnded {
                token: Position::new(token),
                end,
                expires_at: at,
                times: TokenTimes { verified_at, started_at, accepted_at, ended_at: None },
                fee: Amount::from_nanos(if end == TokenEnd::Settled { fee } else { 0 }),
                redeemed_by,
                terms,
                at,
            }
        },
    )
}

fn service_changed() -> impl Strategy<Value = ServiceChanged> {
    let texts = (".{0,40}", text(), text(), text(), text());
    (texts, money(), currency(), sla(), key(), any::<[bool; 2]>(), time()).prop_map(
        |(
            (name, description, category, endpoint_url, metadata),
            (price, _),
            currency,
            sla,
            key,
            flags,
            at,
        )| {
            let [is_active, verified] = flags;
            let terms = ServiceTerms {
                name: name.clone().into(),
                description,
                price,
                currency,
                category,
                endpoint_url,
                sla,
                metadata,
            };
            ServiceChanged {
                service: ServiceId::from_raw(7),
                change: ServiceChange::Patched,
                provider: AgentId::from_raw(8),
                wallet: WalletId::from_raw(9),
                slug: ledger::slug_of(&name),
                terms,
                status: if is_active { ServiceStatus::Active } else { ServiceStatus::Inactive },
                verified,
                key,
                created_at: at,
                at,
            }
        },
    )
}

/// Terms of a payment, and a part of it.
fn claim() -> impl Strategy<Value = (ClaimTerms, Amount)> {
    let place = (0..1_u64 << 55, 0..=0xffff_u32);
    (money(), currency(), place, proptest::option::of(1..u128::MAX), any::<u64>()).prop_map(
        |((principal, _), currency, (lsn, item), payee, part)| {
            let terms = ClaimTerms {
                payment: KeyPlace { lsn, item },
                payer: WalletId::from_raw(0),
                payee: payee.map(WalletId::from_raw),
                currency,
                principal,
            };
            (terms, Amount::from_nanos(1 + i128::from(part) % principal.nanos()))
        },
    )
}

fn party() -> impl Strategy<Value = Party> {
    proptest::sample::select(&Party::ALL[..])
}

fn refund() -> impl Strategy<Value = Refund> {
    (claim(), party(), key(), time(), any::<(i128, i128)>()).prop_map(
        |((terms, amount), by, key, at, (available, held))| Refund {
            terms,
            amount,
            refunded_after: terms.principal,
            by,
            key,
            at,
            balance_after: Parts { available: Amount::from_nanos(available), held: Amount::from_nanos(held) },
        },
    )
}

fn dispute_moved() -> impl Strategy<Value = DisputeMoved> {
    let to = proptest::sample::select(&DisputeStatus::ALL[1..]);
    (claim(), party(), to, text(), time(), any::<[u64; 2]>()).prop_map(
        |((terms, part), by, to, note, at, [dispute, previous])| {
            let is_refund = to == DisputeStatus::ResolvedRefunded;
            let set_aside = if terms.payee.is_some() { part } else { Amount::ZERO };
            DisputeMoved {
                terms,
                dispute: Position::new(dispute),
                previous: Position::new(previous),
                to,
                by,
                returned: if is_refund { terms.principal } else { Amount::ZERO },
                released: if to.is_open() { Amount::ZERO } else { set_aside },
                refunded_after: if is_refund { terms.principal } else { Amount::ZERO },
                note,
                call: None,
                at,
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
    let fact = prop_oneof![
        payment().prop_map(Fact::from),
        batch().prop_map(Fact::from),
        reserved().prop_map(Fact::from),
        stepped().prop_map(Fact::from),
        ended().prop_map(Fact::from),
        service_changed().prop_map(Fact::from),
        refund().prop_map(Fact::from),
        dispute_moved().prop_map(Fact::from),
    ];
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
    assert_eq!((view.change(), view.at(), view.spending()), (fact.change(), fact.at(), fact.spending()));
    let changed = match fact {
        Fact::PolicyChanged(changed) => Some(changed.clone()),
        _ => None,
    };
    assert_eq!(view.policy_changed(), changed);
    assert_eq!(view.claim_change(), fact.claim_change());
    let owner = match view.owner() {
        Owner::Wallet(wallet) => Some(Account::Wallet(wallet)),
        Owner::Directory(_) | Owner::Token(_) | Owner::Service(_) | Owner::Budget(_) | Owner::Clock => None,
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
    check_paid(view.paid().collect(), fact);
}

/// What is read in place is what was decided, payment by payment.
fn check_paid(found: Vec<Paid<'_>>, fact: &Fact) {
    let expected = match fact {
        Fact::Payment(payment) => {
            let Payment { payer, payee, amount, fee, rail, at, .. } = payment;
            vec![(*payer, payee, *amount, *fee, *rail, 0, *at)]
        }
        Fact::PaymentBatch(batch) => (0..)
            .zip(&batch.items)
            .filter_map(|(item, outcome)| {
                let ItemOutcome::Paid(paid) = outcome else { return None };
                Some((batch.payer, &paid.payee, paid.amount, paid.fee, paid.rail, item, batch.at))
            })
            .collect(),
        _ => Vec::new(),
    };
    let expected: Vec<Paid<'_>> = expected
        .into_iter()
        .map(|(payer, payee, amount, fee, rail, item, at)| {
            let payee = match payee {
                Payee::Wallet(wallet) => PaidTo::Wallet(*wallet),
                Payee::External(label) => PaidTo::External(label),
            };
            Paid { payer, payee, amount, fee, rail, item, at }
        })
        .collect();
    assert_eq!(found, expected);
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
