//! What authentication sees: durable keys and the meters of their agents. Written by the commit stream and by
//! recovery, read by every request.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ledger::{AgentId, Key, KeyId, Timestamp};

use crate::{admission::AgentMeter, sharded::ShardedMap, views::KeyRecord};

pub(crate) struct PublishedDirectory {
    keys: ShardedMap<KeyId, KeyRecord>,
    agents: ShardedMap<AgentId, AgentEntry>,
    agent_count: AtomicU64,
}

struct AgentEntry {
    /// Digest of the operator's name; zero for [`OWN_OPERATOR`].
    operator: u64,
    meter: Arc<AgentMeter>,
    keys: Vec<KeyId>,
}

/// The operator of an agent that names none: every such agent is one of its own.
const OWN_OPERATOR: &str = "self";

impl PublishedDirectory {
    pub(crate) fn new() -> Self {
        Self { keys: ShardedMap::new(), agents: ShardedMap::new(), agent_count: AtomicU64::new(0) }
    }

    pub(crate) fn key(&self, id: KeyId) -> Option<KeyRecord> {
        self.keys.read(id, KeyRecord::clone)
    }

    pub(crate) fn agents(&self) -> u64 {
        self.agent_count.load(Ordering::Relaxed)
    }

    /// Whether two agents are one agent or belong to one operator.
    pub(crate) fn share_operator(&self, one: AgentId, other: AgentId) -> bool {
        let operator = |agent| self.agents.read(agent, |entry| entry.operator).unwrap_or(0);
        let named = operator(one);
        one == other || (named != 0 && named == operator(other))
    }

    pub(crate) fn publish_agent(&self, agent: AgentId, operator: &str, keys: &[Key]) {
        let operator = if operator == OWN_OPERATOR { 0 } else { digest(operator) };
        let entry = AgentEntry { operator, meter: Arc::default(), keys: Vec::with_capacity(keys.len()) };
        if self.agents.insert_new(agent, entry) {
            self.agent_count.fetch_add(1, Ordering::Relaxed);
        }
        for key in keys {
            self.publish_key(agent, key);
        }
    }

    /// Keys of the agent that have ended by then are dropped, as the directory's owner drops them.
    pub(crate) fn publish_key(&self, agent: AgentId, key: &Key) {
        let published = self.agents.write(agent, |entry| {
            let old = std::mem::replace(&mut entry.keys, vec![key.id]);
            (entry.meter.clone(), old)
        });
        let (meter, old) = published.expect("an agent is published before its keys");
        for id in old {
            if self.keys.read(id, |record| record.key.usable(key.created_at)) == Some(true) {
                self.agents.write(agent, |entry| entry.keys.push(id));
            } else {
                self.keys.remove(id);
            }
        }
        self.keys.insert_new(key.id, KeyRecord { key: key.clone(), agent, meter, used: Arc::default() });
    }

    pub(crate) fn publish_revoked(&self, key: KeyId, at: Timestamp) {
        self.keys.write(key, |record| record.key.revoked_at = Some(at));
    }

    /// The new key opens; the agent's other keys of its kind close at `old_expire_at`, if they do not close before.
    pub(crate) fn publish_rotated(&self, agent: AgentId, key: &Key, old_expire_at: Timestamp) {
        let old = self.agents.read(agent, |entry| entry.keys.clone()).unwrap_or_default();
        for id in old {
            self.keys.write(id, |record| {
                if record.key.kind == key.kind {
                    let sooner =
                        record.key.expires_at.map_or(old_expire_at, |expires| expires.min(old_expire_at));
                    record.key.expires_at = Some(sooner);
                }
            });
        }
        self.publish_key(agent, key);
    }
}

/// Never zero. Compared within this process only.
fn digest(operator: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    operator.hash(&mut hasher);
    hasher.finish().max(1)
}
