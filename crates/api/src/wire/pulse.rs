//! Time limits of one connection, counted in ticks of its one timer.
//!
//! Requests set no timers of their own: the connection's task ticks at a coarse pace, and every limit (head, body, idle,
//! write) is a number of ticks since something began. A limit is therefore exceeded by at most one tick, and a busy
//! connection pays nothing for its limits but a few stores to its own cache line.
//!
//! All fields are used by the connection's own task only; they are atomic because that task moves between threads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::settings::Settings;

/// Limits in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks {
    pub(crate) every: Duration,
    head: u32,
    idle: u32,
    write: u32,
    body: u32,
    body_grace: u32,
    body_bytes_per_tick: u64,
}

impl Ticks {
    /// A quarter of the shortest limit, between 25 ms and one second.
    pub(crate) fn of(settings: &Settings) -> Self {
        let limits =
            [settings.head_timeout, settings.idle_timeout, settings.write_timeout, settings.body_timeout];
        let shortest = limits.into_iter().min().expect("four limits");
        let every = (shortest / 4).clamp(Duration::from_millis(25), Duration::from_secs(1));
        let count = |limit: Duration| {
            u32::try_from(limit.as_micros().div_ceil(every.as_micros())).unwrap_or(u32::MAX)
        };
        let per_tick = u128::from(settings.body_bytes_per_second_min) * every.as_micros() / 1_000_000;
        Self {
            every,
            head: count(settings.head_timeout),
            idle: count(settings.idle_timeout),
            write: count(settings.write_timeout),
            body: count(settings.body_timeout),
            body_grace: count(settings.body_grace),
            body_bytes_per_tick: u64::try_from(per_tick).unwrap_or(u64::MAX),
        }
    }
}

/// A limit that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// A head began and did not end, or a new connection never said anything.
    Head,
    /// Nothing was asked for a long time.
    Idle,
    /// The client does not read its answer.
    Write,
}

/// A moment in ticks, or none. Zero stands for none, so a moment is stored one higher.
#[derive(Default)]
struct Since(AtomicU32);

impl Since {
    fn begin(&self, now: u32) {
        if self.0.load(Relaxed) == 0 {
            self.0.store(now.saturating_add(1), Relaxed);
        }
    }

    fn end(&self) {
        self.0.store(0, Relaxed);
    }

    /// Counts from now, if it was counting.
    fn restart(&self, now: u32) {
        if self.0.load(Relaxed) != 0 {
            self.0.store(now.saturating_add(1), Relaxed);
        }
    }

    fn elapsed(&self, now: u32) -> Option<u32> {
        let stored = self.0.load(Relaxed);
        (stored != 0).then(|| now.saturating_sub(stored - 1))
    }
}

/// State of one connection's limits.
#[derive(Default)]
pub(crate) struct Pulse {
    now: AtomicU32,
    head: Since,
    write: Since,
    quiet_since: AtomicU32,
    in_request: AtomicBool,
    unflushed: AtomicBool,
    asked_anything: AtomicBool,
}

impl Pulse {
    /// One tick has passed.
    ///
    /// # Errors
    /// The limit that has been exceeded.
    pub(crate) fn tick(&self, ticks: &Ticks) -> Result<(), Overdue> {
        let now = self.now.load(Relaxed).saturating_add(1);
        self.now.store(now, Relaxed);
        if self.write.elapsed(now).is_some_and(|elapsed| elapsed > ticks.write) {
            return Err(Overdue::Write);
        }
        if self.in_request.load(Relaxed) {
            return Ok(());
        }
        if self.head.elapsed(now).is_some_and(|elapsed| elapsed > ticks.head) {
            return Err(Overdue::Head);
        }
        let quiet = now.saturating_sub(self.quiet_since.load(Relaxed));
        match self.asked_anything.load(Relaxed) {
            false if quiet > ticks.head => Err(Overdue::Head),
            true if quiet > ticks.idle => Err(Overdue::Idle),
            _ => Ok(()),
        }
    }

    /// Bytes arrived; `in_head` says whether a head is still incomplete behind them.
    pub(crate) fn received(&self, in_head: bool) {
        if in_head { self.head.begin(self.now.load(Relaxed)) } else { self.head.end() }
    }

    /// The socket took no more of an answer.
    pub(crate) fn write_blocked(&self) {
        self.write.begin(self.now.load(Relaxed));
    }

    /// Everything written so far has left.
    pub(crate) fn flushed(&self) {
        self.write.end();
        self.unflushed.store(false, Relaxed);
    }

    /// Whether a request is being served, or its answer has not left yet.
    pub(crate) fn owes_answer(&self) -> bool {
        self.in_request.load(Relaxed) || self.unflushed.load(Relaxed)
    }

    /// A request has arrived; the limits of waiting rest until the guard is dropped.
    pub(crate) fn request(self: &Arc<Self>) -> InRequest {
        self.asked_anything.store(true, Relaxed);
        self.in_request.store(true, Relaxed);
        InRequest(self.clone())
    }

    /// Begins to measure a body.
    pub(crate) fn body(&self) -> BodyPace {
        BodyPace { begun: self.now.load(Relaxed) }
    }
}

/// Marks that a request is being served.
pub(crate) struct InRequest(Arc<Pulse>);

impl Drop for InRequest {
    fn drop(&mut self) {
        let now = self.0.now.load(Relaxed);
        self.0.in_request.store(false, Relaxed);
        self.0.unflushed.store(true, Relaxed);
        self.0.quiet_since.store(now, Relaxed);
        // The rest of a pipelined head was not read meanwhile; its sender is not to blame for that.
        self.0.head.restart(now);
    }
}

/// Pace of one body.
pub(crate) struct BodyPace {
    begun: u32,
}

impl BodyPace {
    /// Whether a body of which `bytes` have arrived takes too long.
    pub(crate) fn too_slow(&self, pulse: &Pulse, ticks: &Ticks, bytes: u64) -> bool {
        let elapsed = pulse.now.load(Relaxed).saturating_sub(self.begun);
        let expected = u64::from(elapsed).saturating_mul(ticks.body_bytes_per_tick);
        elapsed > ticks.body || (elapsed > ticks.body_grace && bytes < expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks() -> Ticks {
        Ticks {
            every: Duration::from_secs(1),
            head: 10,
            idle: 75,
            write: 30,
            body: 30,
            body_grace: 5,
            body_bytes_per_tick: 1_024,
        }
    }

    fn run(pulse: &Pulse, count: u32) -> Option<(u32, Overdue)> {
        (1..=count).find_map(|tick| pulse.tick(&ticks()).err().map(|overdue| (tick, overdue)))
    }

    #[test]
    fn defaults_give_one_second_ticks() {
        let of_defaults = Ticks::of(&Settings::default());
        assert_eq!(of_defaults.every, Duration::from_secs(1));
        assert_eq!((of_defaults.head, of_defaults.idle, of_defaults.body_bytes_per_tick), (10, 75, 1_024));
        let short = Ticks::of(&Settings { head_timeout: Duration::from_millis(200), ..Settings::default() });
        assert_eq!((short.every, short.head), (Duration::from_millis(50), 4));
    }

    #[test]
    fn a_silent_connection_ends_after_the_head_limit() {
        assert_eq!(run(&Pulse::default(), 100), Some((11, Overdue::Head)));
    }

    #[test]
    fn a_dripping_head_ends_whatever_drips() {
        let pulse = Arc::new(Pulse::default());
        drop(pulse.request());
        assert_eq!(run(&pulse, 50), None);
        pulse.received(true);
        for tick in 1..=10 {
            assert_eq!(pulse.tick(&ticks()), Ok(()), "{tick}");
            pulse.received(true);
        }
        assert_eq!(pulse.tick(&ticks()), Err(Overdue::Head));
    }

    #[test]
    fn idleness_counts_from_the_last_answer() {
        let pulse = Arc::new(Pulse::default());
        let request = pulse.request();
        pulse.received(false);
        assert_eq!(run(&pulse, 1_000), None, "a request may take as long as the engine needs");
        drop(request);
        assert_eq!(run(&pulse, 100), Some((76, Overdue::Idle)));
    }

    #[test]
    fn an_answer_must_be_read_in_time() {
        let pulse = Arc::new(Pulse::default());
        let _request = pulse.request();
        pulse.write_blocked();
        assert_eq!(run(&pulse, 20), None);
        pulse.write_blocked();
        assert_eq!(run(&pulse, 20), Some((11, Overdue::Write)), "a trickle does not reset the limit");
        pulse.flushed();
        assert_eq!(run(&pulse, 20), None);
    }

    #[test]
    fn an_answer_is_owed_until_it_has_left() {
        let pulse = Arc::new(Pulse::default());
        assert!(!pulse.owes_answer());
        let request = pulse.request();
        pulse.flushed();
        assert!(pulse.owes_answer(), "a flush in between is not the answer's");
        drop(request);
        assert!(pulse.owes_answer());
        pulse.flushed();
        assert!(!pulse.owes_answer());
    }

    #[test]
    fn bodies_have_a_lowest_rate_and_a_longest_time() {
        let pulse = Arc::new(Pulse::default());
        let _request = pulse.request();
        let pace = pulse.body();
        let ticks = ticks();
        assert_eq!(run(&pulse, 5), None);
        assert!(!pace.too_slow(&pulse, &ticks, 1), "within the grace");
        assert_eq!(run(&pulse, 1), None);
        assert!(pace.too_slow(&pulse, &ticks, 6), "one byte per second");
        assert!(!pace.too_slow(&pulse, &ticks, 6 * 1_024));
        assert_eq!(run(&pulse, 25), None);
        assert!(pace.too_slow(&pulse, &ticks, u64::MAX), "longer than 30 ticks");
    }
}
