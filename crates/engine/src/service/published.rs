//! Durable services as requests see them: by id, slug and URL. Written by the commit stream and by recovery.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ledger::{Position, Service, ServiceChange, ServiceChanged, ServiceId, ServiceStatus, TrustChanged};

use super::view::ServiceView;

#[derive(Default)]
pub(super) struct Published {
    services: HashMap<ServiceId, (Position, Arc<ServiceView>)>,
    slugs: HashMap<Box<str>, ServiceId>,
    urls: HashMap<Box<str>, Vec<ServiceId>>,
    /// By the position of their registration: times may tie.
    by_age: BTreeMap<Position, ServiceId>,
}

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

    /// Active services at this URL: verified ones first, then by trust.
    pub(super) fn at_url(&self, url: &str) -> Vec<Arc<ServiceView>> {
        let ids = self.urls.get(url).map_or(&[][..], Vec::as_slice);
        let mut found: Vec<_> = ids.iter().filter_map(|id| self.view(*id)).collect();
        found.retain(|service| service.status == ServiceStatus::Active);
        found.sort_by_key(|service| (!service.verified, 100 - service.trust_score.min(100)));
        found
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
        if let Some((_, view)) = self.services.get_mut(&fact.service) {
            let view = Arc::make_mut(view);
            view.trust_score = fact.score;
            view.settled_calls = fact.settled_calls;
            view.breached_calls = fact.breached_calls;
        }
    }

    fn put(&mut self, version: Position, view: ServiceView) {
        let id = view.id;
        if let Some((_, old)) = self.services.get(&id) {
            if old.slug != view.slug && self.slugs.get(&old.slug) == Some(&id) {
                self.slugs.remove(&old.slug);
            }
            if old.terms.endpoint_url != view.terms.endpoint_url
                && let Some(url) = &old.terms.endpoint_url
                && let Some(ids) = self.urls.get_mut(url)
            {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.urls.remove(url);
                }
            }
        }
        self.slugs.insert(view.slug.clone(), id);
        if let Some(url) = &view.terms.endpoint_url {
            let ids = self.urls.entry(url.clone()).or_default();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        self.services.insert(id, (version, Arc::new(view)));
    }

    fn view(&self, id: ServiceId) -> Option<Arc<ServiceView>> {
        self.services.get(&id).map(|(_, view)| view.clone())
    }
}
