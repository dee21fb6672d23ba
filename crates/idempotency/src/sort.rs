//! Sorting the entries of a run in small pieces: first by the top byte of their digests, which spread evenly, then each
//! part by itself.

use std::cmp::Reverse;

use crate::SpilledKey;
use crate::entry::Entry;

const PARTS: usize = 256;
/// Keys that are dealt out between two breaths.
const DEALT: usize = 1_024;

/// The entries of `keys` in order, of each name the youngest use only.
pub(crate) fn sorted(keys: &[SpilledKey], breathe: &mut dyn FnMut()) -> Vec<Entry> {
    let room = keys.len() / PARTS * 5 / 4;
    let mut parts: Vec<Vec<Entry>> =
        std::iter::repeat_with(|| Vec::with_capacity(room)).take(PARTS).collect();
    for some in keys.chunks(DEALT) {
        for entry in some.iter().map(Entry::of) {
            parts[part_of(&entry)].push(entry);
        }
        breathe();
    }
    let mut sorted = Vec::with_capacity(keys.len());
    for mut part in parts {
        // The younger of two uses first: it is the one that stays.
        part.sort_unstable_by_key(|entry| (entry.name(), Reverse(entry.place)));
        part.dedup_by_key(|entry| entry.name());
        sorted.append(&mut part);
        breathe();
    }
    sorted
}

fn part_of(entry: &Entry) -> usize {
    usize::from(entry.name().digest.to_be_bytes()[0])
}
