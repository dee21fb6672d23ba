//! Whether there is room for what a run is going to write: asked before it begins, because a full disk hours later helps
//! nobody.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::live_line::LiveLine;
use crate::report::grouped;

/// What one payment takes of a node's disk: some 190 in the log, 50 of its key, 110 of the index, and room for what is
/// being joined and compacted. Measured with up to 17 million.
const BYTES_PER_RECORD: u64 = 380;
/// Segments made ahead, snapshots, and what an index of any size has twice at times.
const BYTES_BESIDE: u64 = 3_000_000_000;

/// Says what so many records need, and refuses if the directory's file system has less.
pub(super) fn ensure_room(dir: &Path, records: u64, line: &mut LiveLine) -> Result<()> {
    let needed = records.saturating_mul(BYTES_PER_RECORD).saturating_add(BYTES_BESIDE);
    let found = rustix::fs::statvfs(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    ensure!(
        needed <= free,
        "a log of {} records needs about {} of disk in {}, and {} are free: name another --work-dir, or at most \
         --max-records {}",
        grouped(records as f64),
        gigabytes(needed),
        dir.display(),
        gigabytes(free),
        free.saturating_sub(BYTES_BESIDE) / BYTES_PER_RECORD
    );
    line.say(&format!(
        "a log of {} records needs about {} of disk in {}, {} are free",
        grouped(records as f64),
        gigabytes(needed),
        dir.display(),
        gigabytes(free)
    ));
    Ok(())
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}
