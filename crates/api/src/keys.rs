//! API keys as text: `pk_test_` or `sk_test_`, then key id, secret and checksum in base32, without separators.
//!
//! | part | bytes | digits | |
//! |---|---|---|---|
//! | key id | 8 | 13 | public; shown in lists as `key_…` |
//! | secret | 32 | 52 | random; only the SHA-256 of these 52 digits is kept |
//! | checksum | 4 | 7 | CRC32C of everything before it |
//!
//! The checksum is looked at before anything else, so that a mistyped key costs no lookup and a scanner for leaked
//! secrets can tell a real key from noise. The owner key also seeds the agent's Ed25519 pair: the seed is
//! `SHA-256("agentpay ed25519 v1\0" ‖ the whole key text)`, which any client can compute from what it was shown.
//!
//! Invariant: a secret exists here only between the moment it is made (or read from a request) and the answer; no type
//! in this module that holds one implements `Debug` or `Display`.

use std::{fmt, str::FromStr};

use ed25519_dalek::SigningKey;
use engine::Entropy;
use ledger::{KeyId, KeyKind};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::base32;

const PREFIX_BYTES: usize = 8;
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;

const SECRET_AT: usize = PREFIX_BYTES + base32::digits(ID_BYTES);
const CHECKSUM_AT: usize = SECRET_AT + base32::digits(SECRET_BYTES);
/// Length of every key text.
pub(crate) const KEY_CHARS: usize = CHECKSUM_AT + base32::digits(CHECKSUM_BYTES);
const _: () = assert!(KEY_CHARS == 80, "the length of a key is part of the contract");

fn prefix(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Runtime => "pk_test_",
        KeyKind::Owner => "sk_test_",
    }
}

/// A key as presented by a caller: well-formed, but not yet known to be anybody's.
pub(crate) struct Presented {
    pub(crate) id: KeyId,
    pub(crate) kind: KeyKind,
    hash: [u8; 32],
}

impl Presented {
    /// Reads a key. `None` for anything that is not exactly one well-formed key with a right checksum.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text: &[u8; KEY_CHARS] = text.try_into().ok()?;
        let kind = match &text[..PREFIX_BYTES] {
            b"pk_test_" => KeyKind::Runtime,
            b"sk_test_" => KeyKind::Owner,
            _ => return None,
        };
        let checksum = base32::decode::<CHECKSUM_BYTES>(&text[CHECKSUM_AT..])?;
        if crc32c::crc32c(&text[..CHECKSUM_AT]) != u32::from_be_bytes(checksum) {
            return None;
        }
        let id = base32::decode::<ID_BYTES>(&text[PREFIX_BYTES..SECRET_AT])?;
        let hash = Sha256::digest(&text[SECRET_AT..CHECKSUM_AT]).into();
        Some(Self { id: KeyId::from_raw(u64::from_be_bytes(id)), kind, hash })
    }

    /// Whether this is the key of which `hash` is kept. Takes the same time wherever the hashes differ.
    pub(crate) fn matches(&self, hash: &[u8; 32]) -> bool {
        self.hash.ct_eq(hash).into()
    }
}

/// A key that was just made, to be shown once.
pub(crate) struct Fresh {
    text: String,
    pub(crate) id: KeyId,
    pub(crate) kind: KeyKind,
    /// What the ledger keeps.
    pub(crate) hash: [u8; 32],
}

impl Fresh {
    /// A new key from 40 random bytes.
    pub(crate) fn generate(kind: KeyKind, entropy: &dyn Entropy) -> Self {
        let mut random = [0; ID_BYTES + SECRET_BYTES];
        entropy.fill(&mut random);
        let mut text = String::with_capacity(KEY_CHARS);
        text.push_str(prefix(kind));
        base32::encode(&random[..ID_BYTES], &mut text);
        base32::encode(&random[ID_BYTES..], &mut text);
        let checksum = crc32c::crc32c(text.as_bytes());
        base32::encode(&checksum.to_be_bytes(), &mut text);
        let read_back = Presented::parse(text.as_bytes()).expect("a key that was just made is well-formed");
        assert_eq!(read_back.kind, kind, "a key says what it is for");
        Self { text, id: read_back.id, kind, hash: read_back.hash }
    }

    /// The text to show, once.
    pub(crate) fn reveal(&self) -> &str {
        &self.text
    }

    /// Public half of the Ed25519 pair seeded by this key.
    pub(crate) fn public_key(&self) -> [u8; 32] {
        let seed = Sha256::new()
            .chain_update(b"agentpay ed25519 v1\0")
            .chain_update(self.text.as_bytes())
            .finalize();
        SigningKey::from_bytes(&seed.into()).verifying_key().to_bytes()
    }
}

/// A key's public id: `key_` and 13 digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KeyIdText(pub(crate) KeyId);

impl fmt::Display for KeyIdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = String::with_capacity(base32::digits(ID_BYTES));
        base32::encode(&self.0.raw().to_be_bytes(), &mut digits);
        write!(f, "key_{digits}")
    }
}

impl FromStr for KeyIdText {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.strip_prefix("key_").ok_or(())?;
        let id = base32::decode::<ID_BYTES>(digits.as_bytes()).ok_or(())?;
        Ok(Self(KeyId::from_raw(u64::from_be_bytes(id))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts up, so that keys in tests are the same every time.
    struct Counting;

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = at.to_le_bytes()[0];
            }
        }
    }

    #[test]
    fn a_fresh_key_is_recognised_and_only_by_its_own_hash() {
        for kind in [KeyKind::Runtime, KeyKind::Owner] {
            let fresh = Fresh::generate(kind, &Counting);
            assert_eq!(fresh.reveal().len(), KEY_CHARS);
            let presented = Presented::parse(fresh.reveal().as_bytes()).expect("well-formed");
            assert!(presented.kind == kind && presented.id == fresh.id && presented.matches(&fresh.hash));
            for bit in 0..256 {
                let mut other = fresh.hash;
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(!presented.matches(&other), "bit {bit}");
            }
        }
    }

    #[test]
    fn the_text_of_a_key_does_not_change_between_versions() {
        let fresh = Fresh::generate(KeyKind::Owner, &Counting);
        assert_eq!(
            fresh.reveal(),
            "sk_test_000g40r40m30e104gm2rc1m70y40h289h858p2wc1j6gv3gehw7s044h269154rkg1mjdmsg"
        );
        let seed: [u8; 32] =
            Sha256::digest([b"agentpay ed25519 v1\0", fresh.reveal().as_bytes()].concat()).into();
        assert_eq!(fresh.public_key(), SigningKey::from_bytes(&seed).verifying_key().to_bytes());
        let hash: [u8; 32] = Sha256::digest(&fresh.reveal()[SECRET_AT..CHECKSUM_AT]).into();
        assert_eq!(fresh.hash, hash);
    }

    #[test]
    fn one_changed_character_is_noticed_before_any_lookup() {
        let fresh = Fresh::generate(KeyKind::Runtime, &Counting);
        let text = fresh.reveal().as_bytes();
        for at in 0..text.len() {
            for replacement in [b'0', b'z', b'7', b'A', b'\xff'] {
                let mut changed = text.to_vec();
                changed[at] = replacement;
                assert_eq!(Presented::parse(&changed).is_some(), changed == text, "{at} {replacement}");
            }
            assert!(Presented::parse(&text[..at]).is_none(), "cut at {at}");
        }
        assert!(Presented::parse(&[text, b"0"].concat()).is_none());
    }

    #[test]
    fn key_ids_have_one_text() {
        for raw in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let id = KeyIdText(KeyId::from_raw(raw));
            let text = id.to_string();
            assert_eq!(text.len(), 17);
            assert_eq!(text.parse(), Ok(id));
        }
        for text in
            ["", "key_", "key_000000000000", "key_00000000000000", "KEY_0000000000000", "key_zzzzzzzzzzzzz"]
        {
            assert!(text.parse::<KeyIdText>().is_err(), "{text}");
        }
    }
}
