//! A policy in force, with what was used of it; and how a wallet's policy is changed.

use std::sync::Arc;

use super::{Measure, Policy, PolicyDenial, PolicyFigures, PolicyRule, PolicyScope};
use super::{Release, Span, Spend, Spending, Usage, Used};
use crate::{AgentId, Amount, Decision, Denial, Position, Timestamp, Wallet, WalletId, WalletStatus};

/// A policy, and its windows as they are filled.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Mandate {
    pub policy: Policy,
    pub changed_at: Timestamp,
    pub usage: Usage,
}

/// A wallet's policy from this record on; an empty one is none.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct PolicyChanged {
    pub wallet: WalletId,
    pub policy: Policy,
    pub at: Timestamp,
}

/// An agent's policy from this record on, for all its wallets together; an empty one is none.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct AgentPolicyChanged {
    pub agent: AgentId,
    pub policy: Policy,
    pub at: Timestamp,
}

/// What the payer's agent's policy says to a command, found before its wallet decides.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct AgentTerms {
    pub policy: Arc<Policy>,
    /// By item: the window for which the agent's wallets together have no room left.
    pub refused: Vec<Option<PolicyDenial>>,
}

impl AgentTerms {
    /// The first rule that refuses `spend`, which is the item `item`.
    pub(crate) fn refuses(&self, spend: &Spend<'_>, item: usize) -> Option<PolicyDenial> {
        let plain = self.policy.refuses(PolicyScope::Agent, spend);
        plain.or_else(|| self.refused.get(item).copied().flatten())
    }
}

/// What is left of one window.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Remaining {
    pub span: Span,
    pub figures: PolicyFigures,
    /// When the oldest use that counts will not count any more; `None` while nothing is used.
    pub reset_at: Option<Timestamp>,
}

impl Mandate {
    /// The mandate after `policy` was set at `at` by the record at `position`. `None` for a policy without rules.
    /// Windows that stay go on with what was used of them; new ones begin empty.
    pub fn set(
        before: Option<Mandate>,
        policy: Policy,
        at: Timestamp,
        position: Position,
    ) -> Option<Mandate> {
        if policy.is_empty() {
            return None;
        }
        let usage = Usage::begin(&policy, at, position, before.map(|before| before.usage));
        Some(Mandate { policy, changed_at: at, usage })
    }

    /// The time at which a command that arrived at `at` is decided: uses keep their order in time whatever the clock
    /// does.
    pub fn time(&self, at: Timestamp) -> Timestamp {
        at.max(self.usage.latest)
    }

    /// The first rule that refuses `spend`, after `at_once` was decided together with it.
    pub fn refuses(&self, scope: PolicyScope, spend: &Spend<'_>, at_once: Spending) -> Option<PolicyDenial> {
        self.policy.refuses(scope, spend).or_else(|| self.windows_refuse(scope, spend, at_once))
    }

    /// The first window that is too full for `spend`.
    pub fn windows_refuse(
        &self,
        scope: PolicyScope,
        spend: &Spend<'_>,
        at_once: Spending,
    ) -> Option<PolicyDenial> {
        let spending = Spending { amount: spend.needed, payments: 1 };
        self.windows().find_map(|(used, limit)| {
            let (at, measure) = (spend.at, used.measure);
            let needed = measure.of(spending);
            let total = used.total(at).saturating_add(measure.of(at_once));
            (total.saturating_add(needed) > limit).then(|| PolicyDenial {
                scope,
                rule: match measure {
                    Measure::Amount => PolicyRule::Limits,
                    Measure::Count => PolicyRule::MaxPayments,
                },
                span: Some(used.span),
                figures: figures(measure, limit, total, needed),
                reset_at: used.fits_at(limit, needed, measure.of(at_once), at),
            })
        })
    }

    /// What is left of every window at `at`, in the order of the policy.
    pub fn remaining(&self, at: Timestamp) -> Vec<Remaining> {
        let at = self.time(at);
        let view = |(used, limit): (&Used, i128)| Remaining {
            span: used.span,
            figures: figures(used.measure, limit, used.total(at), 0),
            reset_at: used.first_expiry(at),
        };
        self.windows().map(view).collect()
    }

    pub(crate) fn spent(&mut self, spending: Spending, at: Timestamp) {
        self.usage.add(spending, at);
    }

    /// As for an own fact, for the record at `position` of a wallet: see [`Usage`].
    pub fn spent_by(&mut self, spending: Spending, at: Timestamp, position: Position) {
        self.usage.add_by(spending, at, position);
    }

    /// Gives back what a hold had used.
    pub fn released(&mut self, release: Release) {
        self.usage.give_back(release);
    }

    /// The windows, each with its limit.
    fn windows(&self) -> impl Iterator<Item = (&Used, i128)> {
        let amounts = self.policy.limits.iter().map(|limit| limit.amount.nanos());
        let counts = self.policy.max_payments.iter().map(|limit| i128::from(limit.count));
        self.usage.windows.iter().zip(amounts.chain(counts))
    }
}

fn figures(measure: Measure, limit: i128, used: i128, needed: i128) -> PolicyFigures {
    let count = |number: i128| u64::try_from(number).unwrap_or(u64::MAX);
    match measure {
        Measure::Amount => PolicyFigures::Amounts {
            limit: Amount::from_nanos(limit),
            used: Amount::from_nanos(used),
            needed: Amount::from_nanos(needed),
        },
        Measure::Count => {
            PolicyFigures::Counts { limit: count(limit), used: count(used), needed: count(needed) }
        }
    }
}

/// Decides a wallet's policy, which is valid. A frozen wallet's may be changed, a closed one's not.
pub fn decide_policy(
    wallet: &Wallet,
    id: WalletId,
    caller: AgentId,
    policy: Policy,
    at: Timestamp,
) -> Decision<PolicyChanged> {
    assert_eq!(policy.validate(), Ok(()), "policies are checked where requests arrive");
    if caller != wallet.agent {
        return Decision::Denied(Denial::UnknownWallet);
    }
    if wallet.status == WalletStatus::Closed {
        return Decision::Denied(Denial::WalletClosed);
    }
    let at = wallet.policy.as_ref().map_or(at, |mandate| mandate.time(at));
    Decision::Fact(PolicyChanged { wallet: id, policy, at })
}
