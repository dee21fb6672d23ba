//! One run: a file of sorted keys with its filter.
//!
//! ```text
//! pages   ceil(keys / 85)  entries of 48 bytes in order of their names, 85 to a page
//! pages   filter           see `filter`
//! foot    72               magic 8, version u32, filter pages u32, from u64, to u64, keys u64, oldest i64, newest i64,
//!                          pages of entries u64, zero u32, CRC-32C of the 68 bytes before u32
//! ```
//! All integers are little-endian. `from..to` is the range of the log whose keys it holds, and its file name.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledger::Timestamp;
use rustix::fs::{Advice, fadvise};

use crate::Error;
use crate::entry::{ENTRY_BYTES, Entry, Name};
use crate::filter;
use crate::page::{self, PAGE_BYTES, Page, Span};

pub(crate) const ENTRIES_PER_PAGE: usize = 85;
pub(crate) const FOOT_BYTES: usize = 72;
const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"APAYKEYS";

const _: () = assert!(ENTRIES_PER_PAGE * ENTRY_BYTES <= page::CONTENT_BYTES);

/// What the foot of a run says.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) struct Foot {
    pub(crate) span: Span,
    pub(crate) keys: u64,
    /// Times of the oldest and the youngest key; of a run without keys, anything.
    pub(crate) oldest: Timestamp,
    pub(crate) newest: Timestamp,
    pub(crate) filter_pages: u32,
}

impl Foot {
    pub(crate) fn entry_pages(&self) -> u64 {
        self.keys.div_ceil(ENTRIES_PER_PAGE as u64)
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.entry_pages() + u64::from(self.filter_pages)) * PAGE_BYTES as u64 + FOOT_BYTES as u64
    }

    pub(crate) fn encode(&self) -> [u8; FOOT_BYTES] {
        let mut out = Vec::with_capacity(FOOT_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.filter_pages.to_le_bytes());
        for number in [self.span.from, self.span.to, self.keys] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for time in [self.oldest, self.newest] {
            out.extend_from_slice(&time.millis().to_le_bytes());
        }
        out.extend_from_slice(&self.entry_pages().to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.try_into().expect("the lengths above add up")
    }

    fn decode(bytes: &[u8; FOOT_BYTES], path: &Path, offset: u64) -> Result<Foot, Error> {
        let damaged = |what| Error::Damaged { path: path.to_owned(), offset, what };
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let time = |at: usize| Timestamp::from_millis(number(at).cast_signed());
        if bytes[..8] != MAGIC || crc32c::crc32c(&bytes[..68]) != short(68) {
            return Err(damaged("it does not end like a run"));
        }
        if short(8) != VERSION {
            return Err(Error::Version { path: path.to_owned(), found: short(8), known: VERSION });
        }
        let foot = Foot {
            span: Span { from: number(16), to: number(24) },
            keys: number(32),
            oldest: time(40),
            newest: time(48),
            filter_pages: short(12),
        };
        // A filter is made for as many keys as were expected: a merge may find that some come twice.
        if foot.entry_pages() != number(56) || (foot.keys > 0 && foot.filter_pages == 0) {
            return Err(damaged("its counts contradict each other"));
        }
        Ok(foot)
    }
}

/// An open run. Cheap to clone; the file stays readable after it was removed from its directory.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) foot: Foot,
    pub(crate) path: PathBuf,
    file: Arc<File>,
    /// Every page of the filter, checked; `None`: it is read from the file.
    filter: Option<Arc<[u8]>>,
}

impl Run {
    /// Opens the run over `span`, checking its frame. The filter stays on disk.
    pub(crate) fn open(path: PathBuf, span: Span) -> Result<Run, Error> {
        let failed = |action, source| Error::Io { action, path: path.clone(), source };
        let file = File::open(&path).map_err(|source| failed("open", source))?;
        spread::reading(&file);
        // A key is looked for alone: its neighbours say nothing about the next.
        fadvise(&file, 0, None, Advice::Random).map_err(|errno| failed("advise on", errno.into()))?;
        let bytes = file.metadata().map_err(|source| failed("examine", source))?.len();
        let damaged = |what| Error::Damaged { path: path.clone(), offset: bytes, what };
        let offset = bytes.checked_sub(FOOT_BYTES as u64).ok_or_else(|| damaged("it is cut short"))?;
        let mut foot = [0; FOOT_BYTES];
        file.read_exact_at(&mut foot, offset).map_err(|source| failed("read", source))?;
        let foot = Foot::decode(&foot, &path, offset)?;
        if foot.bytes() != bytes {
            return Err(damaged("its length is not what its end says"));
        }
        if foot.span != span {
            return Err(damaged("it is another run than its name says"));
        }
        Ok(Run { foot, path, file: Arc::new(file), filter: None })
    }

    /// Bytes that the filter takes when it is held in memory.
    pub(crate) fn filter_bytes(&self) -> u64 {
        u64::from(self.foot.filter_pages) * PAGE_BYTES as u64
    }

    pub(crate) fn holds_filter(&self) -> bool {
        self.filter.is_some()
    }

    /// The same run with its filter in memory.
    pub(crate) fn with_filter(&self) -> Result<Run, Error> {
        let mut pages = Vec::with_capacity(usize::try_from(self.filter_bytes()).expect("fits into memory"));
        for number in 0..u64::from(self.foot.filter_pages) {
            pages.extend_from_slice(&self.page(self.foot.entry_pages() + number)?);
        }
        Ok(Run { filter: Some(pages.into()), ..self.clone() })
    }

    /// The same run with its filter on disk.
    pub(crate) fn without_filter(&self) -> Run {
        Run { filter: None, ..self.clone() }
    }

    /// False when the key is certainly not here.
    pub(crate) fn may_hold(&self, name: Name) -> Result<bool, Error> {
        if self.foot.keys == 0 {
            return Ok(false);
        }
        let (number, start) = filter::place(name.digest, self.foot.filter_pages.into());
        match &self.filter {
            Some(pages) => {
                let at = usize::try_from(number).expect("a page in memory") * PAGE_BYTES;
                Ok(filter::holds(&pages[at..at + PAGE_BYTES], start, name.digest))
            }
            None => Ok(filter::holds(&self.page(self.foot.entry_pages() + number)?, start, name.digest)),
        }
    }

    /// The entry of a name. Names are even numbers, so the page is guessed from them and the guess is made better by
    /// what the page says: two or three reads. Every second guess halves what is left, whatever the names are.
    pub(crate) fn find(&self, name: Name) -> Result<Option<Entry>, Error> {
        let (mut low, mut high) = (0, self.foot.entry_pages());
        let (mut low_digest, mut high_digest) = (0, u64::MAX);
        let mut halve = false;
        while low < high {
            let middle =
                if halve { low + (high - low) / 2 } else { guess(name, low, high, low_digest, high_digest) };
            halve = !halve;
            let page = self.entries(middle)?;
            let (Some(first), Some(last)) = (page.first(), page.last()) else { break };
            if name < first.name() {
                (high, high_digest) = (middle, first.name().digest);
            } else if name > last.name() {
                (low, low_digest) = (middle + 1, last.name().digest);
            } else {
                return Ok(page.binary_search_by_key(&name, Entry::name).ok().map(|index| page[index]));
            }
        }
        Ok(None)
    }

    /// The entries of page `number`, in order.
    pub(crate) fn entries(&self, number: u64) -> Result<Vec<Entry>, Error> {
        let page = self.page(number)?;
        let before = number * ENTRIES_PER_PAGE as u64;
        let held = self.foot.keys.saturating_sub(before).min(ENTRIES_PER_PAGE as u64);
        let held = usize::try_from(held).expect("at most a page");
        let (entries, _) = page[..held * ENTRY_BYTES].as_chunks();
        Ok(entries.iter().map(Entry::decode).collect())
    }

    fn page(&self, number: u64) -> Result<Page, Error> {
        page::read(&self.file, &self.path, self.foot.span, number)
    }
}

/// The page of `low..high` where a name should be, between the digests at both ends.
fn guess(name: Name, low: u64, high: u64, low_digest: u64, high_digest: u64) -> u64 {
    let width = u128::from(high_digest.saturating_sub(low_digest)).max(1);
    let into = u128::from(name.digest.saturating_sub(low_digest)).min(width);
    let pages = u128::from(high - low);
    let guessed = low + u64::try_from(into * pages / width).expect("at most `pages`");
    guessed.min(high - 1)
}
