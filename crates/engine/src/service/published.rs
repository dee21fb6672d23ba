//! Durable services as requests see them: by id, slug and URL. Written by the commit stream and by recovery.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use ledger::{
    Position, Service, ServiceChange, ServiceChanged, ServiceId, ServiceStatus, Timestamp, TrustChanged,
};

use super::view::ServiceView;

#[derive(Default)]
pub(super) struct Published {
    services: HashMap<ServiceId, (Position, Arc<ServiceView>)>,
    slugs: HashMap<Box<str>, ServiceId>,
    /// Active services of each URL, in order: anybody may register any URL, so that a page of them must not cost a walk
    /// over all.
    urls: HashMap<Box<str>, BTreeSet<Rank>>,
    /// By the position of their registration: times may tie.
    by_age: BTreeMap<Position, ServiceId>,
}

/// Place among the services of one URL: verified ones first, then by trust, then the oldest.
type Rank = (Reverse<bool>, Reverse<u8>, Timestamp, ServiceId);

impl Published {
    pub(super) fn get(&self, id: ServiceId) -> Option<(Position, Arc<ServiceView>)> {
        self.services.get(&id).cloned()
    }

    pub(super) fn by_slug(&self, slug: &str) -> Option<Arc<ServiceView>> {
        self.view(*self.slugs.get(slug)?)
    }

    /// Newest first.
    pub(super) fn all(&self) -> Vec<Arc<ServiceView>> {
        self.by_age.values().rev().filter_map(|id| self.view(*id)).collect()
    }

    /// The first `limit` active services at this URL, and how many there are.
    pub(super) fn at_url(&self, url: &str, limit: usize) -> (Vec<Arc<ServiceView>>, usize) {
        let Some(ranks) = self.urls.get(url) else { return (Vec::new(), 0) };
        let first = ranks.iter().take(limit).filter_map(|(.., id)| self.view(*id)).collect();
        (first, ranks.len())
    }

    /// A service that recovery has found.
    pub(super) fn recovered(&mut self, service: &Service) {
        let view = ServiceView {
            id: service.id,
            provider: service.provider,
            wallet: service.wallet,
            slug: service.slug.clone(),
            terms: service.terms.clone(),
            status: service.status,
            verified: service.verified,
            trust_score: service.trust.shown,
            settled_calls: service.trust.settled_calls,
            breached_calls: service.trust.breached_calls,
            created_at: service.created_at,
            updated_at: service.updated_at,
        };
        self.by_age.insert(service.registered, service.id);
        self.put(service.version, view);
    }

    pub(super) fn changed(&mut self, fact: &ServiceChanged, version: Position) {
        let mut view = ServiceView::recorded(fact);
        if fact.change == ServiceChange::Registered {
            self.by_age.insert(version, fact.service);
        }
        if let Some((_, old)) = self.services.get(&fact.service) {
            view.trust_score = old.trust_score;
            view.settled_calls = old.settled_calls;
            view.breached_calls = old.breached_calls;
        }
        self.put(version, view);
    }

    pub(super) fn trust_changed(&mut self, fact: &TrustChanged) {
        let Some((version, view)) = self.services.get(&fact.service).cloned() else { return };
        self.put(version, ServiceView { trust_score: fact.score, ..Arc::unwrap_or_clone(view) });
    }

    /// Calls have ended. Their numbers are told at once, and need no record of their own.
    pub(super) fn counted(&mut self, id: ServiceId, settled_calls: u64, breached_calls: u64) {
        if let Some((_, view)) = self.services.get_mut(&id)
            && (view.settled_calls, view.breached_calls) != (settled_calls, breached_calls)
        {
            let view = Arc::make_mut(view);
            (view.settled_calls, view.breached_calls) = (settled_calls, breached_calls);
        }
    }

    fn put(&mut self, version: Position, view: ServiceView) {
        let id = view.id;
        if let Some((_, old)) = self.services.get(&id) {
            if old.slug != view.slug && self.slugs.get(&old.slug) == Some(&id) {
                self.slugs.remove(&old.slug);
            }
            if let Some((url, rank)) = listed(old)
                && let Some(ranks) = self.urls.get_mut(url)
            {
                ranks.remove(&rank);
                if ranks.is_empty() {
                    self.urls.remove(url);
                }
            }
        }
        self.slugs.insert(view.slug.clone(), id);
        if let Some((url, rank)) = listed(&view) {
            self.urls.entry(url.into()).or_default().insert(rank);
        }
        self.services.insert(id, (version, Arc::new(view)));
    }

    fn view(&self, id: ServiceId) -> Option<Arc<ServiceView>> {
        self.services.get(&id).map(|(_, view)| view.clone())
    }
}

/// The URL under which a service is listed, if it is, and its place there.
fn listed(view: &ServiceView) -> Option<(&str, Rank)> {
    let url = view.terms.endpoint_url.as_deref().filter(|_| view.status == ServiceStatus::Active)?;
    Some((url, (Reverse(view.verified), Reverse(view.trust_score), view.created_at, view.id)))
}
