//! Entries that are not in the database yet.
//!
//! Every entry arrives in log order and is read newest first, so they are kept as one array in which each entry points
//! to the wallet's entry before it. The log is their durability: what is lost here in a crash is read from it again.

use ledger::WalletId;
use wal::Lsn;

use crate::balances::ByWallet;
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
    /// Newest entry of each wallet.
    newest: ByWallet<u32>,
}

#[derive(Copy, Clone, Debug)]
struct Node {
    key: EntryKey,
    /// Where the value begins; it ends where the next one begins.
    begin: u32,
    /// The wallet's entry before this one.
    older: u32,
}

impl Recent {
    /// An empty part that begins where `watermark` ends.
    pub(crate) fn behind(watermark: Watermark) -> Recent {
        let from = watermark.next;
        Recent { from, watermark, nodes: Vec::new(), values: Vec::new(), newest: ByWallet::default() }
    }

    /// The same in the memory of a part that is done with: asking the system for so much of it each time costs a follower
    /// as much as the entries do.
    pub(crate) fn behind_in(watermark: Watermark, done: Recent) -> Recent {
        let Recent { mut nodes, mut values, mut newest, .. } = done;
        nodes.clear();
        values.clear();
        newest.clear();
        Recent { from: watermark.next, watermark, nodes, values, newest }
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
        assert!(self.nodes.last().is_none_or(|last| last.key <= key), "entries arrive in log order");
        assert!(key.lsn >= self.from.get(), "an entry belongs to a record of this part");
        let older = self.newest.insert(wallet, node).unwrap_or(NONE);
        self.nodes.push(Node { key, begin, older });
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
        let mut next = self.newest.get(&wallet).copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let node = (next != NONE).then(|| self.nodes[next as usize])?;
            let value = self.value(next, node);
            next = node.older;
            Some((node.key, value))
        })
    }

    /// Every entry in the order of the database: by wallet, newest first.
    pub(crate) fn sorted(&self) -> impl Iterator<Item = (WalletId, EntryKey, &[u8])> {
        let mut wallets: Vec<WalletId> = self.newest.keys().copied().collect();
        wallets.sort_unstable();
        wallets.into_iter().flat_map(|wallet| self.of(wallet).map(move |(key, value)| (wallet, key, value)))
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
        let room = |part: &Recent| (part.nodes.capacity(), part.values.capacity(), part.newest.capacity());
        let before = room(&part);
        let mut again = Recent::behind_in(part.watermark(), part);
        assert!(again.is_empty());
        assert_eq!(again.len(), 0);
        assert!((0..1_000_u64).all(|n| again.of(wallet(n)).next().is_none()));
        for n in 0..1_000_u64 {
            again.push(wallet(2_000 + n), EntryKey { lsn: 64 + n, item: 0 }, &value());
        }
        assert_eq!(room(&again), before);
        assert_eq!(again.sorted().count(), 1_000);
    }
}
