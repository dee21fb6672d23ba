//! Rate limits per client address, in bounded memory.
//!
//! Each source has two buckets: one for everything, one for anonymous calls. A bucket is the generic cell rate
//! algorithm in one atomic word, so a request costs one compare-and-swap; the map is only asked when a connection
//! begins, or for every request when the address comes from a proxy's header. Time is what the caller says it is:
//! nanoseconds since the gateway began, from a clock that never goes back.
//!
//! Invariant: at most `sources_max` sources are tracked. When that many are busy at once, newcomers share one set of
//! buckets: under a flood of addresses strangers are throttled together rather than memory growing.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::address::Source;

const SHARDS: usize = 16;
/// A full shard is swept at most this often, so that a flood does not make every newcomer pay for a sweep.
const SWEEP_EVERY_NANOS: u64 = 1_000_000_000;

/// So many requests in a window; all of them may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) requests: u32,
    window_nanos: u64,
}

impl Rate {
    pub(crate) const fn per_second(requests: u32) -> Self {
        Self { requests, window_nanos: 1_000_000_000 }
    }

    pub(crate) const fn per_minute(requests: u32) -> Self {
        Self { requests, window_nanos: 60_000_000_000 }
    }
}

/// A refused take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted {
    /// Requests per window.
    pub(crate) limit: u32,
    /// Until the next request passes.
    pub(crate) retry_after_ms: u64,
    /// Until the whole window's worth passes again.
    pub(crate) reset_after_ms: u64,
}

/// One token bucket: the moment at which it will be full again.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    full_at: AtomicU64,
}

impl Bucket {
    /// Takes one token at `now`.
    ///
    /// # Errors
    /// The bucket is empty; nothing was taken.
    pub(crate) fn take(&self, rate: Rate, now: u64) -> Result<(), Exhausted> {
        let cost = rate.window_nanos / u64::from(rate.requests.max(1));
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let next = full_at.max(now).saturating_add(cost);
            let over = next.saturating_sub(now.saturating_add(rate.window_nanos));
            if over > 0 {
                return Err(Exhausted {
                    limit: rate.requests,
                    retry_after_ms: over.div_ceil(1_000_000),
                    reset_after_ms: full_at.saturating_sub(now).div_ceil(1_000_000),
                });
            }
            match self.full_at.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(seen) => full_at = seen,
            }
        }
    }

    fn is_full(&self, now: u64) -> bool {
        self.full_at.load(Ordering::Relaxed) <= now
    }
}

/// What one source has left.
#[derive(Debug, Default)]
pub(crate) struct SourceBuckets {
    pub(crate) every: Bucket,
    pub(crate) anonymous: Bucket,
}

impl SourceBuckets {
    fn is_full(&self, now: u64) -> bool {
        self.every.is_full(now) && self.anonymous.is_full(now)
    }
}

/// Buckets of all sources.
pub(crate) struct Sources {
    shards: [Mutex<Shard>; SHARDS],
    shard_max: usize,
    strangers: Arc<SourceBuckets>,
}

#[derive(Default)]
struct Shard {
    buckets: HashMap<Source, Arc<SourceBuckets>>,
    swept_at: u64,
}

impl Sources {
    /// Tracks at most `sources_max` sources (rounded up to a multiple of the shards).
    pub(crate) fn new(sources_max: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            shard_max: sources_max.div_ceil(SHARDS),
            strangers: Arc::default(),
        }
    }

    /// The buckets of `source`, new ones if it was not known.
    pub(crate) fn of(&self, source: Source, now: u64) -> Arc<SourceBuckets> {
        let mut shard = self.shards[shard_of(source)].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buckets) = shard.buckets.get(&source) {
            return buckets.clone();
        }
        if shard.buckets.len() >= self.shard_max {
            shard.sweep(now);
        }
        if shard.buckets.len() >= self.shard_max {
            return self.strangers.clone();
        }
        shard.buckets.entry(source).or_default().clone()
    }
}

impl Shard {
    /// Forgets sources with nothing to remember: full buckets that no connection holds.
    fn sweep(&mut self, now: u64) {
        if now.saturating_sub(self.swept_at) < SWEEP_EVERY_NANOS && self.swept_at != 0 {
            return;
        }
        self.swept_at = now.max(1);
        self.buckets.retain(|_, buckets| Arc::strong_count(buckets) > 1 || !buckets.is_full(now));
    }
}

fn shard_of(source: Source) -> usize {
    let bits = match source {
        Source::V4(bits) => u64::from(bits),
        Source::V6Network(bits) => bits,
    };
    // Fibonacci hashing: neighbours spread over the shards.
    (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_bucket_gives_its_window_at_once_then_its_rate() {
        let bucket = Bucket::default();
        let rate = Rate::per_second(10);
        for _ in 0..10 {
            assert_eq!(bucket.take(rate, SECOND), Ok(()));
        }
        let refused = bucket.take(rate, SECOND).expect_err("the eleventh");
        assert_eq!(refused, Exhausted { limit: 10, retry_after_ms: 100, reset_after_ms: 1_000 });
        assert_eq!(bucket.take(rate, SECOND + SECOND / 10), Ok(()));
        assert!(bucket.take(rate, SECOND + SECOND / 10).is_err());
        assert!((0..10).all(|_| bucket.take(rate, 3 * SECOND).is_ok()), "full again");
    }

    #[test]
    fn thirty_a_minute() {
        let bucket = Bucket::default();
        let rate = Rate::per_minute(30);
        assert!((0..30).all(|_| bucket.take(rate, 0).is_ok()));
        assert_eq!(bucket.take(rate, 0).expect_err("empty").retry_after_ms, 2_000);
        assert!(bucket.take(rate, 2 * SECOND).is_ok());
    }

    #[test]
    fn sources_are_bounded_and_forgotten_when_quiet() {
        let sources = Sources::new(SHARDS);
        let rate = Rate::per_second(1);
        for address in 0..10_000 {
            let _ = sources.of(Source::V4(address), SECOND).every.take(rate, SECOND);
        }
        let tracked = |sources: &Sources| -> usize {
            sources.shards.iter().map(|shard| shard.lock().expect("no panic").buckets.len()).sum()
        };
        assert!(tracked(&sources) <= SHARDS);
        let stranger = sources.of(Source::V4(20_000), SECOND);
        assert!(stranger.every.take(rate, SECOND).is_err(), "strangers share one bucket during a flood");
        let later = sources.of(Source::V4(20_000), 10 * SECOND);
        assert!(later.every.take(rate, 10 * SECOND).is_ok(), "quiet sources made room");
        assert!(Arc::ptr_eq(&later, &sources.of(Source::V4(20_000), 10 * SECOND)));
    }

    #[test]
    fn a_source_in_use_is_not_forgotten() {
        let sources = Sources::new(SHARDS);
        let held = sources.of(Source::V4(1), SECOND);
        for address in 2..1_000 {
            sources.of(Source::V4(address), u64::from(address) * SECOND);
        }
        assert!(Arc::ptr_eq(&held, &sources.of(Source::V4(1), 2_000 * SECOND)));
    }
}
