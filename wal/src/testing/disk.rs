//! What a disk holds, as a pure function of the calls made to it: the live view that processes see, and what
//! a power cut leaves.
//!
//! A sync of a file makes the writes to that file durable, a sync of the directory the names. Of everything
//! else each sector of 512 bytes and each change of a name survives or not, independently. Writes that a
//! *failed* sync covered stay visible until the cache is dropped, and no later sync makes them durable: that
//! is how Linux behaves.

use super::Random;
use super::memory::{MemoryStorage, read, size, write};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

const SECTOR: usize = 512;

/// One call that changed something, or tried to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// A new file; files keep their number when they are renamed.
    Create { file: u64, name: String },
    /// The size was set.
    Allocate { file: u64, bytes: u64 },
    /// Bytes were written.
    Write { file: u64, offset: u64, bytes: Arc<[u8]> },
    /// A sync of contents succeeded.
    Sync { file: u64 },
    /// A sync of contents failed.
    FailedSync { file: u64 },
    /// Clean pages were dropped from the cache.
    DropCache { file: u64 },
    /// A name changed.
    Rename { from: String, to: String },
    /// A name was removed.
    Remove { name: String },
    /// A sync of the names succeeded.
    SyncDirectory,
}

/// What becomes of everything that was not synced.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Loss {
    /// All of it survives: a killed process on a machine that goes on.
    Kept,
    /// None of it survives.
    Dropped,
    /// Each sector and each name survives or not, by this seed.
    Random(u64),
}

/// The state of a disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: BTreeMap<u64, Contents>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    unsynced_names: Vec<NameChange>,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
struct Change {
    what: What,
    /// A sync that covered it failed.
    lost: bool,
}

#[derive(Clone, Debug)]
enum What {
    Size(u64),
    Bytes(u64, Arc<[u8]>),
}

#[derive(Clone, Debug)]
enum NameChange {
    Add(String, u64),
    Move(String, String, u64),
    Remove(String),
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Disk {
        Disk::default()
    }

    /// A disk that durably holds these files, numbered from 0 in the order of their names.
    pub fn with_files(files: BTreeMap<String, Vec<u8>>) -> Disk {
        let mut disk = Disk::new();
        for (file, (name, bytes)) in (0..).zip(files) {
            disk.files.insert(file, Contents { live: bytes.clone(), durable: bytes, unsynced: Vec::new() });
            disk.names.insert(name.clone(), file);
            disk.durable_names.insert(name, file);
        }
        disk
    }

    /// Files, also those without a name.
    pub fn file_count(&self) -> u64 {
        self.files.len() as u64
    }

    /// Number of the file that bears this name now.
    pub fn find(&self, name: &str) -> Option<u64> {
        self.names.get(name).copied()
    }

    /// All names as they are now.
    pub fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    /// Size of a file as it is now.
    pub fn length(&self, file: u64) -> u64 {
        self.files[&file].live.len() as u64
    }

    /// Reads what is visible now.
    pub fn read(&self, file: u64, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        read(&self.files[&file].live, offset, buffer)
    }

    /// Does what the call does.
    pub fn apply(&mut self, call: &Call) {
        match call {
            Call::Create { file, name } => {
                self.files.insert(*file, Contents::default());
                self.names.insert(name.clone(), *file);
                self.unsynced_names.push(NameChange::Add(name.clone(), *file));
            }
            Call::Allocate { file, bytes } => self.contents(*file).change(What::Size(*bytes)),
            Call::Write { file, offset, bytes } => {
                self.contents(*file).change(What::Bytes(*offset, Arc::clone(bytes)));
            }
            Call::Sync { file } => self.contents(*file).sync(),
            Call::FailedSync { file } => self.contents(*file).fail_sync(),
            Call::DropCache { file } => self.contents(*file).drop_cache(),
            Call::Rename { from, to } => {
                let file = self.names.remove(from).expect("the name exists");
                self.names.insert(to.clone(), file);
                self.unsynced_names.push(NameChange::Move(from.clone(), to.clone(), file));
            }
            Call::Remove { name } => {
                self.names.remove(name);
                self.unsynced_names.push(NameChange::Remove(name.clone()));
            }
            Call::SyncDirectory => {
                self.durable_names = self.names.clone();
                self.unsynced_names.clear();
            }
        }
    }

    /// The disk as the next start finds it if the power went now.
    pub fn image(&self, loss: Loss) -> MemoryStorage {
        let mut random = Random::new(match loss {
            Loss::Random(seed) => seed,
            Loss::Kept | Loss::Dropped => 0,
        });
        let mut survives = || match loss {
            Loss::Kept => true,
            Loss::Dropped => false,
            Loss::Random(_) => random.below(2) == 0,
        };
        let mut names = self.durable_names.clone();
        for change in &self.unsynced_names {
            if survives() {
                change.apply(&mut names);
            }
        }
        let files = names.into_iter().map(|(name, file)| (name, self.files[&file].image(&mut survives)));
        MemoryStorage::with_files(files.collect::<Vec<_>>())
    }

    fn contents(&mut self, file: u64) -> &mut Contents {
        self.files.get_mut(&file).expect("calls name files that were created")
    }
}

impl Contents {
    fn change(&mut self, what: What) {
        what.apply(&mut self.live);
        self.unsynced.push(Change { what, lost: false });
    }

    fn sync(&mut self) {
        for change in self.unsynced.extract_if(.., |change| !change.lost) {
            change.what.apply(&mut self.durable);
        }
    }

    fn fail_sync(&mut self) {
        for change in &mut self.unsynced {
            change.lost = true;
        }
    }

    fn drop_cache(&mut self) {
        self.unsynced.retain(|change| !change.lost);
        self.live.clone_from(&self.durable);
        for change in &self.unsynced {
            change.what.apply(&mut self.live);
        }
    }

    fn image(&self, survives: &mut impl FnMut() -> bool) -> Vec<u8> {
        let mut image = self.durable.clone();
        for change in &self.unsynced {
            match &change.what {
                What::Bytes(offset, bytes) => {
                    for (at, sector) in sectors(*offset, bytes) {
                        if survives() {
                            write(&mut image, at, sector);
                        }
                    }
                }
                size @ What::Size(_) => {
                    if survives() {
                        size.apply(&mut image);
                    }
                }
            }
        }
        image
    }
}

impl What {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            What::Size(bytes) => file.resize(size(*bytes), 0),
            What::Bytes(offset, bytes) => write(file, *offset, bytes),
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Add(name, file) => {
                names.insert(name.clone(), *file);
            }
            NameChange::Move(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

/// Cuts a write at the sector boundaries of the file.
fn sectors(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at = offset;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = (SECTOR - size(at) % SECTOR).min(rest.len());
        let (sector, behind) = rest.split_at(length);
        let here = at;
        at += length as u64;
        rest = behind;
        Some((here, sector))
    })
}
