//! What can go wrong with the index. None of it concerns money: the log stays the truth, and the index can be rebuilt.

use std::io;
use std::path::PathBuf;

use wal::Lsn;

use crate::blames_machine;

/// Failure of the index.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option is out of its range.
    #[error("history option: {what}")]
    Options { what: &'static str },

    /// Another process has the index open.
    #[error("the history index in {} is open in another process", .directory.display())]
    Locked { directory: PathBuf },

    /// The file system refused an operation on the index's directory.
    #[error("cannot {action} {}", .path.display())]
    Directory { action: &'static str, path: PathBuf, source: io::Error },

    /// The database under the index failed.
    #[error("cannot {action} the history index")]
    Database { action: &'static str, source: fjall::Error },

    /// A row of the index is not what was written. The index is set aside and rebuilt at the next start.
    #[error("the history index is damaged: {what}")]
    Damaged { what: &'static str },

    /// A record that the log holds cannot be decoded.
    #[error("the record at {lsn} cannot be indexed")]
    Record { lsn: Lsn, source: journal::Error },

    /// The thread that writes the index out cannot be started.
    #[error("cannot start the thread that writes the history index")]
    Thread(#[source] io::Error),

    /// The log cannot be read.
    #[error("cannot read the log for the history index")]
    Log(#[source] wal::ReadError),
}

impl Error {
    /// True when the index itself is unusable, as opposed to the machine being out of space, memory or permissions.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Error::Damaged { .. } => true,
            Error::Database { source, .. } => !blames_machine(source),
            Error::Options { .. }
            | Error::Locked { .. }
            | Error::Directory { .. }
            | Error::Record { .. }
            | Error::Thread(_)
            | Error::Log(_) => false,
        }
    }
}
