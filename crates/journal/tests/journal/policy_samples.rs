//! Policies that use every field and every variant.

use journal::Row;
use ledger::{
    ActiveHours, AgentId, AgentPolicyChanged, Amount, BUCKETS_MAX, Bucket, CountLimit, Currency, Denial,
    Fact, ItemOutcome, Mandate, Measure, PaymentBatch, Policy, PolicyChanged, PolicyDenial, PolicyFigures,
    PolicyRule, PolicyScope, Position, Rail, RailSet, Recipient, ServiceId, Span, SpendLimit, Timestamp,
    Usage, Used, Wallet, WalletId, Window,
};

use crate::samples::item;

const WALLET: WalletId = WalletId::new(1, 0x1111_1111_1111_1111_1111_1111_1111);
const AGENT: AgentId = AgentId::new(1, 0x0011_2233_4455_6677_8899_aabb_ccdd);
const AT: Timestamp = Timestamp::from_millis(1_778_241_600_123);

fn spans() -> Vec<Span> {
    let windows = [Window::Hour, Window::Day, Window::Week, Window::Month, Window::Seconds(90)];
    windows
        .iter()
        .zip([true, false, true, false, true])
        .map(|(window, rolling)| Span { window: *window, rolling })
        .collect()
}

pub(crate) fn full() -> Policy {
    let limits = spans().into_iter().map(|span| SpendLimit { amount: Amount::MAX, span });
    let recipients = vec![
        Recipient::Wallet(WALLET),
        Recipient::Agent(AGENT),
        Recipient::Service(ServiceId::from_raw(u128::MAX)),
        Recipient::Label("merchant:*".into()),
    ];
    Policy {
        max_per_payment: Some(Amount::from_nanos(5)),
        limits: limits.collect(),
        max_payments: spans().into_iter().map(|span| CountLimit { count: u32::MAX, span }).collect(),
        allowed_rails: Some(RailSet::EMPTY.with(Rail::Internal).with(Rail::Stripe)),
        allowed_recipients: Some(recipients.clone()),
        blocked_recipients: recipients,
        allowed_categories: Some(vec!["data".into(), "日本語".into()]),
        active_hours: Some(vec![ActiveHours { days: 0b101_0101, from_minute: 0, to_minute: 1_440 }]),
        expires_at: Some(Timestamp::from_millis(i64::MAX)),
    }
}

fn changed(policy: Policy) -> PolicyChanged {
    PolicyChanged { wallet: WALLET, policy, at: AT }
}

pub(crate) fn denials() -> Vec<Denial> {
    let plain = PolicyDenial {
        scope: PolicyScope::Wallet,
        rule: PolicyRule::ExpiresAt,
        span: None,
        figures: PolicyFigures::None,
        reset_at: None,
    };
    let [limit, used, needed] = [Amount::MAX, Amount::from_nanos(i128::MAX), Amount::from_nanos(1)];
    let mut denials: Vec<PolicyDenial> =
        PolicyRule::ALL.into_iter().map(|rule| PolicyDenial { rule, ..plain }).collect();
    denials.extend(PolicyScope::ALL.into_iter().map(|scope| PolicyDenial { scope, ..plain }));
    denials.extend(spans().into_iter().map(|span| PolicyDenial {
        rule: PolicyRule::Limits,
        span: Some(span),
        figures: PolicyFigures::Amounts { limit, used, needed },
        reset_at: Some(AT),
        ..plain
    }));
    denials.push(PolicyDenial {
        rule: PolicyRule::MaxPayments,
        figures: PolicyFigures::Counts { limit: u64::from(u32::MAX), used: 3, needed: 1 },
        ..plain
    });
    denials.into_iter().map(|denial| Denial::Policy(Box::new(denial))).collect()
}

fn refused_batch() -> PaymentBatch {
    let mut items = vec![ItemOutcome::Paid(item(10, 1, 989))];
    items.extend(denials().into_iter().map(ItemOutcome::Denied));
    let (currency, held_after) = (Currency::USD, Amount::ZERO);
    PaymentBatch { payer: WALLET, currency, at: AT, atomic: false, key: None, held_after, items }
}

pub(crate) fn facts() -> Vec<(&'static str, Fact)> {
    vec![
        ("policy_changed", changed(full()).into()),
        ("policy_changed_none", changed(Policy::default()).into()),
        ("agent_policy_changed", AgentPolicyChanged { agent: AGENT, policy: full(), at: AT }.into()),
        ("payment_batch_policy", refused_batch().into()),
    ]
}

fn mandate(policy: Policy, buckets: usize) -> Mandate {
    let measures = policy.limits.iter().map(|limit| (Measure::Amount, limit.span));
    let counts = policy.max_payments.iter().map(|limit| (Measure::Count, limit.span));
    let filled = |place: usize| (-3..).take(buckets).map(move |slot| Bucket { slot, used: 1 << place });
    let windows = measures.chain(counts).enumerate().map(|(place, (measure, span))| Used {
        measure,
        span,
        since: Position::new(7 + place as u64),
        buckets: filled(place).collect(),
    });
    let usage = Usage { latest: AT, windows: windows.collect() };
    Mandate { policy, changed_at: AT, usage }
}

pub(crate) fn rows() -> Vec<(&'static str, Row)> {
    let mut full_wallet = Wallet::open(AGENT, Currency::USD, Some("ops".into()), AT, Position::new(4_096));
    full_wallet.policy = Some(Box::new(mandate(full(), BUCKETS_MAX)));
    let mut bare = Wallet::open(AGENT, Currency::EUR, None, AT, Position::new(1));
    let least = Policy { max_per_payment: Some(Amount::from_nanos(1)), ..Policy::default() };
    bare.policy = Some(Box::new(mandate(least, 0)));
    let budget = Box::new(mandate(full(), 2));
    vec![
        ("row_wallet_policy", Row::Wallet(WALLET, full_wallet)),
        ("row_wallet_policy_bare", Row::Wallet(WALLET, bare)),
        ("row_budget", Row::Budget(AGENT, budget, Position::new(u64::MAX), Position::new(3))),
    ]
}
