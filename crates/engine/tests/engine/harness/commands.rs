//! Short spellings of commands. Amounts are texts like `"1.5"`; keys carry the fingerprint that is given with them.

use engine::{OpenWallet, PageRequest, PayBatch};
use ledger::{
    Amount, BatchItem, Currency, FundCommand, Key, KeyId, KeyKind, KeyUse, PayCommand, Payee, Rail, Scopes,
    Timestamp, WalletId,
};

use super::Party;

/// When every command of a test arrives, unless the test says otherwise.
const AT: Timestamp = Timestamp::from_millis(1_790_000_000_000);

pub(crate) fn amount(text: &str) -> Amount {
    Amount::parse(text).expect("an amount")
}

/// So many units of 10⁻⁹.
pub(crate) fn usd(nanos: i128) -> Amount {
    Amount::from_nanos(nanos)
}

pub(crate) fn key(text: &str, fingerprint: u64) -> Option<KeyUse> {
    Some(KeyUse { text: text.into(), fingerprint })
}

pub(crate) fn fund(party: &Party, units: &str) -> FundCommand {
    FundCommand { caller: party.id(), wallet: party.wallet, amount: amount(units), key: None, at: AT }
}

pub(crate) fn fund_keyed(party: &Party, units: &str, text: &str, fingerprint: u64) -> FundCommand {
    FundCommand { key: key(text, fingerprint), ..fund(party, units) }
}

pub(crate) fn pay(payer: &Party, payee: WalletId, units: &str) -> PayCommand {
    PayCommand {
        caller: payer.id(),
        payer: payer.wallet,
        payee: Payee::Wallet(payee),
        payee_agent: None,
        amount: amount(units),
        currency: None,
        rail: Rail::Internal,
        description: None,
        metadata: None,
        key: None,
        agent_terms: None,
        at: AT,
    }
}

pub(crate) fn pay_keyed(
    payer: &Party,
    payee: WalletId,
    units: &str,
    text: &str,
    fingerprint: u64,
) -> PayCommand {
    PayCommand { key: key(text, fingerprint), ..pay(payer, payee, units) }
}

/// A payee outside the ledger.
pub(crate) fn external(label: &str) -> Payee {
    Payee::External(label.into())
}

pub(crate) fn batch_item(payee: WalletId, units: &str) -> BatchItem {
    BatchItem {
        payee: Payee::Wallet(payee),
        payee_agent: None,
        amount: amount(units),
        currency: None,
        rail: Rail::Internal,
        description: None,
        metadata: None,
        key: None,
        refused: None,
    }
}

/// A batch without a key that is not atomic.
pub(crate) fn batch(items: Vec<(WalletId, BatchItem)>) -> PayBatch {
    PayBatch { items, atomic: false, key: None, at: AT }
}

pub(crate) fn open_wallet(currency: Currency) -> OpenWallet {
    OpenWallet { label: None, currency: Some(currency), key: None, at: AT }
}

pub(crate) fn page(limit: usize) -> PageRequest {
    PageRequest { cursor: None, limit }
}

pub(crate) fn runtime_key(id: u64, created_ms: i64) -> Key {
    new_key(id, KeyKind::Runtime, created_ms)
}

pub(crate) fn owner_key(id: u64, created_ms: i64) -> Key {
    new_key(id, KeyKind::Owner, created_ms)
}

fn new_key(id: u64, kind: KeyKind, created_ms: i64) -> Key {
    Key {
        id: KeyId::from_raw(id),
        kind,
        hash: [7; 32],
        scopes: Scopes::ALL,
        created_at: Timestamp::from_millis(created_ms),
        expires_at: None,
        revoked_at: None,
    }
}
