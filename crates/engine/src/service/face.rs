//! What the engine offers about services.

use std::{future::poll_fn, sync::Arc, task::Poll};

use ledger::{AgentId, Denial, RegisterCommand, ServiceId, ServiceStatus, Timestamp, WalletId};

use super::view::{RegisterService, ServicePatch, ServiceView};
use crate::{
    Engine,
    admission::Permit,
    engine::settled,
    refusal::Refusal,
    release::{Decided, Delivery, Reply, Seat},
    shared::Shared,
    views::{Answer, Caller},
};

impl Engine {
    /// Registers a service of the caller.
    pub async fn register_service(
        &self,
        caller: &Caller,
        command: RegisterService,
    ) -> Result<Answer<ServiceView>, Refusal> {
        let shared = self.shared();
        let RegisterService { terms, wallet, key, at } = command;
        let permit = self.admit(&caller.meter, 1).await?;
        // A repeated request is answered whatever has become of its wallet's place among the agent's.
        let found = self.payee_of(caller, wallet, terms.currency).await;
        let (wallet, refusal) = match found {
            Ok(wallet) => (wallet, None),
            Err(refusal) => (WalletId::from_raw(0), Some(refusal)),
        };
        let command = RegisterCommand {
            service: ServiceId::new(shared.options.partition, shared.random()),
            provider: caller.agent,
            wallet,
            terms,
            key,
            at,
        };
        let asked = |shared: &Shared, seat| shared.services.register(command, refusal, shared, seat);
        match self.own_services(permit, asked).await? {
            Reply::Service(Some(fact)) => Ok(Answer::first(ServiceView::recorded(&fact))),
            Reply::Replay(place) => {
                let fact = self.reads().service(place.lsn).await?;
                Ok(Answer::again(ServiceView::recorded(&fact)))
            }
            reply => unreachable!("the services answered with something they were not asked for: {reply:?}"),
        }
    }

    /// Changes a service of the caller. Open tokens keep what was agreed.
    pub async fn patch_service(
        &self,
        caller: &Caller,
        id: ServiceId,
        patch: ServicePatch,
    ) -> Result<ServiceView, Refusal> {
        let permit = self.admit(&caller.meter, 1).await?;
        let agent = caller.agent;
        let asked = |shared: &Shared, seat| shared.services.patch(id, agent, patch, shared, seat);
        self.changed(id, permit, asked).await
    }

    /// Ends a service of the caller: it takes no new calls, open tokens live on.
    pub async fn deactivate_service(
        &self,
        caller: &Caller,
        id: ServiceId,
        at: Timestamp,
    ) -> Result<ServiceView, Refusal> {
        let status = Some(ServiceStatus::Inactive);
        self.patch_service(caller, id, ServicePatch { status, at, ..ServicePatch::default() }).await
    }

    /// Records an operator's word on a service.
    pub async fn verify_service(
        &self,
        id: ServiceId,
        verified: bool,
        at: Timestamp,
    ) -> Result<ServiceView, Refusal> {
        let permit = self.admit(&Arc::default(), 1).await?;
        let asked = |shared: &Shared, seat| shared.services.judge(id, verified, None, at, shared, seat);
        self.changed(id, permit, asked).await
    }

    /// Records that a service was found to be its provider's at this URL, unless it has another one by now.
    pub async fn verify_service_at(
        &self,
        id: ServiceId,
        endpoint_url: &str,
        at: Timestamp,
    ) -> Result<ServiceView, Refusal> {
        let permit = self.admit(&Arc::default(), 1).await?;
        let asked =
            |shared: &Shared, seat| shared.services.judge(id, true, Some(endpoint_url), at, shared, seat);
        self.changed(id, permit, asked).await
    }

    /// A durable service, active or not.
    pub fn service(&self, id: ServiceId) -> Option<Arc<ServiceView>> {
        self.shared().services.published(id).map(|(_, service)| service)
    }

    pub fn service_by_slug(&self, slug: &str) -> Option<Arc<ServiceView>> {
        self.shared().services.by_slug(slug)
    }

    /// The trust score of an agent: the mean of its services' by calls, and 50 when no call of them counts.
    pub fn trust_score(&self, agent: AgentId) -> u8 {
        self.shared().services.score_of(agent)
    }

    /// Every service, newest first. Walks all of them.
    pub fn services(&self) -> Vec<Arc<ServiceView>> {
        self.shared().services.all()
    }

    /// The first `limit` active services whose endpoint is exactly this URL, verified ones first, then by trust, and how
    /// many there are.
    pub fn services_at(&self, endpoint_url: &str, limit: usize) -> (Vec<Arc<ServiceView>>, usize) {
        self.shared().services.at_url(endpoint_url, limit)
    }

    /// The wallet that a service in `currency` is paid into.
    async fn payee_of(
        &self,
        caller: &Caller,
        wallet: Option<WalletId>,
        currency: ledger::Currency,
    ) -> Result<WalletId, Denial> {
        let shared = self.shared();
        if !shared.rules.currencies.contains(&currency) {
            return Err(Denial::UnsupportedCurrency);
        }
        if let Some(wallet) = wallet {
            return match shared.registry.facts(wallet) {
                Some((agent, held)) if agent == caller.agent && held == currency => Ok(wallet),
                Some((agent, held)) if agent == caller.agent => {
                    Err(Denial::CurrencyMismatch { wallet: held, requested: currency })
                }
                _ => Err(Denial::UnknownWallet),
            };
        }
        let agent = self.agent(caller.agent).await.ok().flatten();
        let wallets = agent.map(|agent| agent.wallets).unwrap_or_default();
        let holds = |id: &WalletId| shared.registry.facts(*id).is_some_and(|(_, held)| held == currency);
        wallets.into_iter().find(holds).ok_or(Denial::NoWalletInCurrency { currency })
    }

    async fn changed(
        &self,
        id: ServiceId,
        permit: Permit,
        ask: impl FnOnce(&Shared, Seat) -> Decided,
    ) -> Result<ServiceView, Refusal> {
        match self.own_services(permit, ask).await? {
            // Published by now; what the record does not tell comes from there.
            Reply::Service(Some(fact)) => {
                let mut view = ServiceView::recorded(&fact);
                if let Some(shown) = self.service(id) {
                    view.trust_score = shown.trust_score;
                    view.settled_calls = shown.settled_calls;
                    view.breached_calls = shown.breached_calls;
                }
                Ok(view)
            }
            Reply::Service(None) => {
                self.service(id).map(|service| (*service).clone()).ok_or(Denial::UnknownService.into())
            }
            reply => unreachable!("the services answered with something they were not asked for: {reply:?}"),
        }
    }

    /// Owns the services for one question and waits until the reply may be shown.
    async fn own_services(
        &self,
        permit: Permit,
        ask: impl FnOnce(&Shared, Seat) -> Decided,
    ) -> Result<Reply, Refusal> {
        let shared = self.shared();
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let seat = Seat { waker: Some(waker.clone()), permit: Some(permit) };
        let Decided { reply, position } = ask(shared, seat);
        Delivery::new(shared, position, waker).await?;
        settled(Ok(reply))
    }
}
