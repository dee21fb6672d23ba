//! Positions in the log.

use std::fmt;

/// Byte position in the log of one partition. The position of a record is the position of the first byte of
/// its frame; positions only grow and are never used again, also not across a restart.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(u64);

impl Lsn {
    /// Before every record: no record has this position, because the head of the first segment covers it.
    pub const ZERO: Lsn = Lsn(0);

    /// The position with this byte number.
    pub const fn new(position: u64) -> Lsn {
        Lsn(position)
    }

    /// The byte number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position `bytes` further on. 2^64 bytes are never written, so running over is a bug.
    pub(crate) fn plus(self, bytes: u64) -> Lsn {
        Lsn(self.0.checked_add(bytes).expect("a log never holds 2^64 bytes"))
    }

    /// Bytes from `earlier` to here.
    pub(crate) fn since(self, earlier: Lsn) -> u64 {
        self.0.checked_sub(earlier.0).expect("distances are measured forwards")
    }

    /// Upper and lower half, as the frame header and its checksum use them.
    pub(crate) const fn halves(self) -> ([u8; 4], [u8; 4]) {
        let [a, b, c, d, e, f, g, h] = self.0.to_be_bytes();
        // Stored little-endian like everything else in the log.
        ([d, c, b, a], [h, g, f, e])
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
