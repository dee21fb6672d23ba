//! What well-formed archives may still not hold: values that no writer of this ledger could have meant.
//!
//! With amounts in `1..=MAX` and fees in `0..=amount` the postings of a payment sum to zero whatever the numbers are,
//! because the payer's side is computed from the others; a batch also has to carry its running balance from item to
//! item. So these ranges are the proof that a record moves money without making any.

use ledger::{Amount, BATCH_ITEMS_MAX, Currency, Scopes};

use crate::records::{
    ArchivedAgentCreatedRecord, ArchivedApiKeyRecord, ArchivedDenialRecord, ArchivedFundingRecord,
    ArchivedItemRecord, ArchivedKeyUseRecord, ArchivedPayeeRecord, ArchivedPaymentBatchRecord,
    ArchivedPaymentRecord, ArchivedWalletOpenedRecord,
};
use crate::{Error, Kind, policies};

/// Longest text of an idempotency key in bytes.
const KEY_BYTES_MAX: usize = 255;

pub(crate) fn payment(record: &ArchivedPaymentRecord<'_>) -> Result<Currency, Error> {
    let kind = Kind::Payment;
    terms(kind, record.payer.to_native(), &record.payee, record.amount.to_native(), record.fee.to_native())?;
    key_use(kind, &record.key)?;
    currency(kind as u8, record.currency)
}

pub(crate) fn payment_batch(record: &ArchivedPaymentBatchRecord<'_>) -> Result<Currency, Error> {
    let kind = Kind::PaymentBatch;
    ensure(kind, record.items.len() <= BATCH_ITEMS_MAX, "number of items")?;
    key_use(kind, &record.key)?;
    let payer = record.payer.to_native();
    let mut available: Option<i128> = None;
    for (index, item) in (0u32..).zip(record.items.iter()) {
        match item {
            ArchivedItemRecord::Paid(payment) => {
                let (amount, fee) = (payment.amount.to_native(), payment.fee.to_native());
                terms(kind, payer, &payment.payee, amount, fee)?;
                key_use(kind, &payment.key)?;
                let after = payment.available_after.to_native();
                let expected = available.map_or(Some(after), |before| before.checked_sub(amount + fee));
                ensure(kind, after >= 0 && expected == Some(after), "running balance")?;
                available = Some(after);
            }
            ArchivedItemRecord::Denied(denial) => denied(denial)?,
            ArchivedItemRecord::Replayed { .. } => {}
            ArchivedItemRecord::Repeated { item } => {
                let earlier = item.to_native();
                let first = usize::try_from(earlier).ok().and_then(|earlier| record.items.get(earlier));
                let paid = matches!(first, Some(ArchivedItemRecord::Paid(_)));
                ensure(kind, earlier < index && paid, "repeated item")?;
            }
        }
    }
    currency(kind as u8, record.currency)
}

pub(crate) fn funding(record: &ArchivedFundingRecord<'_>) -> Result<Currency, Error> {
    let kind = Kind::Funding;
    amount(kind, record.amount.to_native())?;
    key_use(kind, &record.key)?;
    currency(kind as u8, record.currency)
}

pub(crate) fn agent_created(record: &ArchivedAgentCreatedRecord<'_>) -> Result<(), Error> {
    for key in record.keys.iter() {
        api_key(Kind::AgentCreated, key)?;
    }
    currency(Kind::AgentCreated as u8, record.currency)?;
    Ok(())
}

pub(crate) fn wallet_opened(record: &ArchivedWalletOpenedRecord<'_>) -> Result<(), Error> {
    key_use(Kind::WalletOpened, &record.key)?;
    currency(Kind::WalletOpened as u8, record.currency)?;
    Ok(())
}

pub(crate) fn api_key(kind: Kind, key: &ArchivedApiKeyRecord) -> Result<(), Error> {
    ensure(kind, Scopes::from_bits(key.scopes).is_some(), "scope")
}

pub(crate) fn currency(kind: u8, bytes: [u8; 3]) -> Result<Currency, Error> {
    Currency::from_bytes(bytes).ok_or(Error::Impossible { kind, what: "currency" })
}

fn terms(
    kind: Kind,
    payer: u128,
    payee: &ArchivedPayeeRecord<'_>,
    paid: i128,
    fee: i128,
) -> Result<(), Error> {
    amount(kind, paid)?;
    ensure(kind, (0..=paid).contains(&fee), "fee")?;
    let own = matches!(payee, ArchivedPayeeRecord::Wallet(payee) if payee.to_native() == payer);
    ensure(kind, !own, "payee")
}

fn amount(kind: Kind, nanos: i128) -> Result<(), Error> {
    ensure(kind, (1..=Amount::MAX.nanos()).contains(&nanos), "amount")
}

pub(crate) fn key_use(kind: Kind, key: &ArchivedKeyUseRecord<'_>) -> Result<(), Error> {
    let fits = key.text.as_deref().is_none_or(|text| text.len() <= KEY_BYTES_MAX);
    ensure(kind, fits, "idempotency key")
}

fn denied(denial: &ArchivedDenialRecord) -> Result<(), Error> {
    if let ArchivedDenialRecord::CurrencyMismatch { wallet, requested } = denial {
        currency(Kind::PaymentBatch as u8, *wallet)?;
        currency(Kind::PaymentBatch as u8, *requested)?;
    }
    if let ArchivedDenialRecord::Policy(denial) = denial {
        policies::denial(denial)?;
    }
    Ok(())
}

fn ensure(kind: Kind, holds: bool, what: &'static str) -> Result<(), Error> {
    ensure_kind(kind as u8, holds, what)
}

/// As [`ensure`], for rows as well.
pub(crate) fn ensure_kind(kind: u8, holds: bool, what: &'static str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Impossible { kind, what }) }
}
