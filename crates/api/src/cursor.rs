//! Cursors of lists as text: the place of the last item shown, sealed like a payment's id, so that a reader learns
//! nothing from it and cannot make one up.

use engine::Cursor;
use ledger::{IdSealer, RecordAddress, SealedKind};

use crate::base32;

/// Text of a cursor.
pub(crate) fn seal(sealer: &IdSealer, partition: u16, cursor: Cursor) -> String {
    let address = RecordAddress { partition, lsn: cursor.lsn, item: cursor.item };
    let sealed = sealer.seal(SealedKind::Payment, address);
    let mut text = String::with_capacity(base32::digits(16));
    base32::encode(&sealed.to_be_bytes(), &mut text);
    text
}

/// Reads a cursor back. `None` for anything that was not made by [`seal`] on this partition.
pub(crate) fn open(sealer: &IdSealer, partition: u16, text: &str) -> Option<Cursor> {
    let sealed = u128::from_be_bytes(base32::decode(text.as_bytes())?);
    let address = sealer.open(SealedKind::Payment, sealed)?;
    (address.partition == partition).then_some(Cursor { lsn: address.lsn, item: address.item })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_and_cannot_be_made_up() {
        let sealer = IdSealer::new(&[7; 32]);
        let cursor = Cursor { lsn: 4_096, item: 17 };
        let text = seal(&sealer, 0, cursor);
        assert_eq!(text.len(), 26);
        assert_eq!(open(&sealer, 0, &text), Some(cursor));
        assert_eq!(open(&sealer, 1, &text), None, "another partition");
        assert_eq!(open(&IdSealer::new(&[8; 32]), 0, &text), None, "another ledger");
        for forged in ["", "0", "00000000000000000000000000", &text[1..], &text.to_uppercase()] {
            assert_eq!(open(&sealer, 0, forged), None, "{forged}");
        }
    }
}
