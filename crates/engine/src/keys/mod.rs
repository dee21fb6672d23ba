//! Where the idempotency keys of all owners are: those of recent records in memory, with their owners; those of records
//! below the floor in runs on disk (crate `idempotency`).
//!
//! Owner of state: each owner its keys; this module the floor and the count. Rule: an owner may forget a key only once
//! its record is below the floor, and the floor moves only over what the runs cover durably; both happen under the
//! owner's guard or in its actor. So whoever decides, and looks first in memory and then in the runs, misses none. A
//! lookup that cannot be made refuses the command: nothing is decided without it.
//!
//! `gather` reads the keys of a range of the log, `spiller` is the thread that moves them.

mod gather;
mod spiller;

use std::{
    num::NonZeroU64,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use idempotency::{Figures, KeyStore};
use ledger::{IdempotencyKeys, KeyHash, Rules, Timestamp, WalletId};
use parking_lot::{Condvar, Mutex};
use spread::Rate;
use wal::{Lsn, Reader};

pub(crate) use gather::GatherError;
pub(crate) use spiller::Spiller;

use crate::refusal::Refusal;

/// Keys by which the bound may be passed before nothing is taken any more, when the bound itself is lower: what comes in
/// at full speed while some are moved.
const HEADROOM_MIN: u64 = 100_000;

/// Keys that are gathered for one run: bounds the memory that moving them takes, some 200 bytes each.
const RUN_KEYS_MAX: usize = 125_000;

/// Bytes of runs that are written per second at leisure: eighty thousand keys that are each written four times. It is
/// twice as much for every sixteenth of the headroom in use, and for every [`RUNS_PER_DOUBLING`] runs more than there
/// should be, because each payment asks all of them; and beyond [`DOUBLINGS_MAX`] as much as goes.
const WRITE_BYTES_PER_SECOND: u64 = 16 << 20;
const RUNS_USUAL: usize = 16;
const RUNS_PER_DOUBLING: usize = 8;
const DOUBLINGS_MAX: u64 = 4;

/// What an engine does with idempotency keys.
#[derive(Clone, Debug)]
pub struct KeyOptions {
    /// Where keys go that have no room in memory. Without it they all stay there, and when the room is used up the engine
    /// takes nothing that would add to it.
    pub directory: Option<PathBuf>,
    /// Keys held in memory; more are moved to disk, the oldest first. A key takes 40 to 75 bytes of memory, and up to 250
    /// when it is its owner's only one.
    pub in_memory_max: u64,
    /// Memory for the filters of what is on disk, two bytes per key; what has no room is read from disk for every lookup.
    pub filter_bytes_max: u64,
}

impl Default for KeyOptions {
    fn default() -> Self {
        Self { directory: None, in_memory_max: 8_000_000, filter_bytes_max: 256 << 20 }
    }
}

pub(crate) struct Keys {
    store: Option<KeyStore>,
    /// Keys of records below this are in the store. Zero until something is spilled.
    floor: AtomicU64,
    in_memory: AtomicU64,
    in_memory_max: u64,
    retention_ms: u64,
    /// The spilling thread is to end.
    is_stopping: AtomicBool,
    /// How fast runs are written; the spilling thread's to set.
    write_rate: Arc<Rate>,
    /// The spilling thread is to look at once.
    asked: Mutex<bool>,
    signalled: Condvar,
}

/// What is known of keys on disk before their owners decide.
#[derive(Default, Debug)]
pub(crate) struct Warmed {
    floor: u64,
    /// Those of whom a key may be on disk, in order.
    owners: Vec<WalletId>,
}

impl Warmed {
    /// None of the keys that were asked about for this owner was used by a record below this position and is on disk.
    pub(crate) fn absent_below(&self, owner: WalletId) -> u64 {
        if self.owners.binary_search(&owner).is_ok() { 0 } else { self.floor }
    }
}

impl Keys {
    pub(crate) fn open(options: &KeyOptions, rules: &Rules) -> Result<Self, idempotency::Error> {
        let write_rate = Arc::<Rate>::default();
        let store_options = idempotency::Options {
            write_rate: write_rate.clone(),
            retention_ms: rules.idempotency_retention_ms,
            filter_bytes_max: options.filter_bytes_max,
            ..idempotency::Options::default()
        };
        let store = options.directory.as_deref().map(|directory| KeyStore::open(directory, store_options));
        Ok(Self {
            store: store.transpose()?,
            floor: AtomicU64::new(0),
            in_memory: AtomicU64::new(0),
            in_memory_max: options.in_memory_max,
            retention_ms: rules.idempotency_retention_ms,
            is_stopping: AtomicBool::new(false),
            write_rate,
            asked: Mutex::default(),
            signalled: Condvar::new(),
        })
    }

    /// Position below which owners need not keep their keys.
    pub(crate) fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    pub(crate) fn in_memory(&self) -> u64 {
        self.in_memory.load(Ordering::Relaxed)
    }

    pub(crate) fn spilled(&self) -> Figures {
        self.store.as_ref().map(KeyStore::figures).unwrap_or_default()
    }

    /// Whether what is in memory has grown to twice its bound, because it cannot be moved to disk as fast as it comes.
    pub(crate) fn is_full(&self) -> bool {
        let headroom = self.in_memory_max.max(HEADROOM_MIN);
        self.in_memory() >= self.in_memory_max.saturating_add(headroom)
    }

    /// Counts what an owner's keys became.
    pub(crate) fn count(&self, before: usize, after: usize) {
        let (before, after) = (before as u64, after as u64);
        if after <= before {
            self.in_memory.fetch_sub(before - after, Ordering::Relaxed);
            return;
        }
        let held = self.in_memory.fetch_add(after - before, Ordering::Relaxed) + (after - before);
        if held > self.in_memory_max && held - (after - before) <= self.in_memory_max {
            self.ask();
        }
    }

    /// Has an owner forget the keys of records below `below`, which are on disk, from one part of those it holds.
    pub(crate) fn forget_part(&self, held: &mut IdempotencyKeys, below: u64, part: usize) {
        let before = held.len();
        held.forget_below(below, part);
        self.count(before, held.len());
    }

    /// The same from all parts.
    pub(crate) fn forget(&self, held: &mut IdempotencyKeys, below: u64) {
        (0..held.parts()).for_each(|part| self.forget_part(held, below, part));
    }

    /// Brings the keys that a command carries into its owner's memory for the length of one decision, where they are on
    /// disk. To be called by whoever holds the owner exclusively; [`IdempotencyKeys::release_recalled`] ends it.
    /// `absent_below`: what [`Self::warm`] found out. The floor may have moved since, and more is on disk then.
    pub(crate) fn recall(
        &self,
        owner: u128,
        held: &mut IdempotencyKeys,
        absent_below: u64,
        hashes: impl FnOnce() -> Vec<KeyHash>,
    ) -> Result<(), Refusal> {
        let floor = self.floor();
        let Some(store) = self.store.as_ref().filter(|_| floor > absent_below) else { return Ok(()) };
        for hash in hashes() {
            if held.find(hash).is_some() {
                continue;
            }
            match store.find(owner, hash, floor) {
                Ok(None) => {}
                Ok(Some((place, fingerprint))) => held.recall(hash, place, fingerprint),
                Err(error) => {
                    tracing::error!(%error, "an idempotency key cannot be looked up; its command is refused");
                    self.ask();
                    return Err(Refusal::Overloaded);
                }
            }
        }
        Ok(())
    }

    /// Looks up those of `wanted` that may be on disk, so that their owners, who do it again, find them in the page cache
    /// and hold nobody up; the others, nearly all, need not be looked up. One trip to a blocking thread for all of them.
    pub(crate) async fn warm(self: &Arc<Self>, wanted: impl FnOnce() -> Vec<(WalletId, KeyHash)>) -> Warmed {
        // Read before the runs are: they cover all below it.
        let floor = self.floor();
        let Some(store) = self.store.as_ref().filter(|_| floor > 0) else { return Warmed::default() };
        let mut wanted = wanted();
        wanted.retain(|(owner, hash)| !store.is_absent(owner.raw(), *hash, floor));
        if wanted.is_empty() {
            return Warmed { floor, owners: Vec::new() };
        }
        let mut owners: Vec<WalletId> = wanted.iter().map(|(owner, _)| *owner).collect();
        owners.sort_unstable();
        let keys = Arc::clone(self);
        let warming = tokio::task::spawn_blocking(move || {
            let store = keys.store.as_ref().expect("seen above");
            // Whether it can be read is found out, and said, by who decides.
            wanted.iter().for_each(|(owner, hash)| drop(store.find(owner.raw(), *hash, floor)));
        });
        // It fails when the runtime is ending; then the owner is asked no more.
        let _ = warming.await;
        Warmed { floor, owners }
    }

    /// Moves the floor over what the runs cover.
    fn raise_floor(&self, floor: u64) {
        let covers = self.store.as_ref().map_or(0, KeyStore::covers);
        assert!(floor <= covers, "keys are forgotten only when the runs have them: {floor} of {covers}");
        self.floor.fetch_max(floor, Ordering::AcqRel);
    }

    /// Has the spilling thread look at once.
    fn ask(&self) {
        *self.asked.lock() = true;
        self.signalled.notify_one();
    }

    /// Waits until the spilling thread is asked or `pause` is over; false when it has to end.
    fn wait(&self, pause: Duration) -> bool {
        let mut asked = self.asked.lock();
        if !*asked && !self.is_stopping() {
            self.signalled.wait_for(&mut asked, pause);
        }
        *asked = false;
        !self.is_stopping()
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        let asked = self.asked.lock();
        self.is_stopping.store(true, Ordering::Relaxed);
        drop(asked);
        self.signalled.notify_one();
    }

    /// Moves the keys of the oldest records in memory, a quarter of what has room, into runs and the floor behind them.
    /// False when there are none that are durable. The owners have to forget them next.
    pub(crate) fn spill_step(
        &self,
        reader: &Reader,
        now: Timestamp,
        breathe: &mut dyn FnMut(),
    ) -> Result<bool, GatherError> {
        let Some(store) = &self.store else { return Ok(false) };
        let floor = self.floor();
        let (mut from, mut moved) = (floor, 0);
        while moved <= self.in_memory_max / 4 {
            let gathered =
                gather::gather(reader, from, u64::MAX, self.run_keys(), self.expired(now), breathe)?;
            if gathered.end <= from {
                break;
            }
            store.add(from, gathered.end, &gathered.keys, breathe)?;
            moved += gathered.keys.len() as u64;
            from = gathered.end;
        }
        self.raise_floor(from);
        Ok(from > floor)
    }

    /// Keys of a new run.
    fn run_keys(&self) -> usize {
        usize::try_from(self.in_memory_max / 4).map_or(RUN_KEYS_MAX, |keys| keys.clamp(1, RUN_KEYS_MAX))
    }

    /// Fills what is missing below `to`, from the log.
    pub(crate) fn fill_gaps(&self, reader: &Reader, to: u64, now: Timestamp) -> Result<(), GatherError> {
        let Some(store) = &self.store else { return Ok(()) };
        for (mut from, end) in store.gaps(to) {
            tracing::warn!(from, end, "idempotency keys of a part of the log are read from it again");
            while from < end {
                let gathered =
                    gather::gather(reader, from, end, self.run_keys(), self.expired(now), &mut || ())?;
                if gathered.end <= from {
                    return Err(GatherError::Short { from, end });
                }
                store.add(from, gathered.end, &gathered.keys, &mut || ())?;
                from = gathered.end;
            }
        }
        Ok(())
    }

    /// Prepares for recovery from a snapshot whose owners keep no keys of records below `spilled`: afterwards the runs
    /// have all of them. The answer is the position from which on owners have to remember.
    pub(crate) fn recover(
        &self,
        reader: &Reader,
        spilled: u64,
        end: Lsn,
        now: Timestamp,
    ) -> Result<u64, GatherError> {
        let Some(store) = &self.store else {
            return if spilled == 0 { Ok(0) } else { Err(GatherError::NoDirectory { spilled }) };
        };
        if store.end() > end.get() {
            tracing::warn!(
                covers = store.end(),
                end = end.get(),
                "the runs of idempotency keys go beyond the log; they are of another one and built anew"
            );
            store.clear()?;
        }
        self.fill_gaps(reader, spilled.max(store.end()), now)?;
        self.raise_floor(store.covers());
        Ok(self.floor())
    }

    /// Sets the count after recovery.
    pub(crate) fn set_in_memory(&self, held: u64) {
        self.in_memory.store(held, Ordering::Relaxed);
    }

    /// Whether what is in memory is half way to where admission closes, or the node ends: then it is moved as fast as it
    /// goes.
    fn hurries(&self) -> bool {
        self.is_stopping()
            || self.in_memory() >= self.in_memory_max.saturating_add(self.in_memory_max.max(HEADROOM_MIN) / 2)
    }

    /// How much presses: sixteenths of the headroom that are in use, and runs beyond those that there should be.
    fn pressure(&self) -> u64 {
        let over = self.in_memory().saturating_sub(self.in_memory_max);
        let runs = self.store.as_ref().map_or(0, KeyStore::run_count).saturating_sub(RUNS_USUAL);
        over * 16 / self.in_memory_max.max(HEADROOM_MIN) + (runs / RUNS_PER_DOUBLING) as u64
    }

    /// Spares the disk for as long as nothing presses.
    fn settle_write_rate(&self, pressure: u64) {
        let is_bound = pressure <= DOUBLINGS_MAX && !self.hurries();
        let bound = is_bound.then(|| WRITE_BYTES_PER_SECOND << pressure);
        self.write_rate.set(bound.and_then(NonZeroU64::new));
    }

    /// Whether more is in memory than should be.
    pub(crate) fn is_over(&self) -> bool {
        self.store.is_some() && self.in_memory() > self.in_memory_max
    }

    /// Whether spilling, once begun, should go on: a quarter of the room is made free.
    fn should_go_on(&self) -> bool {
        self.in_memory() > self.in_memory_max - self.in_memory_max / 4
    }

    /// Keys used before this are past the retention at `now`.
    fn expired(&self, now: Timestamp) -> Timestamp {
        let retention = i64::try_from(self.retention_ms).unwrap_or(i64::MAX);
        Timestamp::from_millis(now.millis().saturating_sub(retention))
    }
}

#[cfg(test)]
mod tests {
    use idempotency::SpilledKey;
    use ledger::{KeyPlace, KeyScope, KeyUse};

    use super::*;

    const WALLET: WalletId = WalletId::new(0, 7);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn key(text: &str) -> KeyUse {
        KeyUse { text: text.into(), fingerprint: 1 }
    }

    fn hash(text: &str) -> KeyHash {
        key(text).hash(KeyScope::Batch)
    }

    /// Keys of the records of `from..to` go to disk, and their owner may forget them.
    fn spill(keys: &Keys, from: u64, to: u64, texts: &[&str]) {
        let place = KeyPlace { lsn: from, item: 0 };
        let spilled = |text: &&str| SpilledKey {
            owner: WALLET.raw(),
            hash: hash(text),
            place,
            fingerprint: 1,
            at: at(1_000),
        };
        let spilled: Vec<SpilledKey> = texts.iter().map(spilled).collect();
        keys.store.as_ref().expect("it has one").add(from, to, &spilled, &mut || ()).expect("it is written");
        keys.raise_floor(to);
    }

    fn is_found(keys: &Keys, absent_below: u64, text: &str) -> bool {
        let mut held = IdempotencyKeys::default();
        let hashes = || vec![hash(text)];
        keys.recall(WALLET.raw(), &mut held, absent_below, hashes).expect("the store can be read");
        held.find(hash(text)).is_some()
    }

    #[tokio::test]
    async fn what_was_absent_is_looked_for_again_once_more_is_on_disk() {
        let directory = tempfile::tempdir().expect("a directory");
        let options = KeyOptions { directory: Some(directory.path().to_owned()), ..KeyOptions::default() };
        let keys = Arc::new(Keys::open(&options, &Rules::default()).expect("it opens"));
        spill(&keys, 0, 100, &["old"]);

        let other = WalletId::new(0, 8);
        let warmed = keys.warm(|| vec![(WALLET, hash("old")), (other, hash("old"))]).await;
        assert_eq!(warmed.absent_below(other), 100);
        assert_eq!(warmed.absent_below(WALLET), 0, "it is there");
        assert!(is_found(&keys, 0, "old"));

        let absent_below = keys.warm(|| vec![(WALLET, hash("new"))]).await.absent_below(WALLET);
        assert_eq!(absent_below, 100);
        assert!(!is_found(&keys, absent_below, "new"));

        // Between the look and the decision another request uses the key, and its record goes to disk.
        spill(&keys, 100, 200, &["new"]);
        assert!(is_found(&keys, absent_below, "new"));
    }
}
