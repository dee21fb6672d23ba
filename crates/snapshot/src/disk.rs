//! The effects on the file system, one function each, so that tests can fail the k-th of them.
//!
//! In production this is a value without fields and each function is the call it names plus the context of its error.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{Advice, FlockOperation, fadvise, flock};

use crate::Error;

#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    pub(crate) faults: std::sync::Arc<faults::Faults>,
}

impl Disk {
    /// Creates a file that must not exist and locks it, which tells a file being written from a leftover.
    pub(crate) fn create(&self, path: &Path) -> Result<File, Error> {
        self.act("create", path, || {
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            Ok(file)
        })
    }

    pub(crate) fn write(&self, file: &mut File, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        #[cfg(test)]
        let bytes = self.faults.torn(bytes);
        let written = file.write_all(bytes);
        self.act("write to", path, || written)
    }

    /// Syncs what was written so far and lets the page cache forget it: a generation is read again once at most.
    pub(crate) fn sync(&self, file: &File, path: &Path) -> Result<(), Error> {
        self.act("sync", path, || {
            file.sync_all()?;
            fadvise(file, 0, None, Advice::DontNeed)?;
            Ok(())
        })
    }

    /// Has the kernel begin to write what lies from `from` to `to`; of that, what is on disk already leaves the page cache.
    pub(crate) fn begin_writeback(&self, file: &File, path: &Path, from: u64, to: u64) -> Result<(), Error> {
        self.act("write back", path, || spread::begin_writeback(file, from, to))
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.act("rename", from, || std::fs::rename(from, to))
    }

    pub(crate) fn sync_directory(&self, path: &Path) -> Result<(), Error> {
        self.act("sync the directory", path, || File::open(path)?.sync_all())
    }

    pub(crate) fn remove(&self, path: &Path) -> Result<(), Error> {
        self.act("remove", path, || spread::remove(path))
    }

    fn act<T>(
        &self,
        action: &'static str,
        path: &Path,
        effect: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, Error> {
        #[cfg(test)]
        if let Err(source) = self.faults.step(action) {
            return Err(Error::Io { action, path: path.to_owned(), source });
        }
        effect().map_err(|source| Error::Io { action, path: path.to_owned(), source })
    }
}

/// True when nobody holds the lock that [`Disk::create`] takes.
pub(crate) fn is_leftover(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
}

#[cfg(test)]
pub(crate) mod faults {
    //! A disk that dies at a chosen step: that step fails, a write leaves half its bytes, and nothing works after it.

    use std::io;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    #[derive(Debug)]
    pub(crate) struct Faults {
        steps: AtomicU64,
        dies_at: AtomicU64,
        actions: Mutex<Vec<&'static str>>,
    }

    impl Default for Faults {
        fn default() -> Faults {
            let (steps, dies_at) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
            Faults { steps, dies_at, actions: Mutex::default() }
        }
    }

    impl Faults {
        /// Lets the `step`-th effect from now on fail, counting from 1.
        pub(crate) fn die_at(&self, step: u64) {
            self.dies_at.store(self.steps.load(Relaxed) + step, Relaxed);
        }

        pub(crate) fn steps(&self) -> u64 {
            self.steps.load(Relaxed)
        }

        /// The actions since the last call, in order.
        pub(crate) fn take_actions(&self) -> Vec<&'static str> {
            std::mem::take(&mut self.actions.lock().expect("no test panics with it"))
        }

        pub(super) fn step(&self, action: &'static str) -> io::Result<()> {
            self.actions.lock().expect("no test panics with it").push(action);
            let step = self.steps.fetch_add(1, Relaxed) + 1;
            if step < self.dies_at.load(Relaxed) {
                return Ok(());
            }
            Err(io::Error::other(format!("injected at step {step}")))
        }

        pub(super) fn torn<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
            let step = self.steps() + 1;
            let dies_at = self.dies_at.load(Relaxed);
            match step.cmp(&dies_at) {
                std::cmp::Ordering::Less => bytes,
                std::cmp::Ordering::Equal => &bytes[..bytes.len() / 2],
                std::cmp::Ordering::Greater => &[],
            }
        }
    }
}
