//! The event loop: one thread, one epoll, all connections.
//!
//! An iteration starts what is due, waits for readiness until the next thing is due, and handles what is ready.
//! A closed loop sends the next request from the same iteration that saw the answer, so a request costs one `read`,
//! one `write` and a share of one `epoll_wait`. Where requests are large it works [`ahead`].

mod ahead;
mod reporter;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::time::{ClockId, clock_gettime};

use self::ahead::Ahead;
use self::reporter::Reporter;
use crate::connection::{Connection, Received};
use crate::response::Head;
use crate::timeline::Timeline;
use crate::{Answer, Error, Next, Outcome, Pace, Plan, Unwatched, Watch, Workload};

/// Readiness events taken per wait. More would delay the first answer's successor, fewer cost system calls.
const EVENTS_MAX: usize = 256;
/// Larger than a usual answer; a longer one is put together in its connection.
const RECEIVE_BYTES: usize = 64 * 1024;
/// The longest sleep, so that the end of a run is noticed even if nothing happens.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// An open loop wakes for its schedule at most this often: waking for each of tens of thousands of requests a second takes
/// more of a small machine than sending them does, and what is sent late by it counts as waiting.
const SCHEDULE_EVERY: Duration = Duration::from_micros(100);
/// How often a connection that cannot be opened is tried again, while there is patience.
const RECONNECT_EVERY: Duration = Duration::from_millis(20);
/// A run without an end is given up when nothing was answered for this long.
const STALL_MAX: Duration = Duration::from_secs(60);

/// Carries out `plan` with the requests of `workload` on the calling thread.
///
/// # Errors
/// The plan is unusable, the target cannot be reached at the start, or all connections were lost for good.
/// Unexpected answers are not errors; they are in the outcome.
pub fn run<W: Workload>(plan: &Plan, workload: &mut W) -> Result<Outcome, Error> {
    run_watched(plan, workload, &mut Unwatched)
}

/// The same, told to a watcher as it goes on.
///
/// # Errors
/// As [`run`].
pub fn run_watched<W: Workload>(
    plan: &Plan,
    workload: &mut W,
    watch: &mut dyn Watch,
) -> Result<Outcome, Error> {
    plan.validate()?;
    // A timer slack of 1 ns keeps the kernel from rounding an open loop's waits up to 50 µs.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))
        .map_err(|errno| poll_error("set the timer slack", errno.into()))?;
    let mut driver = Driver::open(plan, workload)?;
    let driven = driver.drive(watch);
    driver.judge_all();
    watch.phase_ends();
    driven.map(|()| driver.into_outcome())
}

struct Driver<'a, W> {
    plan: &'a Plan,
    workload: &'a mut W,
    epoll: OwnedFd,
    /// `None`: lost, and to be opened again if it is resting.
    connections: Vec<Option<Connection>>,
    /// Open loop: connections without a request, longest idle first.
    idle: VecDeque<usize>,
    /// Connections that wait for a time: the workload paused them, or they are to be opened again.
    resting: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Connections in `resting`: one that is paused and then lost must not wake twice.
    is_resting: Vec<bool>,
    in_flight: usize,
    last_answer: Instant,
    /// Set while no connection could be opened.
    unreachable_since: Option<Instant>,
    window: Window,
    /// Open loop: index of the next request to start.
    next_index: u64,
    ahead: Ahead,
    timeline: Timeline,
    outcome: Outcome,
}

/// What became of a connection that was asked to send.
#[derive(PartialEq, Eq)]
enum Start {
    Sent,
    Paused,
    Finished,
}

/// The times that divide a run.
#[derive(Clone, Copy)]
struct Window {
    started: Instant,
    begin: Instant,
    /// `None`: until the workload has finished.
    end: Option<Instant>,
}

impl Window {
    fn is_over(&self, now: Instant) -> bool {
        self.end.is_some_and(|end| now >= end)
    }

    fn contains(&self, time: Instant) -> bool {
        time >= self.begin && !self.is_over(time)
    }
}

impl<'a, W: Workload> Driver<'a, W> {
    fn open(plan: &'a Plan, workload: &'a mut W) -> Result<Driver<'a, W>, Error> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|errno| poll_error("create an epoll", errno.into()))?;
        let mut connections = Vec::with_capacity(plan.connections);
        for slot in 0..plan.connections {
            let connect = |source| Error::Connect { authority: plan.target.authority.clone(), source };
            let connection = Connection::open(&plan.target).map_err(connect)?;
            register(&epoll, &connection, slot)?;
            connections.push(Some(connection));
        }
        let started = Instant::now();
        let begin = started + plan.warm_up;
        let window = Window { started, begin, end: plan.measure.map(|length| begin + length) };
        let works_ahead = plan.pace == Pace::Closed && workload.works_ahead();
        Ok(Driver {
            plan,
            workload,
            epoll,
            idle: (0..connections.len()).collect(),
            ahead: Ahead::new(if works_ahead { connections.len() } else { 0 }),
            is_resting: vec![false; connections.len()],
            connections,
            resting: BinaryHeap::new(),
            in_flight: 0,
            last_answer: started,
            unreachable_since: None,
            window,
            next_index: 0,
            timeline: Timeline::new(plan.total()),
            outcome: Outcome::new(),
        })
    }

    fn drive(&mut self, watch: &mut dyn Watch) -> Result<(), Error> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut shared = vec![0_u8; RECEIVE_BYTES];
        let mut cpu_at_begin = None;
        let mut cpu_at_end = None;
        let mut reporter = Reporter::new(self.window.started);
        if self.is_closed() {
            for slot in 0..self.connections.len() {
                self.start(slot, Instant::now());
            }
        }
        loop {
            let now = Instant::now();
            if now >= self.window.begin && cpu_at_begin.is_none() {
                cpu_at_begin = Some(thread_cpu_seconds());
            }
            if self.window.is_over(now) && cpu_at_end.is_none() {
                cpu_at_end = Some(thread_cpu_seconds());
            }
            self.wake_rested(now)?;
            self.start_due(now);
            if self.is_finished(now) {
                break;
            }
            if now >= reporter.due {
                self.timeline.roll(now - self.window.started);
                reporter.tell(self, now, watch);
            }
            self.wait(&mut events, now)?;
            if events.is_empty() {
                self.do_a_chore();
            }
            for event in events.drain(..) {
                self.handle(event, &mut shared)?;
            }
        }
        let end = cpu_at_end.unwrap_or_else(thread_cpu_seconds);
        self.outcome.generator_cpu_seconds = end - cpu_at_begin.unwrap_or(end);
        self.close(Instant::now());
        Ok(())
    }

    fn into_outcome(self) -> Outcome {
        let mut outcome = self.outcome;
        let end = self.window.end.unwrap_or_else(Instant::now);
        outcome.timeline = self.timeline.finish(end - self.window.started);
        outcome.warm_up_seconds = self.plan.warm_up.as_secs_f64();
        outcome
    }

    fn is_closed(&self) -> bool {
        self.plan.pace == Pace::Closed
    }

    /// Nothing is out and nothing will be sent any more, or patience has ended.
    fn is_finished(&self, now: Instant) -> bool {
        match self.window.end {
            None if now - self.last_answer > STALL_MAX.max(self.plan.patience) => true,
            None => self.in_flight == 0 && self.resting.is_empty(),
            Some(end) if now < end => false,
            Some(end) => {
                let nothing_due = self.intended(self.next_index).is_none_or(|intended| intended >= end);
                (self.in_flight == 0 && nothing_due) || now >= end + self.plan.drain
            }
        }
    }

    /// Start time of a request of an open loop; `None` in a closed one.
    fn intended(&self, index: u64) -> Option<Instant> {
        self.plan.intended(index).map(|offset| self.window.started + offset)
    }

    /// Opens lost connections again and lets paused ones go on, when their time has come.
    fn wake_rested(&mut self, now: Instant) -> Result<(), Error> {
        while let Some(Reverse((due, slot))) = self.resting.peek().copied() {
            if due > now {
                break;
            }
            self.resting.pop();
            self.is_resting[slot] = false;
            if self.connections[slot].is_none() {
                self.reopen(slot, "it could not be opened again")?;
                if self.connections[slot].is_none() {
                    continue;
                }
            }
            self.go_on(slot, now);
        }
        Ok(())
    }

    fn rest(&mut self, slot: usize, until: Instant) {
        if !std::mem::replace(&mut self.is_resting[slot], true) {
            self.resting.push(Reverse((until, slot)));
        }
    }

    /// Open loop: sends every request whose time has come, as far as connections are idle.
    fn start_due(&mut self, now: Instant) {
        if self.is_closed() {
            return;
        }
        let horizon = self.window.end.map_or(now, |end| end.min(now));
        while let Some(intended) = self.intended(self.next_index).filter(|intended| *intended <= horizon) {
            if self.window.is_over(intended) {
                return;
            }
            let Some(slot) = self.idle.pop_front() else {
                let due = self.plan.intended_before(horizon - self.window.started);
                let late = whole_number((due - self.next_index as f64).max(0.0));
                self.outcome.overdue_max = self.outcome.overdue_max.max(late + 1);
                return;
            };
            // A paused connection did not take the request: it stays due for the next one.
            if self.start(slot, intended) != Start::Paused {
                self.next_index += 1;
            }
        }
    }

    /// Lets the workload write the next request for `slot` and sends it.
    fn start(&mut self, slot: usize, since: Instant) -> Start {
        let Some(connection) = self.connections[slot].as_mut() else { return Start::Finished };
        self.ahead.forget(slot);
        match self.workload.next(slot, connection.request_buffer()) {
            Next::Finished => Start::Finished,
            Next::Pause(pause) => {
                self.rest(slot, Instant::now() + pause);
                Start::Paused
            }
            Next::Send => {
                self.in_flight += 1;
                // A failed write is not handled here: the broken socket is reported by the next wait, where `handle`
                // counts the request as lost. So a server that resets everything cannot make this recurse.
                let _ = connection.begin(since);
                self.has_begun(slot);
                Start::Sent
            }
        }
    }

    fn wait(&self, events: &mut Vec<epoll::Event>, now: Instant) -> Result<(), Error> {
        let mut timeout = if self.ahead.is_idle() { WAIT_MAX } else { Duration::ZERO };
        if let Some(end) = self.window.end.filter(|end| *end > now) {
            timeout = timeout.min(end - now);
        }
        if !self.idle.is_empty()
            && let Some(intended) = self.intended(self.next_index)
        {
            let left = intended.saturating_duration_since(now);
            timeout = timeout.min(if left.is_zero() { left } else { left.max(SCHEDULE_EVERY) });
        }
        if let Some(Reverse((due, _))) = self.resting.peek() {
            timeout = timeout.min(due.saturating_duration_since(now));
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(timeout.subsec_nanos()) };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(poll_error("wait for readiness", errno.into())),
        }
    }

    fn handle(&mut self, event: epoll::Event, shared: &mut [u8]) -> Result<(), Error> {
        let slot = usize::try_from(event.data.u64()).expect("the data of an event is a slot number");
        let flags = event.flags;
        let Some(connection) = self.connections[slot].as_mut() else { return Ok(()) };
        if flags.contains(epoll::EventFlags::OUT) && connection.is_sending() {
            match connection.flush() {
                Ok(()) => self.has_begun(slot),
                Err(error) => return self.lose(slot, &error),
            }
        }
        let ended = epoll::EventFlags::HUP | epoll::EventFlags::RDHUP | epoll::EventFlags::ERR;
        if !flags.intersects(epoll::EventFlags::IN | ended) {
            return Ok(());
        }
        let connection = self.connections[slot].as_mut().expect("only a failed write takes it away");
        match connection.receive(shared) {
            Ok(Received::Partial) => Ok(()),
            Err(error) => self.lose(slot, &error),
            Ok(Received::Whole(head)) => self.answered(slot, head, shared, flags.intersects(ended)),
        }
    }

    /// The answer is whole. `ended`: nothing more will come on this connection.
    fn answered(&mut self, slot: usize, head: Head, shared: &[u8], ended: bool) -> Result<(), Error> {
        let now = Instant::now();
        let connection = self.connections[slot].as_mut().expect("it has just answered");
        let since = connection.in_flight_since().expect("an answer belongs to a request");
        self.outcome.record_status(head.status, connection.body(head, shared));
        let ends = head.close || ended;
        if !ends && self.sends_prepared(slot, head, shared, now) {
            self.record(head.status, since, now);
            return Ok(());
        }
        self.judge_last(slot);
        let connection = self.connections[slot].as_mut().expect("it has just answered");
        self.workload.answered(slot, Answer::new(head, connection.body(head, shared)));
        connection.finish();
        self.in_flight -= 1;
        self.record(head.status, since, now);
        if ends {
            self.reopen(slot, "the server closed the connection")?;
        }
        self.go_on(slot, now);
        Ok(())
    }

    fn record(&mut self, status: u16, since: Instant, now: Instant) {
        self.last_answer = now;
        let success = (200..300).contains(&status);
        self.timeline.record(now - self.window.started, now - since, success);
        self.outcome.completed += u64::from(success && self.window.contains(now));
        let belongs = if self.is_closed() { self.window.contains(now) } else { self.window.contains(since) };
        if !belongs {
            return;
        }
        self.outcome.record_latency(now - since);
        self.outcome.succeeded += u64::from(success);
        if self.window.end.is_none() {
            self.outcome.seconds = (now - self.window.begin).as_secs_f64();
        }
    }

    /// What a connection does after its request is over.
    fn go_on(&mut self, slot: usize, now: Instant) {
        if !self.is_closed() {
            if self.connections[slot].is_some() {
                self.idle.push_back(slot);
            }
        } else if !self.window.is_over(now) {
            self.start(slot, now);
        }
    }

    /// The connection ended or misbehaved. A request that was out has an unknown outcome.
    fn lose(&mut self, slot: usize, cause: &io::Error) -> Result<(), Error> {
        let connection = self.connections[slot].as_mut().expect("only a live connection can be lost");
        let was_in_flight = connection.in_flight_since().is_some();
        let cause = cause.to_string();
        if was_in_flight {
            connection.finish();
            self.in_flight -= 1;
            self.outcome.lost += 1;
            self.outcome.lost_cause = Some(cause.clone());
            self.timeline.record_lost(self.window.started.elapsed());
            self.judge_last(slot);
            self.workload.lost(slot);
        }
        self.reopen(slot, &cause)?;
        // An idle connection is still queued as idle; only one that had a request needs to be put to use again.
        if was_in_flight {
            self.go_on(slot, Instant::now());
        }
        Ok(())
    }

    fn reopen(&mut self, slot: usize, cause: &str) -> Result<(), Error> {
        self.connections[slot] = None;
        if let Ok(connection) = Connection::open(&self.plan.target) {
            register(&self.epoll, &connection, slot)?;
            self.connections[slot] = Some(connection);
            self.unreachable_since = None;
            return Ok(());
        }
        self.idle.retain(|idle| *idle != slot);
        let now = Instant::now();
        let any_left = self.connections.iter().any(Option::is_some);
        let unreachable_for =
            if any_left { Duration::ZERO } else { now - *self.unreachable_since.get_or_insert(now) };
        if self.plan.patience.is_zero() {
            if any_left {
                return Ok(());
            }
        } else if unreachable_for <= self.plan.patience {
            self.rest(slot, now + RECONNECT_EVERY);
            return Ok(());
        }
        Err(Error::AllConnectionsLost {
            authority: self.plan.target.authority.clone(),
            cause: cause.to_owned(),
        })
    }

    /// Accounts for what is still out or was never sent.
    fn close(&mut self, now: Instant) {
        let left: Vec<Instant> =
            self.connections.iter().flatten().filter_map(Connection::in_flight_since).collect();
        let mut unanswered: Vec<Instant> =
            left.into_iter().filter(|since| self.window.contains(*since)).collect();
        if let Some(end) = self.window.end {
            self.outcome.seconds = (end - self.window.begin).as_secs_f64();
            while let Some(intended) = self.intended(self.next_index).filter(|intended| *intended < end) {
                self.next_index += 1;
                if self.window.contains(intended) {
                    unanswered.push(intended);
                }
            }
        }
        self.outcome.unanswered = unanswered.len() as u64;
        if !self.is_closed() {
            for since in unanswered {
                self.outcome.record_latency(now - since);
            }
        }
    }
}

fn register(epoll: &OwnedFd, connection: &Connection, slot: usize) -> Result<(), Error> {
    let flags =
        epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
    epoll::add(epoll, connection.stream(), epoll::EventData::new_u64(slot as u64), flags)
        .map_err(|errno| poll_error("watch a connection", errno.into()))
}

/// The integer part of a non-negative number that is far below 2^53.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "asserted to be in range")]
pub(crate) fn whole_number(value: f64) -> u64 {
    assert!((0.0..9e15).contains(&value), "{value} is not a count");
    value as u64
}

fn thread_cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn poll_error(what: &'static str, source: io::Error) -> Error {
    Error::Poll { what, source }
}
