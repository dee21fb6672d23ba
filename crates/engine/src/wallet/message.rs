//! What can be asked of a wallet's owner.

use ledger::{
    AddEvidenceCommand, AgentId, Amount, BatchCommand, Currency, FundCommand, KeyHash, KeyScope, KeyUse,
    MoveDisputeCommand, OpenDisputeCommand, PayCommand, Policy, Position, RefundCommand, ReserveCommand,
    Timestamp, WalletFields, WalletStatus,
};
use tokio::sync::oneshot;

use crate::{budget::Reservation, release::Parked};

/// One piece of work in a wallet's inbox.
pub(crate) enum Work {
    /// A command from the face; its reply is parked until durable.
    Command(Asked, Parked),
    /// The wallet's snapshot row, as it stands now.
    Row(oneshot::Sender<RowReply>),
    /// Forget the idempotency keys of this part that are on disk; the parts behind it follow by themselves.
    ForgetKeys { part: usize },
    /// Go back to rest if idle and durable. Not counted as use.
    Rest,
}

/// An encoded snapshot row with what the snapshot sums up.
pub(crate) struct RowReply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) facts: RowFacts,
}

/// What a snapshot needs to know of a row besides its bytes.
#[derive(Clone, Copy)]
pub(crate) struct RowFacts {
    /// The last decision that the row includes; it must be durable before the snapshot counts.
    pub(crate) decided: Position,
    pub(crate) currency: Currency,
    pub(crate) total: Amount,
}

impl RowFacts {
    pub(crate) fn of(wallet: &WalletFields<'_>) -> Self {
        Self { decided: wallet.decided, currency: wallet.currency, total: wallet.total() }
    }
}

/// A command, with what is known of its keys before its owner looks.
pub(crate) struct Asked {
    pub(crate) command: Command,
    /// None of its keys was used by a record below this position and is on disk.
    pub(crate) absent_below: u64,
    /// What it may spend of its agent's budget.
    pub(crate) reserved: Option<Reservation>,
}

impl Asked {
    /// A refusal may show what stands there.
    pub(crate) fn seen(&self) -> Position {
        self.reserved.as_ref().map_or(Position::ZERO, |reserved| reserved.seen)
    }
}

impl From<Command> for Asked {
    fn from(command: Command) -> Self {
        Self { command, absent_below: 0, reserved: None }
    }
}

/// What the face asks for.
pub(crate) enum Command {
    /// Decide one payment.
    Pay(PayCommand),
    /// Decide many payments of this payer in one record.
    Batch(BatchCommand),
    /// Draw from the test faucet.
    Fund(FundCommand),
    /// Hold the price of a call.
    Reserve(Box<ReserveCommand>),
    /// Give a payment back.
    Refund(Box<RefundCommand>),
    /// Open a dispute about a payment.
    OpenDispute(Box<OpenDisputeCommand>),
    /// Put evidence on record.
    AddEvidence(Box<AddEvidenceCommand>),
    /// Take a dispute up, resolve or drop it.
    MoveDispute(Box<MoveDisputeCommand>),
    /// Freeze or unfreeze.
    SetStatus { caller: AgentId, wanted: WalletStatus, at: Timestamp },
    /// Put a spending policy into force, in the place of any before.
    SetPolicy { caller: AgentId, policy: Box<Policy>, at: Timestamp },
    /// What would this payment do? Writes nothing.
    Preview(PayCommand),
    /// Does this batch key belong to another request?
    CheckKey { key: KeyUse },
    /// The wallet's policy, with what is left of it.
    Policy { caller: AgentId, at: Timestamp },
    /// The wallet as it stands.
    Read { caller: AgentId, at: Timestamp },
}

impl Command {
    /// Hashes of the idempotency keys that the decision will look for.
    pub(crate) fn key_hashes(&self) -> Vec<KeyHash> {
        let one = |key: &Option<KeyUse>, scope| key.iter().map(|key| key.hash(scope)).collect();
        let about = |key: &Option<KeyUse>, scope, payment| {
            key.iter().map(|key| key.hash_about(scope, payment)).collect()
        };
        match self {
            Command::Pay(command) | Command::Preview(command) => one(&command.key, KeyScope::Payment),
            Command::Fund(command) => one(&command.key, KeyScope::Fund),
            Command::Reserve(command) => one(&command.key, KeyScope::Authorize),
            Command::CheckKey { key } => vec![key.hash(KeyScope::Batch)],
            Command::Batch(command) => {
                let items = command.items.iter().filter_map(|item| item.key.as_ref());
                let items = items.map(|key| key.hash(KeyScope::Payment));
                command.key.iter().map(|key| key.hash(KeyScope::Batch)).chain(items).collect()
            }
            Command::Refund(command) => about(&command.key, KeyScope::Refund, command.terms.position()),
            Command::OpenDispute(command) => {
                about(&command.key, KeyScope::OpenDispute, command.terms.position())
            }
            Command::AddEvidence(command) => {
                about(&command.key, KeyScope::AddEvidence, command.terms.position())
            }
            Command::SetStatus { .. }
            | Command::SetPolicy { .. }
            | Command::Policy { .. }
            | Command::Read { .. }
            | Command::MoveDispute(_) => Vec::new(),
        }
    }
}
