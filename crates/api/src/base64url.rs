//! Base64url without padding (RFC 4648, section 5), as JWK and JWS have it.
//!
//! Invariant: one byte string has one text. Padding, other alphabets and unused bits that are not zero are refused, so
//! that a signed text cannot be respelled and still mean the same.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

const VALUES: [Option<u8>; 256] = {
    let mut values = [None; 256];
    let mut value = 0;
    while value < 64 {
        values[ALPHABET[value as usize] as usize] = Some(value);
        value += 1;
    }
    values
};

/// The text of `bytes`.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity((bytes.len() * 4).div_ceil(3));
    append(bytes, &mut text);
    text
}

/// Appends the text of `bytes`.
pub(crate) fn append(bytes: &[u8], text: &mut String) {
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(word >> (18 - 6 * place)) as usize & 63]));
        }
    }
}

/// The bytes of `text`, or `None` when it is not exactly what [`encode`] makes of them.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for chunk in text.chunks(4) {
        let mut word = 0_u32;
        for character in chunk {
            word = word << 6 | u32::from(VALUES[usize::from(*character)]?);
        }
        word <<= 6 * (4 - chunk.len());
        let [_, first, second, third] = word.to_be_bytes();
        match (chunk.len(), second, third) {
            (4, _, _) => bytes.extend([first, second, third]),
            (3, _, 0) => bytes.extend([first, second]),
            (2, 0, 0) => bytes.push(first),
            _ => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_texts_in_both_directions() {
        let known: [(&[u8], &str); 8] = [
            (b"", ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg"),
            (b"fooba", "Zm9vYmE"),
            (b"foobar", "Zm9vYmFy"),
            (&[0xfb, 0xff, 0xbf], "-_-_"),
        ];
        for (bytes, text) in known {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(bytes), "{text}");
        }
        assert_eq!(encode(&[7; 32]).len(), 43);
    }

    #[test]
    fn a_text_has_one_spelling() {
        for text in ["Z", "Zg=", "Zg==", "Zh", "Zm9", "Zm8=", "Zm 8", "Zm+/", "Zm9vY", "Zg\n", "Zé"] {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
    }
}
