//! What one durable write costs on this disk: a 4 KiB positioned write and `fdatasync` into a file that was written
//! with zeros before, as the log's segments are.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

const BLOCK_BYTES: usize = 4096;
pub(crate) const FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Latencies of many writes, each synced, one after the other.
pub struct FsyncFloor {
    /// Nanoseconds.
    pub latency: Histogram<u64>,
    pub per_second: f64,
}

impl FsyncFloor {
    pub fn at(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(quantile))
    }

    /// Durations in microseconds.
    pub fn to_json(&self) -> serde_json::Value {
        let micros = |quantile| self.at(quantile).as_nanos() as f64 / 1_000.0;
        serde_json::json!({
            "writes": self.latency.len(),
            "per_second": self.per_second,
            "latency_micros": {
                "p50": micros(0.5), "p90": micros(0.9), "p99": micros(0.99), "p999": micros(0.999), "max": micros(1.0),
            },
        })
    }
}

/// Writes and syncs for `length` in a temporary file in `dir`.
pub fn measure(dir: &Path, length: Duration) -> Result<FsyncFloor> {
    let file = zeroed_file(dir)?;
    let block = [0xa5_u8; BLOCK_BYTES];
    let mut latency = Histogram::new_with_bounds(1_000, 100_000_000_000, 3)?;
    let mut offset = 0;
    let started = Instant::now();
    while started.elapsed() < length {
        let begin = Instant::now();
        file.write_all_at(&block, offset)?;
        file.sync_data()?;
        latency.saturating_record(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
        offset = (offset + BLOCK_BYTES as u64) % FILE_BYTES;
    }
    let per_second = latency.len() as f64 / started.elapsed().as_secs_f64();
    Ok(FsyncFloor { latency, per_second })
}

/// A temporary file of [`FILE_BYTES`] zeros, really written and not only allocated: a sync into an unwritten extent also
/// commits the file system's journal.
pub(crate) fn zeroed_file(dir: &Path) -> Result<File> {
    let file =
        tempfile::tempfile_in(dir).with_context(|| format!("a temporary file in {}", dir.display()))?;
    let zeros = vec![0_u8; 1024 * 1024];
    for offset in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, offset)?;
    }
    file.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_counted() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let floor = measure(dir.path(), Duration::from_millis(50)).expect("a writable directory");
        assert!(!floor.latency.is_empty());
        assert!(floor.at(0.5) <= floor.at(0.99));
        assert_eq!(floor.to_json()["writes"], floor.latency.len());
    }
}
