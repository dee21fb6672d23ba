//! An agent's keys: more runtime keys, listing, revocation, rotation. Secrets are in the one answer that makes them.

use http::StatusCode;
use ledger::{Key, KeyKind, Scopes, Timestamp};

use super::agents::{KEYS_ARE_SHOWN_ONCE, own, own_id, refuse_key_header};
use crate::{
    dispatch::Call,
    errors::{Kind, Problem},
    json::{
        read::{self, Reader, Slot},
        write::Writer,
    },
    keys::{Fresh, KeyIdText},
    respond::Reply,
    time,
};

/// Longest time for which old keys may live on after a rotation.
const OVERLAP_SECONDS_MAX: u64 = 7 * 24 * 3_600;

/// Names of scopes, in the order in which they are shown.
const SCOPES: [(&str, Scopes); 4] = [
    ("read", Scopes::READ),
    ("pay", Scopes::PAY),
    ("provide", Scopes::PROVIDE),
    ("webhooks", Scopes::WEBHOOKS),
];

#[derive(Debug, PartialEq)]
struct NewKeyRequest {
    expires_at: Option<Timestamp>,
    scopes: Scopes,
}

impl NewKeyRequest {
    const FIELDS: &'static [&'static str] = &["expires_at", "scopes"];

    fn parse(body: &[u8], now: Timestamp) -> Result<Self, Problem> {
        let (mut expires_at, mut chosen) = (Slot::Missing, Slot::Missing);
        Ok(Reader::document(body, |r| {
            r.object(|r, field| match field {
                "expires_at" => expires_at.set(r, |r| future_time(r, now)),
                "scopes" => chosen.set(r, scopes),
                "idempotency_key" => Err(r.invalid(KEYS_ARE_SHOWN_ONCE)),
                other => Err(r.unknown_field(other, Self::FIELDS)),
            })?;
            Ok(Self { expires_at: expires_at.optional(), scopes: chosen.optional().unwrap_or(Scopes::ALL) })
        })?)
    }
}

pub(super) fn future_time(reader: &mut Reader<'_>, now: Timestamp) -> read::Result<Timestamp> {
    let text = reader.string()?;
    match time::parse(&text) {
        Some(at) if at > now => Ok(at),
        Some(_) => Err(reader.invalid("Must lie in the future.")),
        None => Err(reader.invalid("Must be an RFC 3339 time, such as 2027-01-31T12:00:00Z.")),
    }
}

fn scopes(reader: &mut Reader<'_>) -> read::Result<Scopes> {
    let mut chosen = Scopes::NONE;
    reader.array(|r, _| {
        let text = r.string()?;
        let Some((_, scope)) = SCOPES.iter().find(|(name, _)| *name == text) else {
            return Err(r.invalid("Must be one of: read, pay, provide, webhooks."));
        };
        if chosen.contains(*scope) {
            return Err(r.invalid("The scope is there twice. Send it once."));
        }
        chosen = chosen.with(*scope);
        Ok(())
    })?;
    if chosen == Scopes::NONE {
        return Err(reader.invalid("Must name at least one scope."));
    }
    Ok(chosen)
}

/// `POST /v1/agents/{agent_id}/keys`.
pub(crate) async fn create(call: &Call<'_>) -> Result<Reply, Problem> {
    let agent = own_id(call)?;
    refuse_key_header(call)?;
    let request = NewKeyRequest::parse(call.json(), call.at)?;
    let fresh = Fresh::generate(KeyKind::Runtime, &*call.gateway.entropy);
    let key = runtime_key(call, &fresh, request.scopes, request.expires_at);
    call.engine.add_key(agent, key.clone()).await?;
    Ok(Reply::json(StatusCode::CREATED, shown_once(call, &fresh, &key, None)))
}

/// `POST /v1/agents/{agent_id}/keys/rotate`.
pub(crate) async fn rotate(call: &Call<'_>) -> Result<Reply, Problem> {
    let agent = own_id(call)?;
    refuse_key_header(call)?;
    let overlap_seconds = overlap(call.json())?;
    let fresh = Fresh::generate(KeyKind::Runtime, &*call.gateway.entropy);
    let key = runtime_key(call, &fresh, Scopes::ALL, None);
    let old_expire_at = call.at.saturating_add_millis(overlap_seconds * 1_000);
    call.engine.rotate_keys(agent, key.clone(), old_expire_at).await?;
    Ok(Reply::json(StatusCode::CREATED, shown_once(call, &fresh, &key, Some(old_expire_at))))
}

fn overlap(body: &[u8]) -> Result<u64, Problem> {
    let mut seconds = Slot::Missing;
    Ok(Reader::document(body, |r| {
        r.object(|r, field| match field {
            "overlap_seconds" => seconds.set(r, |r| match r.whole_number()? {
                seconds if seconds <= OVERLAP_SECONDS_MAX => Ok(seconds),
                _ => Err(r.invalid(format!("Must be at most {OVERLAP_SECONDS_MAX} (7 days)."))),
            }),
            "idempotency_key" => Err(r.invalid(KEYS_ARE_SHOWN_ONCE)),
            other => Err(r.unknown_field(other, &["overlap_seconds"])),
        })?;
        Ok(seconds.optional().unwrap_or(0))
    })?)
}

fn runtime_key(call: &Call<'_>, fresh: &Fresh, scopes: Scopes, expires_at: Option<Timestamp>) -> Key {
    let (id, kind, hash) = (fresh.id, fresh.kind, fresh.hash);
    Key { id, kind, hash, scopes, created_at: call.at, expires_at, revoked_at: None }
}

fn shown_once(call: &Call<'_>, fresh: &Fresh, key: &Key, old_expire_at: Option<Timestamp>) -> Writer {
    let mut writer = Writer::new(256, call.amounts);
    writer.object(|w| {
        w.name("api_key").plain(fresh.reveal());
        members(w, key, call.at);
        if let Some(at) = old_expire_at {
            w.name("previous_keys_expire_at").timestamp(at);
        }
    });
    writer
}

/// `GET /v1/agents/{agent_id}/keys`.
pub(crate) async fn list(call: &Call<'_>) -> Result<Reply, Problem> {
    let agent = own(call).await?;
    let mut writer = Writer::new(1_024, call.amounts);
    writer.object(|w| {
        // The ledger bounds the number of keys, so there is one page.
        w.name("keys").array(|w| {
            agent.keys.iter().rev().for_each(|key| {
                w.object(|w| {
                    members(w, key, call.at);
                    let used = call.engine.key(key.id).and_then(|record| record.used.at());
                    optional_time(w, "last_used_at", used);
                });
            })
        });
        w.name("next_cursor").null();
        w.name("total").integer(agent.keys.len());
    });
    Ok(Reply::json(StatusCode::OK, writer))
}

fn members(w: &mut Writer, key: &Key, now: Timestamp) {
    w.name("id").plain(KeyIdText(key.id));
    w.name("kind").plain(match key.kind {
        KeyKind::Runtime => "runtime",
        KeyKind::Owner => "owner",
    });
    w.name("status").plain(match key.revoked_at {
        Some(_) => "revoked",
        None if key.usable(now) => "active",
        None => "expired",
    });
    w.name("scopes").array(|w| {
        SCOPES.iter().filter(|(_, scope)| key.scopes.contains(*scope)).for_each(|(name, _)| w.plain(name));
    });
    w.name("created_at").timestamp(key.created_at);
    optional_time(w, "expires_at", key.expires_at);
    optional_time(w, "revoked_at", key.revoked_at);
}

fn optional_time(w: &mut Writer, name: &'static str, at: Option<Timestamp>) {
    match at {
        Some(at) => w.name(name).timestamp(at),
        None => w.name(name).null(),
    }
}

/// `DELETE /v1/agents/{agent_id}/keys/{key_id}`.
pub(crate) async fn revoke(call: &Call<'_>) -> Result<Reply, Problem> {
    let agent = own_id(call)?;
    let key = call.param("key_id").and_then(|text| text.parse::<KeyIdText>().ok());
    let KeyIdText(key) =
        key.ok_or_else(|| Problem::new(Kind::NotFound).saying("The agent has no such key."))?;
    call.engine.revoke_key(agent, key, call.at).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Detail;

    const NOW: Timestamp = Timestamp::from_millis(1_778_241_600_000);

    #[test]
    fn new_keys_may_be_narrowed() {
        let parse = |body: &str| NewKeyRequest::parse(body.as_bytes(), NOW);
        assert_eq!(parse("{}"), Ok(NewKeyRequest { expires_at: None, scopes: Scopes::ALL }));
        assert_eq!(
            parse(r#"{"scopes":["pay","read"],"expires_at":"2026-05-08T12:00:01Z"}"#),
            Ok(NewKeyRequest {
                expires_at: Some(Timestamp::from_millis(NOW.millis() + 1_000)),
                scopes: Scopes::READ.with(Scopes::PAY),
            })
        );
        for (body, path) in [
            (r#"{"scopes":[]}"#, "$.scopes"),
            (r#"{"scopes":["admin"]}"#, "$.scopes[0]"),
            (r#"{"scopes":["pay","pay"]}"#, "$.scopes[1]"),
            (r#"{"scopes":"pay"}"#, "$.scopes"),
            (r#"{"expires_at":"2026-05-08T12:00:00Z"}"#, "$.expires_at"),
            (r#"{"expires_at":"tomorrow"}"#, "$.expires_at"),
            (r#"{"limits":{}}"#, "$.limits"),
            (r#"{"idempotency_key":"k"}"#, "$.idempotency_key"),
        ] {
            let problem = parse(body).expect_err(body);
            assert_eq!(problem.details[0], ("path", Detail::Text(path.into())), "{body}");
        }
    }

    #[test]
    fn overlap_is_bounded() {
        assert_eq!(overlap(b"{}"), Ok(0));
        assert_eq!(overlap(br#"{"overlap_seconds":3600}"#), Ok(3_600));
        for body in [
            r#"{"overlap_seconds":604801}"#,
            r#"{"overlap_seconds":-1}"#,
            r#"{"overlap_seconds":1.5}"#,
            r#"{"overlap_seconds":1e3}"#,
            r#"{"overlap_seconds":"60"}"#,
            r#"{"overlap_seconds":99999999999999999999}"#,
        ] {
            let problem = overlap(body.as_bytes()).expect_err(body);
            assert_eq!(problem.details[0], ("path", Detail::Text("$.overlap_seconds".into())), "{body}");
        }
    }

    #[test]
    fn a_listed_key_tells_its_state_and_no_secret() {
        let key = Key {
            id: ledger::KeyId::from_raw(1),
            kind: KeyKind::Runtime,
            hash: [0xab; 32],
            scopes: Scopes::READ,
            created_at: NOW,
            expires_at: Some(NOW),
            revoked_at: None,
        };
        let mut writer = Writer::new(64, crate::json::write::AmountStyle::Number);
        writer.object(|w| members(w, &key, NOW));
        let text = String::from_utf8(writer.finish()).expect("UTF-8");
        assert!(
            text.starts_with(
                r#"{"id":"key_0000000000002","kind":"runtime","status":"expired","scopes":["read"]"#
            ),
            "{text}"
        );
        assert!(!text.contains("hash") && !text.contains("abab"));
    }
}
