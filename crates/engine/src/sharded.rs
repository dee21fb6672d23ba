//! A hash map in shards, each behind its own lock. Every access is a closure under the shard's guard, so a guard can
//! neither be held across an await nor while the map is called again, and one shard can be walked without stopping the
//! others (a snapshot of millions of wallets does).

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hash, Hasher},
};

use parking_lot::RwLock;

/// Number of shards: walking one of them, at ten million entries, takes about a millisecond.
pub(crate) const SHARDS: usize = 1024;

type Shard<K, V> = RwLock<HashMap<K, V, BuildHasherDefault<IdHasher>>>;

pub(crate) struct ShardedMap<K, V>(Box<[Shard<K, V>]>);

impl<K: Eq + Hash + Copy, V> ShardedMap<K, V> {
    pub(crate) fn new() -> Self {
        Self(std::iter::repeat_with(Shard::default).take(SHARDS).collect())
    }

    /// Entries now. Takes every shard's lock, one after the other.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.read().len()).sum()
    }

    /// Reads an entry under the shared guard.
    pub(crate) fn read<T>(&self, key: K, read: impl FnOnce(&V) -> T) -> Option<T> {
        self.shard(key).read().get(&key).map(read)
    }

    /// Changes an entry under the exclusive guard.
    pub(crate) fn write<T>(&self, key: K, write: impl FnOnce(&mut V) -> T) -> Option<T> {
        self.shard(key).write().get_mut(&key).map(write)
    }

    /// Changes an entry under the exclusive guard; `write` is told whether it had to wait for it.
    pub(crate) fn contend<T>(&self, key: K, write: impl FnOnce(&mut V, bool) -> T) -> Option<T> {
        let shard = self.shard(key);
        let (mut guard, waited) = match shard.try_write() {
            Some(guard) => (guard, false),
            None => (shard.write(), true),
        };
        guard.get_mut(&key).map(|value| write(value, waited))
    }

    /// Adds an entry; an existing one stays and the answer is false.
    pub(crate) fn insert_new(&self, key: K, value: V) -> bool {
        match self.shard(key).write().entry(key) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(value);
                true
            }
        }
    }

    pub(crate) fn remove(&self, key: K) -> Option<V> {
        self.shard(key).write().remove(&key)
    }

    /// Walks one shard, `0..SHARDS`, under its shared guard.
    pub(crate) fn walk(&self, shard: usize, mut visit: impl FnMut(K, &V)) {
        for (key, value) in self.0[shard].read().iter() {
            visit(*key, value);
        }
    }

    fn shard(&self, key: K) -> &Shard<K, V> {
        let mut hasher = IdHasher::default();
        key.hash(&mut hasher);
        // The map inside uses the low bits for the bucket and the top seven for the tag: these are others.
        let index = usize::try_from((hasher.finish() >> 32) % SHARDS as u64).expect("below SHARDS");
        &self.0[index]
    }
}

/// Hash of ids, which are random already: one multiplication spreads those that are not (tests, other partitions).
#[derive(Default, Clone, Copy)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only 64- and 128-bit ids are hashed here")
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_right(17);
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low half is the random half")]
    fn write_u128(&mut self, id: u128) {
        self.write_u64(id as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_changed_and_walked_once() {
        let map = ShardedMap::new();
        for id in 0..10_000_u64 {
            assert!(map.insert_new(id, id * 2));
        }
        assert!(!map.insert_new(7, 0), "an existing entry stays");
        assert_eq!(map.read(7, |value| *value), Some(14));
        assert_eq!(map.write(7, |value| std::mem::replace(value, 1)), Some(14));
        assert_eq!(map.read(10_000, |value| *value), None);
        let mut seen = vec![false; 10_000];
        for shard in 0..SHARDS {
            map.walk(shard, |id, _| {
                assert!(!std::mem::replace(&mut seen[usize::try_from(id).expect("small")], true))
            });
        }
        assert!(seen.iter().all(|seen| *seen));
        assert_eq!(map.len(), 10_000);
    }

    #[test]
    fn small_ids_spread_over_the_shards() {
        let map = ShardedMap::new();
        for id in 0..100_000_u64 {
            map.insert_new(id, ());
        }
        let longest = map.0.iter().map(|shard| shard.read().len()).max().expect("shards");
        assert!(longest < 300, "about 98 each are expected, one shard has {longest}");
    }
}
