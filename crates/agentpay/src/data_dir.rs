//! The data directory: what lies where, and who may use it.
//!
//! ```text
//! data/
//!   log/           segments of the write-ahead log: the truth
//!   snapshots/     snapshot generations: shorten recovery, rebuildable from the log
//!   history/       derived index for lists: rebuildable from the log
//!   keys/          idempotency keys that have no room in memory: rebuildable from the log
//!   webhooks/      deliveries of events, and how far they follow the log
//!   id.key         seals record addresses into ids; belongs to the ledger for ever, goes into backups
//!   token.keys     sign payment tokens; rotated, goes into backups
//!   control.sock   exists while a node runs
//! ```
//!
//! One process owns the directory at a time: it holds an advisory lock on the directory itself from before it creates
//! or removes anything until it ends. Readers (`check`, `wal`, `snapshot list`) take no lock and change nothing.

use crate::exit::{Exit, Failure};
use crate::id_key::{self, IdKey};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Paths inside a data directory.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
}

/// A data directory that this process owns until the value is dropped.
#[derive(Debug)]
pub(crate) struct OwnedDataDir {
    pub dir: DataDir,
    pub id_key: IdKey,
    /// True when the ledger was born at this start.
    pub is_new: bool,
    _lock: File,
}

/// Only the user who runs the node may look inside.
const DIRECTORY_MODE: u32 = 0o700;
const PRIVATE_FILE_MODE: u32 = 0o600;

impl DataDir {
    /// A directory that must exist already; for commands that only read.
    pub(crate) fn existing(root: &str) -> Result<DataDir, Failure> {
        let dir = DataDir { root: PathBuf::from(root) };
        if dir.log().is_dir() {
            return Ok(dir);
        }
        Err(Failure::new(
            Exit::Failure,
            format!(
                "{root} is not the data directory of a node: it has no `log`; name the right one with --data-dir"
            ),
        ))
    }

    /// Creates what is missing and takes ownership.
    ///
    /// # Errors
    /// [`Exit::Locked`] when another process has the directory, [`Exit::IdKey`] when there is a log but no usable key.
    pub(crate) fn own(root: &str) -> Result<OwnedDataDir, Failure> {
        let dir = DataDir { root: PathBuf::from(root) };
        create_directory(&dir.root)?;
        let lock = File::open(&dir.root)
            .map_err(|error| Failure::because(format!("cannot open the data directory {root}"), &error))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
                return Err(Failure::new(
                    Exit::Locked,
                    format!(
                        "the data directory {root} is in use by another agentpay process; stop that one or name \
                         another directory with --data-dir"
                    ),
                ));
            }
            Err(error) => {
                return Err(Failure::because(format!("cannot lock the data directory {root}"), &error));
            }
        }
        for part in [dir.log(), dir.snapshots(), dir.history(), dir.keys(), dir.webhooks()] {
            create_directory(&part)?;
        }
        let (id_key, is_new) = id_key::load_or_create(&dir)?;
        Ok(OwnedDataDir { dir, id_key, is_new, _lock: lock })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub(crate) fn history(&self) -> PathBuf {
        self.root.join("history")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    pub(crate) fn webhooks(&self) -> PathBuf {
        self.root.join("webhooks")
    }

    pub(crate) fn id_key(&self) -> PathBuf {
        self.root.join("id.key")
    }

    pub(crate) fn token_keys(&self) -> PathBuf {
        self.root.join("token.keys")
    }

    /// True when the directory holds a log or a snapshot already.
    pub(crate) fn has_ledger(&self) -> Result<bool, Failure> {
        Ok(has_entries(&self.log())? || has_entries(&self.snapshots())?)
    }
}

/// Puts a file that only the node's user may read in place of `path`, wholly or not at all, also over a power cut.
/// `commit` has the last word between the new bytes being durable and them becoming the file.
pub(crate) fn replace_private_file(
    path: &Path,
    contents: &str,
    commit: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::because(format!("cannot write {}", path.display()), &error);
    let mut temporary = path.to_owned().into_os_string();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    // A leftover of a process that died here was never used under its name.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE_FILE_MODE)
        .open(&temporary)
        .map_err(failed)?;
    file.write_all(contents.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    commit()?;
    std::fs::rename(&temporary, path).map_err(failed)?;
    sync_directory(path.parent().expect("the file lies in a directory"))
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Failure> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Failure::because(format!("cannot sync the directory {}", path.display()), &error))
}

/// Creates a directory with its missing parents so that a power cut cannot take it away again: each new name is synced
/// in its parent.
fn create_directory(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_directory(parent)?;
    match std::fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Ok(()) => sync_directory(parent),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => {
            Err(Failure::because(format!("cannot create the directory {}", path.display()), &error))
        }
    }
}

fn has_entries(path: &Path) -> Result<bool, Failure> {
    let mut entries = std::fs::read_dir(path)
        .map_err(|error| Failure::because(format!("cannot list the directory {}", path.display()), &error))?;
    Ok(entries.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> (tempfile::TempDir, String) {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let root = temp.path().join("data").to_str().expect("UTF-8").to_owned();
        (temp, root)
    }

    #[test]
    fn the_first_owner_creates_everything_privately() {
        use std::os::unix::fs::PermissionsExt;
        let (_temp, root) = temporary();
        let owned = DataDir::own(&root).expect("owned");
        assert!(owned.is_new);
        for part in [owned.dir.root().to_owned(), owned.dir.log(), owned.dir.snapshots(), owned.dir.history()]
        {
            let mode = std::fs::metadata(&part).expect("exists").permissions().mode();
            assert_eq!(mode & 0o777, DIRECTORY_MODE, "{}", part.display());
        }
    }

    #[test]
    fn a_second_owner_is_refused_until_the_first_is_gone() {
        let (_temp, root) = temporary();
        let first = DataDir::own(&root).expect("owned");
        let refused = DataDir::own(&root).expect_err("locked");
        assert_eq!(refused.exit, Exit::Locked);
        assert!(refused.message.contains(&root), "{}", refused.message);
        let key = first.id_key.bytes();
        drop(first);
        let second = DataDir::own(&root).expect("free again");
        assert!(!second.is_new);
        assert_eq!(second.id_key.bytes(), key, "the id key is for ever");
    }

    #[test]
    fn readers_want_an_existing_directory() {
        let (_temp, root) = temporary();
        assert_eq!(DataDir::existing(&root).expect_err("nothing there").exit, Exit::Failure);
        drop(DataDir::own(&root).expect("owned"));
        assert!(DataDir::existing(&root).is_ok());
    }
}
