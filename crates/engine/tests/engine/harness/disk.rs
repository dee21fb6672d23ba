//! A disk that is slow when told to: while a gate is shut, no sync of a file comes to an end, or no new file.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use wal::{
    Storage,
    storage::{Access, Lock, StorageFile},
};

/// Another storage behind gates for its syncs and for new files. Clones share the gates.
#[derive(Clone)]
pub(crate) struct GatedStorage {
    inner: Arc<dyn Storage>,
    gate: Arc<Gate>,
    new_files: Arc<Gate>,
}

/// A shut gate; dropping it lets everything that waits go on.
pub(crate) struct Shut(Arc<Gate>);

impl Shut {
    pub(crate) fn open(&self) {
        self.0.set(false);
    }
}

impl Drop for Shut {
    fn drop(&mut self) {
        self.open();
    }
}

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    shut: bool,
    waiting: usize,
}

impl GatedStorage {
    pub(crate) fn new(inner: Arc<dyn Storage>) -> Self {
        Self { inner, gate: Arc::default(), new_files: Arc::default() }
    }

    /// A sync waits until the answer is opened or dropped. Hold it in front of the engine, which ends only with its disk.
    pub(crate) fn shut(&self) -> Shut {
        self.gate.set(true);
        Shut(self.gate.clone())
    }

    /// The same for the making of files: the log gets no further segments.
    pub(crate) fn shut_for_new_files(&self) -> Shut {
        self.new_files.set(true);
        Shut(self.new_files.clone())
    }

    /// Syncs that wait now.
    pub(crate) fn waiting(&self) -> usize {
        self.gate.state.lock().unwrap_or_else(PoisonError::into_inner).waiting
    }
}

impl Gate {
    fn set(&self, shut: bool) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).shut = shut;
        self.moved.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting += 1;
        while state.shut {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
    }
}

impl Storage for GatedStorage {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn lock(&self) -> io::Result<Option<Lock>> {
        self.inner.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.new_files.pass();
        Ok(self.gated(self.inner.create(name)?))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.gated(self.inner.open(name, access)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.inner.sync_directory()
    }
}

impl GatedStorage {
    fn gated(&self, inner: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(GatedFile { inner, gate: self.gate.clone() })
    }
}

struct GatedFile {
    inner: Arc<dyn StorageFile>,
    gate: Arc<Gate>,
}

impl StorageFile for GatedFile {
    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.inner.allocate(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.gate.pass();
        self.inner.sync_all()
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.inner.drop_cache()
    }
}
