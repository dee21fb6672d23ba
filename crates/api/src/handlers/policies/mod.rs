//! Spending policies: what an owner lets a wallet spend, and what is left of it.

mod request;
mod write;

use engine::{PolicyView, Refusal};
use http::StatusCode;
use ledger::{Denial, PayCommand, Policy, Timestamp};

use self::{
    request::PolicyRequest,
    write::{policy, remaining},
};
use super::{agents::own_id, payments::PaymentRequest};
use crate::{
    dispatch::Call,
    errors::Problem,
    idempotency,
    json::{read::Reader, write::Writer},
    respond::Reply,
};

/// Bytes an answer with a full policy may take.
const POLICY_BYTES: usize = 1_024;

/// `PUT /v1/wallets/{wallet_id}/policy`: replaces the whole policy; `{}` is none.
pub(crate) async fn set_wallet(call: &Call<'_>) -> Result<Reply, Problem> {
    let wallet = call.wallet_id()?;
    let policy = requested(call)?;
    let view = call.engine.set_policy(call.caller()?, wallet, policy, call.at).await?;
    Ok(shown(call, &view, |w| w.name("wallet_id").plain(wallet)))
}

/// `GET /v1/wallets/{wallet_id}/policy`.
pub(crate) async fn read_wallet(call: &Call<'_>) -> Result<Reply, Problem> {
    let wallet = call.wallet_id()?;
    let view = call.engine.policy(call.caller()?, wallet).await?;
    Ok(shown(call, &view, |w| w.name("wallet_id").plain(wallet)))
}

/// `PUT /v1/agents/{agent_id}/policy`: for all wallets of the agent together.
pub(crate) async fn set_agent(call: &Call<'_>) -> Result<Reply, Problem> {
    let agent = own_id(call)?;
    let policy = requested(call)?;
    let view = call.engine.set_agent_policy(call.caller()?, policy, call.at).await?;
    Ok(shown(call, &view, |w| w.name("agent_id").plain(agent)))
}

/// `GET /v1/agents/{agent_id}/policy`.
pub(crate) async fn read_agent(call: &Call<'_>) -> Result<Reply, Problem> {
    let agent = own_id(call)?;
    let view = call.engine.agent_policy(call.caller()?).await?;
    Ok(shown(call, &view, |w| w.name("agent_id").plain(agent)))
}

/// `POST /v1/policy/check`: would this payment pass, and what is left of each limit? Writes nothing and binds nobody.
pub(crate) async fn check(call: &Call<'_>) -> Result<Reply, Problem> {
    let metadata_bytes_max = call.gateway.settings.metadata_bytes_max;
    let request = Reader::document(call.json(), |r| PaymentRequest::read(r, metadata_bytes_max))?;
    let (caller, payer) = (call.caller()?, request.payer);
    // Whether a key was used before is not asked: it is the payment that is looked at.
    let command = PayCommand { key: None, ..request.command(caller.agent, call.at) };
    let (payment, denial) = match call.engine.dry_run(caller, command).await {
        Ok(payment) => (Some(payment), None),
        Err(Refusal::Denied(denial)) if is_answer(&denial) => (None, Some(denial)),
        Err(refusal) => return Err(refusal.into()),
    };
    let view = call.engine.policy(caller, payer).await?;
    let agents = call.engine.agent_policy(caller).await?;
    let mut writer = Writer::new(POLICY_BYTES, call.amounts);
    writer.object(|w| {
        w.name("would_pass").boolean(denial.is_none());
        w.name("from_wallet_id").plain(payer);
        if let Some(payment) = &payment {
            w.name("amount").amount(payment.amount);
            w.name("fee").amount(payment.fee);
            w.name("total_debited").amount(payment.total_debited());
        }
        w.name("denial");
        match denial {
            Some(denial) => Problem::from(denial).write(w, None),
            None => w.null(),
        }
        w.name("usage").array(|w| remaining(w, &view.remaining));
        w.name("agent_usage").array(|w| remaining(w, &agents.remaining));
        w.name("as_of").timestamp(view.as_of);
    });
    Ok(Reply::json(StatusCode::OK, writer))
}

/// Whether a denial is about what the wallet may do now; the others are about the request.
fn is_answer(denial: &Denial) -> bool {
    matches!(
        denial,
        Denial::Policy(_) | Denial::InsufficientBalance { .. } | Denial::WalletFrozen | Denial::WalletClosed
    )
}

/// The policy in the body, valid.
fn requested(call: &Call<'_>) -> Result<Policy, Problem> {
    let request = PolicyRequest::parse(call.json(), call.at)?;
    // Setting a policy twice is setting it once, so a key only has to be well-formed.
    idempotency::key(call.headers, request.key.map(Into::into))?;
    Ok(request.policy)
}

fn shown(call: &Call<'_>, view: &PolicyView, whose: impl FnOnce(&mut Writer)) -> Reply {
    let mut writer = Writer::new(POLICY_BYTES, call.amounts);
    writer.object(|w| {
        whose(w);
        w.name("currency").optional_string(view.currency.as_ref().map(ledger::Currency::as_str));
        w.name("policy");
        policy(w, &view.policy);
        w.name("usage").array(|w| remaining(w, &view.remaining));
        optional_time(w.name("changed_at"), view.changed_at);
        w.name("as_of").timestamp(view.as_of);
    });
    Reply::json(StatusCode::OK, writer)
}

fn optional_time(w: &mut Writer, at: Option<Timestamp>) {
    match at {
        Some(at) => w.timestamp(at),
        None => w.null(),
    }
}
