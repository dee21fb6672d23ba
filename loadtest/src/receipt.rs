//! What an acknowledgement says of its payment.
//!
//! A node writes the members that are wanted here one after the other at the begin, and so they are read. An answer of
//! another form is searched by name, which finds the same and takes longer.

use crate::field::{Field, number_bytes};
use crate::money;

/// `None`: the member is missing or cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipt<'a> {
    pub(crate) id: Option<&'a str>,
    pub(crate) amount: Option<i128>,
    pub(crate) fee: Option<i128>,
    pub(crate) total: Option<i128>,
}

pub(crate) struct ReceiptReader {
    id: Field,
    amount: Field,
    fee: Field,
    total: Field,
}

impl ReceiptReader {
    pub(crate) fn new() -> ReceiptReader {
        ReceiptReader {
            id: Field::new("\"id\""),
            amount: Field::new("\"amount\""),
            fee: Field::new("\"fee\""),
            total: Field::new("\"total_debited\""),
        }
    }

    /// `item` begins with or contains the members.
    pub(crate) fn read<'a>(&self, item: &'a [u8]) -> Receipt<'a> {
        in_order(item).unwrap_or_else(|| self.by_name(item))
    }

    /// Whether the members may be there at all.
    pub(crate) fn has_id(&self, item: &[u8]) -> bool {
        self.id.value(item).is_some()
    }

    fn by_name<'a>(&self, item: &'a [u8]) -> Receipt<'a> {
        Receipt {
            id: self.id.text(item),
            amount: self.amount.nanos(item),
            fee: self.fee.nanos(item),
            total: self.total.nanos(item),
        }
    }
}

/// All members in the usual order and without spaces, or nothing.
fn in_order(item: &[u8]) -> Option<Receipt<'_>> {
    let rest = item.strip_prefix(b"{\"id\":\"")?;
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let id = std::str::from_utf8(&rest[..end]).ok()?;
    let (amount, rest) = number(rest[end..].strip_prefix(b"\",\"amount\":")?)?;
    let (fee, rest) = number(rest.strip_prefix(b",\"fee\":")?)?;
    let (total, _) = number(rest.strip_prefix(b",\"total_debited\":")?)?;
    Some(Receipt { id: Some(id), amount: Some(amount), fee: Some(fee), total: Some(total) })
}

fn number(bytes: &[u8]) -> Option<(i128, &[u8])> {
    let (number, rest) = bytes.split_at(number_bytes(bytes));
    Some((money::nanos(number)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_in_order_are_what_their_names_find() {
        let reader = ReceiptReader::new();
        let usual = r#"{"id":"tx_1","amount":5,"fee":0.02,"total_debited":5.02,"status":"completed"}"#;
        let expected = Receipt {
            id: Some("tx_1"),
            amount: Some(5_000_000_000),
            fee: Some(20_000_000),
            total: Some(5_020_000_000),
        };
        assert_eq!(in_order(usual.as_bytes()), Some(expected));
        let others = [
            usual.replace("{\"id\"", "{ \"id\""),
            usual.replace("\"fee\":", "\"note\":\"fee\",\"fee\":"),
            usual.replace(":5,", ":\"5\","),
            r#"{"total_debited":5.02,"fee":0.02,"amount":5,"id":"tx_1"}"#.to_owned(),
        ];
        for text in others {
            assert_eq!(in_order(text.as_bytes()), None, "{text}");
            assert_eq!(reader.read(text.as_bytes()), expected, "{text}");
        }
        let wrong = [
            usual.replace("tx_1", "tx\\n1"),
            usual.replace(":5,", ":5e0,"),
            usual.replace("0.02,", ","),
            usual.replace("5.02", "+5.02"),
            usual.replace("\"fee\":0.02,", ""),
            usual[..20].to_owned(),
            String::new(),
        ];
        for text in wrong {
            assert_eq!(reader.read(text.as_bytes()), reader.by_name(text.as_bytes()), "{text}");
            assert_ne!(reader.read(text.as_bytes()), expected, "{text}");
        }
    }
}
