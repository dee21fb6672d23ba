//! Reading a generation file: one pass in constant memory, every chunk checked before it is used.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use crate::format::{
    self, Digest, FOOTER_BYTES, FRAME_BYTES, Flaw, FrameHead, FrameKind, HEADER_BYTES, Header, Trailer,
};
use crate::{Error, Generation};

/// What else the disk has to do while a file is read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reading {
    /// Nothing that is waited for: the kernel reads far ahead.
    Alone,
    /// The log's commits: read-ahead fetches up to many MiB at once, and a commit meanwhile waits for all of them.
    BesideTheLog,
}

/// Reads the whole file and calls `visit` with the offset of its chunk for each row, behind the check of that chunk.
/// The file must be generation `id`.
pub(crate) fn scan(
    path: &Path,
    id: u64,
    reading: Reading,
    mut visit: impl FnMut(u64, &[u8]) -> Result<(), Error>,
) -> Result<Generation, Error> {
    let mut input = Input::open(path, id, reading)?;
    let (header, mut chain) = input.header(id)?;
    let (mut chunks, mut rows) = (0_u64, 0_u64);
    let mut payload = Vec::new();
    loop {
        let begin = input.offset;
        let head = input.frame(&chain, &mut payload)?;
        if head.kind == FrameKind::Trailer {
            let trailer = Trailer::decode(&payload, header.start).map_err(|flaw| input.flaw(begin, flaw))?;
            if trailer.previous != chain || (trailer.chunks, trailer.rows) != (chunks, rows) {
                return Err(input.damaged(begin, "the trailer speaks of other chunks than there are"));
            }
            input.end(begin)?;
            return Ok(generation(header, trailer, &head, input.bytes));
        }
        chain = head.digest();
        chunks += 1;
        rows += u64::from(head.rows);
        format::for_each_row(&payload, head.rows, |row| visit(begin, row).map_err(Stop::Visitor)).map_err(
            |stop| match stop {
                Stop::Visitor(error) => error,
                Stop::Flaw(flaw) => input.flaw(begin, flaw),
            },
        )?;
    }
}

/// Reads header and trailer only: what the generation says of itself.
pub(crate) fn glance(path: &Path, id: u64) -> Result<Generation, Error> {
    let mut input = Input::open(path, id, Reading::BesideTheLog)?;
    let (header, chain) = input.header(id)?;
    let begin = input.seek_trailer()?;
    let mut payload = Vec::new();
    let head = input.read_frame(&mut payload)?;
    if head.kind != FrameKind::Trailer {
        return Err(input.damaged(begin, "the trailer is not where the end of the file says"));
    }
    let trailer = Trailer::decode(&payload, header.start).map_err(|flaw| input.flaw(begin, flaw))?;
    if !head.continues(&trailer.previous, &payload) {
        return Err(input.damaged(begin, "the trailer does not match its digest"));
    }
    let is_empty = begin == HEADER_BYTES as u64;
    if is_empty != (trailer.chunks == 0) || (is_empty && trailer.previous != chain) {
        return Err(input.damaged(begin, "the trailer speaks of other chunks than there are"));
    }
    input.end(begin)?;
    Ok(generation(header, trailer, &head, input.bytes))
}

enum Stop {
    Visitor(Error),
    Flaw(Flaw),
}

impl From<Flaw> for Stop {
    fn from(flaw: Flaw) -> Stop {
        Stop::Flaw(flaw)
    }
}

fn generation(header: Header, trailer: Trailer, head: &FrameHead, bytes: u64) -> Generation {
    Generation {
        id: header.id,
        partition: header.partition,
        summary: trailer.summary,
        digest: head.digest(),
        bytes,
        created_at: trailer.created_at,
    }
}

/// The file, its size when it was opened, and how far it was read.
struct Input {
    file: File,
    path: PathBuf,
    bytes: u64,
    offset: u64,
}

impl Input {
    fn open(path: &Path, id: u64, reading: Reading) -> Result<Input, Error> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::Missing { id }),
            Err(source) => return Err(Error::Io { action: "open", path: path.to_owned(), source }),
        };
        spread::reading(&file);
        let failed = |source| Error::Io { action: "examine", path: path.to_owned(), source };
        let bytes = file.metadata().map_err(failed)?.len();
        let advice = match reading {
            Reading::Alone => Advice::Sequential,
            Reading::BesideTheLog => Advice::Random,
        };
        fadvise(&file, 0, None, advice).map_err(|errno| failed(errno.into()))?;
        Ok(Input { file, path: path.to_owned(), bytes, offset: 0 })
    }

    fn header(&mut self, id: u64) -> Result<(Header, Digest), Error> {
        let bytes = self.array::<HEADER_BYTES>()?;
        let (header, chain) = Header::decode(&bytes).map_err(|flaw| self.flaw(0, flaw))?;
        if header.id != id {
            return Err(self.damaged(0, "it is another generation than its name says"));
        }
        Ok((header, chain))
    }

    /// Reads the frame at the current offset and checks that it continues the chain behind `previous`.
    fn frame(&mut self, previous: &Digest, payload: &mut Vec<u8>) -> Result<FrameHead, Error> {
        let begin = self.offset;
        let head = self.read_frame(payload)?;
        if !head.continues(previous, payload) {
            return Err(self.damaged(begin, "the chunk does not match its digest"));
        }
        Ok(head)
    }

    fn read_frame(&mut self, payload: &mut Vec<u8>) -> Result<FrameHead, Error> {
        let begin = self.offset;
        let bytes = self.array::<FRAME_BYTES>()?;
        let head = FrameHead::parse(&bytes).map_err(|flaw| self.flaw(begin, flaw))?;
        let length = u64::from(head.payload_bytes);
        // Before anything is allocated for it.
        if length > self.bytes.saturating_sub(self.offset) {
            return Err(self.damaged(begin, "a chunk is longer than the rest of the file (cut short?)"));
        }
        payload.resize(head.payload_bytes as usize, 0);
        self.read(payload)?;
        Ok(head)
    }

    /// Goes to the trailer and returns its offset.
    fn seek_trailer(&mut self) -> Result<u64, Error> {
        let shortest = (HEADER_BYTES + FOOTER_BYTES) as u64;
        if self.bytes < shortest {
            return Err(self.damaged(self.bytes, "it is cut short"));
        }
        let footer = self.bytes - FOOTER_BYTES as u64;
        self.seek(footer)?;
        let bytes = self.array::<FOOTER_BYTES>()?;
        let length = format::decode_footer(&bytes).map_err(|flaw| self.flaw(footer, flaw))?;
        let begin = footer
            .checked_sub(length as u64)
            .filter(|begin| *begin >= HEADER_BYTES as u64)
            .ok_or_else(|| self.damaged(footer, "the trailer is longer than the file"))?;
        self.seek(begin)?;
        Ok(begin)
    }

    /// Behind a trailer that began at `begin`: only the footer follows.
    fn end(&mut self, begin: u64) -> Result<(), Error> {
        let footer = self.offset;
        let bytes = self.array::<FOOTER_BYTES>()?;
        let length = format::decode_footer(&bytes).map_err(|flaw| self.flaw(footer, flaw))?;
        if length as u64 != footer - begin {
            return Err(self.damaged(footer, "the end of the file names another trailer"));
        }
        if self.offset != self.bytes {
            return Err(self.damaged(self.offset, "something follows the end"));
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        match self.file.read_exact(bytes) {
            Ok(()) => {
                self.offset += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damaged(self.bytes, "it is cut short"))
            }
            Err(source) => Err(Error::Io { action: "read", path: self.path.clone(), source }),
        }
    }

    fn seek(&mut self, offset: u64) -> Result<(), Error> {
        let sought = self.file.seek(SeekFrom::Start(offset));
        sought.map_err(|source| Error::Io { action: "seek in", path: self.path.clone(), source })?;
        self.offset = offset;
        Ok(())
    }

    fn damaged(&self, offset: u64, what: &'static str) -> Error {
        self.flaw(offset, what.into())
    }

    fn flaw(&self, offset: u64, flaw: Flaw) -> Error {
        let path = self.path.clone();
        match flaw {
            Flaw::Damage(what) => Error::Damaged { path, offset, what },
            Flaw::Version(found) => Error::Version { path, found, known: format::VERSION },
        }
    }
}
