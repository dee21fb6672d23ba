//! How a dispute goes on and ends: taken up, decided for either side, or dropped.

use super::{CallTerms, Claim, ClaimChange, ClaimStep, ClaimTerms, DisputeMove, DisputeStatus, Party};
use crate::{Amount, Denial, Position, Posting, Timestamp};

#[derive(Clone, Eq, PartialEq, Debug)]
pub struct MoveDisputeCommand {
    pub terms: ClaimTerms,
    /// The record that opened the dispute.
    pub dispute: Position,
    pub step: DisputeMove,
    /// Who asks: an operator, or a party who withdraws.
    pub by: Party,
    /// The settled call that it is about, as the opening says.
    pub call: Option<CallTerms>,
    pub note: Option<Box<str>>,
    pub at: Timestamp,
}

/// A dispute went on. When it ends, what was set aside is released, and a refund goes to the payer.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct DisputeMoved {
    pub terms: ClaimTerms,
    pub dispute: Position,
    /// The record about the dispute before this one.
    pub previous: Position,
    pub to: DisputeStatus,
    pub by: Party,
    /// What goes back to the payer; zero unless resolved so.
    pub returned: Amount,
    /// What leaves the payee's disputed part; zero unless it ends.
    pub released: Amount,
    /// All refunds of the payment behind this.
    pub refunded_after: Amount,
    pub note: Option<Box<str>>,
    pub call: Option<CallTerms>,
    pub at: Timestamp,
}

impl DisputeMoved {
    pub fn claim_change(&self) -> ClaimChange {
        let (to, returned, released) = (self.to, self.returned, self.released);
        ClaimChange { terms: self.terms, step: ClaimStep::Moved { to, returned, released } }
    }

    pub fn for_each_posting(&self, f: impl FnMut(Posting)) {
        self.claim_change().for_each_posting(f);
    }
}

/// Decides a move. `Ok(None)`: it was made before, and the dispute stands where it led.
pub fn decide_dispute_move(
    claim: Option<&Claim>,
    command: MoveDisputeCommand,
) -> Result<Option<DisputeMoved>, Denial> {
    let claim = claim.ok_or(Denial::UnknownDispute)?;
    let dispute = claim.dispute.as_deref().filter(|dispute| dispute.opened == command.dispute);
    let dispute = dispute.ok_or(Denial::UnknownDispute)?;
    if command.step == DisputeMove::Withdraw && command.by != dispute.by {
        return Err(Denial::OnlyTheOpener);
    }
    let to = command.step.to();
    if dispute.status == to {
        return Ok(None);
    }
    if !dispute.status.allows(command.step) {
        return Err(Denial::WrongDisputeStatus { status: dispute.status });
    }
    let returned = match to {
        DisputeStatus::ResolvedRefunded => claim.refundable(),
        _ => Amount::ZERO,
    };
    Ok(Some(DisputeMoved {
        terms: command.terms,
        dispute: command.dispute,
        previous: dispute.last,
        to,
        by: command.by,
        returned,
        released: if to.is_open() { Amount::ZERO } else { dispute.set_aside },
        refunded_after: claim.refunded.plus(returned),
        note: command.note,
        call: command.call,
        at: command.at,
    }))
}
