//! Tables that the database has merged into others and removes: gigabytes at once, which holds up the log's syncs (see
//! `spread::remove`). So each table gets a second name here before a merge begins; when that is its last one, its blocks
//! are freed in pieces.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::writeback::numbers;

/// Second names of tables. Best effort throughout: a table without one is freed by the database, at once.
#[derive(Debug)]
pub(crate) struct Removed {
    names: PathBuf,
}

impl Removed {
    /// Beside the database.
    pub(crate) fn beside(database: &Path) -> Removed {
        Removed { names: database.with_file_name("removed") }
    }

    /// Clears away what a node left that did not end well: at once, because nobody is served yet. Whoever calls this has the
    /// database to himself.
    pub(crate) fn clear(&self) -> io::Result<()> {
        fs::create_dir_all(&self.names)?;
        self.each(|path, _| fs::remove_file(path))
    }

    /// Gives every table of the folder a second name.
    pub(crate) fn hold(&self, tables: &Path) -> io::Result<()> {
        for name in numbers(tables)?.iter().map(u64::to_string) {
            // It has one already, or it has just been removed.
            let _ = fs::hard_link(tables.join(&name), self.names.join(&name));
        }
        Ok(())
    }

    /// Frees the tables that the database has removed.
    pub(crate) fn free(&self) -> io::Result<()> {
        self.each(|path, names| if names == 1 { spread::remove(path) } else { Ok(()) })
    }

    fn each(&self, act: impl Fn(&Path, u64) -> io::Result<()>) -> io::Result<()> {
        for entry in fs::read_dir(&self.names)? {
            let entry = entry?;
            act(&entry.path(), entry.metadata()?.nlink())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(removed: &Removed) -> Vec<String> {
        let entries = fs::read_dir(&removed.names).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn tables_are_freed_once_the_database_has_removed_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let tables = directory.path().join("tables");
        fs::create_dir(&tables).expect("made");
        let removed = Removed::beside(&directory.path().join("index"));
        removed.clear().expect("nothing is there");
        for name in ["1", "2", "current"] {
            fs::write(tables.join(name), name).expect("written");
        }
        removed.hold(&tables).expect("held");
        removed.hold(&tables).expect("held already");
        assert_eq!(names(&removed), ["1", "2"]);
        let open = fs::File::open(tables.join("1")).expect("it is there");
        fs::remove_file(tables.join("1")).expect("removed");
        removed.free().expect("freed");
        assert_eq!(names(&removed), ["2"]);
        assert_eq!(open.metadata().expect("it is open").len(), 0);
        assert_eq!(fs::read(tables.join("2")).expect("it is there"), b"2");
    }

    /// After a crash a table may have a second name that is its first one for the database: it keeps every byte.
    #[test]
    fn what_a_crash_leaves_is_cleared_away_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let tables = directory.path().join("tables");
        fs::create_dir(&tables).expect("made");
        let index = directory.path().join("index");
        let removed = Removed::beside(&index);
        removed.clear().expect("nothing is there");
        for name in ["1", "2"] {
            fs::write(tables.join(name), name).expect("written");
        }
        removed.hold(&tables).expect("held");
        fs::remove_file(tables.join("1")).expect("removed");
        let removed = Removed::beside(&index);
        removed.clear().expect("cleared away");
        assert_eq!(names(&removed), Vec::<String>::new());
        assert_eq!(fs::read(tables.join("2")).expect("it is there"), b"2");
    }
}
