//! Records of schema version 1, as they lie on disk: borrowed from a fact to be written, archived to be read.
//!
//! Numbers are plain integers, codes are enums whose order is the format. Never change what is here: a new shape is a
//! new version in a module of its own, next to this one.

use rkyv::with::InlineAsBox;
use rkyv::{Archive, Serialize};

use crate::archive::OptionalText;
use crate::policies::PolicyDenialRecord;

#[derive(Archive, Serialize)]
pub(crate) enum PayeeRecord<'a> {
    Wallet(u128),
    External(#[rkyv(with = InlineAsBox)] &'a str),
}

#[derive(Archive, Serialize, Copy, Clone)]
pub(crate) enum RailRecord {
    Internal,
    Ach,
    Card,
    Crypto,
    Stripe,
}

#[derive(Archive, Serialize, Copy, Clone)]
pub(crate) enum StatusRecord {
    Active,
    Frozen,
    Closed,
}

#[derive(Archive, Serialize, Copy, Clone)]
pub(crate) enum KeyKindRecord {
    Runtime,
    Owner,
}

/// An idempotency key: the fingerprint means nothing without the text.
#[derive(Archive, Serialize)]
pub(crate) struct KeyUseRecord<'a> {
    #[rkyv(with = OptionalText)]
    pub(crate) text: Option<&'a str>,
    pub(crate) fingerprint: u64,
}

#[derive(Archive, Serialize)]
pub(crate) struct PaymentRecord<'a> {
    pub(crate) payer: u128,
    pub(crate) payee: PayeeRecord<'a>,
    pub(crate) amount: i128,
    pub(crate) fee: i128,
    pub(crate) currency: [u8; 3],
    pub(crate) rail: RailRecord,
    #[rkyv(with = OptionalText)]
    pub(crate) description: Option<&'a str>,
    #[rkyv(with = OptionalText)]
    pub(crate) metadata: Option<&'a str>,
    pub(crate) key: KeyUseRecord<'a>,
    pub(crate) at: i64,
    pub(crate) available_after: i128,
    pub(crate) held_after: i128,
}

#[derive(Archive, Serialize)]
pub(crate) struct PaymentBatchRecord<'a> {
    pub(crate) payer: u128,
    pub(crate) currency: [u8; 3],
    pub(crate) at: i64,
    pub(crate) atomic: bool,
    pub(crate) key: KeyUseRecord<'a>,
    pub(crate) held_after: i128,
    pub(crate) items: Vec<ItemRecord<'a>>,
}

#[derive(Archive, Serialize)]
pub(crate) enum ItemRecord<'a> {
    Paid(BatchPaymentRecord<'a>),
    Denied(DenialRecord),
    Replayed { lsn: u64, item: u32 },
    Repeated { item: u32 },
}

#[derive(Archive, Serialize)]
pub(crate) struct BatchPaymentRecord<'a> {
    pub(crate) payee: PayeeRecord<'a>,
    pub(crate) amount: i128,
    pub(crate) fee: i128,
    pub(crate) rail: RailRecord,
    #[rkyv(with = OptionalText)]
    pub(crate) description: Option<&'a str>,
    #[rkyv(with = OptionalText)]
    pub(crate) metadata: Option<&'a str>,
    pub(crate) key: KeyUseRecord<'a>,
    pub(crate) available_after: i128,
}

/// Denials of a batch's items. A batch within a batch does not exist, hence no `AtomicBatch`.
#[derive(Archive, Serialize)]
pub(crate) enum DenialRecord {
    UnknownWallet,
    KeyConflict,
    UnknownPayee,
    SameWallet,
    CurrencyMismatch { wallet: [u8; 3], requested: [u8; 3] },
    UnsupportedCurrency,
    SettlementNotConfigured { rail: RailRecord },
    WalletClosed,
    WalletFrozen,
    AmountNotPositive,
    AmountTooLarge,
    FaucetCap { limit: i128, used: i128, needed: i128 },
    InsufficientBalance { available: i128, held: i128, needed: i128 },
    MixedPayers,
    UnknownKey,
    LastOwnerKey,
    TooManyKeys { limit: u32 },
    TooManyWallets { limit: u32 },
    WrongStatus { status: StatusRecord },
    Policy(PolicyDenialRecord),
}

#[derive(Archive, Serialize)]
pub(crate) struct FundingRecord<'a> {
    pub(crate) wallet: u128,
    pub(crate) amount: i128,
    pub(crate) currency: [u8; 3],
    pub(crate) key: KeyUseRecord<'a>,
    pub(crate) at: i64,
    pub(crate) available_after: i128,
    pub(crate) held_after: i128,
}

#[derive(Archive, Serialize)]
pub(crate) struct StatusChangeRecord {
    pub(crate) wallet: u128,
    pub(crate) status: StatusRecord,
    pub(crate) at: i64,
}

/// An API key.
#[derive(Archive, Serialize)]
pub(crate) struct ApiKeyRecord {
    pub(crate) id: u64,
    pub(crate) kind: KeyKindRecord,
    pub(crate) hash: [u8; 32],
    pub(crate) scopes: u8,
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
    pub(crate) revoked_at: Option<i64>,
}

#[derive(Archive, Serialize)]
pub(crate) struct AgentCreatedRecord<'a> {
    pub(crate) agent: u128,
    #[rkyv(with = InlineAsBox)]
    pub(crate) name: &'a str,
    #[rkyv(with = InlineAsBox)]
    pub(crate) operator: &'a str,
    #[rkyv(with = OptionalText)]
    pub(crate) metadata: Option<&'a str>,
    pub(crate) public_key: [u8; 32],
    pub(crate) keys: Vec<ApiKeyRecord>,
    pub(crate) wallet: u128,
    pub(crate) currency: [u8; 3],
    pub(crate) at: i64,
}

#[derive(Archive, Serialize)]
pub(crate) struct WalletOpenedRecord<'a> {
    pub(crate) agent: u128,
    pub(crate) wallet: u128,
    #[rkyv(with = OptionalText)]
    pub(crate) label: Option<&'a str>,
    pub(crate) currency: [u8; 3],
    pub(crate) key: KeyUseRecord<'a>,
    pub(crate) at: i64,
}

#[derive(Archive, Serialize)]
pub(crate) struct KeyAddedRecord {
    pub(crate) agent: u128,
    pub(crate) key: ApiKeyRecord,
}

#[derive(Archive, Serialize)]
pub(crate) struct KeyRevokedRecord {
    pub(crate) agent: u128,
    pub(crate) key: u64,
    pub(crate) at: i64,
}

#[derive(Archive, Serialize)]
pub(crate) struct KeysRotatedRecord {
    pub(crate) agent: u128,
    pub(crate) key: ApiKeyRecord,
    pub(crate) old_expire_at: i64,
}

const _: () = assert!(size_of::<ArchivedPaymentRecord<'_>>() + 2 + 20 <= 190);
const _: () = assert!(size_of::<ArchivedItemRecord<'_>>() <= 100);
