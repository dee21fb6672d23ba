//! From records to events.

use std::sync::Arc;

use journal::{Kind, Owner, View};
use ledger::{
    Account, AgentId, Currency, EventKind, Fact, Payee, Position, ServiceChange, ServiceChanged, Step,
    Timestamp, Token, TokenEnd, TokenEnded, TokenStepped, TokenTimes, TrustChanged, WalletId, WalletStatus,
};
use wal::Lsn;

use super::tail::EventsError;
use crate::{
    Engine,
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
