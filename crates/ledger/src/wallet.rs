//! A wallet's state and the two ways in which facts reach it.
//!
//! Owner of state: the wallet's actor, or the registry's slot while the wallet is at rest.
//! Facts arrive as two streams, each in order: what the wallet decided itself ([`Wallet::apply`], position `decided`)
//! and what others posted to it ([`Wallet::credit`], position `posted`). Their mixture has no order, and needs none:
//! sums commute, a debit is decided against credits already delivered, and a credit cannot fail.

use crate::{
    AgentId, AgentTerms, Amount, Currency, Denial, IdempotencyKeys, Mandate, Policy, PolicyScope, Position,
    Release, Spend, Spending, Timestamp,
};

mod resting;

pub use resting::RestingWallet;

/// Whether a wallet may spend.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum WalletStatus {
    Active,
    /// Debits are refused, credits arrive.
    Frozen,
    /// For ever.
    Closed,
}

impl WalletStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            WalletStatus::Active => "active",
            WalletStatus::Frozen => "frozen",
            WalletStatus::Closed => "closed",
        }
    }
}

/// State of one wallet in use. At rest it is a [`RestingWallet`], and ten million of those are held in memory.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Wallet {
    /// The agent that owns it; nobody else may command it or learn that it exists.
    pub agent: AgentId,
    pub currency: Currency,
    pub status: WalletStatus,
    pub label: Option<Box<str>>,
    /// May be spent. Below zero it is a debt, which a dispute can leave and credits pay back.
    pub available: Amount,
    /// Reserved for tokens, approvals and payouts.
    pub held: Amount,
    /// Set aside by open disputes.
    pub disputed: Amount,
    /// What the sandbox faucet has given so far, against its cap.
    pub faucet_drawn: Amount,
    pub created_at: Timestamp,
    /// Position of the last fact that this wallet decided itself.
    pub decided: Position,
    /// Position of the last posting of others that was delivered.
    pub posted: Position,
    pub keys: IdempotencyKeys,
    /// What it may spend, and what was used of that.
    pub policy: Option<Box<Mandate>>,
}

const _: () = assert!(size_of::<Wallet>() <= 192);

/// The state of a wallet, borrowed from it in use or at rest: what its snapshot row says.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct WalletFields<'a> {
    pub agent: AgentId,
    pub currency: Currency,
    pub status: WalletStatus,
    pub label: Option<&'a str>,
    pub available: Amount,
    pub held: Amount,
    pub disputed: Amount,
    pub faucet_drawn: Amount,
    pub created_at: Timestamp,
    pub decided: Position,
    pub posted: Position,
    pub keys: &'a IdempotencyKeys,
    pub policy: Option<&'a Mandate>,
}

impl WalletFields<'_> {
    /// Everything that belongs to the owner, spendable or not.
    pub fn total(&self) -> Amount {
        self.available.plus(self.held).plus(self.disputed)
    }
}

/// The owner's side of one record on a wallet: signed deltas of its parts.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub struct Change {
    pub available: Amount,
    pub held: Amount,
    pub disputed: Amount,
    pub faucet_drawn: Amount,
    pub status: Option<WalletStatus>,
    /// The wallet may end below zero by it: a dispute returned more than was there.
    pub may_owe: bool,
}

/// What an answer repeats of a balance, kept in the record for replays.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub struct Parts {
    pub available: Amount,
    pub held: Amount,
}

impl Wallet {
    /// A new wallet, born by the record at `position`: earlier facts do not concern it.
    pub fn open(
        agent: AgentId,
        currency: Currency,
        label: Option<Box<str>>,
        created_at: Timestamp,
        position: Position,
    ) -> Wallet {
        Wallet {
            agent,
            currency,
            status: WalletStatus::Active,
            label,
            available: Amount::ZERO,
            held: Amount::ZERO,
            disputed: Amount::ZERO,
            faucet_drawn: Amount::ZERO,
            created_at,
            decided: position,
            posted: position,
            keys: IdempotencyKeys::default(),
            policy: None,
        }
    }

    /// The state, borrowed.
    pub fn fields(&self) -> WalletFields<'_> {
        WalletFields {
            agent: self.agent,
            currency: self.currency,
            status: self.status,
            label: self.label.as_deref(),
            available: self.available,
            held: self.held,
            disputed: self.disputed,
            faucet_drawn: self.faucet_drawn,
            created_at: self.created_at,
            decided: self.decided,
            posted: self.posted,
            keys: &self.keys,
            policy: self.policy.as_deref(),
        }
    }

    /// Everything that belongs to the owner, spendable or not.
    pub fn total(&self) -> Amount {
        self.fields().total()
    }

    pub fn parts(&self) -> Parts {
        Parts { available: self.available, held: self.held }
    }

    /// Folds in the owner's own side of the record at `position`: right after the append, and in replay for records
    /// above `decided`. Panics when the record is out of order or spends what is not there: both mean that state and
    /// log have parted, and going on would lose money.
    pub fn apply(&mut self, change: &Change, position: Position) {
        assert!(position > self.decided, "own record {position} is not after {}", self.decided);
        let available = self.available.plus(change.available);
        let held = self.held.plus(change.held);
        let disputed = self.disputed.plus(change.disputed);
        let faucet_drawn = self.faucet_drawn.plus(change.faucet_drawn);
        let spends = change.available.is_negative() && !change.may_owe;
        assert!(!(spends && available.is_negative()), "record {position} spends more than is available");
        assert!(!held.is_negative(), "record {position} releases more than is held");
        assert!(!disputed.is_negative(), "record {position} releases more than is disputed");
        assert!(faucet_drawn >= self.faucet_drawn, "record {position} gives back to the faucet");

        self.available = available;
        self.held = held;
        self.disputed = disputed;
        self.faucet_drawn = faucet_drawn;
        self.status = change.status.unwrap_or(self.status);
        self.decided = position;
    }

    /// Folds in somebody else's posting on `available` at `position`: in log order from the commit stream, and in
    /// replay for positions above `posted`. Panics when it is out of order.
    pub fn credit(&mut self, delta: Amount, position: Position) {
        self.post(delta, Amount::ZERO, position);
    }

    /// The time at which a command that arrived at `at` is decided. Where uses are counted time does not run backwards.
    pub fn time(&self, at: Timestamp) -> Timestamp {
        self.policy.as_ref().map_or(at, |mandate| mandate.time(at))
    }

    /// Why its policy refuses a spending, after `at_once` was decided together with it, or then the agent's, whose terms
    /// come with the item's place in them.
    pub(crate) fn policy_refuses<'a>(
        &self,
        spend: impl FnOnce() -> Spend<'a>,
        at_once: Spending,
        agent: Option<(&AgentTerms, usize)>,
    ) -> Option<Denial> {
        if self.policy.is_none() && agent.is_none() {
            return None;
        }
        let spend = spend();
        let own = self.policy.as_ref().and_then(|own| own.refuses(PolicyScope::Wallet, &spend, at_once));
        let denial = own.or_else(|| agent.and_then(|(terms, item)| terms.refuses(&spend, item)))?;
        Some(Denial::Policy(Box::new(denial)))
    }

    /// Counts what an own record at `at` used of the policy. Goes with [`Self::apply`].
    pub fn spend(&mut self, spending: Spending, at: Timestamp) {
        if let Some(mandate) = &mut self.policy {
            mandate.spent(spending, at);
        }
    }

    /// Puts a policy into force that the own record at `position` has set. Goes with [`Self::apply`].
    pub fn set_policy(&mut self, policy: Policy, at: Timestamp, position: Position) {
        let before = self.policy.take().map(|mandate| *mandate);
        self.policy = Mandate::set(before, policy, at, position).map(Box::new);
    }

    /// Gives back what a hold had used of the policy. Goes with [`Self::post`].
    pub fn release(&mut self, release: Release) {
        if let Some(mandate) = &mut self.policy {
            mandate.released(release);
        }
    }

    /// As [`Self::credit`], for a posting that also changes what is held: a token of this wallet has ended. Panics when
    /// it releases more than is held, too: every end follows the hold that it ends.
    pub fn post(&mut self, available: Amount, held: Amount, position: Position) {
        assert!(position > self.posted, "posting {position} is not after {}", self.posted);
        let held_after = self.held.plus(held);
        let releases = held.is_negative();
        assert!(!(releases && held_after.is_negative()), "posting {position} releases more than is held");
        self.available = self.available.plus(available);
        self.held = held_after;
        self.posted = position;
    }
}

#[cfg(test)]
mod tests;
