//! The id that every answer carries.
//!
//! A caller's own id is taken over when it is harmless; otherwise one is made: `req_` and 13 base32 digits of a counter
//! passed through a bijection. Unique within the process, cheap, and not a secret.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::{HeaderMap, HeaderValue};

use crate::{base32, respond::REQUEST_ID};

const CHARS_MAX: usize = 128;

/// Makes ids.
pub(crate) struct RequestIds {
    next: AtomicU64,
}

impl RequestIds {
    /// Begins at a random place.
    pub(crate) fn new(start: u64) -> Self {
        Self { next: AtomicU64::new(start) }
    }

    /// The caller's id if it is sane, a new one otherwise.
    pub(crate) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        match headers.get(REQUEST_ID) {
            Some(sent) if is_sane(sent.as_bytes()) => sent.clone(),
            _ => self.fresh(),
        }
    }

    pub(crate) fn fresh(&self) -> HeaderValue {
        let bits = mixed(self.next.fetch_add(1, Relaxed));
        let mut text = String::with_capacity(17);
        text.push_str("req_");
        base32::encode(&bits.to_be_bytes(), &mut text);
        HeaderValue::try_from(text).expect("base32 digits are header characters")
    }
}

fn is_sane(id: &[u8]) -> bool {
    (1..=CHARS_MAX).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// The finaliser of splitmix64: a bijection, so that different counters give different ids.
fn mixed(counter: u64) -> u64 {
    let mut bits = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sane_ids_are_taken_over_others_replaced() {
        let ids = RequestIds::new(u64::MAX);
        let long = "x".repeat(129);
        for (sent, kept) in [
            ("abc-DEF_1.2", true),
            ("x", true),
            ("", false),
            ("a b", false),
            ("a,b", false),
            ("<script>", false),
            (&long, false),
            (&long[1..], true),
        ] {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(sent).expect("a value"))]);
            let id = ids.of(&headers);
            assert_eq!(id == sent, kept, "{sent:?}");
            assert!(is_sane(id.as_bytes()));
        }
        assert_ne!(ids.of(&HeaderMap::new()), ids.of(&HeaderMap::new()));
    }
}
