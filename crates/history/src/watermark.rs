//! How far the index is, and of which log. Written in the same atomic step as the entries it speaks of.

use wal::Lsn;
use xxhash_rust::xxh3::xxh3_64;

/// Of the layout of keys, values and of this row. An index of another version is set aside and rebuilt.
const VERSION: u8 = 2;
const BYTES: usize = 1 + 5 * 8;

/// State of the index: everything of the records below `next` is in it, and nothing of those at or above.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watermark {
    /// Where the log is read on.
    pub(crate) next: Lsn,
    /// The last record that was indexed, and its digest: the log must still hold this record, or it is another log.
    pub(crate) last: Lsn,
    pub(crate) last_digest: u64,
    /// Records indexed since the first.
    pub(crate) records: u64,
    /// Entries that they made.
    pub(crate) entries: u64,
}

/// Why a watermark row is refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Version(u8),
    Length,
}

impl Watermark {
    pub(crate) fn encode(&self) -> [u8; BYTES] {
        let Watermark { next, last, last_digest, records, entries } = *self;
        let mut bytes = [VERSION; BYTES];
        for (place, number) in
            bytes[1..].chunks_exact_mut(8).zip([next.get(), last.get(), last_digest, records, entries])
        {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Watermark, Unreadable> {
        let (&version, rest) = bytes.split_first().ok_or(Unreadable::Length)?;
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        let (numbers, []) = rest.as_chunks::<8>() else { return Err(Unreadable::Length) };
        let &[next, last, last_digest, records, entries] = numbers else { return Err(Unreadable::Length) };
        Ok(Watermark {
            next: Lsn::new(u64::from_le_bytes(next)),
            last: Lsn::new(u64::from_le_bytes(last)),
            last_digest: u64::from_le_bytes(last_digest),
            records: u64::from_le_bytes(records),
            entries: u64::from_le_bytes(entries),
        })
    }

    /// Counts one more record. Before it is written, the last one is to be told by [`Watermark::tell`].
    pub(crate) fn count(&mut self, lsn: Lsn, entries: u64) {
        self.last = lsn;
        self.records += 1;
        self.entries += entries;
    }

    /// Takes the digest of the record that was counted last: of many at once, only that one's is needed.
    pub(crate) fn tell(&mut self, payload: &[u8]) {
        self.last_digest = digest(payload);
    }
}

/// Tells one record from another; not a defence against forgery, which is the log's business.
pub(crate) fn digest(payload: &[u8]) -> u64 {
    xxh3_64(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_comes_back_or_is_refused() {
        let mut watermark = Watermark { next: Lsn::new(u64::MAX), records: 3, ..Watermark::default() };
        watermark.count(Lsn::new(77), 2);
        watermark.tell(b"payload");
        let bytes = watermark.encode();
        assert_eq!(Watermark::decode(&bytes), Ok(watermark));
        assert_eq!((watermark.records, watermark.entries, watermark.last), (4, 2, Lsn::new(77)));
        for length in 1..bytes.len() {
            assert_eq!(Watermark::decode(&bytes[..length]), Err(Unreadable::Length));
        }
        assert_eq!(Watermark::decode(&[]), Err(Unreadable::Length));
        assert_eq!(Watermark::decode(&[&bytes[..], &[0]].concat()), Err(Unreadable::Length));
        assert_eq!(Watermark::decode(&[1]), Err(Unreadable::Version(1)));
    }
}
