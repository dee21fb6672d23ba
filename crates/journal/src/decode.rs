//! From checked archives to owned facts.

use ledger::{
    AgentCreated, AgentId, Amount, BatchPayment, Currency, Denial, Funding, ItemOutcome, Key, KeyAdded,
    KeyId, KeyKind, KeyPlace, KeyRevoked, KeyUse, KeysRotated, Parts, Payee, Payment, PaymentBatch, Rail,
    Scopes, StatusChange, Timestamp, WalletId, WalletOpened, WalletStatus,
};
use rkyv::niche::option_box::ArchivedOptionBox;
use rkyv::option::ArchivedOption;
use rkyv::primitive::ArchivedI64;

use crate::records::{
    ArchivedAgentCreatedRecord, ArchivedApiKeyRecord, ArchivedBatchPaymentRecord, ArchivedDenialRecord,
    ArchivedFundingRecord, ArchivedItemRecord, ArchivedKeyAddedRecord, ArchivedKeyKindRecord,
    ArchivedKeyRevokedRecord, ArchivedKeyUseRecord, ArchivedKeysRotatedRecord, ArchivedPayeeRecord,
    ArchivedPaymentBatchRecord, ArchivedPaymentRecord, ArchivedRailRecord, ArchivedStatusChangeRecord,
    ArchivedStatusRecord, ArchivedWalletOpenedRecord,
};
use crate::{Error, Kind, check, policies};

pub(crate) fn payment(currency: Currency, record: &ArchivedPaymentRecord<'_>) -> Payment {
    Payment {
        payer: WalletId::from_raw(record.payer.to_native()),
        payee: payee(&record.payee),
        amount: Amount::from_nanos(record.amount.to_native()),
        fee: Amount::from_nanos(record.fee.to_native()),
        currency,
        rail: rail(&record.rail),
        description: text(&record.description),
        metadata: text(&record.metadata),
        key: key_use(&record.key),
        at: Timestamp::from_millis(record.at.to_native()),
        balance_after: parts(record.available_after.to_native(), record.held_after.to_native()),
    }
}

pub(crate) fn payment_batch(
    currency: Currency,
    record: &ArchivedPaymentBatchRecord<'_>,
) -> Result<PaymentBatch, Error> {
    Ok(PaymentBatch {
        payer: WalletId::from_raw(record.payer.to_native()),
        currency,
        at: Timestamp::from_millis(record.at.to_native()),
        atomic: record.atomic,
        key: key_use(&record.key),
        held_after: Amount::from_nanos(record.held_after.to_native()),
        items: record.items.iter().map(item).collect::<Result<_, _>>()?,
    })
}

pub(crate) fn funding(currency: Currency, record: &ArchivedFundingRecord<'_>) -> Funding {
    Funding {
        wallet: WalletId::from_raw(record.wallet.to_native()),
        amount: Amount::from_nanos(record.amount.to_native()),
        currency,
        key: key_use(&record.key),
        at: Timestamp::from_millis(record.at.to_native()),
        balance_after: parts(record.available_after.to_native(), record.held_after.to_native()),
    }
}

pub(crate) fn status_change(record: &ArchivedStatusChangeRecord) -> StatusChange {
    StatusChange {
        wallet: WalletId::from_raw(record.wallet.to_native()),
        status: status(&record.status),
        at: Timestamp::from_millis(record.at.to_native()),
    }
}

pub(crate) fn agent_created(record: &ArchivedAgentCreatedRecord<'_>) -> Result<AgentCreated, Error> {
    let kind = Kind::AgentCreated as u8;
    Ok(AgentCreated {
        agent: AgentId::from_raw(record.agent.to_native()),
        name: Box::from(&*record.name),
        operator: Box::from(&*record.operator),
        metadata: text(&record.metadata),
        public_key: record.public_key,
        keys: record.keys.iter().map(|key| api_key(kind, key)).collect::<Result<_, _>>()?,
        wallet: WalletId::from_raw(record.wallet.to_native()),
        currency: check::currency(kind, record.currency)?,
        at: Timestamp::from_millis(record.at.to_native()),
    })
}

pub(crate) fn wallet_opened(record: &ArchivedWalletOpenedRecord<'_>) -> Result<WalletOpened, Error> {
    Ok(WalletOpened {
        agent: AgentId::from_raw(record.agent.to_native()),
        wallet: WalletId::from_raw(record.wallet.to_native()),
        label: text(&record.label),
        currency: check::currency(Kind::WalletOpened as u8, record.currency)?,
        key: key_use(&record.key),
        at: Timestamp::from_millis(record.at.to_native()),
    })
}

pub(crate) fn key_added(record: &ArchivedKeyAddedRecord) -> Result<KeyAdded, Error> {
    let agent = AgentId::from_raw(record.agent.to_native());
    Ok(KeyAdded { agent, key: api_key(Kind::KeyAdded as u8, &record.key)? })
}

pub(crate) fn key_revoked(record: &ArchivedKeyRevokedRecord) -> KeyRevoked {
    KeyRevoked {
        agent: AgentId::from_raw(record.agent.to_native()),
        key: KeyId::from_raw(record.key.to_native()),
        at: Timestamp::from_millis(record.at.to_native()),
    }
}

pub(crate) fn keys_rotated(record: &ArchivedKeysRotatedRecord) -> Result<KeysRotated, Error> {
    Ok(KeysRotated {
        agent: AgentId::from_raw(record.agent.to_native()),
        key: api_key(Kind::KeysRotated as u8, &record.key)?,
        old_expire_at: Timestamp::from_millis(record.old_expire_at.to_native()),
    })
}

pub(crate) fn api_key(kind: u8, key: &ArchivedApiKeyRecord) -> Result<Key, Error> {
    Ok(Key {
        id: KeyId::from_raw(key.id.to_native()),
        kind: match key.kind {
            ArchivedKeyKindRecord::Runtime => KeyKind::Runtime,
            ArchivedKeyKindRecord::Owner => KeyKind::Owner,
        },
        hash: key.hash,
        scopes: Scopes::from_bits(key.scopes).ok_or(Error::Impossible { kind, what: "scope" })?,
        created_at: Timestamp::from_millis(key.created_at.to_native()),
        expires_at: optional_time(&key.expires_at),
        revoked_at: optional_time(&key.revoked_at),
    })
}

pub(crate) fn status(status: &ArchivedStatusRecord) -> WalletStatus {
    match status {
        ArchivedStatusRecord::Active => WalletStatus::Active,
        ArchivedStatusRecord::Frozen => WalletStatus::Frozen,
        ArchivedStatusRecord::Closed => WalletStatus::Closed,
    }
}

pub(crate) fn text(text: &ArchivedOptionBox<str>) -> Option<Box<str>> {
    text.as_deref().map(Box::from)
}

fn item(item: &ArchivedItemRecord<'_>) -> Result<ItemOutcome, Error> {
    Ok(match item {
        ArchivedItemRecord::Paid(payment) => ItemOutcome::Paid(batch_payment(payment)),
        ArchivedItemRecord::Denied(because) => ItemOutcome::Denied(denial(because)?),
        ArchivedItemRecord::Replayed { lsn, item } => {
            ItemOutcome::Replayed(KeyPlace { lsn: lsn.to_native(), item: item.to_native() })
        }
        ArchivedItemRecord::Repeated { item } => ItemOutcome::Repeated { item: item.to_native() },
    })
}

fn batch_payment(payment: &ArchivedBatchPaymentRecord<'_>) -> BatchPayment {
    BatchPayment {
        payee: payee(&payment.payee),
        amount: Amount::from_nanos(payment.amount.to_native()),
        fee: Amount::from_nanos(payment.fee.to_native()),
        rail: rail(&payment.rail),
        description: text(&payment.description),
        metadata: text(&payment.metadata),
        key: key_use(&payment.key),
        available_after: Amount::from_nanos(payment.available_after.to_native()),
    }
}

fn denial(denial: &ArchivedDenialRecord) -> Result<Denial, Error> {
    use ArchivedDenialRecord as Record;
    let kind = Kind::PaymentBatch as u8;
    Ok(match denial {
        Record::UnknownWallet => Denial::UnknownWallet,
        Record::KeyConflict => Denial::KeyConflict,
        Record::UnknownPayee => Denial::UnknownPayee,
        Record::SameWallet => Denial::SameWallet,
        Record::CurrencyMismatch { wallet, requested } => Denial::CurrencyMismatch {
            wallet: check::currency(kind, *wallet)?,
            requested: check::currency(kind, *requested)?,
        },
        Record::UnsupportedCurrency => Denial::UnsupportedCurrency,
        Record::SettlementNotConfigured { rail: missing } => {
            Denial::SettlementNotConfigured { rail: rail(missing) }
        }
        Record::WalletClosed => Denial::WalletClosed,
        Record::WalletFrozen => Denial::WalletFrozen,
        Record::AmountNotPositive => Denial::AmountNotPositive,
        Record::AmountTooLarge => Denial::AmountTooLarge,
        Record::FaucetCap { limit, used, needed } => Denial::FaucetCap {
            limit: Amount::from_nanos(limit.to_native()),
            used: Amount::from_nanos(used.to_native()),
            needed: Amount::from_nanos(needed.to_native()),
        },
        Record::InsufficientBalance { available, held, needed } => Denial::InsufficientBalance {
            available: Amount::from_nanos(available.to_native()),
            held: Amount::from_nanos(held.to_native()),
            needed: Amount::from_nanos(needed.to_native()),
        },
        Record::MixedPayers => Denial::MixedPayers,
        Record::UnknownKey => Denial::UnknownKey,
        Record::LastOwnerKey => Denial::LastOwnerKey,
        Record::TooManyKeys { limit } => Denial::TooManyKeys { limit: limit.to_native() },
        Record::TooManyWallets { limit } => Denial::TooManyWallets { limit: limit.to_native() },
        Record::WrongStatus { status: present } => Denial::WrongStatus { status: status(present) },
        Record::Policy(denial) => Denial::Policy(Box::new(policies::denial(Kind::PaymentBatch, denial)?)),
    })
}

fn payee(payee: &ArchivedPayeeRecord<'_>) -> Payee {
    match payee {
        ArchivedPayeeRecord::Wallet(raw) => Payee::Wallet(WalletId::from_raw(raw.to_native())),
        ArchivedPayeeRecord::External(label) => Payee::External(Box::from(&**label)),
    }
}

pub(crate) fn key_use(key: &ArchivedKeyUseRecord<'_>) -> Option<KeyUse> {
    text(&key.text).map(|text| KeyUse { text, fingerprint: key.fingerprint.to_native() })
}

pub(crate) fn rail(rail: &ArchivedRailRecord) -> Rail {
    match rail {
        ArchivedRailRecord::Internal => Rail::Internal,
        ArchivedRailRecord::Ach => Rail::Ach,
        ArchivedRailRecord::Card => Rail::Card,
        ArchivedRailRecord::Crypto => Rail::Crypto,
        ArchivedRailRecord::Stripe => Rail::Stripe,
    }
}

fn parts(available: i128, held: i128) -> Parts {
    Parts { available: Amount::from_nanos(available), held: Amount::from_nanos(held) }
}

pub(crate) fn optional_time(time: &ArchivedOption<ArchivedI64>) -> Option<Timestamp> {
    time.as_ref().map(|time| Timestamp::from_millis(time.to_native()))
}
