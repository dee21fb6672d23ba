//! Records and rows of refunds and disputes, schema version 1: their shape on disk, and the way there and back.
//!
//! Every record about a payment repeats the payment's terms, so that its postings follow from the record alone.

use ledger::{
    AgentId, Amount, CallTerms, Claim, ClaimChange, ClaimStep, ClaimTerms, Currency, Dispute, DisputeMoved,
    DisputeOpened, DisputeStatus, EVIDENCE_BYTES_MAX, EVIDENCE_MAX, EvidenceAdded, KeyPlace, Parts, Party,
    Position, Refund, ServiceId, Timestamp, WalletId,
};
use rkyv::option::ArchivedOption;
use rkyv::with::InlineAsBox;
use rkyv::{Archive, Serialize};

use crate::archive::OptionalText;
use crate::records::KeyUseRecord;
use crate::{Encode, Error, Kind, Scratch, check, decode, encode};

#[derive(Archive, Serialize)]
pub(crate) struct ClaimTermsRecord {
    payment_lsn: u64,
    payment_item: u32,
    payer: u128,
    payee: Option<u128>,
    currency: [u8; 3],
    principal: i128,
}

#[derive(Archive, Serialize)]
enum PartyRecord {
    Payer,
    Payee,
    Operator,
}

#[derive(Archive, Serialize)]
enum DisputeStatusRecord {
    Open,
    UnderReview,
    ResolvedRefunded,
    ResolvedDenied,
    Withdrawn,
}

#[derive(Archive, Serialize)]
struct CallRecord {
    service: u128,
    consumer: u128,
    counts: bool,
}

#[derive(Archive, Serialize)]
pub(crate) struct RefundRecord<'a> {
    pub(crate) terms: ClaimTermsRecord,
    amount: i128,
    refunded_after: i128,
    by: PartyRecord,
    pub(crate) key: KeyUseRecord<'a>,
    pub(crate) at: i64,
    available_after: i128,
    held_after: i128,
}

#[derive(Archive, Serialize)]
pub(crate) struct DisputeOpenedRecord<'a> {
    pub(crate) terms: ClaimTermsRecord,
    payer_agent: u128,
    payee_agent: Option<u128>,
    call: Option<CallRecord>,
    by: PartyRecord,
    #[rkyv(with = InlineAsBox)]
    reason: &'a str,
    #[rkyv(with = OptionalText)]
    description: Option<&'a str>,
    claimed: i128,
    set_aside: i128,
    pub(crate) key: KeyUseRecord<'a>,
    pub(crate) at: i64,
}

#[derive(Archive, Serialize)]
pub(crate) struct EvidenceAddedRecord<'a> {
    pub(crate) terms: ClaimTermsRecord,
    dispute: u64,
    previous: u64,
    number: u32,
    by: PartyRecord,
    status: DisputeStatusRecord,
    #[rkyv(with = InlineAsBox)]
    category: &'a str,
    #[rkyv(with = InlineAsBox)]
    content: &'a str,
    pub(crate) key: KeyUseRecord<'a>,
    pub(crate) at: i64,
}

#[derive(Archive, Serialize)]
pub(crate) struct DisputeMovedRecord<'a> {
    pub(crate) terms: ClaimTermsRecord,
    dispute: u64,
    previous: u64,
    to: DisputeStatusRecord,
    by: PartyRecord,
    returned: i128,
    released: i128,
    refunded_after: i128,
    #[rkyv(with = OptionalText)]
    note: Option<&'a str>,
    call: Option<CallRecord>,
    pub(crate) at: i64,
}

#[derive(Archive, Serialize)]
struct DisputeRow {
    opened: u64,
    last: u64,
    status: DisputeStatusRecord,
    by: PartyRecord,
    set_aside: i128,
    evidence: u32,
    evidence_bytes: u32,
}

#[derive(Archive, Serialize)]
pub(crate) struct ClaimRow {
    payment: u64,
    owner: u128,
    principal: i128,
    refunded: i128,
    dispute: Option<DisputeRow>,
    decided: u64,
}

impl Encode for Refund {
    fn encode(&self, out: &mut Scratch) {
        let record = RefundRecord {
            terms: terms_record(&self.terms),
            amount: self.amount.nanos(),
            refunded_after: self.refunded_after.nanos(),
            by: party_record(self.by),
            key: encode::key_use(self.key.as_ref()),
            at: self.at.millis(),
            available_after: self.balance_after.available.nanos(),
            held_after: self.balance_after.held.nanos(),
        };
        out.archive(Kind::Refund as u8, &record);
    }
}

impl Encode for DisputeOpened {
    fn encode(&self, out: &mut Scratch) {
        let record = DisputeOpenedRecord {
            terms: terms_record(&self.terms),
            payer_agent: self.payer_agent.raw(),
            payee_agent: self.payee_agent.map(AgentId::raw),
            call: self.call.as_ref().map(call_record),
            by: party_record(self.by),
            reason: &self.reason,
            description: self.description.as_deref(),
            claimed: self.claimed.nanos(),
            set_aside: self.set_aside.nanos(),
            key: encode::key_use(self.key.as_ref()),
            at: self.at.millis(),
        };
        out.archive(Kind::DisputeOpened as u8, &record);
    }
}

impl Encode for EvidenceAdded {
    fn encode(&self, out: &mut Scratch) {
        let record = EvidenceAddedRecord {
            terms: terms_record(&self.terms),
            dispute: self.dispute.get(),
            previous: self.previous.get(),
            number: self.number,
            by: party_record(self.by),
            status: status_record(self.status),
            category: &self.category,
            content: &self.content,
            key: encode::key_use(self.key.as_ref()),
            at: self.at.millis(),
        };
        out.archive(Kind::EvidenceAdded as u8, &record);
    }
}

impl Encode for DisputeMoved {
    fn encode(&self, out: &mut Scratch) {
        let record = DisputeMovedRecord {
            terms: terms_record(&self.terms),
            dispute: self.dispute.get(),
            previous: self.previous.get(),
            to: status_record(self.to),
            by: party_record(self.by),
            returned: self.returned.nanos(),
            released: self.released.nanos(),
            refunded_after: self.refunded_after.nanos(),
            note: self.note.as_deref(),
            call: self.call.as_ref().map(call_record),
            at: self.at.millis(),
        };
        out.archive(Kind::DisputeMoved as u8, &record);
    }
}

pub(crate) fn claim_row(payment: Position, claim: &Claim) -> ClaimRow {
    ClaimRow {
        payment: payment.get(),
        owner: claim.owner.raw(),
        principal: claim.principal.nanos(),
        refunded: claim.refunded.nanos(),
        dispute: claim.dispute.as_deref().map(|dispute| DisputeRow {
            opened: dispute.opened.get(),
            last: dispute.last.get(),
            status: status_record(dispute.status),
            by: party_record(dispute.by),
            set_aside: dispute.set_aside.nanos(),
            evidence: dispute.evidence,
            evidence_bytes: dispute.evidence_bytes,
        }),
        decided: claim.decided.get(),
    }
}

pub(crate) fn claim(kind: u8, row: &ArchivedClaimRow) -> Result<(Position, Claim), Error> {
    let principal = row.principal.to_native();
    let sound =
        (1..=Amount::MAX.nanos()).contains(&principal) && (0..=principal).contains(&row.refunded.to_native());
    check::ensure_kind(kind, sound, "amount")?;
    let dispute = row.dispute.as_ref().map(|row| {
        let dispute = Dispute {
            opened: Position::new(row.opened.to_native()),
            last: Position::new(row.last.to_native()),
            status: status(&row.status),
            by: party(&row.by),
            set_aside: Amount::from_nanos(row.set_aside.to_native()),
            evidence: row.evidence.to_native(),
            evidence_bytes: row.evidence_bytes.to_native(),
        };
        let most = if dispute.status.is_open() { principal } else { 0 };
        check::ensure_kind(kind, (0..=most).contains(&dispute.set_aside.nanos()), "amount set aside")?;
        Ok(Box::new(dispute))
    });
    let claim = Claim {
        owner: WalletId::from_raw(row.owner.to_native()),
        principal: Amount::from_nanos(principal),
        refunded: Amount::from_nanos(row.refunded.to_native()),
        dispute: dispute.transpose()?,
        decided: Position::new(row.decided.to_native()),
    };
    Ok((Position::new(row.payment.to_native()), claim))
}

pub(crate) fn check_refund(record: &ArchivedRefundRecord<'_>) -> Result<Currency, Error> {
    let kind = Kind::Refund as u8;
    check::key_use(Kind::Refund, &record.key)?;
    let currency = check_terms(kind, &record.terms)?;
    let after = record.refunded_after.to_native();
    check::ensure_kind(kind, after <= record.terms.principal.to_native(), "sum of refunds")?;
    check::ensure_kind(kind, (1..=after).contains(&record.amount.to_native()), "amount")?;
    Ok(currency)
}

pub(crate) fn check_opened(record: &ArchivedDisputeOpenedRecord<'_>) -> Result<Currency, Error> {
    let kind = Kind::DisputeOpened as u8;
    check::key_use(Kind::DisputeOpened, &record.key)?;
    let currency = check_terms(kind, &record.terms)?;
    let claimed = record.claimed.to_native();
    check::ensure_kind(kind, (1..=record.terms.principal.to_native()).contains(&claimed), "amount")?;
    let most = if record.terms.payee.is_some() { claimed } else { 0 };
    check::ensure_kind(kind, (0..=most).contains(&record.set_aside.to_native()), "amount set aside")?;
    check::ensure_kind(kind, record.payee_agent.is_some() == record.terms.payee.is_some(), "payee")?;
    Ok(currency)
}

pub(crate) fn check_evidence(record: &ArchivedEvidenceAddedRecord<'_>) -> Result<Currency, Error> {
    let kind = Kind::EvidenceAdded as u8;
    check::key_use(Kind::EvidenceAdded, &record.key)?;
    let fits =
        (1..=EVIDENCE_MAX).contains(&record.number.to_native()) && record.content.len() <= EVIDENCE_BYTES_MAX;
    check::ensure_kind(kind, fits, "piece of evidence")?;
    check::ensure_kind(kind, status(&record.status).is_open(), "status")?;
    check_terms(kind, &record.terms)
}

pub(crate) fn check_moved(record: &ArchivedDisputeMovedRecord<'_>) -> Result<Currency, Error> {
    let kind = Kind::DisputeMoved as u8;
    let currency = check_terms(kind, &record.terms)?;
    let (returned, released) = (record.returned.to_native(), record.released.to_native());
    let after = record.refunded_after.to_native();
    let principal = record.terms.principal.to_native();
    check::ensure_kind(kind, (0..=principal).contains(&after), "sum of refunds")?;
    let set_aside_max = if record.terms.payee.is_some() { principal } else { 0 };
    let sound = match status(&record.to) {
        DisputeStatus::Open => false,
        DisputeStatus::UnderReview => returned == 0 && released == 0,
        DisputeStatus::ResolvedRefunded => {
            (1..=after).contains(&returned) && (0..=returned.min(set_aside_max)).contains(&released)
        }
        DisputeStatus::ResolvedDenied | DisputeStatus::Withdrawn => {
            returned == 0 && (0..=set_aside_max).contains(&released)
        }
    };
    check::ensure_kind(kind, sound, "move of a dispute")?;
    Ok(currency)
}

/// With a principal in `1..=MAX`, and no more of it than that in any step, the postings sum to zero whatever the numbers
/// are, because the deciding wallet's side is computed from the others.
fn check_terms(kind: u8, record: &ArchivedClaimTermsRecord) -> Result<Currency, Error> {
    check::ensure_kind(kind, (1..=Amount::MAX.nanos()).contains(&record.principal.to_native()), "amount")?;
    let own = record.payee.as_ref().is_some_and(|payee| *payee == record.payer);
    check::ensure_kind(kind, !own, "payee")?;
    let fits = record.payment_lsn.to_native() < 1 << 55 && record.payment_item.to_native() <= 0xffff;
    check::ensure_kind(kind, fits, "place of a payment")?;
    check::currency(kind, record.currency)
}

pub(crate) fn refund_change(currency: Currency, record: &ArchivedRefundRecord<'_>) -> ClaimChange {
    let step = ClaimStep::Refunded { amount: Amount::from_nanos(record.amount.to_native()) };
    ClaimChange { terms: terms(currency, &record.terms), step }
}

pub(crate) fn opened_change(currency: Currency, record: &ArchivedDisputeOpenedRecord<'_>) -> ClaimChange {
    let set_aside = Amount::from_nanos(record.set_aside.to_native());
    let step = ClaimStep::Opened { by: party(&record.by), set_aside };
    ClaimChange { terms: terms(currency, &record.terms), step }
}

pub(crate) fn evidence_change(currency: Currency, record: &ArchivedEvidenceAddedRecord<'_>) -> ClaimChange {
    let bytes = u32::try_from(record.content.len()).unwrap_or(u32::MAX);
    ClaimChange { terms: terms(currency, &record.terms), step: ClaimStep::Evidence { bytes } }
}

pub(crate) fn moved_change(currency: Currency, record: &ArchivedDisputeMovedRecord<'_>) -> ClaimChange {
    let step = ClaimStep::Moved {
        to: status(&record.to),
        returned: Amount::from_nanos(record.returned.to_native()),
        released: Amount::from_nanos(record.released.to_native()),
    };
    ClaimChange { terms: terms(currency, &record.terms), step }
}

/// The settled call that was disputed with success, when this is the record that says so.
pub(crate) fn refunded_call(record: &ArchivedDisputeMovedRecord<'_>) -> Option<CallTerms> {
    let is_refund = status(&record.to) == DisputeStatus::ResolvedRefunded;
    is_refund.then(|| call(&record.call)).flatten()
}

pub(crate) fn refund(currency: Currency, record: &ArchivedRefundRecord<'_>) -> Refund {
    Refund {
        terms: terms(currency, &record.terms),
        amount: Amount::from_nanos(record.amount.to_native()),
        refunded_after: Amount::from_nanos(record.refunded_after.to_native()),
        by: party(&record.by),
        key: decode::key_use(&record.key),
        at: Timestamp::from_millis(record.at.to_native()),
        balance_after: Parts {
            available: Amount::from_nanos(record.available_after.to_native()),
            held: Amount::from_nanos(record.held_after.to_native()),
        },
    }
}

pub(crate) fn opened(currency: Currency, record: &ArchivedDisputeOpenedRecord<'_>) -> DisputeOpened {
    DisputeOpened {
        terms: terms(currency, &record.terms),
        payer_agent: AgentId::from_raw(record.payer_agent.to_native()),
        payee_agent: record.payee_agent.as_ref().map(|agent| AgentId::from_raw(agent.to_native())),
        call: call(&record.call),
        by: party(&record.by),
        reason: Box::from(&*record.reason),
        description: decode::text(&record.description),
        claimed: Amount::from_nanos(record.claimed.to_native()),
        set_aside: Amount::from_nanos(record.set_aside.to_native()),
        key: decode::key_use(&record.key),
        at: Timestamp::from_millis(record.at.to_native()),
    }
}

pub(crate) fn evidence(currency: Currency, record: &ArchivedEvidenceAddedRecord<'_>) -> EvidenceAdded {
    EvidenceAdded {
        terms: terms(currency, &record.terms),
        dispute: Position::new(record.dispute.to_native()),
        previous: Position::new(record.previous.to_native()),
        number: record.number.to_native(),
        by: party(&record.by),
        status: status(&record.status),
        category: Box::from(&*record.category),
        content: Box::from(&*record.content),
        key: decode::key_use(&record.key),
        at: Timestamp::from_millis(record.at.to_native()),
    }
}

pub(crate) fn moved(currency: Currency, record: &ArchivedDisputeMovedRecord<'_>) -> DisputeMoved {
    DisputeMoved {
        terms: terms(currency, &record.terms),
        dispute: Position::new(record.dispute.to_native()),
        previous: Position::new(record.previous.to_native()),
        to: status(&record.to),
        by: party(&record.by),
        returned: Amount::from_nanos(record.returned.to_native()),
        released: Amount::from_nanos(record.released.to_native()),
        refunded_after: Amount::from_nanos(record.refunded_after.to_native()),
        note: decode::text(&record.note),
        call: call(&record.call),
        at: Timestamp::from_millis(record.at.to_native()),
    }
}

pub(crate) fn owner(record: &ArchivedClaimTermsRecord) -> WalletId {
    let payee = record.payee.as_ref().map(|payee| payee.to_native());
    WalletId::from_raw(payee.unwrap_or(record.payer.to_native()))
}

pub(crate) fn payment(record: &ArchivedClaimTermsRecord) -> Position {
    Position::of_item(record.payment_lsn.to_native(), record.payment_item.to_native())
}

fn terms_record(terms: &ClaimTerms) -> ClaimTermsRecord {
    ClaimTermsRecord {
        payment_lsn: terms.payment.lsn,
        payment_item: terms.payment.item,
        payer: terms.payer.raw(),
        payee: terms.payee.map(WalletId::raw),
        currency: terms.currency.to_bytes(),
        principal: terms.principal.nanos(),
    }
}

fn terms(currency: Currency, record: &ArchivedClaimTermsRecord) -> ClaimTerms {
    ClaimTerms {
        payment: KeyPlace { lsn: record.payment_lsn.to_native(), item: record.payment_item.to_native() },
        payer: WalletId::from_raw(record.payer.to_native()),
        payee: record.payee.as_ref().map(|payee| WalletId::from_raw(payee.to_native())),
        currency,
        principal: Amount::from_nanos(record.principal.to_native()),
    }
}

fn call_record(call: &CallTerms) -> CallRecord {
    CallRecord { service: call.service.raw(), consumer: call.consumer.raw(), counts: call.counts }
}

fn call(record: &ArchivedOption<ArchivedCallRecord>) -> Option<CallTerms> {
    record.as_ref().map(|record| CallTerms {
        service: ServiceId::from_raw(record.service.to_native()),
        consumer: AgentId::from_raw(record.consumer.to_native()),
        counts: record.counts,
    })
}

fn party_record(party: Party) -> PartyRecord {
    match party {
        Party::Payer => PartyRecord::Payer,
        Party::Payee => PartyRecord::Payee,
        Party::Operator => PartyRecord::Operator,
    }
}

fn party(record: &ArchivedPartyRecord) -> Party {
    match record {
        ArchivedPartyRecord::Payer => Party::Payer,
        ArchivedPartyRecord::Payee => Party::Payee,
        ArchivedPartyRecord::Operator => Party::Operator,
    }
}

fn status_record(status: DisputeStatus) -> DisputeStatusRecord {
    match status {
        DisputeStatus::Open => DisputeStatusRecord::Open,
        DisputeStatus::UnderReview => DisputeStatusRecord::UnderReview,
        DisputeStatus::ResolvedRefunded => DisputeStatusRecord::ResolvedRefunded,
        DisputeStatus::ResolvedDenied => DisputeStatusRecord::ResolvedDenied,
        DisputeStatus::Withdrawn => DisputeStatusRecord::Withdrawn,
    }
}

fn status(record: &ArchivedDisputeStatusRecord) -> DisputeStatus {
    match record {
        ArchivedDisputeStatusRecord::Open => DisputeStatus::Open,
        ArchivedDisputeStatusRecord::UnderReview => DisputeStatus::UnderReview,
        ArchivedDisputeStatusRecord::ResolvedRefunded => DisputeStatus::ResolvedRefunded,
        ArchivedDisputeStatusRecord::ResolvedDenied => DisputeStatus::ResolvedDenied,
        ArchivedDisputeStatusRecord::Withdrawn => DisputeStatus::Withdrawn,
    }
}
