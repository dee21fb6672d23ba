//! Numbers in as few bytes as they need: seven bits a byte, least significant first, the top bit says that more follow.
//! Signed ones are folded first (0, -1, 1, -2, …), so that small ones stay short whatever their sign.

/// Writes into a slice that is known to have the room: a vector would be asked for it before every byte.
pub(crate) struct Output<'a> {
    bytes: &'a mut [u8],
    length: usize,
}

impl<'a> Output<'a> {
    pub(crate) fn new(bytes: &'a mut [u8]) -> Output<'a> {
        Output { bytes, length: 0 }
    }

    /// Bytes written.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn put(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    pub(crate) fn put_all(&mut self, bytes: &[u8]) {
        self.bytes[self.length..][..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    pub(crate) fn put_unsigned(&mut self, mut number: u128) {
        // Nearly every number fits into one register, where a step is cheaper.
        let mut low = loop {
            match u64::try_from(number) {
                Ok(low) => break low,
                Err(_) => self.put(number.to_le_bytes()[0] | 0x80),
            }
            number >>= 7;
        };
        while low > 0x7f {
            self.put(low.to_le_bytes()[0] | 0x80);
            low >>= 7;
        }
        self.put(low.to_le_bytes()[0]);
    }

    pub(crate) fn put_signed(&mut self, number: i128) {
        self.put_unsigned(((number << 1) ^ (number >> 127)).cast_unsigned());
    }
}

/// Cursor over bytes that may be damaged: every access is checked.
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that are left.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*taken)
    }

    pub(crate) fn unsigned(&mut self) -> Option<u128> {
        let mut number = 0_u128;
        for shift in (0..128).step_by(7) {
            let [byte] = self.array()?;
            let bits = u128::from(byte & 0x7f);
            // The nineteenth byte holds the last two bits.
            if bits.leading_zeros() < shift {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn signed(&mut self) -> Option<i128> {
        let folded = self.unsigned()?;
        Some((folded >> 1).cast_signed() ^ -((folded & 1).cast_signed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_small_ones_are_short() {
        for (number, bytes) in [
            (0, 1),
            (-1, 1),
            (63, 1),
            (-64, 1),
            (64, 2),
            (5_020_000_000, 5),
            (i128::from(i64::MIN), 10),
            (i128::MAX, 19),
            (i128::MIN, 19),
        ] {
            let mut out = [0; 19];
            let mut output = Output::new(&mut out);
            output.put_signed(number);
            let length = output.len();
            assert_eq!(length, bytes, "{number}");
            let mut input = Input::new(&out[..length]);
            assert_eq!(input.signed(), Some(number));
            assert!(input.is_empty());
        }
    }

    #[test]
    fn endless_oversized_and_cut_numbers_are_refused() {
        assert_eq!(Input::new(&[0x80; 30]).unsigned(), None);
        assert_eq!(Input::new(&[0x80]).unsigned(), None);
        assert_eq!(Input::new(&[]).unsigned(), None);
        let mut beyond = [0xff; 19];
        beyond[18] = 0x04;
        assert_eq!(Input::new(&beyond).unsigned(), None);
        beyond[18] = 0x03;
        assert_eq!(Input::new(&beyond).unsigned(), Some(u128::MAX));
    }
}
