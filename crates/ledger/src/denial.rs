//! Why a command is refused: a closed list in order of precedence.
//!
//! A denial is a value and an answer, not an error: nothing went wrong. When several reasons apply, the first one in
//! this list is given, so that equal states give equal answers.

use crate::{
    Amount, Currency, DisputeId, DisputeStatus, PolicyDenial, Rail, Timestamp, TokenStatus, WalletStatus,
};

/// Reasons in order of precedence: the first that applies is the answer.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum Denial {
    /// No such wallet, or it belongs to another agent: the caller learns no difference.
    UnknownWallet,
    /// No such token, or the caller has no part in it: it learns no difference.
    UnknownToken,
    /// No such dispute, or the caller has no part in it.
    UnknownDispute,
    /// Asked by the payer: only who was paid gives back.
    OnlyThePayee,
    /// A dispute is dropped by who opened it.
    OnlyTheOpener,
    /// What the token says of itself is not what was reserved.
    TokenMismatch,
    /// The idempotency key was used for a request of another meaning.
    KeyConflict,
    UnknownPayee,
    /// No such service, or it belongs to another agent.
    UnknownService,
    /// The service takes no new calls.
    ServiceInactive,
    /// The agent has as many open tokens as it may.
    TooManyOpenTokens {
        limit: u32,
    },
    /// There are as many open tokens as there may be, of all agents together.
    NoRoomForTokens,
    /// The agent has no wallet that a service in this currency could be paid into.
    NoWalletInCurrency {
        currency: Currency,
    },
    /// Payer and payee are one wallet.
    SameWallet,
    CurrencyMismatch {
        wallet: Currency,
        requested: Currency,
    },
    /// Wallets in this currency are not offered.
    UnsupportedCurrency,
    /// The rail has no connector.
    SettlementNotConfigured {
        rail: Rail,
    },
    WalletClosed,
    WalletFrozen,
    AmountNotPositive,
    AmountTooLarge,
    /// The call costs more than the consumer allows for it.
    PriceAboveMaximum {
        price: Amount,
        max_amount: Amount,
    },
    /// `used` of `limit` is drawn already, `needed` was asked for.
    FaucetCap {
        limit: Amount,
        used: Amount,
        needed: Amount,
    },
    /// A spending policy says no; its own rules have an order too.
    Policy(Box<PolicyDenial>),
    /// `needed` is the amount with its fee.
    InsufficientBalance {
        available: Amount,
        held: Amount,
        needed: Amount,
    },
    /// An atomic batch moved nothing because of its item `item`, counted from 0.
    AtomicBatch {
        item: u32,
        because: Box<Denial>,
    },
    /// The payments of a batch do not share one payer.
    MixedPayers,
    UnknownKey,
    /// The last usable owner key cannot be revoked: nobody could give the agent a new one.
    LastOwnerKey,
    TooManyKeys {
        limit: u32,
    },
    TooManyWallets {
        limit: u32,
    },
    /// Asked for a status that the present one does not lead to.
    WrongStatus {
        status: WalletStatus,
    },
    /// Another service has this slug; slugs follow from names.
    SlugTaken {
        slug: Box<str>,
    },
    TooManyServices {
        limit: u32,
    },
    /// No such webhook, or it belongs to another agent.
    UnknownWebhook,
    TooManyWebhooks {
        limit: u32,
    },
    /// The token was not redeemed in time.
    TokenExpired {
        expired_at: Timestamp,
    },
    /// The token was redeemed before.
    TokenUsed {
        status: TokenStatus,
    },
    /// The token's state does not lead where it was asked to go.
    WrongTokenStatus {
        status: TokenStatus,
    },
    /// Nothing is refunded while this dispute about the payment is open.
    PaymentDisputed {
        dispute: DisputeId,
        status: DisputeStatus,
    },
    /// The payment has had its one dispute.
    DisputeExists {
        dispute: DisputeId,
        status: DisputeStatus,
    },
    /// Nothing is left of the payment.
    AlreadyRefunded,
    /// More than is left of the payment: `refundable`, after `refunded`.
    RefundTooLarge {
        refundable: Amount,
        refunded: Amount,
        needed: Amount,
    },
    /// Disputes about this payment could be opened until then.
    DisputeWindowClosed {
        closed_at: Timestamp,
    },
    /// The dispute's state does not allow that.
    WrongDisputeStatus {
        status: DisputeStatus,
    },
    TooMuchEvidence {
        limit: u32,
    },
}

impl Denial {
    /// Short stable name, for metrics and machine-readable answers.
    pub const fn name(&self) -> &'static str {
        match self {
            Denial::UnknownWallet => "unknown_wallet",
            Denial::KeyConflict => "key_conflict",
            Denial::UnknownPayee => "unknown_payee",
            Denial::SameWallet => "same_wallet",
            Denial::CurrencyMismatch { .. } => "currency_mismatch",
            Denial::UnsupportedCurrency => "unsupported_currency",
            Denial::SettlementNotConfigured { .. } => "settlement_not_configured",
            Denial::WalletClosed => "wallet_closed",
            Denial::WalletFrozen => "wallet_frozen",
            Denial::AmountNotPositive => "amount_not_positive",
            Denial::AmountTooLarge => "amount_too_large",
            Denial::FaucetCap { .. } => "faucet_cap",
            Denial::Policy(_) => "policy",
            Denial::InsufficientBalance { .. } => "insufficient_balance",
            Denial::AtomicBatch { .. } => "atomic_batch",
            Denial::MixedPayers => "mixed_payers",
            Denial::UnknownKey => "unknown_key",
            Denial::LastOwnerKey => "last_owner_key",
            Denial::TooManyKeys { .. } => "too_many_keys",
            Denial::TooManyWallets { .. } => "too_many_wallets",
            Denial::WrongStatus { .. } => "wrong_status",
            Denial::UnknownToken => "unknown_token",
            Denial::TokenMismatch => "token_mismatch",
            Denial::UnknownService => "unknown_service",
            Denial::ServiceInactive => "service_inactive",
            Denial::TooManyOpenTokens { .. } => "too_many_open_tokens",
            Denial::NoRoomForTokens => "no_room_for_tokens",
            Denial::NoWalletInCurrency { .. } => "no_wallet_in_currency",
            Denial::PriceAboveMaximum { .. } => "price_above_maximum",
            Denial::SlugTaken { .. } => "slug_taken",
            Denial::TooManyServices { .. } => "too_many_services",
            Denial::UnknownWebhook => "unknown_webhook",
            Denial::TooManyWebhooks { .. } => "too_many_webhooks",
            Denial::TokenExpired { .. } => "token_expired",
            Denial::TokenUsed { .. } => "token_used",
            Denial::WrongTokenStatus { .. } => "wrong_token_status",
            Denial::UnknownDispute => "unknown_dispute",
            Denial::OnlyThePayee => "only_the_payee",
            Denial::OnlyTheOpener => "only_the_opener",
            Denial::PaymentDisputed { .. } => "payment_disputed",
            Denial::DisputeExists { .. } => "dispute_exists",
            Denial::AlreadyRefunded => "already_refunded",
            Denial::RefundTooLarge { .. } => "refund_too_large",
            Denial::DisputeWindowClosed { .. } => "dispute_window_closed",
            Denial::WrongDisputeStatus { .. } => "wrong_dispute_status",
            Denial::TooMuchEvidence { .. } => "too_much_evidence",
        }
    }

    /// Whether the same request may pass later without being changed: the state can move, the request cannot.
    pub fn retry_can_help(&self) -> bool {
        match self {
            Denial::WalletFrozen
            | Denial::InsufficientBalance { .. }
            | Denial::TooManyOpenTokens { .. }
            | Denial::NoRoomForTokens => true,
            Denial::Policy(denial) => denial.reset_at.is_some(),
            Denial::AtomicBatch { because, .. } => because.retry_can_help(),
            Denial::UnknownWallet
            | Denial::KeyConflict
            | Denial::UnknownPayee
            | Denial::SameWallet
            | Denial::CurrencyMismatch { .. }
            | Denial::UnsupportedCurrency
            | Denial::SettlementNotConfigured { .. }
            | Denial::WalletClosed
            | Denial::AmountNotPositive
            | Denial::AmountTooLarge
            | Denial::FaucetCap { .. }
            | Denial::MixedPayers
            | Denial::UnknownKey
            | Denial::LastOwnerKey
            | Denial::TooManyKeys { .. }
            | Denial::TooManyWallets { .. }
            | Denial::WrongStatus { .. }
            | Denial::UnknownToken
            | Denial::TokenMismatch
            | Denial::UnknownService
            | Denial::ServiceInactive
            | Denial::NoWalletInCurrency { .. }
            | Denial::PriceAboveMaximum { .. }
            | Denial::SlugTaken { .. }
            | Denial::TooManyServices { .. }
            | Denial::UnknownWebhook
            | Denial::TooManyWebhooks { .. }
            | Denial::TokenExpired { .. }
            | Denial::TokenUsed { .. }
            | Denial::WrongTokenStatus { .. }
            | Denial::UnknownDispute
            | Denial::OnlyThePayee
            | Denial::OnlyTheOpener
            | Denial::PaymentDisputed { .. }
            | Denial::DisputeExists { .. }
            | Denial::AlreadyRefunded
            | Denial::RefundTooLarge { .. }
            | Denial::DisputeWindowClosed { .. }
            | Denial::WrongDisputeStatus { .. }
            | Denial::TooMuchEvidence { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_helps_only_where_the_state_can_move() {
        let zero = Amount::ZERO;
        let poor = Denial::InsufficientBalance { available: zero, held: zero, needed: zero };
        assert!(poor.retry_can_help());
        assert!(Denial::WalletFrozen.retry_can_help());
        assert!(!Denial::WalletClosed.retry_can_help());
        assert!(!Denial::KeyConflict.retry_can_help());
        assert!(Denial::AtomicBatch { item: 3, because: Box::new(poor) }.retry_can_help());
        assert!(!Denial::AtomicBatch { item: 3, because: Box::new(Denial::SameWallet) }.retry_can_help());
    }
}
