//! What the engine offers about webhooks.

use std::sync::Arc;

use ledger::{
    AgentId, CreateWebhookCommand, Denial, KeyUse, PatchWebhookCommand, RotateWebhookCommand, Timestamp,
    WEBHOOK_SECRET_BYTES, Webhook, WebhookChanged, WebhookDisabled, WebhookId, WebhookSecret,
};

use super::state::WebhookCommand;
use crate::{
    Engine, directory,
    refusal::Refusal,
    release::Reply,
    views::{Answer, Caller},
};

/// A webhook to create for the caller; its secret is drawn by the engine.
#[derive(Clone, Debug)]
pub struct CreateWebhook {
    pub url: Box<str>,
    /// Names of events, or families such as `payment.*`; at least one.
    pub events: Vec<Box<str>>,
    pub description: Option<Box<str>>,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
}

impl Engine {
    /// Creates a webhook. The answer has the secret, also when it is given again under the same key.
    pub async fn create_webhook(
        &self,
        caller: &Caller,
        command: CreateWebhook,
    ) -> Result<Answer<WebhookChanged>, Refusal> {
        let CreateWebhook { url, events, description, key, at } = command;
        let shared = self.shared();
        let webhook = WebhookId::new(shared.options.partition, shared.random());
        let secret = self.new_secret();
        let command = CreateWebhookCommand { webhook, url, events, description, secret, key, at };
        self.keyed(caller, WebhookCommand::Create(command)).await
    }

    /// Gives a webhook a new secret; the old one counts until `overlap_until`.
    pub async fn rotate_webhook(
        &self,
        caller: &Caller,
        id: WebhookId,
        overlap_until: Timestamp,
        key: Option<KeyUse>,
        at: Timestamp,
    ) -> Result<Answer<WebhookChanged>, Refusal> {
        let command = RotateWebhookCommand { secret: self.new_secret(), overlap_until, key, at };
        self.keyed(caller, WebhookCommand::Rotate(id, command)).await
    }

    /// Changes a webhook, and returns it as it is then.
    pub async fn patch_webhook(
        &self,
        caller: &Caller,
        id: WebhookId,
        patch: PatchWebhookCommand,
    ) -> Result<Arc<Webhook>, Refusal> {
        self.ask_webhooks(caller, WebhookCommand::Patch(id, patch)).await?;
        self.webhook(caller.agent, id).ok_or(Denial::UnknownWebhook.into())
    }

    /// Ends a webhook.
    pub async fn delete_webhook(&self, caller: &Caller, id: WebhookId, at: Timestamp) -> Result<(), Refusal> {
        self.ask_webhooks(caller, WebhookCommand::Delete(id, at)).await.map(drop)
    }

    /// Records that the node sends this webhook nothing more. One that is off already, or gone, stays as it is.
    pub async fn disable_webhook(
        &self,
        id: WebhookId,
        reason: WebhookDisabled,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let Some(webhook) = self.shared().webhooks.get(id) else { return Ok(()) };
        let caller = Caller { agent: webhook.agent, meter: Arc::default() };
        match self.ask_webhooks(&caller, WebhookCommand::Disable(id, reason, at)).await {
            Err(Refusal::Denied(Denial::UnknownWebhook)) => Ok(()),
            asked => asked.map(drop),
        }
    }

    /// A durable webhook of the agent.
    pub fn webhook(&self, agent: AgentId, id: WebhookId) -> Option<Arc<Webhook>> {
        self.shared().webhooks.get(id).filter(|webhook| webhook.agent == agent)
    }

    /// A durable webhook, whoever's it is.
    pub fn any_webhook(&self, id: WebhookId) -> Option<Arc<Webhook>> {
        self.shared().webhooks.get(id)
    }

    /// The agent's webhooks, in the order of their creation.
    pub fn webhooks(&self, agent: AgentId) -> Vec<Arc<Webhook>> {
        self.shared().webhooks.of(agent)
    }

    /// Every webhook. Walks all of them.
    pub fn all_webhooks(&self) -> Vec<Arc<Webhook>> {
        self.shared().webhooks.all()
    }

    fn new_secret(&self) -> WebhookSecret {
        let mut bytes = [0; WEBHOOK_SECRET_BYTES];
        self.shared().entropy.fill(&mut bytes);
        WebhookSecret::new(bytes)
    }

    /// A command whose answer is its record, and which may carry a key.
    async fn keyed(
        &self,
        caller: &Caller,
        command: WebhookCommand,
    ) -> Result<Answer<WebhookChanged>, Refusal> {
        match self.ask_webhooks(caller, command).await? {
            Reply::Webhook(fact) => Ok(Answer::first(*fact)),
            Reply::Replay(place) => self.reads().webhook(place.lsn).await.map(Answer::again),
            reply => unreachable!("the directory answered with something it was not asked for: {reply:?}"),
        }
    }

    async fn ask_webhooks(&self, caller: &Caller, command: WebhookCommand) -> Result<Reply, Refusal> {
        let permit = self.admit(&caller.meter, 1).await?;
        let command = directory::Command::Webhook { agent: caller.agent, command: Box::new(command) };
        self.ask_directory(command, permit).await
    }
}
