//! States of payments after their completion, and of disputes; the one table of how a dispute goes on.

use crate::Amount;

/// Where a completed payment stands after refunds.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum PaymentState {
    Completed,
    PartiallyRefunded,
    Refunded,
}

impl PaymentState {
    pub const ALL: [PaymentState; 3] =
        [PaymentState::Completed, PaymentState::PartiallyRefunded, PaymentState::Refunded];

    pub fn of(principal: Amount, refunded: Amount) -> PaymentState {
        if refunded.is_zero() {
            PaymentState::Completed
        } else if refunded < principal {
            PaymentState::PartiallyRefunded
        } else {
            PaymentState::Refunded
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            PaymentState::Completed => "completed",
            PaymentState::PartiallyRefunded => "partially_refunded",
            PaymentState::Refunded => "refunded",
        }
    }
}

/// Where a dispute stands.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum DisputeStatus {
    Open,
    UnderReview,
    ResolvedRefunded,
    ResolvedDenied,
    Withdrawn,
}

/// How a dispute goes on.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum DisputeMove {
    /// An operator takes it up.
    Review,
    /// An operator ends it in favour of the payer.
    Refund,
    /// An operator ends it in favour of the payee.
    Deny,
    /// Who opened it drops it.
    Withdraw,
}

impl DisputeMove {
    pub const ALL: [DisputeMove; 4] =
        [DisputeMove::Review, DisputeMove::Refund, DisputeMove::Deny, DisputeMove::Withdraw];

    pub const fn to(self) -> DisputeStatus {
        match self {
            DisputeMove::Review => DisputeStatus::UnderReview,
            DisputeMove::Refund => DisputeStatus::ResolvedRefunded,
            DisputeMove::Deny => DisputeStatus::ResolvedDenied,
            DisputeMove::Withdraw => DisputeStatus::Withdrawn,
        }
    }
}

/// From where each move may be made. What is not here is refused.
const TABLE: [(DisputeStatus, DisputeMove); 6] = [
    (DisputeStatus::Open, DisputeMove::Review),
    (DisputeStatus::Open, DisputeMove::Withdraw),
    // Who resolves a dispute has reviewed it.
    (DisputeStatus::Open, DisputeMove::Refund),
    (DisputeStatus::Open, DisputeMove::Deny),
    (DisputeStatus::UnderReview, DisputeMove::Refund),
    (DisputeStatus::UnderReview, DisputeMove::Deny),
];

impl DisputeStatus {
    pub const ALL: [DisputeStatus; 5] = [
        DisputeStatus::Open,
        DisputeStatus::UnderReview,
        DisputeStatus::ResolvedRefunded,
        DisputeStatus::ResolvedDenied,
        DisputeStatus::Withdrawn,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            DisputeStatus::Open => "open",
            DisputeStatus::UnderReview => "under_review",
            DisputeStatus::ResolvedRefunded => "resolved_refunded",
            DisputeStatus::ResolvedDenied => "resolved_denied",
            DisputeStatus::Withdrawn => "withdrawn",
        }
    }

    pub fn from_name(name: &str) -> Option<DisputeStatus> {
        DisputeStatus::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether anything can still come of it.
    pub const fn is_open(self) -> bool {
        matches!(self, DisputeStatus::Open | DisputeStatus::UnderReview)
    }

    pub fn allows(self, step: DisputeMove) -> bool {
        TABLE.contains(&(self, step))
    }

    /// Whether some move leads from here to there.
    pub fn leads_to(self, to: DisputeStatus) -> bool {
        TABLE.iter().any(|(from, step)| *from == self && step.to() == to)
    }
}
