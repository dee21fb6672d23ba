//! Webhooks: who wants to hear of what, and where.
//!
//! Owner of state: the directory actor. Every change is recorded as the whole webhook, so that a record tells by itself
//! what held from it on; a deletion is the last record. What was sent, and whether it arrived, is not part of this state
//! and not in the log.
//! Invariants: an agent has at most so many; a webhook signs with one secret, and with the one before it until that
//! one's overlap is over.

mod event;

pub use event::EventKind;

use std::fmt;

use crate::{
    Agent, AgentId, Decision, Denial, KeyHash, KeyScope, KeyUse, KeyVerdict, Position, Rules, Timestamp,
    WebhookId,
};

/// Bytes of a secret.
pub const WEBHOOK_SECRET_BYTES: usize = 32;
/// Filters of one webhook: more than there are events would only repeat some.
pub const WEBHOOK_EVENTS_MAX: usize = 64;

/// What deliveries are signed with. It has to be kept as it is, because both sides sign with the same bytes.
#[derive(Clone, Eq, PartialEq)]
pub struct WebhookSecret([u8; WEBHOOK_SECRET_BYTES]);

impl WebhookSecret {
    pub const fn new(bytes: [u8; WEBHOOK_SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, for signing and for records. They must not reach a log line.
    pub const fn bytes(&self) -> &[u8; WEBHOOK_SECRET_BYTES] {
        &self.0
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(..)")
    }
}

/// Why nothing is sent any more.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum WebhookDisabled {
    /// Its agent turned it off.
    ByOwner,
    /// The receiver answered 410.
    Gone,
    /// A delivery failed at its last try.
    Failing,
    /// More waited for it than may wait.
    Backlog,
}

impl WebhookDisabled {
    pub const ALL: [WebhookDisabled; 4] =
        [WebhookDisabled::ByOwner, WebhookDisabled::Gone, WebhookDisabled::Failing, WebhookDisabled::Backlog];

    pub const fn as_str(self) -> &'static str {
        match self {
            WebhookDisabled::ByOwner => "by_owner",
            WebhookDisabled::Gone => "gone",
            WebhookDisabled::Failing => "failing",
            WebhookDisabled::Backlog => "backlog",
        }
    }
}

/// Why a webhook was recorded.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum WebhookChange {
    Created,
    Patched,
    /// It has a new secret.
    Rotated,
    /// The node turned it off.
    Disabled,
    Deleted,
}

/// A webhook as it is from this record on.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct WebhookChanged {
    pub webhook: WebhookId,
    pub change: WebhookChange,
    pub agent: AgentId,
    pub url: Box<str>,
    /// Names of events, or families such as `payment.*`.
    pub events: Vec<Box<str>>,
    pub description: Option<Box<str>>,
    pub secret: WebhookSecret,
    /// The secret before, and until when deliveries are signed with it too.
    pub previous: Option<(WebhookSecret, Timestamp)>,
    pub disabled: Option<WebhookDisabled>,
    pub key: Option<KeyUse>,
    pub created_at: Timestamp,
    pub at: Timestamp,
}

impl WebhookChanged {
    pub fn for_each_key(&self, mut f: impl FnMut(KeyHash, u64, u32)) {
        if let (Some(key), Some(scope)) = (&self.key, self.change.key_scope()) {
            f(key.hash(scope), key.fingerprint, 0);
        }
    }
}

impl WebhookChange {
    /// The scope of the key that such a change may carry.
    pub const fn key_scope(self) -> Option<KeyScope> {
        match self {
            WebhookChange::Created => Some(KeyScope::CreateWebhook),
            WebhookChange::Rotated => Some(KeyScope::RotateWebhook),
            WebhookChange::Patched | WebhookChange::Disabled | WebhookChange::Deleted => None,
        }
    }
}

/// State of one webhook.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Webhook {
    pub id: WebhookId,
    pub agent: AgentId,
    pub url: Box<str>,
    pub events: Vec<Box<str>>,
    pub description: Option<Box<str>>,
    pub secret: WebhookSecret,
    pub previous: Option<(WebhookSecret, Timestamp)>,
    pub disabled: Option<WebhookDisabled>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Position of the fact by which it began to listen, its creation or its latest activation: it hears of nothing before,
    /// however late what happened is read.
    pub listens_since: Position,
    /// Position of the last fact about it.
    pub decided: Position,
}

impl Webhook {
    /// The webhook that the record at `position` brought to life.
    pub fn created(fact: &WebhookChanged, position: Position) -> Webhook {
        Webhook {
            id: fact.webhook,
            agent: fact.agent,
            url: fact.url.clone(),
            events: fact.events.clone(),
            description: fact.description.clone(),
            secret: fact.secret.clone(),
            previous: fact.previous.clone(),
            disabled: fact.disabled,
            created_at: fact.created_at,
            updated_at: fact.at,
            listens_since: position,
            decided: position,
        }
    }

    /// Folds in a later record about it; false when it is known already.
    pub fn apply(&mut self, fact: &WebhookChanged, position: Position) -> bool {
        assert_eq!(fact.webhook, self.id, "a fact reaches the webhook it is about");
        if position <= self.decided {
            return false;
        }
        let begins_to_listen = self.disabled.is_some() && fact.disabled.is_none();
        let listens_since = if begins_to_listen { position } else { self.listens_since };
        *self = Webhook { listens_since, ..Webhook::created(fact, position) };
        true
    }

    /// Whether an event of this name is wanted.
    pub fn wants(&self, event: &str) -> bool {
        self.events.iter().any(|filter| filter_matches(filter, event))
    }

    fn changed(&self, change: WebhookChange, at: Timestamp) -> WebhookChanged {
        WebhookChanged {
            webhook: self.id,
            change,
            agent: self.agent,
            url: self.url.clone(),
            events: self.events.clone(),
            description: self.description.clone(),
            secret: self.secret.clone(),
            previous: self.previous.clone().filter(|(_, until)| at < *until),
            disabled: self.disabled,
            key: None,
            created_at: self.created_at,
            at,
        }
    }
}

/// Whether a filter (`payment.completed`, `payment.*`) lets an event through.
pub fn filter_matches(filter: &str, event: &str) -> bool {
    match filter.strip_suffix('*') {
        Some(family) => family.ends_with('.') && event.starts_with(family),
        None => filter == event,
    }
}

/// A webhook to create. Address and filters were checked where the request arrived.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct CreateWebhookCommand {
    /// Drawn by the caller: the rules know no chance.
    pub webhook: WebhookId,
    pub url: Box<str>,
    pub events: Vec<Box<str>>,
    pub description: Option<Box<str>>,
    pub secret: WebhookSecret,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
}

/// What its agent changes; `None` leaves a field as it is.
#[derive(Clone, Eq, PartialEq, Debug, Default)]
pub struct PatchWebhookCommand {
    pub url: Option<Box<str>>,
    pub events: Option<Vec<Box<str>>>,
    pub description: Option<Option<Box<str>>>,
    /// On or off. Turning it on forgets why it was off.
    pub enabled: Option<bool>,
    pub at: Timestamp,
}

/// A new secret.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct RotateWebhookCommand {
    pub secret: WebhookSecret,
    /// Until when deliveries are signed with the old secret too.
    pub overlap_until: Timestamp,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
}

/// Decides a creation for `agent`, which has `webhooks` already.
pub fn decide_create_webhook(
    agent: &Agent,
    webhooks: usize,
    command: CreateWebhookCommand,
    rules: &Rules,
) -> Decision<WebhookChanged> {
    match agent.idempotency.judge(command.key.as_ref(), KeyScope::CreateWebhook) {
        KeyVerdict::New => {}
        KeyVerdict::Repeats(place) => return Decision::Replay(place),
        KeyVerdict::Conflicts => return Decision::Denied(Denial::KeyConflict),
    }
    assert!(
        (1..=WEBHOOK_EVENTS_MAX).contains(&command.events.len()),
        "filters are checked where requests arrive"
    );
    let limit = rules.webhooks_per_agent_max;
    if u32::try_from(webhooks).map_or(true, |webhooks| webhooks >= limit) {
        return Decision::Denied(Denial::TooManyWebhooks { limit });
    }
    Decision::Fact(WebhookChanged {
        webhook: command.webhook,
        change: WebhookChange::Created,
        agent: agent.id,
        url: command.url,
        events: command.events,
        description: command.description,
        secret: command.secret,
        previous: None,
        disabled: None,
        key: command.key,
        created_at: command.at,
        at: command.at,
    })
}

/// Decides a new secret. The one before counts until `overlap_until`; the one before that ends now.
pub fn decide_rotate_webhook(
    agent: &Agent,
    webhook: Option<&Webhook>,
    command: RotateWebhookCommand,
) -> Decision<WebhookChanged> {
    match agent.idempotency.judge(command.key.as_ref(), KeyScope::RotateWebhook) {
        KeyVerdict::New => {}
        KeyVerdict::Repeats(place) => return Decision::Replay(place),
        KeyVerdict::Conflicts => return Decision::Denied(Denial::KeyConflict),
    }
    let Some(webhook) = webhook else { return Decision::Denied(Denial::UnknownWebhook) };
    let overlaps = command.at < command.overlap_until;
    Decision::Fact(WebhookChanged {
        secret: command.secret,
        previous: overlaps.then(|| (webhook.secret.clone(), command.overlap_until)),
        key: command.key,
        ..webhook.changed(WebhookChange::Rotated, command.at)
    })
}

/// Decides a change by its agent; `None` when it changes nothing.
pub fn decide_patch_webhook(webhook: &Webhook, patch: PatchWebhookCommand) -> Option<WebhookChanged> {
    let events = patch.events.unwrap_or_else(|| webhook.events.clone());
    assert!((1..=WEBHOOK_EVENTS_MAX).contains(&events.len()), "filters are checked where requests arrive");
    let disabled = match patch.enabled {
        None => webhook.disabled,
        Some(true) => None,
        // What the node said about it stays said.
        Some(false) => webhook.disabled.or(Some(WebhookDisabled::ByOwner)),
    };
    let changed = WebhookChanged {
        url: patch.url.unwrap_or_else(|| webhook.url.clone()),
        events,
        description: patch.description.unwrap_or_else(|| webhook.description.clone()),
        disabled,
        ..webhook.changed(WebhookChange::Patched, patch.at)
    };
    let same = changed.url == webhook.url
        && changed.events == webhook.events
        && changed.description == webhook.description
        && changed.disabled == webhook.disabled;
    (!same).then_some(changed)
}

/// Decides that the node turns it off; `None` when it is off already.
pub fn decide_disable_webhook(
    webhook: &Webhook,
    reason: WebhookDisabled,
    at: Timestamp,
) -> Option<WebhookChanged> {
    webhook
        .disabled
        .is_none()
        .then(|| WebhookChanged { disabled: Some(reason), ..webhook.changed(WebhookChange::Disabled, at) })
}

/// Decides its end.
pub fn decide_delete_webhook(webhook: &Webhook, at: Timestamp) -> WebhookChanged {
    webhook.changed(WebhookChange::Deleted, at)
}

#[cfg(test)]
mod tests;
