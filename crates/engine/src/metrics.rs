//! Metrics of the log and of the owners. Handles are made once, when the engine starts; nothing is looked up per
//! record. Gauges are polled through [`crate::Engine::gauges`].

use metrics::{Counter, Histogram, counter, histogram};
use wal::BatchStats;

pub(crate) struct Metrics {
    sync_seconds: Histogram,
    write_seconds: Histogram,
    batch_records: Histogram,
    batch_bytes: Histogram,
    records: Counter,
    bytes: Counter,
    replies: Counter,
    deadline_late_seconds: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            sync_seconds: histogram!("agentpay_log_sync_seconds"),
            write_seconds: histogram!("agentpay_log_write_seconds"),
            batch_records: histogram!("agentpay_log_batch_records"),
            batch_bytes: histogram!("agentpay_log_batch_bytes"),
            records: counter!("agentpay_log_records_total"),
            bytes: counter!("agentpay_log_bytes_total"),
            replies: counter!("agentpay_log_released_replies_total"),
            deadline_late_seconds: histogram!("agentpay_engine_deadline_late_seconds"),
        }
    }

    /// A token was ended at a deadline that lies so far back.
    #[expect(clippy::cast_precision_loss, reason = "histograms take floats; times stay far below 2^52")]
    pub(crate) fn deadline(&self, late_ms: i64) {
        self.deadline_late_seconds.record(late_ms as f64 / 1_000.0);
    }

    /// One batch was delivered with `replies` that waited for it.
    #[expect(clippy::cast_precision_loss, reason = "histograms take floats; sizes stay far below 2^52")]
    pub(crate) fn batch(&self, stats: &BatchStats, replies: usize) {
        self.replies.increment(replies as u64);
        if stats.records == 0 {
            return;
        }
        self.sync_seconds.record(stats.sync.as_secs_f64());
        self.write_seconds.record(stats.write.as_secs_f64());
        self.batch_records.record(f64::from(stats.records));
        self.batch_bytes.record(stats.bytes as f64);
        self.records.increment(u64::from(stats.records));
        self.bytes.increment(stats.bytes);
    }
}
