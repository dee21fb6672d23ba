//! Rows that grow side by side in one piece of memory.
//!
//! Entries of thousands of wallets arrive in turn and are written out wallet by wallet. Each row has its bytes in chunks
//! of its own, so that adding writes to one place and writing out reads whole chunks instead of looking every entry up.
//! Chunks are as long as the row before them within bounds: a row of a single entry wastes little, and a long one has few.
//!
//! Layout of a chunk: where the next one begins (u32), then bytes of the row. How many follows from the row's length.

/// Bytes of the link in front of each chunk.
const LINK_BYTES: u32 = 4;
/// Bytes of a row in its first chunk: an entry between two wallets, mostly.
const FIRST_BYTES: u32 = 60;
/// Bytes of a row in any chunk at most.
const MOST_BYTES: u32 = 508;

/// Memory of many rows. Its own memory is kept when it is cleared.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    bytes: Vec<u8>,
}

/// Where a row is in its [`Chunks`], and where it grows.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Strand {
    length: u32,
    first: u32,
    /// The chunk in which it grows.
    last: u32,
    /// Where its next byte goes.
    end: u32,
    /// Bytes left in the last chunk.
    left: u32,
}

impl Strand {
    pub(crate) fn len(&self) -> u32 {
        self.length
    }

    /// Counts bytes that were written to its room.
    pub(crate) fn advance(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).expect("less than a chunk");
        assert!(bytes <= self.left, "a row stays within its chunk");
        self.end += bytes;
        self.left -= bytes;
        self.length += bytes;
    }
}

impl Chunks {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Bytes of all chunks.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// A byte from where a row grows, whatever it is.
    pub(crate) fn look(&self, strand: Strand) -> u8 {
        self.bytes.get(strand.end as usize).copied().unwrap_or_default()
    }

    /// Where the next `bytes` bytes of a row go, when they are in one piece. What is written there is made part of the row
    /// by [`Strand::advance`].
    pub(crate) fn room(&mut self, strand: Strand, bytes: usize) -> Option<&mut [u8]> {
        let begin = strand.end as usize;
        (bytes <= strand.left as usize).then(|| &mut self.bytes[begin..begin + bytes])
    }

    pub(crate) fn append(&mut self, strand: &mut Strand, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if strand.left == 0 {
                self.lengthen(strand);
            }
            let (now, later) = bytes.split_at(bytes.len().min(strand.left as usize));
            self.bytes[strand.end as usize..][..now.len()].copy_from_slice(now);
            strand.advance(now.len());
            bytes = later;
        }
    }

    /// Appends the bytes of a row to `out`.
    pub(crate) fn copy_to(&self, strand: Strand, out: &mut Vec<u8>) {
        let (mut chunk, mut copied) = (strand.first, 0);
        while copied < strand.length {
            let here = room_behind(copied).min(strand.length - copied);
            out.extend_from_slice(&self.bytes[(chunk + LINK_BYTES) as usize..][..here as usize]);
            chunk = self.next(chunk);
            copied += here;
        }
    }

    fn lengthen(&mut self, strand: &mut Strand) {
        let chunk = u32::try_from(self.bytes.len()).expect("full long before 4 GiB");
        let room = room_behind(strand.length);
        self.bytes.resize(self.bytes.len() + (LINK_BYTES + room) as usize, 0);
        if strand.length == 0 {
            strand.first = chunk;
        } else {
            self.bytes[strand.last as usize..][..LINK_BYTES as usize].copy_from_slice(&chunk.to_le_bytes());
        }
        strand.last = chunk;
        strand.end = chunk + LINK_BYTES;
        strand.left = room;
    }

    fn next(&self, chunk: u32) -> u32 {
        u32::from_le_bytes(*self.bytes[chunk as usize..].first_chunk().expect("a chunk begins with its link"))
    }
}

/// Bytes of a row in the chunk behind its first `length` ones.
fn room_behind(length: u32) -> u32 {
    length.clamp(FIRST_BYTES, MOST_BYTES)
}

#[cfg(test)]
mod tests {
    use wal::testing::Random;

    use super::*;

    #[test]
    fn rows_that_grow_in_turn_keep_their_bytes() {
        let mut random = Random::new(5);
        let mut chunks = Chunks::default();
        for _ in 0..2 {
            let mut strands = [Strand::default(); 7];
            let mut expected = vec![Vec::new(); strands.len()];
            for _ in 0..2_000 {
                let index = usize::try_from(random.below(strands.len() as u64)).expect("it is small");
                let length = if random.below(100) == 0 { 3_000 } else { random.below(60) };
                let bytes: Vec<u8> = (0..length).map(|_| random.draw().to_le_bytes()[0]).collect();
                match chunks.room(strands[index], bytes.len()) {
                    Some(room) if random.below(2) == 0 => {
                        room.copy_from_slice(&bytes);
                        strands[index].advance(bytes.len());
                    }
                    _ => chunks.append(&mut strands[index], &bytes),
                }
                expected[index].extend_from_slice(&bytes);
            }
            for (strand, expected) in strands.into_iter().zip(expected) {
                let mut bytes = vec![1, 2];
                chunks.copy_to(strand, &mut bytes);
                assert_eq!(strand.len() as usize, expected.len());
                assert_eq!(bytes, [&[1, 2][..], &expected].concat());
            }
            chunks.clear();
        }
    }

    #[test]
    fn little_is_wasted() {
        for (length, most) in [(0, 0), (1, 64), (60, 64), (61, 128), (2_000, 2_600), (100_000, 102_000)] {
            let mut chunks = Chunks::default();
            chunks.append(&mut Strand::default(), &vec![7; length]);
            assert!(chunks.len() <= most, "{} bytes for {length}", chunks.len());
        }
    }
}
