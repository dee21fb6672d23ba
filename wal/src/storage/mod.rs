//! The seam to the disk: one directory of files with positioned reads and writes.
//!
//! The contract is that of a POSIX file system: what was written is seen by every later read, but survives a
//! power cut only after a sync of the file; a name survives only after a sync of the directory; a sector (512
//! bytes) is written wholly or not at all. All calls may come from several threads at once.

mod file;

pub use file::FileStorage;

use std::any::Any;
use std::io;
use std::sync::Arc;

/// Exclusive use of a directory; dropping it gives the directory free.
pub type Lock = Box<dyn Any + Send + Sync>;

/// One directory.
pub trait Storage: Send + Sync + 'static {
    /// Where this is, for messages to people.
    fn place(&self) -> String;

    /// Takes the directory for this opener alone. `None`: somebody else has it.
    fn lock(&self) -> io::Result<Option<Lock>>;

    /// Names of all files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes an empty file for reading and writing. Fails with `AlreadyExists` when there is one.
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;

    /// Opens an existing file.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>>;

    /// Renames atomically; replaces what bore the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names durable.
    fn sync_directory(&self) -> io::Result<()>;
}

/// What an opened file may be used for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reading and syncing.
    Read,
    /// Reading, writing and syncing.
    Write,
}

/// One open file.
pub trait StorageFile: Send + Sync + 'static {
    /// Size of the file in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset` on; `UnexpectedEof` when the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Sets the size to `bytes` and reserves the space. Fails with `StorageFull` or `QuotaExceeded` when
    /// there is none.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Makes contents durable (and the size, where it changed).
    fn sync_data(&self) -> io::Result<()>;

    /// Makes contents and metadata durable.
    fn sync_all(&self) -> io::Result<()>;

    /// Forgets cached contents, so that the next read shows what the disk really holds. After a failed
    /// write-back the cache shows bytes that never arrived, and nothing but reading from the disk itself can
    /// tell.
    fn drop_cache(&self) -> io::Result<()>;
}
