//! Bytes of a generation file. Pure: no I/O.
//!
//! ```text
//! header   64  magic 8, version u16, partition u16, zero u32, id u64, start u64, BLAKE3(the 32 bytes before)
//! frame    48  kind u32, payload bytes u32, rows u32, zero u32, BLAKE3(digest before, these 16 bytes, payload)
//! payload      kind ROWS: rows, each a length u32 and its bytes; kind TAIL: the trailer
//! ...          one TAIL frame comes last
//! footer    8  bytes of the TAIL frame and its payload u32, end magic u32
//! ```
//!
//! All integers are little-endian. Each digest covers the one before it, so the last one covers the file: a frame that
//! is changed, moved, repeated or taken from another generation breaks the chain at that frame. The trailer repeats the
//! digest before it, so that it can be checked alone when generations are listed.

use std::borrow::Cow;

use ledger::{Amount, Currency, Timestamp};

use crate::Summary;

pub(crate) const VERSION: u16 = 1;
pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const FRAME_BYTES: usize = 48;
pub(crate) const FOOTER_BYTES: usize = 8;
/// A trailer is a handful of numbers and one sum per currency; 64 KiB hold more currencies than exist.
pub(crate) const TRAILER_BYTES_MAX: usize = 64 * 1024;

const MAGIC: [u8; 8] = *b"APAYSNAP";
const END: [u8; 4] = *b"END.";
const CHECKED_HEADER_BYTES: usize = HEADER_BYTES - 32;
const CHECKED_FRAME_BYTES: usize = FRAME_BYTES - 32;
const TRAILER_FIXED_BYTES: usize = 32 + 6 * 8 + 4;
const SUM_BYTES: usize = 3 + 16;

/// A BLAKE3 value.
pub(crate) type Digest = [u8; 32];

/// Why bytes are refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    Version(u16),
    Damage(Cow<'static, str>),
}

impl From<&'static str> for Flaw {
    fn from(what: &'static str) -> Flaw {
        Flaw::Damage(Cow::Borrowed(what))
    }
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) partition: u16,
    pub(crate) id: u64,
    pub(crate) start: u64,
}

impl Header {
    /// The header and the first value of the chain.
    pub(crate) fn encode(self) -> ([u8; HEADER_BYTES], Digest) {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.partition.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.start.to_le_bytes());
        let digest = *blake3::hash(&bytes[..CHECKED_HEADER_BYTES]).as_bytes();
        bytes[CHECKED_HEADER_BYTES..].copy_from_slice(&digest);
        (bytes, digest)
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<(Header, Digest), Flaw> {
        if bytes[0..8] != MAGIC {
            return Err("it does not begin like a snapshot".into());
        }
        let mut fields = Fields::new(&bytes[8..CHECKED_HEADER_BYTES]);
        let (version, partition, _zero) = (fields.u16()?, fields.u16()?, fields.u32()?);
        let header = Header { partition, id: fields.u64()?, start: fields.u64()? };
        let digest = *blake3::hash(&bytes[..CHECKED_HEADER_BYTES]).as_bytes();
        if bytes[CHECKED_HEADER_BYTES..] != digest {
            return Err("the header does not match its digest".into());
        }
        // After the digest, so that a flipped bit in the version is called damage and not a foreign format.
        if version != VERSION {
            return Err(Flaw::Version(version));
        }
        Ok((header, digest))
    }
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Rows,
    Trailer,
}

impl FrameKind {
    const fn code(self) -> [u8; 4] {
        match self {
            FrameKind::Rows => *b"ROWS",
            FrameKind::Trailer => *b"TAIL",
        }
    }
}

/// Head of a frame as found, not yet checked against its payload.
#[derive(Copy, Clone, Debug)]
pub(crate) struct FrameHead {
    pub(crate) kind: FrameKind,
    pub(crate) payload_bytes: u32,
    pub(crate) rows: u32,
    checked: [u8; CHECKED_FRAME_BYTES],
    digest: Digest,
}

impl FrameHead {
    /// Seals a payload into the chain.
    pub(crate) fn seal(kind: FrameKind, rows: u32, payload: &[u8], previous: &Digest) -> FrameHead {
        let payload_bytes = u32::try_from(payload.len()).expect("frames are bounded by the row limit");
        let mut checked = [0; CHECKED_FRAME_BYTES];
        checked[0..4].copy_from_slice(&kind.code());
        checked[4..8].copy_from_slice(&payload_bytes.to_le_bytes());
        checked[8..12].copy_from_slice(&rows.to_le_bytes());
        let digest = chain(previous, &checked, payload);
        FrameHead { kind, payload_bytes, rows, checked, digest }
    }

    pub(crate) fn bytes(&self) -> [u8; FRAME_BYTES] {
        let mut bytes = [0; FRAME_BYTES];
        bytes[..CHECKED_FRAME_BYTES].copy_from_slice(&self.checked);
        bytes[CHECKED_FRAME_BYTES..].copy_from_slice(&self.digest);
        bytes
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn parse(bytes: &[u8; FRAME_BYTES]) -> Result<FrameHead, Flaw> {
        let mut fields = Fields::new(bytes);
        let kind = match fields.array::<4>()? {
            code if code == FrameKind::Rows.code() => FrameKind::Rows,
            code if code == FrameKind::Trailer.code() => FrameKind::Trailer,
            _ => return Err("no chunk begins here".into()),
        };
        let (payload_bytes, rows, _zero) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let mut checked = [0; CHECKED_FRAME_BYTES];
        checked.copy_from_slice(&bytes[..CHECKED_FRAME_BYTES]);
        Ok(FrameHead { kind, payload_bytes, rows, checked, digest: fields.array()? })
    }

    /// True when head and payload continue the chain behind `previous`.
    pub(crate) fn continues(&self, previous: &Digest, payload: &[u8]) -> bool {
        chain(previous, &self.checked, payload) == self.digest
    }
}

fn chain(previous: &Digest, checked: &[u8; CHECKED_FRAME_BYTES], payload: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous).update(checked).update(payload);
    *hasher.finalize().as_bytes()
}

/// What the last frame says about all the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// The digest before the trailer's own.
    pub(crate) previous: Digest,
    pub(crate) chunks: u64,
    pub(crate) rows: u64,
    pub(crate) summary: Summary,
    pub(crate) created_at: Timestamp,
}

impl Trailer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Summary { start: _, covers, wallets, agents, sums } = &self.summary;
        let mut bytes = Vec::with_capacity(TRAILER_FIXED_BYTES + sums.len() * SUM_BYTES);
        bytes.extend_from_slice(&self.previous);
        for number in [self.chunks, self.rows, *covers, *wallets, *agents] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.created_at.millis().to_le_bytes());
        let count = u32::try_from(sums.len()).expect("currencies are few");
        bytes.extend_from_slice(&count.to_le_bytes());
        for (currency, sum) in sums {
            bytes.extend_from_slice(&currency.to_bytes());
            bytes.extend_from_slice(&sum.nanos().to_le_bytes());
        }
        assert!(bytes.len() <= TRAILER_BYTES_MAX, "a sum per currency fits the trailer");
        bytes
    }

    /// `start` comes from the header, which the chain binds to this trailer.
    pub(crate) fn decode(payload: &[u8], start: u64) -> Result<Trailer, Flaw> {
        let mut fields = Fields::new(payload);
        let previous = fields.array()?;
        let (chunks, rows, covers) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let (wallets, agents) = (fields.u64()?, fields.u64()?);
        let created_at = Timestamp::from_millis(i64::from_le_bytes(fields.array()?));
        let count = fields.u32()? as usize;
        if fields.rest() != count.saturating_mul(SUM_BYTES) {
            return Err("the trailer has the wrong length".into());
        }
        let mut sums = Vec::with_capacity(count);
        for _ in 0..count {
            let currency =
                Currency::from_bytes(fields.array()?).ok_or("the trailer names an impossible currency")?;
            sums.push((currency, Amount::from_nanos(i128::from_le_bytes(fields.array()?))));
        }
        if start > covers {
            return Err("replay would start behind what the rows cover".into());
        }
        let summary = Summary { start, covers, wallets, agents, sums };
        Ok(Trailer { previous, chunks, rows, summary, created_at })
    }
}

/// The last bytes of a file, from which the trailer is found without reading the rest.
pub(crate) fn encode_footer(trailer_frame_bytes: usize) -> [u8; FOOTER_BYTES] {
    let mut bytes = [0; FOOTER_BYTES];
    let length = u32::try_from(trailer_frame_bytes).expect("trailers are bounded");
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..].copy_from_slice(&END);
    bytes
}

/// Bytes of the trailer's frame and payload.
pub(crate) fn decode_footer(bytes: &[u8; FOOTER_BYTES]) -> Result<usize, Flaw> {
    let mut fields = Fields::new(bytes);
    let length = fields.u32()? as usize;
    if fields.array::<4>()? != END {
        return Err("it does not end like a snapshot (cut short?)".into());
    }
    if !(FRAME_BYTES + TRAILER_FIXED_BYTES..=FRAME_BYTES + TRAILER_BYTES_MAX).contains(&length) {
        return Err("the trailer has an impossible length".into());
    }
    Ok(length)
}

/// Splits the payload of a ROWS frame; calls `visit` for each row.
pub(crate) fn for_each_row<E: From<Flaw>>(
    payload: &[u8],
    expected: u32,
    mut visit: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut fields = Fields::new(payload);
    let mut found = 0_u32;
    while fields.rest() > 0 {
        let length = fields.u32().map_err(E::from)? as usize;
        if length == 0 {
            return Err(Flaw::from("a row is empty").into());
        }
        visit(fields.take(length).map_err(E::from)?)?;
        found = found.saturating_add(1);
    }
    if found != expected {
        return Err(Flaw::from("a chunk holds another number of rows than it says").into());
    }
    Ok(())
}

/// Cursor over bytes from outside: every access is checked.
struct Fields<'a> {
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { bytes }
    }

    fn rest(&self) -> usize {
        self.bytes.len()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Flaw> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or("a field is cut short")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or("a field is cut short")?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, Flaw> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Flaw> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Flaw> {
        self.array().map(u64::from_le_bytes)
    }
}
