//! A map in shards, each behind its own lock. Every access is a closure under the shard's guard, so a guard can neither be
//! held across an await nor while the map is called again, and a walk holds one guard for a few entries only (a
//! snapshot of millions of wallets does not stop anybody for long).
//!
//! Entries lie densely in chunks that never move and are as large as what is in them; the table of a shard holds their
//! numbers. So a shard that grows moves four bytes per entry, not the entries, and nothing is ever held twice. Ten million
//! wallets cost about eight bytes each beside the entry itself.

use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

use hashbrown::HashTable;
use parking_lot::RwLock;

/// Number of shards. Growing one of them, at ten million entries, takes a fraction of a millisecond.
pub(crate) const SHARDS: usize = 1024;

/// Size at which a chunk is full: below a size class of the allocator, and small enough to be walked under a guard.
const CHUNK_BYTES: usize = 8_176;
/// Entries of a chunk when it is begun for a shard that holds nothing yet.
const FIRST_ENTRIES: usize = 4;

/// Entries of a shard that are looked at before others get their turn at its guard.
const UNDER_ONE_GUARD: usize = 64;

pub(crate) struct ShardedMap<K, V>(Box<[RwLock<Shard<K, V>>]>);

struct Shard<K, V> {
    /// Numbers of the entries, by the hash of their keys.
    numbers: HashTable<u32>,
    /// All full except the last one. None is empty.
    chunks: Vec<Vec<(K, V)>>,
}

/// Where an entry is, as long as none is removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    shard: u32,
    /// Within the shard.
    number: u32,
}

/// Values beside the entries of a map that is not here, found by where those are; default where none was put.
pub(crate) struct Beside<V>(Box<[Vec<V>]>);

impl<V: Default> Beside<V> {
    pub(crate) fn new() -> Self {
        Self(std::iter::repeat_with(Vec::new).take(SHARDS).collect())
    }

    pub(crate) fn get_mut(&mut self, at: Located) -> &mut V {
        let (values, number) = (&mut self.0[at.shard as usize], at.number as usize);
        if values.len() <= number {
            values.resize_with(number + 1, V::default);
        }
        &mut values[number]
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Located, &mut V)> {
        (0..).zip(&mut self.0).flat_map(|(shard, values)| {
            (0..).zip(values).map(move |(number, value)| (Located { shard, number }, value))
        })
    }
}

/// Where a walk goes on; begins at the default.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Place {
    shard: usize,
    chunk: usize,
}

impl<K: Eq + Hash + Copy, V> ShardedMap<K, V> {
    pub(crate) fn new() -> Self {
        Self(std::iter::repeat_with(RwLock::default).take(SHARDS).collect())
    }

    /// Entries now. Takes every shard's lock, one after the other.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.read().numbers.len()).sum()
    }

    /// Reads an entry under the shared guard.
    pub(crate) fn read<T>(&self, key: K, read: impl FnOnce(&V) -> T) -> Option<T> {
        let hash = hash(key);
        let shard = self.shard(hash).read();
        shard.find(hash, key).map(|number| read(&shard.entry(number).1))
    }

    /// Changes an entry under the exclusive guard.
    pub(crate) fn write<T>(&self, key: K, write: impl FnOnce(&mut V) -> T) -> Option<T> {
        let hash = hash(key);
        let mut shard = self.shard(hash).write();
        shard.find(hash, key).map(|number| write(&mut shard.entry_mut(number).1))
    }

    /// Where an entry of a map is that is nobody else's: no guard is taken, so that what several calls wait for in memory is
    /// waited for together.
    pub(crate) fn locate(&mut self, key: K) -> Option<Located> {
        let hash = hash(key);
        let shard = Self::shard_of(hash);
        let number = self.0[shard].get_mut().find(hash, key)?;
        Some(Located { shard: u32::try_from(shard).expect("below SHARDS"), number })
    }

    /// The entry that was located there.
    pub(crate) fn located(&mut self, at: Located) -> &mut V {
        &mut self.0[at.shard as usize].get_mut().entry_mut(at.number).1
    }

    /// Changes an entry under the exclusive guard; `write` is told whether it had to wait for it.
    pub(crate) fn contend<T>(&self, key: K, write: impl FnOnce(&mut V, bool) -> T) -> Option<T> {
        let hash = hash(key);
        let shard = self.shard(hash);
        let (mut shard, waited) = match shard.try_write() {
            Some(shard) => (shard, false),
            None => (shard.write(), true),
        };
        shard.find(hash, key).map(|number| write(&mut shard.entry_mut(number).1, waited))
    }

    /// The places in `keys`, those of one shard together, and within it those of one key, which keep their order: who goes by
    /// it meets what lies together one after the other.
    pub(crate) fn grouped(&self, keys: &[K]) -> Vec<u32>
    where
        K: Ord,
    {
        let mut places = Self::by_shard(keys);
        let shard = |place: &u32| Self::shard_of(hash(keys[*place as usize]));
        for of_shard in places.chunk_by_mut(|one, other| shard(one) == shard(other)) {
            of_shard.sort_by_key(|place| keys[*place as usize]);
        }
        places
    }

    /// Reads the entry of each key, shard by shard under the shared guard; `read` gets the key's place in `keys`.
    pub(crate) fn read_each(&self, keys: &[K], mut read: impl FnMut(usize, Option<&V>)) {
        let by_shard = Self::by_shard(keys);
        for places in Self::runs(keys, &by_shard) {
            let shard = self.shard(hash(keys[places[0] as usize])).read();
            for place in places {
                let key = keys[*place as usize];
                let found = shard.find(hash(key), key);
                read(*place as usize, found.map(|number| &shard.entry(number).1));
            }
        }
    }

    /// Changes the entry of each key, shard by shard under the exclusive guard; `write` gets the key's place in `keys`. A
    /// key that is there several times comes in its order.
    pub(crate) fn write_each(&self, keys: &[K], mut write: impl FnMut(usize, Option<&mut V>)) {
        let by_shard = Self::by_shard(keys);
        for places in Self::runs(keys, &by_shard) {
            let mut shard = self.shard(hash(keys[places[0] as usize])).write();
            for place in places {
                let key = keys[*place as usize];
                let found = shard.find(hash(key), key);
                write(*place as usize, found.map(|number| &mut shard.entry_mut(number).1));
            }
        }
    }

    /// Adds an entry; an existing one stays and the answer is false.
    pub(crate) fn insert_new(&self, key: K, value: V) -> bool {
        let hash = hash(key);
        let mut shard = self.shard(hash).write();
        if shard.find(hash, key).is_some() {
            return false;
        }
        shard.push(hash, key, value);
        true
    }

    pub(crate) fn remove(&self, key: K) -> Option<V> {
        let hash = hash(key);
        self.shard(hash).write().remove(hash, key)
    }

    /// Visits some entries under a shared guard and returns where to go on; `None` at the end. Every entry that is
    /// there from the begin to the end of a walk is visited once, as long as nothing is removed meanwhile.
    pub(crate) fn walk(&self, from: Place, mut visit: impl FnMut(K, &V)) -> Option<Place> {
        let shard = self.0.get(from.shard)?.read();
        match shard.chunks.get(from.chunk) {
            Some(chunk) => {
                chunk.iter().for_each(|(key, value)| visit(*key, value));
                Some(Place { chunk: from.chunk + 1, ..from })
            }
            None => Some(Place { shard: from.shard + 1, chunk: 0 }),
        }
    }

    /// Visits one shard, `0..SHARDS`, under one shared guard: for maps whose entries come and go.
    pub(crate) fn walk_shard(&self, shard: usize, mut visit: impl FnMut(K, &V)) {
        self.0[shard].read().chunks.iter().flatten().for_each(|(key, value)| visit(*key, value));
    }

    /// As [`Self::walk`] under the exclusive guard, for visitors that change what they see.
    pub(crate) fn walk_mut(&self, from: Place, mut visit: impl FnMut(K, &mut V)) -> Option<Place> {
        let mut shard = self.0.get(from.shard)?.write();
        match shard.chunks.get_mut(from.chunk) {
            Some(chunk) => {
                chunk.iter_mut().for_each(|(key, value)| visit(*key, value));
                Some(Place { chunk: from.chunk + 1, ..from })
            }
            None => Some(Place { shard: from.shard + 1, chunk: 0 }),
        }
    }

    /// The places in `keys`, those of one shard together and in their order: counted, not compared.
    fn by_shard(keys: &[K]) -> Vec<u32> {
        let mut next = [0_u32; SHARDS];
        for key in keys {
            next[Self::shard_of(hash(*key))] += 1;
        }
        let mut begin = 0;
        for next in &mut next {
            begin += std::mem::replace(next, begin);
        }
        let mut by_shard = vec![0; keys.len()];
        for (place, key) in (0..).zip(keys) {
            let next = &mut next[Self::shard_of(hash(*key))];
            by_shard[*next as usize] = place;
            *next += 1;
        }
        by_shard
    }

    /// What is done under one guard: places of one shard, not too many.
    fn runs<'p>(keys: &'p [K], by_shard: &'p [u32]) -> impl Iterator<Item = &'p [u32]> {
        let shard = |place: &u32| Self::shard_of(hash(keys[*place as usize]));
        by_shard
            .chunk_by(move |one, other| shard(one) == shard(other))
            .flat_map(|places| places.chunks(UNDER_ONE_GUARD))
    }

    fn shard(&self, hash: u64) -> &RwLock<Shard<K, V>> {
        &self.0[Self::shard_of(hash)]
    }

    fn shard_of(hash: u64) -> usize {
        // The table inside uses the low bits for the bucket and the top seven for the tag: these are others.
        usize::try_from((hash >> 32) % SHARDS as u64).expect("below SHARDS")
    }
}

impl<K, V> Default for Shard<K, V> {
    fn default() -> Self {
        Self { numbers: HashTable::new(), chunks: Vec::new() }
    }
}

impl<K: Eq + Hash + Copy, V> Shard<K, V> {
    const CHUNK_ENTRIES: usize = {
        let entries = CHUNK_BYTES / size_of::<(K, V)>();
        assert!(entries > 0, "an entry fits a chunk");
        entries
    };

    fn find(&self, hash: u64, key: K) -> Option<u32> {
        self.numbers.find(hash, |number| self.entry(*number).0 == key).copied()
    }

    fn entry(&self, number: u32) -> &(K, V) {
        let number = number as usize;
        &self.chunks[number / Self::CHUNK_ENTRIES][number % Self::CHUNK_ENTRIES]
    }

    fn entry_mut(&mut self, number: u32) -> &mut (K, V) {
        let number = number as usize;
        &mut self.chunks[number / Self::CHUNK_ENTRIES][number % Self::CHUNK_ENTRIES]
    }

    fn push(&mut self, hash: u64, key: K, value: V) {
        let number = u32::try_from(self.numbers.len()).expect("a shard holds far fewer than 2^32 entries");
        let is_first = self.chunks.is_empty();
        if self.chunks.last().is_none_or(|chunk| chunk.len() == Self::CHUNK_ENTRIES) {
            let room = if is_first { FIRST_ENTRIES.min(Self::CHUNK_ENTRIES) } else { Self::CHUNK_ENTRIES };
            self.chunks.push(Vec::with_capacity(room));
        }
        let chunk = self.chunks.last_mut().expect("pushed above where needed");
        if chunk.len() == chunk.capacity() {
            // Only the first one of a shard grows in steps, so that a thousand shards of a small node stay small.
            chunk.reserve_exact(chunk.len().min(Self::CHUNK_ENTRIES - chunk.len()));
        }
        chunk.push((key, value));
        let chunks = &self.chunks;
        self.numbers.insert_unique(hash, number, |number| {
            let number = *number as usize;
            self::hash(chunks[number / Self::CHUNK_ENTRIES][number % Self::CHUNK_ENTRIES].0)
        });
    }

    /// The last entry takes the number of the one that is removed.
    fn remove(&mut self, hash: u64, key: K) -> Option<V> {
        let number = self.find(hash, key)?;
        let found = self.numbers.find_entry(hash, |found| *found == number);
        found.expect("found above").remove();
        let chunk = self.chunks.last_mut().expect("there is an entry");
        let last = chunk.pop().expect("no chunk is empty");
        if chunk.is_empty() {
            self.chunks.pop();
        }
        let last_number = u32::try_from(self.numbers.len()).expect("fits, as when it was given");
        if last_number == number {
            return Some(last.1);
        }
        let moved = self.numbers.find_mut(self::hash(last.0), |found| *found == last_number);
        *moved.expect("every entry has its number in the table") = number;
        Some(std::mem::replace(self.entry_mut(number), last).1)
    }
}

fn hash<K: Hash>(key: K) -> u64 {
    BuildHasherDefault::<IdHasher>::default().hash_one(key)
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
    use std::collections::HashMap;

    use super::*;

    /// Every entry, each once.
    fn walked(map: &ShardedMap<u64, u64>) -> HashMap<u64, u64> {
        let (mut seen, mut place) = (HashMap::new(), Some(Place::default()));
        while let Some(from) = place {
            place = map.walk(from, |id, value| assert_eq!(seen.insert(id, *value), None, "{id} came twice"));
        }
        seen
    }

    #[test]
    fn entries_are_found_changed_and_walked_once() {
        let mut map = ShardedMap::new();
        for id in 0..10_000_u64 {
            assert!(map.insert_new(id, id * 2));
        }
        assert!(!map.insert_new(7, 0), "an existing entry stays");
        assert_eq!(map.read(7, |value| *value), Some(14));
        assert_eq!(map.write(7, |value| std::mem::replace(value, 1)), Some(14));
        let at = map.locate(7).expect("it is there");
        assert_eq!(*map.located(at), 1);
        assert!(map.locate(10_000).is_none());
        assert_eq!(map.read(10_000, |value| *value), None);
        let seen = walked(&map);
        assert_eq!((seen.len(), map.len()), (10_000, 10_000));
        assert!(seen.iter().all(|(id, value)| *value == if *id == 7 { 1 } else { id * 2 }));
        let mut place = Some(Place::default());
        while let Some(from) = place {
            place = map.walk_mut(from, |id, value| *value = id + 1);
        }
        assert!(walked(&map).iter().all(|(id, value)| *value == id + 1));
    }

    #[test]
    fn many_keys_are_read_and_changed_in_their_order() {
        let map = ShardedMap::new();
        for id in 0..5_000_u64 {
            map.insert_new(id, Vec::new());
        }
        // Every third key is unknown, one comes far more often than one guard is held for, and some twice.
        let keys: Vec<u64> = (0..10_000).map(|n| if n % 10 == 0 { 7 } else { n * 7 % 7_500 }).collect();
        let mut met = vec![0; keys.len()];
        map.write_each(&keys, |place, value| {
            met[place] += 1;
            assert_eq!(value.is_some(), keys[place] < 5_000);
            value.into_iter().for_each(|value: &mut Vec<usize>| value.push(place));
        });
        assert!(met.iter().all(|times| *times == 1));
        map.read_each(&keys, |place, value| {
            met[place] += 1;
            let expected = keys.iter().enumerate().filter(|(_, key)| **key == keys[place]);
            let expected: Vec<usize> = expected.map(|(place, _)| place).collect();
            assert_eq!(value, (keys[place] < 5_000).then_some(&expected));
        });
        assert!(met.iter().all(|times| *times == 2));
        let grouped: Vec<(u64, u32)> =
            map.grouped(&keys).into_iter().map(|place| (keys[place as usize], place)).collect();
        let mut once: Vec<&[(u64, u32)]> = grouped.chunk_by(|one, other| one.0 == other.0).collect();
        assert!(once.iter().all(|places| places.is_sorted()));
        once.sort_unstable();
        assert!(once.windows(2).all(|pair| pair[0][0].0 < pair[1][0].0), "a key is in one place");
        assert_eq!(grouped.len(), keys.len());
        map.read_each(&[], |_, _| panic!("there is nothing to read"));
    }

    /// Against a plain map, with enough entries in one shard for several chunks.
    #[test]
    fn what_is_removed_is_gone_and_the_rest_stays() {
        let (map, mut model) = (ShardedMap::new(), HashMap::new());
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        for step in 0..400_000_u64 {
            random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            let id = (random >> 33) % 150_000;
            if step % 3 == 0 {
                assert_eq!(map.remove(id), model.remove(&id), "step {step}");
            } else {
                assert_eq!(map.insert_new(id, step), !model.contains_key(&id), "step {step}");
                model.entry(id).or_insert(step);
            }
        }
        assert!(model.len() > 50_000 && walked(&map) == model);
        for id in 0..150_000 {
            assert_eq!(map.remove(id), model.remove(&id));
        }
        assert!(map.len() == 0 && walked(&map).is_empty());
    }

    #[test]
    fn small_ids_spread_over_the_shards() {
        let map = ShardedMap::new();
        for id in 0..100_000_u64 {
            map.insert_new(id, ());
        }
        let longest = map.0.iter().map(|shard| shard.read().numbers.len()).max().expect("shards");
        assert!(longest < 300, "about 98 each are expected, one shard has {longest}");
    }
}
