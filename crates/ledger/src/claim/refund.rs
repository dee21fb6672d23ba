//! Refunds: the payee's wallet decides alone, and the payer is credited in the record that decides it.

use super::{Claim, ClaimChange, ClaimStep, ClaimTerms, Party, PaymentState};
use crate::{
    Amount, Decision, Denial, DisputeId, KeyHash, KeyScope, KeyUse, KeyVerdict, Parts, Position, Posting,
    Timestamp, Wallet, WalletStatus,
};

/// A request to give a payment back. That the caller is its payee, or an operator, is checked where requests arrive.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct RefundCommand {
    pub terms: ClaimTerms,
    /// `None` means all that is left.
    pub amount: Option<Amount>,
    pub by: Party,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
}

/// A part of a payment, or all of it, went back to the payer. The fee stays.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Refund {
    pub terms: ClaimTerms,
    pub amount: Amount,
    /// All refunds of the payment, this one included.
    pub refunded_after: Amount,
    pub by: Party,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
    /// The deciding wallet's balance; kept so that a repeated request gets the same answer.
    pub balance_after: Parts,
}

impl Refund {
    pub fn claim_change(&self) -> ClaimChange {
        ClaimChange { terms: self.terms, step: ClaimStep::Refunded { amount: self.amount } }
    }

    /// Where the payment stands behind it.
    pub fn state(&self) -> PaymentState {
        PaymentState::of(self.terms.principal, self.refunded_after)
    }

    pub fn for_each_posting(&self, f: impl FnMut(Posting)) {
        self.claim_change().for_each_posting(f);
    }

    pub fn for_each_key(&self, mut f: impl FnMut(KeyHash, u64, u32)) {
        if let Some(key) = &self.key {
            f(key.hash_about(KeyScope::Refund, self.terms.position()), key.fingerprint, 0);
        }
    }
}

/// Decides a refund. A repeated request is answered before anything else is looked at. A freeze stops what the wallet's
/// own agent asks for; an operator is not bound by it. `id_of` is the id of the dispute that was opened there.
pub fn decide_refund(
    wallet: &Wallet,
    claim: Option<&Claim>,
    command: RefundCommand,
    id_of: impl FnOnce(Position) -> DisputeId,
) -> Decision<Refund> {
    let RefundCommand { terms, amount, by, key, at } = command;
    match wallet.keys.judge_about(key.as_ref(), KeyScope::Refund, terms.position()) {
        KeyVerdict::New => {}
        KeyVerdict::Repeats(place) => return Decision::Replay(place),
        KeyVerdict::Conflicts => return Decision::Denied(Denial::KeyConflict),
    }
    match wallet.status {
        WalletStatus::Closed => return Decision::Denied(Denial::WalletClosed),
        WalletStatus::Frozen if by != Party::Operator => return Decision::Denied(Denial::WalletFrozen),
        WalletStatus::Active | WalletStatus::Frozen => {}
    }
    if let Some(dispute) = claim.and_then(Claim::open_dispute) {
        let denial = Denial::PaymentDisputed { dispute: id_of(dispute.opened), status: dispute.status };
        return Decision::Denied(denial);
    }
    let refunded = claim.map_or(Amount::ZERO, |claim| claim.refunded);
    let refundable = terms.principal.minus(refunded);
    let amount = match refundable_part(amount, refundable, refunded) {
        Ok(amount) => amount,
        Err(denial) => return Decision::Denied(denial),
    };
    let pays = terms.payee.is_some();
    if pays && amount > wallet.available {
        let (available, held) = (wallet.available, wallet.held);
        return Decision::Denied(Denial::InsufficientBalance { available, held, needed: amount });
    }
    let available = if pays { wallet.available.minus(amount) } else { wallet.available.plus(amount) };
    Decision::Fact(Refund {
        terms,
        amount,
        refunded_after: refunded.plus(amount),
        by,
        key,
        at,
        balance_after: Parts { available, held: wallet.held },
    })
}

/// How much of `refundable` is meant, or the first reason why it cannot be.
fn refundable_part(amount: Option<Amount>, refundable: Amount, refunded: Amount) -> Result<Amount, Denial> {
    let amount = amount.unwrap_or(refundable);
    if refundable.is_zero() {
        return Err(Denial::AlreadyRefunded);
    }
    if !amount.is_positive() {
        return Err(Denial::AmountNotPositive);
    }
    if amount > refundable {
        return Err(Denial::RefundTooLarge { refundable, refunded, needed: amount });
    }
    Ok(amount)
}
