//! Tokens that this process signed lately, so that their redemption need not verify its own signature.
//!
//! What is kept is a digest of each whole text, in a table of fixed size where a newer token takes the place of an older
//! one. A text that is found here is, byte for byte, one that came out of [`super::token::seal`]; everything else is
//! verified. After a restart the table is empty, and every token is verified once more.
//!
//! Owner of state: the gateway. Threads: any; a lock per place, held for one comparison.

use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// Places of the table, 40 bytes each. A provider usually redeems within a second: so many calls a second are bought by
/// nobody on one node.
const PLACES: usize = 1 << 16;

type Fingerprint = [u8; 32];

/// The table. No token has the digest zero, so an empty place holds nothing.
pub(crate) struct Remembered {
    places: Vec<Mutex<Fingerprint>>,
}

impl Default for Remembered {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::default()).collect() }
    }
}

impl Remembered {
    /// Remembers a text that was just signed.
    pub(crate) fn insert(&self, text: &str) {
        let fingerprint = fingerprint(text);
        *self.place(&fingerprint).lock().unwrap_or_else(PoisonError::into_inner) = fingerprint;
    }

    /// Whether this very text was signed here.
    pub(crate) fn contains(&self, text: &str) -> bool {
        let fingerprint = fingerprint(text);
        *self.place(&fingerprint).lock().unwrap_or_else(PoisonError::into_inner) == fingerprint
    }

    fn place(&self, fingerprint: &Fingerprint) -> &Mutex<Fingerprint> {
        let [a, b, ..] = *fingerprint;
        &self.places[usize::from(u16::from_le_bytes([a, b]))]
    }
}

fn fingerprint(text: &str) -> Fingerprint {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_text_is_known_and_newer_ones_displace() {
        let remembered = Remembered::default();
        assert!(!remembered.contains("") && !remembered.contains("a"));
        remembered.insert("token");
        assert!(remembered.contains("token"));
        for other in ["toke", "token ", "Token", ""] {
            assert!(!remembered.contains(other), "{other:?}");
        }
        let place = |text: &str| fingerprint(text)[..2].to_vec();
        let rival = (0_u32..)
            .map(|number| format!("rival {number}"))
            .find(|text| place(text) == place("token"))
            .expect("one in 65 536");
        remembered.insert(&rival);
        assert!(remembered.contains(&rival) && !remembered.contains("token"));
    }
}
