//! The ractor shell of the directory.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{
    message::Message,
    owner::{Agents, Owner},
};
use crate::{shared::Shared, webhook::Webhooks};

pub(super) struct DirectoryActor;

pub(super) struct Arguments {
    pub(super) agents: Agents,
    pub(super) webhooks: Webhooks,
    pub(super) shared: Arc<Shared>,
}

impl Actor for DirectoryActor {
    type Msg = Message;
    type State = Owner;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _: ActorRef<Message>,
        arguments: Arguments,
    ) -> Result<Owner, ActorProcessingErr> {
        Ok(Owner::new(arguments.agents, arguments.webhooks, arguments.shared))
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        owner: &mut Owner,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Command(command, parked) => owner.carry_out(command, parked),
            Message::ForgetKeys { below, after, limit, reply } => {
                // Who asked may be gone with the process.
                let _ = reply.send(owner.forget_keys(below, after, limit));
            }
            Message::Rows { after, limit, reply } => drop(reply.send(owner.rows(after, limit))),
            Message::WebhookRows { after, limit, reply } => {
                drop(reply.send(owner.webhook_rows(after, limit)));
            }
        }
        Ok(())
    }
}
