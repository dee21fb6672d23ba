//! Refunds and disputes. A claim is state of the wallet that decides about it (the payee's, or the payer's for an outside
//! payee), kept apart from the wallet so that a merchant with a million claims is no giant row. `claims.rs` holds them,
//! `face.rs` is what the engine offers, `reads.rs` follows a dispute through the log, `view.rs` is what is shown.

mod claims;
mod face;
mod reads;
mod view;

pub(crate) use claims::{Claimed, Claims};
pub use view::{
    AddEvidence, Asker, ClaimView, DisputeDetails, DisputeFilter, DisputeView, EvidenceView, OpenDispute,
    RefundPayment, RefundReceipt, Resolution,
};
pub(crate) use view::{evidence_view, opened_view, refund_receipt, refunded_by_dispute};
