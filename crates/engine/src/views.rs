//! What the face hands out: plain values, nothing that refers into the engine.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use ledger::{
    AgentId, Amount, Currency, Funding, Key, Mandate, Payment, PaymentId, Policy, Rail, Remaining, ServiceId,
    Timestamp, TokenId, WalletFields, WalletId, WalletOpened, WalletStatus,
};

use crate::admission::AgentMeter;

/// Who asks, as established by the face from a key.
#[derive(Clone)]
pub struct Caller {
    /// The agent that owns the key.
    pub agent: AgentId,
    /// Its places and rate.
    pub meter: Arc<AgentMeter>,
}

/// A key as far as authentication needs it.
#[derive(Clone)]
pub struct KeyRecord {
    /// The key with the hash of its secret.
    pub key: Key,
    /// Its agent.
    pub agent: AgentId,
    /// Its agent's meter.
    pub meter: Arc<AgentMeter>,
    /// When it was last used.
    pub used: Arc<LastUse>,
}

/// When a key was last used, as this process has seen it: written by every request, so it is kept out of the log and
/// starts anew with the process.
#[derive(Debug, Default)]
pub struct LastUse(AtomicI64);

impl LastUse {
    /// Notes a use, to the second: a busy key does not write for every request.
    pub fn note(&self, at: Timestamp) {
        if at.millis().saturating_sub(self.0.load(Ordering::Relaxed)) >= 1_000 {
            self.0.store(at.millis(), Ordering::Relaxed);
        }
    }

    /// `None` when it was not used since the process began.
    pub fn at(&self) -> Option<Timestamp> {
        let millis = self.0.load(Ordering::Relaxed);
        (millis != 0).then(|| Timestamp::from_millis(millis))
    }
}

/// A new agent as asked for; ids are given by the engine.
#[derive(Clone, Debug)]
pub struct NewAgent {
    pub name: Box<str>,
    pub operator: Box<str>,
    /// Raw JSON object.
    pub metadata: Option<Box<str>>,
    pub public_key: [u8; 32],
    pub keys: Vec<Key>,
    pub at: Timestamp,
}

/// A wallet to open for the caller.
#[derive(Clone, Debug)]
pub struct OpenWallet {
    pub label: Option<Box<str>>,
    pub currency: Option<Currency>,
    pub key: Option<ledger::KeyUse>,
    pub at: Timestamp,
}

/// Many payments in one request, each with its payer.
#[derive(Clone, Debug)]
pub struct PayBatch {
    pub items: Vec<(WalletId, ledger::BatchItem)>,
    /// All or nothing; all payers must then be the same wallet.
    pub atomic: bool,
    pub key: Option<ledger::KeyUse>,
    pub at: Timestamp,
}

/// A wallet at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletView {
    pub id: WalletId,
    pub agent: AgentId,
    pub currency: Currency,
    pub label: Option<Box<str>>,
    pub status: WalletStatus,
    pub available: Amount,
    pub held: Amount,
    pub disputed: Amount,
    pub created_at: Timestamp,
    pub as_of: Timestamp,
}

impl WalletView {
    pub(crate) fn of(id: WalletId, wallet: WalletFields<'_>, as_of: Timestamp) -> Self {
        Self {
            id,
            agent: wallet.agent,
            currency: wallet.currency,
            label: wallet.label.map(Into::into),
            status: wallet.status,
            available: wallet.available,
            held: wallet.held,
            disputed: wallet.disputed,
            created_at: wallet.created_at,
            as_of,
        }
    }

    /// A wallet as it was when its record was written: the first answer and every repetition of it.
    pub(crate) fn opened(fact: &WalletOpened) -> Self {
        Self {
            id: fact.wallet,
            agent: fact.agent,
            currency: fact.currency,
            label: fact.label.clone(),
            status: WalletStatus::Active,
            available: Amount::ZERO,
            held: Amount::ZERO,
            disputed: Amount::ZERO,
            created_at: fact.at,
            as_of: fact.at,
        }
    }
}

/// A policy in force, and what is left of its windows at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyView {
    /// Empty where there is none.
    pub policy: Policy,
    /// Of the wallet; `None` for an agent's policy, which adds up amounts whatever they are in.
    pub currency: Option<Currency>,
    pub changed_at: Option<Timestamp>,
    pub remaining: Vec<Remaining>,
    pub as_of: Timestamp,
}

impl PolicyView {
    pub(crate) fn of(currency: Option<Currency>, mandate: Option<&Mandate>, as_of: Timestamp) -> Self {
        Self {
            policy: mandate.map(|mandate| mandate.policy.clone()).unwrap_or_default(),
            currency,
            changed_at: mandate.map(|mandate| mandate.changed_at),
            remaining: mandate.map(|mandate| mandate.remaining(as_of)).unwrap_or_default(),
            as_of,
        }
    }
}

/// A result, and whether it is the repetition of an earlier one under the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    pub value: T,
    pub replayed: bool,
}

impl<T> Answer<T> {
    pub(crate) fn first(value: T) -> Self {
        Self { value, replayed: false }
    }

    pub(crate) fn again(value: T) -> Self {
        Self { value, replayed: true }
    }
}

/// A payment with the id that its place in the log gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentReceipt {
    pub id: PaymentId,
    /// Boxed since it was decided: a batch has thousands.
    pub payment: Box<Payment>,
}

/// A funding with its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FundReceipt {
    pub id: PaymentId,
    pub funding: Funding,
}

/// A settled call: a payment that a token decided and not its payer's wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettlementReceipt {
    pub id: PaymentId,
    pub token: TokenId,
    pub service: ServiceId,
    pub payer: WalletId,
    pub payee: WalletId,
    /// What the payer paid, all in all.
    pub amount: Amount,
    /// Part of it that the platform kept from the provider.
    pub fee: Amount,
    pub currency: Currency,
    pub at: Timestamp,
}

/// What a `tx_` id can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transaction {
    Payment(PaymentReceipt),
    Funding(FundReceipt),
    Settlement(SettlementReceipt),
}

/// Bounds on the time of arrival. Neither bound is in the range.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeRange {
    pub after: Option<Timestamp>,
    pub before: Option<Timestamp>,
}

/// Which payments to list.
#[derive(Clone, Debug, Default)]
pub struct PaymentFilter {
    pub wallet: Option<WalletId>,
    /// Wallet id or external label.
    pub counterparty: Option<String>,
    pub rail: Option<Rail>,
    pub status: Option<&'static str>,
    pub range: TimeRange,
}

/// Place of an item in the log, after which a page goes on (older items follow).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub lsn: u64,
    pub item: u32,
}

/// One page asked for.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    pub cursor: Option<Cursor>,
    pub limit: usize,
}

/// One page, newest first.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<Cursor>,
}

/// One line of a wallet's statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryView {
    /// `None` for a line that is no payment or funding: a hold that began or was given back.
    pub payment_id: Option<PaymentId>,
    pub kind: &'static str,
    pub delta: Amount,
    pub balance_after: Amount,
    pub counterparty: Option<String>,
    pub at: Timestamp,
}

/// Sums of every account at one position; they add up to zero per currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialBalance {
    pub lsn: u64,
    pub rows: Vec<TrialBalanceRow>,
}

/// One account of a trial balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialBalanceRow {
    pub currency: Currency,
    pub account: &'static str,
    pub sum: Amount,
}

/// Figures for the metrics exporter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    pub appended_lsn: u64,
    pub durable_lsn: u64,
    pub delivered_lsn: u64,
    pub wallets: u64,
    pub agents: u64,
    pub active_actors: u64,
    pub in_flight: u64,
    /// Changes that wait for the log's next segment.
    pub waiting_for_segment: u64,
    pub history_cursor: u64,
    /// Idempotency keys that owners hold in memory.
    pub keys_in_memory: u64,
    /// Idempotency keys in runs on disk, and how many runs.
    pub keys_on_disk: u64,
    pub key_files: u64,
    /// Memory of the filters of these runs.
    pub key_filter_bytes: u64,
    pub services: u64,
    pub webhooks: u64,
    /// Tokens in memory, those that ended lately included.
    pub tokens: u64,
    /// Tokens that hold money.
    pub open_tokens: u64,
    /// Payments of which something was claimed back.
    pub claims: u64,
    /// Disputes that have not ended.
    pub open_disputes: u64,
    /// Timers that will fire, those that nobody needs any more included.
    pub timers: u64,
    /// Deadlines at which an owner was woken.
    pub deadlines_fired: u64,
    /// Time up to which deadlines are judged, in UTC milliseconds.
    pub served_until_ms: i64,
    /// 1 while the wall clock is not believed and nothing expires.
    pub clock_frozen: u64,
}
