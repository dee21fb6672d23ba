//! Opening the index, and deciding whether it fits the log.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use wal::{ReadError, Reader};

use crate::directory::Directory;
use crate::table::{FjallTable, Table};
use crate::watermark::{Unreadable, Watermark, digest};
use crate::{Error, Options, pace::Pace};

/// What opening gives: the table and how far it is.
pub(crate) struct Opened {
    pub(crate) directory: Directory,
    pub(crate) table: Box<dyn Table>,
    pub(crate) watermark: Watermark,
    pub(crate) pace: Arc<Pace>,
}

/// Opens the index of `log` in `path`. One that is damaged, of another format or of another log is set aside, and an
/// empty one takes its place.
pub(crate) fn open(path: &Path, log: &Reader, options: &Options) -> Result<Opened, Error> {
    options.validate()?;
    let directory = Directory::create(path)?;
    let pace = Arc::new(Pace::default());
    let reason = match examine(&directory, log, options, &pace)? {
        Examined::Fit(table, watermark) => {
            return Ok(Opened { directory, table: Box::new(table), watermark, pace });
        }
        Examined::Unfit(reason) => reason,
    };
    let aside = directory.set_aside()?;
    tracing::warn!(reason, aside = %aside.display(), "the history index was set aside and is rebuilt from the log");
    let table = open_table(&directory, options, &pace)?;
    Ok(Opened { directory, table: Box::new(table), watermark: Watermark::default(), pace })
}

enum Examined {
    Fit(FjallTable, Watermark),
    Unfit(String),
}

/// Errors are those of the machine; what is wrong with the index makes it unfit.
fn examine(
    directory: &Directory,
    log: &Reader,
    options: &Options,
    pace: &Arc<Pace>,
) -> Result<Examined, Error> {
    if let Some(reason) = directory.verdict()? {
        return Ok(Examined::Unfit(reason));
    }
    let opened = open_table(directory, options, pace).and_then(|table| {
        let row = table.watermark()?;
        let is_new = row.is_none() && table.is_empty()?;
        Ok((table, row, is_new))
    });
    let (table, row, is_new) = match opened {
        Ok(opened) => opened,
        Err(error) if error.is_damage() => return Ok(Examined::Unfit(with_causes(&error))),
        Err(error) => return Err(error),
    };
    if is_new {
        return Ok(Examined::Fit(table, Watermark::default()));
    }
    let watermark = match row.as_deref().map(Watermark::decode) {
        Some(Ok(watermark)) => watermark,
        Some(Err(Unreadable::Version(version))) => {
            return Ok(Examined::Unfit(format!("it has format version {version}")));
        }
        Some(Err(Unreadable::Length)) => return Ok(Examined::Unfit("its watermark is damaged".to_owned())),
        None => return Ok(Examined::Unfit("its watermark is missing".to_owned())),
    };
    Ok(match contradiction(&watermark, log)? {
        None => Examined::Fit(table, watermark),
        Some(reason) => Examined::Unfit(reason),
    })
}

/// Why the index cannot be one of this log: it knows of records that the log does not have, or has otherwise.
fn contradiction(watermark: &Watermark, log: &Reader) -> Result<Option<String>, Error> {
    let (next, durable) = (watermark.next, log.durable_lsn());
    if next > durable {
        return Ok(Some(format!("it knows the log up to {next} and the log ends at {durable}")));
    }
    if watermark.records == 0 {
        return Ok(None);
    }
    match log.read(watermark.last) {
        Ok(payload) if digest(&payload) == watermark.last_digest => Ok(None),
        Ok(_) | Err(ReadError::NotARecord | ReadError::NotDurable) => {
            Ok(Some(format!("the log has another record at {} than was indexed", watermark.last)))
        }
        Err(error) => Err(Error::Log(error)),
    }
}

/// Opens the database on a thread of low priority, which its own threads inherit, and which contains its panics.
fn open_table(directory: &Directory, options: &Options, pace: &Arc<Pace>) -> Result<FjallTable, Error> {
    directory.begin_opening()?;
    let opened = thread::scope(|scope| {
        let opener = scope.spawn(|| {
            spread::lower_priority(options.niceness);
            FjallTable::open(&directory.database(), options, pace)
        });
        opener.join()
    });
    directory.end_opening()?;
    opened.unwrap_or(Err(Error::Damaged { what: "opening it panicked" }))
}

fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
