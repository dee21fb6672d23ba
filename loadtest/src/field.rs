//! Members of a JSON answer found by their name, without building a tree: the generator looks at every answer.
//!
//! Sound for answers that do not use the same member name in an outer and an inner object ahead of each other, which
//! holds for the contract's answers. A name inside a text never matches, because its quotes are escaped there.

use memchr::memmem::Finder;

use crate::money;

/// Finds one member.
pub(crate) struct Field {
    finder: Finder<'static>,
    name_bytes: usize,
}

impl Field {
    /// `quoted` is the name with its quotes.
    pub(crate) fn new(quoted: &'static str) -> Field {
        assert!(quoted.starts_with('"') && quoted.ends_with('"'), "a name comes with its quotes");
        Field { finder: Finder::new(quoted), name_bytes: quoted.len() }
    }

    /// What follows the first `"name":`.
    pub(crate) fn value<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        let mut rest = body;
        loop {
            rest = &rest[self.finder.find(rest)? + self.name_bytes..];
            // The same text may also be a value; only a name is followed by a colon.
            if let Some(value) = rest.trim_ascii_start().strip_prefix(b":") {
                return Some(value.trim_ascii_start());
            }
        }
    }

    /// A text without escapes, as ids and states are.
    pub(crate) fn text<'a>(&self, body: &'a [u8]) -> Option<&'a str> {
        let rest = self.value(body)?.strip_prefix(b"\"")?;
        let end = memchr::memchr2(b'"', b'\\', rest)?;
        if rest[end] == b'"' { std::str::from_utf8(&rest[..end]).ok() } else { None }
    }

    /// An exact amount, as a number or as text.
    pub(crate) fn nanos(&self, body: &[u8]) -> Option<i128> {
        let rest = self.value(body)?;
        let rest = rest.strip_prefix(b"\"").unwrap_or(rest);
        money::nanos(&rest[..number_bytes(rest)])
    }
}

/// Length of what looks like a number at the begin of the bytes.
pub(crate) fn number_bytes(bytes: &[u8]) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E');
    bytes.iter().position(|byte| !is_part(byte)).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_name_only() {
        let body =
            br#"{"note":"the \"id\": fake","kind":"id","id" : "tx_1","amount":5.02,"total":"7","x":1e3}"#;
        assert_eq!(Field::new("\"id\"").text(body), Some("tx_1"));
        assert_eq!(Field::new("\"amount\"").nanos(body), Some(5_020_000_000));
        assert_eq!(Field::new("\"total\"").nanos(body), Some(7_000_000_000));
        assert_eq!(Field::new("\"x\"").nanos(body), None);
        assert_eq!(Field::new("\"missing\"").text(body), None);
        assert_eq!(Field::new("\"amount\"").text(body), None);
        assert_eq!(Field::new("\"note\"").text(body), None, "escapes are not read");
    }
}
