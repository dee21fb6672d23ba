//! Reproducible chance.

use std::hash::{BuildHasher, RandomState};

/// Variable that fixes the seed of every random test.
const SEED_VARIABLE: &str = "AGENTPAY_SEED";

/// The seed for a random test: from `AGENTPAY_SEED`, or a new one. Prints it with the command that replays the test,
/// which the test runner shows when the test fails.
pub fn seed(replay_command: &str) -> u64 {
    let given = std::env::var(SEED_VARIABLE).ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one(replay_command));
    eprintln!("seed {seed}; replay: {SEED_VARIABLE}={seed} {replay_command}");
    seed
}

/// SplitMix64: small, quick, and the same on every machine for ever.
/// <https://prng.di.unimi.it/splitmix64.c>
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which must not be zero. The bias of at most `bound` in 2⁶⁴ does not matter to tests.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing is below zero");
        self.next_u64() % bound
    }

    /// An index into something of `length` elements.
    pub fn index(&mut self, length: usize) -> usize {
        let bound = u64::try_from(length).expect("lengths fit 64 bits");
        usize::try_from(self.below(bound)).expect("an index below a length fits")
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First outputs for seed 1234567 as published with the algorithm.
    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = Random::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn choices_stay_in_range() {
        let mut random = Random::new(1);
        for _ in 0..1_000 {
            assert!(random.below(7) < 7);
            assert!(random.index(3) < 3);
            assert!([1, 2].contains(random.pick(&[1, 2])));
            assert!(random.chance(100) && !random.chance(0));
        }
    }
}
