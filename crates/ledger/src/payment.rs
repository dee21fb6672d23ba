//! Single payments: the payer's wallet decides alone, and the payment is complete in the record that decides it.

use crate::posting::Transfer;
use crate::{
    AT_ONCE, Account, AgentId, AgentTerms, Amount, Change, Currency, Decision, Denial, KeyHash, KeyScope,
    KeyUse, KeyVerdict, Parts, Posting, Rail, Rules, Spend, Spending, SystemAccount, Target, Timestamp,
    Wallet, WalletId, WalletStatus,
};

#[derive(Clone, Eq, PartialEq, Debug)]
pub enum Payee {
    Wallet(WalletId),
    /// Somebody outside this ledger, under the payer's own label for them.
    External(Box<str>),
}

impl Payee {
    /// The account that receives the amount.
    pub fn account(&self) -> Account {
        match self {
            Payee::Wallet(wallet) => Account::Wallet(*wallet),
            Payee::External(_) => Account::System(SystemAccount::External),
        }
    }
}

/// A request to pay. That a payee wallet exists in the same currency is checked where requests arrive:
/// both facts never change.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct PayCommand {
    pub caller: AgentId,
    pub payer: WalletId,
    pub payee: Payee,
    /// Owner of the payee's wallet, found where the request arrived; policies may name it.
    pub payee_agent: Option<AgentId>,
    /// Before the fee.
    pub amount: Amount,
    /// `None` means the wallet's own.
    pub currency: Option<Currency>,
    pub rail: Rail,
    pub description: Option<Box<str>>,
    /// A JSON object as it was sent.
    pub metadata: Option<Box<str>>,
    pub key: Option<KeyUse>,
    /// Where the payer's agent has a policy.
    pub agent_terms: Option<Box<AgentTerms>>,
    /// Arrival of the request.
    pub at: Timestamp,
}

/// A completed payment.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Payment {
    pub payer: WalletId,
    pub payee: Payee,
    pub amount: Amount,
    /// Debited on top of the amount.
    pub fee: Amount,
    pub currency: Currency,
    pub rail: Rail,
    pub description: Option<Box<str>>,
    pub metadata: Option<Box<str>>,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
    /// The payer's balance as decided; kept so that a repeated request gets the same answer.
    pub balance_after: Parts,
}

impl Payment {
    pub fn total_debited(&self) -> Amount {
        self.transfer().total_debited()
    }

    /// The payer's side.
    pub fn change(&self) -> Change {
        Change { available: self.total_debited().negated(), ..Change::default() }
    }

    /// What it uses of the payer's policy.
    pub fn spending(&self) -> Spending {
        Spending { amount: self.total_debited(), payments: 1 }
    }

    pub fn for_each_posting(&self, f: impl FnMut(Posting)) {
        self.transfer().for_each_posting(f);
    }

    pub fn for_each_key(&self, mut f: impl FnMut(KeyHash, u64, u32)) {
        if let Some(key) = &self.key {
            f(key.hash(KeyScope::Payment), key.fingerprint, 0);
        }
    }

    fn transfer(&self) -> Transfer {
        Transfer {
            payer: self.payer,
            payee: self.payee.account(),
            currency: self.currency,
            amount: self.amount,
            fee: self.fee,
            item: 0,
        }
    }
}

/// Decides a payment. Refusals come in the order of [`Denial`]; a repeated request is answered before status and
/// balance are looked at, so that it succeeds on a wallet that was frozen or emptied since.
pub fn decide_payment(wallet: &Wallet, command: PayCommand, rules: &Rules) -> Decision<Payment> {
    if command.caller != wallet.agent {
        return Decision::Denied(Denial::UnknownWallet);
    }
    match wallet.keys.judge(command.key.as_ref(), KeyScope::Payment) {
        KeyVerdict::New => {}
        KeyVerdict::Repeats(place) => return Decision::Replay(place),
        KeyVerdict::Conflicts => return Decision::Denied(Denial::KeyConflict),
    }
    let at = wallet.time(command.at);
    let terms = Terms {
        payer: command.payer,
        payee: &command.payee,
        payee_agent: command.payee_agent,
        amount: command.amount,
        currency: command.currency,
        rail: command.rail,
        at,
        agent: command.agent_terms.as_deref().map(|terms| (terms, 0)),
    };
    let fee = match price(wallet, wallet.available, AT_ONCE, &terms, rules) {
        Ok(fee) => fee,
        Err(denial) => return Decision::Denied(denial),
    };
    let available = wallet.available.minus(command.amount.plus(fee));
    assert!(!available.is_negative(), "the ladder refuses what is not there");
    Decision::Fact(Payment {
        payer: command.payer,
        payee: command.payee,
        amount: command.amount,
        fee,
        currency: wallet.currency,
        rail: command.rail,
        description: command.description,
        metadata: command.metadata,
        key: command.key,
        at,
        balance_after: Parts { available, held: wallet.held },
    })
}

/// What a payment asks for, alone or as an item of a batch.
pub(crate) struct Terms<'a> {
    pub(crate) payer: WalletId,
    pub(crate) payee: &'a Payee,
    pub(crate) payee_agent: Option<AgentId>,
    pub(crate) amount: Amount,
    pub(crate) currency: Option<Currency>,
    pub(crate) rail: Rail,
    /// The wallet's time.
    pub(crate) at: Timestamp,
    /// What the agent's policy says, and the place of the item there.
    pub(crate) agent: Option<(&'a AgentTerms, usize)>,
}

/// The fee at which `terms` pass against `available`, or the first reason why they do not.
/// `available` and `at_once` are arguments of their own because the items of a batch draw on what earlier items left.
pub(crate) fn price(
    wallet: &Wallet,
    available: Amount,
    at_once: Spending,
    terms: &Terms<'_>,
    rules: &Rules,
) -> Result<Amount, Denial> {
    if *terms.payee == Payee::Wallet(terms.payer) {
        return Err(Denial::SameWallet);
    }
    if let Some(requested) = terms.currency
        && requested != wallet.currency
    {
        return Err(Denial::CurrencyMismatch { wallet: wallet.currency, requested });
    }
    if terms.rail != Rail::Internal && !rules.rails_with_connector.contains(terms.rail) {
        return Err(Denial::SettlementNotConfigured { rail: terms.rail });
    }
    match wallet.status {
        WalletStatus::Active => {}
        WalletStatus::Closed => return Err(Denial::WalletClosed),
        WalletStatus::Frozen => return Err(Denial::WalletFrozen),
    }
    if !terms.amount.is_positive() {
        return Err(Denial::AmountNotPositive);
    }
    if terms.amount > Amount::MAX {
        return Err(Denial::AmountTooLarge);
    }
    let fee = rules.fees.fee(terms.rail, terms.amount).ok_or(Denial::AmountTooLarge)?;
    let needed = terms.amount.checked_add(fee).ok_or(Denial::AmountTooLarge)?;
    let spend = || Spend {
        at: terms.at,
        needed,
        rail: terms.rail,
        target: Target::payee(terms.payee, terms.payee_agent),
        category: None,
    };
    if let Some(denial) = wallet.policy_refuses(spend, at_once, terms.agent) {
        return Err(denial);
    }
    if needed > available {
        return Err(Denial::InsufficientBalance { available, held: wallet.held, needed });
    }
    assert!(!fee.is_negative() && fee <= terms.amount, "a fee is at most the amount");
    Ok(fee)
}

#[cfg(test)]
mod tests;
