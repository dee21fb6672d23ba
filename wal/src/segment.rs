//! Segments: files of fixed size that together make up the log. Pure: names, the two sectors at the start of
//! each file, and where a position lies in a file.
//!
//! ```text
//!    0..512   identity: written and synced before the file gets its name
//!  512..1024  link: where the log stood before the first batch here; written together with that batch
//! 1024..      batches, then zeros up to the capacity
//! ```
//!
//! Segment n+1 begins at the position where segment n's *capacity* ends, so positions are known before a
//! segment is full. The identity can be made ahead of time, which keeps a change of segment free of metadata
//! operations (and a full disk out of the commit path); only the link needs the end of the segment before. A
//! segment without a sound link holds nothing durable, because link and first batch are synced together. A
//! link does not have to name the end of a *sealed* segment: after a restart it states where the previous one
//! validly ended, and what stands behind that is void.

use crate::Lsn;
use crate::batch::{BATCH_FRAME, Chain, SEAL_FRAME, Tip};
use crate::frame::{Flaw, VERSION, frame_bytes, read_u32, read_u64};

/// Unit that the disk is taken to write wholly or not at all.
pub(crate) const SECTOR: usize = 512;
/// Bytes of identity and link; the first batch comes behind them.
pub(crate) const HEAD_BYTES: u64 = 2 * SECTOR as u64;
/// Kept free behind every batch: a watermark, and a batch that only seals.
pub(crate) const RESERVE_BYTES: u64 = (2 * BATCH_FRAME + SEAL_FRAME) as u64;
/// Number of the first segment of a log.
pub(crate) const FIRST_NUMBER: u64 = 1;

const IDENTITY_MAGIC: [u8; 8] = *b"agpaywal";
const LINK_MAGIC: [u8; 8] = *b"agpaylnk";
const CHECKSUM_AT: usize = SECTOR - 4;

/// One of the two sectors at the start of a segment.
pub(crate) type Sector = [u8; SECTOR];

/// Who a segment is. Fixed for its life.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    /// Random, the same for all segments of one log.
    pub(crate) log: u128,
    pub(crate) number: u64,
    /// Position of the first byte of the file.
    pub(crate) base: Lsn,
    /// Bytes of the file.
    pub(crate) capacity: u64,
    /// Random; no frame of another segment, also not of one that had the same number, is valid in this one.
    pub(crate) salt: u128,
    /// How far the log was durable when the segment was made. A log that ends before this has lost something.
    pub(crate) durable: Lsn,
}

impl Identity {
    /// Position of the first batch.
    pub(crate) fn first(&self) -> Lsn {
        self.base.plus(HEAD_BYTES)
    }

    /// First position behind the segment, which is where the next one begins.
    pub(crate) fn limit(&self) -> Lsn {
        self.base.plus(self.capacity)
    }

    /// Where in the file a position lies.
    pub(crate) fn offset_of(&self, lsn: Lsn) -> u64 {
        assert!(lsn <= self.limit(), "position {lsn} lies behind segment {}", self.number);
        lsn.since(self.base)
    }

    /// Start value of all checksums in the segment.
    pub(crate) fn seed(&self) -> u32 {
        let mut bytes = [0; 40];
        bytes[0..16].copy_from_slice(&self.log.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.salt.to_le_bytes());
        crc32c::crc32c(&bytes)
    }

    pub(crate) fn encode(&self) -> Sector {
        let mut sector = [0; SECTOR];
        sector[0..8].copy_from_slice(&IDENTITY_MAGIC);
        sector[8] = VERSION;
        sector[16..32].copy_from_slice(&self.log.to_le_bytes());
        sector[32..40].copy_from_slice(&self.number.to_le_bytes());
        sector[40..48].copy_from_slice(&self.base.get().to_le_bytes());
        sector[48..56].copy_from_slice(&self.capacity.to_le_bytes());
        sector[56..72].copy_from_slice(&self.salt.to_le_bytes());
        sector[72..80].copy_from_slice(&self.durable.get().to_le_bytes());
        put_checksum(&mut sector, 0);
        sector
    }

    pub(crate) fn decode(sector: &Sector) -> Result<Identity, Flaw> {
        check_sector(sector, &IDENTITY_MAGIC, 0)?;
        if sector[8] != VERSION {
            return Err(Flaw::Version(sector[8]));
        }
        let identity = Identity {
            log: read_u128(sector, 16),
            number: read_u64(sector, 32),
            base: Lsn::new(read_u64(sector, 40)),
            capacity: read_u64(sector, 48),
            salt: read_u128(sector, 56),
            durable: Lsn::new(read_u64(sector, 72)),
        };
        let in_range = identity.base.get().checked_add(identity.capacity).is_some();
        if !in_range || identity.capacity < capacity_min(0) || identity.capacity > u64::from(u32::MAX) {
            return Err(Flaw::Length);
        }
        Ok(identity)
    }
}

/// The link sector of a segment that takes its first batch after `tip`.
pub(crate) fn encode_link(tip: &Tip, seed: u32) -> Sector {
    let mut sector = [0; SECTOR];
    sector[0..8].copy_from_slice(&LINK_MAGIC);
    sector[8] = VERSION;
    sector[16..24].copy_from_slice(&tip.end.get().to_le_bytes());
    sector[24..32].copy_from_slice(&tip.batch.to_le_bytes());
    sector[32..64].copy_from_slice(&tip.chain);
    put_checksum(&mut sector, seed);
    sector
}

/// Where the log stood when the segment took its first batch.
pub(crate) fn decode_link(sector: &Sector, seed: u32) -> Result<Tip, Flaw> {
    check_sector(sector, &LINK_MAGIC, seed)?;
    if sector[8] != VERSION {
        return Err(Flaw::Version(sector[8]));
    }
    let batch = read_u64(sector, 24);
    if batch == u64::MAX {
        // No batch could follow it.
        return Err(Flaw::Sequence);
    }
    let chain = *sector[32..].first_chunk().expect("within the sector");
    Ok(Tip { end: Lsn::new(read_u64(sector, 16)), batch, chain })
}

/// Where a log stands before its first batch. The chain starts from the log's random identity, so no two logs
/// share a chain.
pub(crate) fn genesis(log: u128) -> Tip {
    let chain: Chain = blake3::derive_key("agentpay wal 2026-11 genesis of the chain", &log.to_le_bytes());
    Tip { end: Lsn::ZERO, batch: 0, chain }
}

/// Smallest file that takes one record of this size.
pub(crate) const fn capacity_min(record_bytes: u32) -> u64 {
    HEAD_BYTES + BATCH_FRAME as u64 + frame_bytes(record_bytes as usize) as u64 + RESERVE_BYTES
}

/// `0000000001.wal`: sorts by number, and is as long as the temporary name, so that a directory never grows
/// by a rename.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:010}.wal")
}

/// Name while the file is being made. Whatever bears it holds nothing and may be deleted.
pub(crate) fn temporary_name(number: u64) -> String {
    format!("{number:010}.tmp")
}

/// A name that this crate gives to files.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Name {
    Segment(u64),
    Temporary(u64),
}

/// Reads a name back. `None`: not ours, left alone.
pub(crate) fn parse_name(name: &str) -> Option<Name> {
    let (digits, extension) = name.split_once('.')?;
    let number = digits.parse().ok()?;
    match extension {
        "wal" if name == file_name(number) => Some(Name::Segment(number)),
        "tmp" if name == temporary_name(number) => Some(Name::Temporary(number)),
        _ => None,
    }
}

fn put_checksum(sector: &mut Sector, seed: u32) {
    let checksum = crc32c::crc32c_append(seed, &sector[..CHECKSUM_AT]);
    sector[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
}

fn check_sector(sector: &Sector, magic: &[u8; 8], seed: u32) -> Result<(), Flaw> {
    if sector[..8] != *magic {
        return Err(if sector.iter().all(|byte| *byte == 0) { Flaw::Blank } else { Flaw::Magic });
    }
    if crc32c::crc32c_append(seed, &sector[..CHECKSUM_AT]) != read_u32(sector, CHECKSUM_AT) {
        return Err(Flaw::Checksum);
    }
    Ok(())
}

fn read_u128(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(*bytes[at..].first_chunk().expect("the caller checked the length"))
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity {
        log: 7,
        number: 3,
        base: Lsn::new(1 << 20),
        capacity: 1 << 16,
        salt: 11,
        durable: Lsn::new(9),
    };

    #[test]
    fn identity_and_link_survive_and_every_bit_counts() {
        let tip = Tip { end: Lsn::new(4711), batch: 5, chain: [9; 32] };
        let (identity, link) = (IDENTITY.encode(), encode_link(&tip, IDENTITY.seed()));
        assert_eq!(Identity::decode(&identity), Ok(IDENTITY));
        assert_eq!(decode_link(&link, IDENTITY.seed()), Ok(tip));
        assert_eq!(decode_link(&link, IDENTITY.seed() ^ 1), Err(Flaw::Checksum));
        for bit in 0..SECTOR * 8 {
            let (mut damaged_identity, mut damaged_link) = (identity, link);
            damaged_identity[bit / 8] ^= 1 << (bit % 8);
            damaged_link[bit / 8] ^= 1 << (bit % 8);
            assert!(Identity::decode(&damaged_identity).is_err(), "identity, bit {bit}");
            assert!(decode_link(&damaged_link, IDENTITY.seed()).is_err(), "link, bit {bit}");
        }
    }

    #[test]
    fn every_part_of_the_identity_changes_the_seed() {
        let seeds = [
            IDENTITY.seed(),
            Identity { log: 8, ..IDENTITY }.seed(),
            Identity { number: 4, ..IDENTITY }.seed(),
            Identity { salt: 12, ..IDENTITY }.seed(),
        ];
        for (index, seed) in seeds.iter().enumerate() {
            assert!(!seeds[..index].contains(seed));
        }
    }

    #[test]
    fn names_are_read_back_exactly() {
        assert_eq!(parse_name(&file_name(1)), Some(Name::Segment(1)));
        assert_eq!(parse_name(&file_name(12_345_678_901)), Some(Name::Segment(12_345_678_901)));
        assert_eq!(parse_name(&temporary_name(3)), Some(Name::Temporary(3)));
        for other in ["1.wal", "0000000001.WAL", "0000000001.wal.bak", "+000000001.wal", "lost+found", ""] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
