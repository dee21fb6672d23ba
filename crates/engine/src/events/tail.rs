//! Following the log, event by event.

use std::time::{Duration, Instant};

use ledger::Position;
use tokio::runtime::Handle;
use wal::{Lsn, ReadError, Tail};

use super::happening::{self, Event};
use crate::{Engine, refusal::Refusal, status::Phase};

/// How long a tail sleeps before it looks again whether what it has read is delivered.
const UNDELIVERED_PAUSE: Duration = Duration::from_millis(1);

/// Why no more events can be told. A new tail from where the last batch ended goes on.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    #[error("the log has ended")]
    Ended,
    #[error("the log cannot be read for events")]
    Log(#[source] ReadError),
    #[error("the record at {lsn} cannot be read back")]
    Record { lsn: Lsn, source: journal::Error },
    #[error("what the record at {lsn} speaks of cannot be read now: {refusal:?}")]
    Unreadable { lsn: Lsn, refusal: Refusal },
}

/// Events of some consecutive records.
#[derive(Debug)]
pub struct EventBatch {
    pub events: Vec<Event>,
    /// Everything below this position has been told: where to go on.
    pub end: u64,
}

/// Follows the log from a position of its own.
pub struct EventTail {
    engine: Engine,
    tail: Tail,
}

impl Engine {
    /// Events of what follows `from`: zero, or the end of an earlier batch.
    pub fn events(&self, from: u64) -> EventTail {
        let tail = self.shared().wal.reader().tail(Lsn::new(from));
        EventTail { engine: self.clone(), tail }
    }

    /// A position up to which there is nothing to tell because nobody listens; `None` while somebody does.
    pub fn silent_up_to(&self) -> Option<u64> {
        // In this order: a webhook is published before the position moves past its record.
        let end = self.shared().delivered.end().get();
        self.shared().webhooks.is_silent().then_some(end)
    }

    /// Where the log ends that is delivered.
    pub fn delivered_end(&self) -> u64 {
        self.shared().delivered.end().get()
    }
}

impl EventTail {
    /// Bytes of log that are durable and not told yet.
    pub fn behind(&self) -> u64 {
        self.tail.behind()
    }

    /// The events of the next records; `None` when there are none within `timeout`. Blocks the calling thread, which
    /// must not be one of the runtime's.
    pub fn next(&mut self, timeout: Duration, runtime: &Handle) -> Result<Option<EventBatch>, EventsError> {
        let records = match self.tail.next(timeout) {
            Ok(Some(records)) => records,
            Ok(None) => return Ok(None),
            Err(ReadError::Ended) => return Err(EventsError::Ended),
            Err(error) => return Err(EventsError::Log(error)),
        };
        let end = records.end();
        self.wait_until_delivered(end)?;
        let mut events = Vec::new();
        for (lsn, payload) in records.records() {
            let view = journal::view(payload).map_err(|source| EventsError::Record { lsn, source })?;
            runtime.block_on(happening::of_record(&self.engine, lsn, &view, &mut events))?;
        }
        self.tail.recycle(records);
        Ok(Some(EventBatch { events, end: end.get() }))
    }

    /// What is durable is delivered a moment later, unless the engine has failed in between.
    fn wait_until_delivered(&self, end: Lsn) -> Result<(), EventsError> {
        let shared = self.engine.shared();
        let begun = Instant::now();
        while shared.delivered.end() < end {
            let is_over = matches!(shared.status.phase(), Phase::Failed | Phase::Stopped);
            if is_over || begun.elapsed() > Duration::from_secs(60) {
                return Err(EventsError::Ended);
            }
            std::thread::sleep(UNDELIVERED_PAUSE);
        }
        debug_assert!(end == Lsn::ZERO || shared.delivered.covers(Position::new(end.get() - 1)));
        Ok(())
    }
}
