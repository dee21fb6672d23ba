//! What the directory does with a command: decide by the pure rules, append the record, change the agent, park the
//! reply.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use journal::{Encode, RowRef, Scratch};
use ledger::{
    Agent, AgentCreated, AgentFact, AgentId, Decision, Fact, KeyHash, KeyPlace, KeyScope, OpenWalletCommand,
    Position, Rules, WalletId,
};
use wal::{Lsn, Refused};

use super::message::{Command, RowsReply};
use crate::{
    refusal::Refusal,
    release::{Companion, Parked, Reply},
    shared::Shared,
    views::NewAgent,
    webhook::{WebhookCommand, WebhookPlace, WebhookRows, Webhooks},
};

/// Every agent of the partition, in the order of their ids, so that a snapshot can walk them in steps.
pub(crate) type Agents = BTreeMap<AgentId, Agent>;

/// Bytes of snapshot rows that are made at a time: an agent's row has the id of each of its wallets, and a worker that makes
/// those of millions keeps payments waiting for as long.
const ROWS_BYTES: usize = 64 << 10;

pub(super) struct Owner {
    agents: Agents,
    webhooks: Webhooks,
    shared: Arc<Shared>,
    scratch: Scratch,
}

impl Owner {
    pub(super) fn new(agents: Agents, webhooks: Webhooks, shared: Arc<Shared>) -> Self {
        Self { agents, webhooks, shared, scratch: Scratch::default() }
    }

    pub(super) fn carry_out(&mut self, command: Command, parked: Parked) {
        let shared = self.shared.clone();
        let rules = &shared.rules;
        match command {
            Command::Create(new) => self.create(*new, parked),
            Command::Read(id) => self.read(id, parked),
            Command::OpenWallet { agent, command } => self.open_wallet(agent, command, parked),
            Command::Webhook { agent, command } => self.webhook(agent, *command, parked),
            Command::AddKey { agent, key } => self.decide(agent, parked, |agent| {
                map(ledger::decide_add_key(agent, *key, rules), AgentFact::KeyAdded)
            }),
            Command::RevokeKey { agent, key, at } => self.decide(agent, parked, |agent| {
                map(ledger::decide_revoke_key(agent, key, at), AgentFact::KeyRevoked)
            }),
            Command::Rotate { agent, key, old_expire_at } => self.decide(agent, parked, |agent| {
                map(ledger::decide_rotate(agent, *key, old_expire_at, rules), AgentFact::KeysRotated)
            }),
        }
    }

    /// Has some agents forget the keys of records below `below`, and says which was the last.
    pub(super) fn forget_keys(
        &mut self,
        below: u64,
        after: Option<AgentId>,
        limit: usize,
    ) -> Option<AgentId> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        for (id, agent) in self.agents.range_mut((start, Bound::Unbounded)).take(limit) {
            self.shared.keys.forget(&mut agent.idempotency, below);
            last = Some(*id);
        }
        last
    }

    pub(super) fn rows(&mut self, after: Option<AgentId>, limit: usize) -> RowsReply {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut reply = RowsReply { rows: Vec::new(), next: None, decided: Position::ZERO };
        let (mut last, mut bytes) = (after, 0);
        for (id, agent) in self.agents.range((start, Bound::Unbounded)) {
            if reply.rows.len() == limit || bytes >= ROWS_BYTES {
                reply.next = last;
                return reply;
            }
            journal::encode_row(RowRef::Agent(agent), &mut self.scratch);
            bytes += self.scratch.bytes().len();
            reply.rows.push(self.scratch.bytes().to_vec());
            reply.decided = reply.decided.max(agent.decided);
            last = Some(*id);
        }
        reply
    }

    pub(super) fn webhook_rows(&mut self, after: Option<WebhookPlace>, limit: usize) -> WebhookRows {
        self.webhooks.rows(after, limit, &mut self.scratch)
    }

    fn create(&mut self, new: NewAgent, parked: Parked) {
        let partition = self.shared.options.partition;
        let created = AgentCreated {
            agent: AgentId::new(partition, self.shared.random()),
            name: new.name,
            operator: new.operator,
            metadata: new.metadata,
            public_key: new.public_key,
            keys: new.keys,
            wallet: WalletId::new(partition, self.shared.random()),
            currency: self.shared.options.default_currency,
            at: new.at,
        };
        assert!(!self.agents.contains_key(&created.agent), "112 random bits do not come up twice");
        // The reply shows the agent as the record will have made it; its position is set right below.
        let shown = Agent::created(&created, Position::ZERO);
        created.encode(&mut self.scratch);
        match self.append(parked, Reply::Agent(Some(Box::new(shown)))) {
            Ok(lsn) => {
                let agent = Agent::created(&created, Position::new(lsn.get()));
                self.agents.insert(created.agent, agent);
            }
            Err((parked, refused)) => parked.release(Reply::Refused(refused.into())),
        }
    }

    fn open_wallet(&mut self, id: AgentId, command: OpenWalletCommand, parked: Parked) {
        let shared = self.shared.clone();
        let hash = command.key.as_ref().map(|key| key.hash(KeyScope::OpenWallet));
        let Some(parked) = self.recall(id, hash, parked) else { return };
        self.decide(id, parked, |agent| {
            map(ledger::decide_open_wallet(agent, command, &shared.rules), AgentFact::WalletOpened)
        });
        self.release_recalled(id);
    }

    fn webhook(&mut self, id: AgentId, command: WebhookCommand, parked: Parked) {
        let hash = command.key().map(|(key, scope)| key.hash(scope));
        let Some(parked) = self.recall(id, hash, parked) else { return };
        let decision = match self.agents.get(&id) {
            Some(agent) => self.webhooks.decide(agent, command, &self.shared.rules),
            None => return parked.release(Reply::Refused(Refusal::UnknownAgent)),
        };
        match decision {
            Some(decision) => self.decide(id, parked, |_| decision),
            None => {
                let decided = self.agents.get(&id).map_or(Position::ZERO, |agent| agent.decided);
                self.shared.release(decided, parked, Reply::Done);
            }
        }
        self.release_recalled(id);
    }

    /// Brings a key that was moved to disk back for one decision; `None` when that failed, which was answered.
    fn recall(&mut self, id: AgentId, hash: Option<KeyHash>, parked: Parked) -> Option<Parked> {
        let Some(agent) = self.agents.get_mut(&id) else { return Some(parked) };
        let hashes = || hash.into_iter().collect();
        let Err(refusal) = self.shared.keys.recall(id.raw(), &mut agent.idempotency, 0, hashes) else {
            return Some(parked);
        };
        agent.idempotency.release_recalled();
        self.shared.release(agent.decided, parked, Reply::Refused(refusal));
        None
    }

    fn release_recalled(&mut self, id: AgentId) {
        if let Some(agent) = self.agents.get_mut(&id) {
            agent.idempotency.release_recalled();
        }
    }

    fn read(&self, id: AgentId, parked: Parked) {
        let agent = self.agents.get(&id);
        let decided = agent.map_or(Position::ZERO, |agent| agent.decided);
        self.shared.release(decided, parked, Reply::Agent(agent.cloned().map(Box::new)));
    }

    /// Decides something about one existing agent and records it.
    fn decide(&mut self, id: AgentId, parked: Parked, decide: impl FnOnce(&Agent) -> Decision<AgentFact>) {
        let Some(agent) = self.agents.get(&id) else {
            return parked.release(Reply::Refused(Refusal::UnknownAgent));
        };
        let decided = agent.decided;
        match decide(agent) {
            Decision::Fact(fact) => {
                Fact::from(fact.clone()).encode(&mut self.scratch);
                match self.append(parked, reply_of(&fact)) {
                    Ok(lsn) => self.apply(&fact, lsn),
                    Err((parked, refused)) => parked.release(Reply::Refused(refused.into())),
                }
            }
            Decision::Denied(denial) => self.shared.release(decided, parked, Reply::Refused(denial.into())),
            Decision::Replay(place) => self.shared.release(decided, parked, Reply::Replay(place)),
        }
    }

    fn apply(&mut self, fact: &AgentFact, lsn: Lsn) {
        let agent = self.agents.get_mut(&fact.agent()).expect("decided about above");
        let before = agent.idempotency.len();
        let applied = apply_agent_fact(agent, fact, lsn);
        assert!(applied, "a new record is above everything decided before");
        if let AgentFact::WebhookChanged(changed) = fact {
            self.webhooks.apply(changed, Position::new(lsn.get()));
        }
        remember_agent_fact(agent, fact, lsn, &self.shared.rules);
        self.shared.keys.count(before, agent.idempotency.len());
    }

    /// Appends what was encoded last.
    fn append(&self, parked: Parked, reply: Reply) -> Result<Lsn, (Parked, Refused)> {
        let mut waiting = Some((parked, reply));
        let appended = self.shared.wal.append_with(self.scratch.bytes(), |_| {
            let (parked, reply) = waiting.take().expect("called once");
            Companion::reply(parked, reply)
        });
        appended.map_err(|refused| (waiting.expect("not called when the log refuses").0, refused))
    }
}

/// The directory's side of the record at `lsn`; false when the agent knows it already. Live and in replay.
pub(crate) fn apply_agent_fact(agent: &mut Agent, fact: &AgentFact, lsn: Lsn) -> bool {
    agent.apply(fact, Position::new(lsn.get()))
}

/// The keys that the record at `lsn` uses, for its agent to remember. Live and in replay.
pub(crate) fn remember_agent_fact(agent: &mut Agent, fact: &AgentFact, lsn: Lsn, rules: &Rules) {
    let mut remember = |at, hash, fingerprint, item| {
        let place = KeyPlace { lsn: lsn.get(), item };
        let retention_ms = rules.idempotency_retention_ms;
        agent.idempotency.remember(hash, place, fingerprint, at, retention_ms);
    };
    match fact {
        AgentFact::WalletOpened(opened) => {
            opened.for_each_key(|hash, fingerprint, item| remember(opened.at, hash, fingerprint, item));
        }
        AgentFact::WebhookChanged(changed) => {
            changed.for_each_key(|hash, fingerprint, item| remember(changed.at, hash, fingerprint, item));
        }
        AgentFact::KeyAdded(_) | AgentFact::KeyRevoked(_) | AgentFact::KeysRotated(_) => {}
    }
}

fn reply_of(fact: &AgentFact) -> Reply {
    match fact {
        AgentFact::WalletOpened(opened) => Reply::Opened(Box::new(opened.clone())),
        AgentFact::WebhookChanged(changed) => Reply::Webhook(Box::new(changed.clone())),
        AgentFact::KeyAdded(_) | AgentFact::KeyRevoked(_) | AgentFact::KeysRotated(_) => Reply::Done,
    }
}

fn map<F>(decision: Decision<F>, fact: impl FnOnce(F) -> AgentFact) -> Decision<AgentFact> {
    match decision {
        Decision::Fact(decided) => Decision::Fact(fact(decided)),
        Decision::Denied(denial) => Decision::Denied(denial),
        Decision::Replay(place) => Decision::Replay(place),
    }
}
