//! Append-only, durable log of opaque records: the commit point of the ledger.
//!
//! Knows no money, no async runtime, no actors. One log is one directory of preallocated segment files; one
//! thread writes it. Appenders copy records into an open batch under a short lock and learn the position at
//! once; the log thread takes what has gathered, writes once, syncs once, and hands back the companions of
//! everything that has become durable.
//!
//! ```text
//! append_with ─┐                      ┌─ write, fdatasync ─┐
//! append_with ─┼─► intake (one lock) ─┤   writer (thread)  ├─► sink: Event::Committed { companions, records }
//! attach ──────┘         ▲            └────────────────────┘            │
//!                        │ segments made ahead                          ▼
//!               allocator (thread)                    published: durable position, segments ─► Reader, Tail
//! ```
//!
//! | module | what |
//! |---|---|
//! | `frame`, `batch`, `segment` | the format; pure functions over bytes |
//! | `intake`, `shared` | the open batch, the lock around it, who wakes whom |
//! | `writer`, `allocator` | the two threads |
//! | `recovery`, `scan`, `log` | opening: what is valid, what is torn, what is corrupt |
//! | `replay` | every record from a position on; the third thread, while it lasts |
//! | `published`, `reader`, `tail` | reading beside the writer |
//! | `offline` | verify, dump, stat |
//! | `storage`, `testing` | the seam to the disk; disks that forget and fail |
//!
//! Invariants: `durable <= appended`, both only grow, nothing at or above `durable` is shown to anybody. A
//! position is never used again. A segment is never used again. A sync that failed is never repeated, and
//! nothing is acknowledged after it. Files of a log that is found corrupt are not changed.
//!
//! Taken for granted about the disk: a sector of 512 bytes is written wholly or not at all, rewriting a
//! sector with the same leading bytes does not harm those, and a sync that succeeded is true.
//!
//! Not here: the meaning of records, replication, encryption, dropping old segments (every record's position
//! is its address, for ever), and protection from somebody who can write the files: the chain finds
//! accidents, not forgers.

mod allocator;
mod batch;
mod error;
mod event;
mod frame;
mod intake;
mod log;
mod lsn;
pub mod offline;
mod options;
mod published;
mod reader;
mod recovery;
mod replay;
mod scan;
mod segment;
mod shared;
pub mod storage;
mod sync;
mod tail;
pub mod testing;
mod wal;
mod writer;

#[cfg(all(test, not(feature = "shuttle")))]
mod tests;

pub use batch::Records;
pub use error::{Error, ReadError, Refused, ReplayError};
pub use event::{BatchStats, Committed, Event};
pub use log::Log;
pub use lsn::Lsn;
pub use offline::{Report, Stat, TornTail, dump, stat, verify};
pub use options::{Clock, Entropy, Options, SystemClock, SystemEntropy};
pub use reader::Reader;
pub use replay::Replayed;
pub use storage::{FileStorage, Storage};
pub use tail::{Tail, TailBatch};
pub use wal::{Admission, Wal};
