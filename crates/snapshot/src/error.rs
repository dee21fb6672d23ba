//! What can go wrong with a snapshot, always naming the file and what to do about it.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

/// Failure of a snapshot store. Nothing here is retried by the store itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused an operation. The generation being written is given up; older ones are untouched.
    #[error("cannot {action} {}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },

    /// The bytes of a generation are not what was written. Nothing of it may be used.
    #[error(
        "snapshot {} is damaged at byte {offset}: {what}; move the file away to start from an older generation, \
         or from the log alone when there is none",
        .path.display()
    )]
    Damaged { path: PathBuf, offset: u64, what: Cow<'static, str> },

    /// The file is whole, but a row in it cannot be decoded: it was written by a defective or newer program.
    #[error(
        "snapshot {} holds an unreadable row in the chunk at byte {offset}; move the file away to start from an \
         older generation, or from the log alone when there is none",
        .path.display()
    )]
    Row { path: PathBuf, offset: u64, source: journal::Error },

    /// A format that this program does not know.
    #[error(
        "snapshot {} has format version {found}, this program reads version {known}; use the program that wrote it, \
         or move the file away to start from the log",
        .path.display()
    )]
    Version { path: PathBuf, found: u16, known: u16 },

    /// No generation with this id.
    #[error("snapshot generation {id} does not exist")]
    Missing { id: u64 },

    /// A row beyond [`crate::ROW_BYTES_MAX`].
    #[error("a snapshot row has {bytes} bytes, the limit is {limit}")]
    RowTooLarge { bytes: usize, limit: usize },

    /// An earlier call on this writer failed; its generation can no longer be completed.
    #[error("snapshot generation {id} was given up after an earlier failure")]
    GivenUp { id: u64 },

    /// The visitor given to [`crate::SnapshotStore::load`] did not accept a row.
    #[error("a row of the snapshot was refused")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
}
