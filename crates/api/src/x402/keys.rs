//! The node's signing keys for payment tokens: which one signs, and which ones are published.
//!
//! Every key has its own time: it signs the tokens that were authorised from its `active_from` to that of the next one.
//! So the key of a token follows from the token's own time, and an authorisation that is answered again after a rotation
//! is signed with the same key to the same bytes. For the same reason a key that was retired cannot speak for new tokens:
//! a token of another time under it is refused.
//!
//! Owner: the gateway holds the present set; a rotation replaces the whole set. Threads: any; a set never changes.
//! Non-goals: where keys are kept and when they are made (the program that owns the data directory does that).

use std::fmt;

use ed25519_dalek::{SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use super::token::PREFIX;
use crate::base64url;

/// Longest life of a token: until then a retired key must stay published.
pub const TOKEN_LIFETIME_MAX_SECONDS: i64 = 3_600;
/// Time for which clients and proxies may keep the published set.
pub(crate) const PUBLISHED_MAX_AGE_SECONDS: i64 = 300;

/// One key as it is kept.
#[derive(Clone)]
pub struct TokenKey {
    /// Unix seconds from which the key signs.
    pub active_from_seconds: i64,
    /// Secret half of the Ed25519 pair.
    pub seed: [u8; 32],
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey {{ active_from_seconds: {}, seed: *** }}", self.active_from_seconds)
    }
}

impl TokenKey {
    /// The name under which the key is published.
    pub fn id(&self) -> String {
        thumbprint(&SigningKey::from_bytes(&self.seed).verifying_key())
    }
}

/// Keys that do not make a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenKeysError {
    #[error("there is no key")]
    Empty,
    #[error("the keys are not in the order of their times")]
    Order,
    #[error("one key is there twice")]
    Twice,
}

/// A set of keys, oldest first.
pub struct TokenKeys {
    keys: Vec<Key>,
}

/// A key ready for use.
pub(crate) struct Key {
    pub(crate) active_from_seconds: i64,
    /// RFC 7638 thumbprint of the public half.
    pub(crate) id: String,
    pub(crate) signing: SigningKey,
    pub(crate) verifying: VerifyingKey,
    /// What every token of this key begins with: the prefix, the encoded header, a dot.
    pub(crate) beginning: String,
}

impl TokenKeys {
    /// A set of `keys`, oldest first. What is authorised before the first key's time is signed with the first.
    ///
    /// # Errors
    /// No key, a key twice, or times that do not rise.
    pub fn new(keys: &[TokenKey]) -> Result<Self, TokenKeysError> {
        if keys.is_empty() {
            return Err(TokenKeysError::Empty);
        }
        if keys.windows(2).any(|pair| pair[0].active_from_seconds >= pair[1].active_from_seconds) {
            return Err(TokenKeysError::Order);
        }
        let keys: Vec<Key> = keys.iter().map(Key::of).collect();
        if keys
            .iter()
            .enumerate()
            .any(|(place, key)| keys[..place].iter().any(|earlier| earlier.id == key.id))
        {
            return Err(TokenKeysError::Twice);
        }
        Ok(Self { keys })
    }

    /// The key of tokens that were authorised at this second.
    pub(crate) fn of(&self, authorised_seconds: i64) -> &Key {
        let later = self.keys.partition_point(|key| key.active_from_seconds <= authorised_seconds);
        &self.keys[later.saturating_sub(1)]
    }

    /// The key whose tokens begin like this one. The header is compared, never read: nothing in a token says how it is
    /// to be verified.
    pub(crate) fn by_beginning(&self, token: &str) -> Option<&Key> {
        self.keys.iter().rev().find(|key| token.starts_with(&key.beginning))
    }

    /// The keys that somebody may need at this second: those to come, the present one, and retired ones while a token
    /// of theirs can live.
    pub(crate) fn published(&self, now_seconds: i64) -> impl Iterator<Item = &Key> {
        let kept = TOKEN_LIFETIME_MAX_SECONDS + PUBLISHED_MAX_AGE_SECONDS;
        self.keys.iter().enumerate().filter_map(move |(place, key)| {
            let retired = self.keys.get(place + 1).map(|next| next.active_from_seconds);
            retired.is_none_or(|retired| now_seconds < retired.saturating_add(kept)).then_some(key)
        })
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl Key {
    fn of(key: &TokenKey) -> Self {
        let signing = SigningKey::from_bytes(&key.seed);
        let verifying = signing.verifying_key();
        let id = thumbprint(&verifying);
        let mut beginning = String::from(PREFIX);
        let header = format!(r#"{{"alg":"EdDSA","kid":"{id}","typ":"x402+jwt"}}"#);
        base64url::append(header.as_bytes(), &mut beginning);
        beginning.push('.');
        Self { active_from_seconds: key.active_from_seconds, id, signing, verifying, beginning }
    }

    /// The public half as JWK has it.
    pub(crate) fn public(&self) -> String {
        base64url::encode(self.verifying.as_bytes())
    }
}

/// RFC 7638: SHA-256 over the required members of the JWK in the order of their names (RFC 8037 for this kind of key).
fn thumbprint(key: &VerifyingKey) -> String {
    let x = base64url::encode(key.as_bytes());
    let digest = Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#));
    base64url::encode(&digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(active_from_seconds: i64, seed: u8) -> TokenKey {
        TokenKey { active_from_seconds, seed: [seed; 32] }
    }

    #[test]
    fn a_set_has_keys_in_order_and_each_once() {
        for (keys, expected) in [
            (vec![], Some(TokenKeysError::Empty)),
            (vec![key(0, 1)], None),
            (vec![key(0, 1), key(10, 2)], None),
            (vec![key(10, 1), key(10, 2)], Some(TokenKeysError::Order)),
            (vec![key(10, 1), key(0, 2)], Some(TokenKeysError::Order)),
            (vec![key(0, 1), key(10, 1)], Some(TokenKeysError::Twice)),
        ] {
            assert_eq!(TokenKeys::new(&keys).err(), expected, "{keys:?}");
        }
    }

    #[test]
    fn the_key_of_a_token_follows_from_its_time() {
        let keys = [key(100, 1), key(200, 2), key(300, 3)];
        let ids: Vec<String> = keys.iter().map(TokenKey::id).collect();
        let set = TokenKeys::new(&keys).expect("a set");
        for (second, place) in
            [(i64::MIN, 0), (0, 0), (100, 0), (199, 0), (200, 1), (299, 1), (300, 2), (i64::MAX, 2)]
        {
            assert_eq!(set.of(second).id, ids[place], "second {second}");
        }
    }

    #[test]
    fn retired_keys_stay_published_while_their_tokens_can_live() {
        let keys = [key(0, 1), key(10_000, 2), key(20_000, 3)];
        let set = TokenKeys::new(&keys).expect("a set");
        for (second, expected) in
            [(0, 3), (10_000, 3), (13_899, 3), (13_900, 2), (23_899, 2), (23_900, 1), (i64::MAX, 1)]
        {
            assert_eq!(set.published(second).count(), expected, "second {second}");
        }
    }

    /// The example of RFC 8037, appendix A: seed, public half and thumbprint.
    #[test]
    fn the_standards_example_comes_out() {
        let seed = base64url::decode(b"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").expect("base64url");
        let key = TokenKey { active_from_seconds: 0, seed: seed.try_into().expect("32 bytes") };
        assert_eq!(key.id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let set = TokenKeys::new(&[key]).expect("a set");
        assert_eq!(set.of(0).public(), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    }

    #[test]
    fn secrets_are_not_shown() {
        let keys = [key(0, 7)];
        let shown = format!("{keys:?} {:?}", TokenKeys::new(&keys).expect("a set"));
        assert!(!shown.contains("7, 7") && shown.contains("***"), "{shown}");
    }
}
