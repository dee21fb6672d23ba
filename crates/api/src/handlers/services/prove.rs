//! A provider proves that a service's URL is its own, without an operator: it publishes a line under that host, and the
//! node looks for it there.

use http::StatusCode;
use ledger::Denial;
use webhooks::{Challenge, Proof};

use super::found;
use crate::{
    dispatch::Call,
    errors::{Kind, Problem},
    handlers::{attached, nothing},
    json::write::Writer,
    respond::Reply,
};

/// `POST /v1/services/{service_id}/verify`: one call for both halves. It always tells the challenge, and verifies the
/// service when the line is found. The challenge is the same at every call.
pub(crate) async fn prove(call: &Call<'_>) -> Result<Reply, Problem> {
    let service = found(call)?;
    let caller = call.caller()?;
    if service.provider != caller.agent {
        return Err(Denial::UnknownService.into());
    }
    nothing(call.json(), call.headers)?;
    let Some(endpoint) = service.terms.endpoint_url.as_deref() else {
        return Err(Problem::new(Kind::WrongState)
            .saying(
                "The service has no endpoint_url, so there is no host to look at. Give it one with PATCH.",
            )
            .with_text("status", "no_endpoint_url"));
    };
    let webhooks = &attached(call).webhooks;
    let challenge = webhooks.challenge(service.id, service.provider, endpoint).map_err(|advice| {
        Problem::new(Kind::WrongState)
            .saying(format!("The service's endpoint_url cannot be looked at. {advice}"))
            .with_text("status", "endpoint_url_not_public")
    })?;
    if service.verified {
        return Ok(answer(call, true, &challenge, None));
    }
    let Some(proof) = webhooks.look_for(caller.agent, &challenge).await else {
        return Err(Problem::new(Kind::TooManyInFlight)
            .saying("A look at this agent's host is under way. Ask again when it has ended."));
    };
    let verified = match proof {
        Proof::Found => call.engine.verify_service_at(service.id, endpoint, call.at).await?.verified,
        Proof::Missing | Proof::Status(_) | Proof::Unreachable(_) => false,
    };
    Ok(answer(call, verified, &challenge, Some(proof)))
}

fn answer(call: &Call<'_>, verified: bool, challenge: &Challenge, proof: Option<Proof>) -> Reply {
    let mut writer = Writer::new(512, call.amounts);
    writer.object(|w| {
        w.name("verified").boolean(verified);
        w.name("challenge").object(|w| {
            w.name("url").string(&challenge.url);
            w.name("line").string(&challenge.line);
        });
        w.name("found").plain(match proof {
            // It was verified before, by whatever means.
            None | Some(Proof::Found) => "line",
            Some(Proof::Missing) => "no_line",
            Some(Proof::Status(_)) => "http_status",
            Some(Proof::Unreachable(failure)) => failure.as_str(),
        });
        if let Some(Proof::Status(status)) = proof {
            w.name("http_status").integer(status);
        }
    });
    Reply::json(StatusCode::OK, writer)
}
