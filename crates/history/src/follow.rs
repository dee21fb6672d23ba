//! The follower: keeps the index up with the log on a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wal::{Lsn, ReadError, Tail, TailBatch};

use crate::{Batch, Error, History};

/// Records after which a batch is made visible although the log has more: readers wait for whole batches, and what is
/// gathered for one stays in the processor's cache.
const BATCH_RECORDS: usize = 1_024;

/// How long the follower waits for the log before it looks at the stop flag.
const IDLE: Duration = Duration::from_millis(100);

/// Pause between batches while nobody waits. A busy log commits every fraction of a millisecond; following each commit
/// would cost the payments a wake-up every time, for lists that nobody asked for yet.
const LINGER: Duration = Duration::from_millis(20);

/// Bytes of log that are not worth a pause: with more to read than this the follower goes on at once.
const LINGER_BYTES_MAX: u64 = 256 << 10;

/// Follows the log until `stop` is set or the log ends, then writes out what is in memory. `tail` is to be taken at
/// [`History::cursor`]. Lowers the priority of the calling thread for good; give it one of its own.
///
/// An error leaves the index as it was after the last batch, readable and behind; run may be called again with a new
/// tail. When the index itself turned out to be damaged, it is rebuilt at the next start.
pub fn run(history: Arc<History>, mut tail: Tail, stop: &AtomicBool) -> Result<(), Error> {
    spread::lower_priority(history.options.niceness);
    let mut sealer = Sealer::default();
    let followed = follow(&history, &mut tail, stop, &mut sealer);
    // The node ends: what is still to be written is not spread over time.
    history.pace.rush(true);
    // Whatever happened, no thread is left behind that holds the index open.
    let sealed = sealer.wait(&history);
    followed.and(sealed)?;
    history.seal()
}

fn follow(
    history: &Arc<History>,
    tail: &mut Tail,
    stop: &AtomicBool,
    sealer: &mut Sealer,
) -> Result<(), Error> {
    while !stop.load(Ordering::Relaxed) {
        let first = match tail.next(IDLE) {
            Ok(Some(first)) => first,
            Ok(None) => {
                history.rest();
                continue;
            }
            Err(ReadError::Ended) => break,
            Err(error) => return Err(Error::Log(error)),
        };
        history.set_pace(tail.behind());
        take_what_is_ready(history, tail, first)?;
        if history.is_full() {
            sealer.start(history)?;
        }
        if tail.behind() < LINGER_BYTES_MAX {
            history.linger(LINGER);
        }
    }
    Ok(())
}

/// One visible batch from what the log has now.
fn take_what_is_ready(history: &History, tail: &mut Tail, first: TailBatch) -> Result<(), Error> {
    let mut batch = history.batch();
    let mut next = add(&mut batch, &first)?;
    tail.recycle(first);
    while batch.len() < BATCH_RECORDS {
        match tail.next(Duration::ZERO) {
            Ok(Some(more)) => {
                next = add(&mut batch, &more)?;
                tail.recycle(more);
            }
            // The end is met again by the caller, when this batch is visible.
            Ok(None) | Err(ReadError::Ended) => break,
            Err(error) => return Err(Error::Log(error)),
        }
    }
    batch.commit(next);
    Ok(())
}

fn add(batch: &mut Batch<'_>, records: &TailBatch) -> Result<Lsn, Error> {
    batch.records(records.records())?;
    Ok(records.end())
}

/// Writes full parts out beside the follower. One at a time: a follower that is a whole part ahead waits, which bounds
/// what is in memory, and from then on the disk is not spared.
#[derive(Default)]
struct Sealer {
    running: Option<JoinHandle<Result<(), Error>>>,
}

impl Sealer {
    fn start(&mut self, history: &Arc<History>) -> Result<(), Error> {
        self.wait(history)?;
        let history = Arc::clone(history);
        let spawned =
            thread::Builder::new().name("history-seal".to_owned()).spawn(move || history.seal_part());
        self.running = Some(spawned.map_err(Error::Thread)?);
        Ok(())
    }

    fn wait(&mut self, history: &History) -> Result<(), Error> {
        let Some(running) = self.running.take() else { return Ok(()) };
        history.pace.rush(true);
        running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
