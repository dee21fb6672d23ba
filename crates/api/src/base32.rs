//! Lower-case Crockford base32 of byte strings whose length is known to both sides (key ids, secrets, cursors).
//!
//! Invariant: one byte string has one text. Unused bits of the last digit must be zero, upper case and look-alike
//! letters are refused, so a text cannot be respelled and still mean the same.

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Digits that `bytes` bytes take.
pub(crate) const fn digits(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Appends the digits of `bytes`, most significant bits first.
pub(crate) fn encode(bytes: &[u8], out: &mut String) {
    let (mut pending, mut bits) = (0_u32, 0_u32);
    for &byte in bytes {
        pending = (pending << 8) | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(digit(pending >> bits));
        }
        pending &= (1 << bits) - 1;
    }
    if bits > 0 {
        out.push(digit(pending << (5 - bits)));
    }
}

/// Reads exactly `N` bytes from exactly as many digits as they take.
pub(crate) fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != digits(N) {
        return None;
    }
    let mut bytes = [0; N];
    let (mut pending, mut bits, mut filled) = (0_u32, 0_u32, 0);
    for &character in text {
        pending = (pending << 5) | u32::from(VALUES[usize::from(character)]?);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes[filled] = (pending >> bits).to_le_bytes()[0];
            filled += 1;
            pending &= (1 << bits) - 1;
        }
    }
    (filled == N && pending == 0).then_some(bytes)
}

fn digit(bits: u32) -> char {
    char::from(ALPHABET[(bits & 31) as usize])
}

const VALUES: [Option<u8>; 256] = {
    let mut values = [None; 256];
    let mut value = 0;
    while value < 32 {
        values[ALPHABET[value as usize] as usize] = Some(value);
        value += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(bytes: &[u8]) -> String {
        let mut text = String::new();
        encode(bytes, &mut text);
        text
    }

    #[test]
    fn bytes_come_back_from_their_one_text() {
        assert_eq!(text_of(&[]), "");
        assert_eq!(text_of(&[0]), "00");
        assert_eq!(text_of(&[255]), "zw");
        assert_eq!(text_of(b"12345"), "64s36d1n");
        for seed in 0_u8..=255 {
            let bytes: [u8; 12] =
                std::array::from_fn(|at| seed.wrapping_mul(31).wrapping_add((at * 97).to_le_bytes()[0]));
            let text = text_of(&bytes);
            assert_eq!(text.len(), digits(12));
            assert_eq!(decode::<12>(text.as_bytes()), Some(bytes));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in ["", "0", "000", "01", "0A", "0i", "0l", "0o", "0u", "0 ", "é", "zz"] {
            assert_eq!(decode::<1>(text.as_bytes()), None, "{text:?}");
        }
    }
}
