//! Records and rows of spending policies, schema version 1: their shape on disk, and the way there and back.

use ledger::{
    ActiveHours, AgentId, AgentPolicyChanged, Amount, Bucket, CountLimit, Mandate, Measure, Policy,
    PolicyChanged, PolicyDenial, PolicyFigures, PolicyRule, PolicyScope, Position, Rail, RailSet, Recipient,
    ServiceId, Span, SpendLimit, Timestamp, Usage, Used, WalletId, Window,
};
use rkyv::with::InlineAsBox;
use rkyv::{Archive, Serialize};

use crate::{Encode, Error, Kind, Scratch, check};

#[derive(Archive, Serialize)]
enum WindowRecord {
    Hour,
    Day,
    Week,
    Month,
    Seconds(u32),
}

#[derive(Archive, Serialize)]
pub(crate) struct SpanRecord {
    window: WindowRecord,
    rolling: bool,
}

#[derive(Archive, Serialize)]
struct LimitRecord {
    amount: i128,
    span: SpanRecord,
}

#[derive(Archive, Serialize)]
struct CountRecord {
    count: u32,
    span: SpanRecord,
}

#[derive(Archive, Serialize)]
enum RecipientRecord<'a> {
    Wallet(u128),
    Agent(u128),
    Service(u128),
    Label(#[rkyv(with = InlineAsBox)] &'a str),
}

#[derive(Archive, Serialize)]
struct TextRecord<'a> {
    #[rkyv(with = InlineAsBox)]
    text: &'a str,
}

#[derive(Archive, Serialize)]
struct HoursRecord {
    days: u8,
    from_minute: u16,
    to_minute: u16,
}

#[derive(Archive, Serialize)]
pub(crate) struct PolicyRecord<'a> {
    max_per_payment: Option<i128>,
    limits: Vec<LimitRecord>,
    max_payments: Vec<CountRecord>,
    /// One bit per rail, in the order of their codes.
    allowed_rails: Option<u8>,
    allowed_recipients: Option<Vec<RecipientRecord<'a>>>,
    blocked_recipients: Vec<RecipientRecord<'a>>,
    allowed_categories: Option<Vec<TextRecord<'a>>>,
    active_hours: Option<Vec<HoursRecord>>,
    expires_at: Option<i64>,
}

#[derive(Archive, Serialize)]
pub(crate) struct PolicyChangedRecord<'a> {
    pub(crate) wallet: u128,
    policy: PolicyRecord<'a>,
    pub(crate) at: i64,
}

#[derive(Archive, Serialize)]
struct BucketRow {
    slot: i64,
    used: i128,
}

/// The windows are in the order of the policy: its limits, then its counts.
#[derive(Archive, Serialize)]
struct UsedRow {
    since: u64,
    buckets: Vec<BucketRow>,
}

#[derive(Archive, Serialize)]
pub(crate) struct MandateRow<'a> {
    policy: PolicyRecord<'a>,
    changed_at: i64,
    latest: i64,
    windows: Vec<UsedRow>,
}

#[derive(Archive, Serialize)]
pub(crate) struct AgentPolicyChangedRecord<'a> {
    pub(crate) agent: u128,
    policy: PolicyRecord<'a>,
    pub(crate) at: i64,
}

#[derive(Archive, Serialize)]
pub(crate) struct BudgetRow<'a> {
    agent: u128,
    mandate: MandateRow<'a>,
    decided: u64,
    posted: u64,
}

/// A denial within a batch. Figures are nanos or counts, by the rule.
#[derive(Archive, Serialize)]
pub(crate) struct PolicyDenialRecord {
    scope: u8,
    rule: u8,
    span: Option<SpanRecord>,
    figures: Option<(i128, i128, i128)>,
    reset_at: Option<i64>,
}

impl Encode for PolicyChanged {
    fn encode(&self, out: &mut Scratch) {
        let (wallet, policy, at) = (self.wallet.raw(), policy_record(&self.policy), self.at.millis());
        out.archive(Kind::PolicyChanged as u8, &PolicyChangedRecord { wallet, policy, at });
    }
}

impl Encode for AgentPolicyChanged {
    fn encode(&self, out: &mut Scratch) {
        let (agent, policy, at) = (self.agent.raw(), policy_record(&self.policy), self.at.millis());
        out.archive(Kind::AgentPolicyChanged as u8, &AgentPolicyChangedRecord { agent, policy, at });
    }
}

pub(crate) fn check_agent_changed(record: &ArchivedAgentPolicyChangedRecord<'_>) -> Result<(), Error> {
    policy(Kind::AgentPolicyChanged as u8, &record.policy).map(drop)
}

pub(crate) fn agent_changed(
    record: &ArchivedAgentPolicyChangedRecord<'_>,
) -> Result<AgentPolicyChanged, Error> {
    Ok(AgentPolicyChanged {
        agent: AgentId::from_raw(record.agent.to_native()),
        policy: policy(Kind::AgentPolicyChanged as u8, &record.policy)?,
        at: Timestamp::from_millis(record.at.to_native()),
    })
}

pub(crate) fn budget_row(
    agent: AgentId,
    mandate: &Mandate,
    decided: Position,
    posted: Position,
) -> BudgetRow<'_> {
    let mandate = mandate_row(mandate);
    BudgetRow { agent: agent.raw(), mandate, decided: decided.get(), posted: posted.get() }
}

pub(crate) fn budget(
    kind: u8,
    row: &ArchivedBudgetRow<'_>,
) -> Result<(AgentId, Mandate, Position, Position), Error> {
    let agent = AgentId::from_raw(row.agent.to_native());
    let [decided, posted] = [row.decided, row.posted].map(|position| Position::new(position.to_native()));
    Ok((agent, mandate(kind, &row.mandate)?, decided, posted))
}

pub(crate) fn check_changed(record: &ArchivedPolicyChangedRecord<'_>) -> Result<(), Error> {
    policy(Kind::PolicyChanged as u8, &record.policy).map(drop)
}

/// The policy of a record that was checked.
pub(crate) fn changed(record: &ArchivedPolicyChangedRecord<'_>) -> Result<PolicyChanged, Error> {
    Ok(PolicyChanged {
        wallet: WalletId::from_raw(record.wallet.to_native()),
        policy: policy(Kind::PolicyChanged as u8, &record.policy)?,
        at: Timestamp::from_millis(record.at.to_native()),
    })
}

pub(crate) fn mandate_row(mandate: &Mandate) -> MandateRow<'_> {
    let windows = mandate.usage.windows.iter().map(|used| UsedRow {
        since: used.since.get(),
        buckets: used
            .buckets
            .iter()
            .map(|bucket| BucketRow { slot: bucket.slot, used: bucket.used })
            .collect(),
    });
    MandateRow {
        policy: policy_record(&mandate.policy),
        changed_at: mandate.changed_at.millis(),
        latest: mandate.usage.latest.millis(),
        windows: windows.collect(),
    }
}

pub(crate) fn mandate(kind: u8, row: &ArchivedMandateRow<'_>) -> Result<Mandate, Error> {
    let policy = policy(kind, &row.policy)?;
    check::ensure_kind(kind, !policy.is_empty(), "policy")?;
    let amounts = policy.limits.iter().map(|limit| (Measure::Amount, limit.span));
    let counts = policy.max_payments.iter().map(|limit| (Measure::Count, limit.span));
    let windows = amounts.chain(counts).zip(row.windows.iter()).map(|((measure, span), used)| {
        let buckets = used.buckets.iter();
        let buckets = buckets.map(|row| Bucket { slot: row.slot.to_native(), used: row.used.to_native() });
        Used { measure, span, since: Position::new(used.since.to_native()), buckets: buckets.collect() }
    });
    let usage = Usage { latest: Timestamp::from_millis(row.latest.to_native()), windows: windows.collect() };
    let is_whole = row.windows.len() == usage.windows.len() && usage.fits(&policy);
    check::ensure_kind(kind, is_whole, "usage of a policy")?;
    Ok(Mandate { policy, changed_at: Timestamp::from_millis(row.changed_at.to_native()), usage })
}

pub(crate) fn policy_record(policy: &Policy) -> PolicyRecord<'_> {
    let limit =
        |limit: &SpendLimit| LimitRecord { amount: limit.amount.nanos(), span: span_record(limit.span) };
    let count = |limit: &CountLimit| CountRecord { count: limit.count, span: span_record(limit.span) };
    let categories = policy.allowed_categories.as_ref();
    let hours = |hours: &ActiveHours| HoursRecord {
        days: hours.days,
        from_minute: hours.from_minute,
        to_minute: hours.to_minute,
    };
    PolicyRecord {
        max_per_payment: policy.max_per_payment.map(Amount::nanos),
        limits: policy.limits.iter().map(limit).collect(),
        max_payments: policy.max_payments.iter().map(count).collect(),
        allowed_rails: policy.allowed_rails.map(rail_bits),
        allowed_recipients: policy.allowed_recipients.as_deref().map(recipient_records),
        blocked_recipients: recipient_records(&policy.blocked_recipients),
        allowed_categories: categories.map(|list| list.iter().map(|text| TextRecord { text }).collect()),
        active_hours: policy.active_hours.as_ref().map(|list| list.iter().map(hours).collect()),
        expires_at: policy.expires_at.map(Timestamp::millis),
    }
}

/// The policy of a record or row. What passes is valid.
pub(crate) fn policy(kind: u8, record: &ArchivedPolicyRecord<'_>) -> Result<Policy, Error> {
    let limits = record.limits.iter().map(|limit| SpendLimit {
        amount: Amount::from_nanos(limit.amount.to_native()),
        span: span(&limit.span),
    });
    let counts = record
        .max_payments
        .iter()
        .map(|limit| CountLimit { count: limit.count.to_native(), span: span(&limit.span) });
    let rails = record.allowed_rails.as_ref().map(|bits| rails(*bits).ok_or(impossible(kind))).transpose()?;
    let recipients = |list: &[ArchivedRecipientRecord<'_>]| list.iter().map(recipient).collect();
    let hours = |hours: &ArchivedHoursRecord| ActiveHours {
        days: hours.days,
        from_minute: hours.from_minute.to_native(),
        to_minute: hours.to_minute.to_native(),
    };
    let policy = Policy {
        max_per_payment: record.max_per_payment.as_ref().map(|amount| Amount::from_nanos(amount.to_native())),
        limits: limits.collect(),
        max_payments: counts.collect(),
        allowed_rails: rails,
        allowed_recipients: record.allowed_recipients.as_ref().map(|list| recipients(list.as_slice())),
        blocked_recipients: recipients(record.blocked_recipients.as_slice()),
        allowed_categories: record
            .allowed_categories
            .as_ref()
            .map(|list| list.iter().map(|category| Box::from(&*category.text)).collect()),
        active_hours: record.active_hours.as_ref().map(|list| list.iter().map(hours).collect()),
        expires_at: record.expires_at.as_ref().map(|at| Timestamp::from_millis(at.to_native())),
    };
    policy.validate().map_err(|_| impossible(kind))?;
    Ok(policy)
}

fn impossible(kind: u8) -> Error {
    Error::Impossible { kind, what: "policy" }
}

pub(crate) fn denial_record(denial: &PolicyDenial) -> PolicyDenialRecord {
    PolicyDenialRecord {
        scope: denial.scope as u8,
        rule: denial.rule as u8,
        span: denial.span.map(span_record),
        figures: match denial.figures {
            PolicyFigures::None => None,
            PolicyFigures::Amounts { limit, used, needed } => {
                Some((limit.nanos(), used.nanos(), needed.nanos()))
            }
            PolicyFigures::Counts { limit, used, needed } => Some((limit.into(), used.into(), needed.into())),
        },
        reset_at: denial.reset_at.map(Timestamp::millis),
    }
}

pub(crate) fn denial(record: &ArchivedPolicyDenialRecord) -> Result<PolicyDenial, Error> {
    let wrong = || Error::Impossible { kind: Kind::PaymentBatch as u8, what: "denial of a policy" };
    let scope = PolicyScope::ALL.get(usize::from(record.scope)).copied().ok_or_else(wrong)?;
    let rule = PolicyRule::ALL.get(usize::from(record.rule)).copied().ok_or_else(wrong)?;
    let figures = match record.figures.as_ref() {
        None => PolicyFigures::None,
        Some(figures) => {
            let figures = [figures.0.to_native(), figures.1.to_native(), figures.2.to_native()];
            if rule == PolicyRule::MaxPayments {
                let counts = figures.map(u64::try_from);
                let [Ok(limit), Ok(used), Ok(needed)] = counts else { return Err(wrong()) };
                PolicyFigures::Counts { limit, used, needed }
            } else {
                let [limit, used, needed] = figures.map(Amount::from_nanos);
                PolicyFigures::Amounts { limit, used, needed }
            }
        }
    };
    let reset_at = record.reset_at.as_ref().map(|at| Timestamp::from_millis(at.to_native()));
    Ok(PolicyDenial { scope, rule, span: record.span.as_ref().map(span), figures, reset_at })
}

fn span_record(span: Span) -> SpanRecord {
    let window = match span.window {
        Window::Hour => WindowRecord::Hour,
        Window::Day => WindowRecord::Day,
        Window::Week => WindowRecord::Week,
        Window::Month => WindowRecord::Month,
        Window::Seconds(seconds) => WindowRecord::Seconds(seconds),
    };
    SpanRecord { window, rolling: span.rolling }
}

fn span(record: &ArchivedSpanRecord) -> Span {
    let window = match &record.window {
        ArchivedWindowRecord::Hour => Window::Hour,
        ArchivedWindowRecord::Day => Window::Day,
        ArchivedWindowRecord::Week => Window::Week,
        ArchivedWindowRecord::Month => Window::Month,
        ArchivedWindowRecord::Seconds(seconds) => Window::Seconds(seconds.to_native()),
    };
    Span { window, rolling: record.rolling }
}

fn recipient_records(list: &[Recipient]) -> Vec<RecipientRecord<'_>> {
    list.iter().map(recipient_record).collect()
}

fn recipient_record(recipient: &Recipient) -> RecipientRecord<'_> {
    match recipient {
        Recipient::Wallet(wallet) => RecipientRecord::Wallet(wallet.raw()),
        Recipient::Agent(agent) => RecipientRecord::Agent(agent.raw()),
        Recipient::Service(service) => RecipientRecord::Service(service.raw()),
        Recipient::Label(label) => RecipientRecord::Label(label),
    }
}

fn recipient(record: &ArchivedRecipientRecord<'_>) -> Recipient {
    match record {
        ArchivedRecipientRecord::Wallet(raw) => Recipient::Wallet(WalletId::from_raw(raw.to_native())),
        ArchivedRecipientRecord::Agent(raw) => Recipient::Agent(AgentId::from_raw(raw.to_native())),
        ArchivedRecipientRecord::Service(raw) => Recipient::Service(ServiceId::from_raw(raw.to_native())),
        ArchivedRecipientRecord::Label(label) => Recipient::Label(Box::from(&**label)),
    }
}

fn rail_bits(rails: RailSet) -> u8 {
    let bits = Rail::ALL.into_iter().filter(|rail| rails.contains(*rail)).map(|rail| 1 << rail.index());
    bits.fold(0, |all, bit: u8| all | bit)
}

/// `None` for bits that mean nothing.
fn rails(bits: u8) -> Option<RailSet> {
    let contained = Rail::ALL.into_iter().filter(|rail| bits & (1 << rail.index()) != 0);
    let rails = contained.fold(RailSet::EMPTY, RailSet::with);
    (rail_bits(rails) == bits).then_some(rails)
}
