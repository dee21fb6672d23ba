//! The database under the store: all that is known of fjall is here.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch as WriteBatch, PersistMode};
use ledger::{EventId, Timestamp, WebhookId};

use super::row::{KEY_BYTES, Place, Row, State, decode_key, encode_key};
use crate::Error;

/// Memory for what was written lately, per keyspace, and for blocks that are read again.
const MEMTABLE_BYTES: u64 = 4 << 20;
const CACHE_BYTES: u64 = 8 << 20;

const LEDGER: &[u8] = b"ledger";
const CURSOR: &[u8] = b"cursor";

/// Rows of one walk; bounds what is held and what is written in one step.
const WALK_ROWS: usize = 1_000;

/// Deliveries and the cursor.
pub struct Store {
    pending: Keyspace,
    ended: Keyspace,
    /// Event id to key: how a delivery is found by what its receiver saw.
    ids: Keyspace,
    meta: Keyspace,
    database: Database,
}

/// A page of deliveries, newest first.
#[derive(Debug, Default)]
pub struct Listed {
    pub rows: Vec<Row>,
    /// Where the next page begins: older than this record and item.
    pub next: Option<(u64, u32)>,
}

impl Store {
    /// Opens or creates the store of the ledger that is told apart by `ledger`. A store of another ledger, one that is
    /// ahead of the log's `end`, or one that cannot be opened is renamed to `<directory>.damaged-<n>` and begun anew.
    pub fn open(directory: &Path, ledger: [u8; 16], end: u64) -> Result<Store, Error> {
        let why = match Store::open_as_is(directory) {
            Ok(store) => match store.contradiction(ledger, end)? {
                None => return Ok(store),
                Some(why) => why.to_owned(),
            },
            Err(Error::Database { source: fjall::Error::Locked, .. }) => {
                return Err(failed("open")(fjall::Error::Locked));
            }
            Err(error) if error.blames_machine() => return Err(error),
            Err(error) => {
                format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string))
            }
        };
        let aside = set_aside(directory)?;
        tracing::error!(
            why,
            aside = %aside.display(),
            "the deliveries of webhooks were set aside; what is in the log since each webhook began is sent again under \
             the same ids"
        );
        let store = Store::open_as_is(directory)?;
        store.contradiction(ledger, end)?;
        Ok(store)
    }

    fn open_as_is(directory: &Path) -> Result<Store, Error> {
        act("create", directory, || fs::create_dir_all(directory))?;
        let database = Database::builder(directory)
            .cache_size(CACHE_BYTES)
            .worker_threads(1)
            .open()
            .map_err(failed("open"))?;
        let open = |name| {
            let create = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
            database.keyspace(name, create).map_err(failed("open"))
        };
        let (pending, ended, ids, meta) = (open("pending")?, open("ended")?, open("ids")?, open("meta")?);
        Ok(Store { pending, ended, ids, meta, database })
    }

    /// Why this store must not be used; a new one is claimed for the ledger.
    fn contradiction(&self, ledger: [u8; 16], end: u64) -> Result<Option<&'static str>, Error> {
        match self.meta.get(LEDGER).map_err(failed("read"))? {
            None => {
                let mut batch = self.batch();
                batch.insert(&self.meta, LEDGER, ledger);
                batch.commit().map_err(failed("write"))?;
                Ok(None)
            }
            Some(known) if *known != ledger => Ok(Some("they are of another ledger")),
            Some(_) if self.cursor()? > end => Ok(Some("they are ahead of the log")),
            Some(_) => Ok(None),
        }
    }

    /// How far the log was followed.
    pub fn cursor(&self) -> Result<u64, Error> {
        let Some(bytes) = self.meta.get(CURSOR).map_err(failed("read"))? else { return Ok(0) };
        let bytes = <[u8; 8]>::try_from(&*bytes);
        bytes.map(u64::from_le_bytes).map_err(|_| Error::Damaged { what: "the cursor is none" })
    }

    /// Adds deliveries and moves the cursor, in one step.
    pub fn follow(&self, rows: &[Row], cursor: u64) -> Result<(), Error> {
        let mut batch = self.batch();
        for row in rows {
            self.insert(&mut batch, row);
        }
        batch.insert(&self.meta, CURSOR, cursor.to_le_bytes());
        batch.commit().map_err(failed("write"))
    }

    /// Writes a delivery as it is now.
    pub fn put(&self, row: &Row) -> Result<(), Error> {
        let mut batch = self.batch();
        let key = encode_key(row.webhook, row.place);
        if row.state.is_pending() {
            batch.remove(&self.ended, key);
        } else {
            batch.remove(&self.pending, key);
        }
        self.insert(&mut batch, row);
        batch.commit().map_err(failed("write"))
    }

    pub fn row(&self, webhook: WebhookId, place: Place) -> Result<Option<Row>, Error> {
        let key = encode_key(webhook, place);
        for table in [&self.pending, &self.ended] {
            if let Some(value) = table.get(key).map_err(failed("read"))? {
                return Row::decode(&key, &value).map(Some);
            }
        }
        Ok(None)
    }

    /// The delivery that a receiver knows under this id.
    pub fn find(&self, webhook: WebhookId, id: EventId) -> Result<Option<Row>, Error> {
        let Some(key) = self.ids.get(id.raw().to_be_bytes()).map_err(failed("read"))? else {
            return Ok(None);
        };
        let (owner, place) = decode_key(&key)?;
        if owner == webhook { self.row(webhook, place) } else { Ok(None) }
    }

    /// Calls `visit` with every delivery that waits.
    pub fn for_each_pending(&self, mut visit: impl FnMut(Row)) -> Result<(), Error> {
        for row in self.pending.iter() {
            let (key, value) = row.into_inner().map_err(failed("read"))?;
            visit(Row::decode(&key, &value)?);
        }
        Ok(())
    }

    /// Ended deliveries by webhook.
    pub fn ended(&self) -> Result<HashMap<WebhookId, usize>, Error> {
        let mut counts = HashMap::new();
        for row in self.ended.iter() {
            let (webhook, _) = decode_key(&row.key().map_err(failed("read"))?)?;
            *counts.entry(webhook).or_default() += 1;
        }
        Ok(counts)
    }

    /// Deliveries of a webhook that `wanted` lets through, newest first, older than `before`. Looks at so many rows at
    /// most, so a page may be short although more follow.
    pub fn list(
        &self,
        webhook: WebhookId,
        before: Option<(u64, u32)>,
        limit: usize,
        wanted: impl Fn(State) -> bool,
    ) -> Result<Listed, Error> {
        let (start, end) = bounds(webhook, before);
        let walk = |table: &Keyspace| {
            let rows = table.range::<[u8; KEY_BYTES], _>((Bound::Included(start), Bound::Excluded(end)));
            rows.rev().map(|row| row.into_inner().map_err(failed("read")))
        };
        let mut walks = [walk(&self.pending).peekable(), walk(&self.ended).peekable()];
        let mut listed = Listed::default();
        let mut last: Option<Place> = None;
        for _ in 0..WALK_ROWS {
            let [pending, ended] = &mut walks;
            let is_pending = match (pending.peek(), ended.peek()) {
                (None, None) => return Ok(listed),
                (Some(Ok((one, _))), Some(Ok((other, _)))) => one > other,
                (Some(_), _) => true,
                (None, Some(_)) => false,
            };
            let next = if is_pending { pending.next() } else { ended.next() };
            let Some(row) = next else { return Ok(listed) };
            let (key, value) = row?;
            let row = Row::decode(&key, &value)?;
            let shares_item = last.is_some_and(|l| (l.lsn, l.item) == (row.place.lsn, row.place.item));
            // Events of one item are never parted by a page's end.
            if listed.rows.len() >= limit && !shares_item {
                listed.next = last.map(|last| (last.lsn, last.item));
                return Ok(listed);
            }
            last = Some(row.place);
            if wanted(row.state) {
                listed.rows.push(row);
            }
        }
        listed.next = last.map(|last| (last.lsn, last.item));
        Ok(listed)
    }

    /// Forgets the oldest ended deliveries of a webhook, so many.
    pub fn prune(&self, webhook: WebhookId, count: usize) -> Result<(), Error> {
        let (start, end) = bounds(webhook, None);
        let rows = self.ended.range::<[u8; KEY_BYTES], _>((Bound::Included(start), Bound::Excluded(end)));
        let mut batch = self.batch();
        for row in rows.take(count) {
            let (key, value) = row.into_inner().map_err(failed("read"))?;
            let row = Row::decode(&key, &value)?;
            batch.remove(&self.ids, row.id.raw().to_be_bytes());
            batch.remove(&self.ended, &*key);
        }
        batch.commit().map_err(failed("write"))
    }

    /// Forgets what ended before `before`, and what ended of webhooks that are gone. What waits for those ends when its
    /// time comes.
    pub fn sweep(&self, before: Timestamp, is_known: impl Fn(WebhookId) -> bool) -> Result<(), Error> {
        let mut batch = self.batch();
        for row in self.ended.iter() {
            let (key, value) = row.into_inner().map_err(failed("read"))?;
            let row = Row::decode(&key, &value)?;
            let is_old = match row.state {
                State::Pending { .. } => false,
                State::Delivered { at } | State::Failed { at } => at < before,
            };
            if is_old || !is_known(row.webhook) {
                batch.remove(&self.ids, row.id.raw().to_be_bytes());
                batch.remove(&self.ended, &*key);
            }
            if batch.len() >= WALK_ROWS {
                std::mem::replace(&mut batch, self.batch()).commit().map_err(failed("write"))?;
            }
        }
        batch.commit().map_err(failed("write"))
    }

    /// Removes a delivery whose webhook is gone.
    pub fn remove(&self, row: &Row) -> Result<(), Error> {
        let key = encode_key(row.webhook, row.place);
        let mut batch = self.batch();
        batch.remove(&self.pending, key);
        batch.remove(&self.ended, key);
        batch.remove(&self.ids, row.id.raw().to_be_bytes());
        batch.commit().map_err(failed("write"))
    }

    fn insert(&self, batch: &mut WriteBatch, row: &Row) {
        let key = encode_key(row.webhook, row.place);
        let table = if row.state.is_pending() { &self.pending } else { &self.ended };
        batch.insert(table, key, row.encode());
        batch.insert(&self.ids, row.id.raw().to_be_bytes(), key);
    }

    /// A step that is with the operating system when it returns: it survives the process.
    fn batch(&self) -> WriteBatch {
        self.database.batch().durability(Some(PersistMode::Buffer))
    }
}

/// First key of a webhook, and the first that is not wanted any more.
fn bounds(webhook: WebhookId, before: Option<(u64, u32)>) -> ([u8; KEY_BYTES], [u8; KEY_BYTES]) {
    let key = |lsn: u64, item: u32, kind: u8| {
        let mut key = [0; KEY_BYTES];
        key[..16].copy_from_slice(&webhook.raw().to_be_bytes());
        key[16..24].copy_from_slice(&lsn.to_be_bytes());
        key[24..28].copy_from_slice(&item.to_be_bytes());
        key[28] = kind;
        key
    };
    let end = before.map_or(key(u64::MAX, u32::MAX, u8::MAX), |(lsn, item)| key(lsn, item, 0));
    (key(0, 0, 0), end)
}

/// Renames the directory to the first free `<name>.damaged-<n>`. Nothing is deleted.
fn set_aside(directory: &Path) -> Result<PathBuf, Error> {
    let mut number = 1_u64;
    let aside = loop {
        let mut name = directory.file_name().map_or_else(OsString::new, OsString::from);
        name.push(format!(".damaged-{number}"));
        let aside = directory.with_file_name(name);
        if !act("look for", &aside, || fs::exists(&aside))? {
            break aside;
        }
        number += 1;
    };
    act("set aside", directory, || fs::rename(directory, &aside))?;
    Ok(aside)
}

fn act<T>(action: &'static str, path: &Path, effect: impl FnOnce() -> io::Result<T>) -> Result<T, Error> {
    effect().map_err(|source| Error::Directory { action, path: path.to_owned(), source })
}

fn failed(action: &'static str) -> impl Fn(fjall::Error) -> Error {
    move |source| Error::Database { action, source }
}

#[cfg(test)]
mod tests;
