//! Agents: registration, and what an agent may read about itself.

use engine::NewAgent;
use http::StatusCode;
use ledger::{Agent, AgentId, Key, KeyKind, Scopes};

use super::name;
use crate::{
    auth::Principal,
    base64url,
    dispatch::Call,
    errors::{Kind, Problem},
    idempotency,
    json::{
        raw::RawObject,
        read::{Reader, Slot},
        write::Writer,
    },
    keys::Fresh,
    respond::Reply,
};

/// Operator of an agent that names none.
const OPERATOR_DEFAULT: &str = "self";

#[derive(Debug)]
struct NewAgentRequest {
    name: Box<str>,
    operator: Box<str>,
    metadata: Option<RawObject>,
}

impl NewAgentRequest {
    const FIELDS: &'static [&'static str] = &["name", "operator", "metadata"];

    fn parse(body: &[u8], metadata_bytes_max: usize) -> Result<Self, Problem> {
        let (mut name_slot, mut operator, mut metadata) = (Slot::Missing, Slot::Missing, Slot::Missing);
        let request = Reader::document(body, |r| {
            r.object(|r, field| match field {
                "name" => name_slot.set(r, name),
                "operator" => operator.set(r, name),
                "metadata" => metadata.set(r, |r| RawObject::read(r, metadata_bytes_max)),
                "idempotency_key" => Err(r.invalid(KEYS_ARE_SHOWN_ONCE)),
                other => Err(r.unknown_field(other, Self::FIELDS)),
            })?;
            Ok(Self {
                name: name_slot.required(r, "name")?,
                operator: operator.optional().unwrap_or_else(|| OPERATOR_DEFAULT.into()),
                metadata: metadata.optional(),
            })
        });
        Ok(request?)
    }
}

/// Why a request whose answer shows a secret takes no idempotency key.
pub(super) const KEYS_ARE_SHOWN_ONCE: &str = "The keys in this answer are shown once and kept nowhere, so the request cannot be repeated under an \
     idempotency key. Send it without one.";

/// Refuses an idempotency key where the answer shows a secret.
pub(super) fn refuse_key_header(call: &Call<'_>) -> Result<(), Problem> {
    match call.headers.contains_key(idempotency::HEADER) {
        true => Err(Problem::invalid("Idempotency-Key", KEYS_ARE_SHOWN_ONCE)),
        false => Ok(()),
    }
}

/// `POST /v1/agents`.
pub(crate) async fn create(call: &Call<'_>) -> Result<Reply, Problem> {
    if call.gateway.settings.production && !matches!(call.principal, Principal::Operator) {
        return Err(match call.principal {
            Principal::Nobody => Problem::new(Kind::Unauthenticated),
            _ => Problem::new(Kind::Forbidden),
        }
        .saying(
            "On this node agents are created by its operator. Ask for one, or send the operator token.",
        ));
    }
    refuse_key_header(call)?;
    let request = NewAgentRequest::parse(call.json(), call.gateway.settings.metadata_bytes_max)?;
    let entropy = &*call.gateway.entropy;
    let runtime = Fresh::generate(KeyKind::Runtime, entropy);
    let owner = Fresh::generate(KeyKind::Owner, entropy);
    let key = |fresh: &Fresh| Key {
        id: fresh.id,
        kind: fresh.kind,
        hash: fresh.hash,
        scopes: Scopes::ALL,
        created_at: call.at,
        expires_at: None,
        revoked_at: None,
    };
    let new = NewAgent {
        name: request.name,
        operator: request.operator,
        metadata: request.metadata.map(|metadata| metadata.text),
        public_key: owner.public_key(),
        keys: vec![key(&runtime), key(&owner)],
        at: call.at,
    };
    let agent = call.engine.create_agent(new).await?;
    let wallet = *agent.wallets.first().expect("an agent is born with a wallet");
    let mut writer = Writer::new(640, call.amounts);
    writer.object(|w| {
        w.name("id").plain(agent.id);
        w.name("name").string(&agent.name);
        w.name("operator").string(&agent.operator);
        w.name("api_key").plain(runtime.reveal());
        w.name("secret_key").plain(owner.reveal());
        w.name("wallet_id").plain(wallet);
        w.name("public_key").plain(base64url::encode(&agent.public_key));
        w.name("created_at").timestamp(agent.created_at);
    });
    Ok(Reply::json(StatusCode::CREATED, writer))
}

/// `GET /v1/agents/me` and `GET /v1/agents/{agent_id}`.
pub(crate) async fn read(call: &Call<'_>) -> Result<Reply, Problem> {
    let agent = own(call).await?;
    let mut writer = Writer::new(512, call.amounts);
    writer.object(|w| {
        w.name("id").plain(agent.id);
        w.name("name").string(&agent.name);
        w.name("operator").string(&agent.operator);
        w.name("metadata").raw(agent.metadata.as_deref());
        // An agent has no other state: what can be stopped are its keys and its wallets.
        w.name("status").plain("active");
        w.name("trust_score").integer(call.engine.trust_score(agent.id));
        w.name("public_key").plain(base64url::encode(&agent.public_key));
        w.name("wallets")
            .array(|w| agent.wallets.iter().take(WALLETS_SHOWN_MAX).for_each(|wallet| w.plain(wallet)));
        w.name("wallets_total").integer(agent.wallets.len());
        w.name("created_at").timestamp(agent.created_at);
    });
    Ok(Reply::json(StatusCode::OK, writer))
}

/// Wallets named in an agent's profile; `GET /v1/wallets` pages through all of them.
const WALLETS_SHOWN_MAX: usize = 100;

/// The agent in the path, which must be the caller's own; `me` stands for it.
pub(super) fn own_id(call: &Call<'_>) -> Result<AgentId, Problem> {
    let caller = call.caller()?.agent;
    match call.param("agent_id") {
        None | Some("me") => Ok(caller),
        Some(text) if text.parse() == Ok(caller) => Ok(caller),
        Some(_) => Err(Problem::new(Kind::NotFound).saying("There is no such agent that this key may see.")),
    }
}

/// The caller's agent.
pub(super) async fn own(call: &Call<'_>) -> Result<Agent, Problem> {
    let id = own_id(call)?;
    call.engine.agent(id).await?.ok_or_else(|| engine::Refusal::UnknownAgent.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Detail;

    #[test]
    fn a_request_has_a_name_and_defaults() {
        let request = NewAgentRequest::parse(br#"{"name":"Zoe\u0308"}"#, 64).expect("valid");
        assert_eq!((&*request.name, &*request.operator, request.metadata), ("Zoë", "self", None));
        let request = NewAgentRequest::parse(br#"{"operator":"acme","metadata":{"a": 1},"name":"A"}"#, 64)
            .expect("valid");
        assert_eq!(&*request.operator, "acme");
        assert_eq!(request.metadata.map(|metadata| metadata.text).as_deref(), Some(r#"{"a":1}"#));
    }

    #[test]
    fn wrong_requests_name_the_field() {
        for (body, path) in [
            (r"{}", "$.name"),
            (r#"{"name":null}"#, "$.name"),
            (r#"{"name":""}"#, "$.name"),
            (r#"{"name":7}"#, "$.name"),
            (r#"{"name":"a","name":"b"}"#, "$.name"),
            (r#"{"name":"a","nam":"b"}"#, "$.nam"),
            (r#"{"name":"a","operator":"x\u202ey"}"#, "$.operator"),
            (r#"{"name":"a","metadata":[]}"#, "$.metadata"),
            (r#"{"name":"a","metadata":{"k":{"x":1,"x":2}}}"#, "$.metadata.k.x"),
            (r#"{"name":"a","idempotency_key":"k"}"#, "$.idempotency_key"),
            (r#"{"name":"a"} {}"#, "$"),
            (r#"["name"]"#, "$"),
            ("", "$"),
        ] {
            let problem = NewAgentRequest::parse(body.as_bytes(), 64).expect_err(body);
            assert_eq!(
                problem.details[0],
                ("path", Detail::Text(path.into())),
                "{body}: {}",
                problem.message
            );
        }
    }
}
