//! The reservation of a call: the payer's wallet decides alone, and the hold stands in the record that decides it.

use std::sync::Arc;

use super::TokenTerms;
use crate::{
    AT_ONCE, Account, AgentId, AgentTerms, Amount, Change, Currency, Decision, Denial, KeyHash, KeyScope,
    KeyUse, KeyVerdict, Parts, Position, Posting, Rail, ServiceId, Sla, Spend, Spending, Target, Timestamp,
    Wallet, WalletId, WalletStatus,
};

/// A service's side of a call as it is offered now.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Offer {
    pub service: ServiceId,
    /// Record that describes the service as it is offered.
    pub service_at: Position,
    pub provider: AgentId,
    pub payee: WalletId,
    pub price: Amount,
    pub currency: Currency,
    pub sla: Option<Sla>,
}

#[derive(Clone, Eq, PartialEq, Debug)]
pub struct ReserveCommand {
    pub caller: AgentId,
    pub payer: WalletId,
    /// What was found where the request arrived, or why there is nothing to reserve. Looked at after the key, so that a
    /// repeated request is answered although the service has ended since.
    pub offer: Result<Arc<Offer>, Denial>,
    /// Of the service, as it is offered.
    pub category: Option<Box<str>>,
    /// Whether the outcome will count for trust.
    pub counts: bool,
    /// Most that the consumer pays for this call; `None` means the price, whatever it is.
    pub max_amount: Option<Amount>,
    pub key: Option<KeyUse>,
    /// Where the payer's agent has a policy.
    pub agent_terms: Option<Box<AgentTerms>>,
    pub at: Timestamp,
    pub expires_at: Timestamp,
}

/// A call was reserved: its price is held in the payer's wallet.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct TokenReserved {
    pub terms: TokenTerms,
    pub expires_at: Timestamp,
    pub key: Option<KeyUse>,
    pub balance_after: Parts,
}

impl TokenReserved {
    /// The payer's side.
    pub fn change(&self) -> Change {
        let amount = self.terms.price;
        Change { available: amount.negated(), held: amount, ..Change::default() }
    }

    /// What it uses of the payer's policy, until the hold goes back.
    pub fn spending(&self) -> Spending {
        Spending { amount: self.terms.price, payments: 1 }
    }

    pub fn for_each_posting(&self, mut f: impl FnMut(Posting)) {
        let amount = self.terms.price;
        f(Posting {
            account: Account::Wallet(self.terms.payer),
            currency: self.terms.currency,
            delta: amount.negated(),
            held: amount,
            disputed: Amount::ZERO,
            item: 0,
            release: None,
        });
    }

    pub fn for_each_key(&self, mut f: impl FnMut(KeyHash, u64, u32)) {
        if let Some(key) = &self.key {
            f(key.hash(KeyScope::Authorize), key.fingerprint, 0);
        }
    }
}

/// Decides a reservation. Refusals come in the order of [`Denial`]; a repeated request is answered before service,
/// status and balance are looked at.
pub fn decide_reservation(wallet: &Wallet, command: ReserveCommand) -> Decision<TokenReserved> {
    if command.caller != wallet.agent {
        return Decision::Denied(Denial::UnknownWallet);
    }
    match wallet.keys.judge(command.key.as_ref(), KeyScope::Authorize) {
        KeyVerdict::New => {}
        KeyVerdict::Repeats(place) => return Decision::Replay(place),
        KeyVerdict::Conflicts => return Decision::Denied(Denial::KeyConflict),
    }
    let offer = match &command.offer {
        Ok(offer) => offer.clone(),
        Err(denial) => return Decision::Denied(denial.clone()),
    };
    let at = wallet.time(command.at);
    if let Some(denial) = refusal(wallet, &command, &offer, at) {
        return Decision::Denied(denial);
    }
    let (available, held) = (wallet.available.minus(offer.price), wallet.held.plus(offer.price));
    assert!(!available.is_negative(), "the ladder refuses what is not there");
    Decision::Fact(TokenReserved {
        terms: TokenTerms {
            payer: command.payer,
            payer_agent: command.caller,
            counts: command.counts,
            reserved_at: at,
            offer,
        },
        // As long as was asked for, also where the wallet's time is ahead.
        expires_at: command.expires_at.saturating_add_millis(at.millis().abs_diff(command.at.millis())),
        key: command.key,
        balance_after: Parts { available, held },
    })
}

/// The first reason why the offer cannot be taken up by this wallet.
fn refusal(wallet: &Wallet, command: &ReserveCommand, offer: &Offer, at: Timestamp) -> Option<Denial> {
    assert!(
        offer.price.is_positive() && offer.price <= Amount::MAX,
        "a service has a price that can be booked"
    );
    if offer.payee == command.payer {
        return Some(Denial::SameWallet);
    }
    if offer.currency != wallet.currency {
        return Some(Denial::CurrencyMismatch { wallet: wallet.currency, requested: offer.currency });
    }
    match wallet.status {
        WalletStatus::Active => {}
        WalletStatus::Closed => return Some(Denial::WalletClosed),
        WalletStatus::Frozen => return Some(Denial::WalletFrozen),
    }
    if let Some(max_amount) = command.max_amount
        && offer.price > max_amount
    {
        return Some(Denial::PriceAboveMaximum { price: offer.price, max_amount });
    }
    let spend = || Spend {
        at,
        needed: offer.price,
        rail: Rail::Internal,
        target: Target {
            wallet: Some(offer.payee),
            agent: Some(offer.provider),
            service: Some(offer.service),
            label: None,
        },
        category: Some(command.category.as_deref()),
    };
    if let Some(denial) =
        wallet.policy_refuses(spend, AT_ONCE, command.agent_terms.as_deref().map(|terms| (terms, 0)))
    {
        return Some(denial);
    }
    let (available, held, needed) = (wallet.available, wallet.held, offer.price);
    (needed > available).then_some(Denial::InsufficientBalance { available, held, needed })
}
