//! What the engine offers about refunds and disputes. Who is a party follows from the payment's record, which never
//! changes; the owner wallet decides the rest.

use std::sync::Arc;

use history::EntryKind;
use ledger::{
    AddEvidenceCommand, AgentId, CallTerms, ClaimTerms, Denial, DisputeId, DisputeMove, DisputeOpened, Fact,
    KeyPlace, MoveDisputeCommand, OpenDisputeCommand, Party, Payee, PaymentId, Position, RefundCommand,
    Timestamp, TokenEnd,
};

use super::view::{
    AddEvidence, Asker, ClaimView, DisputeDetails, DisputeFilter, DisputeView, EvidenceView, OpenDispute,
    RefundPayment, RefundReceipt, evidence_view, opened_view, refund_receipt,
};
use crate::{
    Engine,
    admission::Permit,
    listing::Listing,
    refusal::Refusal,
    release::Reply,
    views::{Answer, Page, PageRequest, Transaction},
    wallet::Command,
};

/// A payment that can be claimed back, with its parties.
struct Claimable {
    transaction: Transaction,
    terms: ClaimTerms,
    payer_agent: AgentId,
    payee_agent: Option<AgentId>,
    call: Option<CallTerms>,
    paid_at: Timestamp,
}

impl Engine {
    /// Gives a payment back, wholly or in part: for its payee's agent, and for operators.
    pub async fn refund(
        &self,
        asker: Asker<'_>,
        command: RefundPayment,
    ) -> Result<Answer<RefundReceipt>, Refusal> {
        let permit = self.admitted(asker).await?;
        let Claimable { transaction, terms, payer_agent, payee_agent, .. } =
            self.claimable(command.payment).await?;
        let by = match asker {
            Asker::Operator => Party::Operator,
            Asker::Agent(caller) if payee_agent == Some(caller.agent) => Party::Payee,
            Asker::Agent(caller) if payer_agent == caller.agent => return Err(Denial::OnlyThePayee.into()),
            Asker::Agent(_) => return Err(Refusal::UnknownPayment),
        };
        let RefundPayment { amount, key, at, .. } = command;
        let command = RefundCommand { terms, amount, by, key, at };
        match self.ask(terms.owner(), Command::Refund(Box::new(command)), permit).await? {
            Reply::Refund(fact) => Ok(Answer::first(refund_receipt(transaction, &fact))),
            Reply::Replay(place) => match self.reads().fact(place.lsn).await? {
                Fact::Refund(fact) => Ok(Answer::again(refund_receipt(transaction, &fact))),
                _ => Err(Refusal::Damaged),
            },
            reply => unexpected(&reply),
        }
    }

    /// What has become of a payment since it was made; `None` when nothing has.
    pub async fn claim(&self, id: PaymentId) -> Result<Option<ClaimView>, Refusal> {
        let Some(place) = self.reads().place_of(id) else { return Ok(None) };
        let shared = self.shared();
        let payment = Position::of_item(place.lsn, place.item);
        let seen = shared.claims.read(payment, |claim| {
            let dispute = claim.dispute.as_deref();
            let view = ClaimView {
                state: claim.state(),
                refunded: claim.refunded,
                dispute: dispute.map(|dispute| (shared.dispute_id(dispute.opened), dispute.status)),
            };
            (view, claim.decided)
        });
        let Some((view, decided)) = seen else { return Ok(None) };
        self.delivered(decided).await?;
        Ok(Some(view))
    }

    /// Opens a dispute about a payment, for either of its parties.
    pub async fn open_dispute(
        &self,
        asker: Asker<'_>,
        command: OpenDispute,
    ) -> Result<Answer<DisputeView>, Refusal> {
        let permit = self.admitted(asker).await?;
        let found = self.claimable(command.payment).await?;
        let by = party(asker, found.payer_agent, found.payee_agent).ok_or(Refusal::UnknownPayment)?;
        let OpenDispute { reason, description, key, at, .. } = command;
        let terms = found.terms;
        let command = OpenDisputeCommand {
            terms,
            paid_at: found.paid_at,
            payer_agent: found.payer_agent,
            payee_agent: found.payee_agent,
            call: found.call,
            by,
            reason,
            description,
            key,
            at,
        };
        match self.ask(terms.owner(), Command::OpenDispute(Box::new(command)), permit).await? {
            Reply::DisputeOpened(lsn, fact) => {
                Ok(Answer::first(opened_view(self.shared(), Position::new(lsn.get()), &fact)))
            }
            Reply::Replay(place) => match self.reads().fact(place.lsn).await? {
                Fact::DisputeOpened(fact) => {
                    Ok(Answer::again(opened_view(self.shared(), Position::new(place.lsn), &fact)))
                }
                _ => Err(Refusal::Damaged),
            },
            reply => unexpected(&reply),
        }
    }

    /// Adds evidence to a dispute, for its parties and for operators.
    pub async fn add_evidence(
        &self,
        asker: Asker<'_>,
        command: AddEvidence,
    ) -> Result<Answer<EvidenceView>, Refusal> {
        let permit = self.admitted(asker).await?;
        let (dispute, opened, by) = self.disputed(asker, command.dispute).await?;
        let AddEvidence { category, content, key, at, .. } = command;
        let terms = opened.terms;
        let command = AddEvidenceCommand { terms, dispute, by, category, content, key, at };
        match self.ask(terms.owner(), Command::AddEvidence(Box::new(command)), permit).await? {
            Reply::Evidence(fact) => Ok(Answer::first(evidence_view(self.shared(), *fact))),
            Reply::Replay(place) => match self.reads().fact(place.lsn).await? {
                Fact::EvidenceAdded(fact) => Ok(Answer::again(evidence_view(self.shared(), fact))),
                _ => Err(Refusal::Damaged),
            },
            reply => unexpected(&reply),
        }
    }

    /// Moves a dispute on: withdrawal for who opened it, everything else for operators. A move that was made before is
    /// answered again.
    pub async fn move_dispute(
        &self,
        asker: Asker<'_>,
        id: DisputeId,
        step: DisputeMove,
        note: Option<Box<str>>,
        at: Timestamp,
    ) -> Result<Answer<DisputeView>, Refusal> {
        let permit = self.admitted(asker).await?;
        let (dispute, opened, by) = self.disputed(asker, id).await?;
        if by == Party::Operator && step == DisputeMove::Withdraw {
            return Err(Denial::OnlyTheOpener.into());
        }
        let (terms, call) = (opened.terms, opened.call);
        let command = MoveDisputeCommand { terms, dispute, step, by, call, note, at };
        match self.ask(terms.owner(), Command::MoveDispute(Box::new(command)), permit).await? {
            Reply::DisputeMoved(fact) => {
                let (view, _) = self.standing(dispute, &opened).await?;
                Ok(Answer::first(view.moved(*fact)))
            }
            Reply::Done => Ok(Answer::again(self.story(dispute, &opened).await?.dispute)),
            reply => unexpected(&reply),
        }
    }

    /// A dispute with its evidence and history, for its parties and for operators.
    pub async fn dispute(&self, asker: Asker<'_>, id: DisputeId) -> Result<DisputeDetails, Refusal> {
        let _permit = self.admit_read(&Arc::default(), 1)?;
        let (position, opened, _) = self.disputed(asker, id).await?;
        self.story(position, &opened).await
    }

    /// Bytes of evidence that [`Self::dispute`] would read now.
    pub async fn evidence_bytes(&self, asker: Asker<'_>, id: DisputeId) -> Result<u32, Refusal> {
        let (position, opened, _) = self.disputed(asker, id).await?;
        let (_, dispute, _) = self.as_seen(position, &opened);
        Ok(dispute.evidence_bytes)
    }

    /// Disputes of an agent, or all of them for an operator, newest first. A page may be short although more follow.
    pub async fn disputes(
        &self,
        asker: Asker<'_>,
        filter: DisputeFilter,
        page: PageRequest,
    ) -> Result<Page<DisputeView>, Refusal> {
        let whose = match asker {
            Asker::Agent(caller) => Some((caller.agent, filter.role)),
            Asker::Operator => None,
        };
        let mut listing = Listing::new(page, filter.status.is_some());
        loop {
            let (before, piece) = listing.wanted();
            let found = self.reads().disputes(whose, filter.range, before, piece).await?;
            let mut last = None;
            for entry in &found.items {
                if listing.is_full() {
                    break;
                }
                assert_eq!(
                    entry.kind,
                    EntryKind::DisputeListed,
                    "disputes are listed under keys of their own"
                );
                let Fact::DisputeOpened(opened) = self.reads().fact(entry.lsn).await? else {
                    return Err(Refusal::Damaged);
                };
                let (view, _, decided) = self.as_seen(Position::new(entry.lsn), &opened);
                let matches = filter.status.is_none_or(|status| status == view.status);
                listing.take(view, decided, matches);
                last = Some(entry.key());
            }
            if let Some(next) = listing.end(&found, last) {
                return listing.page(self, next).await;
            }
        }
    }

    async fn admitted(&self, asker: Asker<'_>) -> Result<Permit, Refusal> {
        match asker {
            Asker::Agent(caller) => self.admit(&caller.meter, 1).await,
            Asker::Operator => self.admit(&Arc::default(), 1).await,
        }
    }

    /// A dispute by its id, and as whom the caller sees it.
    async fn disputed(
        &self,
        asker: Asker<'_>,
        id: DisputeId,
    ) -> Result<(Position, DisputeOpened, Party), Refusal> {
        let (position, opened) = self.opening(id).await?;
        let by = match asker {
            Asker::Operator => Party::Operator,
            // Somebody on both sides speaks as who opened it.
            Asker::Agent(caller) if opener(&opened) == Some(caller.agent) => opened.by,
            Asker::Agent(_) => party(asker, opened.payer_agent, opened.payee_agent)
                .ok_or(Refusal::Denied(Denial::UnknownDispute))?,
        };
        Ok((position, opened, by))
    }

    /// The payment that an id names, if it is one that money can be claimed back of.
    async fn claimable(&self, id: PaymentId) -> Result<Claimable, Refusal> {
        let (place, fact) = self.reads().located(id).await?;
        let transaction = self.reads().transaction_of(&fact, place).ok_or(Refusal::UnknownPayment)?;
        let agent_of = |wallet| self.shared().registry.facts(wallet).map(|(agent, _)| agent);
        let (terms, call, paid_at) = match &transaction {
            Transaction::Payment(receipt) => {
                let payment = &receipt.payment;
                let payee = match payment.payee {
                    Payee::Wallet(payee) => Some(payee),
                    Payee::External(_) => None,
                };
                (terms_of(place, payment.payer, payee, payment.currency, payment.amount), None, payment.at)
            }
            Transaction::Settlement(receipt) => {
                let terms =
                    terms_of(place, receipt.payer, Some(receipt.payee), receipt.currency, receipt.amount);
                (terms, call_of(&fact), receipt.at)
            }
            // The faucet asks for nothing back.
            Transaction::Funding(_) => return Err(Refusal::UnknownPayment),
        };
        // A payee that does not exist was paid into suspense; nobody can be made to give that back.
        let payee_agent = match terms.payee {
            Some(payee) => Some(agent_of(payee).ok_or(Refusal::UnknownPayment)?),
            None => None,
        };
        let payer_agent = agent_of(terms.payer).ok_or(Refusal::Damaged)?;
        Ok(Claimable { transaction, terms, payer_agent, payee_agent, call, paid_at })
    }
}

fn terms_of(
    payment: KeyPlace,
    payer: ledger::WalletId,
    payee: Option<ledger::WalletId>,
    currency: ledger::Currency,
    principal: ledger::Amount,
) -> ClaimTerms {
    ClaimTerms { payment, payer, payee, currency, principal }
}

/// The call that a settlement is of.
fn call_of(fact: &Fact) -> Option<CallTerms> {
    match fact {
        Fact::TokenEnded(ended) if ended.end == TokenEnd::Settled => Some(CallTerms {
            service: ended.terms.service,
            consumer: ended.terms.payer_agent,
            counts: ended.terms.counts,
        }),
        _ => None,
    }
}

/// The agent that opened a dispute.
fn opener(opened: &DisputeOpened) -> Option<AgentId> {
    match opened.by {
        Party::Payer => Some(opened.payer_agent),
        Party::Payee => opened.payee_agent,
        Party::Operator => None,
    }
}

/// As whom an agent speaks about a payment; somebody on both sides speaks as the payer.
fn party(asker: Asker<'_>, payer: AgentId, payee: Option<AgentId>) -> Option<Party> {
    match asker {
        Asker::Operator => None,
        Asker::Agent(caller) if caller.agent == payer => Some(Party::Payer),
        Asker::Agent(caller) if payee == Some(caller.agent) => Some(Party::Payee),
        Asker::Agent(_) => None,
    }
}

fn unexpected<T>(reply: &Reply) -> T {
    unreachable!("a wallet answered with something it was not asked for: {reply:?}")
}
