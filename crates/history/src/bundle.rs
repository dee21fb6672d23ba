//! Entries of one wallet that follow each other, in one row of the database.
//!
//! A busy wallet has dozens of entries in every run. One row for all of them is written, compared and merged once, and
//! their places, which are near each other, take a few bytes instead of a key each.
//!
//! Layout: the entries from the oldest to the newest, each as the distance of its Lsn from the one before it (varint, zero
//! for the first), its item (varint), the bytes of its value (varint), and the value. The row's key is the place of the
//! oldest entry, so that whoever looks for what is older than a place begins with the row that holds it.

use std::ops::Range;

use crate::Error;
use crate::entry::EntryKey;
use crate::varint::{Input, put_unsigned};

/// Entries of one row: a page of a list reads one or two rows.
pub(crate) const ENTRIES_MAX: usize = 64;
/// Bytes of values behind which a row takes no more entries: a block of the database.
pub(crate) const VALUE_BYTES_MAX: usize = 4 << 10;

/// A row being written. Its memory is used again by the next one.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    bytes: Vec<u8>,
    last: Option<EntryKey>,
}

impl Bundle {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.last = None;
    }

    /// Adds an entry that is newer than all before it.
    pub(crate) fn push(&mut self, key: EntryKey, value: &[u8]) {
        assert!(
            self.last.is_none_or(|last| last < key),
            "a wallet's entries have places of their own, in order"
        );
        let distance = self.last.map_or(0, |last| key.lsn - last.lsn);
        self.last = Some(key);
        put_unsigned(&mut self.bytes, distance.into());
        put_unsigned(&mut self.bytes, key.item.into());
        put_unsigned(&mut self.bytes, value.len() as u128);
        self.bytes.extend_from_slice(value);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Where the entries of a row are, from the oldest to the newest. `oldest` is the place that the row's key tells.
pub(crate) fn places(oldest: EntryKey, bytes: &[u8]) -> Result<Vec<(EntryKey, Range<usize>)>, Error> {
    parse(oldest, bytes).ok_or(Error::Damaged { what: "a row of entries cannot be decoded" })
}

fn parse(oldest: EntryKey, bytes: &[u8]) -> Option<Vec<(EntryKey, Range<usize>)>> {
    let mut input = Input::new(bytes);
    let mut places = Vec::new();
    let mut last = None;
    while !input.is_empty() {
        let distance = u64::try_from(input.unsigned()?).ok()?;
        let item = u32::try_from(input.unsigned()?).ok()?;
        let lsn = last.map_or(oldest.lsn, |last: EntryKey| last.lsn).checked_add(distance)?;
        let key = EntryKey { lsn, item };
        let in_order = match last {
            None => key == oldest,
            Some(last) => key > last,
        };
        if !in_order {
            return None;
        }
        let length = usize::try_from(input.unsigned()?).ok()?;
        let begin = bytes.len() - input.len();
        input.take(length)?;
        places.push((key, begin..begin + length));
        last = Some(key);
    }
    (!places.is_empty()).then_some(places)
}

#[cfg(test)]
mod tests {
    use wal::testing::Random;

    use super::*;

    const ENTRIES: [(u64, u32, &[u8]); 5] = [
        (64, 0, b"first"),
        (64, 7, b""),
        (65, 0, b"x"),
        (1 << 40, 3, &[9; 300]),
        (u64::MAX, u32::MAX, b"last"),
    ];

    fn written(entries: &[(u64, u32, &[u8])]) -> Vec<u8> {
        let mut bundle = Bundle::default();
        for (lsn, item, value) in entries {
            bundle.push(EntryKey { lsn: *lsn, item: *item }, value);
        }
        bundle.bytes().to_vec()
    }

    #[test]
    fn rows_of_any_length_come_back() {
        for count in 1..=ENTRIES.len() {
            let entries = &ENTRIES[..count];
            let bytes = written(entries);
            let oldest = EntryKey { lsn: entries[0].0, item: entries[0].1 };
            let read: Vec<(u64, u32, &[u8])> = places(oldest, &bytes)
                .expect("it is decoded")
                .into_iter()
                .map(|(key, range)| (key.lsn, key.item, &bytes[range]))
                .collect();
            assert_eq!(read, entries);
        }
    }

    #[test]
    fn a_row_that_was_cleared_begins_anew() {
        let mut bundle = Bundle::default();
        bundle.push(EntryKey { lsn: 9, item: 9 }, b"other");
        bundle.clear();
        bundle.push(EntryKey { lsn: 5, item: 1 }, b"value");
        assert_eq!(bundle.bytes(), written(&[(5, 1, b"value")]));
    }

    #[test]
    fn damage_is_refused_or_stays_within_the_row() {
        let bytes = written(&ENTRIES);
        let oldest = EntryKey { lsn: 64, item: 0 };
        assert!(places(oldest, &[]).is_err(), "an empty row");
        assert!(places(EntryKey { lsn: 64, item: 1 }, &bytes).is_err(), "another key");
        let mut random = Random::new(1);
        for _ in 0..20_000 {
            let mut damaged = bytes.clone();
            for _ in 0..3 {
                let index = usize::try_from(random.below(bytes.len() as u64)).expect("it is small");
                damaged[index] = random.draw().to_le_bytes()[0];
            }
            let Ok(places) = places(oldest, &damaged) else { continue };
            assert!(places.is_sorted_by(|one, other| one.0 < other.0));
            assert!(places.iter().all(|(_, range)| range.end <= damaged.len()));
        }
    }
}
