//! Disks for tests: one in memory, and one that records every call, fails on demand, and shows what a power
//! cut leaves of it.
//!
//! Compiled always, so that the tests of other crates can use them; nothing here runs in production.

mod disk;
mod faulty;
mod memory;

pub use disk::{Call, Disk, Loss};
pub use faulty::{Fault, FaultyStorage, On};
pub use memory::MemoryStorage;

/// Small, seeded, reproducible random numbers (SplitMix64). Not for anything but tests.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// 64 random bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }
}
