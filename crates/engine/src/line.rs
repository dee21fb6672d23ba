//! Who wants to change something while the log makes its next segment stands in line until it is there.
//!
//! A disk that does not keep up slows its clients down that way; it refuses them only when it makes no headway at all.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{sync::Mutex, time};
use wal::Admission;

use crate::{refusal::Refusal, shared::Shared, status::Phase};

/// How often the first in line looks.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Whether a change may be appended to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogTakes {
    Now,
    /// Soon: the next segment is being made.
    Later,
}

impl Shared {
    /// Whether the log takes changes, and why not.
    pub(crate) fn log_takes_changes(&self) -> Result<LogTakes, Refusal> {
        // Before the phase: an engine that stops says so before it closes its log.
        let log = self.wal.admission();
        if !matches!(self.status.phase(), Phase::Ready | Phase::ReadOnly) {
            return Err(Refusal::Stopping);
        }
        match log {
            Admission::Open => Ok(LogTakes::Now),
            Admission::Pressed => Ok(LogTakes::Later),
            Admission::ReadOnly => Err(Refusal::ReadOnly),
            Admission::Poisoned => Err(Refusal::Stopping),
        }
    }
}

/// The line. It moves in the order in which they came, and only the first looks, so a long one costs no more than a short.
#[derive(Default)]
pub(crate) struct Line {
    first: Mutex<()>,
    len: AtomicU64,
}

/// A place in the line, until it is dropped.
struct Place<'l>(&'l AtomicU64);

impl Line {
    /// How many stand in it.
    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// Waits until the log takes changes, at most as long as the options say.
    pub(crate) async fn wait(&self, shared: &Shared) -> Result<(), Refusal> {
        self.len.fetch_add(1, Ordering::Relaxed);
        let _place = Place(&self.len);
        let turn = async {
            let _first = self.first.lock().await;
            while shared.log_takes_changes()? == LogTakes::Later {
                time::sleep(LOOK_EVERY).await;
            }
            Ok(())
        };
        time::timeout(shared.options.segment_wait, turn).await.unwrap_or(Err(Refusal::Overloaded))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
