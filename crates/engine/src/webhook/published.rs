//! Durable webhooks as requests and deliveries see them. Written by the commit stream and by recovery.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ledger::{AgentId, Position, Webhook, WebhookChange, WebhookChanged, WebhookId};
use parking_lot::RwLock;
use wal::Lsn;

use super::state::Webhooks;

#[derive(Default)]
pub(crate) struct PublishedWebhooks {
    maps: RwLock<Maps>,
    active: AtomicUsize,
}

#[derive(Default)]
struct Maps {
    webhooks: HashMap<WebhookId, Arc<Webhook>>,
    /// In the order of their creation.
    by_agent: HashMap<AgentId, Vec<WebhookId>>,
}

impl PublishedWebhooks {
    /// The webhooks that recovery has found.
    pub(crate) fn recovered(state: &Webhooks) -> Self {
        let published = Self::default();
        let mut webhooks: Vec<&Webhook> = state.iter().collect();
        webhooks.sort_unstable_by_key(|webhook| (webhook.created_at, webhook.id));
        for webhook in webhooks {
            published.put(webhook.clone());
        }
        published
    }

    /// For the commit stream: a record about a webhook is durable.
    pub(crate) fn publish(&self, lsn: Lsn, fact: &WebhookChanged) {
        let position = Position::new(lsn.get());
        if fact.change == WebhookChange::Deleted {
            return self.remove(fact.agent, fact.webhook);
        }
        let old = self.get(fact.webhook);
        let webhook = match old {
            None => Webhook::created(fact, position),
            Some(old) => {
                let mut webhook = (*old).clone();
                webhook.apply(fact, position);
                webhook
            }
        };
        self.put(webhook);
    }

    pub(crate) fn get(&self, id: WebhookId) -> Option<Arc<Webhook>> {
        self.maps.read().webhooks.get(&id).cloned()
    }

    /// Those of an agent, in the order of their creation.
    pub(crate) fn of(&self, agent: AgentId) -> Vec<Arc<Webhook>> {
        let maps = self.maps.read();
        let ids = maps.by_agent.get(&agent).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| maps.webhooks.get(id).cloned()).collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Webhook>> {
        self.maps.read().webhooks.values().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.maps.read().webhooks.len()
    }

    /// Whether nobody is to be told anything.
    pub(crate) fn is_silent(&self) -> bool {
        self.active.load(Ordering::Acquire) == 0
    }

    pub(crate) fn has_any(&self, agent: AgentId) -> bool {
        self.maps.read().by_agent.contains_key(&agent)
    }

    fn put(&self, webhook: Webhook) {
        let mut maps = self.maps.write();
        let is_active = webhook.disabled.is_none();
        let (id, agent) = (webhook.id, webhook.agent);
        let old = maps.webhooks.insert(id, Arc::new(webhook));
        if old.is_none() {
            maps.by_agent.entry(agent).or_default().push(id);
        }
        self.count(old.is_some_and(|old| old.disabled.is_none()), is_active);
    }

    fn remove(&self, agent: AgentId, id: WebhookId) {
        let mut maps = self.maps.write();
        let old = maps.webhooks.remove(&id);
        if let Some(ids) = maps.by_agent.get_mut(&agent) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                maps.by_agent.remove(&agent);
            }
        }
        self.count(old.is_some_and(|old| old.disabled.is_none()), false);
    }

    /// Called under the write guard, so the count never lags behind what readers find.
    fn count(&self, was_active: bool, is_active: bool) {
        match (was_active, is_active) {
            (false, true) => drop(self.active.fetch_add(1, Ordering::AcqRel)),
            (true, false) => drop(self.active.fetch_sub(1, Ordering::AcqRel)),
            (true, true) | (false, false) => {}
        }
    }
}
