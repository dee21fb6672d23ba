//! Properties that hold for every input, checked with random ones.

use std::collections::BTreeMap;

use ledger::{
    AgentId, Amount, Change, Claim, ClaimTerms, Currency, Decision, DisputeMove, DisputeStatus, FeeSchedule,
    IdSealer, IdempotencyKeys, KeyHash, KeyPlace, KeyScope, MoveDisputeCommand, OpenDisputeCommand, Party,
    PaymentId, Position, Rail, RecordAddress, RefundCommand, RestingWallet, Rules, SealedKind, Timestamp,
    Wallet, WalletId, WalletStatus, assert_balanced, decide_dispute_move, decide_open_dispute, decide_refund,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

/// Runs `test` on 2 000 random values; prints the seed and how to replay it.
fn check<S: Strategy>(name: &str, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S::Value: PartialEq,
{
    let seed = testkit::seed(&format!("cargo test -p ledger --test properties {name}"));
    let config = Config {
        cases: 2_000,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    };
    assert_eq!(TestRunner::new(config).run(&strategy, test), Ok(()));
}

#[test]
fn written_amounts_are_read_back() {
    let nanos = prop_oneof![0..=Amount::MAX.nanos(), 0..20_000_000_000i128];
    check("written_amounts", nanos, |nanos| {
        let amount = Amount::from_nanos(nanos);
        prop_assert_eq!(Amount::parse(&amount.to_string()), Ok(amount));
        let negative = amount.negated().to_string();
        prop_assert_eq!(negative.trim_start_matches('-'), amount.to_string());
        Ok(())
    });
}

/// What is read is what schoolbook arithmetic on the digits says, whatever the text.
#[test]
fn texts_are_read_exactly_or_refused() {
    let text = prop_oneof!["[0-9]{0,20}(\\.[0-9]{0,11})?", "[0-9.eE+-]{0,12}", ".{0,30}"];
    check("texts_are_read", text, |text| {
        let Ok(amount) = Amount::parse(&text) else { return Ok(()) };
        let (units, decimals) = text.split_once('.').unwrap_or((&text, "0"));
        prop_assert!(!units.is_empty() && !decimals.is_empty() && decimals.len() <= 9 && units.len() <= 18);
        let digits = format!("{units}{decimals:0<9}");
        prop_assert!(digits.bytes().all(|byte| byte.is_ascii_digit()), "{}", text);
        prop_assert_eq!(digits.parse::<i128>().ok(), Some(amount.nanos()));
        Ok(())
    });
}

/// Whatever is asked in whatever order: money moves between payee and payer and nowhere else, no more goes back than was
/// paid, nothing is set aside without an open dispute, and only a dispute leaves a debt.
#[test]
fn claims_move_what_was_paid_and_no_more() {
    let step = prop_oneof![
        4 => (0..40_i128).prop_map(|amount| (0_u8, amount)),
        1 => Just((1, 0)),
        1 => (0..4_i128).prop_map(|step| (2, step)),
        1 => (0..60_i128).prop_map(|amount| (3, amount)),
    ];
    let stories = (0..150_i128, prop::collection::vec(step, 1..30));
    check("claims_move", stories, |(available, steps)| {
        let nanos = Amount::from_nanos;
        let (payer, payee) = (WalletId::from_raw(1), WalletId::from_raw(2));
        let terms = ClaimTerms {
            payment: KeyPlace { lsn: 7, item: 0 },
            payer,
            payee: Some(payee),
            currency: Currency::USD,
            principal: nanos(100),
        };
        let at = Timestamp::from_millis(0);
        let mut wallet = Wallet::open(AgentId::from_raw(1), Currency::USD, None, at, Position::new(1));
        wallet.available = nanos(available);
        let (mut claim, mut outside, mut position) = (Claim::new(&terms), Amount::ZERO, 10);
        for (kind, number) in steps {
            let id_of = |_| ledger::DisputeId::from_raw(0);
            let change = match kind {
                0 => {
                    let amount = (number > 0).then(|| nanos(number));
                    let command = RefundCommand { terms, amount, by: Party::Payee, key: None, at };
                    match decide_refund(&wallet, Some(&claim), command, id_of) {
                        Decision::Fact(fact) => fact.claim_change(),
                        _ => continue,
                    }
                }
                1 => {
                    let command = OpenDisputeCommand {
                        terms,
                        paid_at: at,
                        payer_agent: AgentId::from_raw(3),
                        payee_agent: Some(wallet.agent),
                        call: None,
                        by: Party::Payer,
                        reason: "r".into(),
                        description: None,
                        key: None,
                        at,
                    };
                    match decide_open_dispute(&wallet, Some(&claim), command, &Rules::default(), id_of) {
                        Decision::Fact(fact) => fact.claim_change(),
                        _ => continue,
                    }
                }
                2 => {
                    let dispute = claim.dispute.as_ref().map_or(Position::ZERO, |dispute| dispute.opened);
                    let step = DisputeMove::ALL[usize::try_from(number).expect("below four")];
                    let by = Party::Payer;
                    let command = MoveDisputeCommand { terms, dispute, step, by, call: None, note: None, at };
                    match decide_dispute_move(Some(&claim), command) {
                        Ok(Some(fact)) => fact.claim_change(),
                        _ => continue,
                    }
                }
                _ => {
                    // Spent elsewhere, as far as it is there.
                    let spent = nanos(number).min(wallet.available.max(Amount::ZERO));
                    outside = outside.plus(spent);
                    position += 1;
                    let change = Change { available: spent.negated(), ..Change::default() };
                    wallet.apply(&change, Position::new(position));
                    continue;
                }
            };
            position += 1;
            assert_balanced(|f| change.for_each_posting(f));
            wallet.apply(&change.change(), Position::new(position));
            claim.apply(&change, Position::new(position));
            let everything = wallet.total().plus(claim.refunded).plus(outside);
            prop_assert_eq!(everything, nanos(available));
            prop_assert!(claim.refunded <= terms.principal);
            let set_aside = claim.dispute.as_ref().map_or(Amount::ZERO, |dispute| dispute.set_aside);
            prop_assert_eq!(wallet.disputed, set_aside);
            prop_assert!(set_aside.is_zero() || claim.open_dispute().is_some());
            let may_owe = claim.dispute.as_ref().is_some_and(|d| d.status == DisputeStatus::ResolvedRefunded);
            prop_assert!(may_owe || !wallet.available.is_negative());
        }
        Ok(())
    });
}

/// Twice the distance between the fee and the exact share is at most one nano, and a tie goes up.
#[test]
fn fees_are_the_nearest_nano() {
    let amount = prop_oneof![0..=Amount::MAX.nanos(), 0..100_000i128];
    check("fees_are", (amount, 0..=10_000u32), |(amount, basis_points)| {
        let fees = FeeSchedule::default().with(Rail::Internal, basis_points);
        let fee = fees.fee(Rail::Internal, Amount::from_nanos(amount)).expect("in range").nanos();
        let doubled_distance = 2 * (fee * 10_000 - amount * i128::from(basis_points));
        prop_assert!((-10_000..=10_000).contains(&doubled_distance) && doubled_distance != -10_000);
        Ok(())
    });
}

#[test]
fn ids_have_one_text() {
    check("ids_have", any::<u128>(), |raw| {
        let id = WalletId::from_raw(raw);
        prop_assert_eq!(id.to_string().parse(), Ok(id));
        prop_assert!(id.to_string().to_uppercase().parse::<WalletId>().is_err());
        Ok(())
    });
    check("ids_have", "(tx_)?[0-9a-zA-Z]{0,28}", |text| {
        if let Ok(id) = text.parse::<PaymentId>() {
            prop_assert_eq!(id.to_string(), text);
        }
        Ok(())
    });
}

#[test]
fn sealed_addresses_open_and_guesses_do_not() {
    let sealer = IdSealer::new(&[7; 32]);
    let address = (any::<u16>(), 0..1u64 << 56, 0..1u32 << 16);
    check("sealed_addresses", (address, any::<u128>()), |((partition, lsn, item), guess)| {
        let address = RecordAddress { partition, lsn, item };
        let id = sealer.seal(SealedKind::Payment, address);
        prop_assert_eq!(sealer.open(SealedKind::Payment, id), Some(address));
        prop_assert_eq!(sealer.open(SealedKind::Token, id), None);
        prop_assert_eq!(sealer.open(SealedKind::Payment, guess), None);
        Ok(())
    });
}

const RETENTION: i64 = 100;

/// One step in the life of a set of keys: time passes, then a key is used or the set is swept.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    pause: i64,
    /// `None` sweeps.
    key: Option<u8>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pause = prop_oneof![8 => 0..30i64, 2 => 90..110i64, 1 => 190..320i64, 1 => -50..0i64];
    let step = (pause, proptest::option::weighted(0.7, 0..12u8)).prop_map(|(pause, key)| Step { pause, key });
    proptest::collection::vec(step, 0..60)
}

fn hash(key: u8) -> KeyHash {
    KeyHash::of(KeyScope::Payment, &key.to_string())
}

#[test]
fn keys_are_kept_as_long_as_promised_and_no_longer_than_twice() {
    let retention = RETENTION.unsigned_abs();
    check("keys_are_kept", steps(), |steps| {
        let mut keys = IdempotencyKeys::default();
        let mut used: BTreeMap<u8, (i64, i64, u64)> = BTreeMap::new();
        let (mut now, mut latest) = (0i64, 0i64);
        for (lsn, step) in (1u64..).zip(steps) {
            now += step.pause;
            latest = latest.max(now);
            keys.forget_expired(Timestamp::from_millis(now), retention);
            if let Some(key) = step.key
                && keys.find(hash(key)).is_none()
            {
                let place = KeyPlace { lsn, item: 0 };
                keys.remember(hash(key), place, lsn, Timestamp::from_millis(now), retention);
                used.insert(key, (now, latest, lsn));
            }
            for (key, (at, latest_then, lsn)) in &used {
                let place = KeyPlace { lsn: *lsn, item: 0 };
                match keys.find(hash(*key)) {
                    Some(found) => prop_assert_eq!(found, (place, *lsn)),
                    None => prop_assert!(latest - at >= RETENTION, "key {} was kept {} ms", key, latest - at),
                }
                // A clock that ran backwards lengthens a key's life by as much.
                if now - latest_then >= 2 * RETENTION {
                    prop_assert_eq!(keys.find(hash(*key)), None, "key {} is {} ms old", key, now - at);
                }
            }
        }
        Ok(())
    });
}

/// Sweeps are not in the log, so replay knows nothing of them and must end with the same sets all the same.
#[test]
fn sweeping_leaves_no_trace() {
    let retention = RETENTION.unsigned_abs();
    check("sweeping_leaves", steps(), |steps| {
        let (mut swept, mut replayed) = (IdempotencyKeys::default(), IdempotencyKeys::default());
        let mut now = 0i64;
        for (lsn, step) in (1u64..).zip(steps) {
            now += step.pause.abs();
            let at = Timestamp::from_millis(now);
            swept.forget_expired(at, retention);
            if let Some(key) = step.key {
                for keys in [&mut swept, &mut replayed] {
                    keys.remember(hash(key), KeyPlace { lsn, item: 0 }, lsn, at, retention);
                }
                prop_assert_eq!(&swept, &replayed);
            }
        }
        Ok(())
    });
}

/// Amounts of every size, with the borders of 64 and 128 bits.
fn nanos() -> impl Strategy<Value = i128> {
    let borders = [0, i128::from(i64::MAX), i128::from(i64::MIN), i128::MAX, i128::MIN];
    let near = (0..borders.len(), -2..=2i128).prop_map(move |(at, by)| borders[at].saturating_add(by));
    prop_oneof![2 => Just(0), 2 => 0..1_000_000_000_000i128, 1 => any::<i128>(), 1 => near]
}

fn any_wallet() -> impl Strategy<Value = Wallet> {
    let status =
        prop_oneof![Just(WalletStatus::Active), Just(WalletStatus::Frozen), Just(WalletStatus::Closed)];
    let identity = (any::<u128>(), any::<bool>(), status, proptest::option::of(".{0,8}"));
    let numbers = (any::<i64>(), any::<u64>(), any::<u64>());
    let keys = proptest::collection::vec((any::<u128>(), any::<u16>(), -500..500i64), 0..4);
    (identity, [nanos(), nanos(), nanos(), nanos()], numbers, keys).prop_map(
        |((agent, euro, status, label), amounts, (created_at, decided, posted), used)| {
            let mut keys = IdempotencyKeys::default();
            for (hash, item, at) in used {
                let place = KeyPlace { lsn: decided, item: item.into() };
                keys.remember(KeyHash::from_raw(hash), place, 1, Timestamp::from_millis(at), 100);
            }
            let [available, held, disputed, faucet_drawn] = amounts.map(Amount::from_nanos);
            Wallet {
                agent: AgentId::from_raw(agent),
                currency: if euro { Currency::EUR } else { Currency::USD },
                status,
                label: label.map(Into::into),
                available,
                held,
                disputed,
                faucet_drawn,
                created_at: Timestamp::from_millis(created_at),
                decided: Position::new(decided),
                posted: Position::new(posted),
                keys,
                policy: None,
            }
        },
    )
}

/// Going to rest loses nothing, and equal wallets are equal there.
#[test]
fn a_wallet_wakes_as_it_went_to_rest() {
    check("a_wallet_wakes", any_wallet(), |wallet| {
        let resting = RestingWallet::of(wallet.clone());
        prop_assert_eq!(resting.fields(), wallet.fields());
        prop_assert_eq!(&resting, &RestingWallet::of(wallet.clone()));
        prop_assert_eq!(resting.wake(), wallet);
        Ok(())
    });
}

/// A credit at rest is the credit of a wallet in use.
#[test]
fn credits_are_the_same_at_rest() {
    check("credits_are_the_same", (any_wallet(), nanos(), 1..9u64), |(mut wallet, delta, step)| {
        let fits = wallet.available.checked_add(Amount::from_nanos(delta)).is_some();
        let Some(position) = wallet.posted.get().checked_add(step).filter(|_| fits) else { return Ok(()) };
        let mut resting = RestingWallet::of(wallet.clone());
        resting.credit(Amount::from_nanos(delta), Position::new(position));
        wallet.credit(Amount::from_nanos(delta), Position::new(position));
        prop_assert_eq!(resting, RestingWallet::of(wallet));
        Ok(())
    });
}
