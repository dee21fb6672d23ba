//! Every wallet of the partition: at rest as a compact value, in use as a handle on its actor.
//!
//! Rules that make hand-over safe: work is pushed, credits are posted and wallets change between rest and use only
//! under the slot's guard (shared for the first two on an active wallet, exclusive for the rest), no guard is held across
//! an await or another call into the map, and a wallet goes to rest only when nothing waits in its inbox and all it
//! decided is durable. So nothing can be lost between the two states, and what is read at rest is durable.

use std::{
    collections::HashMap,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use journal::{RowRef, Scratch};
use ledger::{
    AgentId, Amount, Currency, IdempotencyKeys, Position, Posting, RestingWallet, Wallet, WalletFields,
    WalletId,
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    claim::Claimed,
    keys::Keys,
    options::Activation,
    release::{Decided, Reply, Requester, Seat},
    sharded::{Located, Place, ShardedMap},
    shared::Shared,
    wallet::{Asked, Handle, Inbox, Owner, RowFacts, RowReply, Work},
};

enum Slot {
    /// Whoever holds the exclusive guard is the owner. Decisions may be on their way to the disk.
    AtRest(RestingWallet),
    /// An actor is the owner.
    Active(Box<Handle>),
    /// Between the two, while the exclusive guard is held; never seen by anyone else.
    Changing,
}

/// What never changes of a wallet: whose it is, and its currency.
pub(crate) type WalletFacts = (AgentId, Currency);

impl Slot {
    fn facts(&self) -> WalletFacts {
        match self {
            Slot::AtRest(wallet) => (wallet.agent(), wallet.currency()),
            Slot::Active(handle) => (handle.agent, handle.currency),
            Slot::Changing => unreachable!("{CHANGING}"),
        }
    }
}

// With its id and the table of the map this is what a wallet at rest takes: ten million have to fit.
const _: () = assert!(size_of::<Slot>() <= 80);

/// An actor with fewer commands than this between two sweeps is not worth its memory.
const BUSY_COMMANDS: u32 = 1_000;

/// Keys that an owner forgets under a guard that others of its shard wait for: a microsecond or two.
const FEW_KEYS: usize = 64;

const CHANGING: &str = "a slot is seen between two states only by the holder of its guard";

pub(crate) struct Registry {
    slots: ShardedMap<WalletId, Slot>,
    /// Wallets that were activated and not yet seen at rest by the sweeper.
    active: Mutex<Vec<WalletId>>,
    active_count: AtomicU64,
    /// Commands so far, where somebody counts them.
    commands: AtomicU32,
}

/// What became of a command.
pub(crate) enum Handed {
    /// Carried out on this task.
    Decided(Decided),
    /// Waiting for the wallet's actor.
    Queued(oneshot::Receiver<Reply>),
    /// No such wallet.
    Unknown,
    /// As much waits for the wallet's actor as may.
    Full,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            slots: ShardedMap::new(),
            active: Mutex::default(),
            active_count: AtomicU64::new(0),
            commands: AtomicU32::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn active_len(&self) -> u64 {
        self.active_count.load(Ordering::Relaxed)
    }

    /// Brings a wallet to life. An id that exists already keeps its state (replay of a record that a snapshot covers).
    pub(crate) fn insert(&self, id: WalletId, wallet: Wallet) -> bool {
        self.slots.insert_new(id, Slot::AtRest(RestingWallet::of(wallet)))
    }

    /// Owner and currency of a wallet; both never change.
    pub(crate) fn facts(&self, id: WalletId) -> Option<WalletFacts> {
        self.slots.read(id, Slot::facts)
    }

    /// [`Self::facts`] of many wallets, in their order.
    pub(crate) fn facts_of_each(&self, ids: &[WalletId]) -> Vec<Option<WalletFacts>> {
        let mut facts = vec![None; ids.len()];
        self.slots.read_each(ids, |place, slot| facts[place] = slot.map(Slot::facts));
        facts
    }

    /// The places in `ids`, those of one wallet together and in their order, in an order in which it costs least to ask one
    /// wallet after the other.
    pub(crate) fn grouped(&self, ids: &[WalletId]) -> Vec<u32> {
        self.slots.grouped(ids)
    }

    /// Reads a wallet at rest; `None` when it has an actor (ask that) or is unknown. What is read may show decisions that
    /// are not delivered yet.
    pub(crate) fn at_rest<T>(&self, id: WalletId, read: impl FnOnce(WalletFields<'_>) -> T) -> Option<T> {
        self.slots
            .read(id, |slot| match slot {
                Slot::AtRest(wallet) => Some(read(wallet.fields())),
                Slot::Active(_) | Slot::Changing => None,
            })
            .flatten()
    }

    /// The same for who needs the whole wallet, under the exclusive guard.
    pub(crate) fn try_at_rest<T>(&self, id: WalletId, look: impl FnOnce(&mut Wallet) -> T) -> Option<T> {
        self.slots
            .write(id, |slot| match slot {
                Slot::AtRest(wallet) => Some(wallet.change(look)),
                Slot::Active(_) | Slot::Changing => None,
            })
            .flatten()
    }

    /// Gives a command to a wallet's owner. A wallet at rest is owned by the caller for as long as that takes, unless it
    /// is contended: then it gets an actor, which works off many commands in one turn. `max` bounds what may wait for
    /// the actor.
    pub(crate) fn hand(
        &self,
        id: WalletId,
        asked: Asked,
        seat: Seat,
        max: usize,
        shared: &Arc<Shared>,
    ) -> Handed {
        let planned = match shared.options.activation {
            Activation::Contended => false,
            Activation::Every(n) => self.commands.fetch_add(1, Ordering::Relaxed).is_multiple_of(n.get()),
        };
        // Many wallets share a guard. Only one that somebody else used just now is itself what was waited for.
        let is_contended =
            |wallet: &RestingWallet, waited| waited && !shared.delivered.covers(wallet.decided());
        let handed = self.slots.contend(id, |slot, waited| match slot {
            Slot::AtRest(wallet) if !planned && !is_contended(wallet, waited) => {
                let decided = wallet
                    .change(|wallet| Owner::new(id, wallet, shared).carry_out(asked, Requester::Here(seat)));
                Handed::Decided(decided.expect("the requester is on this task"))
            }
            slot => {
                let handle = self.activate(id, slot, shared);
                let (to, receiver) = oneshot::channel();
                let work = Work::Command(asked, seat.parked(to));
                match handle.push(work, max) {
                    Ok(()) => Handed::Queued(receiver),
                    Err(_) => Handed::Full,
                }
            }
        });
        handed.unwrap_or(Handed::Unknown)
    }

    /// Asks a wallet's owner for its snapshot row. False when the wallet is unknown.
    pub(crate) fn ask_row(
        &self,
        id: WalletId,
        reply: oneshot::Sender<RowReply>,
        shared: &Arc<Shared>,
    ) -> bool {
        let asked = self.slots.write(id, |slot| match slot {
            Slot::AtRest(wallet) => wallet.change(|wallet| Owner::new(id, wallet, shared).row(reply)),
            Slot::Active(handle) => {
                // Never refused: its bound is for commands.
                let _ = handle.push(Work::Row(reply), usize::MAX);
            }
            Slot::Changing => unreachable!("{CHANGING}"),
        });
        asked.is_some()
    }

    fn activate<'s>(&self, id: WalletId, slot: &'s mut Slot, shared: &Arc<Shared>) -> &'s Handle {
        if let Slot::AtRest(_) = slot {
            let Slot::AtRest(wallet) = std::mem::replace(slot, Slot::Changing) else {
                unreachable!("seen above")
            };
            let wallet = Box::new(wallet.wake());
            *slot = Slot::Active(Box::new(Handle::activate(id, wallet, shared)));
            self.active_count.fetch_add(1, Ordering::Relaxed);
            self.active.lock().push(id);
        }
        let Slot::Active(handle) = slot else { unreachable!("{CHANGING}") };
        handle
    }

    /// Posts what somebody else decided: in the slot of a wallet at rest, into the inbox of an active one. `posted` is told
    /// of each posting whether its wallet exists; what is for one that does not is for suspense. Postings on one wallet
    /// come in their order.
    pub(crate) fn post_each(
        &self,
        wallets: &[WalletId],
        postings: &[(Posting, Position)],
        mut posted: impl FnMut(&Posting, bool),
    ) {
        self.slots.write_each(wallets, |place, slot| {
            let (posting, position) = &postings[place];
            posted(posting, slot.is_some());
            match slot {
                Some(Slot::AtRest(wallet)) => post(wallet, posting, *position),
                Some(Slot::Active(handle)) => handle.post(posting, *position),
                Some(Slot::Changing) => unreachable!("{CHANGING}"),
                None => {}
            }
        });
    }

    /// Has the processor fetch wallets that are changed next; for recovery.
    pub(crate) fn fetch(&mut self, wallets: &[Located]) {
        let posted = wallets.iter().map(|at| self.recovering(*at).posted().get());
        black_box(posted.fold(0, u64::max));
    }

    /// Where a wallet is; for recovery.
    pub(crate) fn locate(&mut self, id: WalletId) -> Option<Located> {
        self.slots.locate(id)
    }

    /// Changes a wallet during recovery, when every wallet is at rest.
    pub(crate) fn recover<T>(&mut self, at: Located, change: impl FnOnce(&mut Wallet) -> T) -> T {
        self.recovering(at).change(change)
    }

    /// Posts during recovery what the wallet's state does not include already. False when there is no such wallet.
    pub(crate) fn recover_posting(&mut self, id: WalletId, posting: &Posting, position: Position) -> bool {
        let Some(at) = self.locate(id) else { return false };
        let wallet = self.recovering(at);
        if position > wallet.posted() {
            post(wallet, posting, position);
        }
        true
    }

    fn recovering(&mut self, at: Located) -> &mut RestingWallet {
        match self.slots.located(at) {
            Slot::AtRest(wallet) => wallet,
            Slot::Active(_) | Slot::Changing => unreachable!("no wallet is in use during recovery"),
        }
    }

    /// Has every wallet forget the idempotency keys that are on disk: at rest here and now, others by their actors.
    /// `breathe` is called between small steps, without a guard.
    pub(crate) fn forget_keys(&self, keys: &Keys, breathe: &mut dyn FnMut()) {
        let below = keys.floor();
        let (mut place, mut many) = (Some(Place::default()), Vec::new());
        while let Some(from) = place {
            place = self.slots.walk_mut(from, |id, slot| match slot {
                Slot::AtRest(wallet) => match wallet.keys() {
                    None => {}
                    Some(held) if held.len() > FEW_KEYS || held.parts() > 1 => many.push(id),
                    Some(_) => wallet.change(|wallet| keys.forget_part(&mut wallet.keys, below, 0)),
                },
                Slot::Active(handle) => {
                    // Never refused: its bound is for commands.
                    let _ = handle.push(Work::ForgetKeys { part: 0 }, usize::MAX);
                }
                Slot::Changing => unreachable!("{CHANGING}"),
            });
            breathe();
        }
        // Others of a shard do not wait for an owner of many keys, and he himself for one part at a time.
        for id in many {
            let mut part = 0;
            while self.forget_part(keys, id, below, part) {
                part += 1;
                breathe();
            }
            breathe();
        }
    }

    /// False behind the last part.
    fn forget_part(&self, keys: &Keys, id: WalletId, below: u64, part: usize) -> bool {
        let is_left = self.slots.write(id, |slot| match slot {
            Slot::AtRest(wallet) => {
                let is_left = wallet.keys().is_some_and(|held| part < held.parts());
                if is_left {
                    wallet.change(|wallet| keys.forget_part(&mut wallet.keys, below, part));
                }
                is_left
            }
            Slot::Active(handle) => {
                // In use since: its actor goes on.
                let _ = handle.push(Work::ForgetKeys { part }, usize::MAX);
                false
            }
            Slot::Changing => unreachable!("{CHANGING}"),
        });
        is_left == Some(true)
    }

    /// Drops all keys; only for the audit, when every wallet is at rest.
    pub(crate) fn forget_all_keys(&self) {
        let mut place = Some(Place::default());
        while let Some(from) = place {
            place = self.slots.walk_mut(from, |_, slot| {
                let Slot::AtRest(wallet) = slot else {
                    unreachable!("every wallet is at rest after recovery")
                };
                wallet.change(|wallet| wallet.keys = IdempotencyKeys::NONE);
            });
        }
    }

    /// Idempotency keys in memory; only for recovery, when every wallet is at rest.
    pub(crate) fn keys_held(&self) -> u64 {
        let mut held = 0;
        self.walk_at_rest(|_, wallet| held += wallet.keys.len() as u64);
        held
    }

    /// Puts a wallet's state back into its slot if nothing waits for it; gives it back otherwise. The last credits are
    /// taken along under the same guard.
    pub(crate) fn rest(
        &self,
        id: WalletId,
        mut wallet: Box<Wallet>,
        inbox: &Inbox,
    ) -> Result<(), Box<Wallet>> {
        let rested = self.slots.write(id, |slot| {
            if !inbox.close(&mut wallet) {
                return Err(wallet);
            }
            *slot = Slot::AtRest(RestingWallet::of(*wallet));
            self.active_count.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        });
        rested.expect("wallets are never removed")
    }

    /// One sweep: asks every actor that had little to do since the last one to put its wallet to rest, and forgets
    /// those that have. Called by one task at the idle interval.
    pub(crate) fn sweep(&self) {
        let mut watched = std::mem::take(&mut *self.active.lock());
        // A wallet that rested and came back since the last sweep is in the list twice. The sort finds long sorted runs.
        watched.sort();
        watched.dedup();
        let mut still_active = Vec::with_capacity(watched.len());
        for id in watched {
            let in_use = self.slots.read(id, |slot| {
                let Slot::Active(handle) = slot else { return false };
                if handle.take_commands() < BUSY_COMMANDS {
                    // Never refused: its bound is for commands.
                    let _ = handle.push(Work::Rest, usize::MAX);
                }
                true
            });
            if in_use == Some(true) {
                still_active.push(id);
            }
        }
        self.active.lock().append(&mut still_active);
    }

    /// Walks all wallets in small steps: hands the encoded row of each wallet at rest, with its last decision, to
    /// `emit` (no guard is held then), and returns the ids of those in use, whose owners have to be asked.
    pub(crate) fn rows<E>(
        &self,
        mut emit: impl FnMut(&[u8], RowFacts) -> Result<(), E>,
    ) -> Result<Vec<WalletId>, E> {
        let mut in_use = Vec::new();
        let mut scratch = Scratch::default();
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        let mut place = Some(Place::default());
        while let Some(from) = place {
            bytes.clear();
            ends.clear();
            place = self.slots.walk(from, |id, slot| match slot {
                Slot::AtRest(wallet) => {
                    journal::encode_row(RowRef::Wallet(id, wallet.fields()), &mut scratch);
                    bytes.extend_from_slice(scratch.bytes());
                    ends.push((bytes.len(), RowFacts::of(&wallet.fields())));
                }
                Slot::Active(_) => in_use.push(id),
                Slot::Changing => unreachable!("{CHANGING}"),
            });
            // No guard is held: a payment that waits for this processor gets it now and not at the end of a slice.
            std::thread::yield_now();
            let mut start = 0;
            for (end, facts) in &ends {
                emit(&bytes[start..*end], *facts)?;
                start = *end;
            }
        }
        Ok(in_use)
    }

    /// Sums `available + held + disputed` per currency over wallets at rest; only for recovery, when all are.
    pub(crate) fn sums(&self) -> Vec<(Currency, Amount)> {
        let mut sums: Vec<(Currency, Amount)> = Vec::new();
        self.walk_at_rest(|_, wallet| {
            let index =
                sums.iter().position(|(currency, _)| *currency == wallet.currency).unwrap_or_else(|| {
                    sums.push((wallet.currency, Amount::ZERO));
                    sums.len() - 1
                });
            sums[index].1 =
                sums[index].1.checked_add(wallet.total()).expect("the supply bound keeps sums in range");
        });
        sums.retain(|(_, sum)| *sum != Amount::ZERO);
        sums.sort_by_key(|(currency, _)| *currency);
        sums
    }

    /// Wallets whose parts are below zero, debts from disputes aside, or that have something else set aside than their
    /// claims say; only for the audit, when all are at rest.
    pub(crate) fn unfounded(&self, claims: &HashMap<WalletId, Claimed>) -> Vec<String> {
        let mut found = Vec::new();
        self.walk_at_rest(|id, wallet| {
            let claimed = claims.get(&id).copied().unwrap_or_default();
            let is_overdrawn = wallet.available.is_negative() && !claimed.may_owe;
            if is_overdrawn || wallet.held.is_negative() || wallet.disputed.is_negative() {
                found.push(format!("{id} is below zero"));
            }
            if wallet.disputed != claimed.set_aside {
                let (disputed, expected) = (wallet.disputed, claimed.set_aside);
                found.push(format!("{id} has {disputed} set aside, but its open disputes make {expected}"));
            }
        });
        found
    }

    /// Wallets that hold something else than `holds` says of their open tokens; only for the audit.
    pub(crate) fn held_otherwise(&self, holds: &HashMap<WalletId, Amount>) -> Vec<String> {
        let mut found = Vec::new();
        let mut met = 0;
        self.walk_at_rest(|id, wallet| {
            let expected = holds.get(&id);
            met += usize::from(expected.is_some());
            let expected = expected.copied().unwrap_or(Amount::ZERO);
            if wallet.held != expected {
                found.push(format!("{id} holds {}, but its open tokens make {expected}", wallet.held));
            }
        });
        if met != holds.len() {
            found.push(format!("{} open tokens are of wallets that do not exist", holds.len() - met));
        }
        found
    }

    /// Wallets that differ between two registries at rest.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        self.walk_at_rest(|id, wallet| match other.at_rest(id, |other| other == wallet) {
            Some(true) => {}
            Some(false) => found.push(format!("{id} differs between the replay and the snapshot")),
            None => found.push(format!("{id} is missing from the snapshot")),
        });
        other.walk_at_rest(|id, _| {
            if self.facts(id).is_none() {
                found.push(format!("{id} is in the snapshot, but no record made it"));
            }
        });
        found
    }

    fn walk_at_rest(&self, mut visit: impl FnMut(WalletId, WalletFields<'_>)) {
        let mut place = Some(Place::default());
        while let Some(from) = place {
            place = self.slots.walk(from, |id, slot| {
                let Slot::AtRest(wallet) = slot else {
                    unreachable!("every wallet is at rest after recovery")
                };
                visit(id, wallet.fields());
            });
        }
    }
}

fn post(wallet: &mut RestingWallet, posting: &Posting, position: Position) {
    wallet.post(posting.delta, posting.held, position);
    if let Some(release) = posting.release {
        wallet.release(release);
    }
}

#[cfg(test)]
mod tests;
