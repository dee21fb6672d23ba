//! Every webhook as decided, by agent: part of what the directory actor owns.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use journal::{RowRef, Scratch};
use ledger::{
    Agent, AgentFact, AgentId, CreateWebhookCommand, Decision, Denial, KeyScope, KeyUse, PatchWebhookCommand,
    Position, RotateWebhookCommand, Rules, Timestamp, Webhook, WebhookChange, WebhookChanged,
    WebhookDisabled, WebhookId, decide_create_webhook, decide_delete_webhook, decide_disable_webhook,
    decide_patch_webhook, decide_rotate_webhook,
};

/// What can be asked about an agent's webhooks.
pub(crate) enum WebhookCommand {
    Create(CreateWebhookCommand),
    Patch(WebhookId, PatchWebhookCommand),
    Rotate(WebhookId, RotateWebhookCommand),
    /// By the node, when a receiver is gone or does not keep up.
    Disable(WebhookId, WebhookDisabled, Timestamp),
    Delete(WebhookId, Timestamp),
}

impl WebhookCommand {
    /// The idempotency key that it carries, with its scope.
    pub(crate) fn key(&self) -> Option<(&KeyUse, KeyScope)> {
        match self {
            Self::Create(command) => Some((command.key.as_ref()?, KeyScope::CreateWebhook)),
            Self::Rotate(_, command) => Some((command.key.as_ref()?, KeyScope::RotateWebhook)),
            Self::Patch(..) | Self::Disable(..) | Self::Delete(..) => None,
        }
    }
}

/// Where a webhook stands among all.
pub(crate) type WebhookPlace = (AgentId, WebhookId);

#[derive(Default)]
pub(crate) struct Webhooks(BTreeMap<WebhookPlace, Webhook>);

/// Snapshot rows of some webhooks; fewer than asked for means that there are no more.
pub(crate) struct WebhookRows {
    pub(crate) rows: Vec<Vec<u8>>,
    pub(crate) last: Option<WebhookPlace>,
    pub(crate) decided: Position,
}

impl Webhooks {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Webhook> {
        self.0.values()
    }

    /// A snapshot row.
    pub(crate) fn restore(&mut self, webhook: Webhook) {
        self.0.insert((webhook.agent, webhook.id), webhook);
    }

    /// The record at `position`, live and in replay.
    pub(crate) fn apply(&mut self, fact: &WebhookChanged, position: Position) {
        let place = (fact.agent, fact.webhook);
        if self.0.get(&place).is_some_and(|known| position <= known.decided) {
            return;
        }
        if fact.change == WebhookChange::Deleted {
            self.0.remove(&place);
        } else if let Some(webhook) = self.0.get_mut(&place) {
            webhook.apply(fact, position);
        } else {
            // In replay also a later record than its creation: then its deletion, which the snapshot had seen, follows.
            self.0.insert(place, Webhook::created(fact, position));
        }
    }

    /// What comes of a command; `None` when it changes nothing. Changes nothing itself.
    pub(crate) fn decide(
        &self,
        agent: &Agent,
        command: WebhookCommand,
        rules: &Rules,
    ) -> Option<Decision<AgentFact>> {
        let found = |id| self.0.get(&(agent.id, id));
        let decision = match command {
            WebhookCommand::Create(command) => {
                decide_create_webhook(agent, self.count(agent.id), command, rules)
            }
            WebhookCommand::Rotate(id, command) => decide_rotate_webhook(agent, found(id), command),
            WebhookCommand::Patch(id, patch) => {
                of_known(found(id), |webhook| decide_patch_webhook(webhook, patch))?
            }
            WebhookCommand::Disable(id, reason, at) => {
                of_known(found(id), |webhook| decide_disable_webhook(webhook, reason, at))?
            }
            WebhookCommand::Delete(id, at) => {
                of_known(found(id), |webhook| Some(decide_delete_webhook(webhook, at)))?
            }
        };
        Some(match decision {
            Decision::Fact(fact) => Decision::Fact(AgentFact::WebhookChanged(fact)),
            Decision::Denied(denial) => Decision::Denied(denial),
            Decision::Replay(place) => Decision::Replay(place),
        })
    }

    pub(crate) fn rows(
        &self,
        after: Option<WebhookPlace>,
        limit: usize,
        scratch: &mut Scratch,
    ) -> WebhookRows {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut reply = WebhookRows { rows: Vec::with_capacity(limit), last: None, decided: Position::ZERO };
        for (place, webhook) in self.0.range((start, Bound::Unbounded)).take(limit) {
            journal::encode_row(RowRef::Webhook(webhook), scratch);
            reply.rows.push(scratch.bytes().to_vec());
            reply.last = Some(*place);
            reply.decided = reply.decided.max(webhook.decided);
        }
        reply
    }

    /// Webhooks that differ between two states; for the audit.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let places: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let differing = places.into_iter().filter(|place| self.0.get(place) != other.0.get(place));
        differing.map(|(_, id)| format!("{id} differs between the replay and the snapshot")).collect()
    }

    fn count(&self, agent: AgentId) -> usize {
        let all = (agent, WebhookId::from_raw(0))..=(agent, WebhookId::from_raw(u128::MAX));
        self.0.range(all).count()
    }
}

/// A decision about a webhook that has to exist.
fn of_known(
    webhook: Option<&Webhook>,
    decide: impl FnOnce(&Webhook) -> Option<WebhookChanged>,
) -> Option<Decision<WebhookChanged>> {
    match webhook {
        None => Some(Decision::Denied(Denial::UnknownWebhook)),
        Some(webhook) => decide(webhook).map(Decision::Fact),
    }
}
