//! The allocator thread: makes segments ahead of their use, so that no commit ever waits for one.
//!
//! A segment is made under a temporary name, filled with real zeros (a sync of a batch then changes no
//! metadata, which halves its cost against extents that are merely reserved), gets its identity, is synced,
//! renamed, and its name is synced; only then is it handed to the appenders. Zeros are written and synced in
//! chunks with rests between them, so that commits on the same disk do not queue behind 64 MiB; when
//! appenders are about to run out of segments there are no rests.
//!
//! A full disk is no error here: admission closes and the next try follows. Anything else poisons the log,
//! because after a failed sync nobody knows what the directory holds.

use crate::error::is_full;
use crate::intake::Place;
use crate::segment::{Identity, file_name, temporary_name};
use crate::shared::Shared;
use crate::storage::{Storage, StorageFile};
use crate::{Error, Lsn, Options};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Zeros written and synced at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// Rest between two chunks.
const CHUNK_PAUSE: Duration = Duration::from_millis(4);

static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// Makes the segments of one log, one after the other.
pub(crate) struct Mint {
    storage: Arc<dyn Storage>,
    log: u128,
    next_number: u64,
    next_base: Lsn,
}

/// How a try ended that met no error.
pub(crate) enum Minted {
    Segment(Arc<Place>),
    /// The disk is full; try again later.
    Full,
    /// Given up because the log ends.
    Abandoned,
}

impl Mint {
    pub(crate) fn new(storage: Arc<dyn Storage>, log: u128, next_number: u64, next_base: Lsn) -> Mint {
        Mint { storage, log, next_number, next_base }
    }

    /// Identity of the log.
    pub(crate) fn log(&self) -> u128 {
        self.log
    }

    /// Makes the next segment of a log that is durable up to `durable`. `go_on` is asked between chunks, may
    /// rest, and may end the work.
    pub(crate) fn make(
        &mut self,
        durable: Lsn,
        options: &Options,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Minted, Error> {
        let salt = options.entropy.draw().map_err(|source| Error::Entropy { source })?;
        let identity = Identity {
            log: self.log,
            number: self.next_number,
            base: self.next_base,
            capacity: options.segment_bytes,
            salt,
            durable,
        };
        let file = match self.make_file(&identity, go_on) {
            Ok(Some(file)) => file,
            Ok(None) => {
                self.remove_left_over();
                return Ok(Minted::Abandoned);
            }
            Err(source) => {
                self.remove_left_over();
                if is_full(&source) {
                    return Ok(Minted::Full);
                }
                return Err(Error::Allocate { segment: identity.number, source });
            }
        };
        self.storage.sync_directory().map_err(|source| Error::SyncDirectory { source })?;
        self.next_number += 1;
        self.next_base = identity.limit();
        Ok(Minted::Segment(Arc::new(Place { identity, file })))
    }

    fn make_file(
        &self,
        identity: &Identity,
        go_on: &dyn Fn() -> bool,
    ) -> io::Result<Option<Arc<dyn StorageFile>>> {
        let name = temporary_name(identity.number);
        match self.storage.remove(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.storage.create(&name)?;
        file.allocate(identity.capacity)?;
        let mut offset = 0;
        while offset < identity.capacity {
            let left = usize::try_from(identity.capacity - offset).unwrap_or(usize::MAX);
            let zeros = &ZEROS[..CHUNK_BYTES.min(left)];
            file.write_at(offset, zeros)?;
            file.sync_data()?;
            offset += zeros.len() as u64;
            if offset < identity.capacity && !go_on() {
                return Ok(None);
            }
        }
        file.write_at(0, &identity.encode())?;
        file.sync_all()?;
        self.storage.rename(&name, &file_name(identity.number))?;
        Ok(Some(file))
    }

    /// The space of a half-made segment may be what the disk lacks. Should it stay, the next try removes it
    /// first.
    fn remove_left_over(&self) {
        let _ = self.storage.remove(&temporary_name(self.next_number));
    }
}

pub(crate) struct Allocator<T> {
    shared: Arc<Shared<T>>,
    mint: Mint,
}

impl<T> Allocator<T> {
    pub(crate) fn new(shared: Arc<Shared<T>>, mint: Mint) -> Allocator<T> {
        Allocator { shared, mint }
    }

    /// Works until the log ends.
    pub(crate) fn run(mut self) {
        while self.shared.wait_until_wanted() {
            if !self.turn(&|shared| shared.pause(CHUNK_PAUSE, true)) {
                return;
            }
        }
    }

    /// Makes one segment. `false`: the log ends.
    pub(crate) fn turn(&mut self, go_on: &dyn Fn(&Shared<T>) -> bool) -> bool {
        let shared = &self.shared;
        match self.mint.make(shared.published.durable(), &shared.options, &|| go_on(shared)) {
            Ok(Minted::Segment(place)) => {
                shared.add_ready(place);
                true
            }
            Ok(Minted::Full) => {
                shared.set_disk_full();
                shared.pause(shared.options.allocation_retry, false)
            }
            Ok(Minted::Abandoned) => false,
            Err(error) => {
                shared.fail(error);
                false
            }
        }
    }
}
