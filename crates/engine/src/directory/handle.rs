//! The engine's grip on the directory actor. The `ActorRef` does not leave this folder.

use std::sync::Arc;

use ractor::{Actor, ActorRef};

use super::{
    actor::{Arguments, DirectoryActor},
    message::Message,
    owner::Agents,
};
use crate::shared::Shared;

#[derive(Clone)]
pub(crate) struct Handle(ActorRef<Message>);

impl Handle {
    /// Starts the directory actor with the agents that recovery found.
    pub(crate) async fn start(agents: Agents, shared: Arc<Shared>) -> Self {
        let started = DirectoryActor::spawn(None, DirectoryActor, Arguments { agents, shared }).await;
        let (actor, _) = started.expect("the directory actor has nothing that can fail at start");
        Self(actor)
    }

    pub(crate) fn send(&self, message: Message) {
        self.0.send_message(message).expect("the directory actor ends with the process");
    }
}
