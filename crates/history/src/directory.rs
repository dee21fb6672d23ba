//! The directory around the database: noticing that it cannot be opened, and setting it aside.
//!
//! ```text
//! <directory>/index      the database
//! <directory>/removed    second names of the database's tables, see `removed`
//! <directory>/condemned  exists when the index must not be trusted; the reason
//! <directory>/opening    how often opening was begun and not finished
//! ```
//! The index is derived, so a defect in it must never keep a node from starting. A database that returns errors is
//! easily recognised; one whose opening ends the process (release builds abort on a panic) is recognised by the mark
//! that was left.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Error;

/// Unfinished openings after which the index is given up. One may be a kill at the wrong moment.
const UNFINISHED_MAX: usize = 2;

#[derive(Clone, Debug)]
pub(crate) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Takes the directory, creating it if needed.
    pub(crate) fn create(path: &Path) -> Result<Directory, Error> {
        let directory = Directory { path: path.to_owned() };
        directory.act("create", path, || fs::create_dir_all(path))?;
        Ok(directory)
    }

    /// Where the database lives.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("index")
    }

    /// Why the index must not be opened, if so.
    pub(crate) fn verdict(&self) -> Result<Option<String>, Error> {
        let condemned = self.condemned();
        match fs::read(&condemned) {
            Ok(reason) => return Ok(Some(String::from_utf8_lossy(&reason).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Directory { action: "read", path: condemned, source }),
        }
        let unfinished = self.unfinished()?;
        Ok((unfinished >= UNFINISHED_MAX).then(|| format!("opening it did not end {unfinished} times")))
    }

    /// Notes that the database is about to be opened. On a full disk nothing is noted: a node has to start on one.
    pub(crate) fn begin_opening(&self) -> Result<(), Error> {
        let mark = self.opening();
        let unfinished = self.unfinished()? + 1;
        let written = self.act("write", &mark, || fs::write(&mark, vec![b'x'; unfinished]));
        match written {
            Err(Error::Directory { source, .. }) if source.kind() == io::ErrorKind::StorageFull => Ok(()),
            written => written,
        }
    }

    /// Notes that opening the database has ended, well or badly.
    pub(crate) fn end_opening(&self) -> Result<(), Error> {
        let mark = self.opening();
        self.act("remove", &mark, || match fs::remove_file(&mark) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        })
    }

    /// Lets the next start set the index aside.
    pub(crate) fn condemn(&self, reason: &str) -> Result<(), Error> {
        let mark = self.condemned();
        self.act("write", &mark, || fs::write(&mark, reason))
    }

    /// Renames the whole directory to the first free `<name>.damaged-<n>`, makes a new one and returns the old one's
    /// place. Nothing is deleted: somebody may want to know what happened.
    pub(crate) fn set_aside(&self) -> Result<PathBuf, Error> {
        let mut number = 1_u64;
        let aside = loop {
            let mut name = self.path.file_name().map_or_else(OsString::new, OsString::from);
            name.push(format!(".damaged-{number}"));
            let aside = self.path.with_file_name(name);
            if !self.act("look for", &aside, || fs::exists(&aside))? {
                break aside;
            }
            number += 1;
        };
        self.act("set aside", &self.path, || fs::rename(&self.path, &aside))?;
        self.act("create", &self.path, || fs::create_dir_all(&self.path))?;
        Ok(aside)
    }

    /// The mark's length is the count: there is nothing to parse.
    fn unfinished(&self) -> Result<usize, Error> {
        let mark = self.opening();
        match fs::read(&mark) {
            Ok(marks) => Ok(marks.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(Error::Directory { action: "read", path: mark, source }),
        }
    }

    fn condemned(&self) -> PathBuf {
        self.path.join("condemned")
    }

    fn opening(&self) -> PathBuf {
        self.path.join("opening")
    }

    fn act<T>(
        &self,
        action: &'static str,
        path: &Path,
        effect: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, Error> {
        effect().map_err(|source| Error::Directory { action, path: path.to_owned(), source })
    }
}
