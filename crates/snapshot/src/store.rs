//! Generations as files of one directory.
//!
//! A generation is `generation-<id>.snapshot`; while it is written, `.tmp` is appended and its writer holds a lock on
//! it, so that opening the store a second time (for inspection) does not remove it. Ids grow and are taken from the
//! names alone, so that a damaged file keeps its number.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use journal::Row;

use crate::disk::{self, Disk};
use crate::format::Header;
use crate::reader::{self, Reading};
use crate::writer::FileWriter;
use crate::{Damaged, Error, Generation, Listing, SnapshotStore, SnapshotWriter, Tally};

const PREFIX: &str = "generation-";
const SUFFIX: &str = ".snapshot";
const TEMPORARY_SUFFIX: &str = ".snapshot.tmp";

/// The embedded store: needs nothing but a directory.
#[derive(Debug)]
pub struct FileStore {
    directory: PathBuf,
    disk: Disk,
    /// Highest id given out by this process.
    last_id: Mutex<u64>,
    verified: Verified,
}

impl FileStore {
    /// Opens the store, creating the directory if needed, and removes what an interrupted writer left behind.
    pub fn open(directory: &Path) -> Result<FileStore, Error> {
        FileStore::open_on(Disk::default(), directory)
    }

    pub(crate) fn open_on(disk: Disk, directory: &Path) -> Result<FileStore, Error> {
        std::fs::create_dir_all(directory).map_err(|source| Error::Io {
            action: "create",
            path: directory.to_owned(),
            source,
        })?;
        let store = FileStore {
            directory: directory.to_owned(),
            disk,
            last_id: Mutex::new(0),
            verified: Verified::default(),
        };
        for name in store.names()? {
            let path = store.path(name);
            if name.temporary && disk::is_leftover(&path) {
                store.disk.remove(&path)?;
            }
        }
        Ok(store)
    }

    fn path(&self, name: Name) -> PathBuf {
        let suffix = if name.temporary { TEMPORARY_SUFFIX } else { SUFFIX };
        self.directory.join(format!("{PREFIX}{:020}{suffix}", name.id))
    }

    fn path_of(&self, id: u64) -> PathBuf {
        self.path(Name { id, temporary: false })
    }

    /// Everything in the directory that is named like a generation, oldest first.
    fn names(&self) -> Result<BTreeSet<Name>, Error> {
        let failed = |source| Error::Io { action: "list", path: self.directory.clone(), source };
        let mut names = BTreeSet::new();
        for entry in std::fs::read_dir(&self.directory).map_err(failed)? {
            let file_name = entry.map_err(failed)?.file_name();
            names.extend(file_name.to_str().and_then(Name::parse));
        }
        Ok(names)
    }

    /// Verifies digest, rows and summary; `visit` sees every row.
    fn read(
        &self,
        id: u64,
        reading: Reading,
        mut visit: impl FnMut(Row) -> Result<(), Error>,
    ) -> Result<Generation, Error> {
        let path = self.path_of(id);
        let mut tally = Tally::default();
        let generation = reader::scan(&path, id, reading, |offset, bytes| {
            let row = journal::decode_row(bytes).map_err(|source| Error::Row {
                path: path.clone(),
                offset,
                source,
            })?;
            tally.row(&row);
            visit(row)
        })?;
        if let Some(what) = tally.contradiction(&generation.summary) {
            return Err(Error::Damaged { path, offset: generation.bytes, what: what.into() });
        }
        self.verified.insert(id);
        Ok(generation)
    }
}

impl SnapshotStore for FileStore {
    fn begin(&self, partition: u16, start: u64) -> Result<Box<dyn SnapshotWriter>, Error> {
        let mut last_id = self.last_id.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = self.names()?.last().map_or(0, |name| name.id);
        let id = highest.max(*last_id) + 1;
        let temporary = self.path(Name { id, temporary: true });
        let header = Header { partition, id, start };
        let (disk, verified) = (self.disk.clone(), self.verified.clone());
        let writer = FileWriter::begin(disk, verified, temporary, self.path_of(id), header)?;
        *last_id = id;
        Ok(Box::new(writer))
    }

    fn list(&self) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        for name in self.names()?.into_iter().rev().filter(|name| !name.temporary) {
            match reader::glance(&self.path_of(name.id), name.id) {
                Ok(generation) => listing.generations.push(generation),
                Err(Error::Missing { .. }) => {} // Removed since the directory was read.
                Err(error) => listing.damaged.push(Damaged { id: name.id, error }),
            }
        }
        Ok(listing)
    }

    fn load(&self, id: u64, visit: &mut dyn FnMut(Row) -> Result<(), Error>) -> Result<Generation, Error> {
        // Twice through the file, so that no row is seen of a file whose last chunk is damaged.
        let checked = reader::scan(&self.path_of(id), id, Reading::Alone, |_, _| Ok(()))?;
        let loaded = self.read(id, Reading::Alone, visit)?;
        if loaded != checked {
            let what = "it changed while it was read".into();
            return Err(Error::Damaged { path: self.path_of(id), offset: 0, what });
        }
        Ok(loaded)
    }

    fn verify(&self, id: u64) -> Result<Generation, Error> {
        self.read(id, Reading::BesideTheLog, |_| Ok(()))
    }

    fn retain(&self, keep: usize) -> Result<(), Error> {
        assert!(keep > 0, "a store without a generation would make the log irreplaceable");
        let Listing { generations, damaged } = self.list()?;
        let mut kept: BTreeMap<u16, usize> = BTreeMap::new();
        let mut oldest_kept = u64::MAX;
        let mut expendable = Vec::new();
        for Generation { id, partition, .. } in generations {
            let kept = kept.entry(partition).or_default();
            if *kept == keep {
                expendable.push(id);
            } else if self.verified.contains(id) || self.verify(id).is_ok() {
                *kept += 1;
                oldest_kept = oldest_kept.min(id);
            }
        }
        // A damaged file does not say whose it is: it goes once it is older than everything that is kept.
        if kept.values().all(|kept| *kept == keep) {
            expendable.extend(damaged.iter().map(|damaged| damaged.id).filter(|id| *id < oldest_kept));
        }
        if expendable.is_empty() {
            return Ok(());
        }
        for id in expendable {
            self.disk.remove(&self.path_of(id))?;
            self.verified.remove(id);
        }
        self.disk.sync_directory(&self.directory)
    }
}

/// What a file name says.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    id: u64,
    temporary: bool,
}

impl Name {
    fn parse(text: &str) -> Option<Name> {
        let rest = text.strip_prefix(PREFIX)?;
        let (digits, temporary) = match rest.strip_suffix(TEMPORARY_SUFFIX) {
            Some(digits) => (digits, true),
            None => (rest.strip_suffix(SUFFIX)?, false),
        };
        let is_canonical = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let id = digits.parse().ok().filter(|_| is_canonical)?;
        Some(Name { id, temporary })
    }
}

/// Generations that this process has read completely and found whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verified(Arc<Mutex<BTreeSet<u64>>>);

impl Verified {
    pub(crate) fn insert(&self, id: u64) {
        self.ids().insert(id);
    }

    fn contains(&self, id: u64) -> bool {
        self.ids().contains(&id)
    }

    fn remove(&self, id: u64) {
        self.ids().remove(&id);
    }

    fn ids(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        // A set of numbers is whole whatever happened to the thread that held it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
