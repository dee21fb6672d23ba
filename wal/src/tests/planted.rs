//! Planted bugs: each of these mistakes has cost somebody data. The suite must notice every one of them, or
//! it proves nothing.

use super::crash::crash_everywhere;
use super::damage;
use super::{Driven, Seeded, small};
use crate::options::Sabotage;
use crate::storage::{Access, Lock, Storage, StorageFile};
use crate::testing::{Fault, FaultyStorage, Loss, On};
use crate::{Log, Lsn, Options};
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

/// A call that is left out. (Mistakes that are not about a call are planted in the code, see [`Sabotage`].)
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Plant {
    Nothing,
    /// The names of new segments are not synced.
    SkipDirectorySync,
    /// A batch is acknowledged first and synced later.
    AcknowledgeBeforeSync,
    /// What is found at the start is not synced before it is shown.
    SkipSyncOnOpen,
}

impl Plant {
    /// The storage, with the calls that the mistake leaves out left out.
    pub(super) fn storage(self, storage: &FaultyStorage) -> Arc<dyn Storage> {
        Arc::new(Careless { inner: storage.clone(), plant: self, late: Arc::default() })
    }
}

/// Files whose sync has been promised but not done.
type Late = Arc<Mutex<Vec<Arc<dyn StorageFile>>>>;

/// Leaves out calls.
struct Careless {
    inner: FaultyStorage,
    plant: Plant,
    late: Late,
}

struct CarelessFile {
    inner: Arc<dyn StorageFile>,
    plant: Plant,
    opened: bool,
    late: Late,
}

impl Careless {
    fn wrap(&self, inner: Arc<dyn StorageFile>, opened: bool) -> Arc<dyn StorageFile> {
        Arc::new(CarelessFile { inner, plant: self.plant, opened, late: Arc::clone(&self.late) })
    }
}

impl Storage for Careless {
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
        Ok(self.wrap(self.inner.create(name)?, false))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.wrap(self.inner.open(name, access)?, true))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        if self.plant == Plant::SkipDirectorySync { Ok(()) } else { self.inner.sync_directory() }
    }
}

impl StorageFile for CarelessFile {
    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        for file in self.late.lock().expect("not poisoned").drain(..) {
            file.sync_data()?;
        }
        self.inner.write_at(offset, bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.inner.allocate(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.plant == Plant::AcknowledgeBeforeSync {
            self.late.lock().expect("not poisoned").push(Arc::clone(&self.inner));
            return Ok(());
        }
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        if self.plant == Plant::SkipSyncOnOpen && self.opened { Ok(()) } else { self.inner.sync_all() }
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.inner.drop_cache()
    }
}

/// Whether the search for crash points finds anything wrong within a few short runs.
fn crashes_show(plant: Plant) -> bool {
    (1..=4).any(|seed| crash_everywhere(seed, 300, 4, plant).is_err())
}

#[test]
fn crash_points_show_missing_and_late_syncs() {
    assert!(!crashes_show(Plant::Nothing), "without a bug there is nothing to find");
    for plant in [Plant::SkipDirectorySync, Plant::AcknowledgeBeforeSync, Plant::SkipSyncOnOpen] {
        assert!(crashes_show(plant), "{plant:?} went unnoticed");
    }
}

/// Appends a record while the sync of the one before is under way, and looks how far the log then calls
/// itself durable.
fn durable_covers_a_record_appended_during_the_sync(sabotage: Sabotage) -> bool {
    let storage = FaultyStorage::new();
    let meddling = Arc::new(Meddling { inner: storage, during_sync: Arc::default() });
    let options = Options { sabotage, ..small(1) };
    let mut driven = Driven::start(Arc::clone(&meddling) as Arc<dyn Storage>, options).expect("starts");
    driven.append(vec![1; 10]).expect("room");
    let shared = driven.shared();
    let late = Arc::new(Mutex::new(Lsn::ZERO));
    let seen = Arc::clone(&late);
    *meddling.during_sync.lock().expect("not poisoned") = Some(Box::new(move || {
        *seen.lock().expect("not poisoned") = shared.append(&[2; 10], |_| Some(u64::MAX)).expect("room");
    }));
    assert!(driven.commit());
    let late = *late.lock().expect("not poisoned");
    assert!(late > Lsn::ZERO, "the second record was appended during the sync");
    driven.shared().published.durable() > late
}

/// Runs something in the middle of the next sync.
type DuringSync = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

struct Meddling {
    inner: FaultyStorage,
    during_sync: DuringSync,
}

struct MeddlingFile {
    inner: Arc<dyn StorageFile>,
    during_sync: DuringSync,
}

impl Storage for Meddling {
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
        let inner = self.inner.create(name)?;
        Ok(Arc::new(MeddlingFile { inner, during_sync: Arc::clone(&self.during_sync) }))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        self.inner.open(name, access)
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

impl StorageFile for MeddlingFile {
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
        let meddle = self.during_sync.lock().expect("not poisoned").take();
        if let Some(meddle) = meddle {
            meddle();
        }
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.inner.drop_cache()
    }
}

#[test]
fn durable_is_settled_before_the_sync() {
    assert!(!durable_covers_a_record_appended_during_the_sync(Sabotage::None));
    assert!(durable_covers_a_record_appended_during_the_sync(Sabotage::PositionAfterSync));
}

/// Whether a record is acknowledged although the sync that covered it failed once, and is gone after a power
/// cut.
fn a_failed_sync_loses_an_acknowledged_record(sabotage: Sabotage) -> bool {
    let storage = FaultyStorage::new();
    let options = Options { sabotage, ..small(1) };
    let mut driven = Driven::start(Arc::new(storage.clone()), options).expect("starts");
    driven.append(vec![1; 10]).expect("room");
    storage.fail(Fault { on: On::Sync, nth: 1, kind: io::ErrorKind::Other, lasting: false });
    driven.commit();
    let image = storage.crash_image(Loss::Dropped);
    let log = Log::open(Arc::new(image), small(1)).expect("opens");
    super::replay(&log, Lsn::ZERO).expect("sound").len() < driven.durable
}

#[test]
fn a_failed_sync_is_not_tried_again() {
    assert!(!a_failed_sync_loses_an_acknowledged_record(Sabotage::None));
    assert!(a_failed_sync_loses_an_acknowledged_record(Sabotage::RetrySync));
}

/// Whether a log that rotted before its last batch opens as a shorter one.
fn rot_shortens_the_log(sabotage: Sabotage) -> bool {
    let storage = FaultyStorage::new();
    let mut driven = Driven::start(Arc::new(storage.clone()), small(1)).expect("starts");
    let first = driven.append(vec![1; 10]).expect("room");
    assert!(driven.commit());
    driven.append(vec![2; 10]).expect("room");
    assert!(driven.commit());
    let mut files = storage.crash_image(Loss::Dropped).files();
    let rotten = usize::try_from(first.get()).expect("small") + 20;
    files.get_mut("0000000001.wal").expect("the first segment")[rotten] ^= 1;
    let options = Options { sabotage, ..small(1) };
    matches!(damage::outcome(files, options), Ok(found) if found.len() < 2)
}

#[test]
fn rot_in_the_middle_does_not_pass_for_the_end() {
    assert!(!rot_shortens_the_log(Sabotage::None));
    assert!(rot_shortens_the_log(Sabotage::StopAtFirstFlaw));
}

/// Whether bytes of another log, which once stood at the same place of the disk, come to life behind the end
/// of this one.
fn strangers_come_to_life(mine: u64, theirs: u64) -> bool {
    let entropy = |seed| Options { entropy: Arc::new(Seeded(AtomicU64::new(seed))), ..small(0) };
    let (storage, other) = (FaultyStorage::new(), FaultyStorage::new());
    for (storage, seed, batches) in [(&storage, mine, 3), (&other, theirs, 6)] {
        let mut driven = Driven::start(Arc::new(storage.clone()), entropy(seed)).expect("starts");
        for batch in 0..batches {
            driven.append(vec![batch; 100]).expect("room");
            assert!(driven.commit());
        }
    }
    let image = storage.crash_image(Loss::Dropped);
    let mut files = image.files();
    let stranger = &other.crash_image(Loss::Dropped).files()["0000000001.wal"];
    let own = files.get_mut("0000000001.wal").expect("the first segment");
    let end = own.iter().rposition(|byte| *byte != 0).expect("written").next_multiple_of(8);
    own[end..].copy_from_slice(&stranger[end..]);
    match damage::outcome(files, entropy(mine)) {
        Ok(found) => found.len() > 3,
        Err(_) => true,
    }
}

#[test]
fn nothing_of_another_log_is_taken_for_ones_own() {
    assert!(!strangers_come_to_life(1, 1000));
    // The same salts stand for checksums and chains that are not bound to any.
    assert!(strangers_come_to_life(1, 1));
}
