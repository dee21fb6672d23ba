//! Idempotency keys: where each key that an owner has used was recorded.
//!
//! Owner of state: the wallet or agent whose keys they are; the set is part of its state and of its snapshot row.
//! Two generations are kept. A key is remembered in the current one; after `retention_ms` the current one becomes the
//! previous one, and the one before is dropped whole. So a key is kept at least `retention_ms` and at most twice that,
//! without a timer or a date per key. An entry takes 32 bytes; an owner without keys takes 8 and no allocation.
//! Keys of old records may be held elsewhere: then whoever decides recalls those that a request carries before it
//! decides, and releases them behind it. A recalled key counts like any other and is never part of a snapshot.
//! Non-goals: the text of a key (it is in the record), and any judgement of how far a clock may jump.

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::{Position, Timestamp};

mod entries;

use entries::{Entries, Entry};

/// Longest text of a key in bytes.
const KEY_BYTES_MAX: usize = 255;

/// One use of a key, as it arrives with a command and as it is kept in the record.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct KeyUse {
    /// 1 to 255 printable ASCII characters, checked where requests are read.
    pub text: Box<str>,
    /// Digest of the meaning of the request: same key and same fingerprint is a repetition, another is a conflict.
    pub fingerprint: u64,
}

impl KeyUse {
    pub fn hash(&self, scope: KeyScope) -> KeyHash {
        KeyHash::of(scope, &self.text)
    }

    /// The hash of a key whose scope is one payment and not all of its owner's requests.
    pub fn hash_about(&self, scope: KeyScope, payment: Position) -> KeyHash {
        KeyHash::about(scope, payment, &self.text)
    }
}

/// The route part of a key's scope; the owner is the other part. The numbers are in records: never change them.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
#[repr(u8)]
pub enum KeyScope {
    /// A payment, alone or as an item of a batch.
    Payment = 1,
    /// A batch as a whole.
    Batch = 2,
    Fund = 3,
    OpenWallet = 4,
    /// The reservation of a service call.
    Authorize = 5,
    RegisterService = 6,
    /// The redemption of a token.
    VerifyToken = 7,
    CreateWebhook = 8,
    RotateWebhook = 9,
    /// A refund; the payment is part of the scope.
    Refund = 20,
    /// The opening of a dispute; the payment is part of the scope.
    OpenDispute = 21,
    /// A piece of evidence; the payment is part of the scope.
    AddEvidence = 22,
}

/// 112 bits of XXH3-128 over the text, seeded with the scope; the low 16 bits are always zero, which leaves room for an
/// item's index.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Debug)]
pub struct KeyHash(u128);

impl KeyHash {
    /// Panics when `text` is longer than 255 bytes, which is never let in.
    pub fn of(scope: KeyScope, text: &str) -> KeyHash {
        assert!(text.len() <= KEY_BYTES_MAX, "a key has at most {KEY_BYTES_MAX} bytes");
        Self::from_raw(xxh3_128_with_seed(text.as_bytes(), scope as u64))
    }

    /// As [`Self::of`], with the position of a payment in the seed above the scope's eight bits. Panics for a position
    /// beyond 2⁵⁶, which no log has.
    pub fn about(scope: KeyScope, payment: Position, text: &str) -> KeyHash {
        assert!(text.len() <= KEY_BYTES_MAX, "a key has at most {KEY_BYTES_MAX} bytes");
        assert!(payment.get() >> 56 == 0, "position {payment} does not fit a seed");
        let seed = (payment.get() << 8) | scope as u64;
        Self::from_raw(xxh3_128_with_seed(text.as_bytes(), seed))
    }

    /// The hash whose upper 112 bits are those of `raw`.
    pub const fn from_raw(raw: u128) -> KeyHash {
        KeyHash(raw & !0xffff)
    }

    pub const fn raw(self) -> u128 {
        self.0
    }
}

/// Where the answer to a key's first use is recorded.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Debug)]
pub struct KeyPlace {
    pub lsn: u64,
    /// Index within the record; 0 for a record of one item and for a batch as a whole. At most 65 535.
    pub item: u32,
}

/// What a key says about the request that carries it.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum KeyVerdict {
    /// No key, or one that is not kept.
    New,
    /// The same request was decided before, in the record there.
    Repeats(KeyPlace),
    /// The key belongs to a request of another meaning.
    Conflicts,
}

/// One remembered key, for snapshots.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct KeyEntry {
    pub hash: KeyHash,
    pub place: KeyPlace,
    pub fingerprint: u64,
    /// Whether it is in the generation that goes first.
    pub previous: bool,
}

/// The keys of one owner.
#[derive(Clone, Eq, PartialEq, Default, Debug)]
pub struct IdempotencyKeys {
    generations: Option<Box<Generations>>,
}

const _: () = assert!(size_of::<IdempotencyKeys>() == 8);

#[derive(Clone, Eq, PartialEq, Debug)]
struct Generations {
    /// The current generation becomes the previous one this plus the retention later.
    started: Timestamp,
    current: Entries,
    previous: Entries,
    /// For the length of one decision.
    recalled: Vec<Entry>,
}

impl IdempotencyKeys {
    /// Of an owner that has used none.
    pub const NONE: IdempotencyKeys = IdempotencyKeys { generations: None };

    /// Whether this is [`Self::NONE`], which takes no room.
    pub const fn is_none(&self) -> bool {
        self.generations.is_none()
    }

    /// Place and fingerprint of the first use of a key, while it is kept.
    pub fn find(&self, hash: KeyHash) -> Option<(KeyPlace, u64)> {
        let generations = self.generations.as_deref()?;
        let probe = Entry::new(hash, KeyPlace { lsn: 0, item: 0 }, 0);
        let held = generations.current.get(&probe).or_else(|| generations.previous.get(&probe));
        let found = held.or_else(|| generations.recalled.iter().find(|entry| **entry == probe))?;
        Some((found.place(), found.fingerprint))
    }

    /// Compares the key of a request with its earlier use.
    pub fn judge(&self, key: Option<&KeyUse>, scope: KeyScope) -> KeyVerdict {
        key.map_or(KeyVerdict::New, |key| self.compare(key, key.hash(scope)))
    }

    /// As [`Self::judge`], for a key whose scope is one payment.
    pub fn judge_about(&self, key: Option<&KeyUse>, scope: KeyScope, payment: Position) -> KeyVerdict {
        key.map_or(KeyVerdict::New, |key| self.compare(key, key.hash_about(scope, payment)))
    }

    fn compare(&self, key: &KeyUse, hash: KeyHash) -> KeyVerdict {
        match self.find(hash) {
            None => KeyVerdict::New,
            Some((place, fingerprint)) if fingerprint == key.fingerprint => KeyVerdict::Repeats(place),
            Some(_) => KeyVerdict::Conflicts,
        }
    }

    /// Remembers a key that was used at `at` and recorded at `place`. Keys older than the retention may be dropped.
    pub fn remember(
        &mut self,
        hash: KeyHash,
        place: KeyPlace,
        fingerprint: u64,
        at: Timestamp,
        retention_ms: u64,
    ) {
        self.forget_expired(at, retention_ms);
        let generations = self.generations.get_or_insert_with(|| Box::new(Generations::new(at)));
        if generations.is_empty() {
            // Made for a recalled key only.
            generations.started = at;
        }
        // Replay may still hold a key that had been forgotten when it was used again: the later use wins.
        generations.current.replace(Entry::new(hash, place, fingerprint));
    }

    /// Drops the generations whose time is over at `now`. A clock that runs backwards drops nothing. Turns follow the
    /// times of the keys, not of the calls: replay, which never calls this, ends with the same sets.
    pub fn forget_expired(&mut self, now: Timestamp, retention_ms: u64) {
        let Some(generations) = self.generations.as_deref_mut() else { return };
        let over = generations.started.saturating_add_millis(retention_ms);
        if now < over {
            return;
        }
        let both_over = now >= over.saturating_add_millis(retention_ms);
        if both_over || generations.current.is_empty() {
            self.generations = None;
        } else {
            generations.previous = std::mem::take(&mut generations.current);
            generations.started = over;
        }
    }

    /// Takes in a key of an old record for one decision. One that is held under the same hash is younger and stays.
    pub fn recall(&mut self, hash: KeyHash, place: KeyPlace, fingerprint: u64) {
        if self.find(hash).is_none() {
            let start = Timestamp::from_millis(i64::MIN);
            let generations = self.generations.get_or_insert_with(|| Box::new(Generations::new(start)));
            generations.recalled.push(Entry::new(hash, place, fingerprint));
        }
    }

    /// Ends what [`Self::recall`] began.
    pub fn release_recalled(&mut self) {
        let Some(generations) = self.generations.as_deref_mut() else { return };
        if generations.is_empty() {
            self.generations = None;
        } else {
            generations.recalled = Vec::new();
        }
    }

    /// In how many parts [`Self::forget_below`] is done, so that nobody waits for long: one, or 256 for an owner of many
    /// thousand keys.
    pub fn parts(&self) -> usize {
        self.generations.as_deref().map_or(1, |held| held.current.parts().max(held.previous.parts()))
    }

    /// Drops the keys of records below `lsn`, which are held elsewhere now, from one part, counted from zero. Returns how
    /// many there were.
    pub fn forget_below(&mut self, lsn: u64, part: usize) -> usize {
        let Some(generations) = self.generations.as_deref_mut() else { return 0 };
        let forgotten = [&mut generations.current, &mut generations.previous].map(|entries| {
            // Everything that a part number does not divide is in the first.
            if part < entries.parts() { entries.forget_below(lsn, part) } else { 0 }
        });
        if generations.is_empty() {
            self.generations = None;
        }
        forgotten.into_iter().fold(0, usize::saturating_add)
    }

    /// Keys held, in both generations.
    pub fn len(&self) -> usize {
        self.generations.as_deref().map_or(0, Generations::len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Start of the current generation; `None` when nothing is held.
    pub fn started(&self) -> Option<Timestamp> {
        self.generations.as_deref().map(|generations| generations.started)
    }

    /// Every entry, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = KeyEntry> + '_ {
        self.generations.as_deref().into_iter().flat_map(|generations| {
            let current = generations.current.iter().map(|entry| entry.listed(false));
            current.chain(generations.previous.iter().map(|entry| entry.listed(true)))
        })
    }

    /// The set that [`Self::started`] and [`Self::iter`] described.
    pub fn restore(started: Timestamp, entries: impl IntoIterator<Item = KeyEntry>) -> Self {
        let mut generations = Generations::new(started);
        for entry in entries {
            let generation =
                if entry.previous { &mut generations.previous } else { &mut generations.current };
            generation.replace(Entry::new(entry.hash, entry.place, entry.fingerprint));
        }
        let holds_any = !(generations.current.is_empty() && generations.previous.is_empty());
        Self { generations: holds_any.then(|| Box::new(generations)) }
    }
}

impl Generations {
    fn new(started: Timestamp) -> Self {
        Self { started, current: Entries::default(), previous: Entries::default(), recalled: Vec::new() }
    }

    fn len(&self) -> usize {
        self.current.len().saturating_add(self.previous.len())
    }

    /// Whether nothing is held beyond the present decision.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
