//! From facts to payloads: borrows everything, clones nothing.

use ledger::{
    AgentCreated, Denial, Fact, Funding, ItemOutcome, Key, KeyAdded, KeyKind, KeyRevoked, KeyUse,
    KeysRotated, Payee, Payment, PaymentBatch, Rail, StatusChange, WalletOpened, WalletStatus,
};

use crate::records::{
    AgentCreatedRecord, ApiKeyRecord, BatchPaymentRecord, DenialRecord, FundingRecord, ItemRecord,
    KeyAddedRecord, KeyKindRecord, KeyRevokedRecord, KeyUseRecord, KeysRotatedRecord, PayeeRecord,
    PaymentBatchRecord, PaymentRecord, RailRecord, StatusChangeRecord, StatusRecord, WalletOpenedRecord,
};
use crate::{Kind, Scratch, policies};

/// What can be written to the log.
pub trait Encode {
    /// Replaces the content of `out` by the payload of this fact. Equal facts give equal bytes.
    fn encode(&self, out: &mut Scratch);
}

impl Encode for Fact {
    fn encode(&self, out: &mut Scratch) {
        match self {
            Fact::AgentCreated(fact) => fact.encode(out),
            Fact::WalletOpened(fact) => fact.encode(out),
            Fact::KeyAdded(fact) => fact.encode(out),
            Fact::KeyRevoked(fact) => fact.encode(out),
            Fact::KeysRotated(fact) => fact.encode(out),
            Fact::Funding(fact) => fact.encode(out),
            Fact::Payment(fact) => fact.encode(out),
            Fact::PaymentBatch(fact) => fact.encode(out),
            Fact::StatusChange(fact) => fact.encode(out),
            Fact::TokenReserved(fact) => fact.encode(out),
            Fact::TokenStepped(fact) => fact.encode(out),
            Fact::TokenEnded(fact) => fact.encode(out),
            Fact::ServiceChanged(fact) => fact.encode(out),
            Fact::TrustChanged(fact) => fact.encode(out),
            Fact::Clock(fact) => fact.encode(out),
            Fact::WebhookChanged(fact) => fact.encode(out),
            Fact::PolicyChanged(fact) => fact.encode(out),
            Fact::AgentPolicyChanged(fact) => fact.encode(out),
            Fact::Refund(fact) => fact.encode(out),
            Fact::DisputeOpened(fact) => fact.encode(out),
            Fact::EvidenceAdded(fact) => fact.encode(out),
            Fact::DisputeMoved(fact) => fact.encode(out),
        }
    }
}

impl Encode for Payment {
    fn encode(&self, out: &mut Scratch) {
        let record = PaymentRecord {
            payer: self.payer.raw(),
            payee: payee(&self.payee),
            amount: self.amount.nanos(),
            fee: self.fee.nanos(),
            currency: self.currency.to_bytes(),
            rail: rail(self.rail),
            description: self.description.as_deref(),
            metadata: self.metadata.as_deref(),
            key: key_use(self.key.as_ref()),
            at: self.at.millis(),
            available_after: self.balance_after.available.nanos(),
            held_after: self.balance_after.held.nanos(),
        };
        out.archive(Kind::Payment as u8, &record);
    }
}

impl Encode for PaymentBatch {
    /// Panics for an item that was denied as something else than a payment.
    fn encode(&self, out: &mut Scratch) {
        let record = PaymentBatchRecord {
            payer: self.payer.raw(),
            currency: self.currency.to_bytes(),
            at: self.at.millis(),
            atomic: self.atomic,
            key: key_use(self.key.as_ref()),
            held_after: self.held_after.nanos(),
            items: self.items.iter().map(item).collect(),
        };
        out.archive(Kind::PaymentBatch as u8, &record);
    }
}

impl Encode for Funding {
    fn encode(&self, out: &mut Scratch) {
        let record = FundingRecord {
            wallet: self.wallet.raw(),
            amount: self.amount.nanos(),
            currency: self.currency.to_bytes(),
            key: key_use(self.key.as_ref()),
            at: self.at.millis(),
            available_after: self.balance_after.available.nanos(),
            held_after: self.balance_after.held.nanos(),
        };
        out.archive(Kind::Funding as u8, &record);
    }
}

impl Encode for StatusChange {
    fn encode(&self, out: &mut Scratch) {
        let record = StatusChangeRecord {
            wallet: self.wallet.raw(),
            status: status(self.status),
            at: self.at.millis(),
        };
        out.archive(Kind::StatusChange as u8, &record);
    }
}

impl Encode for AgentCreated {
    fn encode(&self, out: &mut Scratch) {
        let record = AgentCreatedRecord {
            agent: self.agent.raw(),
            name: &self.name,
            operator: &self.operator,
            metadata: self.metadata.as_deref(),
            public_key: self.public_key,
            keys: self.keys.iter().map(api_key).collect(),
            wallet: self.wallet.raw(),
            currency: self.currency.to_bytes(),
            at: self.at.millis(),
        };
        out.archive(Kind::AgentCreated as u8, &record);
    }
}

impl Encode for WalletOpened {
    fn encode(&self, out: &mut Scratch) {
        let record = WalletOpenedRecord {
            agent: self.agent.raw(),
            wallet: self.wallet.raw(),
            label: self.label.as_deref(),
            currency: self.currency.to_bytes(),
            key: key_use(self.key.as_ref()),
            at: self.at.millis(),
        };
        out.archive(Kind::WalletOpened as u8, &record);
    }
}

impl Encode for KeyAdded {
    fn encode(&self, out: &mut Scratch) {
        let record = KeyAddedRecord { agent: self.agent.raw(), key: api_key(&self.key) };
        out.archive(Kind::KeyAdded as u8, &record);
    }
}

impl Encode for KeyRevoked {
    fn encode(&self, out: &mut Scratch) {
        let record = KeyRevokedRecord { agent: self.agent.raw(), key: self.key.raw(), at: self.at.millis() };
        out.archive(Kind::KeyRevoked as u8, &record);
    }
}

impl Encode for KeysRotated {
    fn encode(&self, out: &mut Scratch) {
        let record = KeysRotatedRecord {
            agent: self.agent.raw(),
            key: api_key(&self.key),
            old_expire_at: self.old_expire_at.millis(),
        };
        out.archive(Kind::KeysRotated as u8, &record);
    }
}

fn payee(payee: &Payee) -> PayeeRecord<'_> {
    match payee {
        Payee::Wallet(wallet) => PayeeRecord::Wallet(wallet.raw()),
        Payee::External(label) => PayeeRecord::External(label),
    }
}

pub(crate) fn key_use(key: Option<&KeyUse>) -> KeyUseRecord<'_> {
    KeyUseRecord { text: key.map(|key| &*key.text), fingerprint: key.map_or(0, |key| key.fingerprint) }
}

fn item(outcome: &ItemOutcome) -> ItemRecord<'_> {
    match outcome {
        ItemOutcome::Paid(payment) => ItemRecord::Paid(BatchPaymentRecord {
            payee: payee(&payment.payee),
            amount: payment.amount.nanos(),
            fee: payment.fee.nanos(),
            rail: rail(payment.rail),
            description: payment.description.as_deref(),
            metadata: payment.metadata.as_deref(),
            key: key_use(payment.key.as_ref()),
            available_after: payment.available_after.nanos(),
        }),
        ItemOutcome::Denied(because) => ItemRecord::Denied(denial(because)),
        ItemOutcome::Replayed(place) => ItemRecord::Replayed { lsn: place.lsn, item: place.item },
        ItemOutcome::Repeated { item } => ItemRecord::Repeated { item: *item },
    }
}

fn denial(denial: &Denial) -> DenialRecord {
    match denial {
        Denial::Policy(denial) => DenialRecord::Policy(policies::denial_record(denial)),
        Denial::UnknownWallet => DenialRecord::UnknownWallet,
        Denial::KeyConflict => DenialRecord::KeyConflict,
        Denial::UnknownPayee => DenialRecord::UnknownPayee,
        Denial::SameWallet => DenialRecord::SameWallet,
        Denial::CurrencyMismatch { wallet, requested } => {
            DenialRecord::CurrencyMismatch { wallet: wallet.to_bytes(), requested: requested.to_bytes() }
        }
        Denial::UnsupportedCurrency => DenialRecord::UnsupportedCurrency,
        Denial::SettlementNotConfigured { rail: missing } => {
            DenialRecord::SettlementNotConfigured { rail: rail(*missing) }
        }
        Denial::WalletClosed => DenialRecord::WalletClosed,
        Denial::WalletFrozen => DenialRecord::WalletFrozen,
        Denial::AmountNotPositive => DenialRecord::AmountNotPositive,
        Denial::AmountTooLarge => DenialRecord::AmountTooLarge,
        Denial::FaucetCap { limit, used, needed } => {
            DenialRecord::FaucetCap { limit: limit.nanos(), used: used.nanos(), needed: needed.nanos() }
        }
        Denial::InsufficientBalance { available, held, needed } => DenialRecord::InsufficientBalance {
            available: available.nanos(),
            held: held.nanos(),
            needed: needed.nanos(),
        },
        Denial::AtomicBatch { .. } => panic!("an item of a batch is no batch"),
        Denial::UnknownToken
        | Denial::TokenMismatch
        | Denial::UnknownService
        | Denial::ServiceInactive
        | Denial::NoWalletInCurrency { .. }
        | Denial::PriceAboveMaximum { .. }
        | Denial::TooManyOpenTokens { .. }
        | Denial::NoRoomForTokens
        | Denial::SlugTaken { .. }
        | Denial::TooManyServices { .. }
        | Denial::UnknownWebhook
        | Denial::TooManyWebhooks { .. }
        | Denial::TokenExpired { .. }
        | Denial::TokenUsed { .. }
        | Denial::WrongTokenStatus { .. }
        | Denial::UnknownDispute
        | Denial::OnlyThePayee
        | Denial::OnlyTheOpener
        | Denial::PaymentDisputed { .. }
        | Denial::DisputeExists { .. }
        | Denial::AlreadyRefunded
        | Denial::RefundTooLarge { .. }
        | Denial::DisputeWindowClosed { .. }
        | Denial::WrongDisputeStatus { .. }
        | Denial::TooMuchEvidence { .. } => panic!("an item of a batch is a payment"),
        Denial::MixedPayers => DenialRecord::MixedPayers,
        Denial::UnknownKey => DenialRecord::UnknownKey,
        Denial::LastOwnerKey => DenialRecord::LastOwnerKey,
        Denial::TooManyKeys { limit } => DenialRecord::TooManyKeys { limit: *limit },
        Denial::TooManyWallets { limit } => DenialRecord::TooManyWallets { limit: *limit },
        Denial::WrongStatus { status: present } => DenialRecord::WrongStatus { status: status(*present) },
    }
}

pub(crate) fn api_key(key: &Key) -> ApiKeyRecord {
    ApiKeyRecord {
        id: key.id.raw(),
        kind: match key.kind {
            KeyKind::Runtime => KeyKindRecord::Runtime,
            KeyKind::Owner => KeyKindRecord::Owner,
        },
        hash: key.hash,
        scopes: key.scopes.bits(),
        created_at: key.created_at.millis(),
        expires_at: key.expires_at.map(ledger::Timestamp::millis),
        revoked_at: key.revoked_at.map(ledger::Timestamp::millis),
    }
}

pub(crate) fn status(status: WalletStatus) -> StatusRecord {
    match status {
        WalletStatus::Active => StatusRecord::Active,
        WalletStatus::Frozen => StatusRecord::Frozen,
        WalletStatus::Closed => StatusRecord::Closed,
    }
}

fn rail(rail: Rail) -> RailRecord {
    match rail {
        Rail::Internal => RailRecord::Internal,
        Rail::Ach => RailRecord::Ach,
        Rail::Card => RailRecord::Card,
        Rail::Crypto => RailRecord::Crypto,
        Rail::Stripe => RailRecord::Stripe,
    }
}
