//! Why a policy refuses.

use super::Span;
use crate::{Amount, Timestamp};

/// The rule that refused, in order of precedence. The names are those of a policy's fields.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Debug)]
pub enum PolicyRule {
    ExpiresAt,
    ActiveHours,
    AllowedRails,
    BlockedRecipients,
    AllowedRecipients,
    AllowedCategories,
    MaxPerPayment,
    Limits,
    MaxPayments,
}

impl PolicyRule {
    pub const ALL: [PolicyRule; 9] = [
        PolicyRule::ExpiresAt,
        PolicyRule::ActiveHours,
        PolicyRule::AllowedRails,
        PolicyRule::BlockedRecipients,
        PolicyRule::AllowedRecipients,
        PolicyRule::AllowedCategories,
        PolicyRule::MaxPerPayment,
        PolicyRule::Limits,
        PolicyRule::MaxPayments,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            PolicyRule::ExpiresAt => "expires_at",
            PolicyRule::ActiveHours => "active_hours",
            PolicyRule::AllowedRails => "allowed_rails",
            PolicyRule::BlockedRecipients => "blocked_recipients",
            PolicyRule::AllowedRecipients => "allowed_recipients",
            PolicyRule::AllowedCategories => "allowed_categories",
            PolicyRule::MaxPerPayment => "max_per_payment",
            PolicyRule::Limits => "limits",
            PolicyRule::MaxPayments => "max_payments",
        }
    }
}

/// Whose policy it is. The key's is asked first, then the wallet's, then the agent's.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Debug)]
pub enum PolicyScope {
    Key,
    Wallet,
    Agent,
}

impl PolicyScope {
    pub const ALL: [PolicyScope; 3] = [PolicyScope::Key, PolicyScope::Wallet, PolicyScope::Agent];

    pub const fn as_str(self) -> &'static str {
        match self {
            PolicyScope::Key => "key",
            PolicyScope::Wallet => "wallet",
            PolicyScope::Agent => "agent",
        }
    }
}

/// What a rule that counts has counted.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum PolicyFigures {
    /// The rule counts nothing.
    None,
    Amounts {
        limit: Amount,
        used: Amount,
        needed: Amount,
    },
    Counts {
        limit: u64,
        used: u64,
        needed: u64,
    },
}

/// A policy said no.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct PolicyDenial {
    pub scope: PolicyScope,
    pub rule: PolicyRule,
    /// Of the window that is used up.
    pub span: Option<Span>,
    pub figures: PolicyFigures,
    /// When the same request may pass, if waiting can help.
    pub reset_at: Option<Timestamp>,
}

impl PolicyDenial {
    pub(super) fn plain(scope: PolicyScope, rule: PolicyRule) -> PolicyDenial {
        PolicyDenial { scope, rule, span: None, figures: PolicyFigures::None, reset_at: None }
    }
}
