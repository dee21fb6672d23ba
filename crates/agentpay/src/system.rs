//! The real world behind the engine's seams: system clock, system randomness, process limits.
//!
//! This is the only place of the program that reads the wall clock or asks the system for random bytes.

use ledger::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// UTC from the system clock, in milliseconds, and the time since the machine was started.
#[derive(Debug, Default)]
pub(crate) struct SystemClock;

impl engine::Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock before 1970 is a broken clock; the epoch itself is the nearest value that can be told.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        // Of the two clocks that never go back, this one goes on while the machine sleeps. With the other, a node that was
        // suspended for a night would give tokens times of the evening before, for as long as it runs.
        let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let (seconds, nanos) = (u64::try_from(since.tv_sec), u32::try_from(since.tv_nsec));
        Duration::new(seconds.expect("not before the start"), nanos.expect("less than a second"))
    }
}

/// UTC from the system clock, in whole seconds.
pub(crate) fn unix_seconds() -> i64 {
    engine::Clock::now(&SystemClock).millis().div_euclid(1_000)
}

/// Random bytes from the kernel.
#[derive(Debug, Default)]
pub(crate) struct SystemEntropy;

impl engine::Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // Keys and ids without randomness would be guessable: there is no sensible way to go on.
        getrandom::fill(bytes).expect("the kernel gives random bytes");
    }
}

/// A new random value.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    engine::Entropy::fill(&SystemEntropy, &mut bytes);
    bytes
}

/// Raises the soft limit of open files towards `wanted`; the hard limit is the most that can be had.
/// Returns the limit in force.
pub(crate) fn raise_open_files(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    let soft = before.current.unwrap_or(u64::MAX);
    let target = wanted.min(before.maximum.unwrap_or(u64::MAX));
    if soft >= target {
        return soft;
    }
    let raised = Rlimit { current: Some(target), maximum: before.maximum };
    if setrlimit(Resource::Nofile, raised).is_ok() { target } else { soft }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Clock as _, Entropy as _};

    #[test]
    fn the_clock_tells_a_time_of_this_century() {
        let year_2020_ms = 1_577_836_800_000;
        assert!(SystemClock.now().millis() > year_2020_ms);
    }

    /// The kernel counts a machine's sleep into its uptime.
    #[test]
    fn the_monotonic_clock_counts_from_the_start_of_the_machine() {
        let uptime = || {
            let text = std::fs::read_to_string("/proc/uptime").expect("Linux tells it");
            let seconds = text.split(' ').next().expect("two numbers").parse().expect("seconds");
            Duration::from_secs_f64(seconds)
        };
        let (before, now, after) = (uptime(), SystemClock.monotonic(), uptime());
        // Told in hundredths of a second.
        let grain = Duration::from_millis(11);
        assert!(before <= now + grain && now <= after + grain, "{before:?} {now:?} {after:?}");
    }

    #[test]
    fn entropy_differs_between_calls() {
        let (mut first, mut second) = ([0u8; 32], [0u8; 32]);
        SystemEntropy.fill(&mut first);
        SystemEntropy.fill(&mut second);
        assert_ne!(first, second);
    }

    #[test]
    fn open_files_are_never_lowered() {
        let before = raise_open_files(0);
        assert!(before > 0);
        assert!(raise_open_files(before) >= before);
    }
}
