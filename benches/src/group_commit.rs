//! The simplest durable log: one thread that writes all that waits and syncs once for all of it.
//!
//! It has no format, no checksums and no recovery. It shows what a node without rules could reach.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::fsync_floor::{FILE_BYTES, zeroed_file};

/// A handle on the thread; the thread ends with the last one.
#[derive(Clone)]
pub struct GroupCommit(mpsc::Sender<Waiting>);

struct Waiting {
    bytes: Bytes,
    done: oneshot::Sender<()>,
}

impl GroupCommit {
    /// Writes go round a temporary file in `dir`.
    pub fn start(dir: &Path) -> Result<GroupCommit> {
        let file = zeroed_file(dir)?;
        let (sender, receiver) = mpsc::channel();
        std::thread::Builder::new().name("group-commit".into()).spawn(move || run(&file, &receiver))?;
        Ok(GroupCommit(sender))
    }

    /// Returns once the bytes are on the disk.
    pub async fn keep(&self, bytes: Bytes) -> Result<()> {
        let (done, synced) = oneshot::channel();
        self.0.send(Waiting { bytes, done }).ok().context("the log thread has ended")?;
        synced.await.context("the write or its sync failed")
    }
}

/// Ends with the first error: all who wait and all who come see it.
fn run(file: &File, waiting: &mpsc::Receiver<Waiting>) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut released = Vec::new();
    let mut offset = 0;
    while let Ok(first) = waiting.recv() {
        for one in std::iter::once(first).chain(waiting.try_iter()) {
            buffer.extend_from_slice(&one.bytes);
            released.push(one.done);
        }
        if offset + buffer.len() as u64 > FILE_BYTES {
            offset = 0;
        }
        file.write_all_at(&buffer, offset)?;
        file.sync_data()?;
        offset += buffer.len() as u64;
        buffer.clear();
        for done in released.drain(..) {
            // Whoever has gone away needs no answer.
            let _ = done.send(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_kept_is_answered() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let log = GroupCommit::start(dir.path()).expect("a writable directory");
        for _ in 0..20 {
            log.keep(Bytes::from(vec![7; 1024 * 1024])).await.expect("room for each, round and round");
        }
    }
}
