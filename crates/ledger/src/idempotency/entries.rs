//! One generation of keys: a hash table that splits into many when it grows.
//!
//! A table that doubles moves all its entries, and its owner answers nobody meanwhile. So a large generation is held in
//! 256 tables that double one by one: with ten million keys a turn moves some forty thousand, not all.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::{KeyEntry, KeyHash, KeyPlace};

/// Entries that one table holds before it is split.
const SPLIT_ENTRIES: usize = 8_192;
const TABLES: usize = 256;

type Table = HashSet<Entry, BuildHasherDefault<HashOfHash>>;

#[derive(Clone, Default, Debug)]
pub(super) struct Entries {
    /// Everything, until it is split.
    small: Table,
    /// [`TABLES`] tables, chosen by bits of the hash that no table looks at itself.
    split: Option<Box<[Table]>>,
}

/// One key. Equality and hash look at the key's hash only, so that a set of entries is a map from it.
#[derive(Copy, Clone, Debug)]
pub(super) struct Entry {
    hash_high: u64,
    /// Low half of the hash, its 16 zero bits taken by the item's index.
    hash_low_and_item: u64,
    lsn: u64,
    pub(super) fingerprint: u64,
}

const _: () = assert!(size_of::<Entry>() == 32);

impl Entries {
    pub(super) fn get(&self, probe: &Entry) -> Option<&Entry> {
        match &self.split {
            None => self.small.get(probe),
            Some(tables) => tables[probe.table()].get(probe),
        }
    }

    /// Adds an entry in the place of the one with the same hash, if there is one.
    pub(super) fn replace(&mut self, entry: Entry) {
        if let Some(tables) = &mut self.split {
            tables[entry.table()].replace(entry);
            return;
        }
        self.small.replace(entry);
        if self.small.len() > SPLIT_ENTRIES {
            let mut tables = vec![Table::default(); TABLES].into_boxed_slice();
            for entry in std::mem::take(&mut self.small) {
                tables[entry.table()].insert(entry);
            }
            self.split = Some(tables);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.tables().fold(0, |sum, table| sum.saturating_add(table.len()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tables().all(HashSet::is_empty)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.tables().flatten()
    }

    fn tables(&self) -> impl Iterator<Item = &Table> {
        std::iter::once(&self.small).chain(self.split.as_deref().into_iter().flatten())
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        let has = |entry: &Entry| other.get(entry).is_some_and(|theirs| entry.says_the_same(theirs));
        self.len() == other.len() && self.iter().all(has)
    }
}

impl Eq for Entries {}

impl Entry {
    #[expect(clippy::cast_possible_truncation, reason = "the hash is stored as its two halves")]
    pub(super) fn new(hash: KeyHash, place: KeyPlace, fingerprint: u64) -> Self {
        let item = u16::try_from(place.item).expect("a record has at most 65 536 items");
        Self {
            hash_high: (hash.raw() >> 64) as u64,
            hash_low_and_item: hash.raw() as u64 | u64::from(item),
            lsn: place.lsn,
            fingerprint,
        }
    }

    pub(super) fn place(&self) -> KeyPlace {
        let [low, high, ..] = self.hash_low_and_item.to_le_bytes();
        KeyPlace { lsn: self.lsn, item: u32::from(u16::from_le_bytes([low, high])) }
    }

    pub(super) fn listed(&self, previous: bool) -> KeyEntry {
        KeyEntry { hash: self.hash(), place: self.place(), fingerprint: self.fingerprint, previous }
    }

    fn hash(&self) -> KeyHash {
        KeyHash::from_raw((u128::from(self.hash_high) << 64) | u128::from(self.hash_low_and_item))
    }

    /// The lowest byte of the hash: tables look at its high half only.
    fn table(&self) -> usize {
        let [_, _, byte, ..] = self.hash_low_and_item.to_le_bytes();
        usize::from(byte)
    }

    fn says_the_same(&self, other: &Entry) -> bool {
        self == other && self.place() == other.place() && self.fingerprint == other.fingerprint
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.hash() == other.hash()
    }
}

impl Eq for Entry {}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash_high);
    }
}

/// Passes 64 bits of an XXH3 digest through: they are spread well already. Whoever crafts keys that meet in one
/// bucket slows down the single wallet that they belong to.
#[derive(Default)]
struct HashOfHash(u64);

impl Hasher for HashOfHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("an entry hashes as one 64-bit number");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyScope;

    fn entry(number: u64) -> Entry {
        let hash = KeyHash::of(KeyScope::Payment, &number.to_string());
        Entry::new(hash, KeyPlace { lsn: number, item: 65_535 }, number)
    }

    #[test]
    fn entries_survive_the_split() {
        let mut entries = Entries::default();
        let count = 3 * 8_192u64;
        for number in 0..count {
            entries.replace(entry(number));
        }
        assert_eq!(entries.split.as_ref().map(|tables| tables.len()), Some(TABLES));
        assert!(entries.small.is_empty() && !entries.is_empty());
        let largest = entries.tables().map(HashSet::len).max();
        assert!(largest < Some(200), "96 are expected in each table: {largest:?}");
        assert_eq!((entries.len(), entries.iter().count()), (24_576, 24_576));
        for number in 0..count {
            let found = entries.get(&entry(number)).expect("it was put in");
            assert_eq!((found.place(), found.fingerprint), (KeyPlace { lsn: number, item: 65_535 }, number));
        }
        assert!(entries.get(&entry(count)).is_none());
    }

    #[test]
    fn the_last_entry_under_a_hash_stays_split_or_not() {
        for fill in [0, 10_000] {
            let mut entries = Entries::default();
            (1..fill).for_each(|number| entries.replace(entry(number)));
            entries.replace(entry(0));
            let before = entries.clone();
            entries.replace(Entry { lsn: 7, ..entry(0) });
            assert_eq!(entries.len(), before.len());
            assert_ne!(entries, before);
            assert_eq!(entries.get(&entry(0)).map(Entry::place), Some(KeyPlace { lsn: 7, item: 65_535 }));
        }
    }
}
