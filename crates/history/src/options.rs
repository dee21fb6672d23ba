//! Limits of the index.

use crate::Error;

/// Everything that bounds the index. Memory: `cache_bytes`, plus twice what `recent_entries` take (about 65 bytes each, up
/// to 200 where every wallet has one; one part being filled while the other is written out), plus about 100 bytes per
/// cached balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of blocks of the database kept in memory for reading. Default 64 MiB.
    pub cache_bytes: u64,
    /// Entries kept in memory before they are written out as one sorted run. Default 524 288: about 35 MiB, and about
    /// a second of replay after a crash. Fewer make more and smaller runs, which cost compaction.
    pub recent_entries: usize,
    /// Wallets whose newest running balance is kept in memory. Default 1 048 576: about 100 MiB where so many are in use. A
    /// posting on any other wallet first reads its newest entry.
    pub balances: usize,
    /// Niceness of the follower and of the database's compaction threads, 0 to 19. Default 19: payments go first.
    pub niceness: i32,
}

impl Default for Options {
    fn default() -> Options {
        Options { cache_bytes: 64 << 20, recent_entries: 1 << 19, balances: 1 << 20, niceness: 19 }
    }
}

impl Options {
    /// Refuses what cannot work.
    pub fn validate(&self) -> Result<(), Error> {
        let refused = |what| Err(Error::Options { what });
        if self.cache_bytes < 1 << 20 {
            return refused("cache_bytes is below 1 MiB");
        }
        if !(1..=1 << 24).contains(&self.recent_entries) {
            return refused("recent_entries is not between 1 and 16 777 216");
        }
        if self.balances < 2 {
            return refused("balances is below 2");
        }
        if !(0..=19).contains(&self.niceness) {
            return refused("niceness is not between 0 and 19");
        }
        Ok(())
    }
}
