//! Webhooks: creation, reading, changes, rotation of secrets, the end. What is sent to them is in `deliveries.rs`.

pub(crate) mod deliveries;
mod request;

use std::sync::Arc;

use engine::{CreateWebhook, Refusal};
use http::StatusCode;
use ledger::{Denial, Timestamp, Webhook, WebhookChanged, WebhookDisabled, WebhookId, WebhookSecret};
use webhooks::secret_text;

use self::request::NewWebhook;
use super::attached;
use crate::{
    dispatch::Call,
    errors::Problem,
    idempotency::{self, Fingerprint},
    json::write::Writer,
    respond::Reply,
};

/// `POST /v1/webhooks`. The address is judged here by what it says, and by what it resolves to at every delivery.
pub(crate) async fn create(call: &Call<'_>) -> Result<Reply, Problem> {
    let reach = attached(call).webhooks.client().reach();
    let mut request = NewWebhook::parse(call.json(), reach)?;
    let key = idempotency::key(call.headers, request.key.take().map(Into::into))?;
    let key = idempotency::key_use(key, request.fingerprint());
    let NewWebhook { url, events, description, .. } = request;
    let command = CreateWebhook { url, events, description, key, at: call.at };
    let answer = call.engine.create_webhook(call.caller()?, command).await?;
    Ok(with_secret(call, &answer.value).replayed(answer.replayed))
}

/// `GET /v1/webhooks`: newest first; the ledger bounds their number, so there is one page.
pub(crate) fn list(call: &Call<'_>) -> Result<Reply, Problem> {
    let webhooks = call.engine.webhooks(call.caller()?.agent);
    let mut writer = Writer::new(512 * webhooks.len() + 64, call.amounts);
    writer.object(|w| {
        w.name("webhooks").array(|w| {
            webhooks.iter().rev().for_each(|webhook| {
                w.object(|w| {
                    w.name("id").plain(webhook.id);
                    members(w, &Shown::of(webhook), call.at);
                });
            });
        });
        w.name("next_cursor").null();
        w.name("total").integer(webhooks.len());
    });
    Ok(Reply::json(StatusCode::OK, writer))
}

/// `GET /v1/webhooks/{webhook_id}`.
pub(crate) fn read(call: &Call<'_>) -> Result<Reply, Problem> {
    Ok(shown(call, &*found(call)?))
}

/// `PATCH /v1/webhooks/{webhook_id}`. What waits for a webhook that is turned on again is sent.
pub(crate) async fn change(call: &Call<'_>) -> Result<Reply, Problem> {
    let id = id(call)?;
    let webhooks = &attached(call).webhooks;
    let patch = request::patch(call.json(), webhooks.client().reach(), call.at)?;
    let turned_on = patch.enabled == Some(true);
    let webhook = call.engine.patch_webhook(call.caller()?, id, patch).await?;
    if turned_on {
        webhooks.forgive(id);
    }
    Ok(shown(call, &webhook))
}

/// `DELETE /v1/webhooks/{webhook_id}`.
pub(crate) async fn delete(call: &Call<'_>) -> Result<Reply, Problem> {
    call.engine.delete_webhook(call.caller()?, id(call)?, call.at).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /v1/webhooks/{webhook_id}/rotate-secret`.
pub(crate) async fn rotate(call: &Call<'_>) -> Result<Reply, Problem> {
    let id = id(call)?;
    let (overlap_seconds, key) = request::rotation(call.json())?;
    let key = idempotency::key(call.headers, key.map(Into::into))?;
    let fingerprint = Fingerprint::new().id(id.raw()).number(overlap_seconds).finish();
    let key = idempotency::key_use(key, fingerprint);
    let until = call.at.saturating_add_millis(overlap_seconds * 1_000);
    let answer = call.engine.rotate_webhook(call.caller()?, id, until, key, call.at).await?;
    Ok(with_secret(call, &answer.value).replayed(answer.replayed))
}

/// The webhook in the path, if it is the caller's.
fn found(call: &Call<'_>) -> Result<Arc<Webhook>, Problem> {
    let webhook = call.engine.webhook(call.caller()?.agent, id(call)?);
    webhook.ok_or_else(|| Denial::UnknownWebhook.into())
}

/// The id in the path. What is no id at all is no webhook either.
fn id(call: &Call<'_>) -> Result<WebhookId, Problem> {
    let id = call.param("webhook_id").and_then(|text| text.parse().ok());
    id.ok_or_else(|| Refusal::Denied(Denial::UnknownWebhook).into())
}

fn shown(call: &Call<'_>, webhook: &Webhook) -> Reply {
    let mut writer = Writer::new(512, call.amounts);
    writer.object(|w| {
        w.name("id").plain(webhook.id);
        members(w, &Shown::of(webhook), call.at);
    });
    Reply::json(StatusCode::OK, writer)
}

/// An answer that shows the secret, as its record tells it: the same bytes when it is given again.
fn with_secret(call: &Call<'_>, fact: &WebhookChanged) -> Reply {
    let mut writer = Writer::new(640, call.amounts);
    let shown = Shown {
        url: &fact.url,
        events: &fact.events,
        description: fact.description.as_deref(),
        disabled: fact.disabled,
        previous: fact.previous.as_ref(),
        created_at: fact.created_at,
        updated_at: fact.at,
    };
    writer.object(|w| {
        w.name("id").plain(fact.webhook);
        w.name("secret").string(&secret_text(&fact.secret));
        members(w, &shown, fact.at);
    });
    Reply::json(StatusCode::CREATED, writer)
}

/// What anybody but the signer may see of a webhook.
struct Shown<'w> {
    url: &'w str,
    events: &'w [Box<str>],
    description: Option<&'w str>,
    disabled: Option<WebhookDisabled>,
    previous: Option<&'w (WebhookSecret, Timestamp)>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl<'w> Shown<'w> {
    fn of(webhook: &'w Webhook) -> Self {
        Self {
            url: &webhook.url,
            events: &webhook.events,
            description: webhook.description.as_deref(),
            disabled: webhook.disabled,
            previous: webhook.previous.as_ref(),
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
        }
    }
}

fn members(w: &mut Writer, webhook: &Shown<'_>, now: Timestamp) {
    w.name("url").string(webhook.url);
    w.name("events").array(|w| webhook.events.iter().for_each(|event| w.string(event)));
    w.name("description").optional_string(webhook.description);
    w.name("status").plain(if webhook.disabled.is_some() { "disabled" } else { "active" });
    match webhook.disabled {
        Some(reason) => w.name("disabled_reason").plain(reason.as_str()),
        None => w.name("disabled_reason").null(),
    }
    match webhook.previous.filter(|(_, until)| now < *until) {
        Some((_, until)) => w.name("previous_secret_expires_at").timestamp(*until),
        None => w.name("previous_secret_expires_at").null(),
    }
    w.name("created_at").timestamp(webhook.created_at);
    w.name("updated_at").timestamp(webhook.updated_at);
}
