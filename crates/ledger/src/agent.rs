//! An agent's state: who it is, its API keys, its wallets.
//!
//! Owner of state: the directory actor. Secrets never come here: a key is known by the SHA-256 of its secret part.

use std::fmt;

use crate::{AgentCreated, AgentFact, AgentId, IdempotencyKeys, KeyId, Position, Timestamp, WalletId};

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum KeyKind {
    /// In the hands of the agent's runtime: spends and reads.
    Runtime,
    /// In the hands of the agent's owner: keys, freezing, policy.
    Owner,
}

/// What a key may be used for.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Scopes(u8);

impl Scopes {
    pub const NONE: Scopes = Scopes(0);
    pub const READ: Scopes = Scopes(1);
    pub const PAY: Scopes = Scopes(2);
    pub const PROVIDE: Scopes = Scopes(4);
    pub const WEBHOOKS: Scopes = Scopes(8);
    pub const ALL: Scopes = Scopes(15);

    /// `None` for bits that mean nothing.
    pub const fn from_bits(bits: u8) -> Option<Scopes> {
        if bits & !Self::ALL.0 == 0 { Some(Scopes(bits)) } else { None }
    }

    pub const fn bits(self) -> u8 {
        self.0
    }

    #[must_use]
    pub const fn with(self, other: Scopes) -> Scopes {
        Scopes(self.0 | other.0)
    }

    /// Whether everything in `other` is allowed.
    pub const fn contains(self, other: Scopes) -> bool {
        self.0 & other.0 == other.0
    }
}

#[derive(Clone, Eq, PartialEq)]
pub struct Key {
    pub id: KeyId,
    pub kind: KeyKind,
    /// SHA-256 of the secret part.
    pub hash: [u8; 32],
    pub scopes: Scopes,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl Key {
    /// A revocation counts at once, whatever the clock says.
    pub fn usable(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

/// Without the hash: a key in a log line must not help anybody to guess its secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("scopes", &self.scopes)
            .field("created_at", &self.created_at)
            .field("expires_at", &self.expires_at)
            .field("revoked_at", &self.revoked_at)
            .finish_non_exhaustive()
    }
}

/// Score of an agent, 0 to 100, that has not settled any service call: neither trusted nor distrusted. Payments do not
/// move it.
pub const TRUST_SCORE_START: u8 = 50;

#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Agent {
    pub id: AgentId,
    pub name: Box<str>,
    pub operator: Box<str>,
    /// A JSON object as it was sent.
    pub metadata: Option<Box<str>>,
    /// Ed25519, for signed requests.
    pub public_key: [u8; 32],
    pub created_at: Timestamp,
    /// Usable keys, and those that ended since the last key was added.
    pub keys: Vec<Key>,
    /// In the order of their opening.
    pub wallets: Vec<WalletId>,
    /// Keys of requests that this agent decides, such as opening a wallet.
    pub idempotency: IdempotencyKeys,
    /// Position of the last fact about this agent.
    pub decided: Position,
}

impl Agent {
    /// The agent that the record at `position` brought to life.
    pub fn created(fact: &AgentCreated, position: Position) -> Agent {
        Agent {
            id: fact.agent,
            name: fact.name.clone(),
            operator: fact.operator.clone(),
            metadata: fact.metadata.clone(),
            public_key: fact.public_key,
            created_at: fact.at,
            keys: fact.keys.clone(),
            wallets: vec![fact.wallet],
            idempotency: IdempotencyKeys::default(),
            decided: position,
        }
    }

    /// Folds in the fact recorded at `position`; false when it is at or below `decided` and therefore known already.
    /// The fact's idempotency key is remembered by the caller, who knows how long keys are kept.
    pub fn apply(&mut self, fact: &AgentFact, position: Position) -> bool {
        assert_eq!(fact.agent(), self.id, "a fact reaches the agent it is about");
        if position <= self.decided {
            return false;
        }
        match fact {
            AgentFact::WalletOpened(opened) => self.wallets.push(opened.wallet),
            AgentFact::KeyAdded(added) => self.add_key(added.key.clone()),
            AgentFact::KeyRevoked(revoked) => {
                for key in self.keys.iter_mut().filter(|key| key.id == revoked.key) {
                    key.revoked_at = Some(revoked.at);
                }
            }
            AgentFact::KeysRotated(rotated) => {
                for key in self.keys.iter_mut().filter(|key| key.kind == rotated.key.kind) {
                    let limit = rotated.old_expire_at;
                    key.expires_at = Some(key.expires_at.map_or(limit, |expires_at| expires_at.min(limit)));
                }
                self.add_key(rotated.key.clone());
            }
            AgentFact::WebhookChanged(_) => {}
        }
        self.decided = position;
        true
    }

    pub fn key(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// Keys that have ended make room, so that an agent that rotates for years stays small.
    fn add_key(&mut self, key: Key) {
        self.keys.retain(|old| old.usable(key.created_at));
        self.keys.push(key);
    }
}

#[cfg(test)]
mod tests;
