//! What a run found: counts by status, latency, cost of the generator; as a table for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::timeline::Slice;

/// Bodies are kept for the report up to this size.
const SAMPLE_BYTES_MAX: usize = 600;

/// The result of one run. Window = the measured part of it, without warm-up.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Length of the window.
    pub seconds: f64,
    /// 2xx answers that belong to the window. Closed loop: by time of completion. Open loop: by intended start, however
    /// late the answer came.
    pub succeeded: u64,
    /// 2xx answers that came within the window.
    pub completed: u64,
    /// Nanoseconds of every answer that belongs to the window, whatever its status. Closed loop: from the send, by
    /// time of completion. Open loop: from the intended start, by intended start.
    pub latency: Histogram<u64>,
    /// All answers of the whole run by status, warm-up included.
    pub statuses: BTreeMap<u16, u64>,
    /// Answers other than 2xx, whole run.
    pub surprises: BTreeMap<u16, Surprise>,
    /// Requests whose connection ended first, whole run.
    pub lost: u64,
    /// Why the last one was lost.
    pub lost_cause: Option<String>,
    /// Requests of the window that were not answered when the drain time ended. In an open loop their age at that
    /// moment is in `latency`, as a lower bound.
    pub unanswered: u64,
    /// Open loop: the most requests that were due and waited for an idle connection.
    pub overdue_max: u64,
    /// Processor time the generator's thread used within the window.
    pub generator_cpu_seconds: f64,
    /// Length of the warm-up, for reading the timeline.
    pub warm_up_seconds: f64,
    /// The whole run in slices, warm-up included.
    pub timeline: Vec<Slice>,
}

/// Answers of one status that nobody hoped for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surprise {
    pub count: u64,
    /// The first body, cut to 600 bytes.
    pub first_body: String,
}

impl Outcome {
    pub(crate) fn new() -> Outcome {
        // 1 µs … 1000 s with three digits: 0.1 % wide buckets, 200 KB, no resizing while measuring.
        let latency = Histogram::new_with_bounds(1_000, 1_000_000_000_000, 3)
            .expect("constant bounds are within what the histogram accepts");
        Outcome {
            seconds: 0.0,
            succeeded: 0,
            completed: 0,
            latency,
            statuses: BTreeMap::new(),
            surprises: BTreeMap::new(),
            lost: 0,
            lost_cause: None,
            unanswered: 0,
            overdue_max: 0,
            generator_cpu_seconds: 0.0,
            warm_up_seconds: 0.0,
            timeline: Vec::new(),
        }
    }

    pub(crate) fn record_status(&mut self, status: u16, body: &[u8]) {
        *self.statuses.entry(status).or_default() += 1;
        if !(200..300).contains(&status) {
            let surprise = self.surprises.entry(status).or_insert_with(|| Surprise {
                count: 0,
                first_body: String::from_utf8_lossy(&body[..body.len().min(SAMPLE_BYTES_MAX)]).into_owned(),
            });
            surprise.count += 1;
        }
    }

    pub(crate) fn record_latency(&mut self, latency: Duration) {
        self.latency.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// 2xx answers and all answers of the whole run.
    pub fn answers(&self) -> (u64, u64) {
        let of = |wanted: fn(u16) -> bool| {
            self.statuses.iter().filter(|(status, _)| wanted(**status)).map(|(_, count)| count).sum()
        };
        (of(|status| (200..300).contains(&status)), of(|_| true))
    }

    /// 2xx answers that came within the window, per second.
    pub fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.completed as f64 / self.seconds } else { 0.0 }
    }

    /// Latency at a quantile between 0 and 1.
    pub fn latency_at(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(quantile))
    }

    /// Every answer was 2xx, nothing was lost or left unanswered.
    pub fn is_clean(&self) -> bool {
        self.surprises.is_empty() && self.lost == 0 && self.unanswered == 0
    }

    /// All figures; durations in microseconds.
    pub fn to_json(&self) -> Value {
        let micros = |duration: Duration| duration.as_nanos() as f64 / 1_000.0;
        let surprises: BTreeMap<String, Value> = self
            .surprises
            .iter()
            .map(|(status, surprise)| {
                (status.to_string(), json!({ "count": surprise.count, "first_body": surprise.first_body }))
            })
            .collect();
        json!({
            "seconds": self.seconds,
            "succeeded": self.succeeded,
            "completed": self.completed,
            "per_second": self.per_second(),
            "latency_micros": {
                "mean": self.latency.mean() / 1_000.0,
                "p50": micros(self.latency_at(0.5)),
                "p90": micros(self.latency_at(0.9)),
                "p99": micros(self.latency_at(0.99)),
                "p999": micros(self.latency_at(0.999)),
                "max": micros(Duration::from_nanos(self.latency.max())),
            },
            "statuses": self.statuses.iter().map(|(k, v)| (k.to_string(), *v)).collect::<BTreeMap<_, _>>(),
            "surprises": surprises,
            "lost": self.lost,
            "lost_cause": self.lost_cause,
            "unanswered": self.unanswered,
            "overdue_max": self.overdue_max,
            "generator_cpu_seconds": self.generator_cpu_seconds,
            "warm_up_seconds": self.warm_up_seconds,
            "timeline": self.timeline.iter().map(slice_json).collect::<Vec<_>>(),
        })
    }
}

fn slice_json(slice: &Slice) -> Value {
    let micros = |duration: Duration| duration.as_nanos() as f64 / 1_000.0;
    json!({
        "begin_seconds": slice.begin_seconds, "length_seconds": slice.length_seconds,
        "succeeded": slice.succeeded, "failed": slice.failed,
        "p50_micros": micros(slice.p50), "p99_micros": micros(slice.p99), "max_micros": micros(slice.max),
    })
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |quantile| self.latency_at(quantile).as_secs_f64() * 1_000.0;
        writeln!(
            out,
            "answers 2xx   {:>12} in {:.2} s = {:.0}/s",
            self.completed,
            self.seconds,
            self.per_second()
        )?;
        writeln!(
            out,
            "latency       p50 {:.3} ms  p90 {:.3} ms  p99 {:.3} ms  p99.9 {:.3} ms  max {:.3} ms",
            millis(0.5),
            millis(0.9),
            millis(0.99),
            millis(0.999),
            millis(1.0),
        )?;
        writeln!(
            out,
            "generator     {:.2} s of processor time, {:.2} µs per answer",
            self.generator_cpu_seconds,
            self.generator_cpu_seconds * 1e6 / (self.latency.len().max(1) as f64),
        )?;
        if self.overdue_max > 0 {
            writeln!(out, "overdue       at most {} requests waited for a connection", self.overdue_max)?;
        }
        for (status, surprise) in &self.surprises {
            writeln!(out, "status {status}    {:>12} times, first: {}", surprise.count, surprise.first_body)?;
        }
        if self.lost > 0 {
            let cause = self.lost_cause.as_deref().unwrap_or("unknown");
            writeln!(out, "lost          {:>12} requests with their connection: {cause}", self.lost)?;
        }
        if self.unanswered > 0 {
            writeln!(out, "unanswered    {:>12} requests", self.unanswered)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_run() {
        let mut outcome = Outcome::new();
        outcome.seconds = 2.0;
        for millis in 1..=100 {
            outcome.record_status(201, b"");
            outcome.succeeded += 1;
            outcome.completed += 1;
            outcome.record_latency(Duration::from_millis(millis));
        }
        assert!(outcome.is_clean());
        assert!((outcome.per_second() - 50.0).abs() < 1e-9);
        let p50 = outcome.latency_at(0.5).as_secs_f64();
        assert!((0.0499..=0.0501).contains(&p50), "{p50}");

        outcome.record_status(503, &[b'x'; 1_000]);
        outcome.record_status(503, b"second");
        assert!(!outcome.is_clean());
        let surprise = &outcome.surprises[&503];
        assert_eq!((surprise.count, surprise.first_body.len()), (2, SAMPLE_BYTES_MAX));
        let json = outcome.to_json();
        assert_eq!(json["statuses"]["201"], 100);
        assert_eq!(json["surprises"]["503"]["count"], 2);
        assert!(outcome.to_string().contains("status 503"), "{outcome}");
    }
}
