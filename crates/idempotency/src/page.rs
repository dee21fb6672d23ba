//! Pages of a run: 4 KiB each, the last four bytes a checksum that binds the page to its run and place.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Error;

pub(crate) const PAGE_BYTES: usize = 4096;
/// What a page holds before its checksum.
pub(crate) const CONTENT_BYTES: usize = PAGE_BYTES - 4;

pub(crate) type Page = [u8; PAGE_BYTES];

/// The range of the log whose keys a run holds: `from..to`. Also its name.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Debug)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// Fills in the checksum of page `number` of the run over `span`.
pub(crate) fn seal(page: &mut Page, span: Span, number: u64) {
    let sum = checksum(page, span, number);
    page[CONTENT_BYTES..].copy_from_slice(&sum.to_le_bytes());
}

/// Reads and checks page `number`.
pub(crate) fn read(file: &File, path: &Path, span: Span, number: u64) -> Result<Page, Error> {
    let mut page = [0; PAGE_BYTES];
    let offset = number * PAGE_BYTES as u64;
    let read = file.read_exact_at(&mut page, offset);
    read.map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })?;
    check(&page, path, span, number)?;
    Ok(page)
}

pub(crate) fn check(page: &Page, path: &Path, span: Span, number: u64) -> Result<(), Error> {
    if page[CONTENT_BYTES..] == checksum(page, span, number).to_le_bytes() {
        return Ok(());
    }
    let offset = number * PAGE_BYTES as u64;
    Err(Error::Damaged { path: path.to_owned(), offset, what: "a page does not match its checksum" })
}

fn checksum(page: &Page, span: Span, number: u64) -> u32 {
    let mut place = [0; 24];
    place[..8].copy_from_slice(&span.from.to_le_bytes());
    place[8..16].copy_from_slice(&span.to.to_le_bytes());
    place[16..].copy_from_slice(&number.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), &page[..CONTENT_BYTES])
}
