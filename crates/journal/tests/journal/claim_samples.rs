//! Refunds and disputes that use every field, every variant and the edges of every range.

use journal::Row;
use ledger::{
    AgentId, Amount, CallTerms, Claim, ClaimTerms, Currency, Dispute, DisputeMoved, DisputeOpened,
    DisputeStatus, EVIDENCE_MAX, EvidenceAdded, Fact, KeyPlace, Parts, Party, Position, Refund, ServiceId,
    Timestamp, WalletId,
};

use crate::samples::key;

const PAYER: WalletId = WalletId::new(1, 0x1111_1111_1111_1111_1111_1111_1111);
const PAYEE: WalletId = WalletId::new(2, 0x2222_2222_2222_2222_2222_2222_2222);
const AGENT: AgentId = AgentId::new(1, 0x0011_2233_4455_6677_8899_aabb_ccdd);
const OTHER: AgentId = AgentId::new(2, 0x4444_4444_4444_4444_4444_4444_4444);
const AT: Timestamp = Timestamp::from_millis(1_778_241_600_123);

fn nanos(nanos: i128) -> Amount {
    Amount::from_nanos(nanos)
}

fn terms() -> ClaimTerms {
    ClaimTerms {
        payment: KeyPlace { lsn: 8_192, item: 9_999 },
        payer: PAYER,
        payee: Some(PAYEE),
        currency: Currency::USD,
        principal: nanos(5_000_000_000),
    }
}

fn outside() -> ClaimTerms {
    let payment = KeyPlace { lsn: 4_096, item: 0 };
    ClaimTerms { payment, payee: None, currency: Currency::EUR, principal: Amount::MAX, ..terms() }
}

fn call() -> CallTerms {
    CallTerms {
        service: ServiceId::new(1, 0x3333_3333_3333_3333_3333_3333_3333),
        consumer: AGENT,
        counts: true,
    }
}

fn refund() -> Refund {
    Refund {
        terms: terms(),
        amount: nanos(2_000_000_000),
        refunded_after: nanos(3_000_000_000),
        by: Party::Payee,
        key: key("refund-1"),
        at: AT,
        balance_after: Parts { available: nanos(7), held: nanos(8) },
    }
}

fn opened() -> DisputeOpened {
    DisputeOpened {
        terms: terms(),
        payer_agent: AGENT,
        payee_agent: Some(OTHER),
        call: Some(call()),
        by: Party::Payer,
        reason: "service_not_delivered".into(),
        description: Some("Provider returned 503 after token was consumed".into()),
        claimed: nanos(5_000_000_000),
        set_aside: nanos(4_000_000_000),
        key: key("dispute-1"),
        at: AT,
    }
}

fn evidence() -> EvidenceAdded {
    EvidenceAdded {
        terms: terms(),
        dispute: Position::new(12_288),
        previous: Position::new(12_800),
        number: 1,
        by: Party::Payer,
        status: DisputeStatus::Open,
        category: "log_excerpt".into(),
        content: "HTTP 503 at 2026-05-08T11:59:01Z — no response body".into(),
        key: key("evidence-1"),
        at: AT,
    }
}

fn moved(to: DisputeStatus) -> DisputeMoved {
    let is_refund = to == DisputeStatus::ResolvedRefunded;
    let amount = |amount, when| if when { nanos(amount) } else { Amount::ZERO };
    DisputeMoved {
        terms: terms(),
        dispute: Position::new(12_288),
        previous: Position::new(u64::MAX),
        to,
        by: if to == DisputeStatus::Withdrawn { Party::Payee } else { Party::Operator },
        returned: amount(5_000_000_000, is_refund),
        released: amount(4_000_000_000, !to.is_open()),
        refunded_after: amount(5_000_000_000, is_refund),
        note: Some("seen".into()),
        call: Some(CallTerms { counts: false, ..call() }),
        at: AT,
    }
}

pub(crate) fn facts() -> Vec<(&'static str, Fact)> {
    let bare_refund = Refund {
        terms: outside(),
        amount: Amount::MAX,
        refunded_after: Amount::MAX,
        by: Party::Operator,
        key: None,
        ..refund()
    };
    let bare_opened = DisputeOpened {
        terms: outside(),
        payee_agent: None,
        call: None,
        by: Party::Payee,
        reason: "".into(),
        description: None,
        claimed: nanos(1),
        set_aside: Amount::ZERO,
        key: None,
        ..opened()
    };
    let bare_evidence = EvidenceAdded {
        terms: outside(),
        number: EVIDENCE_MAX,
        by: Party::Operator,
        status: DisputeStatus::UnderReview,
        category: "".into(),
        content: "".into(),
        key: None,
        ..evidence()
    };
    let bare_moved = DisputeMoved {
        terms: outside(),
        returned: Amount::MAX,
        released: Amount::ZERO,
        refunded_after: Amount::MAX,
        note: None,
        call: None,
        ..moved(DisputeStatus::ResolvedRefunded)
    };
    vec![
        ("refund", refund().into()),
        ("refund_bare", bare_refund.into()),
        ("dispute_opened", opened().into()),
        ("dispute_opened_bare", bare_opened.into()),
        ("evidence_added", evidence().into()),
        ("evidence_added_bare", bare_evidence.into()),
        ("dispute_moved_under_review", moved(DisputeStatus::UnderReview).into()),
        ("dispute_moved_refunded", moved(DisputeStatus::ResolvedRefunded).into()),
        ("dispute_moved_refunded_bare", bare_moved.into()),
        ("dispute_moved_denied", moved(DisputeStatus::ResolvedDenied).into()),
        ("dispute_moved_withdrawn", moved(DisputeStatus::Withdrawn).into()),
    ]
}

pub(crate) fn rows() -> Vec<(&'static str, Row)> {
    let payment = Position::new(18_191);
    let bare = Claim { refunded: nanos(1), decided: Position::new(1), ..Claim::new(&outside()) };
    let disputed = |status, set_aside, by| {
        let dispute = Dispute {
            opened: Position::new(20_000),
            last: Position::new(u64::MAX),
            status,
            by,
            set_aside: nanos(set_aside),
            evidence: EVIDENCE_MAX,
            evidence_bytes: u32::MAX,
        };
        let decided = Position::new(u64::MAX);
        Row::Claim(payment, Claim { dispute: Some(Box::new(dispute)), decided, ..Claim::new(&terms()) })
    };
    vec![
        ("row_claim", disputed(DisputeStatus::Open, 5_000_000_000, Party::Payer)),
        ("row_claim_bare", Row::Claim(Position::ZERO, bare)),
        ("row_claim_under_review", disputed(DisputeStatus::UnderReview, 1, Party::Payee)),
        ("row_claim_refunded", disputed(DisputeStatus::ResolvedRefunded, 0, Party::Payer)),
        ("row_claim_denied", disputed(DisputeStatus::ResolvedDenied, 0, Party::Operator)),
        ("row_claim_withdrawn", disputed(DisputeStatus::Withdrawn, 0, Party::Payer)),
    ]
}
