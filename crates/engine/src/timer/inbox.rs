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

/// An empty list keeps its memory up to this many timers: 1 MiB.
const KEPT_TIMERS_MAX: usize = 65_536;

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

    /// Takes what was armed, and leaves the empty list that it was given, unless that has become large by a burst.
    pub(super) fn collect(&self, into: &mut Vec<Timer>) {
        assert!(into.is_empty(), "timers collected earlier are in the wheel already");
        if into.capacity() > KEPT_TIMERS_MAX {
            *into = Vec::new();
        }
        std::mem::swap(&mut *self.armed.lock(), into);
    }

    /// Timers that will fire, those that nobody needs any more included.
    pub(crate) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_collected_whole_and_gives_its_memory_back() {
        let (inbox, mut collected) = (TimerInbox::default(), Vec::new());
        for round in 0..4 {
            let armed = if round == 0 { 3 * KEPT_TIMERS_MAX as u64 } else { 10 };
            (0..armed).for_each(|token| inbox.arm(Position::new(token), Timestamp::from_millis(0)));
            inbox.collect(&mut collected);
            let tokens = collected.drain(..).map(|timer| timer.token.get());
            assert!(tokens.eq(0..armed), "each once and in order");
        }
        let kept = collected.capacity() + inbox.armed.lock().capacity();
        assert!(kept <= 2 * KEPT_TIMERS_MAX, "{kept} timers' worth is kept");
    }
}
