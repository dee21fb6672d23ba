//! How many tasks ask, each again as soon as it has its answer. The log lets a batch fill until a third of them wait in
//! it: then a third waits for the disk, a third gathers and a third is outside with its answers, and nobody stands still.
//! And how densely they come: [`crate::rush`].
//!
//! Counted by the commit stream from whoever it releases: the batches of a round see everybody who takes part. Requesters
//! are told apart by a table of bits, so a few of very many are taken for one another and not counted.

use std::task::Waker;

/// Batches of a round. Everybody comes back within three or four, as long as batches are as large as they should be.
const ROUND: u32 = 16;
/// A power of two: the number of requesters is right while it is well below.
const BITS: usize = 4_096;

/// A task that waits for the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Task(usize);

impl Task {
    /// All wakers of a task are alike.
    pub(crate) fn woken_by(waker: &Waker) -> Self {
        Self(waker.data().addr())
    }
}

/// The requesters of the round under way.
pub(crate) struct Requesters {
    seen: [u64; BITS / 64],
    batches: u32,
    round: Round,
}

/// What a round has shown.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Round {
    /// Requesters who took part.
    pub(crate) count: usize,
    /// How often one of them was released.
    releases: usize,
}

impl Round {
    /// Requesters released with a batch, on average.
    pub(crate) fn per_batch(&self) -> usize {
        self.releases / ROUND as usize
    }
}

impl Default for Requesters {
    fn default() -> Self {
        Self { seen: [0; BITS / 64], batches: 0, round: Round::default() }
    }
}

impl Requesters {
    pub(crate) fn saw(&mut self, Task(address): Task) {
        // The upper bits of a product with 2⁶⁴ / φ: tasks lie at multiples of some size.
        let hash = (address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let place = usize::try_from(hash >> (64 - BITS.ilog2())).expect("twelve bits");
        let (word, bit) = (&mut self.seen[place / 64], 1 << (place % 64));
        self.round.count += usize::from(*word & bit == 0);
        *word |= bit;
        self.round.releases += 1;
    }

    /// A batch has been released. The answer is the round, when this ends one.
    pub(crate) fn ends_batch(&mut self) -> Option<Round> {
        self.batches += 1;
        if self.batches < ROUND {
            return None;
        }
        Some(std::mem::take(self).round)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_requester_counts_once_a_round() {
        for requesters in [1_usize, 2, 64, 256, 1_000] {
            let mut round = Requesters::default();
            for batch in 1..=ROUND {
                for n in 0..requesters {
                    round.saw(Task(0x7f00_0000_0000 + n * 1_664));
                }
                let ended = round.ends_batch();
                assert_eq!(ended.is_some(), batch == ROUND, "once a round");
                if let Some(round) = ended {
                    assert_eq!(round.per_batch(), requesters);
                    let counted = round.count;
                    assert!(counted <= requesters, "nobody counts twice: {counted} of {requesters}");
                    assert!(counted * 8 >= requesters * 7, "most are told apart: {counted} of {requesters}");
                }
            }
            assert_eq!(round.round.count, 0, "the next round begins anew");
        }
    }
}
