//! Writing a generation file: rows are gathered into chunks, and the file gets its name only after a re-reading.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use ledger::Timestamp;
use spread::{Rate, Spread};

use crate::disk::Disk;
use crate::format::{self, Digest, FRAME_BYTES, FrameHead, FrameKind, Header, Trailer};
use crate::store::Verified;
use crate::{
    Error, Generation, ROW_BYTES_MAX, SnapshotWriter, Summary,
    reader::{self, Reading},
};

/// Payload at which a chunk is written: large enough for BLAKE3 to use its widest vectors, small enough to stay in
/// the second-level cache. The log shares processor and disk: what waits for a chunk to be made, or written, waits a
/// fraction of a millisecond.
pub(crate) const CHUNK_BYTES: usize = 128 * 1024;

/// Reading back costs the disk this much less than writing.
const READ_SHARE: usize = 4;

fn in_chunks(rate: Arc<Rate>) -> Spread {
    Spread::in_steps(CHUNK_BYTES as u64, rate)
}

/// Counts bytes for the disk, and rests when it is time to.
fn moved(spread: &mut Spread, bytes: usize) {
    if spread.wrote(bytes) {
        spread.rest();
    }
}

/// A generation under its temporary name.
pub(crate) struct FileWriter {
    disk: Disk,
    verified: Verified,
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    header: Header,
    /// Digest of everything written so far.
    chain: Digest,
    /// The open chunk: room for its head, then its rows.
    chunk: Vec<u8>,
    chunk_rows: u32,
    chunks: u64,
    rows: u64,
    bytes: u64,
    /// Where the chunk before the open one begins: the kernel may not be done with writing it to disk.
    written_from: u64,
    state: State,
    spread: Spread,
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum State {
    Open,
    /// Something failed; nothing is written any more.
    GivenUp,
    /// The file has its final name, or may have it.
    Named,
}

impl FileWriter {
    pub(crate) fn begin(
        disk: Disk,
        verified: Verified,
        temporary: PathBuf,
        path: PathBuf,
        header: Header,
    ) -> Result<FileWriter, Error> {
        let mut file = disk.create(&temporary)?;
        let (bytes, chain) = header.encode();
        disk.write(&mut file, &temporary, &bytes)?;
        let mut chunk = Vec::with_capacity(FRAME_BYTES + CHUNK_BYTES + CHUNK_BYTES / 8);
        chunk.resize(FRAME_BYTES, 0);
        Ok(FileWriter {
            disk,
            verified,
            file,
            temporary,
            path,
            header,
            chain,
            chunk,
            chunk_rows: 0,
            chunks: 0,
            rows: 0,
            bytes: bytes.len() as u64,
            written_from: 0,
            state: State::Open,
            spread: in_chunks(Arc::default()),
        })
    }

    fn flush_chunk(&mut self) -> Result<(), Error> {
        if self.chunk_rows == 0 {
            return Ok(());
        }
        let payload = &self.chunk[FRAME_BYTES..];
        let head = FrameHead::seal(FrameKind::Rows, self.chunk_rows, payload, &self.chain);
        self.chunk[..FRAME_BYTES].copy_from_slice(&head.bytes());
        self.disk.write(&mut self.file, &self.temporary, &self.chunk)?;
        self.chain = head.digest();
        let before = std::mem::replace(&mut self.written_from, self.bytes);
        self.bytes += self.chunk.len() as u64;
        self.chunks += 1;
        self.rows += u64::from(self.chunk_rows);
        let written = self.chunk.len();
        self.chunk.truncate(FRAME_BYTES);
        self.chunk_rows = 0;
        // No sync before the last: it would have the file system commit its own journal as well.
        self.disk.begin_writeback(&self.file, &self.temporary, before, self.bytes)?;
        moved(&mut self.spread, written);
        Ok(())
    }

    fn write_trailer(&mut self, summary: Summary, created_at: Timestamp) -> Result<Generation, Error> {
        let trailer =
            Trailer { previous: self.chain, chunks: self.chunks, rows: self.rows, summary, created_at };
        let payload = trailer.encode();
        let head = FrameHead::seal(FrameKind::Trailer, 0, &payload, &self.chain);
        let mut tail = Vec::with_capacity(FRAME_BYTES + payload.len() + format::FOOTER_BYTES);
        tail.extend_from_slice(&head.bytes());
        tail.extend_from_slice(&payload);
        tail.extend_from_slice(&format::encode_footer(FRAME_BYTES + payload.len()));
        self.disk.write(&mut self.file, &self.temporary, &tail)?;
        Ok(Generation {
            id: self.header.id,
            partition: self.header.partition,
            summary: trailer.summary,
            digest: head.digest(),
            bytes: self.bytes + tail.len() as u64,
            created_at,
        })
    }

    /// Everything up to the name.
    fn complete(&mut self, summary: Summary, created_at: Timestamp) -> Result<Generation, Error> {
        self.flush_chunk()?;
        let written = self.write_trailer(summary, created_at)?;
        self.disk.sync(&self.file, &self.temporary)?;
        // Before the rename, so that a file under its final name was read back, whenever the process ends.
        let mut read_bytes = 0;
        let read = reader::scan(&self.temporary, self.header.id, Reading::BesideTheLog, |_, row| {
            read_bytes += row.len();
            if read_bytes >= CHUNK_BYTES {
                moved(&mut self.spread, std::mem::take(&mut read_bytes) / READ_SHARE);
            }
            Ok(())
        })?;
        if read != written {
            let what = "reading it back gives another generation than was written".into();
            return Err(Error::Damaged { path: self.temporary.clone(), offset: 0, what });
        }
        self.state = State::Named;
        self.disk.rename(&self.temporary, &self.path)?;
        self.disk.sync_directory(self.path.parent().expect("a generation lies in the store's directory"))?;
        Ok(written)
    }
}

impl SnapshotWriter for FileWriter {
    fn set_rate(&mut self, rate: Arc<Rate>) {
        self.spread = in_chunks(rate);
    }

    fn put(&mut self, row_bytes: &[u8]) -> Result<(), Error> {
        if self.state != State::Open {
            return Err(Error::GivenUp { id: self.header.id });
        }
        assert!(!row_bytes.is_empty(), "a row has at least its version");
        if row_bytes.len() > ROW_BYTES_MAX {
            self.state = State::GivenUp;
            return Err(Error::RowTooLarge { bytes: row_bytes.len(), limit: ROW_BYTES_MAX });
        }
        let length = u32::try_from(row_bytes.len()).expect("the row limit fits 32 bits");
        self.chunk.extend_from_slice(&length.to_le_bytes());
        self.chunk.extend_from_slice(row_bytes);
        self.chunk_rows += 1;
        if self.chunk.len() < FRAME_BYTES + CHUNK_BYTES {
            return Ok(());
        }
        self.flush_chunk().inspect_err(|_| self.state = State::GivenUp)
    }

    fn finish(mut self: Box<Self>, summary: Summary, created_at: Timestamp) -> Result<Generation, Error> {
        if self.state != State::Open {
            return Err(Error::GivenUp { id: self.header.id });
        }
        assert_eq!(summary.start, self.header.start, "a generation keeps the start it was begun with");
        assert!(summary.start <= summary.covers, "replay starts at or below what the rows contain");
        let rows = self.rows + u64::from(self.chunk_rows);
        assert!(summary.wallets + summary.agents <= rows, "the summary counts rows that were put");
        let generation = self.complete(summary, created_at)?;
        self.verified.insert(generation.id);
        Ok(generation)
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if self.state != State::Named {
            // Best effort: what stays behind is removed when the store is opened again.
            let _ = self.disk.remove(&self.temporary);
        }
    }
}
