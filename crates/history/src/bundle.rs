//! Entries of one wallet that follow each other, in one row: in memory as in the database.
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
use crate::varint::{Input, Output};

/// Entries of one row: a page of a list reads one or two rows.
pub(crate) const ENTRIES_MAX: u32 = 64;
/// Bytes behind which a row takes no more entries: a block of the database.
pub(crate) const BYTES_MAX: u32 = 4 << 10;

/// Bytes before a value at most: two numbers of ten bytes and one of five.
pub(crate) const PLACE_BYTES_MAX: usize = 25;

/// Writes what stands before the value of an entry at `key`, behind the one at `last` in its row. Returns its length.
pub(crate) fn write_place(
    last: Option<EntryKey>,
    key: EntryKey,
    value_bytes: usize,
    out: &mut [u8],
) -> usize {
    assert!(last.is_none_or(|last| last < key), "a wallet's entries have places of their own, in order");
    let mut output = Output::new(out);
    output.put_unsigned(last.map_or(0, |last| key.lsn - last.lsn).into());
    output.put_unsigned(key.item.into());
    output.put_unsigned(value_bytes as u128);
    output.len()
}

/// The value of an entry in the row that it lies in.
pub(crate) struct InRow<R> {
    row: R,
    range: Range<usize>,
}

impl<R: AsRef<[u8]>> AsRef<[u8]> for InRow<R> {
    fn as_ref(&self) -> &[u8] {
        &self.row.as_ref()[self.range.clone()]
    }
}

/// Takes rows of a wallet apart, the newest first: gives the entries older than a key.
pub(crate) struct Entries<I, R> {
    /// The place of each row's oldest entry, and the row.
    rows: I,
    /// A row goes by its oldest entry: the first one that is met may hold newer ones than are asked for.
    before: EntryKey,
    row: Option<R>,
    /// What is left of the row, oldest first.
    places: Vec<(EntryKey, Range<usize>)>,
}

impl<I, R> Entries<I, R> {
    pub(crate) fn new(rows: I, before: EntryKey) -> Entries<I, R> {
        Entries { rows, before, row: None, places: Vec::new() }
    }
}

impl<I, R> Iterator for Entries<I, R>
where
    I: Iterator<Item = Result<(EntryKey, R), Error>>,
    R: AsRef<[u8]> + Clone,
{
    type Item = Result<(EntryKey, InRow<R>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let (Some(row), Some((key, range))) = (&self.row, self.places.pop()) {
                if key < self.before {
                    return Some(Ok((key, InRow { row: row.clone(), range })));
                }
            }
            let opened = self.rows.next()?.and_then(|(oldest, row)| Ok((places(oldest, row.as_ref())?, row)));
            match opened {
                Ok((places, row)) => (self.places, self.row) = (places, Some(row)),
                Err(error) => return Some(Err(error)),
            }
        }
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
        let (mut row, mut last) = (Vec::new(), None);
        for (lsn, item, value) in entries {
            let key = EntryKey { lsn: *lsn, item: *item };
            let mut place = [0; PLACE_BYTES_MAX];
            let length = write_place(last.replace(key), key, value.len(), &mut place);
            row.extend_from_slice(&place[..length]);
            row.extend_from_slice(value);
        }
        row
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
    fn rows_are_taken_apart_from_the_newest_entry_on() {
        let key = |index: usize| EntryKey { lsn: ENTRIES[index].0, item: ENTRIES[index].1 };
        let rows = [(key(3), written(&ENTRIES[3..])), (key(0), written(&ENTRIES[..3]))];
        for before in 0..=ENTRIES.len() {
            let bound = ENTRIES.get(before).map_or(EntryKey::MAX, |_| key(before));
            let found: Vec<(EntryKey, Vec<u8>)> = Entries::new(rows.iter().cloned().map(Ok), bound)
                .map(|entry| entry.map(|(key, value)| (key, value.as_ref().to_vec())))
                .collect::<Result<_, Error>>()
                .expect("they are decoded");
            let older = if before == ENTRIES.len() { before - 1 } else { before };
            let expected: Vec<_> =
                (0..older).rev().map(|index| (key(index), ENTRIES[index].2.to_vec())).collect();
            assert_eq!(found, expected, "before entry {before}");
        }
        let damaged = [Ok((key(0), vec![9; 9]))].into_iter();
        assert!(Entries::new(damaged, EntryKey::MAX).next().is_some_and(|entry| entry.is_err()));
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
