//! Deliveries of a webhook: listing, testing, sending again.

use http::StatusCode;
use ledger::EventId;
use webhooks::{Refused, Row, State};

use super::found;
use crate::{
    cursor,
    dispatch::Call,
    errors::{Kind, Problem},
    handlers::{attached, history::limit, nothing},
    json::write::Writer,
    respond::Reply,
};

/// `GET /v1/webhooks/{webhook_id}/deliveries`: newest first.
pub(crate) async fn list(call: &Call<'_>) -> Result<Reply, Problem> {
    let webhook = found(call)?;
    let status = call.query.parsed("status", "one of: pending, delivered, failed", |text| {
        ["pending", "delivered", "failed"].into_iter().find(|status| *status == text)
    })?;
    let limit = limit(&call.query)?;
    let partition = call.engine.options().partition;
    let before = call.query.parsed("cursor", "the next_cursor of an earlier page", |text| {
        cursor::open(call.sealer, partition, text)
    })?;
    let before = before.map(|cursor| (cursor.lsn, cursor.item));
    let wanted = move |state: State| status.is_none_or(|status| status == state.as_str());
    let page = attached(call).webhooks.deliveries(webhook.id, before, limit, wanted).await;
    let page = page.map_err(refused)?;
    let next =
        page.next.map(|(lsn, item)| cursor::seal(call.sealer, partition, engine::Cursor { lsn, item }));
    let mut writer = Writer::new(320 * page.rows.len() + 64, call.amounts);
    writer.object(|w| {
        w.name("deliveries").array(|w| page.rows.iter().for_each(|row| w.object(|w| members(w, row))));
        w.name("next_cursor").optional_string(next.as_deref());
    });
    Ok(Reply::json(StatusCode::OK, writer))
}

/// `POST /v1/webhooks/{webhook_id}/test`.
pub(crate) async fn test(call: &Call<'_>) -> Result<Reply, Problem> {
    let webhook = found(call)?;
    nothing(call.json(), call.headers)?;
    refuse_disabled(&webhook)?;
    let row = attached(call).webhooks.test(webhook).await.map_err(refused)?;
    Ok(shown(call, StatusCode::CREATED, &row))
}

/// `POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver`: at once, and on failure by the whole schedule.
pub(crate) async fn redeliver(call: &Call<'_>) -> Result<Reply, Problem> {
    let webhook = found(call)?;
    nothing(call.json(), call.headers)?;
    let id = call.param("delivery_id").and_then(|text| text.parse::<EventId>().ok());
    let id = id.ok_or_else(|| refused(Refused::UnknownDelivery))?;
    refuse_disabled(&webhook)?;
    let row = attached(call).webhooks.redeliver(webhook.id, id).await.map_err(refused)?;
    Ok(shown(call, StatusCode::OK, &row))
}

fn refuse_disabled(webhook: &ledger::Webhook) -> Result<(), Problem> {
    if webhook.disabled.is_none() {
        return Ok(());
    }
    Err(Problem::new(Kind::WrongState)
        .saying("The webhook is disabled. Turn it on first: PATCH with status \"active\".")
        .with_text("status", "disabled"))
}

fn refused(refused: Refused) -> Problem {
    match refused {
        Refused::UnknownDelivery => {
            Problem::new(Kind::NotFound).saying("The webhook has no such delivery, or it ended long ago.")
        }
        Refused::Full => Problem::new(Kind::LimitReached)
            .saying("As many deliveries wait for this webhook as may. Wait until it has taken some.")
            .with_text("rule", "too_many_deliveries"),
        Refused::Closed => Problem::new(Kind::Overloaded)
            .saying("The deliveries cannot be read or written now. The node opens them again by itself."),
    }
}

fn shown(call: &Call<'_>, status: StatusCode, row: &Row) -> Reply {
    let mut writer = Writer::new(384, call.amounts);
    writer.object(|w| members(w, row));
    Reply::json(status, writer)
}

fn members(w: &mut Writer, row: &Row) {
    w.name("id").plain(row.id);
    w.name("webhook_id").plain(row.webhook);
    w.name("type").plain(row.place.kind.name());
    w.name("status").plain(row.state.as_str());
    w.name("attempts").integer(row.attempts);
    w.name("created_at").timestamp(row.created_at);
    match row.state {
        State::Pending { due } => w.name("next_attempt_at").timestamp(due),
        State::Delivered { .. } | State::Failed { .. } => w.name("next_attempt_at").null(),
    }
    match row.last {
        None => {
            w.name("last_attempt_at").null();
            w.name("response_status").null();
            w.name("error").null();
        }
        Some(attempt) => {
            w.name("last_attempt_at").timestamp(attempt.at);
            match attempt.result {
                Ok(status) => {
                    w.name("response_status").integer(status);
                    w.name("error").null();
                }
                Err(failure) => {
                    w.name("response_status").null();
                    w.name("error").plain(failure.as_str());
                }
            }
        }
    }
}
