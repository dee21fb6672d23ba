//! What can go wrong with delivery as a whole. None of it concerns money: the log stays the truth, and what was not
//! delivered is told by it again.

use std::io;
use std::path::PathBuf;

/// Failure of delivery.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option is out of its range.
    #[error("{what}")]
    Options { what: &'static str },

    /// The file system refused an operation on the store's directory.
    #[error("cannot {action} {}", .path.display())]
    Directory { action: &'static str, path: PathBuf, source: io::Error },

    /// The database of deliveries failed.
    #[error("cannot {action} the deliveries of webhooks")]
    Database { action: &'static str, source: fjall::Error },

    /// A row is not what was written.
    #[error("the deliveries of webhooks are damaged: {what}")]
    Damaged { what: &'static str },

    /// The store failed and is not open again yet.
    #[error("the deliveries of webhooks are not open")]
    Closed,

    /// The log cannot be followed.
    #[error("cannot follow the log for webhooks")]
    Events(#[source] engine::EventsError),

    /// The thread that follows the log cannot be started.
    #[error("cannot start the thread that follows the log for webhooks")]
    Thread(#[source] io::Error),
}

impl Error {
    /// Whether the machine is out of something, as opposed to the files being unusable.
    pub(crate) fn blames_machine(&self) -> bool {
        use io::ErrorKind::{
            OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, ResourceBusy, StorageFull,
        };
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                let files = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
                return rustix::io::Errno::from_io_error(io).is_some_and(|errno| files.contains(&errno))
                    || matches!(
                        io.kind(),
                        OutOfMemory
                            | PermissionDenied
                            | QuotaExceeded
                            | ReadOnlyFilesystem
                            | ResourceBusy
                            | StorageFull
                    );
            }
            cause = error.source();
        }
        false
    }
}
