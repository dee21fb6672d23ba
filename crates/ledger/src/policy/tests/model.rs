//! Usage against a naive model that keeps every use and every release.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use super::*;

/// One step of a wallet's life.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes, or the clock is set back.
    Wait(i64),
    Spend(i128),
    /// The end of an earlier use, by its place, whose funds go back.
    Release(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let waits = prop_oneof![-10_000..10_000i64, 0..4_000_000i64, 0..100_000_000i64];
    prop_oneof![
        3 => waits.prop_map(Step::Wait),
        5 => (1..100i128).prop_map(Step::Spend),
        2 => (0..40usize).prop_map(Step::Release),
    ]
}

fn span() -> impl Strategy<Value = Span> {
    let windows = prop_oneof![
        Just(Window::Hour),
        Just(Window::Day),
        Just(Window::Week),
        Just(Window::Month),
        (1..100_000u32).prop_map(Window::Seconds),
    ];
    (windows, any::<bool>()).prop_map(|(window, rolling)| Span { window, rolling })
}

/// A use as it happened.
struct Use {
    at: Timestamp,
    amount: i128,
    released: bool,
}

/// Whether a use at `used` counts at `now` when nothing is rounded.
fn counts_exactly(span: Span, used: Timestamp, now: Timestamp) -> bool {
    match span.rolling {
        true => now.millis() - used.millis() < length_ms(span.window),
        false => span.slot(used) == span.slot(now),
    }
}

fn length_ms(window: Window) -> i64 {
    match window {
        Window::Hour => 3_600_000,
        Window::Day => 86_400_000,
        Window::Week => 7 * 86_400_000,
        Window::Month => 31 * 86_400_000,
        Window::Seconds(seconds) => i64::from(seconds) * 1_000,
    }
}

/// Runs `test` on 2 000 random values; prints the seed and how to replay it.
fn check_all<S: Strategy>(name: &str, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let seed = testkit::seed(&format!("cargo test -p ledger {name}"));
    let (rng_seed, failure_persistence) = (RngSeed::Fixed(seed), None);
    let config = Config { cases: 2_000, rng_seed, failure_persistence, ..Config::default() };
    if let Err(error) = TestRunner::new(config).run(&strategy, test) {
        panic!("{error}");
    }
}

/// What the model says is used: exactly, or with so much slack.
fn held(uses: &[Use], span: Span, at: Timestamp, slack_ms: i64) -> i128 {
    let moved = Timestamp::from_millis(at.millis() - slack_ms);
    let counts = |used: &&Use| {
        let late = span.rolling && counts_exactly(span, used.at, moved);
        !used.released && (late || counts_exactly(span, used.at, at))
    };
    uses.iter().filter(counts).map(|used| used.amount).sum()
}

/// Never less than what was really used, never more than what was used within the window and a thirty-second more,
/// and nothing passes that the real use would refuse.
#[test]
fn usage_is_rounded_to_the_safe_side() {
    let strategy = (span(), 1..300i128, prop::collection::vec(step(), 1..120));
    check_all("usage_is_rounded", strategy, |(span, amount, steps)| {
        let mut wallet = wallet_with(Policy { limits: vec![limit(amount, span)], ..Policy::default() });
        let mut uses: Vec<Use> = Vec::new();
        let mut clock = NOW.millis();
        for step in steps {
            match step {
                Step::Wait(millis) => clock += millis,
                Step::Release(place) => {
                    if let Some(used) = uses.get_mut(place).filter(|used| !used.released) {
                        used.released = true;
                        let (reserved, amount) = (Position::new(3 + place as u64), nanos(used.amount));
                        wallet.release(Release { reserved, reserved_at: used.at, amount });
                    }
                }
                Step::Spend(needed) => {
                    let at = wallet.time(Timestamp::from_millis(clock));
                    let mandate = wallet.policy.as_ref().expect("in force");
                    let slack = length_ms(span.window) / 32 + 1;
                    let (exact, most) = (held(&uses, span, at, 0), held(&uses, span, at, slack));
                    let counted = mandate.usage.windows[0].total(at);
                    prop_assert!((exact..=most).contains(&counted), "{} in {}..={}", counted, exact, most);
                    prop_assert!(mandate.usage.fits(&mandate.policy), "{:?}", mandate);
                    let refused =
                        mandate.refuses(PolicyScope::Wallet, &Spend { at, ..call(needed) }, AT_ONCE);
                    prop_assert_eq!(refused.is_some(), counted + needed > amount);
                    check_reset(mandate, needed, at, refused)?;
                    if refused.is_none() {
                        wallet.spend(Spending { amount: nanos(needed), payments: 1 }, at);
                        uses.push(Use { at, amount: needed, released: false });
                    }
                }
            }
        }
        Ok(())
    });
}

/// The time that a refusal names is the first at which the same passes.
fn check_reset(
    mandate: &Mandate,
    needed: i128,
    at: Timestamp,
    refused: Option<PolicyDenial>,
) -> Result<(), TestCaseError> {
    let Some(PolicyDenial { reset_at: Some(reset_at), .. }) = refused else { return Ok(()) };
    prop_assert!(reset_at > at);
    let then = |at| mandate.refuses(PolicyScope::Wallet, &Spend { at, ..call(needed) }, AT_ONCE);
    prop_assert_eq!(then(reset_at), None);
    prop_assert!(then(Timestamp::from_millis(reset_at.millis() - 1)).is_some());
    Ok(())
}

/// Releases may come anywhere between the owner's facts: the outcome is the same.
#[test]
fn releases_commute_with_uses() {
    let spends = prop::collection::vec((1..100i128, 0..9_000_000i64, any::<bool>()), 1..30);
    check_all("releases_commute", (span(), spends, 0..30usize), |(span, spends, late)| {
        let policy = Policy {
            limits: vec![limit(1_000_000, span)],
            max_payments: vec![CountLimit { count: 1_000, span }],
            ..Policy::default()
        };
        let (mut at_once, mut behind) = (wallet_with(policy.clone()), wallet_with(policy.clone()));
        let mut waiting = Vec::new();
        let mut clock = NOW.millis();
        for (place, (amount, wait, is_released)) in spends.into_iter().enumerate() {
            clock += wait;
            let (at, amount) = (Timestamp::from_millis(clock), nanos(amount));
            for wallet in [&mut at_once, &mut behind] {
                wallet.spend(Spending { amount, payments: 1 }, at);
            }
            if is_released {
                let release = Release { reserved: Position::new(3 + place as u64), reserved_at: at, amount };
                at_once.release(release);
                waiting.push(release);
            }
            if place == late {
                let wider = Policy { max_per_payment: Some(Amount::MAX), ..policy.clone() };
                for wallet in [&mut at_once, &mut behind] {
                    wallet.set_policy(wider.clone(), at, Position::new(1_000));
                }
            }
        }
        waiting.into_iter().for_each(|release| behind.release(release));
        prop_assert_eq!(at_once, behind);
        Ok(())
    });
}
