//! One payment against the rules of a policy, in their order.

use super::{Policy, PolicyDenial, PolicyFigures, PolicyRule, PolicyScope, Spending};
use crate::{AgentId, Amount, Payee, Rail, ServiceId, Timestamp, WalletId};

/// Nothing was decided at once before: most payments are alone.
pub const AT_ONCE: Spending = Spending { amount: Amount::ZERO, payments: 0 };

/// Who is to be paid, under every name that a policy may know them by.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub struct Target<'a> {
    pub wallet: Option<WalletId>,
    /// The agent that the wallet or service belongs to.
    pub agent: Option<AgentId>,
    pub service: Option<ServiceId>,
    /// Of a payee outside the ledger.
    pub label: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// The payee of a payment; `agent` owns the wallet, where it is one.
    pub fn payee(payee: &'a Payee, agent: Option<AgentId>) -> Target<'a> {
        match payee {
            Payee::Wallet(wallet) => Target { wallet: Some(*wallet), agent, ..Target::default() },
            Payee::External(label) => Target { label: Some(label), ..Target::default() },
        }
    }
}

/// One payment or reservation, as far as policies look at it.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Spend<'a> {
    pub at: Timestamp,
    /// What leaves the wallet, fee included.
    pub needed: Amount,
    pub rail: Rail,
    pub target: Target<'a>,
    /// Of a service call; `None` for a payment, which has none.
    pub category: Option<Option<&'a str>>,
}

impl Policy {
    /// The first rule that refuses, among those that look at nothing but this payment.
    pub fn refuses(&self, scope: PolicyScope, spend: &Spend<'_>) -> Option<PolicyDenial> {
        let plain = |rule| Some(PolicyDenial::plain(scope, rule));
        if self.expires_at.is_some_and(|expires_at| spend.at >= expires_at) {
            return plain(PolicyRule::ExpiresAt);
        }
        if let Some(hours) = &self.active_hours
            && !hours.iter().any(|hours| hours.contains(spend.at))
        {
            let opens_at = hours.iter().map(|hours| hours.opens_after(spend.at)).min();
            // What opens after the end of the mandate does not open any more.
            let reset_at = opens_at.filter(|at| self.expires_at.is_none_or(|expires_at| *at < expires_at));
            return Some(PolicyDenial { reset_at, ..PolicyDenial::plain(scope, PolicyRule::ActiveHours) });
        }
        if self.allowed_rails.is_some_and(|rails| !rails.contains(spend.rail)) {
            return plain(PolicyRule::AllowedRails);
        }
        if self.blocked_recipients.iter().any(|recipient| recipient.means(&spend.target)) {
            return plain(PolicyRule::BlockedRecipients);
        }
        if let Some(allowed) = &self.allowed_recipients
            && !allowed.iter().any(|recipient| recipient.means(&spend.target))
        {
            return plain(PolicyRule::AllowedRecipients);
        }
        if let (Some(allowed), Some(category)) = (&self.allowed_categories, spend.category)
            && !allowed.iter().any(|known| category == Some(&**known))
        {
            return plain(PolicyRule::AllowedCategories);
        }
        if let Some(limit) = self.max_per_payment
            && spend.needed > limit
        {
            let figures = PolicyFigures::Amounts { limit, used: Amount::ZERO, needed: spend.needed };
            return Some(PolicyDenial { figures, ..PolicyDenial::plain(scope, PolicyRule::MaxPerPayment) });
        }
        None
    }
}
