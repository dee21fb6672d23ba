//! The runs of one directory, in the order of the log.
//!
//! A run is `keys-<from>-<to>.run`; while it is written, `.tmp` is appended. A run that joins others has the range of all
//! of them, so after a crash between its naming and their removal the one that holds the others counts. A run whose keys
//! are all past the retention is replaced by one without keys: what is covered stays covered.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledger::{KeyHash, KeyPlace, Timestamp};
use parking_lot::{Mutex, RwLock};
use rustix::fs::{FlockOperation, flock};
use spread::{Doomed, Rate, Spread};

use crate::entry::Name;
use crate::merge::Merge;
use crate::page::Span;
use crate::run::Run;
use crate::writer::{RunWriter, sync_directory};
use crate::{Error, SpilledKey, sort};

const PREFIX: &str = "keys-";
const SUFFIX: &str = ".run";
const LOCK: &str = "lock";
const TEMPORARY_SUFFIX: &str = ".run.tmp";

/// Neighbouring runs of like size that are joined into one. Fewer runs make a lookup cheaper, more make each key be
/// written less often: with four, a day of keys lies in about a dozen runs and is written four times.
const JOINED: usize = 4;

/// Entries between two breaths: some ten microseconds of work.
const BREATH_ENTRIES: usize = 64;

#[derive(Clone, Debug)]
pub struct Options {
    /// Milliseconds for which a key is kept at least.
    pub retention_ms: u64,
    /// Memory for filters. Beyond it the filters of the oldest runs are read from disk, a page per lookup.
    pub filter_bytes_max: u64,
    /// Keys of one run; bounds the memory that joining runs takes for a new filter (two bytes per key).
    pub run_keys_max: u64,
    /// How fast runs are written. Not bounded at first; whoever knows how urgent it is may change it at any time.
    pub write_rate: Arc<Rate>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention_ms: 86_400_000,
            filter_bytes_max: 256 << 20,
            run_keys_max: 32_000_000,
            write_rate: Arc::default(),
        }
    }
}

/// What the store takes and holds.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub runs: u64,
    pub keys: u64,
    pub disk_bytes: u64,
    pub filter_bytes: u64,
}

/// See the crate's head.
#[derive(Debug)]
pub struct KeyStore {
    directory: PathBuf,
    options: Options,
    runs: RwLock<Arc<Runs>>,
    /// Runs that a lookup found damaged.
    damaged: Mutex<Vec<Span>>,
    /// Locked until the store is closed: two would clear away each other's files.
    lock: Mutex<Option<File>>,
}

#[derive(Debug, Default)]
struct Runs {
    /// Oldest first, without overlap.
    runs: Vec<Run>,
    /// End of what is covered without a gap from the beginning of the log.
    covers: u64,
    keys: u64,
}

impl KeyStore {
    /// Opens the store, creating the directory if needed. Removes what an interrupted writer left behind and what a
    /// larger run holds too; sets aside what is damaged, which leaves a gap.
    pub fn open(directory: &Path, options: Options) -> Result<KeyStore, Error> {
        let failed = |action, source| Error::Io { action, path: directory.to_owned(), source };
        std::fs::create_dir_all(directory).map_err(|source| failed("create", source))?;
        let lock = lock(&directory.join(LOCK))?;
        let mut spans = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(|source| failed("list", source))? {
            let name = entry.map_err(|source| failed("list", source))?.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with(PREFIX) && name.ends_with(TEMPORARY_SUFFIX) {
                remove(&directory.join(name))?;
            }
            spans.extend(parse(name));
        }
        // Of two that begin together the longer one comes first.
        spans.sort_by_key(|span| (span.from, std::cmp::Reverse(span.to)));
        let mut runs: Vec<Run> = Vec::new();
        for span in spans {
            let path = path_of(directory, span);
            if runs.last().is_some_and(|last| span.from < last.foot.span.to) {
                remove(&path)?;
                continue;
            }
            match Run::open(path.clone(), span) {
                Ok(run) => runs.push(run),
                Err(Error::Damaged { .. }) => set_aside(&path)?,
                Err(error) => return Err(error),
            }
        }
        let store = KeyStore {
            directory: directory.to_owned(),
            options,
            runs: RwLock::default(),
            damaged: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        };
        store.publish(runs);
        Ok(store)
    }

    /// Keys of all records below this are here.
    pub fn covers(&self) -> u64 {
        self.runs.read().covers
    }

    /// Gives the directory free for another store, when nothing is added or dropped here any more. Lookups go on.
    pub fn close(&self) {
        *self.lock.lock() = None;
    }

    /// End of the range of the youngest run, gaps or not.
    pub fn end(&self) -> u64 {
        self.runs.read().runs.last().map_or(0, |run| run.foot.span.to)
    }

    /// Ranges below `to` whose keys are not here.
    pub fn gaps(&self, to: u64) -> Vec<(u64, u64)> {
        let runs = self.runs.read().clone();
        let (mut gaps, mut covered) = (Vec::new(), 0);
        for span in runs.runs.iter().map(|run| run.foot.span).filter(|span| span.from < to) {
            if span.from > covered {
                gaps.push((covered, span.from));
            }
            covered = span.to;
        }
        if covered < to {
            gaps.push((covered, to));
        }
        gaps
    }

    /// Runs that a key is looked for in.
    pub fn run_count(&self) -> usize {
        self.runs.read().runs.len()
    }

    pub fn figures(&self) -> Figures {
        let runs = self.runs.read().clone();
        let held = runs.runs.iter().filter(|run| run.holds_filter());
        Figures {
            runs: runs.runs.len() as u64,
            keys: runs.keys,
            disk_bytes: runs.runs.iter().map(|run| run.foot.bytes()).sum(),
            filter_bytes: held.map(Run::filter_bytes).sum(),
        }
    }

    /// Where a key was used last, and for what. `needed` is the position below which the caller keeps no keys: when the
    /// runs do not cover it, or cannot be read, the answer is an error and never "nowhere".
    pub fn find(&self, owner: u128, hash: KeyHash, needed: u64) -> Result<Option<(KeyPlace, u64)>, Error> {
        let runs = self.runs.read().clone();
        if runs.keys > 0 {
            let name = Name::of(owner, hash);
            for run in runs.runs.iter().rev() {
                let found = run.may_hold(name).and_then(|may| if may { run.find(name) } else { Ok(None) });
                match found {
                    Ok(None) => {}
                    Ok(Some(entry)) => return Ok(Some((entry.place, entry.fingerprint))),
                    Err(error) => {
                        self.damaged.lock().push(run.foot.span);
                        return Err(error);
                    }
                }
            }
        }
        if runs.covers < needed {
            return Err(Error::Incomplete { covers: runs.covers, needed });
        }
        Ok(None)
    }

    /// Whether [`Self::find`] would answer "nowhere" without reading from disk.
    pub fn is_absent(&self, owner: u128, hash: KeyHash, needed: u64) -> bool {
        let runs = self.runs.read().clone();
        let name = Name::of(owner, hash);
        let may_hold = |run: &Run| !run.holds_filter() || run.may_hold(name).unwrap_or(true);
        runs.covers >= needed && (runs.keys == 0 || !runs.runs.iter().any(may_hold))
    }

    /// Whether there is any key here at all.
    pub fn is_empty(&self) -> bool {
        self.runs.read().keys == 0
    }

    /// Adds the keys of the records of `from..to`, durable on return. The range must not be covered yet. `breathe` is called
    /// every few entries: a thread that works beside others offers its core there.
    pub fn add(
        &self,
        from: u64,
        to: u64,
        keys: &[SpilledKey],
        breathe: &mut dyn FnMut(),
    ) -> Result<(), Error> {
        assert!(self.lock.lock().is_some(), "nothing is added to a closed store");
        let span = Span { from, to };
        let entries = sort::sorted(keys, breathe);
        let mut writer = self.begin_run(span, entries.len() as u64)?;
        for some in entries.chunks(BREATH_ENTRIES) {
            some.iter().try_for_each(|entry| writer.put(entry))?;
            breathe();
        }
        let times = || keys.iter().map(|key| key.at);
        let oldest = times().min().unwrap_or(Timestamp::from_millis(i64::MAX));
        let newest = times().max().unwrap_or(Timestamp::from_millis(i64::MIN));
        let run = writer.finish(path_of(&self.directory, span), oldest, newest)?;
        let mut runs = self.runs.read().runs.clone();
        let at = runs.partition_point(|other| other.foot.span.from < from);
        let before = at.checked_sub(1).is_none_or(|before| runs[before].foot.span.to <= from);
        let after = runs.get(at).is_none_or(|after| to <= after.foot.span.from);
        assert!(from <= to && before && after, "the range {from}..{to} is covered once");
        runs.insert(at, run);
        self.publish(runs);
        Ok(())
    }

    /// One step of housekeeping at the time `now`: drops the keys of a run whose youngest one is past the retention, or
    /// joins some runs. False when there is nothing to do. `breathe` as in [`Self::add`].
    pub fn maintain(&self, now: Timestamp, breathe: &mut dyn FnMut()) -> Result<bool, Error> {
        let runs = self.runs.read().clone();
        let Some((at, count, kept)) = self.next_step(&runs.runs, now) else { return Ok(false) };
        let old = &runs.runs[at..at + count];
        let doomed = self.replace(at, old, if kept { old } else { &[] }, breathe)?;
        // The last that has their files open, but for lookups under way.
        drop(runs);
        // Best effort: what cannot be freed in pieces is freed at once, when it is closed.
        doomed.into_iter().for_each(|doomed| drop(doomed.free()));
        Ok(true)
    }

    /// The runs to put one in the place of next, by the number of the first and how many, and whether their keys are kept.
    fn next_step(&self, runs: &[Run], now: Timestamp) -> Option<(usize, usize, bool)> {
        let is_over = |run: &Run| run.foot.newest.saturating_add_millis(self.options.retention_ms) <= now;
        if let Some(at) = runs.iter().position(|run| run.foot.keys > 0 && is_over(run)) {
            return Some((at, 1, false));
        }
        let empty = |run: &Run| run.foot.keys == 0;
        let neighbours = |pair: &[Run]| pair[0].foot.span.to == pair[1].foot.span.from;
        let both_empty = |pair: &[Run]| pair.iter().all(empty) && neighbours(pair);
        if let Some(at) = runs.windows(2).position(both_empty) {
            return Some((at, 2, false));
        }
        let joinable = |some: &[Run]| some.windows(2).all(neighbours) && self.is_worth_joining(some);
        runs.windows(JOINED).position(joinable).map(|at| (at, JOINED, true))
    }

    /// Runs that lookups found damaged since the last call, taken out of the store: their ranges are gaps from now on.
    pub fn discard_damaged(&self) -> Result<u64, Error> {
        let damaged = std::mem::take(&mut *self.damaged.lock());
        if damaged.is_empty() {
            return Ok(0);
        }
        let runs = self.runs.read().clone();
        let (bad, good): (Vec<Run>, Vec<Run>) =
            runs.runs.iter().cloned().partition(|run| damaged.contains(&run.foot.span));
        self.publish(good);
        for run in &bad {
            set_aside(&run.path)?;
        }
        Ok(bad.len() as u64)
    }

    /// Removes every run: they are of another log.
    pub fn clear(&self) -> Result<(), Error> {
        let runs = self.runs.read().clone();
        self.publish(Vec::new());
        runs.runs.iter().try_for_each(|run| remove(&run.path))?;
        sync_directory(&self.directory)
    }

    /// Of like size, within the bounds, and not so far apart that the oldest would wait long for the youngest to pass.
    fn is_worth_joining(&self, some: &[Run]) -> bool {
        let with_keys = || some.iter().filter(|run| run.foot.keys > 0);
        let total: u64 = some.iter().map(|run| run.foot.keys).sum();
        let largest = some.iter().map(|run| run.foot.keys).max().unwrap_or(0);
        let oldest = with_keys().map(|run| run.foot.oldest).min();
        let newest = with_keys().map(|run| run.foot.newest).max();
        let (Some(oldest), Some(newest)) = (oldest, newest) else { return false };
        total <= self.options.run_keys_max
            && largest <= 3 * (total - largest)
            && newest <= oldest.saturating_add_millis(self.options.retention_ms / 4)
    }

    /// Puts one run with the keys of `sources` in the place of `old`, the runs from number `at` on. Their files, which have no
    /// name any more, are the answer.
    fn replace(
        &self,
        at: usize,
        old: &[Run],
        sources: &[Run],
        breathe: &mut dyn FnMut(),
    ) -> Result<Vec<Doomed>, Error> {
        let (first, last) = (old.first().expect("runs to replace"), old.last().expect("the same"));
        let span = Span { from: first.foot.span.from, to: last.foot.span.to };
        let keys_max = sources.iter().map(|run| run.foot.keys).sum();
        let mut writer = self.begin_run(span, keys_max)?;
        let mut merge = Merge::new(sources)?;
        let mut put = 0_usize;
        while let Some(entry) = merge.next()? {
            writer.put(&entry)?;
            put += 1;
            if put.is_multiple_of(BREATH_ENTRIES) {
                breathe();
            }
        }
        let with_keys = || sources.iter().filter(|run| run.foot.keys > 0).map(|run| run.foot);
        let oldest = with_keys().map(|foot| foot.oldest).min().unwrap_or(first.foot.oldest);
        let newest = with_keys().map(|foot| foot.newest).max().unwrap_or(last.foot.newest);
        let doomed = old.iter().filter_map(|run| Doomed::open(&run.path).ok()).collect();
        let run = writer.finish(path_of(&self.directory, span), oldest, newest)?;
        let path = run.path.clone();
        let mut runs = self.runs.read().runs.clone();
        runs.splice(at..at + old.len(), [run]);
        self.publish(runs);
        // Lookups under way keep their open files. What a crash leaves behind is removed at the next opening.
        old.iter().filter(|run| run.path != path).try_for_each(|run| remove(&run.path))?;
        sync_directory(&self.directory)?;
        Ok(doomed)
    }

    fn begin_run(&self, span: Span, keys_max: u64) -> Result<RunWriter, Error> {
        let spread = Spread::new(self.options.write_rate.clone());
        RunWriter::begin(self.temporary(span), span, keys_max, spread)
    }

    /// Makes `runs` what lookups see, with as many filters in memory as fit, the youngest first.
    fn publish(&self, mut runs: Vec<Run>) {
        let mut left = self.options.filter_bytes_max;
        for run in runs.iter_mut().rev() {
            match left.checked_sub(run.filter_bytes()) {
                Some(rest) => {
                    left = rest;
                    if !run.holds_filter() {
                        // A filter that cannot be read now is met again, and reported, by the lookup that needs it.
                        *run = run.with_filter().unwrap_or_else(|_| run.clone());
                    }
                }
                None => *run = run.without_filter(),
            }
        }
        let covers = runs
            .iter()
            .fold(0, |covered, run| if run.foot.span.from <= covered { run.foot.span.to } else { covered });
        let keys = runs.iter().map(|run| run.foot.keys).sum();
        *self.runs.write() = Arc::new(Runs { runs, covers, keys });
    }

    fn temporary(&self, span: Span) -> PathBuf {
        let mut path = path_of(&self.directory, span).into_os_string();
        path.push(".tmp");
        path.into()
    }
}

fn path_of(directory: &Path, span: Span) -> PathBuf {
    directory.join(format!("{PREFIX}{:020}-{:020}{SUFFIX}", span.from, span.to))
}

fn parse(name: &str) -> Option<Span> {
    let (from, to) = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split_once('-')?;
    let number = |digits: &str| {
        let is_canonical = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| is_canonical)
    };
    Some(Span { from: number(from)?, to: number(to)? })
}

/// Keeps a damaged file for whoever wants to know why, out of the way of the run that is built in its place.
fn set_aside(path: &Path) -> Result<(), Error> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    std::fs::rename(path, &aside).map_err(|source| Error::Io {
        action: "set aside",
        path: path.to_owned(),
        source,
    })
}

fn lock(path: &Path) -> Result<File, Error> {
    let failed = |source| Error::Io { action: "lock", path: path.to_owned(), source };
    let file = File::create(path).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked { path: path.to_owned() }),
        Err(errno) => Err(failed(errno.into())),
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    std::fs::remove_file(path).map_err(|source| Error::Io { action: "remove", path: path.to_owned(), source })
}
