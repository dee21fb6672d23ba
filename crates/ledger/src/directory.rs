//! Facts about agents, decided by the directory actor.

use crate::{
    Agent, AgentId, Currency, Decision, Denial, Key, KeyHash, KeyId, KeyKind, KeyScope, KeyUse, KeyVerdict,
    Rules, Timestamp, WalletId, WebhookChanged,
};

/// A new agent with its first keys and its first wallet.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct AgentCreated {
    pub agent: AgentId,
    pub name: Box<str>,
    pub operator: Box<str>,
    pub metadata: Option<Box<str>>,
    pub public_key: [u8; 32],
    pub keys: Vec<Key>,
    pub wallet: WalletId,
    pub currency: Currency,
    pub at: Timestamp,
}

#[derive(Clone, Eq, PartialEq, Debug)]
pub struct WalletOpened {
    pub agent: AgentId,
    pub wallet: WalletId,
    pub label: Option<Box<str>>,
    pub currency: Currency,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
}

impl WalletOpened {
    pub fn for_each_key(&self, mut f: impl FnMut(KeyHash, u64, u32)) {
        if let Some(key) = &self.key {
            f(key.hash(KeyScope::OpenWallet), key.fingerprint, 0);
        }
    }
}

/// A further key, valid from its `created_at`.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct KeyAdded {
    pub agent: AgentId,
    pub key: Key,
}

#[derive(Clone, Eq, PartialEq, Debug)]
pub struct KeyRevoked {
    pub agent: AgentId,
    pub key: KeyId,
    pub at: Timestamp,
}

/// A new key in the place of all others of its kind, which end at `old_expire_at` unless they end sooner.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct KeysRotated {
    pub agent: AgentId,
    pub key: Key,
    pub old_expire_at: Timestamp,
}

/// A fact that changes an existing agent.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum AgentFact {
    WalletOpened(WalletOpened),
    KeyAdded(KeyAdded),
    KeyRevoked(KeyRevoked),
    KeysRotated(KeysRotated),
    /// Its own state is kept beside the agent; the agent remembers the idempotency key.
    WebhookChanged(WebhookChanged),
}

impl AgentFact {
    pub fn agent(&self) -> AgentId {
        match self {
            AgentFact::WalletOpened(fact) => fact.agent,
            AgentFact::KeyAdded(fact) => fact.agent,
            AgentFact::KeyRevoked(fact) => fact.agent,
            AgentFact::KeysRotated(fact) => fact.agent,
            AgentFact::WebhookChanged(fact) => fact.agent,
        }
    }
}

#[derive(Clone, Eq, PartialEq, Debug)]
pub struct OpenWalletCommand {
    /// Drawn by the caller: the rules know no chance.
    pub wallet: WalletId,
    pub label: Option<Box<str>>,
    pub currency: Currency,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
}

pub fn decide_open_wallet(
    agent: &Agent,
    command: OpenWalletCommand,
    rules: &Rules,
) -> Decision<WalletOpened> {
    match agent.idempotency.judge(command.key.as_ref(), KeyScope::OpenWallet) {
        KeyVerdict::New => {}
        KeyVerdict::Repeats(place) => return Decision::Replay(place),
        KeyVerdict::Conflicts => return Decision::Denied(Denial::KeyConflict),
    }
    if !rules.currencies.contains(&command.currency) {
        return Decision::Denied(Denial::UnsupportedCurrency);
    }
    let limit = rules.wallets_per_agent_max;
    if reached(agent.wallets.len(), limit) {
        return Decision::Denied(Denial::TooManyWallets { limit });
    }
    Decision::Fact(WalletOpened {
        agent: agent.id,
        wallet: command.wallet,
        label: command.label,
        currency: command.currency,
        key: command.key,
        at: command.at,
    })
}

/// Decides a further key. Its id must be new to the agent.
pub fn decide_add_key(agent: &Agent, key: Key, rules: &Rules) -> Decision<KeyAdded> {
    assert!(agent.key(key.id).is_none(), "a new key has a new id");
    let limit = rules.keys_per_agent_max;
    let usable = agent.keys.iter().filter(|old| old.usable(key.created_at)).count();
    if reached(usable, limit) {
        return Decision::Denied(Denial::TooManyKeys { limit });
    }
    Decision::Fact(KeyAdded { agent: agent.id, key })
}

/// Decides the end of a key. A key that has ended already is as unknown as one that never was.
pub fn decide_revoke_key(agent: &Agent, id: KeyId, at: Timestamp) -> Decision<KeyRevoked> {
    let Some(key) = agent.key(id).filter(|key| key.usable(at)) else {
        return Decision::Denied(Denial::UnknownKey);
    };
    let is_other_owner = |other: &Key| other.kind == KeyKind::Owner && other.id != id && other.usable(at);
    if key.kind == KeyKind::Owner && !agent.keys.iter().any(is_other_owner) {
        return Decision::Denied(Denial::LastOwnerKey);
    }
    Decision::Fact(KeyRevoked { agent: agent.id, key: id, at })
}

/// Decides a rotation: `key` replaces all others of its kind, which stay usable until `old_expire_at` at most.
/// Without overlap it passes at the limit of keys too.
pub fn decide_rotate(
    agent: &Agent,
    key: Key,
    old_expire_at: Timestamp,
    rules: &Rules,
) -> Decision<KeysRotated> {
    assert!(agent.key(key.id).is_none(), "a new key has a new id");
    let now = key.created_at;
    let limit = rules.keys_per_agent_max;
    let stays = |old: &&Key| old.usable(now) && (old.kind != key.kind || now < old_expire_at);
    if reached(agent.keys.iter().filter(stays).count(), limit) {
        return Decision::Denied(Denial::TooManyKeys { limit });
    }
    Decision::Fact(KeysRotated { agent: agent.id, key, old_expire_at })
}

fn reached(count: usize, limit: u32) -> bool {
    u32::try_from(count).map_or(true, |count| count >= limit)
}

#[cfg(test)]
mod tests;
