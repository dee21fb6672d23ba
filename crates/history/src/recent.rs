//! Entries that are not in the database yet.
//!
//! Every entry arrives in log order and is read wallet by wallet, so each wallet has rows of its own here, of the same form
//! as in the database, and adds to the newest of them until that is full. The log is their durability: what is lost here
//! in a crash is read from it again.

use std::hint::black_box;
use std::rc::Rc;

use ledger::WalletId;
use wal::Lsn;

use crate::balances::ByWallet;
use crate::bundle::{self, Entries, InRow};
use crate::chunks::{Chunks, Strand};
use crate::entry::{EntryKey, Head, decode_value};
use crate::{Error, watermark::Watermark};

/// Bytes of rows beyond which the part counts as full whatever the number of entries: labels may be long.
const BYTES_MAX: usize = 64 << 20;

/// Marks the oldest row of a wallet here.
const NONE: u32 = u32::MAX;

/// A consecutive part of the log's entries in memory.
#[derive(Debug)]
pub(crate) struct Recent {
    /// Every entry of a record at or above this position and below the watermark is here.
    from: Lsn,
    watermark: Watermark,
    entries: usize,
    /// Place of the newest entry.
    last: EntryKey,
    /// How many wallets came before each.
    numbers: ByWallet<u32>,
    /// The newest row of each wallet, by number.
    newest: Vec<Row>,
    /// Those that are full.
    full: Vec<Row>,
    chunks: Chunks,
}

#[derive(Copy, Clone, Debug)]
struct Row {
    /// Place of its oldest entry.
    oldest: EntryKey,
    /// Place of its newest entry.
    last: EntryKey,
    entries: u32,
    /// The wallet's row before this one, among those that are full.
    older: u32,
    strand: Strand,
}

/// The value of an entry, in a copy of its row: the row may grow on behind the lock.
type Found = InRow<Rc<[u8]>>;

/// The number of a wallet in a part. It means nothing in another part, which its position tells.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Number {
    part: Lsn,
    number: u32,
}

impl Number {
    /// Of no part: none begins with the last byte of a log.
    pub(crate) const NONE: Number = Number { part: Lsn::new(u64::MAX), number: 0 };
}

impl Recent {
    /// An empty part that begins where `watermark` ends.
    pub(crate) fn behind(watermark: Watermark) -> Recent {
        Recent {
            from: watermark.next,
            watermark,
            entries: 0,
            last: EntryKey::MIN,
            numbers: ByWallet::default(),
            newest: Vec::new(),
            full: Vec::new(),
            chunks: Chunks::default(),
        }
    }

    /// The same in the memory of a part that is done with: asking the system for so much of it each time costs a follower
    /// as much as the entries do.
    pub(crate) fn behind_in(watermark: Watermark, done: Recent) -> Recent {
        let Recent { mut numbers, mut newest, mut full, mut chunks, .. } = done;
        numbers.clear();
        newest.clear();
        full.clear();
        chunks.clear();
        Recent { numbers, newest, full, chunks, ..Recent::behind(watermark) }
    }

    pub(crate) fn watermark(&self) -> Watermark {
        self.watermark
    }

    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    pub(crate) fn is_full(&self, entries: usize) -> bool {
        self.entries >= entries || self.chunks.len() >= BYTES_MAX
    }

    /// True when nothing would be lost with it, not even the knowledge of how far the log was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.watermark.next == self.from
    }

    /// Whether a number is of this part.
    pub(crate) fn knows(&self, number: Number) -> bool {
        number.part == self.from
    }

    /// The number of a wallet that an entry is about to be added for.
    pub(crate) fn number(&mut self, wallet: WalletId) -> Number {
        let next = u32::try_from(self.newest.len()).expect("there are no more wallets than entries");
        let number = *self.numbers.entry(wallet).or_insert(next);
        if number == next {
            self.newest.push(Row::behind(NONE));
        }
        Number { part: self.from, number }
    }

    /// Adds the newest entry of a wallet.
    pub(crate) fn push(&mut self, number: Number, key: EntryKey, value: &[u8]) {
        assert!(self.knows(number), "a number belongs to its part");
        assert!(key.lsn >= self.from.get(), "an entry belongs to a record of this part");
        assert!(key >= self.last, "entries arrive in log order");
        self.last = key;
        let row = &mut self.newest[number.number as usize];
        if row.is_full() {
            let older = u32::try_from(self.full.len()).expect("there are fewer rows than entries");
            self.full.push(std::mem::replace(row, Row::behind(older)));
        }
        row.push(key, value, &mut self.chunks);
        self.entries += 1;
    }

    /// Looks at the rows that are about to grow, and at where they do, for the same reason as
    /// [`Balances::fetch`](crate::balances::Balances::fetch).
    pub(crate) fn fetch(&self, numbers: impl Iterator<Item = Number>) {
        let ends = numbers.filter(|number| self.knows(*number)).map(|number| {
            let row = &self.newest[number.number as usize];
            self.chunks.look(row.strand)
        });
        black_box(ends.fold(0, u8::wrapping_add));
    }

    /// Everything up to `watermark` is here now.
    pub(crate) fn advance(&mut self, watermark: Watermark) {
        assert!(watermark.next >= self.watermark.next, "the log is read forwards");
        self.watermark = watermark;
    }

    /// Where the wallet stands behind its newest entry here.
    pub(crate) fn head(&self, wallet: WalletId) -> Result<Option<Head>, Error> {
        let newest = self.of(wallet, EntryKey::MAX).next().transpose()?;
        newest.map(|(_, value)| Ok(decode_value(value.as_ref())?.head)).transpose()
    }

    /// Entries of a wallet older than `before`, newest first.
    pub(crate) fn of(
        &self,
        wallet: WalletId,
        before: EntryKey,
    ) -> impl Iterator<Item = Result<(EntryKey, Found), Error>> {
        let newest = self.numbers.get(&wallet).map(|number| &self.newest[*number as usize]);
        let rows = self.rows_from(newest).filter(move |row| row.oldest < before).map(|row| {
            let mut bytes = Vec::with_capacity(row.strand.len() as usize);
            self.chunks.copy_to(row.strand, &mut bytes);
            Ok((row.oldest, Rc::from(bytes)))
        });
        Entries::new(rows, before)
    }

    /// Every row in the order of the database, by wallet and newest first: the wallet, the place of the oldest entry in it,
    /// the number of entries, and the row's bytes.
    pub(crate) fn for_each_row<E>(
        &self,
        mut visit: impl FnMut(WalletId, EntryKey, u32, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut wallets: Vec<(WalletId, u32)> =
            self.numbers.iter().map(|(wallet, number)| (*wallet, *number)).collect();
        wallets.sort_unstable_by_key(|(wallet, _)| *wallet);
        let mut bytes = Vec::new();
        for (wallet, number) in wallets {
            for row in self.rows_from(Some(&self.newest[number as usize])) {
                bytes.clear();
                self.chunks.copy_to(row.strand, &mut bytes);
                visit(wallet, row.oldest, row.entries, &bytes)?;
            }
        }
        Ok(())
    }

    /// A row and those of its wallet before it.
    fn rows_from<'r>(&'r self, newest: Option<&'r Row>) -> impl Iterator<Item = &'r Row> {
        std::iter::successors(newest, |row| (row.older != NONE).then(|| &self.full[row.older as usize]))
    }
}

impl Row {
    fn behind(older: u32) -> Row {
        Row { oldest: EntryKey::MAX, last: EntryKey::MIN, entries: 0, older, strand: Strand::default() }
    }

    fn is_full(&self) -> bool {
        self.entries == bundle::ENTRIES_MAX || self.strand.len() >= bundle::BYTES_MAX
    }

    fn push(&mut self, key: EntryKey, value: &[u8], chunks: &mut Chunks) {
        let last = match self.entries {
            0 => None,
            _ => Some(self.last),
        };
        if last.is_none() {
            self.oldest = key;
        }
        let bytes = value.len();
        if let Some(room) = chunks.room(self.strand, bundle::PLACE_BYTES_MAX + bytes) {
            let begin = bundle::write_place(last, key, bytes, room);
            room[begin..begin + bytes].copy_from_slice(value);
            self.strand.advance(begin + bytes);
        } else {
            let mut place = [0; bundle::PLACE_BYTES_MAX];
            let length = bundle::write_place(last, key, bytes, &mut place);
            chunks.append(&mut self.strand, &place[..length]);
            chunks.append(&mut self.strand, value);
        }
        self.last = key;
        self.entries += 1;
    }
}

#[cfg(test)]
mod tests {
    use ledger::{Amount, Rail, Timestamp};

    use super::*;
    use crate::entry::{EntryKind, Line, Party, encode_value};

    fn value() -> Vec<u8> {
        let line = Line {
            kind: EntryKind::PaymentSent,
            delta: Amount::from_nanos(-1),
            fee: Amount::ZERO,
            at: Timestamp::from_millis(1),
            party: Party::Faucet,
            rail: Some(Rail::Internal),
            status: None,
        };
        let mut bytes = Vec::new();
        encode_value(&line, Head::EMPTY.advance(&line), &mut bytes);
        bytes
    }

    fn push(part: &mut Recent, wallet: WalletId, lsn: u64, value: &[u8]) {
        let number = part.number(wallet);
        part.push(number, EntryKey { lsn, item: 0 }, value);
    }

    #[test]
    fn a_part_in_used_memory_is_empty_and_allocates_nothing_for_as_many_entries() {
        let wallet = |n: u64| WalletId::new(0, n.into());
        let mut part = Recent::behind(Watermark::default());
        for n in 0..1_000_u64 {
            push(&mut part, wallet(n), 64 + n, &value());
        }
        let room = |part: &Recent| (part.newest.capacity(), part.chunks.capacity(), part.numbers.capacity());
        let before = room(&part);
        let mut again = Recent::behind_in(part.watermark(), part);
        assert!(again.is_empty());
        assert_eq!(again.len(), 0);
        assert!((0..1_000_u64).all(|n| again.of(wallet(n), EntryKey::MAX).next().is_none()));
        for n in 0..1_000_u64 {
            push(&mut again, wallet(2_000 + n), 64 + n, &value());
        }
        assert_eq!(room(&again), before);
        let mut rows = 0;
        let counted: Result<(), ()> = again.for_each_row(|_, _, entries, _| {
            rows += entries;
            Ok(())
        });
        assert_eq!((counted, rows), (Ok(()), 1_000));
    }

    /// Rows hold what the chains hold, in the order of the database, and none is longer than it may be.
    #[test]
    fn rows_are_the_entries_of_each_wallet() {
        let mut random = wal::testing::Random::new(7);
        let mut part = Recent::behind(Watermark::default());
        let wallets: Vec<WalletId> = (0..20).map(|n| WalletId::new(0, n)).collect();
        for lsn in 0..3_000_u64 {
            // Half of all entries belong to one wallet; some values are longer than a row.
            let wallet = wallets[usize::try_from(random.below(40).saturating_sub(20)).expect("it is small")];
            let length = if random.below(50) == 0 { 6_000 } else { random.below(80) };
            let value = vec![random.draw().to_le_bytes()[0]; usize::try_from(length).expect("it is small")];
            push(&mut part, wallet, 64 + lsn, &value);
        }
        let (mut last, mut listed) = (None, Vec::new());
        let visited: Result<(), Error> = part.for_each_row(|wallet, oldest, entries, row| {
            let places = bundle::places(oldest, row)?;
            assert_eq!(places.len(), entries as usize);
            let before_newest = places.len().checked_sub(2).map_or(0, |index| places[index].1.end);
            assert!(entries <= bundle::ENTRIES_MAX && before_newest < bundle::BYTES_MAX as usize);
            let key = crate::entry::encode_key(wallet, oldest);
            assert!(last.replace(key).is_none_or(|last| last < key), "the order of the database");
            for (key, range) in places.into_iter().rev() {
                listed.push((wallet, key, row[range].to_vec()));
            }
            Ok(())
        });
        visited.expect("rows are whole");
        let chained: Vec<(WalletId, EntryKey, Vec<u8>)> = wallets
            .iter()
            .flat_map(|wallet| {
                part.of(*wallet, EntryKey::MAX).map(|entry| {
                    let (key, value) = entry.expect("rows are whole");
                    (*wallet, key, value.as_ref().to_vec())
                })
            })
            .collect();
        assert_eq!(listed, chained);
    }
}
