//! Short spellings of refunds and disputes.

use engine::{
    AddEvidence, Answer, Asker, ClaimView, DisputeView, OpenDispute, RefundPayment, RefundReceipt, Refusal,
};
use ledger::{DisputeId, DisputeMove, KeyUse, PaymentId, Timestamp};

use super::{Node, Party, amount};

const AT: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// `units` empty means all that is left.
pub(crate) fn refund_of(payment: PaymentId, units: &str) -> RefundPayment {
    let amount = (!units.is_empty()).then(|| amount(units));
    RefundPayment { payment, amount, key: None, at: AT }
}

pub(crate) fn dispute_of(payment: PaymentId) -> OpenDispute {
    let reason = "service_not_delivered".into();
    OpenDispute { payment, reason, description: Some("nothing came".into()), key: None, at: AT }
}

pub(crate) fn evidence_for(dispute: DisputeId, content: &str, key: Option<KeyUse>) -> AddEvidence {
    AddEvidence { dispute, category: "log_excerpt".into(), content: content.into(), key, at: AT }
}

impl Node {
    pub(crate) fn refund(
        &self,
        party: &Party,
        payment: PaymentId,
        units: &str,
    ) -> Result<Answer<RefundReceipt>, Refusal> {
        self.run(self.engine.refund(Asker::Agent(&party.caller), refund_of(payment, units)))
    }

    pub(crate) fn open_dispute(
        &self,
        party: &Party,
        payment: PaymentId,
    ) -> Result<Answer<DisputeView>, Refusal> {
        self.run(self.engine.open_dispute(Asker::Agent(&party.caller), dispute_of(payment)))
    }

    /// `None` asks as an operator.
    pub(crate) fn go_on(
        &self,
        party: Option<&Party>,
        dispute: DisputeId,
        step: DisputeMove,
    ) -> Result<Answer<DisputeView>, Refusal> {
        let asker = party.map_or(Asker::Operator, |party| Asker::Agent(&party.caller));
        self.run(self.engine.move_dispute(asker, dispute, step, None, AT))
    }

    pub(crate) fn claim(&self, payment: PaymentId) -> Option<ClaimView> {
        self.run(self.engine.claim(payment)).expect("a claim can be read")
    }

    /// What a wallet has available, held and disputed, in text.
    pub(crate) fn parts(&self, party: &Party) -> [String; 3] {
        let wallet = self.wallet(party);
        [wallet.available, wallet.held, wallet.disputed].map(|amount| amount.to_string())
    }
}
