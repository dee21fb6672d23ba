//! One key in a run: 48 bytes, ordered by a digest of owner and hash, which spreads evenly.

use ledger::{KeyHash, KeyPlace};

use crate::SpilledKey;

pub(crate) const ENTRY_BYTES: usize = 48;

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) struct Entry {
    pub(crate) owner: u128,
    pub(crate) hash: KeyHash,
    pub(crate) place: KeyPlace,
    pub(crate) fingerprint: u64,
}

/// Whose key it is; the digest comes first, so that the order of entries is that of even numbers.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Debug)]
pub(crate) struct Name {
    pub(crate) digest: u64,
    owner: u128,
    hash: u128,
}

impl Name {
    pub(crate) fn of(owner: u128, hash: KeyHash) -> Name {
        Name { digest: digest(owner, hash.raw()), owner, hash: hash.raw() }
    }
}

impl Entry {
    pub(crate) fn of(key: &SpilledKey) -> Entry {
        let SpilledKey { owner, hash, place, fingerprint, at: _ } = *key;
        Entry { owner, hash, place, fingerprint }
    }

    pub(crate) fn name(&self) -> Name {
        Name::of(self.owner, self.hash)
    }

    /// Owner 16, hash and item 16 (the low 16 bits of a hash are zero and make room), position 8, fingerprint 8.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let item = u16::try_from(self.place.item).expect("a record has at most 65 536 items");
        out.extend_from_slice(&self.owner.to_le_bytes());
        out.extend_from_slice(&(self.hash.raw() | u128::from(item)).to_le_bytes());
        out.extend_from_slice(&self.place.lsn.to_le_bytes());
        out.extend_from_slice(&self.fingerprint.to_le_bytes());
    }

    pub(crate) fn decode(bytes: &[u8; ENTRY_BYTES]) -> Entry {
        let (owner, rest) = bytes.split_first_chunk::<16>().expect("the first 16 of 48 bytes");
        let (hash, rest) = rest.split_first_chunk::<16>().expect("the next 16");
        let (lsn, rest) = rest.split_first_chunk::<8>().expect("the next 8");
        let fingerprint = rest.first_chunk::<8>().expect("the last 8");
        let [low, high, ..] = *hash;
        Entry {
            owner: u128::from_le_bytes(*owner),
            hash: KeyHash::from_raw(u128::from_le_bytes(*hash)),
            place: KeyPlace { lsn: u64::from_le_bytes(*lsn), item: u16::from_le_bytes([low, high]).into() },
            fingerprint: u64::from_le_bytes(*fingerprint),
        }
    }
}

/// A stable 64-bit digest: files are ordered by it. Both inputs are random or hashes already; this folds and mixes them.
/// Keys crafted to meet here share pages with each other and cost their owner's lookups a page more.
fn digest(owner: u128, hash: u128) -> u64 {
    let [a, b] = halves(owner);
    let [c, d] = halves(hash);
    let folded = a ^ b.rotate_left(23) ^ c.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ d.rotate_left(41);
    mix(folded)
}

/// The finalizer of splitmix64.
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
const fn halves(value: u128) -> [u64; 2] {
    [(value >> 64) as u64, value as u64]
}
