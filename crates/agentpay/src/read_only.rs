//! A log directory that can be read but not changed: for `check`, beside a running node or without one.
//!
//! The log's own way of opening takes its lock and syncs what it finds. Here the lock is granted without being taken,
//! syncs do nothing, and anything that would change a file is refused. What is read beside a running node is a moment
//! of it; the last batch may be seen half written, which looks like a torn tail.

use std::io;
use std::sync::Arc;
use wal::storage::{Access, FileStorage, Lock, Storage, StorageFile};

/// A view of a log directory.
pub(crate) struct ReadOnlyStorage(FileStorage);

impl ReadOnlyStorage {
    pub(crate) fn new(storage: FileStorage) -> ReadOnlyStorage {
        ReadOnlyStorage(storage)
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the log is open for reading only")
}

impl Storage for ReadOnlyStorage {
    fn place(&self) -> String {
        self.0.place()
    }

    fn lock(&self) -> io::Result<Option<Lock>> {
        Ok(Some(Box::new(())))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, _name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Err(refused())
    }

    fn open(&self, name: &str, _access: Access) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(ReadOnlyFile(self.0.open(name, Access::Read)?)))
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        Err(refused())
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        Err(refused())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }
}

struct ReadOnlyFile(Arc<dyn StorageFile>);

impl StorageFile for ReadOnlyFile {
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        Err(refused())
    }

    fn allocate(&self, _bytes: u64) -> io::Result<()> {
        Err(refused())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }
}
