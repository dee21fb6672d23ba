//! A directory in memory that never fails and never forgets.

use crate::storage::{Access, Lock, Storage, StorageFile};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Files in memory. Clones are the same directory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    files: Arc<Mutex<BTreeMap<String, MemoryFile>>>,
    locked: Arc<AtomicBool>,
}

#[derive(Clone, Debug, Default)]
struct MemoryFile(Arc<Mutex<Vec<u8>>>);

impl MemoryStorage {
    /// An empty directory.
    pub fn new() -> MemoryStorage {
        MemoryStorage::default()
    }

    /// A directory with these files.
    pub fn with_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> MemoryStorage {
        let storage = MemoryStorage::new();
        for (name, bytes) in files {
            storage.put(&name, bytes);
        }
        storage
    }

    /// Copies of all files.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let files = guard(&self.files);
        files.iter().map(|(name, file)| (name.clone(), guard(&file.0).clone())).collect()
    }

    /// Makes or replaces a file, unseen by whoever has the old one open.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let file = MemoryFile(Arc::new(Mutex::new(bytes)));
        guard(&self.files).insert(name.to_owned(), file);
    }

    fn find(&self, name: &str) -> io::Result<MemoryFile> {
        guard(&self.files).get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Storage for MemoryStorage {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn lock(&self) -> io::Result<Option<Lock>> {
        Ok(take(&self.locked))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(guard(&self.files).keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let mut files = guard(&self.files);
        if files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = MemoryFile::default();
        files.insert(name.to_owned(), file.clone());
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str, _: Access) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(self.find(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = guard(&self.files);
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        guard(&self.files).remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }
}

impl StorageFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(guard(&self.0).len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        read(&guard(&self.0), offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write(&mut guard(&self.0), offset, bytes);
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        guard(&self.0).resize(size(bytes), 0);
        Ok(())
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

/// Gives the directory free on drop.
struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Takes the lock that `locked` stands for, unless it is taken.
pub(super) fn take(locked: &Arc<AtomicBool>) -> Option<Lock> {
    let free = !locked.swap(true, Ordering::SeqCst);
    free.then(|| Box::new(Held(Arc::clone(locked))) as Lock)
}

pub(super) fn read(file: &[u8], offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let bytes = file.get(size(offset)..).and_then(|rest| rest.get(..buffer.len()));
    buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
    Ok(())
}

pub(super) fn write(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let end = size(offset) + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[size(offset)..end].copy_from_slice(bytes);
}

pub(super) fn size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a file in memory fits into memory")
}

pub(super) fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panicked inside the storage")
}
