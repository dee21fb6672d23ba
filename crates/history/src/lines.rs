//! From facts to statement lines. Pure.

use ledger::{Amount, Fact, Funding, ItemOutcome, Payee, PaymentBatch, Rail, Timestamp, WalletId};

use crate::entry::{EntryKind, Line, Party, PaymentStatus};

/// Calls `visit` with wallet and item index for every line that `fact` adds to a statement: one for each posting on a
/// wallet's available balance.
pub(crate) fn for_each_line<E>(
    fact: &Fact,
    mut visit: impl FnMut(WalletId, u32, Line<'_>) -> Result<(), E>,
) -> Result<(), E> {
    match fact {
        Fact::Payment(payment) => {
            let (payee, rail, at) = (&payment.payee, payment.rail, payment.at);
            let terms = Terms { payee, amount: payment.amount, fee: payment.fee, rail, at };
            payment_lines(payment.payer, 0, &terms, &mut visit)
        }
        Fact::PaymentBatch(batch) => batch_lines(batch, &mut visit),
        Fact::Funding(funding) => visit(funding.wallet, 0, funding_line(funding)),
        // They open, close or name things and move nothing.
        Fact::AgentCreated(_)
        | Fact::WalletOpened(_)
        | Fact::KeyAdded(_)
        | Fact::KeyRevoked(_)
        | Fact::KeysRotated(_)
        | Fact::StatusChange(_) => Ok(()),
    }
}

fn batch_lines<E>(
    batch: &PaymentBatch,
    visit: &mut impl FnMut(WalletId, u32, Line<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for (item, outcome) in (0..).zip(&batch.items) {
        match outcome {
            ItemOutcome::Paid(paid) => {
                let (payee, rail, at) = (&paid.payee, paid.rail, batch.at);
                let terms = Terms { payee, amount: paid.amount, fee: paid.fee, rail, at };
                payment_lines(batch.payer, item, &terms, visit)?;
            }
            // What was paid under the same key has its lines where it was paid.
            ItemOutcome::Denied(_) | ItemOutcome::Replayed(_) | ItemOutcome::Repeated { .. } => {}
        }
    }
    Ok(())
}

/// What the two sides of a payment have in common.
struct Terms<'a> {
    payee: &'a Payee,
    amount: Amount,
    fee: Amount,
    rail: Rail,
    at: Timestamp,
}

fn payment_lines<E>(
    payer: WalletId,
    item: u32,
    terms: &Terms<'_>,
    visit: &mut impl FnMut(WalletId, u32, Line<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let sent = Line {
        kind: EntryKind::PaymentSent,
        delta: terms.amount.plus(terms.fee).negated(),
        fee: terms.fee,
        at: terms.at,
        party: match terms.payee {
            Payee::Wallet(payee) => Party::Wallet(*payee),
            Payee::External(label) => Party::External(label),
        },
        rail: Some(terms.rail),
        status: Some(PaymentStatus::Completed),
    };
    visit(payer, item, sent)?;
    if let Payee::Wallet(payee) = terms.payee {
        let received = Line {
            kind: EntryKind::PaymentReceived,
            delta: terms.amount,
            fee: Amount::ZERO,
            party: Party::Wallet(payer),
            ..sent
        };
        visit(*payee, item, received)?;
    }
    Ok(())
}

fn funding_line(funding: &Funding) -> Line<'_> {
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
