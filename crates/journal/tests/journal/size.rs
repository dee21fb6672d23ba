//! How many bytes a record takes: the log's write volume is a promise too.

use journal::{Encode, Scratch, view};
use ledger::{BATCH_ITEMS_MAX, ItemOutcome, PaymentBatch};

use crate::samples;

fn encoded(fact: &impl Encode) -> usize {
    let mut scratch = Scratch::new();
    fact.encode(&mut scratch);
    scratch.bytes().len()
}

fn batch(items: usize) -> PaymentBatch {
    let payment = samples::payment();
    let paid = |index| {
        let left = i128::try_from(items - 1 - index).expect("a count fits");
        ItemOutcome::Paid(samples::item(1_000, 4, left * 1_004))
    };
    PaymentBatch {
        payer: payment.payer,
        currency: payment.currency,
        at: payment.at,
        atomic: true,
        key: None,
        held_after: ledger::Amount::ZERO,
        items: (0..items).map(paid).collect(),
    }
}

#[test]
fn a_payment_with_a_key_of_twenty_characters_fits_190_bytes() {
    let bytes = encoded(&samples::payment());
    assert!(bytes <= 190, "{bytes} bytes");
}

/// A call writes five records: the reservation, three steps and the end.
#[test]
fn the_records_of_a_call_fit_600_bytes() {
    let size = |wanted: &str| {
        let (_, fact) = samples::facts().into_iter().find(|(name, _)| *name == wanted).expect("a sample");
        encoded(&fact)
    };
    let steps = ["token_stepped_verify_bare", "token_stepped_start", "token_stepped_accept"];
    let all = size("token_reserved") + steps.map(size).iter().sum::<usize>() + size("token_ended_settled");
    assert!(all <= 600, "{all} bytes");
}

#[test]
fn an_item_of_a_batch_fits_100_bytes() {
    let (small, large) = (encoded(&batch(1)), encoded(&batch(1_001)));
    assert!((large - small) / 1_000 <= 100, "{} bytes per item", (large - small) / 1_000);
}

/// Positions of a record's items are its Lsn plus their index: they stay within the record.
#[test]
fn a_record_is_longer_than_it_has_items() {
    for items in [1, 2, BATCH_ITEMS_MAX] {
        assert!(encoded(&batch(items)) > items);
    }
}

#[test]
fn the_largest_batch_is_written_and_walked() {
    let batch = batch(BATCH_ITEMS_MAX);
    let mut scratch = Scratch::new();
    batch.encode(&mut scratch);
    let view = view(scratch.bytes()).expect("what was encoded can be read");
    assert_eq!(view.change(), Some(batch.change()));
    let mut last = None;
    view.for_each_foreign(|posting| last = Some(posting.item));
    assert_eq!(last, u32::try_from(BATCH_ITEMS_MAX - 1).ok());
    assert_eq!(view.to_fact(), Ok(batch.into()));
}

#[test]
fn one_more_item_is_refused() {
    let mut scratch = Scratch::new();
    batch(BATCH_ITEMS_MAX + 1).encode(&mut scratch);
    let error = journal::decode(scratch.bytes()).expect_err("too many items");
    assert_eq!(error, journal::Error::Impossible { kind: 8, what: "number of items" });
}
