//! What the benches of the index feed it with.

use ledger::{Amount, Currency, KeyUse, Parts, Payee, Payment, Rail, Timestamp, WalletId};

/// A usual payment with a key, the `number`th of its kind.
pub(crate) fn payment(payer: WalletId, payee: WalletId, number: u64) -> Payment {
    Payment {
        payer,
        payee: Payee::Wallet(payee),
        amount: Amount::from_nanos(5_000_000_000),
        fee: Amount::from_nanos(20_000_000),
        currency: Currency::USD,
        rail: Rail::Internal,
        description: None,
        metadata: None,
        key: Some(KeyUse { text: format!("tool-call-{number:010}").into(), fingerprint: number }),
        at: Timestamp::from_millis(1_700_000_000_000 + i64::try_from(number).expect("it is small")),
        balance_after: Parts::default(),
    }
}
