//! Names of everything that a webhook can hear of.

/// One kind of event. The numbers are kept with deliveries: never change or reuse them.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
#[repr(u8)]
pub enum EventKind {
    /// What a receiver is tested with; no filter selects it.
    WebhookTest = 0,
    PaymentInitiated = 1,
    PaymentCompleted = 2,
    PaymentFailed = 3,
    PaymentRefunded = 4,
    PaymentPendingApproval = 5,
    WalletFunded = 6,
    WalletFrozen = 7,
    TokenAuthorized = 8,
    TokenVerified = 9,
    TokenStarted = 10,
    TokenAccepted = 11,
    TokenCompleted = 12,
    TokenCancelled = 13,
    /// Not redeemed in time, or redeemed and then not carried out where no SLA says by when.
    TokenExpired = 14,
    TokenSlaBreached = 15,
    DisputeOpened = 16,
    DisputeEvidenceAdded = 17,
    DisputeUnderReview = 18,
    DisputeResolved = 19,
    DisputeWithdrawn = 20,
    PayoutCreated = 21,
    PayoutCompleted = 22,
    PayoutFailed = 23,
    ServiceUpdated = 24,
    ServiceTrustChanged = 25,
    PolicyDenied = 26,
}

impl EventKind {
    pub const ALL: [EventKind; 27] = [
        EventKind::WebhookTest,
        EventKind::PaymentInitiated,
        EventKind::PaymentCompleted,
        EventKind::PaymentFailed,
        EventKind::PaymentRefunded,
        EventKind::PaymentPendingApproval,
        EventKind::WalletFunded,
        EventKind::WalletFrozen,
        EventKind::TokenAuthorized,
        EventKind::TokenVerified,
        EventKind::TokenStarted,
        EventKind::TokenAccepted,
        EventKind::TokenCompleted,
        EventKind::TokenCancelled,
        EventKind::TokenExpired,
        EventKind::TokenSlaBreached,
        EventKind::DisputeOpened,
        EventKind::DisputeEvidenceAdded,
        EventKind::DisputeUnderReview,
        EventKind::DisputeResolved,
        EventKind::DisputeWithdrawn,
        EventKind::PayoutCreated,
        EventKind::PayoutCompleted,
        EventKind::PayoutFailed,
        EventKind::ServiceUpdated,
        EventKind::ServiceTrustChanged,
        EventKind::PolicyDenied,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            EventKind::WebhookTest => "webhook.test",
            EventKind::PaymentInitiated => "payment.initiated",
            EventKind::PaymentCompleted => "payment.completed",
            EventKind::PaymentFailed => "payment.failed",
            EventKind::PaymentRefunded => "payment.refunded",
            EventKind::PaymentPendingApproval => "payment.pending_approval",
            EventKind::WalletFunded => "wallet.funded",
            EventKind::WalletFrozen => "wallet.frozen",
            EventKind::TokenAuthorized => "token.authorized",
            EventKind::TokenVerified => "token.verified",
            EventKind::TokenStarted => "token.started",
            EventKind::TokenAccepted => "token.accepted",
            EventKind::TokenCompleted => "token.completed",
            EventKind::TokenCancelled => "token.cancelled",
            EventKind::TokenExpired => "token.expired",
            EventKind::TokenSlaBreached => "token.sla_breached",
            EventKind::DisputeOpened => "dispute.opened",
            EventKind::DisputeEvidenceAdded => "dispute.evidence_added",
            EventKind::DisputeUnderReview => "dispute.under_review",
            EventKind::DisputeResolved => "dispute.resolved",
            EventKind::DisputeWithdrawn => "dispute.withdrawn",
            EventKind::PayoutCreated => "payout.created",
            EventKind::PayoutCompleted => "payout.completed",
            EventKind::PayoutFailed => "payout.failed",
            EventKind::ServiceUpdated => "service.updated",
            EventKind::ServiceTrustChanged => "service.trust_changed",
            EventKind::PolicyDenied => "policy.denied",
        }
    }

    pub fn from_number(number: u8) -> Option<EventKind> {
        EventKind::ALL.get(usize::from(number)).copied()
    }

    /// Whether a filter selects any event that there is.
    pub fn is_filter(filter: &str) -> bool {
        EventKind::ALL[1..].iter().any(|kind| super::filter_matches(filter, kind.name()))
    }
}

// Kinds are numbered from 0 in the order of their table.
const _: () = {
    let mut index = 0;
    while index < EventKind::ALL.len() {
        assert!(EventKind::ALL[index] as usize == index);
        index = index.checked_add(1).expect("counts to 27");
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_select_events_that_exist() {
        for filter in ["payment.completed", "payment.refunded", "payment.*", "token.*", "policy.denied"] {
            assert!(EventKind::is_filter(filter), "{filter}");
        }
        for filter in
            ["", "*", "payment", "payment.", "payment.done", "Payment.completed", "webhook.test", ".*"]
        {
            assert!(!EventKind::is_filter(filter), "{filter}");
        }
    }
}
