//! Why a payload cannot be read.

/// Every way in which bytes fail to be a record or a row. The log's checksums hold before anything is decoded, so each
/// of these means a foreign file, a newer writer, or a defect; none is repaired.
#[derive(Copy, Clone, Eq, PartialEq, Debug, thiserror::Error)]
pub enum Error {
    #[error("payload of {length} bytes is too short for a version and a kind")]
    TooShort { length: usize },
    #[error("schema version {version} is not known to this program")]
    UnknownVersion { version: u8 },
    #[error("kind {kind} does not belong here")]
    UnknownKind { kind: u8 },
    /// Offsets, lengths, tags or texts that do not fit the payload.
    #[error("the archive of kind {kind} is malformed")]
    Malformed { kind: u8 },
    /// Well-formed, but no writer of this ledger could have meant it.
    #[error("a record of kind {kind} holds an impossible {what}")]
    Impossible { kind: u8, what: &'static str },
}
