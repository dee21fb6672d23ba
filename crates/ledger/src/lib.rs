//! Pure rules of the ledger: what may happen, what a fact changes, and in which order refusals are found.
//!
//! Role: `decide_*` turns a command and the owner's state into a [`Decision`]; `apply` folds a fact into the state.
//! Owner of state: none. Every function works on what it is given, on the caller's thread.
//! Invariants: the postings of a fact sum to zero per currency; a decision never spends more than `available`;
//! folding a fact cannot fail (it asserts). All arithmetic is checked, in release builds too.
//! Non-goals: I/O, clocks, randomness, serialisation, asynchrony. Time, ids and limits come in as arguments.
// Tests may add plainly: there an overflow panics.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod agent;
mod amount;
mod batch;
mod claim;
mod currency;
mod decision;
mod denial;
mod directory;
mod fact;
mod fees;
mod freeze;
mod funding;
mod idempotency;
mod ids;
mod outage;
mod payment;
mod policy;
mod posting;
mod rail;
mod rules;
mod seal;
mod service;
mod standing;
mod time;
mod token;
mod trust;
mod wallet;
mod webhook;

pub use agent::{Agent, Key, KeyKind, Scopes, TRUST_SCORE_START};
pub use amount::{Amount, AmountError};
pub use batch::{
    BATCH_ITEMS_MAX, BatchCommand, BatchItem, BatchPayment, ItemOutcome, PaymentBatch, decide_batch,
};
pub use claim::{
    AddEvidenceCommand, CallTerms, Claim, ClaimChange, ClaimStep, ClaimTerms, Dispute, DisputeMove,
    DisputeMoved, DisputeOpened, DisputeStatus, EVIDENCE_BYTES_MAX, EVIDENCE_MAX, EvidenceAdded,
    MoveDisputeCommand, OpenDisputeCommand, Party, PaymentState, Refund, RefundCommand, decide_dispute_move,
    decide_evidence, decide_open_dispute, decide_refund,
};
pub use currency::{Currency, CurrencyError};
pub use decision::Decision;
pub use denial::Denial;
pub use directory::{
    AgentCreated, AgentFact, KeyAdded, KeyRevoked, KeysRotated, OpenWalletCommand, WalletOpened,
    decide_add_key, decide_open_wallet, decide_revoke_key, decide_rotate,
};
pub use fact::Fact;
pub use fees::{BASIS_POINTS_MAX, FeeSchedule};
pub use freeze::{StatusChange, decide_status};
pub use funding::{FundCommand, Funding, decide_funding};
pub use idempotency::{IdempotencyKeys, KeyEntry, KeyHash, KeyPlace, KeyScope, KeyUse, KeyVerdict};
pub use ids::{
    AgentId, DisputeId, EventId, IdError, IdText, KeyId, PaymentId, ServiceId, TokenId, WalletId, WebhookId,
};
pub use outage::{ClockFact, Outage, OutageCause, Outages};
pub use payment::{PayCommand, Payee, Payment, decide_payment};
pub use policy::{
    AT_ONCE, ActiveHours, AgentPolicyChanged, AgentTerms, BUCKETS_MAX, Bucket, CountLimit, DAY_MINUTES,
    Mandate, Measure, POLICY_CATEGORIES_MAX, POLICY_HOURS_MAX, POLICY_RECIPIENTS_MAX, POLICY_TEXT_BYTES_MAX,
    POLICY_WINDOWS_MAX, Policy, PolicyChanged, PolicyDenial, PolicyDenied, PolicyError, PolicyFigures,
    PolicyRule, PolicyScope, Recipient, Release, Remaining, Span, Spend, SpendLimit, Spending, Target, Usage,
    Used, Window, decide_policy,
};
pub use posting::{Account, Balance, HoldEnd, Posting, SystemAccount, Totals, Transfer, assert_balanced};
pub use rail::{Rail, RailSet};
pub use rules::{Rules, RulesError};
pub use seal::{IdSealer, RecordAddress, SealedKind};
pub use service::{
    PatchCommand, RegisterCommand, SLA_WINDOW_MS_MAX, Service, ServiceChange, ServiceChanged, ServiceStatus,
    ServiceTerms, Sla, decide_patch, decide_register, decide_verified, slug_of,
};
pub use standing::Standing;
pub use time::{Position, Timestamp};
pub use token::{
    Offer, ReserveCommand, Step, Token, TokenClaims, TokenDecision, TokenEnd, TokenEnded, TokenFact,
    TokenReserved, TokenStatus, TokenStepped, TokenTerms, TokenTimes, Verification, decide_lapse,
    decide_reservation, decide_step,
};
pub use trust::{CALLS_MAX, CALLS_PER_CONSUMER_MAX, Call, Outcome, RECENT, Trust, TrustChanged};
pub use wallet::{Change, Parts, RestingWallet, Wallet, WalletFields, WalletStatus};
pub use webhook::{
    CreateWebhookCommand, EventKind, PatchWebhookCommand, RotateWebhookCommand, WEBHOOK_EVENTS_MAX,
    WEBHOOK_SECRET_BYTES, Webhook, WebhookChange, WebhookChanged, WebhookDisabled, WebhookSecret,
    decide_create_webhook, decide_delete_webhook, decide_disable_webhook, decide_patch_webhook,
    decide_rotate_webhook, filter_matches,
};
