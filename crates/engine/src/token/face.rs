//! What the engine offers about tokens.

use std::{future::poll_fn, sync::Arc, task::Poll};

use ledger::{AgentId, Denial, Fact, Offer, Position, ReserveCommand, Step, TokenId, Verification};

use super::{
    owner::{Asked, Owner},
    view::{
        Authorize, TokenFilter, TokenView, VerifiedToken, VerifyToken, position_of, view_of, view_reserved,
    },
};
use crate::{
    Engine,
    admission::Permit,
    engine::settled,
    listing::Listing,
    refusal::Refusal,
    release::{Decided, Delivery, Reply, Seat},
    service::ServiceView,
    views::{Answer, Caller, Page, PageRequest},
    wallet::Command,
};

impl Engine {
    /// Reserves a call of a service: its price is held in the payer's wallet until the token ends.
    pub async fn authorize(&self, caller: &Caller, command: Authorize) -> Result<Answer<TokenView>, Refusal> {
        let shared = self.shared();
        let permit = self.admit(&caller.meter, 1).await?;
        let Authorize { payer, service, max_amount, ttl_ms, key } = command;
        self.owned(caller, payer)?;
        let at = shared.time.now();
        let ttl_ms = ttl_ms.unwrap_or(shared.rules.token_ttl_default_ms).min(shared.rules.token_ttl_max_ms);
        // Told after the key was looked at: a repeated request needs no further place.
        let offered = self.offer(service).and_then(|offer| self.room_for_token(caller.agent).map(|()| offer));
        let (offer, category) = match offered {
            Ok((offer, category)) => (Ok(offer), category),
            Err(denial) => (Err(denial), None),
        };
        let shares_operator =
            |offer: &Arc<Offer>| shared.directory.share_operator(offer.provider, caller.agent);
        let command = ReserveCommand {
            caller: caller.agent,
            payer,
            counts: !offer.as_ref().is_ok_and(shares_operator),
            offer,
            category,
            max_amount,
            key,
            agent_terms: None,
            at,
            expires_at: at.saturating_add_millis(ttl_ms),
        };
        match self
            .ask(payer, self.held_to_budget(caller.agent, Command::Reserve(Box::new(command))), permit)
            .await?
        {
            Reply::Reserved(lsn, fact) => {
                Ok(Answer::first(view_reserved(shared, Position::new(lsn.get()), &fact)))
            }
            Reply::Replay(place) => {
                let fact = self.reads().reserved(place.lsn).await?;
                Ok(Answer::again(view_reserved(shared, Position::new(place.lsn), &fact)))
            }
            reply => unexpected(&reply),
        }
    }

    /// Redeems a token for its provider.
    pub async fn verify_token(
        &self,
        caller: &Caller,
        command: VerifyToken,
    ) -> Result<Answer<VerifiedToken>, Refusal> {
        let VerifyToken { token, expects, key } = command;
        let step = Step::Verify(Verification { key });
        let asked = Asked { caller: caller.agent, claims: expects, step };
        let Answer { value: token, replayed } = self.step(caller, token, asked).await?;
        let service = self.service_as_reserved(&token).await?;
        Ok(Answer { value: VerifiedToken { token, service }, replayed })
    }

    /// The provider begins the call: the clock of the SLA starts.
    pub async fn start_call(&self, caller: &Caller, token: TokenId) -> Result<Answer<TokenView>, Refusal> {
        self.step(caller, token, Asked { caller: caller.agent, claims: None, step: Step::Start }).await
    }

    pub async fn accept_call(&self, caller: &Caller, token: TokenId) -> Result<Answer<TokenView>, Refusal> {
        self.step(caller, token, Asked { caller: caller.agent, claims: None, step: Step::Accept }).await
    }

    /// The provider is done: what was held becomes its money.
    pub async fn complete_call(&self, caller: &Caller, token: TokenId) -> Result<Answer<TokenView>, Refusal> {
        self.step(caller, token, Asked { caller: caller.agent, claims: None, step: Step::Complete }).await
    }

    /// The consumer gives an unredeemed token up and has its money back.
    pub async fn cancel_token(&self, caller: &Caller, token: TokenId) -> Result<Answer<TokenView>, Refusal> {
        self.step(caller, token, Asked { caller: caller.agent, claims: None, step: Step::Cancel }).await
    }

    /// A token, for its consumer and its provider.
    pub async fn token(&self, caller: AgentId, id: TokenId) -> Result<TokenView, Refusal> {
        let shared = self.shared();
        let position = position_of(shared, id).ok_or(Denial::UnknownToken)?;
        let permit = self.admit_read(&Arc::default(), 1)?;
        match self.own_token(position, permit, |owner, seat| owner.read(caller, seat)).await? {
            Some(Reply::Token(view, _)) => Ok(*view),
            Some(reply) => unexpected(&reply),
            None => {
                let token = self.ended_token(caller, position).await?;
                Ok(view_of(shared, position, &token))
            }
        }
    }

    /// Tokens of the caller in one role, newest first. A page may be short although more follow.
    pub async fn tokens(
        &self,
        caller: AgentId,
        filter: TokenFilter,
        page: PageRequest,
    ) -> Result<Page<TokenView>, Refusal> {
        let shared = self.shared();
        let mut listing = Listing::new(page, filter.status.is_some());
        loop {
            let (before, piece) = listing.wanted();
            let found = self.reads().tokens(caller, filter.role, filter.range, before, piece).await?;
            let mut last = None;
            for entry in &found.items {
                if listing.is_full() {
                    break;
                }
                let position = Position::new(entry.lsn);
                let seen =
                    shared.tokens.read(position, |token| (token.decided, view_of(shared, position, token)));
                let (decided, view) = match seen {
                    Some(seen) => seen,
                    // The record of its end is durable, or it would not have been found.
                    None => {
                        let token = self.ended_token(caller, position).await?;
                        (Position::ZERO, view_of(shared, position, &token))
                    }
                };
                let matches = filter.status.is_none_or(|status| status == view.status);
                listing.take(view, decided, matches);
                last = Some(entry.key());
            }
            if let Some(next) = listing.end(&found, last) {
                return listing.page(self, next).await;
            }
        }
    }

    /// Why the agent may have no further open token, if so.
    fn room_for_token(&self, agent: AgentId) -> Result<(), Denial> {
        let shared = self.shared();
        let (own, all) = shared.tokens.open_of(agent);
        if all >= shared.options.tokens_open_max {
            return Err(Denial::NoRoomForTokens);
        }
        let limit = shared.options.tokens_open_per_agent_max;
        if own >= limit { Err(Denial::TooManyOpenTokens { limit }) } else { Ok(()) }
    }

    /// What the service offers now, with its category, or why it offers nothing.
    fn offer(&self, service: ledger::ServiceId) -> Result<(Arc<Offer>, Option<Box<str>>), Denial> {
        let shared = self.shared();
        let (version, service) = shared.services.published(service).ok_or(Denial::UnknownService)?;
        if service.status != ledger::ServiceStatus::Active {
            return Err(Denial::ServiceInactive);
        }
        let category = service.terms.category.clone();
        let offer = Arc::new(Offer {
            service: service.id,
            service_at: version,
            provider: service.provider,
            payee: service.wallet,
            price: service.terms.price,
            currency: service.terms.currency,
            sla: service.terms.sla,
        });
        Ok((offer, category))
    }

    async fn step(&self, caller: &Caller, id: TokenId, asked: Asked) -> Result<Answer<TokenView>, Refusal> {
        let position = position_of(self.shared(), id).ok_or(Denial::UnknownToken)?;
        let permit = self.admit(&caller.meter, 1).await?;
        let (agent, claims, step) = (asked.caller, asked.claims, asked.step.clone());
        match self.own_token(position, permit, |owner, seat| owner.take_step(asked, seat)).await? {
            Some(Reply::Token(view, replayed)) => Ok(Answer { value: *view, replayed }),
            Some(reply) => unexpected(&reply),
            None => {
                let token = self.ended_token(agent, position).await?;
                self.step_of_ended(position, &token, agent, claims, step)
            }
        }
    }

    /// Owns a token for one question and waits until the reply may be shown; `None` when it is not held in memory.
    async fn own_token(
        &self,
        id: Position,
        permit: Permit,
        ask: impl FnOnce(&mut Owner<'_>, Seat) -> Decided,
    ) -> Result<Option<Reply>, Refusal> {
        let shared = self.shared();
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let seat = Seat { waker: Some(waker.clone()), permit: Some(permit) };
        let decided = shared.tokens.own(id, |token| ask(&mut Owner { id, token, shared }, seat));
        let Some(Decided { reply, position }) = decided else { return Ok(None) };
        Delivery::new(shared, position, waker).await?;
        settled(Ok(reply)).map(Some)
    }

    /// The service as it stood when the call was reserved: from memory while it has not changed since.
    async fn service_as_reserved(&self, token: &TokenView) -> Result<Arc<ServiceView>, Refusal> {
        let shared = self.shared();
        let position = position_of(shared, token.id).ok_or(Refusal::Damaged)?;
        let version = match shared.tokens.read(position, |token| token.terms.service_at) {
            Some(version) => version,
            None => self.former_token(position).await?.terms().service_at,
        };
        if let Some((present, service)) = shared.services.published(token.service)
            && present == version
        {
            return Ok(service);
        }
        match self.reads().fact(version.get()).await? {
            Fact::ServiceChanged(changed) if changed.service == token.service => {
                Ok(Arc::new(ServiceView::recorded(&changed)))
            }
            _ => Err(Refusal::Damaged),
        }
    }
}

fn unexpected<T>(reply: &Reply) -> T {
    unreachable!("a token answered with something it was not asked for: {reply:?}")
}
