//! A reusable buffer to encode into.

use std::fmt;

use rkyv::Serialize;
use rkyv::api::low::LowSerializer;
use rkyv::rancor::Failure;
use rkyv::ser::Serializer;
use rkyv::ser::allocator::{Arena, ArenaHandle};

use crate::kind::{HEADER_BYTES, VERSION};

/// A buffer that grew beyond this for one large batch is given back at the next use.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// Holds the payload encoded last. One per encoding thread or actor; encoding a payment into it allocates nothing.
pub struct Scratch {
    bytes: Vec<u8>,
    arena: Arena,
}

/// What a record or row must be able to do to be encoded.
pub(crate) trait Archivable:
    for<'a> Serialize<LowSerializer<Vec<u8>, ArenaHandle<'a>, Failure>>
{
}

impl<T: for<'a> Serialize<LowSerializer<Vec<u8>, ArenaHandle<'a>, Failure>>> Archivable for T {}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Scratch {
    pub fn new() -> Self {
        Self { bytes: Vec::new(), arena: Arena::new() }
    }

    /// The payload encoded last; empty before the first.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn archive(&mut self, kind: u8, record: &impl Archivable) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        if bytes.capacity() > KEPT_BYTES_MAX {
            bytes = Vec::new();
        }
        bytes.extend_from_slice(&[VERSION, kind]);
        let mut serializer = Serializer::new(bytes, self.arena.acquire(), ());
        rkyv::api::serialize_using::<_, Failure>(record, &mut serializer)
            .expect("writing to memory fails only beyond the 2 GiB that offsets reach");
        self.bytes = serializer.into_writer();
        assert!(self.bytes.len() > HEADER_BYTES, "an archive is never empty");
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}
