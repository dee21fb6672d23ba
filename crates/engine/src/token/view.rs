//! Tokens as they are asked for and shown.

use std::sync::Arc;

use history::TokenRole;
use ledger::{
    AgentId, Amount, Currency, KeyUse, Outages, PaymentId, Position, SealedKind, ServiceId, Sla, Step,
    Timestamp, Token, TokenClaims, TokenId, TokenStatus, TokenTimes, WalletId,
};

use crate::{service::ServiceView, shared::Shared, views::TimeRange};

/// A call to reserve.
#[derive(Clone, Debug)]
pub struct Authorize {
    pub payer: WalletId,
    pub service: ServiceId,
    /// Most that the call may cost; `None` means its price.
    pub max_amount: Option<Amount>,
    /// Time to redeem it in; `None` means the default. Held to the maximum of the rules.
    pub ttl_ms: Option<u64>,
    pub key: Option<KeyUse>,
}

/// A token to redeem.
#[derive(Clone, Debug)]
pub struct VerifyToken {
    pub token: TokenId,
    /// What the token says of itself; compared before anything about it is told.
    pub expects: Option<TokenClaims>,
    pub key: Option<KeyUse>,
}

/// A redeemed token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    /// As of its redemption.
    pub token: TokenView,
    /// The service as it stood when the call was reserved.
    pub service: Arc<ServiceView>,
}

/// Which tokens to list.
#[derive(Clone, Copy, Debug)]
pub struct TokenFilter {
    pub role: TokenRole,
    pub status: Option<TokenStatus>,
    pub range: TimeRange,
}

/// A token at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenView {
    pub id: TokenId,
    pub service: ServiceId,
    pub payer: WalletId,
    pub payer_agent: AgentId,
    pub provider: AgentId,
    pub payee: WalletId,
    pub amount: Amount,
    /// What the platform kept of the amount; zero unless settled.
    pub fee: Amount,
    pub currency: Currency,
    pub status: TokenStatus,
    pub reserved_at: Timestamp,
    pub expires_at: Timestamp,
    pub verified_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub accepted_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Of what is awaited; `None` once the token has ended.
    pub deadline: Option<Timestamp>,
    pub sla: Option<Sla>,
    /// The payment that a settled token became.
    pub payment_id: Option<PaymentId>,
}

/// The position in a token's id; `None` for an id that this ledger never gave.
pub(super) fn position_of(shared: &Shared, id: TokenId) -> Option<Position> {
    let address = shared.sealer.open(SealedKind::Token, id.raw())?;
    let is_ours = address.partition == shared.options.partition && address.item == 0;
    is_ours.then(|| Position::new(address.lsn))
}

/// The token as it stands.
pub(super) fn view_of(shared: &Shared, id: Position, token: &Token) -> TokenView {
    shared.time.with_outages(|outages| view(shared, id, token, token.status, token.times(), outages))
}

/// The token as `step` left it, whatever has happened since: the first answer and every repetition of it.
pub(crate) fn view_after(shared: &Shared, id: Position, token: &Token, step: &Step) -> TokenView {
    let (_, status) = step.edge();
    let mut times = token.times();
    if status.is_open() {
        times.ended_at = None;
    }
    match step {
        Step::Verify(_) => (times.started_at, times.accepted_at) = (None, None),
        Step::Start => times.accepted_at = None,
        Step::Accept | Step::Complete | Step::Cancel => {}
    }
    // No outage had come between when the step was taken.
    view(shared, id, token, status, times, &Outages::default())
}

/// The token as its reservation left it.
pub(crate) fn view_reserved(shared: &Shared, id: Position, fact: &ledger::TokenReserved) -> TokenView {
    let token = Token::reserved(fact, id);
    view(shared, id, &token, token.status, token.times(), &Outages::default())
}

fn view(
    shared: &Shared,
    id: Position,
    token: &Token,
    status: TokenStatus,
    times: TokenTimes,
    outages: &Outages,
) -> TokenView {
    let terms = &token.terms;
    let is_settled = status == TokenStatus::Settled;
    let as_of = Token::restore(
        terms.clone(),
        status,
        token.expires_at,
        times,
        Amount::ZERO,
        token.redeemed_by(),
        token.decided,
    );
    TokenView {
        id: shared.token_id(id),
        service: terms.service,
        payer: terms.payer,
        payer_agent: terms.payer_agent,
        provider: terms.provider,
        payee: terms.payee,
        amount: terms.price,
        fee: if is_settled { token.fee } else { Amount::ZERO },
        currency: terms.currency,
        status,
        reserved_at: terms.reserved_at,
        expires_at: token.expires_at,
        verified_at: times.verified_at,
        started_at: times.started_at,
        accepted_at: times.accepted_at,
        ended_at: times.ended_at,
        deadline: as_of.deadline(&shared.rules, outages),
        sla: terms.sla,
        payment_id: is_settled.then(|| shared.payment_id(token.decided.get(), 0)),
    }
}
