//! Frames: the smallest unit on disk. Pure functions over byte slices; no I/O, no state.
//!
//! ```text
//!  0..2   magic "aW"
//!  2      format version (1)
//!  3      kind: 1 batch, 2 record, 3 seal
//!  4..8   payload length, u32 LE
//!  8..12  lower half of the Lsn of this frame, u32 LE
//! 12..16  CRC32C, u32 LE
//! 16..    payload, then zero bytes up to a multiple of 8
//! ```
//!
//! The checksum starts from the segment's seed (log, segment number, random salt) and covers the 16 header
//! bytes with the *upper* half of the Lsn standing where the checksum goes, then payload and padding. So a
//! frame is valid only at its own position of its own segment, and the checksum runs over one contiguous
//! slice when a frame is sealed. Bytes that are all zero never validate: the magic is not zero.

use crate::Lsn;
use std::fmt;

/// Version of everything in this crate that reaches the disk.
pub(crate) const VERSION: u8 = 1;
/// Bytes before the payload.
pub(crate) const FRAME_HEADER: usize = 16;
/// Frames start at multiples of this.
pub(crate) const ALIGN: usize = 8;

const MAGIC: [u8; 2] = *b"aW";

const _: () = assert!(FRAME_HEADER.is_multiple_of(ALIGN));

/// What a frame holds.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// First frame of a batch, see [`crate::batch`].
    Batch = 1,
    /// A record of the user.
    Record = 2,
    /// Last frame of a full segment.
    Seal = 3,
}

/// Why bytes are not the frame or batch that should stand there.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    /// Nothing was written here: the header is all zero.
    Blank,
    Magic,
    Version(u8),
    Kind,
    /// Made for another position.
    Position,
    /// Longer than what remains.
    Length,
    Checksum,
    /// Frames of a batch do not add up to what its header says.
    Structure,
    /// A sound batch, but not the one that follows the last.
    Sequence,
    /// Sound frames, but the chain value over them is another.
    Chain,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Blank => f.write_str("nothing written"),
            Flaw::Magic => f.write_str("no frame"),
            Flaw::Version(version) => write!(f, "format version {version} is not known"),
            Flaw::Kind => f.write_str("unexpected kind of frame"),
            Flaw::Position => f.write_str("frame belongs to another position"),
            Flaw::Length => f.write_str("length exceeds what remains"),
            Flaw::Checksum => f.write_str("checksum differs"),
            Flaw::Structure => f.write_str("frames do not add up to their batch"),
            Flaw::Sequence => f.write_str("batch does not follow the one before it"),
            Flaw::Chain => f.write_str("chain value differs"),
        }
    }
}

/// A verified frame.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) payload: &'a [u8],
    /// Header, payload and padding.
    pub(crate) bytes: usize,
}

/// Header fields whose checksum has not been looked at.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Outline {
    pub(crate) kind: Kind,
    pub(crate) payload_bytes: usize,
    /// Header, payload and padding; may exceed the slice it was read from.
    pub(crate) bytes: usize,
}

/// Bytes that a frame with this payload takes.
pub(crate) const fn frame_bytes(payload_bytes: usize) -> usize {
    FRAME_HEADER + payload_bytes.next_multiple_of(ALIGN)
}

/// Appends a frame without its checksum, which [`seal`] fills in later. Never allocates while `buffer` has
/// the room.
pub(crate) fn put(buffer: &mut Vec<u8>, kind: Kind, lsn: Lsn, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("record sizes are limited to u32");
    let (_, low) = lsn.halves();
    let mut header = [0; FRAME_HEADER];
    header[0..2].copy_from_slice(&MAGIC);
    header[2] = VERSION;
    header[3] = kind as u8;
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..12].copy_from_slice(&low);
    buffer.extend_from_slice(&header);
    buffer.extend_from_slice(payload);
    let padding = payload.len().next_multiple_of(ALIGN) - payload.len();
    buffer.extend_from_slice(&[0; ALIGN][..padding]);
}

/// Fills in the checksum of a complete frame that starts at `lsn`.
pub(crate) fn seal(frame: &mut [u8], lsn: Lsn, seed: u32) {
    let (high, low) = lsn.halves();
    assert_eq!(frame[8..12], low, "a frame is sealed at the position it was made for");
    frame[12..16].copy_from_slice(&high);
    let checksum = crc32c::crc32c_append(seed, frame);
    frame[12..16].copy_from_slice(&checksum.to_le_bytes());
}

/// Reads the header at the start of `bytes`, without any trust in its length.
pub(crate) fn outline(bytes: &[u8], lsn: Lsn) -> Result<Outline, Flaw> {
    let Some(header) = bytes.first_chunk::<FRAME_HEADER>() else {
        return Err(if bytes.iter().all(|byte| *byte == 0) { Flaw::Blank } else { Flaw::Length });
    };
    if header[0..2] != MAGIC {
        return Err(if *header == [0; FRAME_HEADER] { Flaw::Blank } else { Flaw::Magic });
    }
    if header[2] != VERSION {
        return Err(Flaw::Version(header[2]));
    }
    let kind = match header[3] {
        1 => Kind::Batch,
        2 => Kind::Record,
        3 => Kind::Seal,
        _ => return Err(Flaw::Kind),
    };
    let (_, low) = lsn.halves();
    if header[8..12] != low {
        return Err(Flaw::Position);
    }
    let payload_bytes = usize::try_from(read_u32(header, 4)).map_err(|_| Flaw::Length)?;
    Ok(Outline { kind, payload_bytes, bytes: frame_bytes(payload_bytes) })
}

/// Verifies the frame at the start of `bytes`.
pub(crate) fn open(bytes: &[u8], lsn: Lsn, seed: u32) -> Result<Frame<'_>, Flaw> {
    let outline = outline(bytes, lsn)?;
    let Some(whole) = bytes.get(..outline.bytes) else {
        return Err(Flaw::Length);
    };
    let (high, _) = lsn.halves();
    let mut header = [0; FRAME_HEADER];
    header[..12].copy_from_slice(&whole[..12]);
    header[12..].copy_from_slice(&high);
    let checksum = crc32c::crc32c_append(crc32c::crc32c_append(seed, &header), &whole[FRAME_HEADER..]);
    if checksum != read_u32(whole, 12) {
        return Err(Flaw::Checksum);
    }
    let payload = &whole[FRAME_HEADER..FRAME_HEADER + outline.payload_bytes];
    Ok(Frame { kind: outline.kind, payload, bytes: outline.bytes })
}

/// Whether a frame of this kind might start here: a quick look before [`open`], for searches over many
/// positions.
pub(crate) fn resembles(bytes: &[u8], kind: Kind) -> bool {
    bytes.len() >= FRAME_HEADER && bytes[0..2] == MAGIC && bytes[2] == VERSION && bytes[3] == kind as u8
}

pub(crate) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("the caller checked the length"))
}

pub(crate) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("the caller checked the length"))
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    const SEED: u32 = 0x1234_5678;

    fn sealed(lsn: Lsn, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, Kind::Record, lsn, payload);
        seal(&mut bytes, lsn, SEED);
        bytes
    }

    #[test]
    fn a_frame_is_valid_only_in_its_own_place() {
        let lsn = Lsn::new(0x1_2345_6788);
        for length in [0, 1, 7, 8, 9, 200] {
            let payload: Vec<u8> = (0..length).map(|byte: u8| byte.wrapping_mul(7)).collect();
            let bytes = sealed(lsn, &payload);
            assert_eq!(bytes.len(), frame_bytes(payload.len()));
            assert_eq!(open(&bytes, lsn, SEED).expect("sound").payload, payload);
            // Same lower half, other upper half: only the checksum can tell.
            let twin = Lsn::new(lsn.get() + (1 << 32));
            assert_eq!(open(&bytes, twin, SEED).map(|_| ()), Err(Flaw::Checksum));
            assert_eq!(open(&bytes, lsn.plus(8), SEED).map(|_| ()), Err(Flaw::Position));
            assert_eq!(open(&bytes, lsn, SEED ^ 1).map(|_| ()), Err(Flaw::Checksum));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let lsn = Lsn::new(4096);
        let bytes = sealed(lsn, b"thirteen byte");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&damaged, lsn, SEED).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(open(&bytes[..cut], lsn, SEED).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn zeros_are_blank_and_huge_lengths_are_refused() {
        assert_eq!(open(&[0; 64], Lsn::ZERO, 0).map(|_| ()), Err(Flaw::Blank));
        assert_eq!(open(&[0; 3], Lsn::ZERO, 0).map(|_| ()), Err(Flaw::Blank));
        let mut bytes = sealed(Lsn::ZERO, b"x");
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(open(&bytes, Lsn::ZERO, SEED).map(|_| ()), Err(Flaw::Length));
    }
}
