//! What works beside payments gives way to them: snapshots, the index and keys share disk and processors with the log.
//!
//! A file that is written at the speed of memory and synced when it is whole keeps the disk for as long as it takes to
//! write it: 0.2 seconds for 64 MiB here, and each commit of the log waits. So a writer counts its bytes with a
//! [`Spread`]; after every [step](STEP_BYTES) it has the kernel begin to write them ([`begin_writeback`]) and rests for as long
//! as it is ahead of its [`Rate`].
//!
//! Removing such a file is spread too ([`remove()`]). A thread that does nothing else [lowers its priority](lower_priority).
//!
//! Owner of state: each writer its own count; whoever knows how urgent the writing is sets the rate, also meanwhile.
//! Non-goals: durability. Who needs a file durable syncs it.

mod priority;
mod remove;

pub use priority::lower_priority;
pub use remove::{Doomed, reading, remove};

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

/// Bytes between two rests, unless a writer has a measure of its own. Few enough that a commit does not wait for them
/// noticeably: two milliseconds of a disk that writes 250 MB/s.
pub const STEP_BYTES: u64 = 512 << 10;

/// A rest is taken in pieces, so that a rate that rises is noticed.
const NAP_MAX: Duration = Duration::from_millis(10);

/// Bytes per second that a writer may write, or any number of them.
#[derive(Debug, Default)]
pub struct Rate(AtomicU64);

impl Rate {
    pub fn new(bytes_per_second: Option<NonZeroU64>) -> Rate {
        Rate(AtomicU64::new(number(bytes_per_second)))
    }

    /// From now on; `None` bounds nothing.
    pub fn set(&self, bytes_per_second: Option<NonZeroU64>) {
        self.0.store(number(bytes_per_second), Ordering::Relaxed);
    }

    /// How long `bytes` take at least.
    fn time_of(&self, bytes: u64) -> Duration {
        let micros = bytes.saturating_mul(1_000_000).checked_div(self.0.load(Ordering::Relaxed));
        Duration::from_micros(micros.unwrap_or(0))
    }
}

/// As it is stored: zero is no bound.
fn number(bytes_per_second: Option<NonZeroU64>) -> u64 {
    bytes_per_second.map_or(0, NonZeroU64::get)
}

/// One writer's count.
#[derive(Debug)]
pub struct Spread {
    rate: Arc<Rate>,
    step_bytes: u64,
    /// Since the last rest.
    bytes: u64,
    since: Instant,
}

impl Spread {
    pub fn new(rate: Arc<Rate>) -> Spread {
        Spread::in_steps(STEP_BYTES, rate)
    }

    /// With so many bytes between two rests.
    pub fn in_steps(step_bytes: u64, rate: Arc<Rate>) -> Spread {
        Spread { rate, step_bytes, bytes: 0, since: Instant::now() }
    }

    /// Counts bytes that were written. True when it is time to have them written to disk, and to [`Self::rest`].
    pub fn wrote(&mut self, bytes: usize) -> bool {
        self.bytes += bytes as u64;
        self.bytes >= self.step_bytes
    }

    /// Sleeps until what was counted since the last rest has taken as long as it may.
    pub fn rest(&mut self) {
        loop {
            let left = self.rate.time_of(self.bytes).saturating_sub(self.since.elapsed());
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(NAP_MAX));
        }
        self.bytes = 0;
        self.since = Instant::now();
    }
}

/// Has the kernel begin to write `from..to` of a file to disk, and does not wait for it. Nothing is durable by it; what a
/// sync finds still to be written is less.
pub fn begin_writeback(file: &File, from: u64, to: u64) -> io::Result<()> {
    // Advice that pages are not needed starts writing those that are dirty, and only drops those that are not. Reaching
    // to the end of the file would drop what others read.
    match NonZeroU64::new(to.saturating_sub(from)) {
        Some(length) => Ok(fadvise(file, from, Some(length), Advice::DontNeed)?),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;

    fn per_second(bytes: u64) -> Option<NonZeroU64> {
        NonZeroU64::new(bytes)
    }

    #[test]
    fn a_step_is_counted_and_begins_anew() {
        let mut spread = Spread::new(Arc::default());
        let half = usize::try_from(STEP_BYTES / 2).expect("small");
        assert!(!spread.wrote(half) && !spread.wrote(half - 1) && spread.wrote(1));
        spread.rest();
        assert!(!spread.wrote(half) && spread.wrote(half));
        let mut spread = Spread::in_steps(10, Arc::default());
        assert!(!spread.wrote(9) && spread.wrote(1));
    }

    #[test]
    fn a_rate_says_how_long_bytes_take() {
        let rate = Rate::default();
        assert_eq!(rate.time_of(u64::MAX), Duration::ZERO, "without a bound");
        rate.set(per_second(1 << 20));
        assert_eq!(rate.time_of(1 << 19), Duration::from_millis(500));
        rate.set(None);
        assert_eq!(rate.time_of(1 << 19), Duration::ZERO);
    }

    /// A writer is held to its rate from below: it cannot be done sooner than its bytes take.
    #[test]
    fn a_writer_rests_for_as_long_as_it_is_ahead() {
        let rate = Arc::new(Rate::default());
        rate.set(per_second(STEP_BYTES * 50));
        let begun = Instant::now();
        let mut spread = Spread::new(rate);
        for _ in 0..5 {
            assert!(spread.wrote(usize::try_from(STEP_BYTES).expect("small")));
            spread.rest();
        }
        assert!(begun.elapsed() >= Duration::from_millis(100));
    }

    /// A rate that is lifted ends a rest that would have taken an hour.
    #[test]
    fn a_rest_ends_when_the_rate_is_lifted() {
        let rate = Arc::new(Rate::default());
        rate.set(per_second(STEP_BYTES / 3_600));
        let mut spread = Spread::new(rate.clone());
        spread.wrote(usize::try_from(STEP_BYTES).expect("small"));
        let resting = thread::spawn(move || spread.rest());
        rate.set(None);
        resting.join().expect("it ends");
    }

    #[test]
    fn written_back_or_not_a_file_holds_what_was_written() {
        let mut file = tempfile::tempfile().expect("a file");
        let mut written = Vec::new();
        for piece in 0..10_u8 {
            let from = written.len() as u64;
            let bytes = vec![piece; 10_000];
            file.write_all(&bytes).expect("written");
            written.extend(bytes);
            begin_writeback(&file, from, written.len() as u64).expect("a file can be written back");
        }
        begin_writeback(&file, 5, 5).expect("nothing to do");
        let mut read = Vec::new();
        file.rewind().expect("a file");
        file.read_to_end(&mut read).expect("read");
        assert_eq!(read, written);
    }
}
