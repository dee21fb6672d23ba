//! What can go wrong with runs. Nothing of it loses a key: the log has them all.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is in use", path.display())]
    Locked { path: PathBuf },
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Damaged { path: PathBuf, offset: u64, what: &'static str },
    #[error("the runs cover the log up to {covers}, and {needed} is needed: they are being built again")]
    Incomplete { covers: u64, needed: u64 },
    #[error("{} has version {found}; this program knows version {known}", path.display())]
    Version { path: PathBuf, found: u32, known: u32 },
}
