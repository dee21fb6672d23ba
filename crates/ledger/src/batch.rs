//! Batches: many payments of one payer in one record.
//!
//! Items are decided in order against what earlier items left. An atomic batch moves everything or nothing; any other
//! keeps the outcome of every item, refusals included, so that its key can be answered again word for word.

use std::collections::BTreeMap;

use crate::payment::{Terms, price};
use crate::posting::Transfer;
use crate::{
    AT_ONCE, AgentId, AgentTerms, Amount, Change, Currency, Decision, Denial, KeyHash, KeyPlace, KeyScope,
    KeyUse, KeyVerdict, Parts, Payee, Payment, Posting, Rail, Rules, Spending, Timestamp, Wallet, WalletId,
};

/// Most items of one batch. Larger ones are refused where requests arrive.
pub const BATCH_ITEMS_MAX: usize = 10_000;

#[derive(Clone, Eq, PartialEq, Debug)]
pub struct BatchCommand {
    pub caller: AgentId,
    pub payer: WalletId,
    /// At most [`BATCH_ITEMS_MAX`].
    pub items: Vec<BatchItem>,
    pub atomic: bool,
    /// Of the batch as a whole.
    pub key: Option<KeyUse>,
    /// Where the payer's agent has a policy.
    pub agent_terms: Option<Box<AgentTerms>>,
    pub at: Timestamp,
}

#[derive(Clone, Eq, PartialEq, Debug)]
pub struct BatchItem {
    pub payee: Payee,
    /// Owner of the payee's wallet, found where the request arrived; policies may name it.
    pub payee_agent: Option<AgentId>,
    pub amount: Amount,
    /// `None` means the wallet's own.
    pub currency: Option<Currency>,
    pub rail: Rail,
    pub description: Option<Box<str>>,
    pub metadata: Option<Box<str>>,
    /// Of this item, in the same scope as the key of a single payment.
    pub key: Option<KeyUse>,
    /// Found where the request arrived, for example [`Denial::UnknownPayee`].
    pub refused: Option<Denial>,
}

#[derive(Clone, Eq, PartialEq, Debug)]
pub struct PaymentBatch {
    pub payer: WalletId,
    pub currency: Currency,
    pub at: Timestamp,
    pub atomic: bool,
    pub key: Option<KeyUse>,
    /// The payer's held funds, which a batch does not touch; the same for every item's answer.
    pub held_after: Amount,
    pub items: Vec<ItemOutcome>,
}

/// What became of one item.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum ItemOutcome {
    Paid(BatchPayment),
    Denied(Denial),
    /// Its key was used by an earlier record; the answer is there.
    Replayed(KeyPlace),
    /// Its key was used by an earlier item of this very batch, which was paid.
    Repeated {
        item: u32,
    },
}

/// A payment within a batch; payer, currency and time are the batch's.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct BatchPayment {
    pub payee: Payee,
    pub amount: Amount,
    pub fee: Amount,
    pub rail: Rail,
    pub description: Option<Box<str>>,
    pub metadata: Option<Box<str>>,
    pub key: Option<KeyUse>,
    /// The payer's `available` after this item.
    pub available_after: Amount,
}

impl PaymentBatch {
    pub fn moves_money(&self) -> bool {
        self.payments().next().is_some()
    }

    /// Whether there is anything to keep: money moved, or outcomes that a key may ask for again.
    /// A batch without is answered and forgotten.
    pub fn needs_record(&self) -> bool {
        self.key.is_some() || self.moves_money()
    }

    /// The payer's side.
    pub fn change(&self) -> Change {
        let debit = self.transfers().fold(Amount::ZERO, |sum, transfer| sum.plus(transfer.total_debited()));
        Change { available: debit.negated(), ..Change::default() }
    }

    /// What it uses of the payer's policy.
    pub fn spending(&self) -> Spending {
        self.transfers().fold(AT_ONCE, |sum, transfer| {
            sum.and(Spending { amount: transfer.total_debited(), payments: 1 })
        })
    }

    /// Postings of every paid item, in order, each with its item's index.
    pub fn for_each_posting(&self, mut f: impl FnMut(Posting)) {
        self.transfers().for_each(|transfer| transfer.for_each_posting(&mut f));
    }

    /// The batch's own key, then the keys of the paid items. A refused item uses up no key.
    pub fn for_each_key(&self, mut f: impl FnMut(KeyHash, u64, u32)) {
        if let Some(key) = &self.key {
            f(key.hash(KeyScope::Batch), key.fingerprint, 0);
        }
        for (item, payment) in self.payments() {
            if let Some(key) = &payment.key {
                f(key.hash(KeyScope::Payment), key.fingerprint, item);
            }
        }
    }

    /// The payment that item `item` became; `None` when it was not paid here.
    pub fn payment(&self, item: usize) -> Option<Payment> {
        let ItemOutcome::Paid(paid) = self.items.get(item)? else { return None };
        Some(Payment {
            payer: self.payer,
            payee: paid.payee.clone(),
            amount: paid.amount,
            fee: paid.fee,
            currency: self.currency,
            rail: paid.rail,
            description: paid.description.clone(),
            metadata: paid.metadata.clone(),
            key: paid.key.clone(),
            at: self.at,
            balance_after: Parts { available: paid.available_after, held: self.held_after },
        })
    }

    fn payments(&self) -> impl Iterator<Item = (u32, &BatchPayment)> {
        (0u32..).zip(&self.items).filter_map(|(item, outcome)| match outcome {
            ItemOutcome::Paid(payment) => Some((item, payment)),
            ItemOutcome::Denied(_) | ItemOutcome::Replayed(_) | ItemOutcome::Repeated { .. } => None,
        })
    }

    fn transfers(&self) -> impl Iterator<Item = Transfer> + '_ {
        self.payments().map(|(item, payment)| Transfer {
            payer: self.payer,
            payee: payment.payee.account(),
            currency: self.currency,
            amount: payment.amount,
            fee: payment.fee,
            item,
        })
    }
}

/// Decides a batch. The whole is refused only for its caller, its key, or as an atomic batch with a refused item:
/// the first such item in order gives the reason. Everything else is an outcome per item.
pub fn decide_batch(wallet: &Wallet, command: BatchCommand, rules: &Rules) -> Decision<PaymentBatch> {
    assert!(command.items.len() <= BATCH_ITEMS_MAX, "larger batches are refused where requests arrive");
    if command.caller != wallet.agent {
        return Decision::Denied(Denial::UnknownWallet);
    }
    match wallet.keys.judge(command.key.as_ref(), KeyScope::Batch) {
        KeyVerdict::New => {}
        KeyVerdict::Repeats(place) => return Decision::Replay(place),
        KeyVerdict::Conflicts => return Decision::Denied(Denial::KeyConflict),
    }
    let mut running = Running {
        wallet,
        rules,
        payer: command.payer,
        at: wallet.time(command.at),
        agent: command.agent_terms.as_deref(),
        available: wallet.available,
        spent: AT_ONCE,
        keys: BTreeMap::new(),
    };
    let mut items = Vec::with_capacity(command.items.len());
    for (index, item) in (0u32..).zip(command.items) {
        let outcome = running.decide_item(index, item);
        if command.atomic
            && let ItemOutcome::Denied(because) = outcome
        {
            return Decision::Denied(Denial::AtomicBatch { item: index, because: Box::new(because) });
        }
        items.push(outcome);
    }
    let batch = PaymentBatch {
        payer: command.payer,
        currency: wallet.currency,
        at: running.at,
        atomic: command.atomic,
        key: command.key,
        held_after: wallet.held,
        items,
    };
    let available = wallet.available.plus(batch.change().available);
    assert_eq!(available, running.available, "the running balance and the batch's change agree");
    assert!(!available.is_negative() || !batch.moves_money(), "the ladder refuses what is not there");
    Decision::Fact(batch)
}

/// The payer as the items decided so far leave it.
struct Running<'a> {
    wallet: &'a Wallet,
    rules: &'a Rules,
    payer: WalletId,
    /// The wallet's time.
    at: Timestamp,
    agent: Option<&'a AgentTerms>,
    available: Amount,
    /// By the items paid so far.
    spent: Spending,
    /// Keys of the items paid so far: item and fingerprint.
    keys: BTreeMap<KeyHash, (u32, u64)>,
}

impl Running<'_> {
    fn decide_item(&mut self, index: u32, item: BatchItem) -> ItemOutcome {
        match self.wallet.keys.judge(item.key.as_ref(), KeyScope::Payment) {
            KeyVerdict::New => {}
            KeyVerdict::Repeats(place) => return ItemOutcome::Replayed(place),
            KeyVerdict::Conflicts => return ItemOutcome::Denied(Denial::KeyConflict),
        }
        let key = item.key.as_ref().map(|key| (key.hash(KeyScope::Payment), key.fingerprint));
        if let Some((hash, fingerprint)) = key
            && let Some((earlier, used_for)) = self.keys.get(&hash)
        {
            return match *used_for == fingerprint {
                true => ItemOutcome::Repeated { item: *earlier },
                false => ItemOutcome::Denied(Denial::KeyConflict),
            };
        }
        if let Some(denial) = item.refused {
            assert!(!matches!(denial, Denial::AtomicBatch { .. }), "an item of a batch is no batch");
            return ItemOutcome::Denied(denial);
        }
        let terms = Terms {
            payer: self.payer,
            payee: &item.payee,
            payee_agent: item.payee_agent,
            amount: item.amount,
            currency: item.currency,
            rail: item.rail,
            at: self.at,
            agent: self.agent.map(|terms| (terms, index as usize)),
        };
        let fee = match price(self.wallet, self.available, self.spent, &terms, self.rules) {
            Ok(fee) => fee,
            Err(denial) => return ItemOutcome::Denied(denial),
        };
        let debited = item.amount.plus(fee);
        self.available = self.available.minus(debited);
        self.spent = self.spent.and(Spending { amount: debited, payments: 1 });
        if let Some((hash, fingerprint)) = key {
            self.keys.insert(hash, (index, fingerprint));
        }
        ItemOutcome::Paid(BatchPayment {
            payee: item.payee,
            amount: item.amount,
            fee,
            rail: item.rail,
            description: item.description,
            metadata: item.metadata,
            key: item.key,
            available_after: self.available,
        })
    }
}

#[cfg(test)]
mod tests;
