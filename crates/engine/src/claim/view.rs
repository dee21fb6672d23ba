//! Refunds and disputes as they are asked for and shown.

use ledger::{
    AgentId, Amount, Currency, DisputeId, DisputeMoved, DisputeOpened, DisputeStatus, EvidenceAdded, KeyUse,
    Parts, Party, PaymentId, PaymentState, Position, Refund, Timestamp,
};

use crate::{
    shared::Shared,
    views::{Caller, TimeRange, Transaction},
};

/// Who asks about a payment.
#[derive(Clone, Copy)]
pub enum Asker<'c> {
    Agent(&'c Caller),
    Operator,
}

/// A payment to give back, wholly or in part.
#[derive(Clone, Debug)]
pub struct RefundPayment {
    pub payment: PaymentId,
    /// `None` means all that is left.
    pub amount: Option<Amount>,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
}

/// A dispute to open.
#[derive(Clone, Debug)]
pub struct OpenDispute {
    pub payment: PaymentId,
    pub reason: Box<str>,
    pub description: Option<Box<str>>,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
}

/// Evidence to add to a dispute.
#[derive(Clone, Debug)]
pub struct AddEvidence {
    pub dispute: DisputeId,
    pub category: Box<str>,
    /// At most [`ledger::EVIDENCE_BYTES_MAX`].
    pub content: Box<str>,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
}

/// Which disputes to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct DisputeFilter {
    pub status: Option<DisputeStatus>,
    /// Side of the agent that asks; `None` means either.
    pub role: Option<Party>,
    pub range: TimeRange,
}

/// What has become of a payment since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimView {
    pub state: PaymentState,
    pub refunded: Amount,
    pub dispute: Option<(DisputeId, DisputeStatus)>,
}

/// A refund, with the payment that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundReceipt {
    pub payment: Transaction,
    pub amount: Amount,
    /// Where the payment stands behind it, and the sum of its refunds.
    pub state: PaymentState,
    pub refunded: Amount,
    pub by: Party,
    /// The dispute that was resolved by it.
    pub dispute: Option<DisputeId>,
    pub at: Timestamp,
    /// Of the wallet that pays; not for the payer.
    pub balance_after: Option<Parts>,
}

/// A dispute at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisputeView {
    pub id: DisputeId,
    pub payment: PaymentId,
    pub status: DisputeStatus,
    pub reason: Box<str>,
    pub description: Option<Box<str>>,
    pub by: Party,
    pub payer_agent: AgentId,
    pub payee_agent: Option<AgentId>,
    /// What it is about: the principal, less what had been refunded before.
    pub amount: Amount,
    pub currency: Currency,
    /// What is set aside for it now.
    pub set_aside: Amount,
    /// Pieces of evidence.
    pub evidence: u32,
    pub created_at: Timestamp,
    /// How it ended, where that was looked up.
    pub resolution: Option<Resolution>,
}

/// The last move of a dispute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    pub to: DisputeStatus,
    pub by: Party,
    pub note: Option<Box<str>>,
    /// What went back to the payer.
    pub returned: Amount,
    pub at: Timestamp,
}

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceView {
    pub dispute: DisputeId,
    pub number: u32,
    pub by: Party,
    /// Where the dispute stood.
    pub status: DisputeStatus,
    pub category: Box<str>,
    pub content: Box<str>,
    pub at: Timestamp,
}

/// A dispute with all that was said about it, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisputeDetails {
    pub dispute: DisputeView,
    pub evidence: Vec<EvidenceView>,
    pub moves: Vec<Resolution>,
}

/// The dispute as its opening left it: the first answer and every repetition of it.
pub(crate) fn opened_view(shared: &Shared, position: Position, fact: &DisputeOpened) -> DisputeView {
    DisputeView {
        id: shared.dispute_id(position),
        payment: shared.payment_id(fact.terms.payment.lsn, fact.terms.payment.item),
        status: DisputeStatus::Open,
        reason: fact.reason.clone(),
        description: fact.description.clone(),
        by: fact.by,
        payer_agent: fact.payer_agent,
        payee_agent: fact.payee_agent,
        amount: fact.claimed,
        currency: fact.terms.currency,
        set_aside: fact.set_aside,
        evidence: 0,
        created_at: fact.at,
        resolution: None,
    }
}

pub(crate) fn evidence_view(shared: &Shared, fact: EvidenceAdded) -> EvidenceView {
    EvidenceView {
        dispute: shared.dispute_id(fact.dispute),
        number: fact.number,
        by: fact.by,
        status: fact.status,
        category: fact.category,
        content: fact.content,
        at: fact.at,
    }
}

pub(crate) fn refund_receipt(payment: Transaction, fact: &Refund) -> RefundReceipt {
    RefundReceipt {
        payment,
        amount: fact.amount,
        state: fact.state(),
        refunded: fact.refunded_after,
        by: fact.by,
        dispute: None,
        at: fact.at,
        // A payer who decides for an outside payee pays nothing.
        balance_after: fact.terms.payee.map(|_| fact.balance_after),
    }
}

/// The refund that the end of a dispute is.
pub(crate) fn refunded_by_dispute(
    shared: &Shared,
    payment: Transaction,
    fact: &DisputeMoved,
) -> RefundReceipt {
    RefundReceipt {
        payment,
        amount: fact.returned,
        state: PaymentState::of(fact.terms.principal, fact.refunded_after),
        refunded: fact.refunded_after,
        by: fact.by,
        dispute: Some(shared.dispute_id(fact.dispute)),
        at: fact.at,
        balance_after: None,
    }
}

impl From<DisputeMoved> for Resolution {
    fn from(fact: DisputeMoved) -> Self {
        Self { to: fact.to, by: fact.by, note: fact.note, returned: fact.returned, at: fact.at }
    }
}

impl DisputeView {
    /// The dispute behind one of its moves.
    pub(crate) fn moved(mut self, fact: DisputeMoved) -> Self {
        self.status = fact.to;
        if !fact.to.is_open() {
            self.set_aside = Amount::ZERO;
        }
        self.resolution = Some(fact.into());
        self
    }
}
