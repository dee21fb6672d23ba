//! The timer thread: it owns the wheel, watches what holds the node up, and wakes the owners of what is late.
//!
//! A thread of its own and not a task: a runtime that is busy with requests must not make deadlines late. Each round it
//! looks at the clock and the log, decides how far the node has served, collects new timers, and wakes owners in slices.
//! Bounds: at most [`IN_FLIGHT_MAX`] of its decisions wait for the disk, so that a slow disk cannot pile them up and a
//! burst cannot fill the open batch of the log; between two slices everybody else gets the log. None is taken while the log
//! has no segment ready behind the one in use: a burst may write faster than segments are made, and what is left of the
//! present one is for requests, which would be refused without it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use journal::{Encode, Scratch};
use ledger::{ClockFact, OutageCause, Position};
use tokio::sync::oneshot;
use wal::{Admission, Lsn};

use super::{clock::Sanity, inbox::Timer, wheel::Wheel};
use crate::{
    shared::Shared,
    status::Phase,
    token::{Lapse, Owner},
};

/// Time between two looks at the clock.
const ROUND: Duration = Duration::from_millis(4);
/// Pause between two slices of a burst.
const BREATH: Duration = Duration::from_micros(200);
/// Owners woken between two pauses, and the same of other work.
const SLICE: usize = 1_024;
/// Decisions of the timer that wait for the disk: about 2 MiB of log.
const IN_FLIGHT_MAX: usize = 8_192;
/// A hold-up shorter than this is not worth a record; deadlines are only judged later by as much.
const OUTAGE_MIN_MS: i64 = 100;
/// Time between two signs of life while providers have calls under way.
const ALIVE_EVERY_MS: i64 = 1_000;
/// How many more ended tokens stay in memory where there is no index to find them in.
const KEPT_UNINDEXED_FACTOR: usize = 4;
/// Most timers that an open token has: of its expiry, its start, its end.
const TIMERS_PER_TOKEN: u64 = 3;
/// Time from the recording of the last score that had moved to that of the first that moved since.
const SCORES_EVERY_MS: i64 = 1_000;

/// Figures of the timer thread.
#[derive(Default)]
pub(crate) struct TimerStats {
    /// Deadlines at which an owner was woken.
    pub(crate) fired: AtomicU64,
}

/// The running thread. Dropping it ends the thread and waits for that.
pub(crate) struct Supervisor {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Starts the thread with the timers of every open token. The receiver hears when everything that was late at the
    /// start is decided and delivered.
    pub(crate) fn start(
        shared: Arc<Shared>,
        indexed: impl Fn() -> Option<u64> + Send + 'static,
    ) -> (Self, oneshot::Receiver<()>) {
        let stop = Arc::new(AtomicBool::new(false));
        let (caught_up, receiver) = oneshot::channel();
        let run = {
            let stop = stop.clone();
            move || Rounds::new(&shared, &indexed, caught_up).run(&stop)
        };
        let thread = std::thread::Builder::new().name("timers".into()).spawn(run);
        (Self { stop, thread: Some(thread.expect("a thread can be started")) }, receiver)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the timer thread ended in disorder; the next start rebuilds its timers");
            }
        }
    }
}

struct Rounds<'s> {
    shared: &'s Shared,
    indexed: &'s (dyn Fn() -> Option<u64> + Send),
    wheel: Wheel,
    collected: Vec<Timer>,
    /// Tokens whose deadline has come and who have not been woken yet, oldest first.
    due: VecDeque<Position>,
    /// Positions of decisions that are not delivered yet.
    in_flight: VecDeque<Position>,
    durable: Lsn,
    /// What holds the node up, if anything does.
    held_up: Option<OutageCause>,
    /// Scores are being recorded, a slice in each round.
    is_telling: bool,
    /// When the last of them were.
    told_at: i64,
    caught_up: Option<oneshot::Sender<()>>,
    scratch: Scratch,
}

impl<'s> Rounds<'s> {
    fn new(
        shared: &'s Shared,
        indexed: &'s (dyn Fn() -> Option<u64> + Send),
        caught_up: oneshot::Sender<()>,
    ) -> Self {
        let mut rounds = Self {
            shared,
            indexed,
            wheel: Wheel::new(shared.time.late()),
            collected: Vec::new(),
            due: VecDeque::new(),
            in_flight: VecDeque::new(),
            durable: shared.wal.durable_lsn(),
            held_up: None,
            is_telling: false,
            told_at: i64::MIN,
            caught_up: Some(caught_up),
            scratch: Scratch::default(),
        };
        rounds.begin();
        rounds
    }

    fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            let is_behind = self.round();
            if self.shared.status.phase() == Phase::Failed {
                return;
            }
            std::thread::park_timeout(if is_behind { BREATH } else { ROUND });
        }
    }

    /// What was down until now is told, and every open token gets its timer.
    fn begin(&mut self) {
        let time = &self.shared.time;
        let (now, late) = (time.now(), time.late());
        let owed = late < now && self.shared.tokens.running() > 0;
        // A log that takes nothing yet, or a clock that is not believed, is told by a later round.
        if !time.is_frozen()
            && (!owed || self.record(ClockFact::Outage { from: late, at: now, cause: OutageCause::Down }))
        {
            time.serve_until(now);
        }
        let rules = &self.shared.rules;
        self.shared.tokens.each_open(|id, token| {
            if let Some(at) = time.with_outages(|outages| token.deadline(rules, outages)) {
                self.wheel.add(Timer { token: id, at });
            }
        });
    }

    /// One look at everything; true when there is more to do at once.
    fn round(&mut self) -> bool {
        self.advance();
        self.shared.timers.collect(&mut self.collected);
        for timer in self.collected.drain(..) {
            self.wheel.add(timer);
        }
        let (wheel, due) = (&mut self.wheel, &mut self.due);
        wheel.advance(self.shared.time.late(), &mut |token| due.push_back(token));
        self.shared.timers.live.store(self.wheel.len() as u64, Ordering::Relaxed);
        self.wake();
        if self.due.is_empty() {
            // Deadlines of a burst are few again: their memory goes back.
            self.due.shrink_to(SLICE);
        }
        self.housekeep();
        if self.due.is_empty()
            && self.in_flight.is_empty()
            && let Some(caught_up) = self.caught_up.take()
        {
            // Nobody waits when the start was given up.
            let _ = caught_up.send(());
        }
        !self.due.is_empty()
    }

    /// Moves the time that deadlines are judged by, unless something holds the node up; when that ends, the time it took
    /// is recorded as an outage before any deadline is judged with it.
    fn advance(&mut self) {
        let time = &self.shared.time;
        if let Some(cause) = self.hold_up() {
            self.held_up.get_or_insert(cause);
            return;
        }
        let (now, late) = (time.now(), time.late());
        let cause = self.held_up.take().unwrap_or(OutageCause::Stalled);
        if now.millis().saturating_sub(late.millis()) >= OUTAGE_MIN_MS
            && self.shared.tokens.running() > 0
            && !self.record(ClockFact::Outage { from: late, at: now, cause })
        {
            self.held_up = Some(cause);
            return;
        }
        time.serve_until(now);
        let silent = now.millis().saturating_sub(time.stamped());
        if silent >= ALIVE_EVERY_MS && self.shared.tokens.running() > 0 {
            self.record(ClockFact::Alive { at: now });
        }
    }

    /// Why parties may not have been answered since the last round.
    fn hold_up(&mut self) -> Option<OutageCause> {
        if self.shared.time.look() == Sanity::Absurd {
            return Some(OutageCause::Clock);
        }
        match self.shared.wal.admission() {
            Admission::Open => {}
            Admission::Pressed => return Some(OutageCause::Stalled),
            Admission::ReadOnly | Admission::Poisoned => return Some(OutageCause::ReadOnly),
        }
        let durable = self.shared.wal.durable_lsn();
        let has_moved = std::mem::replace(&mut self.durable, durable) != durable;
        let is_waiting = self.shared.wal.appended_lsn() > durable;
        (is_waiting && !has_moved).then_some(OutageCause::Stalled)
    }

    /// Wakes the owners of what is late, a slice of them.
    fn wake(&mut self) {
        let shared = self.shared;
        while self.in_flight.front().is_some_and(|position| shared.delivered.covers(*position)) {
            self.in_flight.pop_front();
        }
        if !matches!(shared.status.phase(), Phase::Ready | Phase::Recovering { .. }) {
            return;
        }
        for _ in 0..self.room() {
            let Some(id) = self.due.pop_front() else { return };
            match shared.tokens.own(id, |token| Owner { id, token, shared }.lapse()) {
                Some(Lapse::Ended { position, late_ms }) => {
                    shared.timer_stats.fired.fetch_add(1, Ordering::Relaxed);
                    shared.metrics.deadline(late_ms);
                    self.in_flight.push_back(position);
                }
                Some(Lapse::Later(at)) => self.wheel.add(Timer { token: id, at }),
                Some(Lapse::Refused(refused)) => {
                    tracing::debug!(?refused, "deadlines are decided later");
                    self.due.push_front(id);
                    return;
                }
                // A timer outlives what it was for; the token may have been forgotten since.
                Some(Lapse::Over) | None => {}
            }
        }
    }

    /// What has time: a slice of it in each round that has no deadlines left, or a burst would wait for it.
    fn housekeep(&mut self) {
        if !self.due.is_empty() {
            return;
        }
        let shared = self.shared;
        let indexed = (self.indexed)();
        let share = if indexed.is_some() { 1 } else { KEPT_UNINDEXED_FACTOR };
        let kept = shared.options.ended_tokens_kept.saturating_mul(share);
        shared.tokens.evict(kept, SLICE, indexed, |position| shared.delivered.covers(position));
        let needed = shared.tokens.open_len().saturating_mul(TIMERS_PER_TOKEN);
        if self.wheel.len() as u64 > needed.saturating_add(shared.options.dead_timers_max) {
            let is_open = |id| shared.tokens.read(id, |token| token.status.is_open()) == Some(true);
            self.wheel.sweep(SLICE, is_open);
        }
        if shared.status.phase() == Phase::Ready {
            self.tell_scores();
        }
    }

    fn tell_scores(&mut self) {
        let shared = self.shared;
        let at = shared.time.now();
        if !self.is_telling {
            if at.millis().saturating_sub(self.told_at) < SCORES_EVERY_MS {
                return;
            }
            shared.services.begin_telling();
            self.is_telling = true;
        }
        let room = self.room();
        let in_flight = &mut self.in_flight;
        match shared.services.record_scores(shared, at, room, |position| in_flight.push_back(position)) {
            Ok(all) => (self.is_telling, self.told_at) = (!all, at.millis()),
            Err(refused) => tracing::debug!(?refused, "trust scores are recorded later"),
        }
    }

    /// Decisions that may be taken before others get the log.
    fn room(&self) -> usize {
        if !self.shared.wal.has_segment_ready() {
            return 0;
        }
        IN_FLIGHT_MAX.saturating_sub(self.in_flight.len()).min(SLICE)
    }

    /// Records what the clock has decided; false when the log takes nothing now.
    fn record(&mut self, fact: ClockFact) -> bool {
        let time = &self.shared.time;
        // Under the guard of the outages, so that nobody judges a deadline between the record and its effect.
        let recorded = time.change_outages(|outages| {
            fact.encode(&mut self.scratch);
            let lsn = self.shared.wal.append(self.scratch.bytes())?;
            let position = Position::new(lsn.get());
            outages.apply(&fact, position);
            Ok::<_, wal::Refused>(position)
        });
        match recorded {
            Ok(position) => {
                self.in_flight.push_back(position);
                time.stamped_at(fact.at());
                if let ClockFact::Outage { from, at, cause } = fact {
                    tracing::warn!(
                        from = from.millis(),
                        to = at.millis(),
                        ?cause,
                        "an outage was recorded: deadlines of providers move by as much"
                    );
                }
                true
            }
            Err(refused) => {
                tracing::debug!(?refused, "what the clock decided is recorded later");
                false
            }
        }
    }
}
