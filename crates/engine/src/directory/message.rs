//! What can be asked of the directory.

use ledger::{AgentId, Key, KeyId, OpenWalletCommand, Position, Timestamp};
use tokio::sync::oneshot;

use crate::{
    release::Parked,
    views::NewAgent,
    webhook::{WebhookCommand, WebhookPlace, WebhookRows},
};

pub(crate) enum Message {
    /// A command from the face; its reply is parked until durable.
    Command(Command, Parked),
    /// Have up to `limit` agents that follow `after` forget the idempotency keys of records below `below`. The reply is the
    /// last of them, and none when there are no more.
    ForgetKeys { below: u64, after: Option<AgentId>, limit: usize, reply: oneshot::Sender<Option<AgentId>> },
    /// Encoded snapshot rows of up to `limit` agents that follow `after`.
    Rows { after: Option<AgentId>, limit: usize, reply: oneshot::Sender<RowsReply> },
    /// The same for webhooks.
    WebhookRows { after: Option<WebhookPlace>, limit: usize, reply: oneshot::Sender<WebhookRows> },
}

pub(crate) enum Command {
    /// Register an agent with its keys and its first wallet.
    Create(Box<NewAgent>),
    /// Open a further wallet.
    OpenWallet { agent: AgentId, command: OpenWalletCommand },
    /// Add a key.
    AddKey { agent: AgentId, key: Box<Key> },
    /// Revoke a key.
    RevokeKey { agent: AgentId, key: KeyId, at: Timestamp },
    /// Add a runtime key and let the others expire.
    Rotate { agent: AgentId, key: Box<Key>, old_expire_at: Timestamp },
    /// Create, change or end a webhook.
    Webhook { agent: AgentId, command: Box<WebhookCommand> },
    /// The agent as it stands.
    Read(AgentId),
}

/// Snapshot rows of some agents.
pub(crate) struct RowsReply {
    pub(crate) rows: Vec<Vec<u8>>,
    /// The agent behind whom there are more.
    pub(crate) next: Option<AgentId>,
    pub(crate) decided: Position,
}
