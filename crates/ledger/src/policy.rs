//! Spending policy: what an owner lets a wallet, an agent or a key spend.
//!
//! Role: [`Policy`] is the rules as a value, validated whole; [`Mandate`] is a policy in force with what was used of it.
//! Owner of state: a wallet's owner keeps the wallet's mandate, the agent's budget the agent's. The payer's wallet
//! decides by them, before money moves.
//! Precedence: `expires_at`, `active_hours`, `allowed_rails`, `blocked_recipients`, `allowed_recipients`,
//! `allowed_categories`, `max_per_payment`, `limits` in their order, `max_payments` in theirs: the first rule that
//! refuses is the answer.
//! Meanings: amounts are what leaves the wallet, fees included. Times are UTC. Past `expires_at` nothing passes: a
//! mandate that ended is none. A list of what is allowed refuses what it does not name; categories concern service
//! calls only, and a call without category is in none of them.
//! Invariants: a window forgets no use early, and at most one thirty-second of its length late; it holds at most
//! [`BUCKETS_MAX`] buckets of 32 bytes. Only checked or saturating arithmetic.
//! Non-goals: conversion between currencies, reading a clock.

mod check;
mod denial;
mod hours;
mod mandate;
mod recipient;
mod span;
mod usage;

pub use check::{AT_ONCE, Spend, Target};
pub use denial::{PolicyDenial, PolicyFigures, PolicyRule, PolicyScope};
pub use hours::{ActiveHours, DAY_MINUTES};
pub use mandate::{AgentPolicyChanged, AgentTerms, Mandate, PolicyChanged, Remaining, decide_policy};
pub use recipient::Recipient;
pub use span::{Span, Window};
pub use usage::{BUCKETS_MAX, Bucket, Measure, Release, Spending, Usage, Used};

use crate::{Amount, RailSet, Timestamp};

/// Windows of one kind, amounts or counts, in one policy.
pub const POLICY_WINDOWS_MAX: usize = 8;
/// Recipients in one list.
pub const POLICY_RECIPIENTS_MAX: usize = 256;
/// Categories in one list.
pub const POLICY_CATEGORIES_MAX: usize = 64;
/// Spans of active hours.
pub const POLICY_HOURS_MAX: usize = 32;
/// Characters of a recipient's label or of a category.
pub const POLICY_TEXT_BYTES_MAX: usize = 1_024;

/// An amount that may be spent within a window.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct SpendLimit {
    pub amount: Amount,
    pub span: Span,
}

/// A number of payments within a window.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct CountLimit {
    pub count: u32,
    pub span: Span,
}

/// The rules. What is absent forbids nothing.
#[derive(Clone, Eq, PartialEq, Default, Debug)]
pub struct Policy {
    pub max_per_payment: Option<Amount>,
    pub limits: Vec<SpendLimit>,
    pub max_payments: Vec<CountLimit>,
    pub allowed_rails: Option<RailSet>,
    pub allowed_recipients: Option<Vec<Recipient>>,
    pub blocked_recipients: Vec<Recipient>,
    pub allowed_categories: Option<Vec<Box<str>>>,
    /// The payment must fall into one of them.
    pub active_hours: Option<Vec<ActiveHours>>,
    pub expires_at: Option<Timestamp>,
}

/// A rule that no policy may have, by the name of its field.
#[derive(Copy, Clone, Eq, PartialEq, Debug, thiserror::Error)]
#[error("{field}: {advice}")]
pub struct PolicyError {
    pub field: &'static str,
    /// What to do about it, as a sentence.
    pub advice: &'static str,
}

impl Policy {
    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        *self == Policy::default()
    }

    /// Whether anything is counted over time.
    pub fn has_windows(&self) -> bool {
        !self.limits.is_empty() || !self.max_payments.is_empty()
    }

    /// Checks every rule. Nothing is repaired silently.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let fail = |field, advice| Err(PolicyError { field, advice });
        let bookable = |amount: Amount| amount.is_positive() && amount <= Amount::MAX;
        if self.max_per_payment.is_some_and(|amount| !bookable(amount)) {
            return fail(
                "max_per_payment",
                "Must be greater than zero and at most 18 digits before the point.",
            );
        }
        let limits: Vec<Span> = self.limits.iter().map(|limit| limit.span).collect();
        let counts: Vec<Span> = self.max_payments.iter().map(|limit| limit.span).collect();
        for (field, spans) in [("limits", &limits), ("max_payments", &counts)] {
            if spans.len() > POLICY_WINDOWS_MAX {
                return fail(field, "At most 8 windows are kept. Drop the least important ones.");
            }
            if spans.iter().any(|span| !span.is_valid()) {
                return fail(field, "A window in seconds lasts between 1 and 31622400 of them (366 days).");
            }
            if has_repeated(spans) {
                return fail(field, "The same window is there twice. Keep the tighter limit.");
            }
        }
        if self.limits.iter().any(|limit| !bookable(limit.amount)) {
            return fail(
                "limits",
                "An amount must be greater than zero and at most 18 digits before the point.",
            );
        }
        if self.max_payments.iter().any(|limit| limit.count == 0) {
            return fail("max_payments", "A count is at least 1. Freeze the wallet to stop it.");
        }
        self.validate_lists()
    }

    fn validate_lists(&self) -> Result<(), PolicyError> {
        const EMPTY: &str =
            "An empty list would let nothing pass. Leave the field out, or freeze the wallet to stop it.";
        let fail = |field, advice| Err(PolicyError { field, advice });
        if self.allowed_rails.is_some_and(RailSet::is_empty) {
            return fail("allowed_rails", EMPTY);
        }
        let allowed = self.allowed_recipients.as_deref();
        let lists =
            [("allowed_recipients", allowed), ("blocked_recipients", Some(&*self.blocked_recipients))];
        for (field, list) in lists {
            let list = list.unwrap_or_default();
            if list.len() > POLICY_RECIPIENTS_MAX {
                return fail(
                    field,
                    "At most 256 recipients are kept. Use labels that end in * for families.",
                );
            }
            if list.iter().any(|recipient| !recipient.is_valid()) {
                return fail(
                    field,
                    "A label has at most 1024 bytes, and only its last character may be a *.",
                );
            }
            if has_repeated(list) {
                return fail(field, "The same recipient is there twice. Send it once.");
            }
        }
        if allowed.is_some_and(<[Recipient]>::is_empty) {
            return fail("allowed_recipients", EMPTY);
        }
        if let Some(categories) = &self.allowed_categories {
            if categories.is_empty() {
                return fail("allowed_categories", EMPTY);
            }
            if categories.len() > POLICY_CATEGORIES_MAX {
                return fail("allowed_categories", "At most 64 categories are kept.");
            }
            if categories.iter().any(|text| text.is_empty() || text.len() > POLICY_TEXT_BYTES_MAX) {
                return fail("allowed_categories", "A category has between 1 and 1024 bytes.");
            }
            if has_repeated(categories) {
                return fail("allowed_categories", "The same category is there twice. Send it once.");
            }
        }
        if let Some(hours) = &self.active_hours {
            if hours.is_empty() {
                return fail("active_hours", EMPTY);
            }
            if hours.len() > POLICY_HOURS_MAX {
                return fail("active_hours", "At most 32 spans are kept.");
            }
            if !hours.iter().all(ActiveHours::is_valid) {
                return fail(
                    "active_hours",
                    "A span names its days and begins before it ends, at 24:00 at most.",
                );
            }
        }
        Ok(())
    }
}

fn has_repeated<T: PartialEq>(items: &[T]) -> bool {
    items.iter().enumerate().any(|(place, item)| items.iter().take(place).any(|earlier| earlier == item))
}

#[cfg(test)]
mod tests;
