//! A wallet at rest, in the least room that keeps everything.
//!
//! Owner of state: the registry's slot. Most wallets at rest have amounts below 2⁶³ nanos, nothing reserved, no label
//! and no keys: they take 72 bytes and no allocation. What is beyond that is kept beside, and only what is.
//! Invariants: [`RestingWallet::of`] and [`RestingWallet::wake`] are inverse for every state, the extremes included; equal
//! wallets are equal at rest.

use super::{Wallet, WalletFields, WalletStatus};
use crate::{AgentId, Amount, Currency, IdempotencyKeys, Mandate, Position, Release, Timestamp};

/// See the module head. A field added to [`Wallet`] belongs into `More` unless most wallets have it.
#[derive(Eq, PartialEq, Debug)]
pub struct RestingWallet {
    /// The two halves of the id: a `u128` would be padded to sixteen bytes.
    agent: [u64; 2],
    /// Both are zero, and not looked at, when `more` has amounts.
    available: i64,
    faucet_drawn: i64,
    created_at: Timestamp,
    decided: Position,
    posted: Position,
    currency: Currency,
    status: WalletStatus,
    more: Option<Box<More>>,
}

const _: () = assert!(size_of::<RestingWallet>() <= 72 && align_of::<RestingWallet>() <= 8);

/// What most wallets at rest do not have.
#[derive(Eq, PartialEq, Default, Debug)]
struct More {
    label: Option<Box<str>>,
    keys: IdempotencyKeys,
    policy: Option<Box<Mandate>>,
    /// All of them, when one is beyond 64 bits or something is reserved.
    amounts: Option<Box<Amounts>>,
}

#[derive(Eq, PartialEq, Debug)]
struct Amounts {
    available: Amount,
    held: Amount,
    disputed: Amount,
    faucet_drawn: Amount,
}

static NO_KEYS: IdempotencyKeys = IdempotencyKeys::NONE;

impl RestingWallet {
    pub fn of(mut wallet: Wallet) -> RestingWallet {
        let mut resting = RestingWallet {
            agent: halves(wallet.agent),
            available: 0,
            faucet_drawn: 0,
            created_at: wallet.created_at,
            decided: wallet.decided,
            posted: wallet.posted,
            currency: wallet.currency,
            status: wallet.status,
            more: None,
        };
        resting.put_back(&mut wallet);
        resting
    }

    /// Takes over what the wallet has, into the room that is there where it is needed. Field by field and in place: a value
    /// that is put together first and copied then has to wait until every write before it has reached the cache.
    fn put_back(&mut self, wallet: &mut Wallet) {
        let Wallet {
            agent,
            currency,
            status,
            label,
            available,
            held,
            disputed,
            faucet_drawn,
            created_at,
            decided,
            posted,
            keys,
            policy,
        } = wallet;
        let amounts =
            Amounts { available: *available, held: *held, disputed: *disputed, faucet_drawn: *faucet_drawn };
        let short = match (short(amounts.available), short(amounts.faucet_drawn)) {
            (Some(available), Some(drawn)) if held.is_zero() && disputed.is_zero() => {
                Some((available, drawn))
            }
            _ => None,
        };
        if label.is_some() || !keys.is_none() || policy.is_some() || short.is_none() {
            let more = self.more.get_or_insert_default();
            (more.label, more.keys, more.policy) = (label.take(), std::mem::take(keys), policy.take());
            match (short, &mut more.amounts) {
                (Some(_), none) => *none = None,
                (None, Some(room)) => **room = amounts,
                (None, none) => *none = Some(Box::new(amounts)),
            }
        } else {
            self.more = None;
        }
        (self.available, self.faucet_drawn) = short.unwrap_or_default();
        self.agent = halves(*agent);
        self.created_at = *created_at;
        self.decided = *decided;
        self.posted = *posted;
        self.currency = *currency;
        self.status = *status;
    }

    pub fn wake(mut self) -> Wallet {
        self.take()
    }

    /// The wallet, leaving what is copied and the emptied room.
    fn take(&mut self) -> Wallet {
        let Amounts { available, held, disputed, faucet_drawn } = self.amounts();
        let more = self.more.as_deref_mut();
        let (label, keys, policy) = more
            .map(|more| (more.label.take(), std::mem::take(&mut more.keys), more.policy.take()))
            .unwrap_or((None, IdempotencyKeys::NONE, None));
        Wallet {
            agent: self.agent(),
            currency: self.currency,
            status: self.status,
            label,
            available,
            held,
            disputed,
            faucet_drawn,
            created_at: self.created_at,
            decided: self.decided,
            posted: self.posted,
            keys,
            policy,
        }
    }

    /// The wallet as it stands, borrowed.
    pub fn fields(&self) -> WalletFields<'_> {
        let Amounts { available, held, disputed, faucet_drawn } = self.amounts();
        let more = self.more.as_deref();
        WalletFields {
            agent: self.agent(),
            currency: self.currency,
            status: self.status,
            label: more.and_then(|more| more.label.as_deref()),
            available,
            held,
            disputed,
            faucet_drawn,
            created_at: self.created_at,
            decided: self.decided,
            posted: self.posted,
            keys: more.map_or(&NO_KEYS, |more| &more.keys),
            policy: more.and_then(|more| more.policy.as_deref()),
        }
    }

    pub fn agent(&self) -> AgentId {
        let [high, low] = self.agent;
        AgentId::from_raw((u128::from(high) << 64) | u128::from(low))
    }

    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// Position of the last fact that the wallet decided itself.
    pub fn decided(&self) -> Position {
        self.decided
    }

    /// Position of the last posting of others that was delivered.
    pub fn posted(&self) -> Position {
        self.posted
    }

    /// The idempotency keys, where there are any.
    pub fn keys(&self) -> Option<&IdempotencyKeys> {
        self.more.as_deref().map(|more| &more.keys).filter(|keys| !keys.is_none())
    }

    /// [`Wallet::credit`] without waking the wallet.
    pub fn credit(&mut self, delta: Amount, position: Position) {
        assert!(position > self.posted, "posting {position} is not after {}", self.posted);
        let credited = self.amounts().available.plus(delta);
        let amounts = self.more.as_deref_mut().and_then(|more| more.amounts.as_deref_mut());
        match (amounts, short(credited)) {
            (None, Some(credited)) => {
                self.available = credited;
                self.posted = position;
            }
            // Rare: a balance beyond 64 bits may come back below them, and then belongs into the short form again.
            _ => self.change(|wallet| wallet.credit(delta, position)),
        }
    }

    /// [`Wallet::post`] without waking the wallet where nothing that is held changes.
    pub fn post(&mut self, available: Amount, held: Amount, position: Position) {
        if held.is_zero() {
            self.credit(available, position);
        } else {
            self.change(|wallet| wallet.post(available, held, position));
        }
    }

    /// [`Wallet::release`] without waking a wallet that has no policy.
    pub fn release(&mut self, release: Release) {
        if self.more.as_ref().is_some_and(|more| more.policy.is_some()) {
            self.change(|wallet| wallet.release(release));
        }
    }

    /// Wakes the wallet for one change and puts it back. Allocates only when it needs room that it did not need before.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut Wallet) -> T) -> T {
        let mut wallet = self.take();
        let changed = change(&mut wallet);
        self.put_back(&mut wallet);
        changed
    }

    fn amounts(&self) -> Amounts {
        match self.more.as_deref().and_then(|more| more.amounts.as_deref()) {
            Some(Amounts { available, held, disputed, faucet_drawn }) => Amounts {
                available: *available,
                held: *held,
                disputed: *disputed,
                faucet_drawn: *faucet_drawn,
            },
            None => Amounts {
                available: Amount::from_nanos(i128::from(self.available)),
                held: Amount::ZERO,
                disputed: Amount::ZERO,
                faucet_drawn: Amount::from_nanos(i128::from(self.faucet_drawn)),
            },
        }
    }
}

fn short(amount: Amount) -> Option<i64> {
    i64::try_from(amount.nanos()).ok()
}

#[expect(clippy::cast_possible_truncation, reason = "the id is stored as its two halves")]
const fn halves(agent: AgentId) -> [u64; 2] {
    [(agent.raw() >> 64) as u64, agent.raw() as u64]
}

#[cfg(test)]
mod tests;
