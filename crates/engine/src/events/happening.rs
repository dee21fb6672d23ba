//! From records to events.

use std::sync::Arc;

use journal::{Kind, Owner, View};
use ledger::{
    Account, AgentId, Currency, DisputeMoved, DisputeStatus, EventKind, Fact, KeyPlace, Payee, Position,
    ServiceChange, ServiceChanged, Step, Timestamp, Token, TokenEnd, TokenEnded, TokenStepped, TokenTimes,
    TrustChanged, WalletId, WalletStatus,
};
use wal::Lsn;

use super::tail::EventsError;
use crate::{
    Engine,
    claim::{
        DisputeView, EvidenceView, RefundReceipt, evidence_view, opened_view, refund_receipt,
        refunded_by_dispute,
    },
    refusal::Refusal,
    service::ServiceView,
    token::{FormerToken, TokenView, view_after, view_reserved},
    views::{FundReceipt, PaymentReceipt, SettlementReceipt, Transaction},
};

/// Something that has happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// Place in the log: the record, and the item in it.
    pub lsn: u64,
    pub item: u32,
    pub kind: EventKind,
    pub at: Timestamp,
    /// Whom it concerns; one agent stands here once.
    pub agents: Vec<AgentId>,
    /// The object it is about: events of one object are told in order.
    pub subject: u128,
    pub what: Happening,
}

/// The object of an event as the event left it.
#[derive(Clone, Debug)]
pub enum Happening {
    Payment(Box<PaymentReceipt>),
    Settlement(Box<SettlementReceipt>),
    Funding(Box<FundReceipt>),
    Frozen(FrozenWallet),
    Token(Box<TokenView>),
    Service(Box<ServiceView>),
    Refund(Box<RefundReceipt>),
    /// With the piece of evidence, when that is what happened.
    Dispute(Box<DisputeView>, Option<Box<EvidenceView>>),
}

/// A wallet that does not pay any more.
#[derive(Clone, Copy, Debug)]
pub struct FrozenWallet {
    pub wallet: WalletId,
    pub agent: AgentId,
    pub currency: Currency,
}

/// Appends the events of one record, as far as they concern somebody who has a webhook.
pub(super) async fn of_record(
    engine: &Engine,
    lsn: Lsn,
    view: &View<'_>,
    out: &mut Vec<Event>,
) -> Result<(), EventsError> {
    if !may_concern(engine, view) {
        return Ok(());
    }
    let fact = view.to_fact().map_err(|source| EventsError::Record { lsn, source })?;
    match fact {
        Fact::Payment(_) | Fact::PaymentBatch(_) | Fact::Funding(_) => transactions(engine, lsn, fact, out),
        Fact::StatusChange(change) if change.status == WalletStatus::Frozen => {
            if let Some((agent, currency)) = engine.shared().registry.facts(change.wallet) {
                let what = Happening::Frozen(FrozenWallet { wallet: change.wallet, agent, currency });
                let subject = change.wallet.raw();
                push(engine, out, lsn, 0, EventKind::WalletFrozen, change.at, [agent], subject, what);
            }
        }
        Fact::TokenReserved(reserved) => {
            let view = view_reserved(engine.shared(), Position::new(lsn.get()), &reserved);
            token(engine, out, lsn, EventKind::TokenAuthorized, view.reserved_at, view);
        }
        Fact::TokenStepped(stepped) => step(engine, lsn, &stepped, out).await?,
        Fact::TokenEnded(ended) => end(engine, lsn, &ended, out),
        Fact::ServiceChanged(changed) => service_changed(engine, lsn, &changed, out),
        Fact::TrustChanged(changed) => trust_changed(engine, lsn, &changed, out),
        Fact::Refund(_) | Fact::DisputeOpened(_) | Fact::EvidenceAdded(_) | Fact::DisputeMoved(_) => {
            claimed(engine, lsn, fact, out).await?;
        }
        Fact::StatusChange(_)
        | Fact::PolicyChanged(_)
        | Fact::AgentPolicyChanged(_)
        | Fact::AgentCreated(_)
        | Fact::WalletOpened(_)
        | Fact::KeyAdded(_)
        | Fact::KeyRevoked(_)
        | Fact::KeysRotated(_)
        | Fact::WebhookChanged(_)
        | Fact::Clock(_) => {}
    }
    Ok(())
}

/// Whether the record can concern anybody who has a webhook, as far as that can be told without decoding it.
fn may_concern(engine: &Engine, view: &View<'_>) -> bool {
    let shared = engine.shared();
    let has_any =
        |wallet| shared.registry.facts(wallet).is_some_and(|(agent, _)| shared.webhooks.has_any(agent));
    match view.kind() {
        Kind::Funding | Kind::StatusChange => {
            matches!(view.owner(), Owner::Wallet(wallet) if has_any(wallet))
        }
        Kind::Payment | Kind::PaymentBatch => {
            let mut concerns = matches!(view.owner(), Owner::Wallet(wallet) if has_any(wallet));
            view.for_each_foreign(|posting| {
                if let Account::Wallet(wallet) = posting.account {
                    concerns = concerns || has_any(wallet);
                }
            });
            concerns
        }
        Kind::Refund | Kind::DisputeOpened | Kind::EvidenceAdded | Kind::DisputeMoved => {
            let terms = view.claim_change().map(|change| change.terms);
            terms.is_some_and(|terms| has_any(terms.payer) || terms.payee.is_some_and(has_any))
        }
        Kind::TokenReserved
        | Kind::TokenStepped
        | Kind::TokenEnded
        | Kind::ServiceChanged
        | Kind::TrustChanged => true,
        Kind::AgentCreated
        | Kind::PolicyChanged
        | Kind::AgentPolicyChanged
        | Kind::WalletOpened
        | Kind::KeyAdded
        | Kind::KeyRevoked
        | Kind::KeysRotated
        | Kind::WebhookChanged
        | Kind::Clock => false,
    }
}

/// Payments, alone or in a batch, and fundings.
fn transactions(engine: &Engine, lsn: Lsn, fact: Fact, out: &mut Vec<Event>) {
    let items = match &fact {
        Fact::PaymentBatch(batch) => u32::try_from(batch.items.len()).unwrap_or(u32::MAX),
        _ => 1,
    };
    for item in 0..items {
        let place = ledger::KeyPlace { lsn: lsn.get(), item };
        match engine.reads().transaction_of(&fact, place) {
            Some(Transaction::Payment(receipt)) => payment(engine, lsn, item, receipt, out),
            Some(Transaction::Funding(receipt)) => {
                let agents = owner_of(engine, receipt.funding.wallet);
                let (at, subject) = (receipt.funding.at, receipt.funding.wallet.raw());
                let what = Happening::Funding(Box::new(receipt));
                push(engine, out, lsn, item, EventKind::WalletFunded, at, agents, subject, what);
            }
            Some(Transaction::Settlement(_)) | None => {}
        }
    }
}

fn payment(engine: &Engine, lsn: Lsn, item: u32, receipt: PaymentReceipt, out: &mut Vec<Event>) {
    let payee = match receipt.payment.payee {
        Payee::Wallet(payee) => owner_of(engine, payee),
        Payee::External(_) => None,
    };
    let agents = owner_of(engine, receipt.payment.payer).into_iter().chain(payee);
    let (at, subject) = (receipt.payment.at, receipt.id.raw());
    let what = Happening::Payment(Box::new(receipt));
    push(engine, out, lsn, item, EventKind::PaymentCompleted, at, agents, subject, what);
}

/// A step of a call. What the record does not tell comes from the token, which may have gone on since.
async fn step(
    engine: &Engine,
    lsn: Lsn,
    stepped: &TokenStepped,
    out: &mut Vec<Event>,
) -> Result<(), EventsError> {
    let shared = engine.shared();
    let kind = match stepped.step {
        Step::Verify(_) => EventKind::TokenVerified,
        Step::Start => EventKind::TokenStarted,
        Step::Accept => EventKind::TokenAccepted,
        Step::Complete | Step::Cancel => unreachable!("they end a token and are recorded as its end"),
    };
    let position = stepped.token;
    let concerns = |agent| shared.webhooks.has_any(agent);
    let seen = shared.tokens.read(position, |token| {
        let terms = &token.terms;
        let is_wanted = concerns(terms.payer_agent) || concerns(terms.provider);
        is_wanted.then(|| view_after(shared, position, token, &stepped.step))
    });
    let view = match seen {
        Some(Some(view)) => view,
        Some(None) => return Ok(()),
        None => view_after(shared, position, &former(engine, lsn, stepped).await?, &stepped.step),
    };
    token(engine, out, lsn, kind, stepped.at, view);
    Ok(())
}

/// A token that is not in memory any more: from the record of its end, or of its reservation where there is no index to
/// find its end by; then the times of its other steps are not told.
async fn former(engine: &Engine, lsn: Lsn, stepped: &TokenStepped) -> Result<Token, EventsError> {
    let unreadable = |refusal| EventsError::Unreadable { lsn, refusal };
    let reserved = match engine.former_token(stepped.token).await.map_err(unreadable)? {
        FormerToken::Ended(token) => return Ok(token),
        FormerToken::Unindexed(token) => token,
    };
    let at = Some(stepped.at);
    let times = match stepped.step {
        Step::Verify(_) => TokenTimes { verified_at: at, ..TokenTimes::default() },
        Step::Start => TokenTimes { started_at: at, ..TokenTimes::default() },
        Step::Accept | Step::Complete | Step::Cancel => {
            TokenTimes { accepted_at: at, ..TokenTimes::default() }
        }
    };
    let (_, status) = stepped.step.edge();
    let (terms, expires_at, decided) = (reserved.terms, reserved.expires_at, Position::new(lsn.get()));
    Ok(Token::restore(terms, status, expires_at, times, ledger::Amount::ZERO, (0, 0), decided))
}

/// The end of a token; a settled one is a payment too.
fn end(engine: &Engine, lsn: Lsn, ended: &TokenEnded, out: &mut Vec<Event>) {
    let kind = match ended.end {
        TokenEnd::Settled => EventKind::TokenCompleted,
        TokenEnd::Cancelled => EventKind::TokenCancelled,
        TokenEnd::Expired | TokenEnd::Refunded => EventKind::TokenExpired,
        TokenEnd::SlaBreached => EventKind::TokenSlaBreached,
    };
    let place = Position::new(lsn.get());
    let view = engine.view_of_ended(ended.token, &ended.token(place));
    let agents = [view.payer_agent, view.provider];
    token(engine, out, lsn, kind, ended.at, view);
    let key = ledger::KeyPlace { lsn: lsn.get(), item: 0 };
    if let Some(Transaction::Settlement(receipt)) =
        engine.reads().transaction_of(&Fact::TokenEnded(ended.clone()), key)
    {
        let subject = receipt.id.raw();
        let what = Happening::Settlement(Box::new(receipt));
        push(engine, out, lsn, 0, EventKind::PaymentCompleted, ended.at, agents, subject, what);
    }
}

/// A refund, or a step of a dispute; a dispute that ends with a refund is told as both.
async fn claimed(engine: &Engine, lsn: Lsn, fact: Fact, out: &mut Vec<Event>) -> Result<(), EventsError> {
    let unreadable = |refusal| EventsError::Unreadable { lsn, refusal };
    let shared = engine.shared();
    match fact {
        Fact::Refund(refund) => {
            let paid = transaction_at(engine, refund.terms.payment).await.map_err(unreadable)?;
            refunded(engine, out, lsn, refund_receipt(paid, &refund), refund.terms);
        }
        Fact::DisputeOpened(opened) => {
            let view = opened_view(shared, Position::new(lsn.get()), &opened);
            dispute(engine, out, lsn, EventKind::DisputeOpened, opened.at, view, None);
        }
        Fact::EvidenceAdded(added) => {
            let mut view = disputed(engine, added.dispute).await.map_err(unreadable)?;
            (view.status, view.evidence) = (added.status, added.number);
            let at = added.at;
            let evidence = Some(Box::new(evidence_view(shared, added)));
            dispute(engine, out, lsn, EventKind::DisputeEvidenceAdded, at, view, evidence);
        }
        Fact::DisputeMoved(moved) => moved_on(engine, lsn, moved, out).await.map_err(unreadable)?,
        _ => unreachable!("refunds and disputes only"),
    }
    Ok(())
}

async fn moved_on(
    engine: &Engine,
    lsn: Lsn,
    moved: DisputeMoved,
    out: &mut Vec<Event>,
) -> Result<(), Refusal> {
    let view = disputed(engine, moved.dispute).await?;
    let kind = match moved.to {
        DisputeStatus::UnderReview => EventKind::DisputeUnderReview,
        DisputeStatus::Withdrawn => EventKind::DisputeWithdrawn,
        DisputeStatus::Open | DisputeStatus::ResolvedRefunded | DisputeStatus::ResolvedDenied => {
            EventKind::DisputeResolved
        }
    };
    dispute(engine, out, lsn, kind, moved.at, view.moved(moved.clone()), None);
    if moved.to == DisputeStatus::ResolvedRefunded {
        let paid = transaction_at(engine, moved.terms.payment).await?;
        refunded(engine, out, lsn, refunded_by_dispute(engine.shared(), paid, &moved), moved.terms);
    }
    Ok(())
}

/// The payment that an earlier record made.
async fn transaction_at(engine: &Engine, place: KeyPlace) -> Result<Transaction, Refusal> {
    let fact = engine.reads().fact(place.lsn).await?;
    engine.reads().transaction_of(&fact, place).ok_or(Refusal::Damaged)
}

/// A dispute as its opening left it.
async fn disputed(engine: &Engine, opened: Position) -> Result<DisputeView, Refusal> {
    match engine.reads().fact(opened.get()).await? {
        Fact::DisputeOpened(fact) => Ok(opened_view(engine.shared(), opened, &fact)),
        _ => Err(Refusal::Damaged),
    }
}

fn refunded(
    engine: &Engine,
    out: &mut Vec<Event>,
    lsn: Lsn,
    receipt: RefundReceipt,
    terms: ledger::ClaimTerms,
) {
    let payee = terms.payee.and_then(|payee| owner_of(engine, payee));
    let agents = owner_of(engine, terms.payer).into_iter().chain(payee);
    let subject = engine.shared().payment_id(terms.payment.lsn, terms.payment.item).raw();
    let (at, what) = (receipt.at, Happening::Refund(Box::new(receipt)));
    push(engine, out, lsn, 0, EventKind::PaymentRefunded, at, agents, subject, what);
}

fn dispute(
    engine: &Engine,
    out: &mut Vec<Event>,
    lsn: Lsn,
    kind: EventKind,
    at: Timestamp,
    view: DisputeView,
    evidence: Option<Box<EvidenceView>>,
) {
    let agents = [Some(view.payer_agent), view.payee_agent].into_iter().flatten();
    let subject = view.id.raw();
    push(engine, out, lsn, 0, kind, at, agents, subject, Happening::Dispute(Box::new(view), evidence));
}

fn token(engine: &Engine, out: &mut Vec<Event>, lsn: Lsn, kind: EventKind, at: Timestamp, view: TokenView) {
    let (agents, subject) = ([view.payer_agent, view.provider], view.id.raw());
    push(engine, out, lsn, 0, kind, at, agents, subject, Happening::Token(Box::new(view)));
}

/// A registration is no update: whoever made it knows.
fn service_changed(engine: &Engine, lsn: Lsn, changed: &ServiceChanged, out: &mut Vec<Event>) {
    if changed.change == ServiceChange::Registered {
        return;
    }
    let mut view = ServiceView::recorded(changed);
    if let Some(shown) = engine.service(changed.service) {
        view.trust_score = shown.trust_score;
        view.settled_calls = shown.settled_calls;
        view.breached_calls = shown.breached_calls;
    }
    service(engine, out, lsn, EventKind::ServiceUpdated, changed.at, view);
}

fn trust_changed(engine: &Engine, lsn: Lsn, changed: &TrustChanged, out: &mut Vec<Event>) {
    let Some(shown) = engine.service(changed.service) else { return };
    let mut view = Arc::unwrap_or_clone(shown);
    view.trust_score = changed.score;
    view.settled_calls = changed.settled_calls;
    view.breached_calls = changed.breached_calls;
    service(engine, out, lsn, EventKind::ServiceTrustChanged, changed.at, view);
}

fn service(
    engine: &Engine,
    out: &mut Vec<Event>,
    lsn: Lsn,
    kind: EventKind,
    at: Timestamp,
    view: ServiceView,
) {
    let (agents, subject) = ([view.provider], view.id.raw());
    push(engine, out, lsn, 0, kind, at, agents, subject, Happening::Service(Box::new(view)));
}

fn owner_of(engine: &Engine, wallet: WalletId) -> Option<AgentId> {
    engine.shared().registry.facts(wallet).map(|(agent, _)| agent)
}

#[expect(clippy::too_many_arguments, reason = "the parts of an event, put together in one place")]
fn push(
    engine: &Engine,
    out: &mut Vec<Event>,
    lsn: Lsn,
    item: u32,
    kind: EventKind,
    at: Timestamp,
    concerned: impl IntoIterator<Item = AgentId>,
    subject: u128,
    what: Happening,
) {
    let mut agents = Vec::with_capacity(2);
    for agent in concerned {
        if engine.shared().webhooks.has_any(agent) && !agents.contains(&agent) {
            agents.push(agent);
        }
    }
    if !agents.is_empty() {
        out.push(Event { lsn: lsn.get(), item, kind, at, agents, subject, what });
    }
}
