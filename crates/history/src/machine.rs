//! Whether a failure speaks of the machine or of the files: what is damaged is set aside and made anew, and that must not
//! happen because a disk was full for a minute.
//!
//! The one place that knows, for every derived store that may be made anew; stores above the engine get it through it.

use std::error::Error;
use std::io;

use rustix::io::Errno;

/// True when the error stands on an I/O error that says nothing about the files' content: no space, memory, permission or
/// file handles, or somebody else has the file. An unreadable sector is damage.
pub fn blames_machine(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{
        OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, ResourceBusy, StorageFull,
        WouldBlock,
    };
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            let is_out_of_files = matches!(Errno::from_io_error(io), Some(Errno::MFILE | Errno::NFILE));
            return is_out_of_files
                || matches!(
                    io.kind(),
                    OutOfMemory
                        | PermissionDenied
                        | QuotaExceeded
                        | ReadOnlyFilesystem
                        | ResourceBusy
                        | StorageFull
                        | WouldBlock
                );
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn the_machine_is_blamed_for_what_it_lacks_and_not_for_what_was_read() {
        for (error, expected) in [
            (io::ErrorKind::StorageFull.into(), true),
            (io::ErrorKind::QuotaExceeded.into(), true),
            (io::ErrorKind::PermissionDenied.into(), true),
            (io::ErrorKind::WouldBlock.into(), true),
            (Errno::MFILE.into(), true),
            (Errno::NFILE.into(), true),
            (Errno::IO.into(), false),
            (io::ErrorKind::InvalidData.into(), false),
            (io::ErrorKind::UnexpectedEof.into(), false),
            (io::ErrorKind::NotFound.into(), false),
        ] {
            let error: io::Error = error;
            let text = format!("{error:?}");
            assert_eq!(blames_machine(&Outer(error)), expected, "{text}");
        }
        assert!(!blames_machine(&std::fmt::Error), "nothing of the machine in it");
    }
}
