//! The engine: actors that own wallets and the directory, over one log.
//!
//! Owner of state: each wallet's actor (or its slot in the registry while at rest) and the directory actor; the commit
//! stream owns the totals. Threads: the log's own, one for the history index, and the tokio runtime it is started on.
//! Invariants: one decision is one record; nothing is answered, and nothing is read, above the durable position;
//! only the owner of a constraint decides it; replay applies the same records with the same functions.
//! Non-goals: HTTP, configuration, files, the system clock, randomness (all given from outside).
#![expect(
    clippy::result_large_err,
    clippy::large_enum_variant,
    reason = "a command is moved into the inbox, or back to its sender; a box would cost an allocation per payment"
)]

mod admission;
mod background;
mod batch;
mod budget;
mod claim;
mod clock;
mod commit;
mod delivered;
mod denied;
mod directory;
mod engine;
mod events;
mod follower;
mod housekeeping;
mod keys;
mod line;
mod listing;
mod lists;
mod metrics;
mod options;
mod reads;
mod recovery;
mod refusal;
mod registry;
mod release;
mod requesters;
mod rush;
mod service;
mod sharded;
mod shared;
mod snapshots;
mod status;
mod timer;
mod token;
mod totals;
mod views;
mod wallet;
mod webhook;

pub use admission::{AgentMeter, Remaining, RetryAfterMs};
pub use claim::{
    AddEvidence, Asker, ClaimView, DisputeDetails, DisputeFilter, DisputeView, EvidenceView, OpenDispute,
    RefundPayment, RefundReceipt, Resolution,
};
pub use clock::{Clock, Entropy};
pub use engine::{Engine, HistoryAt, ShutdownError};
pub use events::{DeniedByPolicy, Event, EventBatch, EventTail, EventsError, FrozenWallet, Happening};
pub use history::{TokenRole, blames_machine};
pub use keys::KeyOptions;
pub use options::{Activation, Options};
pub use recovery::{Audit, StartError, audit};
pub use refusal::Refusal;
pub use release::Undelivered;
pub use rush::Rush;
pub use service::{RegisterService, ServicePatch, ServiceView};
pub use snapshots::SnapshotError;
pub use status::{Phase, Status};
pub use token::{Authorize, TokenFilter, TokenView, VerifiedToken, VerifyToken};
pub use views::{
    Answer, Caller, Cursor, EntryView, FundReceipt, Gauges, KeyRecord, LastUse, NewAgent, OpenWallet, Page,
    PageRequest, PayBatch, PaymentFilter, PaymentReceipt, PolicyView, SettlementReceipt, TimeRange,
    Transaction, TrialBalance, TrialBalanceRow, WalletView,
};
pub use webhook::CreateWebhook;
