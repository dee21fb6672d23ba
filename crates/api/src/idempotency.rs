//! Idempotency keys as they arrive, and the fingerprint that tells a repetition from another request.
//!
//! The fingerprint covers what a body means, not how it is spelled: fields are hashed in a fixed order after parsing, so
//! that member order, white space, `5` against `5.0` against `"5"`, and a default written out or left out make no
//! difference. It is 64 bits of xxh3: a collision can only make one caller's own reuse of a key look like a repetition.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use ledger::{Amount, KeyUse};
use xxhash_rust::xxh3::xxh3_64;

use crate::errors::Problem;

/// The header that may carry the key instead of the body.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Longest key, in characters.
pub(crate) const KEY_CHARS_MAX: usize = 255;

/// The key of a request, from its body or its header.
///
/// # Errors
/// Both are there and differ, the header is there twice, or the key is not 1-255 printable ASCII characters.
pub(crate) fn key(headers: &HeaderMap, field: Option<Cow<'_, str>>) -> Result<Option<Box<str>>, Problem> {
    let mut lines = headers.get_all(HEADER).iter();
    let header = lines.next();
    if lines.next().is_some() {
        return Err(Problem::invalid("Idempotency-Key", "The header is there twice. Send it once."));
    }
    let header = match header {
        Some(value) => Some(checked(value.as_bytes()).ok_or_else(|| malformed("Idempotency-Key"))?),
        None => None,
    };
    let field = match &field {
        Some(text) => Some(checked(text.as_bytes()).ok_or_else(|| malformed("$.idempotency_key"))?),
        None => None,
    };
    match (header, field) {
        (Some(header), Some(field)) if header != field => Err(Problem::invalid(
            "$.idempotency_key",
            "The body and the Idempotency-Key header name different keys. Send one of them, or the same key in both.",
        )),
        (header, field) => Ok(field.or(header).map(Box::from)),
    }
}

/// The key of one item of a batch, which has no header.
///
/// # Errors
/// The key is not 1-255 printable ASCII characters.
pub(crate) fn field_key(text: &str) -> Result<Box<str>, &'static str> {
    checked(text.as_bytes()).map(Box::from).ok_or(MALFORMED)
}

/// Joins a key with the fingerprint of the request that used it.
pub(crate) fn key_use(key: Option<Box<str>>, fingerprint: u64) -> Option<KeyUse> {
    key.map(|text| KeyUse { text, fingerprint })
}

const MALFORMED: &str = "An idempotency key has 1 to 255 printable ASCII characters, no spaces at its ends.";

fn malformed(path: &'static str) -> Problem {
    Problem::invalid(path, MALFORMED)
}

fn checked(key: &[u8]) -> Option<&str> {
    let printable = key.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let trimmed = !key.starts_with(b" ") && !key.ends_with(b" ");
    let fits = (1..=KEY_CHARS_MAX).contains(&key.len());
    if printable && trimmed && fits { std::str::from_utf8(key).ok() } else { None }
}

/// Collects what a request means, field by field in a fixed order.
pub(crate) struct Fingerprint {
    bytes: Vec<u8>,
}

impl Fingerprint {
    /// Begins with room for a usual payment.
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::with_capacity(160) }
    }

    /// A text; `None` differs from an empty one.
    pub(crate) fn text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            None => self.number(u64::MAX),
            Some(text) => {
                self.number(text.len() as u64);
                self.bytes.extend_from_slice(text.as_bytes());
                self
            }
        }
    }

    pub(crate) fn amount(&mut self, amount: Amount) -> &mut Self {
        self.bytes.extend_from_slice(&amount.nanos().to_le_bytes());
        self
    }

    pub(crate) fn id(&mut self, raw: u128) -> &mut Self {
        self.bytes.extend_from_slice(&raw.to_le_bytes());
        self
    }

    pub(crate) fn number(&mut self, value: u64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// The fingerprint of everything so far; begins again for the next item.
    pub(crate) fn finish(&mut self) -> u64 {
        let hash = xxh3_64(&self.bytes);
        self.bytes.clear();
        hash
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (HEADER, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn body_and_header_agree_or_are_refused() {
        type Case =
            (&'static [&'static str], Option<&'static str>, Result<Option<&'static str>, &'static str>);
        let cases: &[Case] = &[
            (&[], None, Ok(None)),
            (&["a"], None, Ok(Some("a"))),
            (&[], Some("a"), Ok(Some("a"))),
            (&["a"], Some("a"), Ok(Some("a"))),
            (&["a"], Some("b"), Err("different keys")),
            (&["a", "a"], None, Err("twice")),
            (&[""], None, Err("1 to 255")),
            (&[], Some(""), Err("1 to 255")),
            (&[], Some("tool-call-001 ~"), Ok(Some("tool-call-001 ~"))),
            (&[], Some(" a"), Err("1 to 255")),
            (&[], Some("a\tb"), Err("1 to 255")),
            (&[], Some("clé"), Err("1 to 255")),
        ];
        for (header, field, expected) in cases {
            let outcome = key(&headers(header), field.map(Cow::from));
            match (outcome, expected) {
                (Ok(found), Ok(wanted)) => assert_eq!(found.as_deref(), *wanted, "{header:?} {field:?}"),
                (Err(problem), Err(word)) => {
                    assert!(problem.message.contains(word), "{header:?} {field:?}: {}", problem.message);
                }
                (outcome, _) => {
                    panic!("{header:?} {field:?}: {:?}", outcome.map_err(|problem| problem.message))
                }
            }
        }
        let longest = "k".repeat(KEY_CHARS_MAX);
        assert!(key(&HeaderMap::new(), Some(longest.as_str().into())).is_ok());
        assert!(key(&HeaderMap::new(), Some((longest + "k").into())).is_err());
    }

    #[test]
    fn neighbouring_fields_cannot_be_shifted_into_each_other() {
        let of = |left: Option<&str>, right: Option<&str>| Fingerprint::new().text(left).text(right).finish();
        let all = [
            of(Some("ab"), Some("c")),
            of(Some("a"), Some("bc")),
            of(Some(""), Some("abc")),
            of(None, Some("abc")),
            of(Some("abc"), None),
            of(Some("abc"), Some("")),
            of(None, None),
        ];
        for (at, hash) in all.iter().enumerate() {
            assert!(!all[..at].contains(hash), "{at}");
        }
    }
}
