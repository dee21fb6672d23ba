//! A long list that grows without ever moving what it has, and that can be told to keep a fair sample only.

use fastrand::Rng;

/// Growing by whole chunks costs one allocation now and then; a doubling `Vec` would copy a gigabyte in the middle of a
/// measurement.
const CHUNK: usize = 1 << 15;

/// Items in order of arrival, or an even sample of them.
#[derive(Debug)]
pub struct Kept<T> {
    chunks: Vec<Vec<T>>,
    seen: u64,
    bound: Option<usize>,
    rng: Rng,
}

impl<T> Kept<T> {
    /// `bound`: keep that many at most, each item with the same chance (reservoir sampling).
    pub(crate) fn new(bound: Option<usize>, seed: u64) -> Kept<T> {
        Kept { chunks: Vec::new(), seen: 0, bound, rng: Rng::with_seed(seed) }
    }

    pub(crate) fn push(&mut self, item: T) {
        self.seen += 1;
        if let Some(bound) = self.bound.filter(|bound| self.len() >= *bound) {
            let place = usize::try_from(self.rng.u64(0..self.seen)).unwrap_or(usize::MAX);
            if place < bound {
                self.chunks[place / CHUNK][place % CHUNK] = item;
            }
            return;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks.last_mut().expect("a chunk was just made").push(item);
    }

    /// All items that came, kept or not.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub fn get(&self, index: usize) -> &T {
        &self.chunks[index / CHUNK][index % CHUNK]
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_kept_or_an_even_sample() {
        let mut all = Kept::new(None, 1);
        (0..100_000).for_each(|n| all.push(n));
        assert_eq!((all.len(), all.seen()), (100_000, 100_000));
        assert_eq!((*all.get(0), *all.get(CHUNK), *all.get(99_999)), (0, CHUNK, 99_999));

        let mut sample = Kept::new(Some(1_000), 1);
        (0..100_000_usize).for_each(|n| sample.push(n));
        assert_eq!((sample.len(), sample.seen()), (1_000, 100_000));
        let late = sample.iter().filter(|n| **n >= 50_000).count();
        assert!((400..600).contains(&late), "{late} of 1000 are from the later half");
        let mut none = Kept::new(Some(0), 1);
        none.push(1);
        assert_eq!((none.len(), none.seen()), (0, 1));
    }
}
