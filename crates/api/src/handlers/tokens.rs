//! Payment tokens: authorisation, redemption, the steps of a call, cancellation, reading; and the keys they are signed
//! with.
//!
//! Signatures are made and verified here, on the task of the connection that asks. What a token may do is decided by
//! its owner in the engine, which also compares what the signature covers with the reservation it keeps.

use engine::{
    Answer, Authorize, Refusal, SettlementReceipt, TokenFilter, TokenRole, TokenView, VerifiedToken,
    VerifyToken,
};
use http::{HeaderName, HeaderValue, StatusCode, header::CACHE_CONTROL};
use ledger::{Amount, Denial, Timestamp, TokenClaims, TokenId, TokenStatus, WalletId};

use super::{
    attached,
    history::{next_cursor, page, range},
    nothing,
    payments::Audience,
    services, wallet_id,
};
use crate::{
    dispatch::Call,
    errors::{Kind, Problem},
    idempotency::{self, Fingerprint},
    json::{
        read::{self, Reader, Slot},
        write::Writer,
    },
    metrics::TokenWork,
    respond::Reply,
    x402::{
        keys::PUBLISHED_MAX_AGE_SECONDS,
        token::{self, Claims, Proof},
    },
};

/// Where a provider finds the token of a call, and where it may put it when it asks about it.
const PAYMENT_TOKEN: HeaderName = HeaderName::from_static("x-payment-token");

/// A service call to pay for.
#[derive(Debug)]
struct AuthorizeRequest {
    payer: WalletId,
    max_amount: Option<Amount>,
    ttl_ms: Option<u64>,
    key: Option<String>,
}

impl AuthorizeRequest {
    const FIELDS: &'static [&'static str] =
        &["from_wallet_id", "max_amount", "ttl_seconds", "idempotency_key"];

    fn parse(body: &[u8], ttl_max_ms: u64) -> Result<Self, Problem> {
        let (mut payer, mut max_amount) = (Slot::Missing, Slot::Missing);
        let (mut ttl, mut key) = (Slot::Missing, Slot::Missing);
        Ok(Reader::document(body, |r| {
            r.object(|r, field| match field {
                "from_wallet_id" => payer.set(r, wallet_id),
                "max_amount" => max_amount.set(r, Reader::amount),
                "ttl_seconds" => ttl.set(r, |r| ttl_ms(r, ttl_max_ms)),
                "idempotency_key" => key.set(r, |r| r.string().map(String::from)),
                other => Err(r.unknown_field(other, Self::FIELDS)),
            })?;
            Ok(Self {
                payer: payer.required(r, "from_wallet_id")?,
                max_amount: max_amount.optional(),
                ttl_ms: ttl.optional(),
                key: key.optional(),
            })
        })?)
    }
}

fn ttl_ms(reader: &mut Reader<'_>, max_ms: u64) -> read::Result<u64> {
    let ms = reader.whole_number()?.checked_mul(1_000);
    let in_range = ms.filter(|ms| (1_000..=max_ms).contains(ms));
    in_range.ok_or_else(|| reader.invalid(format!("Must be a whole number from 1 to {}.", max_ms / 1_000)))
}

/// `POST /v1/services/{service_id}/authorize`: holds the price and answers with the signed token.
pub(crate) async fn authorize(call: &Call<'_>) -> Result<Reply, Problem> {
    let rules = &call.engine.options().rules;
    let request = AuthorizeRequest::parse(call.json(), rules.token_ttl_max_ms)?;
    let service = services::found(call)?.id;
    let mut fingerprint = Fingerprint::new();
    fingerprint.id(service.raw()).number(request.ttl_ms.unwrap_or(rules.token_ttl_default_ms));
    match request.max_amount {
        None => fingerprint.number(0),
        Some(amount) => fingerprint.number(1).amount(amount),
    };
    let key = idempotency::key(call.headers, request.key.map(Into::into))?;
    let command = Authorize {
        payer: request.payer,
        service,
        max_amount: request.max_amount,
        ttl_ms: request.ttl_ms,
        key: idempotency::key_use(key, fingerprint.finish()),
    };
    let answer = call.engine.authorize(call.caller()?, command).await.map_err(refused)?;
    let view = &answer.value;
    let text = token::seal(&attached(call).token_keys(), &claims(view));
    attached(call).remembered.insert(&text);
    call.gateway.metrics.token(TokenWork::Signed);
    let mut writer = Writer::new(900, call.amounts);
    writer.object(|w| {
        w.name("token").plain(text);
        w.name("token_id").plain(view.id);
        w.name("expires_at").timestamp(view.expires_at);
        w.name("service_id").plain(view.service);
        w.name("reserved_amount").amount(view.amount);
        w.name("currency").plain(view.currency);
        w.name("from_wallet_id").plain(view.payer);
        w.name("status").plain(view.status.as_str());
        w.name("created_at").timestamp(view.reserved_at);
    });
    Ok(Reply::json(StatusCode::CREATED, writer).replayed(answer.replayed))
}

/// A refusal in the words of this request, which names one wallet and no amount.
fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Denied(Denial::SameWallet) => Problem::invalid(
            "$.from_wallet_id",
            "This wallet is the one that the service is paid into. Pay from another wallet.",
        ),
        Refusal::Denied(Denial::CurrencyMismatch { wallet, requested }) => Problem::invalid(
            "$.from_wallet_id",
            format!(
                "The service is paid in {requested}, but the wallet holds {wallet}. Pay from one in {requested}."
            ),
        ),
        Refusal::Denied(poor @ Denial::InsufficientBalance { .. }) => Problem::from(poor)
            .saying("The wallet does not hold the price of the call. Nothing was held.")
            .advising(&[
                "Pay from another wallet, or have this one funded, then authorise again.",
                "Look for a cheaper service with GET /v1/services?sort=price.",
            ]),
        other => other.into(),
    }
}

/// A refusal to somebody who may read the token and still has no part in this step.
fn not_ones_own(refusal: Refusal, whose: &'static str) -> Problem {
    match refusal {
        Refusal::Denied(denial @ Denial::UnknownToken) => Problem::from(denial).saying(whose),
        other => other.into(),
    }
}

/// What the token's text says. Follows from what never changes about a reservation, so that an answer that is given
/// again carries the same text.
fn claims(view: &TokenView) -> Claims {
    Claims {
        token: view.id,
        service: view.service,
        payer: view.payer_agent,
        amount: view.amount,
        currency: view.currency,
        authorised_seconds: Claims::second_of(view.reserved_at),
        expires_seconds: Claims::second_after(view.expires_at),
    }
}

/// A token that a provider was given.
#[derive(Debug)]
struct VerifyRequest {
    token: Option<String>,
    key: Option<String>,
}

impl VerifyRequest {
    const FIELDS: &'static [&'static str] = &["payment_token", "idempotency_key"];

    fn parse(body: &[u8]) -> Result<Self, Problem> {
        let (mut token, mut key) = (Slot::Missing, Slot::Missing);
        Ok(Reader::document(body, |r| {
            r.object(|r, field| match field {
                "payment_token" => token.set(r, |r| r.string().map(String::from)),
                "idempotency_key" => key.set(r, |r| r.string().map(String::from)),
                other => Err(r.unknown_field(other, Self::FIELDS)),
            })?;
            Ok(Self { token: token.optional(), key: key.optional() })
        })?)
    }

    /// The token's text, from the body or the header.
    fn token<'r>(&'r self, headers: &'r http::HeaderMap) -> Result<&'r str, Problem> {
        let mut lines = headers.get_all(PAYMENT_TOKEN).iter();
        let header = lines.next();
        if lines.next().is_some() {
            return Err(Problem::invalid("X-Payment-Token", "The header is there twice. Send it once."));
        }
        // What is not ASCII is no token, and is answered like any other text that is none.
        let header = header.map(|value| value.to_str().unwrap_or("").trim());
        match (header, self.token.as_deref()) {
            (None, None) => Err(Problem::invalid(
                "$.payment_token",
                "Send the token that the consumer gave you, as payment_token or in the X-Payment-Token header.",
            )),
            (Some(header), Some(field)) if header != field => Err(Problem::invalid(
                "$.payment_token",
                "The body and the X-Payment-Token header hold different tokens. Send one of them.",
            )),
            (header, field) => Ok(field.or(header).unwrap_or_default()),
        }
    }
}

/// `POST /v1/x402/verify`: redeems a token, once.
pub(crate) async fn verify(call: &Call<'_>) -> Result<Reply, Problem> {
    let request = VerifyRequest::parse(call.json())?;
    let claims = opened(call, request.token(call.headers)?)?;
    let key = idempotency::key(call.headers, request.key.as_deref().map(Into::into))?;
    let fingerprint = Fingerprint::new().id(claims.token.raw()).finish();
    let command = VerifyToken {
        token: claims.token,
        expects: Some(TokenClaims {
            service: claims.service,
            payer_agent: claims.payer,
            amount: claims.amount,
            currency: claims.currency,
        }),
        key: idempotency::key_use(key, fingerprint),
    };
    let answer = call.engine.verify_token(call.caller()?, command).await;
    let answer = answer.map_err(|refusal| {
        not_ones_own(refusal, "The token is for a service of another agent, and only that agent redeems it.")
    })?;
    let VerifiedToken { token, service } = &answer.value;
    let mut writer = Writer::new(1_024, call.amounts);
    writer.object(|w| {
        w.name("valid").boolean(true);
        w.name("token_id").plain(token.id);
        w.name("status").plain(token.status.as_str());
        w.name("service").object(|w| {
            services::identity(w, service);
            w.name("metadata").raw(service.terms.metadata.as_deref());
        });
        w.name("amount").amount(token.amount);
        w.name("currency").plain(token.currency);
        w.name("payer_agent_id").plain(token.payer_agent);
        w.name("expires_at").timestamp(token.expires_at);
        optional_time(w, "verified_at", token.verified_at);
    });
    Ok(Reply::json(StatusCode::OK, writer).replayed(answer.replayed))
}

/// What the token says, if it is one.
fn opened(call: &Call<'_>, text: &str) -> Result<Claims, Problem> {
    let attached = attached(call);
    let opened = token::open(&attached.token_keys(), &attached.remembered, text);
    call.gateway.metrics.token(match opened {
        Ok((_, Proof::Verified)) => TokenWork::Verified,
        Ok((_, Proof::Remembered)) => TokenWork::Remembered,
        Err(_) => TokenWork::Rejected,
    });
    let refused =
        |rejected: token::Rejected| Problem::new(Kind::TokenInvalid).with_text("reason", rejected.as_str());
    opened.map(|(claims, _)| claims).map_err(refused)
}

/// A provider's step of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Started,
    Accepted,
    Completed,
}

/// `POST /v1/x402/tokens/{token_id}/call-started`, `…/call-accepted`, `…/call-completed`. A step that is reported again
/// is answered again.
pub(crate) async fn step(call: &Call<'_>, step: Step) -> Result<Reply, Problem> {
    let id = token_id(call)?;
    nothing(call.json(), call.headers)?;
    let caller = call.caller()?;
    let answer = match step {
        Step::Started => call.engine.start_call(caller, id).await,
        Step::Accepted => call.engine.accept_call(caller, id).await,
        Step::Completed => call.engine.complete_call(caller, id).await,
    };
    let answer = answer.map_err(|refusal| {
        not_ones_own(refusal, "There is no such payment token for a service of this agent: its provider alone reports the call.")
    })?;
    Ok(answered(call, answer))
}

/// `DELETE /v1/x402/tokens/{token_id}`: the consumer takes back what no provider has redeemed.
pub(crate) async fn cancel(call: &Call<'_>) -> Result<Reply, Problem> {
    let answer = call.engine.cancel_token(call.caller()?, token_id(call)?).await.map_err(|refusal| {
        not_ones_own(
            refusal,
            "There is no such payment token that this agent paid for: its consumer alone cancels it.",
        )
    })?;
    Ok(answered(call, answer))
}

fn answered(call: &Call<'_>, answer: Answer<TokenView>) -> Reply {
    Reply::json(StatusCode::OK, shown(call, &answer.value)).replayed(answer.replayed)
}

/// `GET /v1/x402/tokens/{token_id}`, for its consumer and its provider.
pub(crate) async fn read(call: &Call<'_>) -> Result<Reply, Problem> {
    let view = call.engine.token(call.caller()?.agent, token_id(call)?).await?;
    Ok(Reply::json(StatusCode::OK, shown(call, &view)))
}

/// `GET /v1/x402/tokens`: newest first.
pub(crate) async fn list(call: &Call<'_>) -> Result<Reply, Problem> {
    let query = &call.query;
    let role = query.parsed("role", "consumer or provider", |text| match text {
        "consumer" => Some(TokenRole::Consumer),
        "provider" => Some(TokenRole::Provider),
        _ => None,
    })?;
    let filter = TokenFilter {
        role: role.unwrap_or(TokenRole::Consumer),
        status: query.parsed("status", "a token state, such as settled", TokenStatus::from_name)?,
        range: range(query)?,
    };
    let found = call.engine.tokens(call.caller()?.agent, filter, page(call, query)?).await?;
    let mut writer = Writer::new(640 * found.items.len() + 96, call.amounts);
    writer.object(|w| {
        w.name("tokens").array(|w| found.items.iter().for_each(|view| w.object(|w| members(w, view))));
        w.name("next_cursor").optional_string(next_cursor(call, &found).as_deref());
    });
    Ok(Reply::json(StatusCode::OK, writer))
}

/// The token in the path. What is no id at all is no token either.
fn token_id(call: &Call<'_>) -> Result<TokenId, Problem> {
    let id = call.param("token_id").and_then(|text| text.parse().ok());
    id.ok_or_else(|| Refusal::Denied(Denial::UnknownToken).into())
}

fn shown(call: &Call<'_>, view: &TokenView) -> Writer {
    let mut writer = Writer::new(768, call.amounts);
    writer.object(|w| members(w, view));
    writer
}

/// Members of a token, without its text: that is shown once, to the consumer.
pub(crate) fn members(w: &mut Writer, view: &TokenView) {
    w.name("token_id").plain(view.id);
    w.name("status").plain(view.status.as_str());
    w.name("service_id").plain(view.service);
    w.name("payer_agent_id").plain(view.payer_agent);
    w.name("provider_agent_id").plain(view.provider);
    w.name("from_wallet_id").plain(view.payer);
    w.name("to_wallet_id").plain(view.payee);
    w.name("amount").amount(view.amount);
    w.name("provider_fee").amount(view.fee);
    w.name("currency").plain(view.currency);
    w.name("created_at").timestamp(view.reserved_at);
    w.name("expires_at").timestamp(view.expires_at);
    optional_time(w, "verified_at", view.verified_at);
    optional_time(w, "started_at", view.started_at);
    optional_time(w, "accepted_at", view.accepted_at);
    optional_time(w, "ended_at", view.ended_at);
    optional_time(w, "deadline", view.deadline);
    w.name("sla");
    services::sla(w, view.sla);
    match view.payment_id {
        Some(payment) => w.name("payment_id").plain(payment),
        None => w.name("payment_id").null(),
    }
}

fn optional_time(w: &mut Writer, name: &'static str, at: Option<Timestamp>) {
    match at {
        Some(at) => w.name(name).timestamp(at),
        None => w.name(name).null(),
    }
}

/// Members of a settled call as a payment. The consumer paid exactly the price; what the platform takes is the
/// provider's matter.
pub(crate) fn settlement(
    w: &mut Writer,
    receipt: &SettlementReceipt,
    status: &'static str,
    audience: Audience,
) {
    w.name("id").plain(receipt.id);
    w.name("amount").amount(receipt.amount);
    w.name("fee").amount(Amount::ZERO);
    w.name("total_debited").amount(receipt.amount);
    w.name("currency").plain(receipt.currency);
    w.name("rail").plain("internal");
    w.name("status").plain(status);
    w.name("from_wallet_id").plain(receipt.payer);
    w.name("to_wallet_id").plain(receipt.payee);
    w.name("description").null();
    w.name("metadata").null();
    w.name("created_at").timestamp(receipt.at);
    w.name("token_id").plain(receipt.token);
    w.name("service_id").plain(receipt.service);
    if audience == Audience::Payee {
        w.name("provider_fee").amount(receipt.fee);
    }
}

/// `GET /.well-known/jwks.json`: the public halves of the keys that somebody may need now. For anybody, and for caches.
pub(crate) fn published_keys(call: &Call<'_>) -> Reply {
    let keys = attached(call).token_keys();
    let mut writer = Writer::new(256, call.amounts);
    writer.object(|w| {
        w.name("keys").array(|w| {
            keys.published(Claims::second_of(call.at)).for_each(|key| {
                w.object(|w| {
                    w.name("kty").plain("OKP");
                    w.name("crv").plain("Ed25519");
                    w.name("use").plain("sig");
                    w.name("alg").plain("EdDSA");
                    w.name("kid").plain(&key.id);
                    w.name("x").plain(key.public());
                });
            });
        });
    });
    let mut reply = Reply::json(StatusCode::OK, writer);
    let lifetime = format!("public, max-age={PUBLISHED_MAX_AGE_SECONDS}");
    reply.extra.push((CACHE_CONTROL, HeaderValue::try_from(lifetime).expect("a header value")));
    reply
}

#[cfg(test)]
mod tests;
