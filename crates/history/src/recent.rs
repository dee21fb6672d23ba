//! Entries that are not in the database yet.
//!
//! Every entry arrives in log order and is read newest first, so they are kept as one array in which each entry points
//! to the wallet's entry before it. The log is their durability: what is lost here in a crash is read from it again.

use ledger::WalletId;
use wal::Lsn;

use crate::balances::ByWallet;
use crate::bundle::{self, Bundle};
use crate::entry::{EntryKey, Head, decode_value};
use crate::{Error, watermark::Watermark};

/// Bytes of values beyond which the part counts as full whatever the number of entries: labels may be long.
const VALUE_BYTES_MAX: usize = 64 << 20;

/// Marks the oldest entry of a wallet here.
const NONE: u32 = u32::MAX;

/// A consecutive part of the log's entries in memory.
#[derive(Debug)]
pub(crate) struct Recent {
    /// Every entry of a record at or above this position and below the watermark is here.
    from: Lsn,
    watermark: Watermark,
    nodes: Vec<Node>,
    values: Vec<u8>,
    wallets: ByWallet<InPart>,
}

#[derive(Copy, Clone, Debug)]
struct Node {
    lsn: u64,
    item: u32,
    /// Where the value begins; it ends where the next one begins.
    begin: u32,
    /// The wallet's entry before this one.
    older: u32,
    /// Number of the wallet in this part.
    wallet: u32,
}

const _: () = assert!(size_of::<Node>() == 24);

impl Node {
    fn key(&self) -> EntryKey {
        EntryKey { lsn: self.lsn, item: self.item }
    }
}

/// A wallet in this part.
#[derive(Copy, Clone, Debug)]
struct InPart {
    /// Its newest entry.
    newest: u32,
    /// How many wallets came before it.
    number: u32,
    entries: u32,
}

impl Recent {
    /// An empty part that begins where `watermark` ends.
    pub(crate) fn behind(watermark: Watermark) -> Recent {
        let from = watermark.next;
        Recent { from, watermark, nodes: Vec::new(), values: Vec::new(), wallets: ByWallet::default() }
    }

    /// The same in the memory of a part that is done with: asking the system for so much of it each time costs a follower
    /// as much as the entries do.
    pub(crate) fn behind_in(watermark: Watermark, done: Recent) -> Recent {
        let Recent { mut nodes, mut values, mut wallets, .. } = done;
        nodes.clear();
        values.clear();
        wallets.clear();
        Recent { from: watermark.next, watermark, nodes, values, wallets }
    }

    pub(crate) fn watermark(&self) -> Watermark {
        self.watermark
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn is_full(&self, entries: usize) -> bool {
        self.nodes.len() >= entries || self.values.len() >= VALUE_BYTES_MAX
    }

    /// True when nothing would be lost with it, not even the knowledge of how far the log was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.watermark.next == self.from
    }

    /// Adds the newest entry.
    pub(crate) fn push(&mut self, wallet: WalletId, key: EntryKey, value: &[u8]) {
        let node = u32::try_from(self.nodes.len()).expect("full long before 2^32 entries");
        let begin = u32::try_from(self.values.len()).expect("full long before 4 GiB of values");
        assert!(self.nodes.last().is_none_or(|last| last.key() <= key), "entries arrive in log order");
        assert!(key.lsn >= self.from.get(), "an entry belongs to a record of this part");
        let number = u32::try_from(self.wallets.len()).expect("there are no more wallets than entries");
        let of_wallet = self.wallets.entry(wallet).or_insert(InPart { newest: NONE, number, entries: 0 });
        let older = std::mem::replace(&mut of_wallet.newest, node);
        of_wallet.entries += 1;
        self.nodes.push(Node { lsn: key.lsn, item: key.item, begin, older, wallet: of_wallet.number });
        self.values.extend_from_slice(value);
    }

    /// Everything up to `watermark` is here now.
    pub(crate) fn advance(&mut self, watermark: Watermark) {
        assert!(watermark.next >= self.watermark.next, "the log is read forwards");
        self.watermark = watermark;
    }

    /// Where the wallet stands behind its newest entry here.
    pub(crate) fn head(&self, wallet: WalletId) -> Result<Option<Head>, Error> {
        let newest = self.of(wallet).next();
        newest.map(|(_, value)| Ok(decode_value(value)?.head)).transpose()
    }

    /// Entries of a wallet, newest first.
    pub(crate) fn of(&self, wallet: WalletId) -> impl Iterator<Item = (EntryKey, &[u8])> {
        let mut next = self.wallets.get(&wallet).map_or(NONE, |of_wallet| of_wallet.newest);
        std::iter::from_fn(move || {
            let node = (next != NONE).then(|| self.nodes[next as usize])?;
            let value = self.value(next, node);
            next = node.older;
            Some((node.key(), value))
        })
    }

    /// Every entry in the order of the database, by wallet and newest first, as rows: the wallet, the place of the oldest
    /// entry in it, the number of entries, and the row's bytes.
    ///
    /// The entries are brought into order by counting, and a row's entries are looked up before any of them is copied:
    /// following each wallet's chain through memory would wait for every single entry.
    pub(crate) fn for_each_row<E>(
        &self,
        mut visit: impl FnMut(WalletId, EntryKey, u32, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut wallets: Vec<(WalletId, InPart)> =
            self.wallets.iter().map(|(wallet, of_wallet)| (*wallet, *of_wallet)).collect();
        wallets.sort_unstable_by_key(|(wallet, _)| *wallet);
        let by_wallet = self.by_wallet(&wallets);
        let (mut row, mut found) = (Bundle::default(), Vec::with_capacity(bundle::ENTRIES_MAX));
        let mut end = 0;
        for (wallet, of_wallet) in wallets {
            let begin = end;
            end = begin + of_wallet.entries as usize;
            let mut unwritten = &by_wallet[begin..end];
            while !unwritten.is_empty() {
                unwritten = self.take_row(unwritten, &mut found);
                let (oldest, _) = found[found.len() - 1];
                let entries = u32::try_from(found.len()).expect("a row has few entries");
                row.clear();
                found.iter().rev().for_each(|(key, value)| row.push(*key, value));
                visit(wallet, oldest, entries, row.bytes())?;
            }
        }
        Ok(())
    }

    /// The places in `nodes` of the entries of each of `wallets`, oldest first.
    fn by_wallet(&self, wallets: &[(WalletId, InPart)]) -> Vec<u32> {
        let mut next = vec![0_u32; wallets.len()];
        let mut begin = 0;
        for (_, of_wallet) in wallets {
            next[of_wallet.number as usize] = begin;
            begin += of_wallet.entries;
        }
        let mut by_wallet = vec![0_u32; self.nodes.len()];
        for (place, node) in (0..).zip(&self.nodes) {
            let next = &mut next[node.wallet as usize];
            by_wallet[*next as usize] = place;
            *next += 1;
        }
        by_wallet
    }

    /// Puts the newest of `places` into `row`, newest first, as many as fit, and returns the rest.
    fn take_row<'p, 's>(&'s self, places: &'p [u32], row: &mut Vec<(EntryKey, &'s [u8])>) -> &'p [u32] {
        row.clear();
        let mut value_bytes = 0;
        for place in places.iter().rev() {
            if row.len() == bundle::ENTRIES_MAX || value_bytes >= bundle::VALUE_BYTES_MAX {
                break;
            }
            let node = self.nodes[*place as usize];
            let value = self.value(*place, node);
            value_bytes += value.len();
            row.push((node.key(), value));
        }
        &places[..places.len() - row.len()]
    }

    fn value(&self, index: u32, node: Node) -> &[u8] {
        let end = self.nodes.get(index as usize + 1).map_or(self.values.len(), |next| next.begin as usize);
        &self.values[node.begin as usize..end]
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

    #[test]
    fn a_part_in_used_memory_is_empty_and_allocates_nothing_for_as_many_entries() {
        let wallet = |n: u64| WalletId::new(0, n.into());
        let mut part = Recent::behind(Watermark::default());
        for n in 0..1_000_u64 {
            part.push(wallet(n), EntryKey { lsn: 64 + n, item: 0 }, &value());
        }
        let room = |part: &Recent| (part.nodes.capacity(), part.values.capacity(), part.wallets.capacity());
        let before = room(&part);
        let mut again = Recent::behind_in(part.watermark(), part);
        assert!(again.is_empty());
        assert_eq!(again.len(), 0);
        assert!((0..1_000_u64).all(|n| again.of(wallet(n)).next().is_none()));
        for n in 0..1_000_u64 {
            again.push(wallet(2_000 + n), EntryKey { lsn: 64 + n, item: 0 }, &value());
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
            part.push(wallet, EntryKey { lsn: 64 + lsn, item: 0 }, &value);
        }
        let (mut last, mut listed) = (None, Vec::new());
        let visited: Result<(), Error> = part.for_each_row(|wallet, oldest, entries, row| {
            let places = bundle::places(oldest, row)?;
            assert_eq!(places.len(), entries as usize);
            let before_last: usize = places[1..].iter().map(|(_, range)| range.len()).sum();
            assert!(places.len() <= bundle::ENTRIES_MAX && before_last < bundle::VALUE_BYTES_MAX);
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
            .flat_map(|wallet| part.of(*wallet).map(|(key, value)| (*wallet, key, value.to_vec())))
            .collect();
        assert_eq!(listed, chained);
    }
}
