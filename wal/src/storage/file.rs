//! [`Storage`] on a directory of the local file system: `std::fs` positioned I/O, and rustix for what std
//! lacks.
//!
//! Never `O_APPEND` (positions are ours), never memory maps (an I/O error would be a signal). The directory
//! stays open for its syncs; the lock is a `flock` on a descriptor of its own, so that it also excludes a
//! second opener in the same process.

use super::{Access, Lock, Storage, StorageFile};
use crate::Error;
use rustix::fs::{Advice, FallocateFlags, FlockOperation};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory of the file system.
#[derive(Debug)]
pub struct FileStorage {
    path: PathBuf,
    directory: File,
}

impl FileStorage {
    /// Opens `path`, which is made (durably, with its missing parents) when it does not exist.
    pub fn open(path: impl AsRef<Path>) -> Result<FileStorage, Error> {
        let path = path.as_ref().to_path_buf();
        make_durably(&path)
            .and_then(|()| FileStorage::at(&path))
            .map_err(|source| Error::Directory { place: path.display().to_string(), source })
    }

    /// Opens `path`, which must exist. For offline tools, which change nothing.
    pub fn open_existing(path: impl AsRef<Path>) -> Result<FileStorage, Error> {
        let path = path.as_ref();
        FileStorage::at(path).map_err(|source| Error::Directory { place: path.display().to_string(), source })
    }

    fn at(path: &Path) -> io::Result<FileStorage> {
        let directory = File::open(path)?;
        if !directory.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(FileStorage { path: path.to_path_buf(), directory })
    }
}

/// Makes a directory so that a power cut cannot take it away again: each new name is synced in its parent.
fn make_durably(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_durably(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => File::open(parent)?.sync_all(),
    }
}

impl Storage for FileStorage {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn lock(&self) -> io::Result<Option<Lock>> {
        let descriptor = File::open(&self.path)?;
        match rustix::fs::flock(&descriptor, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(descriptor))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not UTF-8 is not one of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.path.join(name))?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        let writable = access == Access::Write;
        let file = OpenOptions::new().read(true).write(writable).open(self.path.join(name))?;
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.directory.sync_all()
    }
}

impl StorageFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, bytes) {
            // The zeros that are written next reserve the space as well, only less early.
            Err(Errno::OPNOTSUPP) => self.set_len(bytes),
            result => Ok(result?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(self, 0, None, Advice::DontNeed)?)
    }
}
