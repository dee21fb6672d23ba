//! From records to statement lines. Pure.

use journal::{Kind, Paid, PaidTo, View};
use ledger::{
    Amount, ClaimStep, ClaimTerms, DisputeMoved, DisputeOpened, DisputeStatus, Fact, Funding, Rail, Refund,
    Timestamp, TokenEnd, TokenEnded, TokenReserved, WalletId,
};

use crate::disputes::{DisputeRole, all_key, dispute_key};
use crate::entry::{EntryKind, Line, Party, PaymentStatus};
use crate::tokens::{TokenRole, end_key, role_key};

/// Calls `visit` with wallet and item index for every line that a record adds to a statement: one for each posting on a
/// wallet's available balance, one for the payer of a call, and those of the lists of tokens and disputes. `malformed` is
/// told of a record that cannot be decoded.
pub(crate) fn for_each_line<'p, E>(
    view: View<'p>,
    malformed: impl FnOnce(journal::Error) -> E,
    mut visit: impl FnMut(WalletId, u32, Line<'p>) -> Result<(), E>,
) -> Result<(), E> {
    match view.kind() {
        // Nearly every record is a payment: it is read in place. What was denied or repeated in a batch has no lines.
        Kind::Payment | Kind::PaymentBatch => {
            view.paid().try_for_each(|paid| payment_lines(&paid, &mut visit))
        }
        Kind::Funding
        | Kind::TokenReserved
        | Kind::TokenEnded
        | Kind::Refund
        | Kind::DisputeOpened
        | Kind::DisputeMoved => fact_lines(&view.to_fact().map_err(malformed)?, &mut visit),
        // They open, close or name things and move nothing.
        Kind::AgentCreated
        | Kind::WalletOpened
        | Kind::KeyAdded
        | Kind::KeyRevoked
        | Kind::KeysRotated
        | Kind::StatusChange
        | Kind::TokenStepped
        | Kind::ServiceChanged
        | Kind::TrustChanged
        | Kind::Clock
        | Kind::WebhookChanged
        | Kind::PolicyChanged
        | Kind::PolicyDenied
        | Kind::AgentPolicyChanged
        | Kind::EvidenceAdded => Ok(()),
    }
}

fn fact_lines<'p, E>(
    fact: &Fact,
    visit: &mut impl FnMut(WalletId, u32, Line<'p>) -> Result<(), E>,
) -> Result<(), E> {
    match fact {
        Fact::Funding(funding) => visit(funding.wallet, 0, funding_line(funding)),
        Fact::TokenReserved(reserved) => reserved_lines(reserved, visit),
        Fact::TokenEnded(ended) => ended_lines(ended, visit),
        Fact::Refund(refund) => refund_lines(refund, visit),
        Fact::DisputeOpened(opened) => opened_lines(opened, visit),
        Fact::DisputeMoved(moved) => moved_lines(moved, visit),
        _ => unreachable!("the kind of the record said which fact it is"),
    }
}

fn payment_lines<'p, E>(
    paid: &Paid<'p>,
    visit: &mut impl FnMut(WalletId, u32, Line<'p>) -> Result<(), E>,
) -> Result<(), E> {
    let sent = Line {
        kind: EntryKind::PaymentSent,
        delta: paid.amount.plus(paid.fee).negated(),
        fee: paid.fee,
        at: paid.at,
        party: match paid.payee {
            PaidTo::Wallet(payee) => Party::Wallet(payee),
            PaidTo::External(label) => Party::External(label),
        },
        rail: Some(paid.rail),
        status: Some(PaymentStatus::Completed),
    };
    visit(paid.payer, paid.item, sent)?;
    if let PaidTo::Wallet(payee) = paid.payee {
        let received = Line {
            kind: EntryKind::PaymentReceived,
            delta: paid.amount,
            fee: Amount::ZERO,
            party: Party::Wallet(paid.payer),
            ..sent
        };
        visit(payee, paid.item, received)?;
    }
    Ok(())
}

/// A line of a token that changes what is available by `delta`.
fn token_line(kind: EntryKind, delta: Amount, other: WalletId, at: Timestamp) -> Line<'static> {
    let (rail, status) = match kind.is_payment() {
        true => (Some(Rail::Internal), Some(PaymentStatus::Completed)),
        false => (None, None),
    };
    Line { kind, delta, fee: Amount::ZERO, at, party: Party::Wallet(other), rail, status }
}

fn reserved_lines<'p, E>(
    reserved: &TokenReserved,
    visit: &mut impl FnMut(WalletId, u32, Line<'p>) -> Result<(), E>,
) -> Result<(), E> {
    let (terms, at) = (&reserved.terms, reserved.terms.reserved_at);
    let held = token_line(EntryKind::TokenHeld, terms.price.negated(), terms.payee, at);
    visit(terms.payer, 0, held)?;
    let listed = |other| token_line(EntryKind::TokenListed, Amount::ZERO, other, at);
    visit(role_key(terms.payer_agent, TokenRole::Consumer), 0, listed(terms.payee))?;
    visit(role_key(terms.provider, TokenRole::Provider), 0, listed(terms.payer))
}

fn ended_lines<'p, E>(
    ended: &TokenEnded,
    visit: &mut impl FnMut(WalletId, u32, Line<'p>) -> Result<(), E>,
) -> Result<(), E> {
    let (terms, at) = (&ended.terms, ended.at);
    if ended.end == TokenEnd::Settled {
        visit(terms.payer, 0, token_line(EntryKind::TokenPaid, Amount::ZERO, terms.payee, at))?;
        let earned = token_line(EntryKind::TokenEarned, terms.price.minus(ended.fee), terms.payer, at);
        visit(terms.payee, 0, Line { fee: ended.fee, ..earned })?;
    } else {
        visit(terms.payer, 0, token_line(EntryKind::TokenReleased, terms.price, terms.payee, at))?;
    }
    let closed = token_line(EntryKind::TokenClosed, Amount::ZERO, terms.payee, at);
    visit(end_key(ended.token), 0, closed)
}

/// A line about a payment that was made before.
fn claim_line(kind: EntryKind, delta: Amount, party: Party<'static>, at: Timestamp) -> Line<'static> {
    Line { kind, delta, fee: Amount::ZERO, at, party, rail: None, status: None }
}

/// What the payer got back.
fn received(terms: &ClaimTerms, amount: Amount, at: Timestamp) -> Line<'static> {
    let from = terms.payee.map_or(Party::Outside, Party::Wallet);
    claim_line(EntryKind::RefundReceived, amount, from, at)
}

fn refund_lines<'p, E>(
    refund: &Refund,
    visit: &mut impl FnMut(WalletId, u32, Line<'p>) -> Result<(), E>,
) -> Result<(), E> {
    let (terms, amount, at) = (&refund.terms, refund.amount, refund.at);
    visit(terms.payer, 0, received(terms, amount, at))?;
    match terms.payee {
        Some(payee) => {
            let to = Party::Wallet(terms.payer);
            visit(payee, 0, claim_line(EntryKind::RefundSent, amount.negated(), to, at))
        }
        None => Ok(()),
    }
}

fn opened_lines<'p, E>(
    opened: &DisputeOpened,
    visit: &mut impl FnMut(WalletId, u32, Line<'p>) -> Result<(), E>,
) -> Result<(), E> {
    let (terms, at) = (&opened.terms, opened.at);
    let payer = Party::Wallet(terms.payer);
    if let Some(payee) = terms.payee.filter(|_| !opened.set_aside.is_zero()) {
        visit(payee, 0, claim_line(EntryKind::DisputeHeld, opened.set_aside.negated(), payer, at))?;
    }
    let listed = claim_line(EntryKind::DisputeListed, Amount::ZERO, payer, at);
    visit(all_key(), 0, listed)?;
    visit(dispute_key(opened.payer_agent, DisputeRole::Payer), 0, listed)?;
    match opened.payee_agent {
        Some(agent) => visit(dispute_key(agent, DisputeRole::Payee), 0, listed),
        None => Ok(()),
    }
}

fn moved_lines<'p, E>(
    moved: &DisputeMoved,
    visit: &mut impl FnMut(WalletId, u32, Line<'p>) -> Result<(), E>,
) -> Result<(), E> {
    let (terms, at) = (&moved.terms, moved.at);
    let ClaimStep::Moved { to, returned, released } = moved.claim_change().step else {
        unreachable!("a move is a move")
    };
    let payer = Party::Wallet(terms.payer);
    if to == DisputeStatus::ResolvedRefunded {
        visit(terms.payer, 0, received(terms, returned, at))?;
    }
    let Some(payee) = terms.payee else { return Ok(()) };
    match to {
        DisputeStatus::ResolvedRefunded => {
            let added = released.minus(returned);
            visit(payee, 0, claim_line(EntryKind::DisputeRefunded, added, payer, at))
        }
        DisputeStatus::ResolvedDenied | DisputeStatus::Withdrawn if !released.is_zero() => {
            visit(payee, 0, claim_line(EntryKind::DisputeReleased, released, payer, at))
        }
        _ => Ok(()),
    }
}

fn funding_line(funding: &Funding) -> Line<'static> {
    Line {
        kind: EntryKind::Funding,
        delta: funding.amount,
        fee: Amount::ZERO,
        at: funding.at,
        party: Party::Faucet,
        rail: None,
        status: None,
    }
}
