//! Settings of a log, and the seams for time and chance.

use crate::Error;
use crate::segment::{SECTOR, capacity_min};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Monotonic time since some fixed moment. Used for statistics and the watermark only; nothing on disk
/// depends on it.
pub trait Clock: Send + Sync {
    /// Time since the clock's own zero.
    fn now(&self) -> Duration;
}

/// Source of the random bytes that tell logs and segments apart.
pub trait Entropy: Send + Sync {
    /// 128 random bits. Never twice the same for two segments.
    fn draw(&self) -> io::Result<u128>;
}

/// Settings of one log. Those about sizes may change between two starts; segments keep the size they were
/// made with.
#[derive(Clone)]
pub struct Options {
    /// Size of a new segment file in bytes; a multiple of 512, below 4 GiB.
    pub segment_bytes: u64,
    /// Largest payload of one record in bytes.
    pub record_bytes_max: u32,
    /// A batch that has reached this size in bytes takes no further record, so that a long backlog is written
    /// in several batches and the first replies do not wait for the last record. One record may be larger.
    pub batch_bytes_max: u32,
    /// How long the log rests after its last batch until it writes a watermark, which proves that batch
    /// durable.
    pub watermark_after: Duration,
    /// The next batch is taken no sooner after the beginning of the last one's write than this much for each of its
    /// records. A thread's turn, two system calls and an interrupt are the price of a batch however full it is, and
    /// records that came together once come together again: above one record per this time batches fill up instead
    /// of becoming many; below it nothing waits. Zero: never wait.
    pub gather_per_record: Duration,
    /// Longest wait for a batch to fill.
    pub gather_max: Duration,
    /// Segments kept ready beyond the current one; at least 1.
    pub segments_ahead: u32,
    /// How long to wait before the next try when a segment could not be allocated because the disk is full.
    pub allocation_retry: Duration,
    /// Time, for statistics and the watermark.
    pub clock: Arc<dyn Clock>,
    /// Chance, for log and segment identities.
    pub entropy: Arc<dyn Entropy>,
    /// Bug to plant, which the tests have to notice.
    #[cfg(test)]
    pub(crate) sabotage: Sabotage,
}

/// A wait beyond this would be felt, and no sync costs as much.
const GATHER_LIMIT: Duration = Duration::from_millis(100);

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            record_bytes_max: 16 << 20,
            batch_bytes_max: 4 << 20,
            watermark_after: Duration::from_millis(50),
            gather_per_record: Duration::from_micros(15),
            gather_max: Duration::from_micros(1_200),
            segments_ahead: 2,
            allocation_retry: Duration::from_secs(1),
            clock: Arc::new(SystemClock::default()),
            entropy: Arc::new(SystemEntropy),
            #[cfg(test)]
            sabotage: Sabotage::None,
        }
    }
}

impl Options {
    /// Refuses settings that do not fit together. Nothing is repaired silently.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |what: String| Err(Error::Options { what });
        if self.segment_bytes > u64::from(u32::MAX) || !self.segment_bytes.is_multiple_of(SECTOR as u64) {
            return refuse(format!(
                "segment_bytes = {} must be a multiple of 512 below 4 GiB",
                self.segment_bytes
            ));
        }
        let needed = capacity_min(self.record_bytes_max);
        if self.segment_bytes < needed {
            return refuse(format!(
                "segment_bytes = {} must be at least {needed} to hold a record of record_bytes_max = {}",
                self.segment_bytes, self.record_bytes_max
            ));
        }
        if self.batch_bytes_max < 512 {
            return refuse(format!("batch_bytes_max = {} must be at least 512", self.batch_bytes_max));
        }
        if self.gather_max > GATHER_LIMIT {
            return refuse(format!("gather_max = {:?} must not be above {GATHER_LIMIT:?}", self.gather_max));
        }
        if self.segments_ahead == 0 {
            return refuse("segments_ahead must be at least 1".to_owned());
        }
        if self.allocation_retry.is_zero() {
            return refuse("allocation_retry must not be zero".to_owned());
        }
        Ok(())
    }

    /// Whether the tests planted this bug; a constant `false` in every other build.
    #[cfg(test)]
    pub(crate) fn sabotaged(&self, bug: Sabotage) -> bool {
        self.sabotage == bug
    }

    #[cfg(not(test))]
    #[inline(always)]
    pub(crate) const fn sabotaged(&self, _: Sabotage) -> bool {
        false
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("segment_bytes", &self.segment_bytes)
            .field("record_bytes_max", &self.record_bytes_max)
            .field("batch_bytes_max", &self.batch_bytes_max)
            .field("watermark_after", &self.watermark_after)
            .field("gather_per_record", &self.gather_per_record)
            .field("gather_max", &self.gather_max)
            .field("segments_ahead", &self.segments_ahead)
            .field("allocation_retry", &self.allocation_retry)
            .finish_non_exhaustive()
    }
}

/// Bugs that the tests plant to show that they would be noticed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) enum Sabotage {
    None,
    /// The durable position is read after the sync, when later records have been appended.
    PositionAfterSync,
    /// A failed sync is tried again.
    RetrySync,
    /// A bad batch ends the log, whatever follows it.
    StopAtFirstFlaw,
}

/// The machine's monotonic clock.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The operating system's random numbers.
#[derive(Debug)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn draw(&self) -> io::Result<u128> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(u128::from_le_bytes(bytes))
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_each_limit_is_checked() {
        let good = Options::default();
        good.validate().expect("defaults");
        let table: [(&str, Options); 7] = [
            ("gather_max", Options { gather_max: Duration::from_secs(1), ..good.clone() }),
            ("multiple of 512", Options { segment_bytes: (64 << 20) + 1, ..good.clone() }),
            ("below 4 GiB", Options { segment_bytes: 4 << 30, ..good.clone() }),
            ("at least", Options { segment_bytes: 16 << 20, ..good.clone() }),
            ("batch_bytes_max", Options { batch_bytes_max: 0, ..good.clone() }),
            ("segments_ahead", Options { segments_ahead: 0, ..good.clone() }),
            ("allocation_retry", Options { allocation_retry: Duration::ZERO, ..good.clone() }),
        ];
        for (word, options) in table {
            let error = options.validate().expect_err(word);
            assert!(error.to_string().contains(word), "{error}");
        }
        let least = Options { segment_bytes: 2048, record_bytes_max: 512, ..good };
        least.validate().expect("a small log");
    }

    #[test]
    fn random_draws_differ() {
        let entropy = SystemEntropy;
        assert_ne!(entropy.draw().expect("random"), entropy.draw().expect("random"));
    }
}
