//! Evidence: what the parties and operators put on record while a dispute is open.

use super::{Claim, ClaimChange, ClaimStep, ClaimTerms, DisputeStatus, Party};
use crate::{Decision, Denial, KeyHash, KeyScope, KeyUse, KeyVerdict, Position, Timestamp, Wallet};

/// Pieces of evidence in one dispute.
pub const EVIDENCE_MAX: u32 = 20;
/// Bytes of one piece.
pub const EVIDENCE_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Eq, PartialEq, Debug)]
pub struct AddEvidenceCommand {
    pub terms: ClaimTerms,
    /// The record that opened the dispute.
    pub dispute: Position,
    pub by: Party,
    /// The caller's word for what it is.
    pub category: Box<str>,
    /// At most [`EVIDENCE_BYTES_MAX`], checked where requests are read.
    pub content: Box<str>,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
}

/// A piece of evidence. Its content is in this record and nowhere else.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct EvidenceAdded {
    pub terms: ClaimTerms,
    pub dispute: Position,
    /// The record about the dispute before this one.
    pub previous: Position,
    /// Counted from 1.
    pub number: u32,
    pub by: Party,
    /// Where the dispute stood.
    pub status: DisputeStatus,
    pub category: Box<str>,
    pub content: Box<str>,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
}

impl EvidenceAdded {
    pub fn claim_change(&self) -> ClaimChange {
        let bytes = u32::try_from(self.content.len()).unwrap_or(u32::MAX);
        ClaimChange { terms: self.terms, step: ClaimStep::Evidence { bytes } }
    }

    pub fn for_each_key(&self, mut f: impl FnMut(KeyHash, u64, u32)) {
        if let Some(key) = &self.key {
            f(key.hash_about(KeyScope::AddEvidence, self.terms.position()), key.fingerprint, 0);
        }
    }
}

/// Decides whether a piece of evidence is taken.
pub fn decide_evidence(
    wallet: &Wallet,
    claim: Option<&Claim>,
    command: AddEvidenceCommand,
) -> Decision<EvidenceAdded> {
    assert!(command.content.len() <= EVIDENCE_BYTES_MAX, "larger ones are refused where requests are read");
    let dispute = claim.and_then(|claim| claim.dispute.as_deref());
    let Some(dispute) = dispute.filter(|dispute| dispute.opened == command.dispute) else {
        return Decision::Denied(Denial::UnknownDispute);
    };
    match wallet.keys.judge_about(command.key.as_ref(), KeyScope::AddEvidence, command.terms.position()) {
        KeyVerdict::New => {}
        KeyVerdict::Repeats(place) => return Decision::Replay(place),
        KeyVerdict::Conflicts => return Decision::Denied(Denial::KeyConflict),
    }
    if !dispute.status.is_open() {
        return Decision::Denied(Denial::WrongDisputeStatus { status: dispute.status });
    }
    if dispute.evidence >= EVIDENCE_MAX {
        return Decision::Denied(Denial::TooMuchEvidence { limit: EVIDENCE_MAX });
    }
    Decision::Fact(EvidenceAdded {
        terms: command.terms,
        dispute: command.dispute,
        previous: dispute.last,
        number: dispute.evidence.saturating_add(1),
        by: command.by,
        status: dispute.status,
        category: command.category,
        content: command.content,
        key: command.key,
        at: command.at,
    })
}
