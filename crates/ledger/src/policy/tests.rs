use super::*;
use crate::{
    AgentId, Currency, Denial, PayCommand, Payee, Position, Rail, Rules, ServiceId, Wallet, WalletId,
};

mod model;

const OWNER: AgentId = AgentId::from_raw(1);
const PROVIDER: AgentId = AgentId::from_raw(2);
const ID: WalletId = WalletId::from_raw(5);
const SHOP: WalletId = WalletId::from_raw(6);
const SERVICE: ServiceId = ServiceId::from_raw(7);
/// Friday 2026-02-27T08:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_772_179_200_000);
const DAY: Span = Span { window: Window::Day, rolling: false };

fn nanos(nanos: i128) -> Amount {
    Amount::from_nanos(nanos)
}

fn limit(amount: i128, span: Span) -> SpendLimit {
    SpendLimit { amount: nanos(amount), span }
}

fn call(needed: i128) -> Spend<'static> {
    let target = Target { wallet: Some(SHOP), agent: Some(PROVIDER), service: Some(SERVICE), label: None };
    Spend { at: NOW, needed: nanos(needed), rail: Rail::Internal, target, category: Some(Some("data")) }
}

fn to_label(label: &str) -> Spend<'_> {
    Spend { target: Target { label: Some(label), ..Target::default() }, category: None, ..call(5) }
}

#[track_caller]
fn check(policy: &Policy, spend: &Spend<'_>, expected: Option<PolicyRule>) {
    assert_eq!(policy.validate(), Ok(()), "{policy:?}");
    let denial = policy.refuses(PolicyScope::Wallet, spend);
    assert_eq!(denial.map(|denial| denial.rule), expected, "{policy:?} {spend:?}");
}

#[test]
fn what_is_absent_forbids_nothing() {
    check(&Policy::default(), &call(i128::MAX), None);
    assert!(Policy::default().is_empty() && !Policy::default().has_windows());
}

#[test]
fn every_rule_refuses_what_it_is_about() {
    let none = Policy::default;
    let hours = |from_minute, to_minute| Some(vec![ActiveHours { days: 0b1_0000, from_minute, to_minute }]);
    let before = Policy { expires_at: Some(NOW), ..none() };
    check(&before, &call(5), Some(PolicyRule::ExpiresAt));
    check(&before, &Spend { at: Timestamp::from_millis(NOW.millis() - 1), ..call(5) }, None);
    check(&Policy { active_hours: hours(480, 481), ..none() }, &call(5), None);
    check(&Policy { active_hours: hours(481, 1_440), ..none() }, &call(5), Some(PolicyRule::ActiveHours));
    let rails = |rail| Policy { allowed_rails: Some(RailSet::EMPTY.with(rail)), ..none() };
    check(&rails(Rail::Internal), &call(5), None);
    check(&rails(Rail::Card), &call(5), Some(PolicyRule::AllowedRails));
    let most = |amount| Policy { max_per_payment: Some(nanos(amount)), ..none() };
    check(&most(5), &call(5), None);
    check(&most(4), &call(5), Some(PolicyRule::MaxPerPayment));
    let categories = |text: &str| Policy { allowed_categories: Some(vec![text.into()]), ..none() };
    check(&categories("data"), &call(5), None);
    check(&categories("llm"), &call(5), Some(PolicyRule::AllowedCategories));
    check(&categories("llm"), &to_label("shop"), None);
    let unnamed = Spend { category: Some(None), ..call(5) };
    check(&categories("data"), &unnamed, Some(PolicyRule::AllowedCategories));
}

#[test]
fn recipients_are_meant_by_every_name() {
    let listed = |text: &str| Recipient::parse(text).unwrap_or_else(|| panic!("{text} can be read"));
    let ids = [SHOP.to_string(), PROVIDER.to_string(), SERVICE.to_string()];
    for id in &ids {
        assert_eq!(listed(id).to_string(), *id);
        let blocked = Policy { blocked_recipients: vec![listed(id)], ..Policy::default() };
        check(&blocked, &call(5), Some(PolicyRule::BlockedRecipients));
        check(&blocked, &to_label(id), None);
        let allowed = Policy { allowed_recipients: Some(vec![listed(id)]), ..Policy::default() };
        check(&allowed, &call(5), None);
        check(&allowed, &to_label("shop"), Some(PolicyRule::AllowedRecipients));
    }
    for (entry, label, meant) in [
        ("merchant:demo", "merchant:demo", true),
        ("merchant:demo", "merchant:demo2", false),
        ("merchant:*", "merchant:demo", true),
        ("merchant:*", "merchant:", true),
        ("merchant:*", "merchant", false),
        ("*", "anything", true),
    ] {
        let allowed = Policy { allowed_recipients: Some(vec![listed(entry)]), ..Policy::default() };
        check(&allowed, &to_label(label), (!meant).then_some(PolicyRule::AllowedRecipients));
        check(&allowed, &call(5), Some(PolicyRule::AllowedRecipients));
    }
    for text in ["", "wallet_", "wallet_1", "agent_x", "svc_*"] {
        assert_eq!(Recipient::parse(text), None, "{text}");
    }
}

#[test]
fn the_first_rule_in_order_answers() {
    let rules = [
        Policy { expires_at: Some(NOW), ..Policy::default() },
        Policy {
            active_hours: Some(vec![ActiveHours { days: 1, from_minute: 0, to_minute: 1 }]),
            ..Policy::default()
        },
        Policy { allowed_rails: Some(RailSet::EMPTY.with(Rail::Ach)), ..Policy::default() },
        Policy { blocked_recipients: vec![Recipient::Wallet(SHOP)], ..Policy::default() },
        Policy { allowed_recipients: Some(vec![Recipient::Label("x".into())]), ..Policy::default() },
        Policy { allowed_categories: Some(vec!["x".into()]), ..Policy::default() },
        Policy { max_per_payment: Some(nanos(1)), ..Policy::default() },
        Policy { limits: vec![limit(1, DAY)], ..Policy::default() },
        Policy { max_payments: vec![CountLimit { count: 1, span: DAY }], ..Policy::default() },
    ];
    // Each policy has the rules from one on to the last; the first of them answers.
    for (place, rule) in PolicyRule::ALL.into_iter().enumerate() {
        let mut policy = Policy::default();
        for other in rules.iter().skip(place).cloned() {
            policy = Policy {
                expires_at: other.expires_at.or(policy.expires_at),
                active_hours: other.active_hours.or(policy.active_hours),
                allowed_rails: other.allowed_rails.or(policy.allowed_rails),
                blocked_recipients: [policy.blocked_recipients, other.blocked_recipients].concat(),
                allowed_recipients: other.allowed_recipients.or(policy.allowed_recipients),
                allowed_categories: other.allowed_categories.or(policy.allowed_categories),
                max_per_payment: other.max_per_payment.or(policy.max_per_payment),
                limits: [policy.limits, other.limits].concat(),
                max_payments: [policy.max_payments, other.max_payments].concat(),
            };
        }
        let mandate = Mandate::set(None, policy, NOW, Position::new(1)).expect("there are rules");
        let once = Spending { amount: nanos(1), payments: 1 };
        let denial = mandate.refuses(PolicyScope::Wallet, &call(5), once).expect("refused");
        assert_eq!((denial.rule, denial.scope), (rule, PolicyScope::Wallet));
    }
}

#[test]
fn impossible_policies_are_refused() {
    let span = |seconds| Span { window: Window::Seconds(seconds), rolling: true };
    let limits = |limits| Policy { limits, ..Policy::default() };
    let to = |labels: &[&str]| {
        Some(labels.iter().map(|label| Recipient::Label((*label).into())).collect::<Vec<_>>())
    };
    let table = [
        (Policy { max_per_payment: Some(Amount::ZERO), ..Policy::default() }, "max_per_payment"),
        (Policy { max_per_payment: Some(Amount::SUPPLY_MAX), ..Policy::default() }, "max_per_payment"),
        (limits(vec![limit(0, DAY)]), "limits"),
        (limits(vec![limit(1, span(0))]), "limits"),
        (limits(vec![limit(1, DAY), limit(2, DAY)]), "limits"),
        (limits((1..=9).map(|seconds| limit(1, span(seconds))).collect()), "limits"),
        (
            Policy { max_payments: vec![CountLimit { count: 0, span: DAY }], ..Policy::default() },
            "max_payments",
        ),
        (Policy { allowed_rails: Some(RailSet::EMPTY), ..Policy::default() }, "allowed_rails"),
        (Policy { allowed_recipients: to(&[]), ..Policy::default() }, "allowed_recipients"),
        (Policy { allowed_recipients: to(&["a*b"]), ..Policy::default() }, "allowed_recipients"),
        (Policy { allowed_recipients: to(&["a", "a"]), ..Policy::default() }, "allowed_recipients"),
        (
            Policy { blocked_recipients: vec![Recipient::Label("".into())], ..Policy::default() },
            "blocked_recipients",
        ),
        (Policy { allowed_categories: Some(vec![]), ..Policy::default() }, "allowed_categories"),
        (Policy { allowed_categories: Some(vec!["".into()]), ..Policy::default() }, "allowed_categories"),
        (Policy { active_hours: Some(vec![]), ..Policy::default() }, "active_hours"),
        (
            Policy {
                active_hours: Some(vec![ActiveHours { days: 1, from_minute: 9, to_minute: 9 }]),
                ..Policy::default()
            },
            "active_hours",
        ),
    ];
    for (policy, field) in table {
        let error = policy.validate().expect_err(field);
        assert_eq!(error.field, field, "{policy:?}");
        assert!(error.advice.ends_with('.'), "{error}");
    }
}

fn wallet_with(policy: Policy) -> Wallet {
    let mut wallet = Wallet::open(OWNER, Currency::USD, None, NOW, Position::new(1));
    wallet.available = nanos(1_000_000);
    wallet.set_policy(policy, NOW, Position::new(2));
    wallet
}

fn pay(amount: i128) -> PayCommand {
    PayCommand {
        caller: OWNER,
        payer: ID,
        payee: Payee::Wallet(SHOP),
        payee_agent: Some(PROVIDER),
        amount: nanos(amount),
        currency: None,
        rail: Rail::Internal,
        description: None,
        metadata: None,
        key: None,
        agent_terms: None,
        at: NOW,
    }
}

#[test]
fn a_limit_counts_fees_and_tells_its_figures() {
    let mut wallet = wallet_with(Policy { limits: vec![limit(1_004, DAY)], ..Policy::default() });
    let rules = Rules::default();
    let decide = |wallet: &Wallet, amount| crate::decide_payment(wallet, pay(amount), &rules);
    let crate::Decision::Fact(paid) = decide(&wallet, 1_000) else { panic!("the limit is met exactly") };
    wallet.spend(paid.spending(), paid.at);
    let crate::Decision::Denied(Denial::Policy(denial)) = decide(&wallet, 1) else { panic!("refused") };
    assert_eq!(denial.rule, PolicyRule::Limits);
    assert_eq!(
        denial.figures,
        PolicyFigures::Amounts { limit: nanos(1_004), used: nanos(1_004), needed: nanos(1) }
    );
    assert_eq!(denial.span, Some(DAY));
    assert_eq!(denial.reset_at, Some(Timestamp::from_millis(1_772_236_800_000)), "midnight");
    let crate::Decision::Denied(Denial::Policy(never)) = decide(&wallet, 1_005) else { panic!("refused") };
    assert_eq!(never.reset_at, None, "it never fits");
    assert!(!Denial::Policy(never).retry_can_help() && Denial::Policy(denial).retry_can_help());
}

#[test]
fn a_wallets_time_does_not_run_backwards() {
    let mut wallet = wallet_with(Policy { limits: vec![limit(9_000, DAY)], ..Policy::default() });
    let later = Timestamp::from_millis(NOW.millis() + 5_000);
    wallet.spend(Spending { amount: nanos(1), payments: 1 }, later);
    let decision = crate::decide_payment(&wallet, pay(1), &Rules::default());
    assert!(
        matches!(decision, crate::Decision::Fact(paid) if paid.at == later),
        "not before what came first"
    );
    let plain = Wallet::open(OWNER, Currency::USD, None, later, Position::new(1));
    assert_eq!(plain.time(NOW), NOW, "where nothing is counted nobody cares");
}

#[test]
fn a_hold_goes_back_to_its_slot_or_not_at_all() {
    let hourly = Span { window: Window::Hour, rolling: true };
    let policy = Policy { limits: vec![limit(100, hourly)], ..Policy::default() };
    let mut wallet = wallet_with(policy.clone());
    wallet.spend(Spending { amount: nanos(60), payments: 1 }, NOW);
    let release = Release { reserved: Position::new(3), reserved_at: NOW, amount: nanos(60) };
    let used = |wallet: &Wallet| wallet.policy.as_ref().expect("in force").remaining(NOW)[0].figures;
    let amounts =
        |used| PolicyFigures::Amounts { limit: nanos(100), used: nanos(used), needed: Amount::ZERO };
    let mut released = wallet.clone();
    released.release(release);
    assert_eq!(used(&released), amounts(0));
    // From before the window began: it was never counted in it.
    wallet.release(Release { reserved: Position::new(2), ..release });
    assert_eq!(used(&wallet), amounts(60));
    // The window goes on under a new amount; a new window begins empty, and a hold of before is not its business.
    let wider = Policy { limits: vec![limit(200, hourly)], ..Policy::default() };
    wallet.set_policy(wider, NOW, Position::new(9));
    wallet.release(release);
    assert_eq!(used(&wallet), PolicyFigures::Amounts { limit: nanos(200), used: nanos(0), needed: nanos(0) });
    wallet.set_policy(Policy { limits: vec![limit(100, DAY)], ..Policy::default() }, NOW, Position::new(10));
    wallet.spend(Spending { amount: nanos(5), payments: 1 }, NOW);
    wallet.release(release);
    assert_eq!(used(&wallet), amounts(5));
    // Gone from the window: nothing comes back.
    wallet.set_policy(policy, NOW, Position::new(11));
    wallet.spend(Spending { amount: nanos(7), payments: 1 }, NOW);
    let later = Timestamp::from_millis(NOW.millis() + 4_000_000);
    wallet.spend(Spending { amount: nanos(8), payments: 1 }, later);
    wallet.release(Release { reserved: Position::new(12), amount: nanos(7), ..release });
    assert_eq!(wallet.policy.as_ref().expect("in force").remaining(later)[0].figures, amounts(8));
}

#[test]
fn an_empty_policy_is_none() {
    let mut wallet = wallet_with(Policy { max_per_payment: Some(nanos(9)), ..Policy::default() });
    assert!(wallet.policy.is_some());
    wallet.set_policy(Policy::default(), NOW, Position::new(3));
    assert!(wallet.policy.is_none());
}
