//! Batches: what one write and one sync make durable together. Pure functions over byte slices.
//!
//! A batch is a batch frame, any number of record frames, and at the end of a full segment one seal frame.
//! The payload of the batch frame (positions within the frame):
//!
//! ```text
//! 16..48  chain value: BLAKE3, keyed with the previous chain value, over bytes 48.. of the batch
//! 48..56  number of the batch, u64 LE, without gaps over the life of the log
//! 56..64  last durable Lsn when this batch was made = where the batch before it ends, u64 LE
//! 64..68  bytes of the whole batch, u32 LE
//! 68..72  records in it, u32 LE
//! ```
//!
//! The batch is the unit of recovery: sectors of an un-synced batch may survive a power cut in any order, so
//! its frames say nothing one by one. But the batch after it is only ever written once this one is durable,
//! so a sound header of a later batch proves that every earlier batch was durable. A batch without records is
//! a watermark: it only proves that much.

use crate::Lsn;
use crate::frame::{self, FRAME_HEADER, Flaw, Kind, read_u32, read_u64};

/// Bytes of the batch frame.
pub(crate) const BATCH_FRAME: usize = 72;
/// Bytes of the seal frame; its payload is the Lsn at which the next segment begins.
pub(crate) const SEAL_FRAME: usize = frame::frame_bytes(8);

const CHAIN_AT: usize = FRAME_HEADER;
const HASHED_FROM: usize = CHAIN_AT + CHAIN_BYTES;
const CHAIN_BYTES: usize = 32;
const PAYLOAD_BYTES: usize = BATCH_FRAME - FRAME_HEADER;

const _: () = assert!(HASHED_FROM + 24 == BATCH_FRAME && BATCH_FRAME.is_multiple_of(frame::ALIGN));

/// Chain value: a digest of everything in the log so far.
pub(crate) type Chain = [u8; CHAIN_BYTES];

/// Where the log stands after a batch. The next batch must follow exactly this.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tip {
    /// First position after the batch.
    pub(crate) end: Lsn,
    /// Number of the batch; 0 before the first.
    pub(crate) batch: u64,
    pub(crate) chain: Chain,
}

/// Header of a batch, its checksum verified.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct BatchHeader {
    pub(crate) chain: Chain,
    pub(crate) number: u64,
    pub(crate) durable: Lsn,
    pub(crate) bytes: usize,
    pub(crate) records: u32,
}

/// A batch that was verified in full.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) tip: Tip,
    pub(crate) records: u32,
    /// The segment takes no further batch; the next one begins at this position.
    pub(crate) sealed: Option<Lsn>,
}

/// Leaves room for the batch frame at the start of an empty batch.
pub(crate) fn begin(buffer: &mut Vec<u8>, at: Lsn) {
    frame::put(buffer, Kind::Batch, at, &[0; PAYLOAD_BYTES]);
}

/// Completes a batch that starts at `at`: checksums of all frames, header, chain. Returns where the log
/// stands after it, and the number of its records.
pub(crate) fn finish(bytes: &mut [u8], at: Lsn, seed: u32, before: &Tip) -> (Tip, u32) {
    assert!(at >= before.end, "batches go forwards");
    let records = seal_frames(bytes, at, seed);
    let number = before.batch + 1;
    let length = u32::try_from(bytes.len()).expect("a segment is smaller than 4 GiB");
    bytes[48..56].copy_from_slice(&number.to_le_bytes());
    bytes[56..64].copy_from_slice(&before.end.get().to_le_bytes());
    bytes[64..68].copy_from_slice(&length.to_le_bytes());
    bytes[68..72].copy_from_slice(&records.to_le_bytes());
    let chain = *blake3::keyed_hash(&before.chain, &bytes[HASHED_FROM..]).as_bytes();
    bytes[CHAIN_AT..HASHED_FROM].copy_from_slice(&chain);
    frame::seal(&mut bytes[..BATCH_FRAME], at, seed);
    (Tip { end: at.plus(u64::from(length)), batch: number, chain }, records)
}

/// Seals all frames behind the batch frame and counts the records among them.
fn seal_frames(bytes: &mut [u8], at: Lsn, seed: u32) -> u32 {
    let mut records = 0;
    let mut offset = BATCH_FRAME;
    while offset < bytes.len() {
        let lsn = at.plus(offset as u64);
        let outline = frame::outline(&bytes[offset..], lsn).expect("the appender writes whole frames");
        frame::seal(&mut bytes[offset..offset + outline.bytes], lsn, seed);
        records += u32::from(outline.kind == Kind::Record);
        offset += outline.bytes;
    }
    assert_eq!(offset, bytes.len(), "frames fill their batch");
    records
}

/// Reads the header of the batch that should start at `at`. `room` is what the segment has left from there
/// on.
pub(crate) fn header(bytes: &[u8], at: Lsn, seed: u32, room: u64) -> Result<BatchHeader, Flaw> {
    let frame = frame::open(bytes.get(..BATCH_FRAME).unwrap_or(bytes), at, seed)?;
    if frame.kind != Kind::Batch || frame.payload.len() != PAYLOAD_BYTES {
        return Err(Flaw::Kind);
    }
    let length = read_u32(bytes, 64);
    if u64::from(length) > room || (length as usize) < BATCH_FRAME {
        return Err(Flaw::Length);
    }
    Ok(BatchHeader {
        chain: *bytes[CHAIN_AT..].first_chunk().expect("within the batch frame"),
        number: read_u64(bytes, 48),
        durable: Lsn::new(read_u64(bytes, 56)),
        bytes: length as usize,
        records: read_u32(bytes, 68),
    })
}

/// Verifies a whole batch: `bytes` is exactly what its `header` claims, and it has to follow `before`.
pub(crate) fn check(
    bytes: &[u8],
    header: &BatchHeader,
    at: Lsn,
    seed: u32,
    before: &Tip,
) -> Result<Checked, Flaw> {
    assert_eq!(bytes.len(), header.bytes, "the caller cuts the batch out");
    if header.number != before.batch + 1 || header.durable != before.end {
        return Err(Flaw::Sequence);
    }
    let mut records = 0;
    let mut sealed = None;
    let mut offset = BATCH_FRAME;
    while offset < bytes.len() {
        let frame = frame::open(&bytes[offset..], at.plus(offset as u64), seed)?;
        match frame.kind {
            Kind::Record if sealed.is_none() => records += 1,
            Kind::Seal if sealed.is_none() && frame.payload.len() == 8 => {
                sealed = Some(Lsn::new(read_u64(frame.payload, 0)));
            }
            _ => return Err(Flaw::Structure),
        }
        offset += frame.bytes;
    }
    if records != header.records {
        return Err(Flaw::Structure);
    }
    let chain = *blake3::keyed_hash(&before.chain, &bytes[HASHED_FROM..]).as_bytes();
    if chain != header.chain {
        return Err(Flaw::Chain);
    }
    let tip = Tip { end: at.plus(bytes.len() as u64), batch: header.number, chain };
    Ok(Checked { tip, records, sealed })
}

/// Records in a row with their positions, of bytes that are known to be sound frames.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: Lsn,
}

impl<'a> Records<'a> {
    /// Of frames of which the first begins at `at`.
    pub(crate) fn new(bytes: &'a [u8], at: Lsn) -> Records<'a> {
        Records { bytes, at }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (Lsn, &'a [u8]);

    fn next(&mut self) -> Option<(Lsn, &'a [u8])> {
        while !self.bytes.is_empty() {
            let outline = frame::outline(self.bytes, self.at).expect("frames were verified or just made");
            let lsn = self.at;
            let payload = &self.bytes[FRAME_HEADER..FRAME_HEADER + outline.payload_bytes];
            self.bytes = &self.bytes[outline.bytes..];
            self.at = lsn.plus(outline.bytes as u64);
            if outline.kind == Kind::Record {
                return Some((lsn, payload));
            }
        }
        None
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    const SEED: u32 = 77;
    const START: Tip = Tip { end: Lsn::new(1024), batch: 9, chain: [3; 32] };

    fn batch(payloads: &[&[u8]]) -> (Vec<u8>, Tip) {
        let mut bytes = Vec::new();
        begin(&mut bytes, START.end);
        for payload in payloads {
            let lsn = START.end.plus(bytes.len() as u64);
            frame::put(&mut bytes, Kind::Record, lsn, payload);
        }
        let (tip, records) = finish(&mut bytes, START.end, SEED, &START);
        assert_eq!(records as usize, payloads.len());
        (bytes, tip)
    }

    fn verify(bytes: &[u8], before: &Tip) -> Result<Checked, Flaw> {
        let header = header(bytes, START.end, SEED, bytes.len() as u64)?;
        check(&bytes[..header.bytes], &header, START.end, SEED, before)
    }

    #[test]
    fn a_finished_batch_verifies_and_yields_its_records() {
        let (bytes, tip) = batch(&[b"one", b"", b"three"]);
        let checked = verify(&bytes, &START).expect("sound");
        assert_eq!((checked.tip, checked.records, checked.sealed), (tip, 3, None));
        let records: Vec<_> = Records::new(&bytes, START.end).collect();
        assert_eq!(records[0], (Lsn::new(1024 + 72), &b"one"[..]));
        assert_eq!(records[1], (Lsn::new(1024 + 72 + 24), &b""[..]));
        assert_eq!(records[2], (Lsn::new(1024 + 72 + 40), &b"three"[..]));
        assert_eq!(records.len(), 3);
    }

    #[test]
    fn a_batch_follows_one_history_only() {
        let (bytes, _) = batch(&[b"one"]);
        let table = [
            (Tip { batch: 8, ..START }, Flaw::Sequence),
            (Tip { end: Lsn::new(1016), ..START }, Flaw::Sequence),
            (Tip { chain: [4; 32], ..START }, Flaw::Chain),
        ];
        for (before, flaw) in table {
            assert_eq!(verify(&bytes, &before).map(|_| ()), Err(flaw));
        }
    }

    #[test]
    fn every_flipped_bit_of_a_batch_is_seen() {
        let (bytes, _) = batch(&[b"one", b"and another"]);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&damaged, &START).is_err(), "bit {bit}");
        }
    }
}
