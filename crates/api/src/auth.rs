//! Who is asking, and whether that is enough for the route.
//!
//! A key's checksum is looked at first, then its hash is computed, then the directory is asked, then the hashes are
//! compared in constant time: an unknown id costs as much as a wrong secret. Secrets are never kept, compared as text,
//! or logged.

use engine::{Caller, Engine};
use http::{HeaderMap, header::AUTHORIZATION};
use ledger::{KeyKind, Scopes, Timestamp};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    errors::{Kind, Problem},
    keys::Presented,
    routes::{Auth, Route},
};

/// Longest bearer token looked at.
const TOKEN_BYTES_MAX: usize = 1_024;

/// Who is asking.
pub(crate) enum Principal {
    /// No credentials, or none that mean anything to a route that needs none.
    Nobody,
    Agent {
        caller: Caller,
        kind: KeyKind,
        scopes: Scopes,
    },
    Operator,
}

impl Principal {
    /// The agent of a route for agents.
    ///
    /// # Errors
    /// The route let somebody else through; answered as if no key had been sent.
    pub(crate) fn caller(&self) -> Result<&Caller, Problem> {
        match self {
            Self::Agent { caller, .. } => Ok(caller),
            Self::Nobody | Self::Operator => Err(Problem::new(Kind::Unauthenticated)),
        }
    }
}

/// Finds out who is asking.
///
/// # Errors
/// The credentials are there but not valid.
pub(crate) fn identify(
    headers: &HeaderMap,
    engine: &Engine,
    admin_token_hash: Option<&[u8; 32]>,
    now: Timestamp,
) -> Result<Principal, Problem> {
    let Some(token) = bearer(headers)? else { return Ok(Principal::Nobody) };
    if let Some(presented) = Presented::parse(token) {
        let record = engine.key(presented.id).ok_or_else(unauthenticated)?;
        let genuine = presented.matches(&record.key.hash) && presented.kind == record.key.kind;
        if !genuine || !record.key.usable(now) {
            return Err(unauthenticated());
        }
        record.used.note(now);
        let caller = Caller { agent: record.agent, meter: record.meter };
        return Ok(Principal::Agent { caller, kind: record.key.kind, scopes: record.key.scopes });
    }
    let hash: [u8; 32] = Sha256::digest(token).into();
    match admin_token_hash {
        Some(wanted) if bool::from(hash.ct_eq(wanted)) => Ok(Principal::Operator),
        _ => Err(unauthenticated()),
    }
}

/// Whether this principal may call the route.
///
/// # Errors
/// 401 without credentials, 403 with the wrong kind.
pub(crate) fn authorise(route: &Route, principal: &Principal) -> Result<(), Problem> {
    let refuse = |message: &'static str| Err(Problem::new(Kind::Forbidden).saying(message));
    match (route.auth, principal) {
        (Auth::None, _) | (Auth::Admin | Auth::AgentOrAdmin, Principal::Operator) => Ok(()),
        (_, Principal::Nobody) => Err(unauthenticated()),
        (Auth::Admin, Principal::Agent { .. }) => {
            refuse("This path is for operators. It needs the operator token.")
        }
        (Auth::Agent | Auth::Owner, Principal::Operator) => {
            refuse("This path acts for one agent. It needs a key of that agent, not the operator token.")
        }
        (_, Principal::Agent { kind: KeyKind::Owner, .. }) => Ok(()),
        (Auth::Owner, Principal::Agent { kind: KeyKind::Runtime, .. }) => {
            refuse("A runtime key (pk_) may not do that. It needs the agent's owner key (sk_).")
        }
        (Auth::Agent | Auth::AgentOrAdmin, Principal::Agent { kind: KeyKind::Runtime, scopes, .. }) => {
            if scopes.contains(route.scope) {
                return Ok(());
            }
            refuse(
                "This key does not have the scope for that. Use a key with it, or ask the agent's owner for one.",
            )
        }
    }
}

fn unauthenticated() -> Problem {
    Problem::new(Kind::Unauthenticated)
}

/// The bearer token, if there is one.
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(unauthenticated().saying("There are several Authorization headers. Send one."));
    }
    let (scheme, token) = line.as_bytes().split_at_checked(7).ok_or_else(unauthenticated)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") || token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(unauthenticated());
    }
    Ok(Some(token))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderValue;
    use ledger::AgentId;

    use super::*;
    use crate::routes::routes;

    fn agent(kind: KeyKind, scopes: Scopes) -> Principal {
        let caller = Caller { agent: AgentId::from_raw(1), meter: Arc::default() };
        Principal::Agent { caller, kind, scopes }
    }

    #[test]
    fn every_route_admits_exactly_its_class() {
        let status = |route, principal: &Principal| match authorise(route, principal) {
            Ok(()) => 200,
            Err(problem) => problem.kind.row().status.as_u16(),
        };
        for route in routes() {
            let answers = [
                status(route, &Principal::Nobody),
                status(route, &agent(KeyKind::Runtime, Scopes::ALL)),
                status(route, &agent(KeyKind::Runtime, Scopes::NONE)),
                status(route, &agent(KeyKind::Owner, Scopes::NONE)),
                status(route, &Principal::Operator),
            ];
            let expected = match route.auth {
                Auth::None => [200, 200, 200, 200, 200],
                Auth::Agent => [401, 200, 403, 200, 403],
                Auth::AgentOrAdmin => [401, 200, 403, 200, 200],
                Auth::Owner => [401, 403, 403, 200, 403],
                Auth::Admin => [401, 403, 403, 403, 200],
            };
            assert_eq!(answers, expected, "{} {}", route.verb, route.path);
        }
    }

    #[test]
    fn bearer_tokens_are_read_strictly() {
        let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1));
        type Expected = Result<Option<&'static str>, ()>;
        let cases: [(&[&str], Expected); 9] = [
            (&[], Ok(None)),
            (&["Bearer abc"], Ok(Some("abc"))),
            (&["bearer abc"], Ok(Some("abc"))),
            (&["Basic abc"], Err(())),
            (&["Bearer"], Err(())),
            (&["Bearer "], Err(())),
            (&["abc"], Err(())),
            (&["Bearer a", "Bearer b"], Err(())),
            (&[&long], Err(())),
        ];
        for (lines, expected) in cases {
            let headers: HeaderMap = lines
                .iter()
                .map(|line| (AUTHORIZATION, HeaderValue::from_str(line).expect("a value")))
                .collect();
            let found = bearer(&headers).map_err(drop);
            assert_eq!(found, expected.map(|token| token.map(str::as_bytes)), "{lines:?}");
        }
    }
}
