//! A run in slices of time: how many answers, how fast. For plots and for the live line.
//!
//! One small histogram is reused for every slice, so that the length of a run costs nothing while it is measured.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Slices of a whole run: as many as a plot can show.
const SLICES: u32 = 120;
const SLICE_MIN: Duration = Duration::from_millis(100);
/// Slice of a run whose end is not known.
const SLICE_OPEN_ENDED: Duration = Duration::from_secs(1);

/// What happened in one slice, by time of the answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Slice {
    /// Begin, in seconds from the start of the run, warm-up included.
    pub begin_seconds: f64,
    pub length_seconds: f64,
    pub succeeded: u64,
    /// Other statuses and lost requests.
    pub failed: u64,
    /// Zero when nothing was answered.
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl Slice {
    /// 2xx answers per second.
    pub fn per_second(&self) -> f64 {
        if self.length_seconds > 0.0 { self.succeeded as f64 / self.length_seconds } else { 0.0 }
    }
}

pub(crate) struct Timeline {
    slice: Duration,
    begin: Duration,
    succeeded: u64,
    failed: u64,
    latency: Histogram<u64>,
    done: Vec<Slice>,
}

impl Timeline {
    /// `total`: length of the run, if it is known.
    pub(crate) fn new(total: Option<Duration>) -> Timeline {
        let slice = total.map_or(SLICE_OPEN_ENDED, |total| (total / SLICES).max(SLICE_MIN));
        let latency = Histogram::new_with_bounds(1_000, 1_000_000_000_000, 2)
            .expect("constant bounds are within what the histogram accepts");
        Timeline {
            slice,
            begin: Duration::ZERO,
            succeeded: 0,
            failed: 0,
            latency,
            done: Vec::with_capacity(2 * SLICES as usize),
        }
    }

    pub(crate) fn record(&mut self, elapsed: Duration, latency: Duration, success: bool) {
        self.roll(elapsed);
        self.latency.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        if success {
            self.succeeded += 1;
        } else {
            self.failed += 1;
        }
    }

    pub(crate) fn record_lost(&mut self, elapsed: Duration) {
        self.roll(elapsed);
        self.failed += 1;
    }

    /// Closes every slice that has ended.
    pub(crate) fn roll(&mut self, elapsed: Duration) {
        while elapsed >= self.begin + self.slice {
            self.close(self.slice);
        }
    }

    /// The slices, with what is left as a last, shorter one.
    pub(crate) fn finish(mut self, elapsed: Duration) -> Vec<Slice> {
        self.roll(elapsed);
        let left = elapsed.saturating_sub(self.begin);
        // A sliver would only look like a collapse of the rate.
        if left * 2 > self.slice {
            self.close(left);
        }
        self.done
    }

    pub(crate) fn last(&self) -> Option<&Slice> {
        self.done.last()
    }

    fn close(&mut self, length: Duration) {
        let at = |quantile| Duration::from_nanos(self.latency.value_at_quantile(quantile));
        self.done.push(Slice {
            begin_seconds: self.begin.as_secs_f64(),
            length_seconds: length.as_secs_f64(),
            succeeded: self.succeeded,
            failed: self.failed,
            p50: at(0.5),
            p99: at(0.99),
            max: Duration::from_nanos(self.latency.max()),
        });
        self.latency.reset();
        (self.succeeded, self.failed) = (0, 0);
        self.begin += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_fall_into_their_slice_and_silence_is_a_slice_too() {
        let mut timeline = Timeline::new(Some(Duration::from_secs(12)));
        let millis = Duration::from_millis;
        timeline.record(millis(10), millis(3), true);
        timeline.record(millis(99), millis(5), false);
        timeline.record(millis(350), millis(7), true);
        timeline.record_lost(millis(360));
        let slices = timeline.finish(millis(390));
        let counts: Vec<(u64, u64)> = slices.iter().map(|slice| (slice.succeeded, slice.failed)).collect();
        assert_eq!(counts, [(1, 1), (0, 0), (0, 0), (1, 1)]);
        assert!(slices[0].max >= millis(5) && slices[0].max < millis(6), "{:?}", slices[0]);
        assert_eq!(slices[1].p99, Duration::ZERO);
        assert!((slices[3].length_seconds - 0.09).abs() < 1e-9);
        assert!((slices[0].per_second() - 10.0).abs() < 1e-9);
    }
}
