//! A directory in memory that records every call, fails on demand, and can be cut off the power.

use super::disk::{Call, Disk, Loss};
use super::memory::{MemoryStorage, guard, take};
use crate::storage::{Access, Lock, Storage, StorageFile};
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// A failure to come.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Which calls count.
    pub on: On,
    /// Which of them fails: 1 is the next.
    pub nth: u64,
    /// The error.
    pub kind: io::ErrorKind,
    /// Whether all later ones fail as well, until [`FaultyStorage::heal`].
    pub lasting: bool,
}

/// Kinds of calls.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum On {
    /// Every call that changes something.
    Any,
    /// Reading.
    Read,
    /// What a full disk refuses: making a file and reserving space.
    Space,
    /// Making a file.
    Create,
    /// Reserving space.
    Allocate,
    /// Writing.
    Write,
    /// Syncing a file.
    Sync,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
    /// Syncing the directory.
    SyncDirectory,
}

/// A directory on a disk that can fail. Clones are the same directory. It keeps a copy of every byte that was
/// ever written, so give it small segments.
#[derive(Clone, Debug, Default)]
pub struct FaultyStorage {
    state: Arc<Mutex<State>>,
    locked: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct State {
    disk: Disk,
    calls: Vec<Call>,
    fault: Option<Fault>,
    next_file: u64,
}

impl FaultyStorage {
    /// An empty directory.
    pub fn new() -> FaultyStorage {
        FaultyStorage::default()
    }

    /// A directory that starts with these files, all durable.
    pub fn with_image(image: &MemoryStorage) -> FaultyStorage {
        FaultyStorage::with_disk(Disk::with_files(image.files()))
    }

    /// A directory on this disk as it is, with what is not synced: the process was killed, the machine goes
    /// on.
    pub fn with_disk(disk: Disk) -> FaultyStorage {
        let state = State { next_file: disk.file_count(), disk, ..State::default() };
        FaultyStorage { state: Arc::new(Mutex::new(state)), locked: Arc::default() }
    }

    /// Sets the next failure; replaces one that has not come yet.
    pub fn fail(&self, fault: Fault) {
        assert!(fault.nth > 0, "the next call is number 1");
        guard(&self.state).fault = Some(fault);
    }

    /// No more failures.
    pub fn heal(&self) {
        guard(&self.state).fault = None;
    }

    /// Whether the failure that was set has not come yet.
    pub fn is_fault_pending(&self) -> bool {
        guard(&self.state).fault.is_some_and(|fault| fault.nth > 0)
    }

    /// Every call so far that changed something, in order.
    pub fn calls(&self) -> Vec<Call> {
        guard(&self.state).calls.clone()
    }

    /// Number of calls so far, to remember what had happened by when.
    pub fn call_count(&self) -> usize {
        guard(&self.state).calls.len()
    }

    /// The disk as it is now.
    pub fn disk(&self) -> Disk {
        guard(&self.state).disk.clone()
    }

    /// What the next start finds if the power goes now.
    pub fn crash_image(&self, loss: Loss) -> MemoryStorage {
        guard(&self.state).disk.image(loss)
    }

    /// Does the call, unless it is its turn to fail.
    fn perform(&self, on: On, call: Call) -> io::Result<()> {
        let mut state = guard(&self.state);
        match state.is_due(on) {
            None => {
                state.record(call);
                Ok(())
            }
            Some(kind) => {
                state.record_failure(call);
                Err(kind.into())
            }
        }
    }
}

impl State {
    /// Counts the call; the error if it is to fail.
    fn is_due(&mut self, on: On) -> Option<io::ErrorKind> {
        let fault = self.fault.as_mut().filter(|fault| fault.on.covers(on))?;
        fault.nth = fault.nth.saturating_sub(1);
        let (due, kind, lasting) = (fault.nth == 0, fault.kind, fault.lasting);
        if due && !lasting {
            self.fault = None;
        }
        due.then_some(kind)
    }

    fn record(&mut self, call: Call) {
        self.disk.apply(&call);
        self.calls.push(call);
    }

    /// A failed write may have arrived in part, a failed sync loses what it covered; other calls that fail do
    /// nothing.
    fn record_failure(&mut self, call: Call) {
        match call {
            Call::Write { file, offset, bytes } => {
                let bytes = bytes[..bytes.len() / 2].into();
                self.record(Call::Write { file, offset, bytes });
            }
            Call::Sync { file } => self.record(Call::FailedSync { file }),
            _ => {}
        }
    }

    fn find(&self, name: &str) -> io::Result<u64> {
        self.disk.find(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl On {
    fn covers(self, call: On) -> bool {
        match self {
            On::Any => call != On::Read,
            On::Space => matches!(call, On::Create | On::Allocate),
            _ => self == call,
        }
    }
}

impl Storage for FaultyStorage {
    fn place(&self) -> String {
        "faulty memory".to_owned()
    }

    fn lock(&self) -> io::Result<Option<Lock>> {
        Ok(take(&self.locked))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(guard(&self.state).disk.names())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file = {
            let mut state = guard(&self.state);
            if state.find(name).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.next_file += 1;
            state.next_file - 1
        };
        self.perform(On::Create, Call::Create { file, name: name.to_owned() })?;
        Ok(Arc::new(FaultyFile { storage: self.clone(), file }))
    }

    fn open(&self, name: &str, _: Access) -> io::Result<Arc<dyn StorageFile>> {
        let file = guard(&self.state).find(name)?;
        Ok(Arc::new(FaultyFile { storage: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        guard(&self.state).find(from)?;
        self.perform(On::Rename, Call::Rename { from: from.to_owned(), to: to.to_owned() })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        guard(&self.state).find(name)?;
        self.perform(On::Remove, Call::Remove { name: name.to_owned() })
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.perform(On::SyncDirectory, Call::SyncDirectory)
    }
}

struct FaultyFile {
    storage: FaultyStorage,
    file: u64,
}

impl StorageFile for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        Ok(guard(&self.storage.state).disk.length(self.file))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = guard(&self.storage.state);
        match state.is_due(On::Read) {
            None => state.disk.read(self.file, offset, buffer),
            Some(kind) => Err(kind.into()),
        }
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.storage.perform(On::Write, Call::Write { file: self.file, offset, bytes: bytes.into() })
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.storage.perform(On::Allocate, Call::Allocate { file: self.file, bytes })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.storage.perform(On::Sync, Call::Sync { file: self.file })
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn drop_cache(&self) -> io::Result<()> {
        guard(&self.storage.state).record(Call::DropCache { file: self.file });
        Ok(())
    }
}
