//! Services: registration, browsing, changes, verification, and what a protected URL costs.

pub(crate) mod prove;
mod request;

use engine::{Refusal, ServiceView};
use http::StatusCode;
use ledger::{Denial, Sla};
use std::sync::Arc;
use tokio::time::Instant;

use self::request::NewService;
use super::{
    history::{limit, range},
    payments::boolean,
};
use crate::{
    dispatch::Call,
    errors::{Kind, Problem},
    idempotency,
    json::write::Writer,
    respond::{Content, Reply},
    x402::{
        catalogue::{self, Found, Order, Question},
        endpoint,
    },
};

/// Characters of the words a list is searched for.
const WORDS_CHARS_MAX: usize = 100;

/// `POST /v1/services`.
pub(crate) async fn create(call: &Call<'_>) -> Result<Reply, Problem> {
    let mut request = NewService::parse(call.json(), call.gateway.settings.metadata_bytes_max)?;
    let key = idempotency::key(call.headers, request.key.take().map(Into::into))?;
    let default_currency = call.engine.options().default_currency;
    let key = idempotency::key_use(key, request.fingerprint(default_currency));
    let command = request.command(default_currency, key, call.at);
    let answer = call.engine.register_service(call.caller()?, command).await.map_err(refused)?;
    Ok(Reply::json(StatusCode::CREATED, service(call, &answer.value)).replayed(answer.replayed))
}

/// A refusal in the words of this request: its amount is the price, and its wallet is to be paid into.
fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Denied(Denial::AmountNotPositive) => {
            Problem::invalid("$.price_per_call", "The price must be greater than zero.")
        }
        Refusal::Denied(Denial::AmountTooLarge) => {
            Problem::invalid("$.price_per_call", "The price is larger than can be booked. Ask less.")
        }
        Refusal::Denied(Denial::CurrencyMismatch { wallet, requested }) => Problem::invalid(
            "$.wallet_id",
            format!(
                "The service is paid in {requested}, but the wallet holds {wallet}. Name one in {requested}."
            ),
        ),
        other => other.into(),
    }
}

/// `GET /v1/services`: active ones, from a copy that is at most five seconds old.
pub(crate) fn list(call: &Call<'_>) -> Result<Reply, Problem> {
    let question = question(call)?;
    let engine = call.engine;
    let copy = call.gateway.catalogue.copy(Instant::now(), || engine.services());
    let offset = question.offset;
    let body = copy.page(question, call.amounts, |found| page(call, found, offset).finish());
    let body = body.ok_or_else(|| {
        Problem::new(Kind::Overloaded)
            .saying("Too many different questions are asked of the list at once.")
            .advising(&[
                "Ask one that others ask too, such as a category alone, or read a service by its id or slug.",
                "Wait a few seconds, then send the same request again.",
            ])
    })?;
    Ok(Reply { content: Content::Json, body, ..Reply::empty(StatusCode::OK) })
}

fn question(call: &Call<'_>) -> Result<Question, Problem> {
    let query = &call.query;
    let words = query.parsed("q", "1 to 100 characters", |text| {
        (1..=WORDS_CHARS_MAX).contains(&text.chars().count()).then(|| text.to_lowercase())
    })?;
    let offset = query.parsed("offset", "a whole number", |text| text.parse().ok())?;
    let cursor = query.parsed("cursor", "the next_cursor of an earlier page", catalogue::offset_of)?;
    if offset.is_some() && cursor.is_some() {
        return Err(Problem::invalid("?cursor", "Send cursor or offset, not both."));
    }
    let range = range(query)?;
    Ok(Question {
        order: query.parsed("sort", "one of: trust, price, new", Order::parse)?.unwrap_or(Order::New),
        category: query.get("category").map(str::to_owned),
        verified_only: query.parsed("verified", "true or false", boolean)?.unwrap_or(false),
        provider: query.parsed("provider", "an agent id", |text| text.parse().ok())?,
        created_after: range.after,
        created_before: range.before,
        words,
        limit: limit(query)?,
        offset: cursor.or(offset).unwrap_or(0),
    })
}

fn page(call: &Call<'_>, found: &Found, offset: usize) -> Writer {
    let end = offset.saturating_add(found.services.len());
    let next = (end < found.total).then(|| catalogue::cursor_of(end));
    let mut writer = Writer::new(512 * found.services.len() + 64, call.amounts);
    writer.object(|w| {
        w.name("services").array(|w| {
            found.services.iter().for_each(|service| w.object(|w| summary(w, service)));
        });
        w.name("next_cursor").optional_string(next.as_deref());
        w.name("total").integer(found.total);
    });
    writer
}

/// The service in the path, by id or slug, whoever provides it.
pub(super) fn found(call: &Call<'_>) -> Result<Arc<ServiceView>, Problem> {
    let text = call.param("service_id").unwrap_or_default();
    let found = match text.parse() {
        Ok(id) => call.engine.service(id),
        Err(_) => call.engine.service_by_slug(text),
    };
    found.ok_or_else(|| Denial::UnknownService.into())
}

/// `GET /v1/services/{service_id}`: also an inactive one, because tokens of it may still be open.
pub(crate) fn read(call: &Call<'_>) -> Result<Reply, Problem> {
    Ok(Reply::json(StatusCode::OK, service(call, &*found(call)?)))
}

/// `PATCH /v1/services/{service_id}`.
pub(crate) async fn change(call: &Call<'_>) -> Result<Reply, Problem> {
    let id = found(call)?.id;
    let patch = request::patch(call.json(), call.gateway.settings.metadata_bytes_max, call.at)?;
    let view = call.engine.patch_service(call.caller()?, id, patch).await.map_err(refused)?;
    Ok(Reply::json(StatusCode::OK, service(call, &view)))
}

/// `DELETE /v1/services/{service_id}`: no new authorisations; open tokens live on.
pub(crate) async fn deactivate(call: &Call<'_>) -> Result<Reply, Problem> {
    let id = found(call)?.id;
    call.engine.deactivate_service(call.caller()?, id, call.at).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /v1/ops/services/{service_id}/verify`: by an operator who has looked at the provider, or has been deceived by it.
pub(crate) async fn verify(call: &Call<'_>) -> Result<Reply, Problem> {
    let id = found(call)?.id;
    let verified = request::judgement(call.json(), call.headers)?;
    let view = call.engine.verify_service(id, verified, call.at).await?;
    Ok(Reply::json(StatusCode::OK, service(call, &view)))
}

/// `GET /v1/x402/requirements?url=…`: what a call of that URL costs and how it is paid, one entry per service that is
/// registered for it. Live, not from the list's copy, because somebody is about to pay.
pub(crate) fn requirements(call: &Call<'_>) -> Result<Reply, Problem> {
    let sent = call.query.get("url").ok_or_else(|| Problem::invalid("?url", "The parameter is required."))?;
    let url = endpoint::canonical(sent).map_err(|advice| Problem::invalid("?url", advice))?;
    let (mut services, mut total) = call.engine.services_at(&url, REQUIREMENTS_MAX);
    // Registered without a query means registered for every query.
    let endpoint = endpoint::without_query(&url);
    if endpoint.len() < url.len() {
        let (others, count) = call.engine.services_at(endpoint, REQUIREMENTS_MAX);
        services.extend(others);
        total += count;
        services.sort_by_key(|service| std::cmp::Reverse((service.verified, service.trust_score)));
        services.truncate(REQUIREMENTS_MAX);
    }
    let mut writer = Writer::new(640 * services.len() + 96, call.amounts);
    writer.object(|w| {
        w.name("url").string(&url);
        w.name("payment_required").boolean(total > 0);
        w.name("services")
            .array(|w| services.iter().for_each(|service| w.object(|w| requirement(w, service))));
        w.name("total").integer(total);
    });
    Ok(Reply::json(StatusCode::OK, writer))
}

/// Services shown for one URL. Anybody can register any URL, so somebody will register many.
const REQUIREMENTS_MAX: usize = 100;

fn requirement(w: &mut Writer, service: &ServiceView) {
    w.name("service_id").plain(service.id);
    w.name("slug").plain(&service.slug);
    w.name("name").string(&service.terms.name);
    w.name("provider_agent_id").plain(service.provider);
    w.name("price_per_call").amount(service.terms.price);
    w.name("currency").plain(service.terms.currency);
    w.name("trust_score").integer(service.trust_score);
    w.name("verified").boolean(service.verified);
    if !service.verified {
        w.name("warning").string(
            "Unverified: nobody has checked that this provider runs this URL. Anybody can register any URL.",
        );
    }
    w.name("sla");
    sla(w, service.terms.sla);
    w.name("authorize").object(|w| {
        w.name("method").plain("POST");
        w.name("path").plain(format_args!("/v1/services/{}/authorize", service.id));
    });
    w.name("pay_with_header").plain("X-Payment-Token");
}

fn service(call: &Call<'_>, view: &ServiceView) -> Writer {
    let mut writer = Writer::new(768, call.amounts);
    writer.object(|w| members(w, view));
    writer
}

/// Members of a service wherever one is shown whole.
pub(crate) fn members(w: &mut Writer, view: &ServiceView) {
    summary(w, view);
    w.name("wallet_id").plain(view.wallet);
    w.name("metadata").raw(view.terms.metadata.as_deref());
    w.name("settled_calls").integer(view.settled_calls);
    w.name("breached_calls").integer(view.breached_calls);
}

/// Members of a service in a list.
fn summary(w: &mut Writer, view: &ServiceView) {
    identity(w, view);
    w.name("trust_score").integer(view.trust_score);
    w.name("verified").boolean(view.verified);
    w.name("status").plain(view.status.as_str());
    w.name("created_at").timestamp(view.created_at);
    w.name("updated_at").timestamp(view.updated_at);
}

/// What a provider says about its service.
pub(super) fn identity(w: &mut Writer, view: &ServiceView) {
    let terms = &view.terms;
    w.name("id").plain(view.id);
    w.name("name").string(&terms.name);
    w.name("slug").plain(&view.slug);
    w.name("description").optional_string(terms.description.as_deref());
    w.name("price_per_call").amount(terms.price);
    w.name("currency").plain(terms.currency);
    w.name("category").optional_string(terms.category.as_deref());
    w.name("endpoint_url").optional_string(terms.endpoint_url.as_deref());
    w.name("sla");
    sla(w, terms.sla);
    w.name("provider_agent_id").plain(view.provider);
}

/// The terms of a service's calls, in milliseconds, and in seconds where they are whole.
pub(super) fn sla(w: &mut Writer, sla: Option<Sla>) {
    let Some(sla) = sla else { return w.null() };
    w.object(|w| {
        w.name("max_latency_ms").integer(sla.window_ms);
        if sla.window_ms.is_multiple_of(1_000) {
            w.name("window_seconds").integer(sla.window_ms / 1_000);
        }
        if let Some(accept_within_ms) = sla.accept_within_ms {
            w.name("accept_within_seconds").integer(accept_within_ms / 1_000);
        }
    });
}
