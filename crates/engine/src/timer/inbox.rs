//! Timers on their way to the wheel: anybody arms, the wheel's thread collects.

use std::sync::atomic::{AtomicU64, Ordering};

use ledger::{Position, Timestamp};
use parking_lot::Mutex;

/// A timer: which token to wake, and when.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) token: Position,
    pub(crate) at: Timestamp,
}

/// Bounded by the tokens that exist: each arms at most one timer per step.
#[derive(Default)]
pub(crate) struct TimerInbox {
    armed: Mutex<Vec<Timer>>,
    /// Timers in the wheel, as the thread last saw them.
    pub(super) live: AtomicU64,
}

impl TimerInbox {
    pub(crate) fn arm(&self, token: Position, at: Timestamp) {
        self.armed.lock().push(Timer { token, at });
    }

    /// Takes what was armed, leaving an empty list of the same capacity class behind.
    pub(super) fn collect(&self, into: &mut Vec<Timer>) {
        assert!(into.is_empty(), "timers collected earlier are in the wheel already");
        std::mem::swap(&mut *self.armed.lock(), into);
    }

    /// Timers that will fire, those that nobody needs any more included.
    pub(crate) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }
}
