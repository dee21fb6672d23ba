//! The handle of a running log.

use crate::event::Event;
use crate::log::Parts;
use crate::shared::Shared;
use crate::storage::Lock;
use crate::sync::{Mutex, lock, thread};
use crate::{Error, Lsn, Reader, Refused, Stat};
use std::fmt;
use std::sync::Arc;

/// A running log. Cheap to clone; all clones are the same log. When the last clone goes, the log is closed.
pub struct Wal<T>(Arc<Running<T>>);

/// Whether new work should be let in.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Admission {
    /// There is room.
    Open,
    /// The next segment is still being made, and what is left of the present one is kept for what was admitted
    /// before. Opens by itself, soon: whoever can wait gets room in the end.
    Pressed,
    /// The next segment cannot be allocated (or the log is closed). What was admitted before still fits as
    /// long as it is less than half a segment. Opens by itself when space comes back.
    ReadOnly,
    /// A write or sync failed; nothing will be taken until a restart.
    Poisoned,
}

struct Running<T> {
    shared: Arc<Shared<T>>,
    ending: Mutex<Option<Ending>>,
}

/// What the end of a running log takes.
struct Ending {
    threads: [thread::JoinHandle<()>; 2],
    _lock: Lock,
}

impl<T: Send + 'static> Wal<T> {
    pub(crate) fn start(
        parts: Parts<T>,
        sink: impl FnMut(Event<T>) + Send + 'static,
    ) -> Result<Wal<T>, Error> {
        let Parts { shared, writer, allocator, lock } = parts;
        let log = spawn("wal-log", move || writer.run(sink))?;
        let allocator = match spawn("wal-allocator", move || allocator.run()) {
            Ok(allocator) => allocator,
            Err(error) => {
                shared.close();
                join(log);
                return Err(error);
            }
        };
        let ending = Ending { threads: [log, allocator], _lock: lock };
        Ok(Wal(Arc::new(Running { shared, ending: Mutex::new(Some(ending)) })))
    }
}

impl<T> Wal<T> {
    /// Appends a record and returns its position. The record is durable when its companion comes back in an
    /// [`Event::Committed`]; `companion` makes it from the position, under the log's lock, so it must be
    /// quick.
    ///
    /// Copies the payload into the open batch; checksums are the log thread's work. Never waits for the disk.
    pub fn append_with(&self, payload: &[u8], companion: impl FnOnce(Lsn) -> T) -> Result<Lsn, Refused> {
        self.0.shared.append(payload, |lsn| Some(companion(lsn)))
    }

    /// Appends a record that nobody waits for by itself: a later companion speaks for it.
    pub fn append(&self, payload: &[u8]) -> Result<Lsn, Refused> {
        self.0.shared.append(payload, |_| None)
    }

    /// No record: `companion` comes back once everything appended so far is durable. When nothing else waits,
    /// nothing is written or synced for it.
    pub fn attach(&self, companion: T) -> Result<(), (Refused, T)> {
        self.0.shared.attach(companion)
    }

    /// A batch that is let fill ([`Options::gather_max`](crate::Options::gather_max)) has gathered enough with so many
    /// companions. Who knows how many requesters there are, each with one command at a time, says a part of them here:
    /// then some wait for the disk while others come, and neither the disk nor they stand still. At the start it is
    /// never enough, and only time ends the wait.
    pub fn gather_to(&self, companions: usize) {
        self.0.shared.gather_to(companions);
    }

    /// Everything below survives a power cut.
    pub fn durable_lsn(&self) -> Lsn {
        self.0.shared.published.durable()
    }

    /// End of what was appended. Never below [`Wal::durable_lsn`].
    pub fn appended_lsn(&self) -> Lsn {
        // Durable first: it can only be behind what is read after it.
        let durable = self.durable_lsn();
        let appended = self.0.shared.published.appended();
        assert!(durable <= appended, "durable stays within appended");
        appended
    }

    /// Whether new work should be let in. One atomic read.
    pub fn admission(&self) -> Admission {
        self.0.shared.published.admission()
    }

    /// Whether a segment stands ready behind the one in use. Who can wait with what is not urgent, and would write much,
    /// leaves the rest of the present one to others.
    pub fn has_segment_ready(&self) -> bool {
        self.0.shared.ready_segments() > 0
    }

    /// A reader of what is durable.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.0.shared.published))
    }

    /// Sizes and positions.
    pub fn stat(&self) -> Stat {
        let published = &self.0.shared.published;
        let mut stat = Stat { begin: published.begin(), durable: published.durable(), ..Stat::default() };
        stat.appended = published.appended();
        for segment in published.segments() {
            stat.segments += 1;
            stat.segment_bytes += segment.identity.capacity;
        }
        stat.segments_ready = self.0.shared.ready_segments() as u64;
        stat
    }

    /// Syncs what waits, writes a watermark, stops the threads and gives the directory free. Later appends
    /// are [`Refused::Closed`]. Must not be called from the sink. Closing twice is fine.
    ///
    /// [`Error::Poisoned`] when the log had been poisoned, now or before.
    pub fn close(&self) -> Result<(), Error> {
        self.0.close();
        match self.0.shared.cause() {
            Some(source) => Err(Error::Poisoned { source }),
            None => Ok(()),
        }
    }
}

impl<T> Clone for Wal<T> {
    fn clone(&self) -> Wal<T> {
        Wal(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Wal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal")
            .field("durable", &self.durable_lsn())
            .field("appended", &self.appended_lsn())
            .field("admission", &self.admission())
            .finish_non_exhaustive()
    }
}

impl<T> Running<T> {
    fn close(&self) {
        self.shared.close();
        // Held while joining, so that a second closer also waits until the log is closed.
        let mut ending = lock(&self.ending);
        if let Some(Ending { threads, _lock }) = ending.take() {
            threads.into_iter().for_each(join);
        }
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.close();
    }
}

/// Waits for a thread, unless it is the one that asks: the last handle may have been owned by the sink.
fn join(thread: thread::JoinHandle<()>) {
    if thread.thread().id() != thread::current().id() {
        thread.join().expect("the threads of the log do not panic");
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, Error> {
    thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|source| Error::Spawn { source })
}
