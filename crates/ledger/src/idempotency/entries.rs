//! One generation of keys: a short list, then a table, then a table that is split into many when it grows.
//!
//! Most owners use a key or two in a day: a list of just their size takes a fifth of the smallest table. A table keeps its
//! entries in chunks, in the order in which they came, and the numbers of them by hash: when it grows it moves four bytes
//! per key, leaves no holes of the size of entries, and what comes is written beside what came last. It answers nobody
//! while it grows. So a large generation is held in 256 tables that double one by one: with ten million keys a turn moves
//! some forty thousand numbers, not all.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use super::{KeyEntry, KeyHash, KeyPlace};

/// Entries that are held in a list, which is searched from end to end.
const LISTED_ENTRIES: usize = 12;
/// Entries that one table holds before it is split.
const SPLIT_ENTRIES: usize = 8_192;
const TABLES: usize = 256;
/// Entries of a chunk: 512 bytes.
const CHUNK_ENTRIES: usize = 16;

#[derive(Clone, Debug)]
pub(super) enum Entries {
    List(Vec<Entry>),
    Table(Box<Table>),
    /// [`TABLES`] tables, chosen by bits of the hash that no table looks at itself, and the entries in all of them.
    Split(Box<[Table]>, usize),
}

const _: () = assert!(size_of::<Entries>() <= 32);

/// One key. Equality looks at the key's hash only.
#[derive(Copy, Clone, Debug)]
pub(super) struct Entry {
    hash_high: u64,
    /// Low half of the hash, its 16 zero bits taken by the item's index.
    hash_low_and_item: u64,
    lsn: u64,
    pub(super) fingerprint: u64,
}

const _: () = assert!(size_of::<Entry>() == 32);

impl Default for Entries {
    fn default() -> Self {
        Entries::List(Vec::new())
    }
}

impl Entries {
    pub(super) fn get(&self, probe: &Entry) -> Option<&Entry> {
        match self {
            Entries::List(entries) => entries.iter().find(|entry| *entry == probe),
            Entries::Table(table) => table.get(probe),
            Entries::Split(tables, _) => tables[probe.table()].get(probe),
        }
    }

    /// Adds an entry in the place of the one with the same hash, if there is one.
    pub(super) fn replace(&mut self, entry: Entry) {
        match self {
            Entries::List(entries) => match entries.iter_mut().find(|other| **other == entry) {
                Some(other) => *other = entry,
                None => {
                    let room = entries.len().div_euclid(2).max(1);
                    if entries.len() == entries.capacity() {
                        entries.reserve_exact(room);
                    }
                    entries.push(entry);
                }
            },
            Entries::Table(table) => drop(table.replace(entry)),
            Entries::Split(tables, len) => {
                if tables[entry.table()].replace(entry) {
                    *len = len.saturating_add(1);
                }
            }
        }
        self.grow();
    }

    /// Takes the next form when the present one holds as much as it should.
    fn grow(&mut self) {
        match self {
            Entries::List(entries) if entries.len() > LISTED_ENTRIES => {
                let table = std::mem::take(entries).into_iter().collect();
                *self = Entries::Table(Box::new(table));
            }
            Entries::Table(table) if table.len() > SPLIT_ENTRIES => {
                let (mut tables, len) = (vec![Table::default(); TABLES].into_boxed_slice(), table.len());
                for entry in table.iter() {
                    tables[entry.table()].replace(*entry);
                }
                *self = Entries::Split(tables, len);
            }
            Entries::List(_) | Entries::Table(_) | Entries::Split(..) => {}
        }
    }

    /// In how many parts [`Self::forget_below`] is done.
    pub(super) fn parts(&self) -> usize {
        if let Entries::Split(tables, _) = self { tables.len() } else { 1 }
    }

    /// Drops the entries of records below `lsn` from one part and returns how many there were. What is left takes no more
    /// room than it needs.
    pub(super) fn forget_below(&mut self, lsn: u64, part: usize) -> usize {
        let before = self.len();
        match self {
            Entries::Split(tables, len) => {
                let Some(table) = tables.get_mut(part) else { return 0 };
                *len = len.saturating_sub(table.forget_below(lsn));
                if *len == 0 {
                    *self = Entries::default();
                }
            }
            Entries::Table(table) => {
                table.forget_below(lsn);
                if table.len() <= LISTED_ENTRIES {
                    *self = Entries::List(table.iter().copied().collect());
                }
            }
            Entries::List(entries) => {
                entries.retain(|entry| entry.lsn >= lsn);
                entries.shrink_to_fit();
            }
        }
        before.saturating_sub(self.len())
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Entries::List(entries) => entries.len(),
            Entries::Table(table) => table.len(),
            Entries::Split(_, len) => *len,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        let (list, tables): (&[Entry], &[Table]) = match self {
            Entries::List(entries) => (entries, &[]),
            Entries::Table(table) => (&[], std::slice::from_ref(table)),
            Entries::Split(tables, _) => (&[], tables),
        };
        list.iter().chain(tables.iter().flat_map(Table::iter))
    }
}

/// Entries by their hash.
#[derive(Clone, Default, Debug)]
pub(super) struct Table {
    numbers: HashTable<u32>,
    /// Chunks of [`CHUNK_ENTRIES`].
    full: Vec<Box<[Entry]>>,
    /// The chunk that is being filled, never full.
    open: Vec<Entry>,
}

impl Table {
    fn len(&self) -> usize {
        self.numbers.len()
    }

    fn get(&self, probe: &Entry) -> Option<&Entry> {
        self.numbers
            .find(probe.hash_high, |number| self.entry(*number) == probe)
            .map(|number| self.entry(*number))
    }

    /// True when the entry is new, and not in the place of one with the same hash.
    fn replace(&mut self, entry: Entry) -> bool {
        let Self { numbers, full, open } = self;
        let number = u32::try_from(numbers.len()).expect("a table is split long before");
        let is_held = |number: &u32| *at(full, open, *number) == entry;
        match numbers.entry(entry.hash_high, is_held, |number| at(full, open, *number).hash_high) {
            Slot::Occupied(held) => {
                let number = *held.get();
                *self.entry_mut(number) = entry;
                return false;
            }
            Slot::Vacant(vacant) => drop(vacant.insert(number)),
        }
        if open.capacity() < CHUNK_ENTRIES {
            open.reserve_exact(CHUNK_ENTRIES.saturating_sub(open.len()));
        }
        open.push(entry);
        if open.len() == CHUNK_ENTRIES {
            full.push(std::mem::take(open).into_boxed_slice());
        }
        true
    }

    /// Drops the entries of records below `lsn`, and with them the room that is not needed any more; how many there were.
    fn forget_below(&mut self, lsn: u64) -> usize {
        let kept = self.iter().filter(|entry| entry.lsn >= lsn).count();
        let forgotten = self.len().saturating_sub(kept);
        if forgotten > 0 {
            let mut table = Table { numbers: HashTable::with_capacity(kept), ..Table::default() };
            for entry in self.iter().filter(|entry| entry.lsn >= lsn) {
                table.replace(*entry);
            }
            *self = table;
        }
        forgotten
    }

    fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.full.iter().flatten().chain(&self.open)
    }

    fn entry(&self, number: u32) -> &Entry {
        at(&self.full, &self.open, number)
    }

    fn entry_mut(&mut self, number: u32) -> &mut Entry {
        let (chunk, place) = split(number);
        match self.full.get_mut(chunk) {
            Some(chunk) => &mut chunk[place],
            None => &mut self.open[place],
        }
    }
}

impl FromIterator<Entry> for Table {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut table = Self::default();
        for entry in entries {
            table.replace(entry);
        }
        table
    }
}

fn at<'e>(full: &'e [Box<[Entry]>], open: &'e [Entry], number: u32) -> &'e Entry {
    let (chunk, place) = split(number);
    full.get(chunk).map_or(open, |chunk| chunk).get(place).expect("every number has its entry")
}

fn split(number: u32) -> (usize, usize) {
    let number = usize::try_from(number).expect("fits on every machine that this runs on");
    (number.div_euclid(CHUNK_ENTRIES), number.rem_euclid(CHUNK_ENTRIES))
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

    /// The lowest byte of the hash: tables look at its high half only. That is 64 bits of an XXH3 digest, which are spread
    /// well already; whoever crafts keys that meet in one bucket slows down the single owner that they belong to.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyScope;

    fn entry(number: u64) -> Entry {
        let hash = KeyHash::of(KeyScope::Payment, &number.to_string());
        Entry::new(hash, KeyPlace { lsn: number, item: 65_535 }, number)
    }

    #[test]
    fn entries_survive_every_change_of_form() {
        let mut entries = Entries::default();
        let count = 3 * 8_192u64;
        for number in 0..count {
            entries.replace(entry(number));
            match number {
                11 => assert!(matches!(&entries, Entries::List(list) if list.capacity() <= 13)),
                12 | 8_191 => assert!(matches!(&entries, Entries::Table(_))),
                _ => {}
            }
        }
        let Entries::Split(tables, _) = &entries else { panic!("it is split by now") };
        let largest = tables.iter().map(Table::len).max();
        assert!(largest < Some(200), "96 are expected in each table: {largest:?}");
        assert_eq!((entries.len(), entries.iter().count()), (24_576, 24_576));
        for number in 0..count {
            let found = entries.get(&entry(number)).expect("it was put in");
            assert_eq!((found.place(), found.fingerprint), (KeyPlace { lsn: number, item: 65_535 }, number));
        }
        assert!(entries.get(&entry(count)).is_none());
    }

    #[test]
    fn what_is_below_a_position_goes_in_every_form() {
        for (count, kept) in
            [(0, 0), (5, 5), (5, 0), (12, 11), (3_000, 1), (3_000, 20), (20_000, 100), (20_000, 0)]
        {
            let mut entries = Entries::default();
            (0..count).for_each(|number| entries.replace(entry(number)));
            let parts = entries.parts();
            let forgotten: usize = (0..parts).map(|part| entries.forget_below(count - kept, part)).sum();
            assert_eq!(forgotten, usize::try_from(count - kept).expect("small"));
            let mut left: Vec<u64> = entries.iter().map(|entry| entry.lsn).collect();
            left.sort_unstable();
            assert!(left.iter().copied().eq(count - kept..count), "{count} {kept}");
            assert_eq!(entries.len(), left.len());
            assert!(left.len() > LISTED_ENTRIES || parts > 1 || matches!(entries, Entries::List(_)));
        }
    }

    #[test]
    fn the_last_entry_under_a_hash_stays_split_or_not() {
        for fill in [0, 100, 10_000] {
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
