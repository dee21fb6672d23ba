//! The engine's grip on the directory actor. The `ActorRef` does not leave this folder.

use std::sync::Arc;

use ractor::{Actor, ActorRef};

use super::{
    actor::{Arguments, DirectoryActor},
    message::Message,
    owner::Agents,
};
use crate::{shared::Shared, webhook::Webhooks};

#[derive(Clone)]
pub(crate) struct Handle(ActorRef<Message>);

impl Handle {
    /// Starts the directory actor with the agents and webhooks that recovery found.
    pub(crate) async fn start(agents: Agents, webhooks: Webhooks, shared: Arc<Shared>) -> Self {
        let arguments = Arguments { agents, webhooks, shared };
        let started = DirectoryActor::spawn(None, DirectoryActor, arguments).await;
        let (actor, _) = started.expect("the directory actor has nothing that can fail at start");
        Self(actor)
    }

    /// The directory actor ends with its runtime only. A message that it does not get is dropped, which tells whoever
    /// waits for the reply that there will be none.
    pub(crate) fn send(&self, message: Message) {
        drop(self.0.send_message(message));
    }
}
