//! The time that deadlines are given and judged by.
//!
//! It starts with the wall clock, but not before anything that the log says, and then follows the monotonic clock: a
//! jump of the wall clock moves no deadline. Two times are told. `now` is what goes into records. `late` is how far the
//! node has served: it stands still while the log is full or stalled, so that nobody misses a deadline because we did not
//! answer; it is moved by the timer thread alone and never passes `now`.
//! A wall clock that is absurdly far off, at the start or later, freezes both: nothing expires until somebody has looked.
//! Non-goals: telling anybody the right time, correcting the drift of a monotonic clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use ledger::{Outages, Timestamp};
use parking_lot::{Mutex, RwLock};

use crate::clock::Clock;

pub(crate) struct Timekeeper {
    clock: Arc<dyn Clock>,
    anchor: Mutex<Anchor>,
    /// Milliseconds of the last time told: it never goes back.
    told: AtomicI64,
    late: AtomicI64,
    frozen: AtomicBool,
    /// When a record was last stamped: a sign of life in the log.
    stamped: AtomicI64,
    jump_max_ms: i64,
    outages: RwLock<Outages>,
}

/// The moment at which the wall clock was believed last.
#[derive(Copy, Clone)]
struct Anchor {
    wall: i64,
    monotonic: Duration,
    /// It was never believed: the log's last sign of life stands in for it.
    is_guess: bool,
}

/// What the wall clock says about a time that was expected.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sanity {
    Sane,
    Absurd,
}

impl Timekeeper {
    /// `outages` is what the log says. A wall clock that is more than `jump_max` behind it, or more than `outage_max`
    /// ahead of it, is not believed.
    pub(crate) fn start(
        clock: Arc<dyn Clock>,
        outages: Outages,
        jump_max: Duration,
        outage_max: Duration,
    ) -> Self {
        let (wall, monotonic) = (clock.now().millis(), clock.monotonic());
        let jump_max_ms = i64::try_from(jump_max.as_millis()).unwrap_or(i64::MAX);
        let outage_max_ms = i64::try_from(outage_max.as_millis()).unwrap_or(i64::MAX);
        let (anchored, frozen) = match outages.alive_at().map(Timestamp::millis) {
            None => (wall, false),
            Some(alive) => {
                let gap = wall.saturating_sub(alive);
                let absurd = gap > outage_max_ms || gap < jump_max_ms.saturating_neg();
                (if absurd { alive } else { wall.max(alive) }, absurd)
            }
        };
        if frozen {
            let wall = Timestamp::from_millis(wall).millis();
            tracing::error!(
                wall,
                believed = anchored,
                "the clock is absurdly far from the log: nothing expires until it is right"
            );
        }
        Self {
            clock,
            anchor: Mutex::new(Anchor { wall: anchored, monotonic, is_guess: frozen }),
            told: AtomicI64::new(anchored),
            late: AtomicI64::new(outages.alive_at().map_or(anchored, |alive| alive.millis().min(anchored))),
            frozen: AtomicBool::new(frozen),
            stamped: AtomicI64::new(outages.alive_at().map_or(i64::MIN, Timestamp::millis)),
            jump_max_ms,
            outages: RwLock::new(outages),
        }
    }

    /// The present time. Stands still while the clock is not believed.
    pub(crate) fn now(&self) -> Timestamp {
        if self.is_frozen() {
            return Timestamp::from_millis(self.told.load(Ordering::Acquire));
        }
        let anchor = *self.anchor.lock();
        let now = self.expected(anchor);
        Timestamp::from_millis(self.told.fetch_max(now, Ordering::AcqRel).max(now))
    }

    /// A record with this time was appended, which is a sign of life.
    pub(crate) fn stamped_at(&self, at: Timestamp) {
        self.stamped.fetch_max(at.millis(), Ordering::AcqRel);
    }

    /// When the log last heard of us.
    pub(super) fn stamped(&self) -> i64 {
        self.stamped.load(Ordering::Acquire)
    }

    /// The time up to which deadlines are judged.
    pub(crate) fn late(&self) -> Timestamp {
        Timestamp::from_millis(self.late.load(Ordering::Acquire))
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    /// The outages so far, for computing a deadline.
    pub(crate) fn with_outages<T>(&self, read: impl FnOnce(&Outages) -> T) -> T {
        read(&self.outages.read())
    }

    /// What the clock knows, for a snapshot.
    pub(crate) fn outages(&self) -> Outages {
        let mut outages = self.outages.read().clone();
        let stamped = self.stamped.load(Ordering::Acquire);
        if stamped != i64::MIN {
            outages.saw(Timestamp::from_millis(stamped));
        }
        outages
    }

    /// For the timer thread: what it has decided about outages.
    pub(super) fn change_outages<T>(&self, change: impl FnOnce(&mut Outages) -> T) -> T {
        change(&mut self.outages.write())
    }

    /// For the timer thread: deadlines are judged up to here.
    pub(super) fn serve_until(&self, late: Timestamp) {
        let before = self.late.fetch_max(late.millis(), Ordering::AcqRel);
        assert!(before <= late.millis(), "the time that was served never goes back");
    }

    /// Compares the wall clock with what the monotonic one lets expect, and freezes time or lets it go on.
    pub(super) fn look(&self) -> Sanity {
        let wall = self.clock.now().millis();
        let mut anchor = self.anchor.lock();
        let off = wall.saturating_sub(self.expected(*anchor));
        let is_sane = off.saturating_abs() <= self.jump_max_ms;
        match (is_sane, self.is_frozen()) {
            (true, true) => {
                // A jump that is over changes nothing: the monotonic clock went on. A start without a clock had none.
                if anchor.is_guess {
                    let wall = wall.max(self.told.load(Ordering::Acquire));
                    *anchor = Anchor { wall, monotonic: self.clock.monotonic(), is_guess: false };
                }
                self.frozen.store(false, Ordering::Release);
                tracing::warn!(wall, "the clock is believed again");
            }
            (false, false) => {
                self.frozen.store(true, Ordering::Release);
                tracing::error!(off_ms = off, "the clock jumped absurdly: nothing expires until it is right");
            }
            _ => {}
        }
        if is_sane { Sanity::Sane } else { Sanity::Absurd }
    }

    fn expected(&self, anchor: Anchor) -> i64 {
        let elapsed = self.clock.monotonic().saturating_sub(anchor.monotonic);
        anchor.wall.saturating_add(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use ledger::{ClockFact, Position};
    use testkit::ManualClock;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const DAY_MS: i64 = 86_400_000;
    const START: i64 = 1_790_000_000_000;

    struct Hands(ManualClock);

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            self.0.now()
        }

        fn monotonic(&self) -> Duration {
            self.0.monotonic()
        }
    }

    fn keeper(clock: &ManualClock, alive_at: Option<i64>) -> Timekeeper {
        let mut outages = Outages::default();
        if let Some(alive_at) = alive_at {
            outages.apply(&ClockFact::Alive { at: Timestamp::from_millis(alive_at) }, Position::new(1));
        }
        Timekeeper::start(Arc::new(Hands(clock.clone())), outages, DAY, 30 * DAY)
    }

    #[test]
    fn jumps_of_the_wall_clock_move_nothing() {
        for jump in [-3_600_000, -1, 1, 3_600_000, DAY_MS] {
            let clock = ManualClock::new(START);
            let time = keeper(&clock, None);
            clock.advance(1_000);
            clock.jump(jump);
            assert_eq!((time.look(), time.now().millis()), (Sanity::Sane, START + 1_000), "{jump} ms");
            clock.advance(5);
            assert_eq!(time.now().millis(), START + 1_005);
        }
    }

    /// Two clocks that go at different speeds, as far apart as crystals are: for ten days it is no jump and moves nothing.
    #[test]
    fn a_clock_that_drifts_is_believed_and_moves_nothing() {
        for drift_ms in [-200, 200] {
            let clock = ManualClock::new(START);
            let time = keeper(&clock, None);
            for passed in 1..=864 {
                clock.advance(1_000_000);
                clock.jump(drift_ms);
                assert_eq!((time.look(), time.now().millis()), (Sanity::Sane, START + passed * 1_000_000));
            }
        }
    }

    #[test]
    fn an_absurd_jump_freezes_time_until_the_clock_is_right() {
        for jump in [-10 * 365 * DAY_MS, -DAY_MS - 1, DAY_MS + 1, 10 * 365 * DAY_MS, i64::MAX / 2] {
            let clock = ManualClock::new(START);
            let time = keeper(&clock, None);
            assert_eq!(time.now().millis(), START);
            clock.jump(jump);
            assert_eq!(time.look(), Sanity::Absurd, "{jump} ms");
            clock.advance(60_000);
            assert_eq!((time.look(), time.now().millis()), (Sanity::Absurd, START));
            clock.set(START + 60_000);
            assert_eq!((time.look(), time.now().millis()), (Sanity::Sane, START + 60_000));
            assert!(!time.is_frozen());
        }
    }

    #[test]
    fn a_start_believes_a_clock_that_fits_the_log() {
        #[track_caller]
        fn check(gap: i64, expected: i64, frozen: bool) {
            let time = keeper(&ManualClock::new(START), Some(START - gap));
            assert_eq!((time.now().millis(), time.is_frozen()), (expected, frozen), "{gap} ms");
            assert!(time.late() <= time.now());
        }
        check(0, START, false);
        check(30 * DAY_MS, START, false);
        check(30 * DAY_MS + 1, START - 30 * DAY_MS - 1, true);
        check(-DAY_MS, START + DAY_MS, false);
        check(-DAY_MS - 1, START + DAY_MS + 1, true);
    }

    #[test]
    fn a_start_without_a_clock_waits_for_one() {
        let clock = ManualClock::new(START + 10 * 365 * DAY_MS);
        let time = keeper(&clock, Some(START));
        clock.advance(5_000);
        assert_eq!((time.look(), time.now().millis()), (Sanity::Absurd, START));
        clock.set(START + 3_600_000);
        assert_eq!((time.look(), time.now().millis()), (Sanity::Sane, START + 3_600_000));
    }

    #[test]
    fn time_that_was_told_is_not_taken_back() {
        let clock = ManualClock::new(START);
        let time = keeper(&clock, None);
        clock.advance(50_000);
        let told = time.now();
        clock.jump(2 * DAY_MS);
        assert_eq!(time.look(), Sanity::Absurd);
        clock.set(START);
        assert_eq!(time.look(), Sanity::Sane);
        assert!(time.now() >= told);
    }
}
