//! Payment tokens as text: `x402_tok_` and a compact JWS (RFC 7515) with EdDSA over Ed25519 (RFC 8037).
//!
//! Every claim is bound by the signature: token, service, payer, amount, currency, time and expiry. The header is one of
//! few fixed texts, one per key, and is compared, not read: `alg` and everything else in a presented header mean nothing.
//! A payload counts only in the one spelling that [`seal`] gives it.
//!
//! A token that opens was signed by this node. Whether it can still be redeemed is not decided here: the token's owner
//! in the engine compares the claims with the record and knows the token's state.
//!
//! Threads: any; a signature takes about 20 µs and is made and verified on the task of the connection that needs it.

use ed25519_dalek::{Signature, Signer};
use ledger::{AgentId, Amount, Currency, ServiceId, Timestamp, TokenId};

use super::{
    keys::{TOKEN_LIFETIME_MAX_SECONDS, TokenKeys},
    remembered::Remembered,
};
use crate::{
    base64url,
    handlers::currency as currency_code,
    json::{
        read::{self, Reader, Slot},
        write::{AmountStyle, Writer},
    },
};

/// What every token begins with, so that people and scanners for secrets know it.
pub(crate) const PREFIX: &str = "x402_tok_";
/// Longest text looked at; ours have about 450 characters.
pub(crate) const TOKEN_CHARS_MAX: usize = 1_024;
/// Base64url of 64 bytes.
const SIGNATURE_CHARS: usize = 86;

/// What a token says, with times in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) token: TokenId,
    pub(crate) service: ServiceId,
    /// The consumer.
    pub(crate) payer: AgentId,
    pub(crate) amount: Amount,
    pub(crate) currency: Currency,
    pub(crate) authorised_seconds: i64,
    pub(crate) expires_seconds: i64,
}

/// How a token was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// By its signature.
    Verified,
    /// This process remembers having signed it.
    Remembered,
}

/// Why a text is not a token of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// Not the prefix, or not three parts in base64url.
    Malformed,
    /// The header is of no key of this node.
    UnknownKey,
    /// The signature is not of these bytes by that key.
    Signature,
    /// Signed, but the payload is not one that this version writes.
    Payload,
    /// Signed by a key that was not the one of the token's time.
    KeyOfAnotherTime,
    /// Signed for longer than a token may live.
    Lifetime,
}

impl Rejected {
    /// How `details.reason` says it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "bad_signature",
            Self::Payload => "bad_payload",
            Self::KeyOfAnotherTime => "key_of_another_time",
            Self::Lifetime => "lifetime",
        }
    }
}

impl Claims {
    /// The second in which `at` lies: what tokens say of their time of authorisation.
    pub(crate) fn second_of(at: Timestamp) -> i64 {
        at.millis().div_euclid(1_000)
    }

    /// The first whole second that is not before `at`: what tokens say of their expiry, so that nobody who reads it
    /// gives a token up while it is still good.
    pub(crate) fn second_after(at: Timestamp) -> i64 {
        let begun = i64::from(at.millis().rem_euclid(1_000) != 0);
        at.millis().div_euclid(1_000) + begun
    }

    fn payload(&self) -> Vec<u8> {
        let mut writer = Writer::new(256, AmountStyle::String);
        writer.object(|w| {
            w.name("jti").plain(self.token);
            w.name("svc").plain(self.service);
            w.name("sub").plain(self.payer);
            w.name("amount").amount(self.amount);
            w.name("currency").plain(self.currency);
            w.name("iat").integer(self.authorised_seconds);
            w.name("exp").integer(self.expires_seconds);
        });
        writer.finish()
    }

    fn read(payload: &[u8]) -> read::Result<Self> {
        const FIELDS: &[&str] = &["jti", "svc", "sub", "amount", "currency", "iat", "exp"];
        let (mut token, mut service, mut payer) = (Slot::Missing, Slot::Missing, Slot::Missing);
        let (mut amount, mut currency) = (Slot::Missing, Slot::Missing);
        let (mut authorised, mut expires) = (Slot::Missing, Slot::Missing);
        Reader::document(payload, |r| {
            r.object(|r, field| match field {
                "jti" => token.set(r, parsed),
                "svc" => service.set(r, parsed),
                "sub" => payer.set(r, parsed),
                "amount" => amount.set(r, Reader::amount),
                "currency" => currency.set(r, currency_code),
                "iat" => authorised.set(r, seconds),
                "exp" => expires.set(r, seconds),
                other => Err(r.unknown_field(other, FIELDS)),
            })?;
            Ok(Self {
                token: token.required(r, "jti")?,
                service: service.required(r, "svc")?,
                payer: payer.required(r, "sub")?,
                amount: amount.required(r, "amount")?,
                currency: currency.required(r, "currency")?,
                authorised_seconds: authorised.required(r, "iat")?,
                expires_seconds: expires.required(r, "exp")?,
            })
        })
    }
}

fn parsed<T: std::str::FromStr>(reader: &mut Reader<'_>) -> read::Result<T> {
    let text = reader.string()?;
    text.parse().map_err(|_| reader.invalid("Not an id of this kind."))
}

fn seconds(reader: &mut Reader<'_>) -> read::Result<i64> {
    let seconds = reader.whole_number()?;
    i64::try_from(seconds).map_err(|_| reader.invalid("Not a time."))
}

/// The token's text. Equal claims and keys give equal texts: Ed25519 needs no chance.
pub(crate) fn seal(keys: &TokenKeys, claims: &Claims) -> String {
    let key = keys.of(claims.authorised_seconds);
    let mut text = String::with_capacity(512);
    text.push_str(&key.beginning);
    base64url::append(&claims.payload(), &mut text);
    let signature = key.signing.sign(&text.as_bytes()[PREFIX.len()..]);
    text.push('.');
    base64url::append(&signature.to_bytes(), &mut text);
    debug_assert!(text.len() <= TOKEN_CHARS_MAX, "a token of our own can be read back");
    text
}

/// What a token of this node says. The signature of one that this process signed itself a moment ago is not computed
/// again.
///
/// # Errors
/// It is none.
pub(crate) fn open(
    keys: &TokenKeys,
    remembered: &Remembered,
    text: &str,
) -> Result<(Claims, Proof), Rejected> {
    let well_formed = text.len() <= TOKEN_CHARS_MAX && text.starts_with(PREFIX);
    if !well_formed || text.bytes().filter(|byte| *byte == b'.').count() != 2 {
        return Err(Rejected::Malformed);
    }
    let key = keys.by_beginning(text).ok_or(Rejected::UnknownKey)?;
    let rest = &text[key.beginning.len()..];
    let (payload, signature) = rest.split_once('.').ok_or(Rejected::Malformed)?;
    if signature.len() != SIGNATURE_CHARS {
        return Err(Rejected::Malformed);
    }
    let signature = base64url::decode(signature.as_bytes()).ok_or(Rejected::Malformed)?;
    let signature = Signature::from_slice(&signature).map_err(|_| Rejected::Malformed)?;
    let signed = &text.as_bytes()[PREFIX.len()..key.beginning.len() + payload.len()];
    let proof = if remembered.contains(text) {
        Proof::Remembered
    } else {
        key.verifying.verify_strict(signed, &signature).map_err(|_| Rejected::Signature)?;
        Proof::Verified
    };
    let payload = base64url::decode(payload.as_bytes()).ok_or(Rejected::Payload)?;
    let claims = Claims::read(&payload).map_err(|_| Rejected::Payload)?;
    if claims.payload() != payload {
        return Err(Rejected::Payload);
    }
    if keys.of(claims.authorised_seconds).id != key.id {
        return Err(Rejected::KeyOfAnotherTime);
    }
    // One second each for the part before the first and behind the last.
    let lifetime_seconds = claims.expires_seconds.saturating_sub(claims.authorised_seconds);
    if !(0..=TOKEN_LIFETIME_MAX_SECONDS + 2).contains(&lifetime_seconds) {
        return Err(Rejected::Lifetime);
    }
    Ok((claims, proof))
}

#[cfg(test)]
mod tests;
