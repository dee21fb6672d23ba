//! Removing large files. A file system that frees gigabytes at once holds up everybody who syncs on it: where freed blocks
//! are discarded, 1.7 GB make each sync take 40 ms for 0.3 s here. In pieces none takes 5 ms.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

/// Freed at once, and the pause behind it.
const PIECE_BYTES: u64 = 8 << 20;
const PAUSE: Duration = Duration::from_millis(5);
/// How often a reader is waited for.
const READERS_TRIED: u32 = 20;

/// A file that is to lose its name, so that its blocks can be freed afterwards.
#[derive(Debug)]
pub struct Doomed(File);

impl Doomed {
    pub fn open(path: &Path) -> io::Result<Doomed> {
        Ok(Doomed(OpenOptions::new().write(true).open(path)?))
    }

    /// Frees the blocks piece by piece; the file must have no name any more. While somebody has it open and says so with a
    /// shared lock ([`reading`]), nothing is done: then its blocks are freed when it is closed. A short reader is waited for.
    pub fn free(self) -> io::Result<()> {
        let mut tries = 0..READERS_TRIED;
        while flock(&self.0, FlockOperation::NonBlockingLockExclusive).is_err() {
            if tries.next().is_none() {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        let mut length = self.0.metadata()?.len();
        while length > 0 {
            length = length.saturating_sub(PIECE_BYTES);
            self.0.set_len(length)?;
            if length > 0 {
                thread::sleep(PAUSE);
            }
        }
        Ok(())
    }
}

/// Removes a file: its name now, its blocks piece by piece before this returns.
pub fn remove(path: &Path) -> io::Result<()> {
    let doomed = Doomed::open(path);
    fs::remove_file(path)?;
    doomed.and_then(Doomed::free)
}

/// Says that a file is read, for as long as it is open: nobody frees its blocks meanwhile.
pub fn reading(file: &File) {
    // Best effort: who removes a file at the very moment it is opened frees it under its reader, who finds it cut short.
    let _ = flock(file, FlockOperation::NonBlockingLockShared);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn large(path: &Path) -> u64 {
        let length = 3 * PIECE_BYTES + 1;
        let file = File::create(path).expect("a file");
        file.set_len(length).expect("a file can be sparse");
        file.write_all_at(b"!", length - 1).expect("written");
        length
    }

    #[test]
    fn a_removed_file_has_neither_name_nor_bytes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("large");
        large(&path);
        let open = File::open(&path).expect("it is there");
        remove(&path).expect("removed");
        assert!(!path.exists());
        assert_eq!(open.metadata().expect("it is open").len(), 0);
        assert_eq!(remove(&path).expect_err("it is gone").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_that_is_read_stays_whole_until_it_is_closed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("large");
        let length = large(&path);
        let open = File::open(&path).expect("it is there");
        reading(&open);
        remove(&path).expect("removed");
        assert!(!path.exists());
        let mut last = [0];
        open.read_exact_at(&mut last, length - 1).expect("it is whole");
        assert_eq!(&last, b"!");
    }

    /// What is replaced by renaming another file over it loses its name there.
    #[test]
    fn a_doomed_file_is_freed_behind_the_one_that_took_its_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let (old, new) = (directory.path().join("old"), directory.path().join("new"));
        let length = large(&old);
        fs::write(&new, b"new").expect("written");
        let open = File::open(&old).expect("it is there");
        let doomed = Doomed::open(&old).expect("it is there");
        fs::rename(&new, &old).expect("renamed");
        assert_eq!(open.metadata().expect("it is open").len(), length);
        doomed.free().expect("freed");
        assert_eq!(open.metadata().expect("it is open").len(), 0);
        assert_eq!(fs::read(&old).expect("the new one"), b"new");
    }
}
