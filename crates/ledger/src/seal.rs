//! Sealed addresses: the id of what is born in the log is its place there, passed through one AES-128 block.
//!
//! Block, from the top: kind (4 bits), partition (16), Lsn (56), item (16), check (36). The check bits are a keyed
//! digest of the other 92, under the second half of the key, so that an id cannot be made up: a guess passes with
//! probability 2⁻³⁶ and still has to hit a record of the right kind.
//! The key is fixed for the life of a ledger: another key gives every payment another id.

use std::fmt;

use aes::Aes128;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

const CHECK_BITS: u32 = 36;
const ITEM_BITS: u32 = 16;
const LSN_BITS: u32 = 56;
const PARTITION_BITS: u32 = 16;
const CHECK_MASK: u128 = (1 << CHECK_BITS) - 1;

/// Where one fact stands in the log.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct RecordAddress {
    pub partition: u16,
    /// Byte position of the record, below 2⁵⁶.
    pub lsn: u64,
    /// Index within the record, below 2¹⁶; 0 for a record of one item.
    pub item: u32,
}

/// What stands there. One key serves all kinds: an id of one kind is no valid id of another.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum SealedKind {
    Payment = 1,
    Token = 2,
    Payout = 3,
    Dispute = 4,
}

/// Turns addresses into ids and back.
#[derive(Clone)]
pub struct IdSealer {
    seal: Aes128,
    check: Aes128,
}

impl IdSealer {
    /// The first half of `key` seals, the second half makes the check bits.
    pub fn new(key: &[u8; 32]) -> Self {
        let (seal, check) = key.split_at(16);
        let cipher =
            |half: &[u8]| Aes128::new_from_slice(half).expect("half of 32 bytes is a key of AES-128");
        Self { seal: cipher(seal), check: cipher(check) }
    }

    /// Panics for an address outside the documented ranges: such a log cannot exist.
    pub fn seal(&self, kind: SealedKind, address: RecordAddress) -> u128 {
        let place = pack(kind, address);
        let mut block = Array::from((place | self.check_bits(place)).to_be_bytes());
        self.seal.encrypt_block(&mut block);
        u128::from_be_bytes(block.into())
    }

    /// The address in `id`, or `None` when this key never sealed it for this kind.
    pub fn open(&self, kind: SealedKind, id: u128) -> Option<RecordAddress> {
        let mut block = Array::from(id.to_be_bytes());
        self.seal.decrypt_block(&mut block);
        let opened = u128::from_be_bytes(block.into());
        let place = opened & !CHECK_MASK;
        if opened & CHECK_MASK != self.check_bits(place) {
            return None;
        }
        let (found, address) = unpack(place);
        (found == kind as u8).then_some(address)
    }

    fn check_bits(&self, place: u128) -> u128 {
        let mut block = Array::from(place.to_be_bytes());
        self.check.encrypt_block(&mut block);
        u128::from_be_bytes(block.into()) & CHECK_MASK
    }
}

impl fmt::Debug for IdSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdSealer")
    }
}

fn pack(kind: SealedKind, address: RecordAddress) -> u128 {
    assert!(address.lsn >> LSN_BITS == 0, "Lsn {} does not fit an id", address.lsn);
    assert!(address.item >> ITEM_BITS == 0, "item {} does not fit an id", address.item);
    let place = ((kind as u128) << PARTITION_BITS) | u128::from(address.partition);
    let place = (place << LSN_BITS) | u128::from(address.lsn);
    let place = (place << ITEM_BITS) | u128::from(address.item);
    place << CHECK_BITS
}

#[expect(clippy::cast_possible_truncation, reason = "masks leave as many bits as each field has")]
fn unpack(place: u128) -> (u8, RecordAddress) {
    let rest = place >> CHECK_BITS;
    let item = (rest & ((1 << ITEM_BITS) - 1)) as u32;
    let rest = rest >> ITEM_BITS;
    let lsn = (rest & ((1 << LSN_BITS) - 1)) as u64;
    let rest = rest >> LSN_BITS;
    ((rest >> PARTITION_BITS) as u8, RecordAddress { partition: rest as u16, lsn, item })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [SealedKind; 4] =
        [SealedKind::Payment, SealedKind::Token, SealedKind::Payout, SealedKind::Dispute];

    fn key(first: u8) -> [u8; 32] {
        std::array::from_fn(|index| first.wrapping_add(u8::try_from(index).expect("32 bytes")))
    }

    fn addresses() -> Vec<RecordAddress> {
        let mut addresses = Vec::new();
        for partition in [0, 1, u16::MAX] {
            for lsn in [0, 1, 4096, (1 << 56) - 1] {
                for item in [0, 1, 9_999, 0xffff] {
                    addresses.push(RecordAddress { partition, lsn, item });
                }
            }
        }
        addresses
    }

    #[test]
    fn an_id_opens_to_its_address_under_its_own_kind_and_key_only() {
        let (sealer, stranger) = (IdSealer::new(&key(0)), IdSealer::new(&key(1)));
        for address in addresses() {
            for kind in KINDS {
                let id = sealer.seal(kind, address);
                for other in KINDS {
                    assert_eq!(sealer.open(other, id), (kind == other).then_some(address));
                    assert_eq!(stranger.open(other, id), None);
                }
            }
        }
    }

    #[test]
    fn a_changed_bit_opens_to_nothing() {
        let sealer = IdSealer::new(&key(7));
        let id = sealer.seal(SealedKind::Payment, RecordAddress { partition: 3, lsn: 123_456, item: 9 });
        for bit in 0..128 {
            assert_eq!(sealer.open(SealedKind::Payment, id ^ (1 << bit)), None, "bit {bit}");
        }
    }

    /// Ids live in receipts and other people's databases: this value must never change. It was computed from the
    /// documented layout with another implementation of AES.
    #[test]
    fn sealing_is_stable() {
        let sealer = IdSealer::new(&key(0));
        let id = sealer.seal(SealedKind::Payment, RecordAddress { partition: 1, lsn: 4096, item: 2 });
        assert_eq!(crate::PaymentId::from_raw(id).to_string(), "tx_66g09cvndcnb632tcp995j6et5");
    }

    #[test]
    #[should_panic(expected = "does not fit an id")]
    fn an_address_beyond_the_format_is_never_sealed() {
        let address = RecordAddress { partition: 0, lsn: 1 << 56, item: 0 };
        IdSealer::new(&key(0)).seal(SealedKind::Payment, address);
    }
}
