//! Errors: each says what was being done and where. Nobody parses the texts; callers match variants.

use crate::Lsn;
use std::io;
use std::sync::Arc;
use thiserror::Error;

/// What can go wrong with a log. After a write or sync error the outcome of everything that waits is unknown,
/// and nothing but a restart tells what is durable.
#[derive(Debug, Error)]
pub enum Error {
    /// Another process, or another opener in this one, uses the directory.
    #[error("the log in {directory} is in use by another process")]
    Locked { directory: String },

    /// Settings do not fit together.
    #[error("log settings: {what}")]
    Options { what: String },

    /// The directory cannot be opened, locked or listed.
    #[error("log directory {place} cannot be used")]
    Directory { place: String, source: io::Error },

    /// The names in the directory could not be made durable.
    #[error("directory of the log could not be synced")]
    SyncDirectory { source: io::Error },

    /// A file exists but cannot be opened.
    #[error("segment {segment} cannot be opened")]
    Open { segment: u64, source: io::Error },

    /// Reading failed. Not damage: the disk did not answer.
    #[error("segment {segment} cannot be read at offset {offset}")]
    Read { segment: u64, offset: u64, source: io::Error },

    /// Writing a batch failed. Poisons the log.
    #[error("segment {segment} cannot be written at offset {offset}")]
    Write { segment: u64, offset: u64, source: io::Error },

    /// Syncing a segment failed. Poisons the log; a sync is never tried again.
    #[error("segment {segment} could not be synced")]
    Sync { segment: u64, source: io::Error },

    /// A new segment could not be made.
    #[error("segment {segment} could not be allocated")]
    Allocate { segment: u64, source: io::Error },

    /// A left-over of an interrupted start could not be removed.
    #[error("left-over file {name} could not be removed")]
    Remove { name: String, source: io::Error },

    /// No random bytes to be had.
    #[error("no random number for a new segment")]
    Entropy { source: io::Error },

    /// A thread of the log could not be started.
    #[error("a thread of the log could not be started")]
    Spawn { source: io::Error },

    /// The bytes on disk are not what was written, and a power cut does not explain it. Nothing was changed.
    #[error("log is corrupt: segment {segment}, offset {offset}, lsn {lsn}: {what}")]
    Corrupt { segment: u64, offset: u64, lsn: Lsn, what: String },

    /// The segment was written by a newer version of this program.
    #[error("segment {segment} has format version {version}, which this program does not know")]
    Version { segment: u64, version: u8 },

    /// A position that no record or batch begins at.
    #[error("no record begins at lsn {lsn}")]
    NotABoundary { lsn: Lsn },

    /// The log was poisoned before.
    #[error("the log stopped after an error")]
    Poisoned { source: Arc<Error> },
}

/// Whether the system said that there is no space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why a record was not taken. Nothing was appended, and the companion was not made.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Error)]
pub enum Refused {
    /// A write or sync failed earlier; only a restart helps.
    #[error("the log stopped after an error")]
    Poisoned,
    /// The current segment is full and no other is ready: the disk is full, or too slow to make segments as
    /// fast as they are used. Admission closed before. Passes by itself.
    #[error("the log has no room: the next segment is not allocated")]
    Full,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// Larger than `record_bytes_max`.
    #[error("the record exceeds record_bytes_max")]
    TooLarge,
}

/// Why a reader has no answer.
#[derive(Debug, Error)]
pub enum ReadError {
    /// At or above the durable position.
    #[error("the position is not durable yet")]
    NotDurable,
    /// No record begins at this position.
    #[error("no record begins at this position")]
    NotARecord,
    /// The bytes there are not those that were written.
    #[error("the record is damaged")]
    Corrupt(#[source] Error),
    /// The disk did not answer.
    #[error("the log cannot be read")]
    Io(#[source] Error),
    /// Only from [`crate::Tail::next`]: everything durable was delivered and the log is closed or poisoned.
    #[error("the log has ended")]
    Ended,
}

/// Why a replay stopped.
#[derive(Debug, Error)]
pub enum ReplayError<E> {
    /// The log itself.
    #[error(transparent)]
    Log(#[from] Error),
    /// The visitor.
    #[error("replay was stopped by its visitor")]
    Visit(E),
}
