//! What the index writes, spread over time (crate `spread`).
//!
//! The database writes its tables itself and syncs each when it is whole, at up to 64 MiB. Those that are being written
//! are the youngest of its folder, and there they are found: the kernel begins to write out what has come to them.

use std::fs::{self, File};
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use spread::{Rate, Spread};

use crate::pace::Pace;

/// Bytes of rows per second of one writer while the database has no more runs side by side than it merges at once. For
/// every [`RUNS_PER_DOUBLING`] more it is twice as much, so that a database that is written faster than it is merged
/// catches up, and beyond [`DOUBLINGS_MAX`] any number.
const BYTES_PER_SECOND: u64 = 32 << 20;
const RUNS_PER_DOUBLING: usize = 4;
const DOUBLINGS_MAX: usize = 4;

/// Tables that are being written at once: one by a seal, one by a compaction.
const WRITERS: usize = 2;

/// What all writers of a database share.
#[derive(Debug)]
pub(crate) struct Writeback {
    pace: Arc<Pace>,
    rate: Arc<Rate>,
    /// Runs that are merged at once.
    runs_usual: usize,
    runs: AtomicUsize,
    /// Where the tables are; known once the database is open.
    tables: OnceLock<PathBuf>,
    /// How far the youngest tables are being written out.
    begun: Mutex<Vec<(u64, u64)>>,
}

impl Writeback {
    pub(crate) fn new(pace: Arc<Pace>, runs_usual: usize) -> Writeback {
        Writeback {
            pace,
            rate: Arc::default(),
            runs_usual,
            runs: AtomicUsize::new(0),
            tables: OnceLock::new(),
            begun: Mutex::default(),
        }
    }

    pub(crate) fn set_tables(&self, tables: PathBuf) {
        self.tables.set(tables).expect("a database is opened once");
    }

    pub(crate) fn tables(&self) -> Option<&Path> {
        self.tables.get().map(PathBuf::as_path)
    }

    /// How many runs lie side by side now.
    pub(crate) fn set_runs(&self, runs: usize) {
        self.runs.store(runs, Ordering::Relaxed);
    }

    /// For one writer.
    pub(crate) fn spread(&self) -> Spread {
        Spread::new(self.rate.clone())
    }

    /// A writer has written so many bytes more.
    pub(crate) fn wrote(&self, spread: &mut Spread, bytes: usize) {
        if spread.wrote(bytes) {
            // Best effort: the database syncs a table before it counts, and is told then what went wrong.
            let _ = self.begin();
            self.rate.set(self.bytes_per_second());
            spread.rest();
        }
    }

    fn bytes_per_second(&self) -> Option<NonZeroU64> {
        let doublings = self.runs.load(Ordering::Relaxed).saturating_sub(self.runs_usual) / RUNS_PER_DOUBLING;
        let is_bound = !self.pace.rushes() && doublings <= DOUBLINGS_MAX;
        if is_bound { NonZeroU64::new(BYTES_PER_SECOND << doublings) } else { None }
    }

    fn begin(&self) -> io::Result<()> {
        let Some(tables) = self.tables.get() else { return Ok(()) };
        let mut numbers = numbers(tables)?;
        numbers.sort_unstable();
        let youngest = numbers.split_off(numbers.len().saturating_sub(WRITERS));
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.retain(|(number, _)| youngest.contains(number));
        for number in youngest {
            let table = match File::open(tables.join(number.to_string())) {
                Ok(table) => table,
                // A compaction may have removed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let end = table.metadata()?.len();
            let known = begun.iter_mut().find(|(known, _)| *known == number);
            let from = known.as_ref().map_or(0, |(_, end)| *end);
            spread::begin_writeback(&table, from, end)?;
            match known {
                Some((_, known)) => *known = end,
                None => begun.push((number, end)),
            }
        }
        Ok(())
    }
}

/// The tables of a folder, by the numbers that are their names.
pub(crate) fn numbers(tables: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(tables)? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn per_second(writeback: &Writeback) -> Option<u64> {
        writeback.bytes_per_second().map(NonZeroU64::get)
    }

    #[test]
    fn more_runs_are_written_faster_and_a_rush_at_once() {
        let pace = Arc::new(Pace::default());
        let writeback = Writeback::new(pace.clone(), 16);
        for (runs, expected) in [(0, 32), (16, 32), (19, 32), (20, 64), (24, 128), (32, 512), (35, 512)] {
            writeback.set_runs(runs);
            assert_eq!(per_second(&writeback), Some(expected << 20), "{runs} runs");
        }
        writeback.set_runs(36);
        assert_eq!(per_second(&writeback), None);
        writeback.set_runs(0);
        pace.rush(true);
        assert_eq!(per_second(&writeback), None);
        pace.rush(false);
        assert_eq!(per_second(&writeback), Some(32 << 20));
    }

    #[test]
    fn the_youngest_tables_are_written_out_as_far_as_they_are_new() {
        let folder = tempfile::tempdir().expect("a directory");
        let writeback = Writeback::new(Arc::default(), 16);
        writeback.begin().expect("no tables are known yet");
        writeback.set_tables(folder.path().to_owned());
        writeback.begin().expect("there are none");
        let write =
            |name: &str, length| fs::write(folder.path().join(name), vec![1; length]).expect("written");
        let begun = || {
            writeback.begin().expect("they are written out");
            writeback.begun.lock().expect("nobody panicked").clone()
        };
        write("9", 10);
        write("current", 10);
        assert_eq!(begun(), [(9, 10)]);
        write("10", 20);
        write("9", 15);
        assert_eq!(begun(), [(9, 15), (10, 20)]);
        write("11", 30);
        assert_eq!(begun(), [(10, 20), (11, 30)]);
        fs::remove_file(folder.path().join("11")).expect("removed");
        assert_eq!(begun(), [(10, 20), (9, 15)]);
    }
}
