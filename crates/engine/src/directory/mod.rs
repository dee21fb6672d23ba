//! The directory of agents, keys and webhooks: one actor decides about all of them; what authentication needs is published by
//! the commit stream once it is durable.

mod actor;
mod handle;
mod message;
mod owner;
mod published;

pub(crate) use handle::Handle;
pub(crate) use message::{Command, Message};
pub(crate) use owner::{Agents, apply_agent_fact, remember_agent_fact};
pub(crate) use published::PublishedDirectory;
