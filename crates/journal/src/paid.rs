//! The payments of a record as a borrowed view of its bytes: for whoever walks many records and keeps no text of them.

use ledger::{Amount, Rail, Timestamp, WalletId};

use crate::decode;
use crate::records::{
    ArchivedItemRecord, ArchivedPayeeRecord, ArchivedPaymentBatchRecord, ArchivedPaymentRecord,
};

/// A payment that was made: alone in its record, or an item of a batch.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Paid<'a> {
    pub payer: WalletId,
    pub payee: PaidTo<'a>,
    pub amount: Amount,
    /// Debited on top of the amount.
    pub fee: Amount,
    pub rail: Rail,
    /// Index of the item in its batch, zero outside batches.
    pub item: u32,
    /// Arrival of the request.
    pub at: Timestamp,
}

/// [`ledger::Payee`] without owning the label.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum PaidTo<'a> {
    Wallet(WalletId),
    External(&'a str),
}

pub(crate) fn single<'a>(record: &'a ArchivedPaymentRecord<'_>) -> Paid<'a> {
    Paid {
        payer: WalletId::from_raw(record.payer.to_native()),
        payee: payee(&record.payee),
        amount: Amount::from_nanos(record.amount.to_native()),
        fee: Amount::from_nanos(record.fee.to_native()),
        rail: decode::rail(&record.rail),
        item: 0,
        at: Timestamp::from_millis(record.at.to_native()),
    }
}

/// The items of a batch that were paid by it, in their order.
pub(crate) fn of_batch<'a>(record: &'a ArchivedPaymentBatchRecord<'_>) -> impl Iterator<Item = Paid<'a>> {
    let payer = WalletId::from_raw(record.payer.to_native());
    let at = Timestamp::from_millis(record.at.to_native());
    (0..).zip(record.items.iter()).filter_map(move |(item, outcome)| {
        let ArchivedItemRecord::Paid(payment) = outcome else { return None };
        Some(Paid {
            payer,
            payee: payee(&payment.payee),
            amount: Amount::from_nanos(payment.amount.to_native()),
            fee: Amount::from_nanos(payment.fee.to_native()),
            rail: decode::rail(&payment.rail),
            item,
            at,
        })
    })
}

fn payee<'a>(payee: &'a ArchivedPayeeRecord<'_>) -> PaidTo<'a> {
    match payee {
        ArchivedPayeeRecord::Wallet(raw) => PaidTo::Wallet(WalletId::from_raw(raw.to_native())),
        ArchivedPayeeRecord::External(label) => PaidTo::External(label),
    }
}
