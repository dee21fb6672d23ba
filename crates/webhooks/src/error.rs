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
        engine::blames_machine(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that is thought damaged is set aside, and everything since its webhooks began is sent again.
    #[test]
    fn a_store_that_somebody_else_has_open_is_not_damaged() {
        for (kind, expected) in [
            (io::ErrorKind::WouldBlock, true),
            (io::ErrorKind::StorageFull, true),
            (io::ErrorKind::InvalidData, false),
        ] {
            let source = fjall::Error::Io(kind.into());
            assert_eq!(Error::Database { action: "open", source }.blames_machine(), expected, "{kind:?}");
        }
    }
}
