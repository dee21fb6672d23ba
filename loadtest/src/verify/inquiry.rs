//! Many reads whose answers are looked at, whatever their status; a read that gets no answer is asked again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::{Answer, Error, Next, Plan, Target, Watch, Workload, run_watched};

/// Without any progress for this long, the rest counts as not answered.
const PATIENCE: Duration = Duration::from_secs(60);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// What the reader of an answer wants next.
pub(super) enum Look {
    Done,
    /// One more request for the same number: the next page of a list.
    More,
}

/// Requests with the numbers below `wanted`.
pub(super) struct Inquiry<W, R> {
    wanted: usize,
    issued: usize,
    done: usize,
    current: Vec<Option<usize>>,
    again: VecDeque<usize>,
    pause_until: Option<Instant>,
    last_progress: Instant,
    write: W,
    read: R,
}

impl<W, R> Inquiry<W, R>
where
    W: FnMut(usize, &mut Vec<u8>),
    R: FnMut(usize, Answer<'_>) -> Look,
{
    /// Asks everything; returns how many were never answered.
    pub(super) fn carry_out(
        label: &'static str,
        target: &Target,
        connections: usize,
        wanted: usize,
        (write, read): (W, R),
        watch: &mut dyn Watch,
    ) -> Result<usize, Error> {
        if wanted == 0 {
            return Ok(0);
        }
        let connections = connections.min(wanted);
        let mut inquiry = Inquiry {
            wanted,
            issued: 0,
            done: 0,
            current: vec![None; connections],
            again: VecDeque::new(),
            pause_until: None,
            last_progress: Instant::now(),
            write,
            read,
        };
        let plan = Plan {
            label,
            expected: Some(wanted as u64),
            patience: PATIENCE,
            ..Plan::exhaust(target.clone(), connections)
        };
        run_watched(&plan, &mut inquiry, watch)?;
        Ok(wanted - inquiry.done)
    }
}

impl<W, R> Workload for Inquiry<W, R>
where
    W: FnMut(usize, &mut Vec<u8>),
    R: FnMut(usize, Answer<'_>) -> Look,
{
    fn next(&mut self, connection: usize, request: &mut Vec<u8>) -> Next {
        if let Some(until) = self.pause_until {
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return Next::Pause(left);
            }
            self.pause_until = None;
        }
        let index = match self.again.pop_front() {
            Some(_) if self.last_progress.elapsed() > PATIENCE => return Next::Finished,
            Some(index) => index,
            None if self.issued < self.wanted => {
                self.issued += 1;
                self.issued - 1
            }
            // A request that is out elsewhere may yet have to be asked again.
            None if self.current.iter().any(Option::is_some) => return Next::Pause(ASK_AGAIN_AFTER),
            None => return Next::Finished,
        };
        self.current[connection] = Some(index);
        (self.write)(index, request);
        Next::Send
    }

    fn answered(&mut self, connection: usize, answer: Answer<'_>) {
        let index = self.current[connection].take().expect("an answer belongs to a request");
        if answer.asks_for_patience() {
            self.pause_until = Some(Instant::now() + ASK_AGAIN_AFTER);
            return self.again.push_back(index);
        }
        self.last_progress = Instant::now();
        match (self.read)(index, answer) {
            Look::Done => self.done += 1,
            Look::More => self.again.push_front(index),
        }
    }

    fn lost(&mut self, connection: usize) {
        self.again.extend(self.current[connection].take());
    }
}
