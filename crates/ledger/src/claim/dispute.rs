//! Opening a dispute: what is left of the principal is set aside, as far as the payee has it available.

use super::{Claim, ClaimChange, ClaimStep, ClaimTerms, Party, PaymentState};
use crate::{
    AgentId, Amount, Decision, Denial, DisputeId, KeyHash, KeyScope, KeyUse, KeyVerdict, Position, Posting,
    Rules, ServiceId, Timestamp, Wallet,
};

/// The service call that a disputed payment settled: what trust needs to know of it.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct CallTerms {
    pub service: ServiceId,
    pub consumer: AgentId,
    /// Whether its outcome counts for trust.
    pub counts: bool,
}

/// A request to open a dispute. That the caller is a party is checked where requests arrive.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct OpenDisputeCommand {
    pub terms: ClaimTerms,
    /// When the payment was made.
    pub paid_at: Timestamp,
    pub payer_agent: AgentId,
    pub payee_agent: Option<AgentId>,
    pub call: Option<CallTerms>,
    /// Payer or payee.
    pub by: Party,
    pub reason: Box<str>,
    pub description: Option<Box<str>>,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
}

/// A dispute was opened.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct DisputeOpened {
    pub terms: ClaimTerms,
    pub payer_agent: AgentId,
    pub payee_agent: Option<AgentId>,
    pub call: Option<CallTerms>,
    pub by: Party,
    pub reason: Box<str>,
    pub description: Option<Box<str>>,
    /// What the dispute is about: the principal, less what had been refunded.
    pub claimed: Amount,
    /// Part of it that was set aside.
    pub set_aside: Amount,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
}

impl DisputeOpened {
    pub fn claim_change(&self) -> ClaimChange {
        let step = ClaimStep::Opened { by: self.by, set_aside: self.set_aside };
        ClaimChange { terms: self.terms, step }
    }

    pub fn for_each_posting(&self, f: impl FnMut(Posting)) {
        self.claim_change().for_each_posting(f);
    }

    pub fn for_each_key(&self, mut f: impl FnMut(KeyHash, u64, u32)) {
        if let Some(key) = &self.key {
            f(key.hash_about(KeyScope::OpenDispute, self.terms.position()), key.fingerprint, 0);
        }
    }
}

/// Decides whether a dispute is opened. A wallet's status does not matter: setting aside is not spending. `id_of` is the
/// id of the dispute that was opened there.
pub fn decide_open_dispute(
    wallet: &Wallet,
    claim: Option<&Claim>,
    command: OpenDisputeCommand,
    rules: &Rules,
    id_of: impl FnOnce(Position) -> DisputeId,
) -> Decision<DisputeOpened> {
    let terms = command.terms;
    match wallet.keys.judge_about(command.key.as_ref(), KeyScope::OpenDispute, terms.position()) {
        KeyVerdict::New => {}
        KeyVerdict::Repeats(place) => return Decision::Replay(place),
        KeyVerdict::Conflicts => return Decision::Denied(Denial::KeyConflict),
    }
    if let Some(dispute) = claim.and_then(|claim| claim.dispute.as_deref()) {
        let denial = Denial::DisputeExists { dispute: id_of(dispute.opened), status: dispute.status };
        return Decision::Denied(denial);
    }
    let refunded = claim.map_or(Amount::ZERO, |claim| claim.refunded);
    if PaymentState::of(terms.principal, refunded) == PaymentState::Refunded {
        return Decision::Denied(Denial::AlreadyRefunded);
    }
    let closed_at = command.paid_at.saturating_add_millis(rules.dispute_window_ms);
    if command.at >= closed_at {
        return Decision::Denied(Denial::DisputeWindowClosed { closed_at });
    }
    let claimed = terms.principal.minus(refunded);
    let set_aside = match terms.payee {
        Some(_) => claimed.min(wallet.available.max(Amount::ZERO)),
        // Nobody here has what was paid to the outside.
        None => Amount::ZERO,
    };
    Decision::Fact(DisputeOpened {
        terms,
        payer_agent: command.payer_agent,
        payee_agent: command.payee_agent,
        call: command.call,
        by: command.by,
        reason: command.reason,
        description: command.description,
        claimed,
        set_aside,
        key: command.key,
        at: command.at,
    })
}
