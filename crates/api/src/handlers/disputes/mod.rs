//! Disputes: opened and supported by the parties of a payment, taken up and resolved by operators.

mod request;

use engine::{
    AddEvidence, Answer, DisputeDetails, DisputeFilter, DisputeView, EvidenceView, OpenDispute, Refusal,
    Resolution,
};
use http::StatusCode;
use ledger::{Denial, DisputeId, DisputeMove, DisputeStatus, Party};

use self::request::{EvidenceRequest, OpenRequest, ResolveRequest, note};
use super::{
    history::{next_cursor, page, range},
    nothing,
};
use crate::{
    dispatch::Call,
    errors::{Kind, Problem},
    idempotency,
    json::write::Writer,
    respond::Reply,
};

/// Bytes of an answer for each byte of evidence in it: most text is written as it is, some as escapes.
const ANSWER_PER_EVIDENCE: u64 = 2;

/// `POST /v1/disputes`.
pub(crate) async fn open(call: &Call<'_>) -> Result<Reply, Problem> {
    let mut request = OpenRequest::parse(call.json())?;
    let key = idempotency::key(call.headers, request.key.take().map(Into::into))?;
    let key = idempotency::key_use(key, request.fingerprint());
    let OpenRequest { payment, reason, description, .. } = request;
    let command = OpenDispute { payment, reason, description, key, at: call.at };
    let answer = call.engine.open_dispute(call.asker()?, command).await?;
    Ok(shown(call, StatusCode::CREATED, &answer))
}

/// `POST /v1/disputes/{dispute_id}/evidence`.
pub(crate) async fn add_evidence(call: &Call<'_>) -> Result<Reply, Problem> {
    let dispute = dispute_id(call)?;
    let mut request = EvidenceRequest::parse(call.json())?;
    let key = idempotency::key(call.headers, request.key.take().map(Into::into))?;
    let key = idempotency::key_use(key, request.fingerprint());
    let EvidenceRequest { category, content, .. } = request;
    let command = AddEvidence { dispute, category, content, key, at: call.at };
    let answer = call.engine.add_evidence(call.asker()?, command).await?;
    let mut writer = Writer::new(384, call.amounts);
    writer.object(|w| {
        w.name("dispute_id").plain(answer.value.dispute);
        w.name("dispute_status").plain(answer.value.status.as_str());
        evidence_summary(w, &answer.value);
    });
    Ok(Reply::json(StatusCode::CREATED, writer).replayed(answer.replayed))
}

/// `POST /v1/disputes/{dispute_id}/withdraw`.
pub(crate) async fn withdraw(call: &Call<'_>) -> Result<Reply, Problem> {
    let dispute = dispute_id(call)?;
    nothing(call.json(), call.headers)?;
    go_on(call, dispute, DisputeMove::Withdraw, None).await
}

/// `POST /v1/ops/disputes/{dispute_id}/review`.
pub(crate) async fn review(call: &Call<'_>) -> Result<Reply, Problem> {
    let dispute = dispute_id(call)?;
    let note = note(call.json(), call.headers)?;
    go_on(call, dispute, DisputeMove::Review, note).await
}

/// `POST /v1/ops/disputes/{dispute_id}/resolve`.
pub(crate) async fn resolve(call: &Call<'_>) -> Result<Reply, Problem> {
    let dispute = dispute_id(call)?;
    let ResolveRequest { outcome, note } = ResolveRequest::parse(call.json(), call.headers)?;
    go_on(call, dispute, outcome, note).await
}

async fn go_on(
    call: &Call<'_>,
    dispute: DisputeId,
    step: DisputeMove,
    note: Option<Box<str>>,
) -> Result<Reply, Problem> {
    let answer = call.engine.move_dispute(call.asker()?, dispute, step, note, call.at).await?;
    Ok(shown(call, StatusCode::OK, &answer))
}

/// `GET /v1/disputes/{dispute_id}`, with evidence and history.
pub(crate) async fn read(call: &Call<'_>) -> Result<Reply, Problem> {
    let dispute = dispute_id(call)?;
    let asker = call.asker()?;
    // What is read at once is bounded like what is received at once, and in the same pool.
    let bytes = u64::from(call.engine.evidence_bytes(asker, dispute).await?) * ANSWER_PER_EVIDENCE;
    let kibibytes = u32::try_from(bytes.div_ceil(1_024)).unwrap_or(u32::MAX);
    let room = call.gateway.batch_kibibytes.clone().try_acquire_many_owned(kibibytes);
    let _room = room.map_err(|_| Problem::new(Kind::Overloaded))?;
    let found = call.engine.dispute(asker, dispute).await?;
    let capacity = usize::try_from(bytes).unwrap_or(0) + 1_024;
    let mut writer = Writer::new(capacity, call.amounts);
    writer.object(|w| details(w, &found));
    Ok(Reply::json(StatusCode::OK, writer))
}

/// `GET /v1/disputes` for the caller's agent, and `GET /v1/ops/disputes` for all: newest first.
pub(crate) async fn list(call: &Call<'_>) -> Result<Reply, Problem> {
    let query = &call.query;
    let filter = DisputeFilter {
        status: query.parsed("status", "a dispute state, such as open", DisputeStatus::from_name)?,
        role: query.parsed("role", "payer or payee", |text| match text {
            "payer" => Some(Party::Payer),
            "payee" => Some(Party::Payee),
            _ => None,
        })?,
        range: range(query)?,
    };
    let found = call.engine.disputes(call.asker()?, filter, page(call, query)?).await?;
    let mut writer = Writer::new(512 * found.items.len() + 96, call.amounts);
    writer.object(|w| {
        w.name("disputes").array(|w| found.items.iter().for_each(|view| w.object(|w| members(w, view))));
        w.name("next_cursor").optional_string(next_cursor(call, &found).as_deref());
    });
    Ok(Reply::json(StatusCode::OK, writer))
}

/// The dispute in the path. What is no id at all is no dispute either.
fn dispute_id(call: &Call<'_>) -> Result<DisputeId, Problem> {
    let id = call.param("dispute_id").and_then(|text| text.parse().ok());
    id.ok_or_else(|| Refusal::Denied(Denial::UnknownDispute).into())
}

fn shown(call: &Call<'_>, status: StatusCode, answer: &Answer<DisputeView>) -> Reply {
    let mut writer = Writer::new(640, call.amounts);
    writer.object(|w| {
        members(w, &answer.value);
        if let Some(resolution) = &answer.value.resolution {
            w.name("resolution").object(|w| move_members(w, resolution));
        }
    });
    Reply::json(status, writer).replayed(answer.replayed)
}

/// Members of a dispute, without its evidence.
pub(crate) fn members(w: &mut Writer, view: &DisputeView) {
    w.name("id").plain(view.id);
    w.name("status").plain(view.status.as_str());
    w.name("payment_id").plain(view.payment);
    w.name("reason").string(&view.reason);
    w.name("description").optional_string(view.description.as_deref());
    w.name("opened_by").plain(view.by.as_str());
    w.name("payer_agent_id").plain(view.payer_agent);
    match view.payee_agent {
        Some(agent) => w.name("payee_agent_id").plain(agent),
        None => w.name("payee_agent_id").null(),
    }
    w.name("amount").amount(view.amount);
    w.name("currency").plain(view.currency);
    w.name("disputed").amount(view.set_aside);
    w.name("evidence_count").integer(view.evidence);
    w.name("created_at").timestamp(view.created_at);
}

fn details(w: &mut Writer, found: &DisputeDetails) {
    members(w, &found.dispute);
    w.name("evidence").array(|w| {
        for piece in &found.evidence {
            w.object(|w| {
                evidence_summary(w, piece);
                w.name("content").string(&piece.content);
            });
        }
    });
    w.name("history").array(|w| {
        w.object(|w| {
            w.name("status").plain(DisputeStatus::Open.as_str());
            w.name("by").plain(found.dispute.by.as_str());
            w.name("note").null();
            w.name("refunded").amount(ledger::Amount::ZERO);
            w.name("at").timestamp(found.dispute.created_at);
        });
        found.moves.iter().for_each(|step| w.object(|w| move_members(w, step)));
    });
}

/// Members of a piece of evidence, without its content.
pub(crate) fn evidence_summary(w: &mut Writer, piece: &EvidenceView) {
    w.name("number").integer(piece.number);
    w.name("type").string(&piece.category);
    w.name("bytes").integer(piece.content.len());
    w.name("submitted_by").plain(piece.by.as_str());
    w.name("created_at").timestamp(piece.at);
}

pub(crate) fn move_members(w: &mut Writer, step: &Resolution) {
    w.name("status").plain(step.to.as_str());
    w.name("by").plain(step.by.as_str());
    w.name("note").optional_string(step.note.as_deref());
    w.name("refunded").amount(step.returned);
    w.name("at").timestamp(step.at);
}

#[cfg(test)]
mod tests {
    use ledger::{AgentId, Amount, Currency, PaymentId, Timestamp};

    use super::*;
    use crate::json::write::AmountStyle;

    #[test]
    fn an_answer_has_the_contracts_members_in_order() {
        let view = DisputeView {
            id: DisputeId::from_raw(1),
            payment: PaymentId::from_raw(2),
            status: DisputeStatus::Open,
            reason: "service_not_delivered".into(),
            description: Some("Provider returned 503 after token was consumed".into()),
            by: Party::Payer,
            payer_agent: AgentId::from_raw(3),
            payee_agent: None,
            amount: Amount::parse("0.005").expect("an amount"),
            currency: Currency::USD,
            set_aside: Amount::ZERO,
            evidence: 0,
            created_at: Timestamp::from_millis(1_778_241_600_000),
            resolution: None,
        };
        let mut writer = Writer::new(64, AmountStyle::Number);
        writer.object(|w| members(w, &view));
        let expected = concat!(
            r#"{"id":"disp_00000000000000000000000001","status":"open","payment_id":"tx_00000000000000000000000002","#,
            r#""reason":"service_not_delivered","description":"Provider returned 503 after token was consumed","#,
            r#""opened_by":"payer","payer_agent_id":"agent_00000000000000000000000003","payee_agent_id":null,"#,
            r#""amount":0.005,"currency":"USD","disputed":0,"evidence_count":0,"created_at":"2026-05-08T12:00:00.000Z"}"#
        );
        assert_eq!(String::from_utf8(writer.finish()).expect("UTF-8"), expected);
    }
}
