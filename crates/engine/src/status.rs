//! Where the engine stands, readable by anyone at any time: the readiness page, admission, and the process that must
//! exit when the log has failed.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use tokio::sync::Notify;

/// Phases of an engine's life, in order; `ReadOnly` goes back to `Ready` when disk space returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Snapshot and log are being read; both figures are bytes of log.
    Recovering { replayed_bytes: u64, total_bytes: u64 },
    /// Everything is served.
    Ready,
    /// The next segment of the log cannot be allocated: reads are served, nothing new is admitted.
    ReadOnly,
    /// The log failed under load: no outcome above the durable position is known any more.
    Failed,
    /// Shutdown has begun.
    Stopping,
    /// The log is closed.
    Stopped,
}

const RECOVERING: u8 = 0;
const READY: u8 = 1;
const READ_ONLY: u8 = 2;
const STOPPING: u8 = 3;
const STOPPED: u8 = 4;
const FAILED: u8 = 5;

#[derive(Default)]
struct Inner {
    phase: AtomicU8,
    replayed_bytes: AtomicU64,
    total_bytes: AtomicU64,
    failed: Notify,
}

/// Shared view of the phase.
#[derive(Clone, Default)]
pub struct Status(Arc<Inner>);

impl Status {
    /// A status that is recovering with nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The present phase.
    pub fn phase(&self) -> Phase {
        match self.0.phase.load(Ordering::Acquire) {
            RECOVERING => Phase::Recovering {
                replayed_bytes: self.0.replayed_bytes.load(Ordering::Relaxed),
                total_bytes: self.0.total_bytes.load(Ordering::Relaxed),
            },
            READY => Phase::Ready,
            READ_ONLY => Phase::ReadOnly,
            STOPPING => Phase::Stopping,
            STOPPED => Phase::Stopped,
            _ => Phase::Failed,
        }
    }

    /// Resolves once the log has failed. The process must then answer what waits and exit non-zero.
    pub async fn failed(&self) {
        let notified = self.0.failed.notified();
        tokio::pin!(notified);
        // Registered before the check, so that a failure between check and wait is not missed.
        notified.as_mut().enable();
        if self.phase() != Phase::Failed {
            notified.await;
        }
    }

    pub(crate) fn recovering(&self, replayed_bytes: u64, total_bytes: u64) {
        self.0.replayed_bytes.store(replayed_bytes, Ordering::Relaxed);
        self.0.total_bytes.store(total_bytes, Ordering::Relaxed);
    }

    pub(crate) fn set_ready(&self) {
        self.advance(READY);
    }

    pub(crate) fn set_stopping(&self) {
        self.advance(STOPPING);
    }

    pub(crate) fn set_stopped(&self) {
        self.advance(STOPPED);
    }

    pub(crate) fn set_failed(&self) {
        self.advance(FAILED);
        self.0.failed.notify_waiters();
    }

    /// Follows the log between `Ready` and `ReadOnly`; every later phase stays.
    pub(crate) fn set_read_only(&self, read_only: bool) {
        let (from, to) = if read_only { (READY, READ_ONLY) } else { (READ_ONLY, READY) };
        let _ = self.0.phase.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Phases only move forward: a failure during shutdown stays a failure.
    fn advance(&self, to: u8) {
        self.0.phase.fetch_max(to, Ordering::AcqRel);
    }
}
