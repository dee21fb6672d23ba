//! Writing a run: entries in order, then the filter and the foot; synced, then named.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ledger::Timestamp;
use spread::Spread;

use crate::Error;
use crate::entry::{ENTRY_BYTES, Entry, Name};
use crate::filter;
use crate::page::{self, CONTENT_BYTES, PAGE_BYTES, Page, Span};
use crate::run::{ENTRIES_PER_PAGE, Foot, Run};

/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 256 * 1024;

/// Bytes after which the file is synced in between. At a bounded rate nothing is left to be written by then; without
/// one, dirty pages that pile up for one sync at the end would stall the log's commits.
const SYNC_BYTES: u64 = 32 * 1024 * 1024;

pub(crate) struct RunWriter {
    file: File,
    temporary: PathBuf,
    span: Span,
    pages: u64,
    /// Whole pages not written yet.
    ready: Vec<u8>,
    /// Entries of the open page.
    open: Vec<u8>,
    keys: u64,
    last: Option<Name>,
    filter: Vec<Page>,
    /// Bytes of the file so far.
    written: u64,
    /// How far the kernel has begun to write it to disk.
    begun: u64,
    spread: Spread,
    unsynced_bytes: u64,
    /// The file got its name.
    named: bool,
}

impl RunWriter {
    /// Begins a run of at most `keys_max` keys.
    pub(crate) fn begin(
        temporary: PathBuf,
        span: Span,
        keys_max: u64,
        spread: Spread,
    ) -> Result<RunWriter, Error> {
        let created = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
        let file =
            created.map_err(|source| Error::Io { action: "create", path: temporary.clone(), source })?;
        let filter_pages = usize::try_from(filter::pages_for(keys_max)).expect("a filter fits into memory");
        Ok(RunWriter {
            file,
            temporary,
            span,
            pages: 0,
            ready: Vec::with_capacity(WRITE_BYTES + PAGE_BYTES),
            open: Vec::with_capacity(CONTENT_BYTES),
            keys: 0,
            last: None,
            filter: vec![[0; PAGE_BYTES]; filter_pages],
            written: 0,
            begun: 0,
            spread,
            unsynced_bytes: 0,
            named: false,
        })
    }

    /// Adds the next entry; names come in order, each once.
    pub(crate) fn put(&mut self, entry: &Entry) -> Result<(), Error> {
        let name = entry.name();
        assert!(self.last < Some(name), "entries are put in order");
        self.last = Some(name);
        filter::insert(&mut self.filter, name.digest);
        entry.encode(&mut self.open);
        self.keys += 1;
        if self.open.len() == ENTRIES_PER_PAGE * ENTRY_BYTES { self.close_page() } else { Ok(()) }
    }

    /// Syncs the run and gives it its name.
    pub(crate) fn finish(
        mut self,
        path: PathBuf,
        oldest: Timestamp,
        newest: Timestamp,
    ) -> Result<Run, Error> {
        if !self.open.is_empty() {
            self.close_page()?;
        }
        let filter_pages =
            u32::try_from(self.filter.len()).expect("a run has far fewer than 2^32 filter pages");
        for mut page in std::mem::take(&mut self.filter) {
            self.push_page(&mut page)?;
        }
        let foot = Foot { span: self.span, keys: self.keys, oldest, newest, filter_pages };
        self.ready.extend_from_slice(&foot.encode());
        self.write()?;
        self.sync()?;
        std::fs::rename(&self.temporary, &path).map_err(|source| self.failed("rename", source))?;
        self.named = true;
        sync_directory(path.parent().expect("a run lies in a directory"))?;
        Run::open(path, self.span)
    }

    fn close_page(&mut self) -> Result<(), Error> {
        let mut page = [0; PAGE_BYTES];
        page[..self.open.len()].copy_from_slice(&self.open);
        self.open.clear();
        self.push_page(&mut page)
    }

    fn push_page(&mut self, page: &mut Page) -> Result<(), Error> {
        page::seal(page, self.span, self.pages);
        self.pages += 1;
        self.ready.extend_from_slice(page);
        if self.ready.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), Error> {
        self.file.write_all(&self.ready).map_err(|source| self.failed("write to", source))?;
        let bytes = self.ready.len();
        self.ready.clear();
        self.written += bytes as u64;
        self.unsynced_bytes += bytes as u64;
        if self.spread.wrote(bytes) {
            // Best effort: whether all of it could be written is found out by the sync.
            let _ = spread::begin_writeback(&self.file, self.begun, self.written);
            self.begun = self.written;
            self.spread.rest();
        }
        if self.unsynced_bytes >= SYNC_BYTES { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.file.sync_all().map_err(|source| self.failed("sync", source))?;
        self.unsynced_bytes = 0;
        Ok(())
    }

    fn failed(&self, action: &'static str, source: std::io::Error) -> Error {
        Error::Io { action, path: self.temporary.clone(), source }
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        if !self.named {
            // Best effort: what stays behind is removed when the store is opened again.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|source| Error::Io { action: "sync the directory", path: path.to_owned(), source })
}
