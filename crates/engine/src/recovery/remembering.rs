//! Idempotency keys while records are replayed: a second thread remembers them, so that whoever applies the records does
//! not wait for memory that only keys are in.
//!
//! Owner of state: [`Remembering`] has the keys of every wallet that a replayed record used one of, from the first such
//! record to [`Remembering::give_back`]; the wallet has none meanwhile. Uses reach a wallet's keys in the order of the log,
//! behind the keys that the wallet brought from its snapshot row. So they end as if the wallet itself had remembered.
//! Memory: [`CHUNKS_AHEAD`] and two more chunks of [`CHUNK_USES`] uses.

use std::{
    hint::black_box,
    io,
    panic::resume_unwind,
    sync::mpsc::{Receiver, SyncSender, channel, sync_channel},
    thread::{self, JoinHandle},
};

use journal::View;
use ledger::{IdempotencyKeys, KeyHash, KeyPlace, Timestamp, Wallet};
use wal::Lsn;

use crate::{
    keys::Keys,
    registry::Registry,
    sharded::{Beside, Located},
};

/// Uses that change threads at a time: some 80 KiB.
const CHUNK_USES: usize = 1_024;
/// Chunks that wait for the second thread at most.
const CHUNKS_AHEAD: usize = 16;

/// Uses whose owners' keys are fetched into the processor's cache together.
const FETCHED_USES: usize = 32;

/// One use of a key.
#[derive(Clone, Copy)]
struct Use {
    owner: Located,
    hash: KeyHash,
    place: KeyPlace,
    fingerprint: u64,
    at: Timestamp,
}

#[derive(Default)]
struct Chunk {
    /// Keys that wallets had before their first use here.
    brought: Vec<(Located, IdempotencyKeys)>,
    uses: Vec<Use>,
}

/// See the module head.
pub(super) struct Remembering {
    /// All of it, unless the second thread has it.
    ring: Keyring,
    /// Running once there is enough to do for one.
    second: Option<Second>,
    /// What is gathered for it.
    chunk: Chunk,
}

/// The keys of wallets, away from them.
struct Keyring {
    owners: Beside<IdempotencyKeys>,
    /// Keys in it.
    held: u64,
    retention_ms: u64,
}

/// The second thread. It answers with the keyring when nothing more can come.
struct Second {
    chunks: SyncSender<Chunk>,
    /// Memory of chunks that are done.
    spare: Receiver<Chunk>,
    thread: JoinHandle<Keyring>,
}

impl Remembering {
    pub(super) fn new(retention_ms: u64) -> Self {
        Self { ring: Keyring::new(retention_ms), second: None, chunk: Chunk::default() }
    }

    /// Remembers the keys that the record at `lsn` uses. Returns how many the wallet brings along, which it has no more.
    pub(super) fn remember(
        &mut self,
        owner: Located,
        wallet: &mut Wallet,
        view: &View<'_>,
        lsn: Lsn,
    ) -> io::Result<u64> {
        let noted = self.chunk.uses.len();
        view.for_each_key(|hash, fingerprint, item| {
            let place = KeyPlace { lsn: lsn.get(), item };
            self.chunk.uses.push(Use { owner, hash, place, fingerprint, at: view.at() });
        });
        let is_used = self.chunk.uses.len() > noted;
        let brought = if is_used { self.bring(owner, &mut wallet.keys) } else { 0 };
        self.hand_over_if_full()?;
        Ok(brought)
    }

    fn bring(&mut self, owner: Located, keys: &mut IdempotencyKeys) -> u64 {
        let brought = keys.len() as u64;
        if !keys.is_none() {
            self.chunk.brought.push((owner, std::mem::take(keys)));
        }
        brought
    }

    fn hand_over_if_full(&mut self) -> io::Result<()> {
        if self.chunk.uses.len() < CHUNK_USES {
            return Ok(());
        }
        let second = match &self.second {
            Some(second) => second,
            None => {
                let started = Second::start(self.ring.take())?;
                self.second.insert(started)
            }
        };
        let next = second.spare.try_recv().unwrap_or_default();
        if second.chunks.send(std::mem::replace(&mut self.chunk, next)).is_err() {
            // It ends before it is told to by a panic only, which goes on here.
            self.settled();
        }
        Ok(())
    }

    /// Everything so far, remembered.
    fn settled(&mut self) -> &mut Keyring {
        if let Some(second) = self.second.take() {
            self.ring = second.end();
        }
        self.ring.take_in(&mut self.chunk);
        &mut self.ring
    }

    /// Keys that are remembered here.
    pub(super) fn held(&mut self) -> u64 {
        self.settled().held
    }

    /// Drops the keys that are on disk, as their wallets would.
    pub(super) fn forget(&mut self, keys: &Keys) {
        self.settled().forget(keys, keys.floor());
    }

    /// Gives every wallet its keys. Returns how many there are.
    pub(super) fn give_back(&mut self, registry: &mut Registry) -> u64 {
        let mut ring = self.settled().take();
        for (owner, keys) in ring.owners.iter_mut().filter(|(_, keys)| !keys.is_none()) {
            registry.recover(owner, |wallet| wallet.keys = std::mem::take(keys));
        }
        ring.held
    }
}

impl Second {
    fn start(mut ring: Keyring) -> io::Result<Self> {
        let (chunks, handed) = sync_channel::<Chunk>(CHUNKS_AHEAD);
        let (done, spare) = channel();
        let remembering = move || {
            for mut chunk in handed {
                ring.take_in(&mut chunk);
                // Behind the last chunk nobody takes it back any more.
                let _ = done.send(chunk);
            }
            ring
        };
        let thread = thread::Builder::new().name("keys-replay".to_owned()).spawn(remembering)?;
        Ok(Self { chunks, spare, thread })
    }

    fn end(self) -> Keyring {
        let Self { chunks, spare: _, thread } = self;
        drop(chunks);
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl Keyring {
    fn new(retention_ms: u64) -> Self {
        Self { owners: Beside::new(), held: 0, retention_ms }
    }

    /// Leaves an empty one behind.
    fn take(&mut self) -> Self {
        let empty = Self::new(self.retention_ms);
        std::mem::replace(self, empty)
    }

    /// Leaves the chunk empty.
    fn take_in(&mut self, chunk: &mut Chunk) {
        for (owner, keys) in chunk.brought.drain(..) {
            self.held += keys.len() as u64;
            let before = std::mem::replace(self.owners.get_mut(owner), keys);
            assert!(before.is_none(), "a wallet whose keys are here has none to bring");
        }
        for uses in chunk.uses.chunks(FETCHED_USES) {
            self.fetch(uses);
            for Use { owner, hash, place, fingerprint, at } in uses {
                let keys = self.owners.get_mut(*owner);
                let before = keys.len() as u64;
                keys.remember(*hash, *place, *fingerprint, *at, self.retention_ms);
                self.held = self.held + keys.len() as u64 - before;
            }
        }
        chunk.uses.clear();
    }

    /// Looks where the keys will go: a look waits for memory beside the next one, a change behind the one before.
    fn fetch(&mut self, uses: &[Use]) {
        let found = uses.iter().filter(|used| self.owners.get_mut(used.owner).find(used.hash).is_some());
        black_box(found.count());
    }

    fn forget(&mut self, keys: &Keys, below: u64) {
        for (_, owned) in self.owners.iter_mut() {
            let before = owned.len() as u64;
            keys.forget(owned, below);
            self.held = self.held + owned.len() as u64 - before;
        }
    }
}

#[cfg(test)]
mod tests {
    use ledger::{AgentId, Currency, Position, Rules, WalletId};

    use super::*;
    use crate::keys::KeyOptions;

    const WALLETS: usize = 40;
    const RETENTION_MS: u64 = 1_000;

    fn registry() -> (Registry, Vec<Located>) {
        let mut registry = Registry::new();
        let ids = (0..WALLETS).map(|number| WalletId::from_raw(number as u128));
        let locate = |id| {
            let (agent, at) = (AgentId::from_raw(1), Timestamp::from_millis(0));
            let wallet = Wallet::open(agent, Currency::USD, None, at, Position::new(1));
            assert!(registry.insert(id, wallet));
            registry.locate(id).expect("it was put in")
        };
        let located = ids.map(locate).collect();
        (registry, located)
    }

    /// Uses of few keys by few wallets, so that each comes again and again, over several times the retention.
    fn uses(located: &[Located]) -> impl Iterator<Item = (usize, Use)> + '_ {
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        (0..).map(move |number: u64| {
            random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            let wallet = usize::try_from(random >> 40).expect("24 bits") % WALLETS;
            // Every third is of one wallet, which gets as many as take another form.
            let wallet = if number.is_multiple_of(3) { 0 } else { wallet };
            let hash = KeyHash::from_raw(u128::from(random >> 50).wrapping_mul(u128::MAX / 3));
            let place = KeyPlace { lsn: number, item: 0 };
            let at = Timestamp::from_millis(i64::try_from(number / 8).expect("small"));
            (wallet, Use { owner: located[wallet], hash, place, fingerprint: number, at })
        })
    }

    fn remember(keys: &mut IdempotencyKeys, used: Use) {
        keys.remember(used.hash, used.place, used.fingerprint, used.at, RETENTION_MS);
    }

    /// Against wallets that remember for themselves.
    #[test]
    fn keys_end_as_if_each_wallet_had_remembered_its_own() {
        const BEFORE: usize = 2_000;
        const USES: usize = 40 * CHUNK_USES;
        let (mut registry, located) = registry();
        let mut model = vec![IdempotencyKeys::NONE; WALLETS];
        for (wallet, used) in uses(&located).take(BEFORE) {
            // As rows of a snapshot: some wallets have none.
            if wallet % 4 != 0 {
                remember(&mut model[wallet], used);
            }
        }
        let mut own = model.clone();
        let mut remembering = Remembering::new(RETENTION_MS);
        let keys = Keys::open(&KeyOptions::default(), &Rules::default()).expect("all in memory");
        let mut brought = 0;
        for (step, (wallet, used)) in uses(&located).skip(BEFORE).take(USES).enumerate() {
            remember(&mut model[wallet], used);
            brought += remembering.bring(located[wallet], &mut own[wallet]);
            remembering.chunk.uses.push(used);
            remembering.hand_over_if_full().expect("a second thread");
            if step == USES / 2 {
                let below = used.place.lsn - 500;
                let held = remembering.held();
                keys.set_in_memory(held);
                remembering.settled().forget(&keys, below);
                let forgotten = held - keys.in_memory();
                assert!(forgotten > 0);
                assert_eq!(remembering.held(), held - forgotten);
                for keys in &mut model {
                    (0..keys.parts()).for_each(|part| assert!(keys.forget_below(below, part) < USES));
                }
            }
        }
        assert!(remembering.second.is_some(), "a second thread has the keys");
        assert!(brought > 0 && own.iter().all(IdempotencyKeys::is_none), "all of them came by");
        let held = remembering.give_back(&mut registry);
        assert_eq!(held, model.iter().map(|keys| keys.len() as u64).sum::<u64>());
        assert_eq!(remembering.held(), 0);
        for (at, keys) in located.iter().zip(&model) {
            registry.recover(*at, |wallet| assert!(wallet.keys == *keys && !keys.is_empty()));
        }
    }

    #[test]
    fn few_keys_need_no_second_thread() {
        let (mut registry, located) = registry();
        let mut remembering = Remembering::new(RETENTION_MS);
        let (_, used) = uses(&located).next().expect("endless");
        remembering.chunk.uses.push(used);
        remembering.hand_over_if_full().expect("nothing to do");
        assert!(remembering.second.is_none());
        assert_eq!((remembering.held(), remembering.give_back(&mut registry)), (1, 1));
        let found = registry.recover(located[0], |wallet| wallet.keys.find(used.hash));
        assert_eq!(found, Some((used.place, used.fingerprint)));
    }

    #[test]
    fn what_breaks_the_second_thread_breaks_the_replay() {
        let (_, located) = registry();
        let mut remembering = Remembering::new(RETENTION_MS);
        let replaying = std::panic::AssertUnwindSafe(|| {
            for (number, (_, mut used)) in uses(&located).take(40 * CHUNK_USES).enumerate() {
                if number == CHUNK_USES {
                    used.place.item = u32::MAX;
                }
                remembering.chunk.uses.push(used);
                remembering.hand_over_if_full().expect("a second thread");
            }
            remembering.held()
        });
        let panic = std::panic::catch_unwind(replaying).expect_err("no record has so many items");
        let what = panic.downcast_ref::<String>().expect("a message");
        assert!(what.contains("65 536 items"), "{what}");
    }
}
