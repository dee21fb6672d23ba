//! Metrics of delivery. Handles are made once, when delivery starts.

use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, gauge, histogram};

/// Values of the label `outcome`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    Retried,
    /// For good: the last try, 410, or the webhook was off.
    Failed,
}

pub(crate) struct Metrics {
    attempts: [Counter; 3],
    attempt_seconds: Histogram,
    pending: Gauge,
    behind: Gauge,
    open: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let attempts = "agentpay_webhooks_attempts_total";
        describe_counter!(attempts, "Attempts to deliver an event, by what came of them");
        let pending = "agentpay_webhooks_pending_items";
        describe_gauge!(pending, "Deliveries that wait or are under way, of webhooks.pending_max");
        let behind = "agentpay_webhooks_behind_bytes";
        describe_gauge!(behind, "Bytes of log that are durable and not looked at for events yet");
        let open = "agentpay_webhooks_open_info";
        describe_gauge!(open, "1 while events are followed and sent; 0 while their store cannot be used");
        Metrics {
            attempts: ["delivered", "retried", "failed"]
                .map(|outcome| counter!(attempts, "outcome" => outcome)),
            attempt_seconds: histogram!("agentpay_webhooks_attempt_seconds"),
            pending: gauge!(pending),
            behind: gauge!(behind),
            open: gauge!(open),
        }
    }

    pub(crate) fn attempt(&self, outcome: Outcome, took: Duration) {
        self.attempts[outcome as usize].increment(1);
        self.attempt_seconds.record(took.as_secs_f64());
    }

    pub(crate) fn open(&self, is_open: bool) {
        self.open.set(if is_open { 1.0 } else { 0.0 });
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges take floats; numbers stay far below 2^52")]
    pub(crate) fn pending(&self, pending: usize) {
        self.pending.set(pending as f64);
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges take floats; numbers stay far below 2^52")]
    pub(crate) fn behind(&self, bytes: u64) {
        self.behind.set(bytes as f64);
    }
}
