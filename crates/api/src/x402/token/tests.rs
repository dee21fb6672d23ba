use std::sync::LazyLock;

use super::*;
use crate::x402::keys::TokenKey;

/// Opens with nothing remembered.
fn open(keys: &TokenKeys, text: &str) -> Result<Claims, Rejected> {
    static NOTHING: LazyLock<Remembered> = LazyLock::new(Remembered::default);
    super::open(keys, &NOTHING, text).map(|(claims, proof)| {
        assert_eq!(proof, Proof::Verified);
        claims
    })
}

#[test]
fn what_was_signed_here_is_known_by_its_bytes_alone() {
    let (keys, remembered) = (keys(), Remembered::default());
    let text = seal(&keys, &claims());
    assert_eq!(super::open(&keys, &remembered, &text), Ok((claims(), Proof::Verified)));
    remembered.insert(&text);
    assert_eq!(super::open(&keys, &remembered, &text), Ok((claims(), Proof::Remembered)));
    let (header, payload, signature) = parts(&text);
    let other = base64url::encode(&[7; 64]);
    assert_eq!(super::open(&keys, &remembered, &joined(header, payload, &other)), Err(Rejected::Signature));
    let changed = base64url::encode(&Claims { amount: Amount::from_nanos(1), ..claims() }.payload());
    assert_eq!(
        super::open(&keys, &remembered, &joined(header, &changed, signature)),
        Err(Rejected::Signature)
    );
}

const AUTHORISED: i64 = 1_778_241_600;

fn seed(seed: u8, active_from_seconds: i64) -> TokenKey {
    TokenKey { active_from_seconds, seed: [seed; 32] }
}

fn keys() -> TokenKeys {
    TokenKeys::new(&[seed(1, 0), seed(2, AUTHORISED - 100), seed(3, AUTHORISED + 100)]).expect("a set")
}

fn claims() -> Claims {
    Claims {
        token: TokenId::from_raw(11),
        service: ServiceId::from_raw(22),
        payer: AgentId::from_raw(33),
        amount: Amount::from_nanos(5_000_000),
        currency: Currency::USD,
        authorised_seconds: AUTHORISED,
        expires_seconds: AUTHORISED + 300,
    }
}

/// Any header and payload, signed by the key of that place: what a thief of a key, or another issuer, could write.
fn signed_by(key: &TokenKey, header: &str, payload: &[u8]) -> String {
    let mut text = String::from(PREFIX);
    base64url::append(header.as_bytes(), &mut text);
    text.push('.');
    base64url::append(payload, &mut text);
    let signing = ed25519_dalek::SigningKey::from_bytes(&key.seed);
    let signature = signing.sign(&text.as_bytes()[PREFIX.len()..]);
    text.push('.');
    base64url::append(&signature.to_bytes(), &mut text);
    text
}

fn header_of(key: &TokenKey) -> String {
    format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"x402+jwt"}}"#, key.id())
}

fn parts(token: &str) -> (&str, &str, &str) {
    let mut parts = token[PREFIX.len()..].split('.');
    let mut next = || parts.next().expect("three parts");
    (next(), next(), next())
}

fn joined(header: &str, payload: &str, signature: &str) -> String {
    format!("{PREFIX}{header}.{payload}.{signature}")
}

#[test]
fn a_token_says_what_was_sealed_and_is_the_same_every_time() {
    let (keys, claims) = (keys(), claims());
    let text = seal(&keys, &claims);
    assert_eq!(open(&keys, &text), Ok(claims));
    assert_eq!(seal(&keys, &claims), text);
    assert!(text.starts_with("x402_tok_") && text.len() < 512, "{text}");
    let (header, payload, _) = parts(&text);
    assert_eq!(base64url::decode(header.as_bytes()), Some(header_of(&seed(2, 0)).into_bytes()));
    assert_eq!(
        String::from_utf8(base64url::decode(payload.as_bytes()).expect("base64url")).expect("UTF-8"),
        concat!(
            r#"{"jti":"tokid_0000000000000000000000000b","svc":"svc_0000000000000000000000000p","#,
            r#""sub":"agent_00000000000000000000000011","amount":"0.005","currency":"USD","#,
            r#""iat":1778241600,"exp":1778241900}"#
        )
    );
}

/// The format is for ever: tokens live over restarts and upgrades.
#[test]
fn the_text_of_a_token_does_not_change_between_versions() {
    assert_eq!(seal(&keys(), &claims()), include_str!("golden_token.txt").trim_end());
}

#[test]
fn a_rotation_changes_no_token_that_exists() {
    let before = TokenKeys::new(&[seed(1, 0)]).expect("a set");
    let after = TokenKeys::new(&[seed(1, 0), seed(2, AUTHORISED + 60)]).expect("a set");
    let old = seal(&before, &claims());
    assert_eq!(seal(&after, &claims()), old, "answered again after the rotation");
    assert_eq!(open(&after, &old), Ok(claims()));
    let later = Claims { authorised_seconds: AUTHORISED + 60, ..claims() };
    let new = seal(&after, &later);
    assert_eq!(open(&after, &new), Ok(later));
    assert_eq!(open(&before, &new), Err(Rejected::UnknownKey));
    assert_ne!(parts(&new).0, parts(&old).0);
}

#[test]
fn extreme_claims_fit_and_come_back() {
    let claims = Claims {
        token: TokenId::from_raw(u128::MAX),
        service: ServiceId::from_raw(u128::MAX),
        payer: AgentId::from_raw(u128::MAX),
        amount: Amount::MAX,
        currency: Currency::EUR,
        authorised_seconds: 0,
        expires_seconds: 0,
    };
    for seconds in [0, AUTHORISED, i64::MAX] {
        let claims = Claims { authorised_seconds: seconds, expires_seconds: seconds, ..claims };
        let text = seal(&keys(), &claims);
        assert!(text.len() <= TOKEN_CHARS_MAX);
        assert_eq!(open(&keys(), &text), Ok(claims));
    }
}

#[test]
fn nothing_signed_lives_longer_than_a_token_may() {
    for (seconds, ok) in
        [(0, true), (3_602, true), (3_603, false), (-1, false), (i64::MAX - AUTHORISED, false)]
    {
        let claims = Claims { expires_seconds: AUTHORISED + seconds, ..claims() };
        let expected = if ok { Ok(claims) } else { Err(Rejected::Lifetime) };
        assert_eq!(open(&keys(), &seal(&keys(), &claims)), expected, "{seconds}");
    }
}

/// Security list 9: every bound field swapped, under the old signature and under one of another key.
#[test]
fn every_bound_field_is_bound() {
    let keys = keys();
    let genuine = seal(&keys, &claims());
    let (header, _, signature) = parts(&genuine);
    let swapped = [
        ("token", Claims { token: TokenId::from_raw(12), ..claims() }),
        ("service", Claims { service: ServiceId::from_raw(23), ..claims() }),
        ("payer", Claims { payer: AgentId::from_raw(34), ..claims() }),
        ("amount", Claims { amount: Amount::from_nanos(4_999_999), ..claims() }),
        ("currency", Claims { currency: Currency::EUR, ..claims() }),
        ("time", Claims { authorised_seconds: AUTHORISED + 1, ..claims() }),
        ("expiry", Claims { expires_seconds: AUTHORISED + 3_600, ..claims() }),
    ];
    for (field, claims) in swapped {
        let payload = base64url::encode(&claims.payload());
        assert_eq!(open(&keys, &joined(header, &payload, signature)), Err(Rejected::Signature), "{field}");
        let stranger = seed(9, 0);
        let forged = signed_by(&stranger, &header_of(&stranger), &claims.payload());
        assert_eq!(open(&keys, &forged), Err(Rejected::UnknownKey), "{field} by a stranger");
        let forged = signed_by(&stranger, &header_of(&seed(2, 0)), &claims.payload());
        assert_eq!(open(&keys, &forged), Err(Rejected::Signature), "{field} by a stranger as the node");
    }
    let (other_header, _, other_signature) = {
        let other = seal(&keys, &Claims { authorised_seconds: AUTHORISED + 200, ..claims() });
        let (header, payload, signature) = parts(&other);
        (header.to_owned(), payload.to_owned(), signature.to_owned())
    };
    let (header, payload, signature) = parts(&genuine);
    assert_eq!(open(&keys, &joined(&other_header, payload, signature)), Err(Rejected::Signature), "kid");
    assert_eq!(
        open(&keys, &joined(header, payload, &other_signature)),
        Err(Rejected::Signature),
        "signature"
    );
}

/// Security list 9: `alg` is never taken from the token, and a header means nothing beside the ones of our keys.
#[test]
fn headers_of_others_are_refused_even_when_they_are_signed() {
    let keys = keys();
    let key = seed(2, 0);
    let id = key.id();
    let payload = claims().payload();
    let headers = [
        r#"{"alg":"none"}"#.to_owned(),
        format!(r#"{{"alg":"none","kid":"{id}","typ":"x402+jwt"}}"#),
        format!(r#"{{"alg":"HS256","kid":"{id}","typ":"x402+jwt"}}"#),
        format!(r#"{{"alg":"Ed25519","kid":"{id}","typ":"x402+jwt"}}"#),
        format!(r#"{{"alg":"ES256","kid":"{id}","typ":"x402+jwt"}}"#),
        format!(r#"{{"alg":"eddsa","kid":"{id}","typ":"x402+jwt"}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{id}","typ":"JWT"}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{id}"}}"#),
        r#"{"alg":"EdDSA","typ":"x402+jwt"}"#.to_owned(),
        r#"{"alg":"EdDSA","kid":"","typ":"x402+jwt"}"#.to_owned(),
        format!(r#"{{"kid":"{id}","alg":"EdDSA","typ":"x402+jwt"}}"#),
        format!(r#"{{"alg":"EdDSA", "kid":"{id}","typ":"x402+jwt"}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{id}","typ":"x402+jwt","crit":["b64"],"b64":false}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{id}","typ":"x402+jwt","jwk":{{"kty":"OKP"}}}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{id}","typ":"x402+jwt","jku":"https://evil.example/jwks"}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"x402+jwt"}}"#, seed(9, 0).id()),
        "{}".to_owned(),
        String::new(),
    ];
    for header in headers {
        let token = signed_by(&key, &header, &payload);
        assert_eq!(open(&keys, &token), Err(Rejected::UnknownKey), "{header}");
    }
}

/// Security list 9: malformed tokens. Each differs from a good one in one respect.
#[test]
fn malformed_tokens_are_refused() {
    let keys = keys();
    let good = seal(&keys, &claims());
    let (header, payload, signature) = parts(&good);
    let no_signature = joined(header, payload, "");
    let zeros = base64url::encode(&[0; 64]);
    let not_base64 = format!("{}!", &signature[..85]);
    let respelled = format!("{}{}", &signature[..85], next_letter(&signature[85..]));
    let malformed = [
        String::new(),
        "x402_tok_".to_owned(),
        good[PREFIX.len()..].to_owned(),
        good.to_uppercase(),
        format!("X402_TOK_{}", &good[PREFIX.len()..]),
        format!(" {good}"),
        format!("Bearer {good}"),
        format!("{good}.{signature}"),
        format!("{PREFIX}{header}.{payload}"),
        format!("{PREFIX}{header}"),
        format!("{PREFIX}.{payload}.{signature}x."),
        no_signature,
        joined(header, payload, &signature[..85]),
        joined(header, payload, &format!("{signature}A")),
        joined(header, payload, &format!("{signature}=")),
        joined(header, payload, &not_base64),
        joined(header, payload, &respelled),
        joined(header, payload, &signature.replace(|_: char| true, "é")),
        format!("{good}\n"),
        format!("{good}\u{0}"),
        format!("{PREFIX}{}", "a.".repeat(600)),
        format!("{good}{}", "A".repeat(TOKEN_CHARS_MAX)),
    ];
    for token in &malformed {
        assert_eq!(open(&keys, token), Err(Rejected::Malformed), "{token:?}");
    }
    let mis_signed = [
        (joined("", "", ""), Rejected::UnknownKey),
        (joined("", payload, signature), Rejected::UnknownKey),
        (joined(&header[1..], payload, signature), Rejected::UnknownKey),
        (joined(&format!("{header}A"), payload, signature), Rejected::UnknownKey),
        (joined(header, "", signature), Rejected::Signature),
        (joined(header, &payload[..payload.len() - 4], signature), Rejected::Signature),
        (joined(header, &format!("{payload}AAAA"), signature), Rejected::Signature),
        (joined(header, &payload.to_lowercase(), signature), Rejected::Signature),
        (joined(header, payload, &zeros), Rejected::Signature),
        (joined(payload, header, signature), Rejected::UnknownKey),
    ];
    for (token, expected) in &mis_signed {
        assert_eq!(open(&keys, token), Err(*expected), "{token:?}");
    }
    assert!(malformed.len() + mis_signed.len() + 18 >= 40, "with the headers above, forty and more");
}

#[test]
fn every_changed_character_is_noticed() {
    let keys = keys();
    let good = seal(&keys, &claims());
    for at in 0..good.len() {
        for replacement in ["A", "z", "_", ".", "="] {
            let changed = format!("{}{replacement}{}", &good[..at], &good[at + 1..]);
            assert_eq!(open(&keys, &changed).is_ok(), changed == good, "{at} {replacement}");
        }
        assert!(open(&keys, &good[..at]).is_err(), "cut at {at}");
    }
}

/// What a key of this node has signed, but not as this version writes it, is no token either: another purpose, another
/// version, or a stolen key.
#[test]
fn signed_payloads_count_in_one_spelling_only() {
    let keys = keys();
    let key = seed(2, 0);
    let text = String::from_utf8(claims().payload()).expect("UTF-8");
    let sign = |payload: &str| signed_by(&key, &header_of(&key), payload.as_bytes());
    assert_eq!(open(&keys, &sign(&text)), Ok(claims()), "the way is right");
    let without = |field: &str| {
        let begin = text.find(&format!("\"{field}\"")).expect("a field");
        let end = text[begin..].find(',').map_or(text.len() - 1, |comma| begin + comma + 1);
        format!("{}{}", &text[..begin], &text[end..]).replace(",}", "}")
    };
    let mut others = vec![
        String::new(),
        "{}".to_owned(),
        "null".to_owned(),
        format!("{text} "),
        format!("[{text}]"),
        text.replace(':', ": "),
        text.replace("\"0.005\"", "0.005"),
        text.replace("\"0.005\"", "\"0.0050\""),
        text.replace("\"0.005\"", "\"-0.005\""),
        text.replace("\"0.005\"", "5e-3"),
        text.replace("USD", "usd"),
        text.replace("tokid_", "tx_"),
        text.replace("svc_", "agent_"),
        text.replace("\"exp\":1778241900", "\"exp\":\"1778241900\""),
        text.replace("\"exp\":1778241900", "\"exp\":1778241900.0"),
        text.replace("\"exp\":1778241900", "\"exp\":-1"),
        text.replace("\"exp\":1778241900", "\"exp\":99999999999999999999"),
        text.replace("\"exp\":1778241900", "\"exp\":null"),
        text.replace('}', ",\"exp\":1778241900}"),
        text.replace('}', ",\"aud\":\"x\"}"),
    ];
    others.extend(["jti", "svc", "sub", "amount", "currency", "iat", "exp"].map(without));
    for payload in others {
        assert_ne!(payload, text, "every row differs from the good one");
        assert_eq!(open(&keys, &sign(&payload)), Err(Rejected::Payload), "{payload}");
    }
}

#[test]
fn a_key_speaks_only_for_its_own_time() {
    let keys = keys();
    for key in [seed(1, 0), seed(3, 0)] {
        let stolen = signed_by(&key, &header_of(&key), &claims().payload());
        assert_eq!(open(&keys, &stolen), Err(Rejected::KeyOfAnotherTime), "{key:?}");
    }
}

#[test]
fn seconds_hold_the_whole_life_of_a_token() {
    for (millis, second, after) in
        [(0, 0, 0), (1, 0, 1), (999, 0, 1), (1_000, 1, 1), (-1, -1, 0), (-1_000, -1, -1)]
    {
        let at = Timestamp::from_millis(millis);
        assert_eq!((Claims::second_of(at), Claims::second_after(at)), (second, after), "{millis}");
    }
    for millis in [i64::MIN, i64::MAX] {
        let at = Timestamp::from_millis(millis);
        assert!(Claims::second_of(at) <= Claims::second_after(at));
    }
}

/// Another letter of the alphabet that decodes to the same bytes: it differs in the unused bits only.
fn next_letter(letter: &str) -> char {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = ALPHABET.find(letter).expect("a letter of base64url");
    ALPHABET.chars().nth(place + 1).expect("the unused bits of the last letter are zero")
}
