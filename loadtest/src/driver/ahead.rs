//! Working ahead: in a closed loop of large requests the next one is written, and the last answer judged, while a
//! request is out. So neither of them stands between an answer and the request that follows it, and the driver costs
//! the node's time as little as a client that is ready.
//!
//! Invariants: one request per connection is out at most; answers are judged in the order of their requests, the last
//! one of a connection before anything else is told of it; a prepared request that is not sent counts as nothing.
//! Readiness goes before chores, and a connection's chores wait until its request has left.

use std::collections::VecDeque;
use std::mem;
use std::time::Instant;

use super::Driver;
use crate::response::Head;
use crate::{Answer, Workload};

pub(super) struct Ahead {
    /// One per connection; none if the run does not work ahead.
    slots: Vec<Slot>,
    /// Connections with something to do beside their request. One that is in here for nothing does no harm.
    chores: VecDeque<usize>,
}

#[derive(Default)]
struct Slot {
    /// The request that is prepared, if one is.
    request: Vec<u8>,
    is_prepared: bool,
    /// The last answer, while it is not judged.
    answer: Vec<u8>,
    unjudged: Option<Head>,
}

impl Ahead {
    pub(super) fn new(connections: usize) -> Ahead {
        Ahead { slots: (0..connections).map(|_| Slot::default()).collect(), chores: VecDeque::new() }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.chores.is_empty()
    }

    /// Another request is written now, so the prepared one will not be sent.
    pub(super) fn forget(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.is_prepared = false;
        }
    }
}

impl<W: Workload> Driver<'_, W> {
    /// A request was begun, or more of it was sent.
    pub(super) fn has_begun(&mut self, slot: usize) {
        if !self.ahead.slots.is_empty() && self.is_waiting(slot) {
            self.ahead.chores.push_back(slot);
        }
    }

    /// The request has left, and its answer is not whole.
    fn is_waiting(&self, slot: usize) -> bool {
        let waits = |connection: &crate::connection::Connection| {
            connection.in_flight_since().is_some() && !connection.is_sending()
        };
        self.connections[slot].as_ref().is_some_and(waits)
    }

    /// One thing at a time, so that readiness is looked at in between.
    pub(super) fn do_a_chore(&mut self) {
        let Some(slot) = self.ahead.chores.pop_front() else { return };
        if !self.is_waiting(slot) {
            return;
        }
        if self.judge_last(slot) {
            self.ahead.chores.push_back(slot);
        } else if !self.ahead.slots[slot].is_prepared && !self.window.is_over(Instant::now()) {
            let ahead = &mut self.ahead.slots[slot];
            ahead.request.clear();
            ahead.is_prepared = self.workload.prepare(slot, &mut ahead.request);
        }
    }

    /// Sends the prepared request, if there is one and it is still wanted, and leaves the answer to be judged later.
    /// False: nothing was sent, and the answer is still to be given to the workload.
    pub(super) fn sends_prepared(&mut self, slot: usize, head: Head, shared: &[u8], now: Instant) -> bool {
        let is_prepared = self.ahead.slots.get(slot).is_some_and(|ahead| ahead.is_prepared);
        if !is_prepared || !head.is_success() || self.window.is_over(now) {
            return false;
        }
        self.judge_last(slot);
        let ahead = &mut self.ahead.slots[slot];
        ahead.is_prepared = false;
        if !self.workload.release(slot) {
            return false;
        }
        let connection = self.connections[slot].as_mut().expect("it has just answered");
        connection.finish();
        connection.swap_answer(&mut ahead.answer);
        mem::swap(connection.request_buffer(), &mut ahead.request);
        // As in `start`: a broken socket is reported by the next wait.
        let _ = connection.begin(now);
        ahead.unjudged = Some(head);
        if ahead.answer.is_empty() {
            // It is small and lies where others are received too.
            self.judge(slot, shared);
        }
        self.has_begun(slot);
        true
    }

    /// Gives the last answer of a connection to the workload; false if that has been done.
    pub(super) fn judge_last(&mut self, slot: usize) -> bool {
        if self.ahead.slots.get(slot).is_none_or(|ahead| ahead.unjudged.is_none()) {
            return false;
        }
        let mut answer = mem::take(&mut self.ahead.slots[slot].answer);
        self.judge(slot, &answer);
        answer.clear();
        self.ahead.slots[slot].answer = answer;
        true
    }

    /// The end of a run: the answers that came before the last ones.
    pub(super) fn judge_all(&mut self) {
        for slot in 0..self.ahead.slots.len() {
            self.judge_last(slot);
        }
    }

    fn judge(&mut self, slot: usize, bytes: &[u8]) {
        if let Some(head) = self.ahead.slots[slot].unjudged.take() {
            self.workload.answered(slot, Answer::new(head, head.body_of(bytes)));
        }
    }
}
