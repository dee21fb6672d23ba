//! Disputes through the log: the record that opened one is its id, and from its last record each leads to the one before.

use ledger::{Claim, Denial, Dispute, DisputeId, DisputeOpened, Fact, Position, SealedKind};

use super::view::{DisputeDetails, DisputeView, Resolution, evidence_view, opened_view};
use crate::{Engine, refusal::Refusal};

impl Engine {
    /// The record that opened a dispute; unknown for an id that this ledger never gave.
    pub(crate) async fn opening(&self, id: DisputeId) -> Result<(Position, DisputeOpened), Refusal> {
        let shared = self.shared();
        let unknown = || Refusal::from(Denial::UnknownDispute);
        let address = shared.sealer.open(SealedKind::Dispute, id.raw()).ok_or_else(unknown)?;
        let is_ours = address.partition == shared.options.partition && address.item == 0;
        if !is_ours || address.lsn >= shared.delivered.end().get() {
            return Err(unknown());
        }
        match self.reads().fact(address.lsn).await {
            Ok(Fact::DisputeOpened(opened)) => Ok((Position::new(address.lsn), opened)),
            Ok(_) | Err(Refusal::UnknownPayment) => Err(unknown()),
            Err(refusal) => Err(refusal),
        }
    }

    /// The dispute as it stands, once that is durable.
    pub(crate) async fn standing(
        &self,
        position: Position,
        opened: &DisputeOpened,
    ) -> Result<(DisputeView, Dispute), Refusal> {
        let (view, dispute, decided) = self.as_seen(position, opened);
        self.delivered(decided).await?;
        Ok((view, dispute))
    }

    /// The dispute as it stands, and the position that has to be delivered before it is shown.
    pub(crate) fn as_seen(
        &self,
        position: Position,
        opened: &DisputeOpened,
    ) -> (DisputeView, Dispute, Position) {
        let shared = self.shared();
        let of = |claim: &Claim| claim.dispute.as_deref().map(|dispute| (dispute.clone(), claim.decided));
        let seen = shared.claims.read(opened.terms.position(), of).flatten();
        // A record can be delivered a moment before its owner, who appended it, has folded it in.
        let (dispute, decided) = seen.unwrap_or_else(|| (Dispute::opened(opened, position), position));
        assert_eq!(dispute.opened, position, "a payment is disputed once");
        let mut view = opened_view(shared, position, opened);
        view.status = dispute.status;
        view.set_aside = dispute.set_aside;
        view.evidence = dispute.evidence;
        (view, dispute, decided)
    }

    /// Everything that was said about a dispute. At most one record per piece of evidence and move is read.
    pub(crate) async fn story(
        &self,
        position: Position,
        opened: &DisputeOpened,
    ) -> Result<DisputeDetails, Refusal> {
        let (mut view, dispute) = self.standing(position, opened).await?;
        let (mut evidence, mut moves) = (Vec::new(), Vec::new());
        let mut at = dispute.last;
        while at != position {
            at = match self.reads().fact(at.get()).await? {
                Fact::EvidenceAdded(fact) if fact.dispute == position && fact.previous < at => {
                    let previous = fact.previous;
                    evidence.push(evidence_view(self.shared(), fact));
                    previous
                }
                Fact::DisputeMoved(fact) if fact.dispute == position && fact.previous < at => {
                    let previous = fact.previous;
                    moves.push(Resolution::from(fact));
                    previous
                }
                _ => return Err(Refusal::Damaged),
            };
        }
        view.resolution = moves.first().cloned();
        evidence.reverse();
        moves.reverse();
        Ok(DisputeDetails { dispute: view, evidence, moves })
    }
}
