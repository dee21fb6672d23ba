//! A caller's own JSON object (metadata): checked, kept in compact form, and reduced to what it means.
//!
//! The compact text is what later answers show, so it is written here once and never again interpreted. Its meaning is
//! a 64-bit hash that ignores member order, white space, escapes and the spelling of numbers (`5`, `5.0`, `50e-1`).

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64;

use super::{
    read::{Reader, Result},
    write,
};

/// A checked object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawObject {
    /// Compact JSON text, valid by construction.
    pub(crate) text: Box<str>,
    /// Equal for equal documents, however they are spelled.
    pub(crate) meaning: u64,
}

impl RawObject {
    /// Reads one object of at most `bytes_max` bytes in compact form.
    ///
    /// # Errors
    /// Not an object, too large, too deep, or a member name appears twice.
    pub(crate) fn read(reader: &mut Reader<'_>, bytes_max: usize) -> Result<Self> {
        let mut compact = Compact { out: Vec::new(), bytes_max };
        let meaning = compact.object(reader)?;
        let text = String::from_utf8(compact.out).expect("compact JSON is assembled from valid strings");
        Ok(Self { text: text.into_boxed_str(), meaning })
    }
}

/// What kind of value a hash belongs to, so that `"5"` and `5` differ.
#[derive(Clone, Copy)]
enum Tag {
    Null = 1,
    False = 2,
    True = 3,
    Number = 4,
    String = 5,
    Array = 6,
    Object = 7,
    Member = 8,
}

struct Compact {
    out: Vec<u8>,
    bytes_max: usize,
}

impl Compact {
    /// Copies the next value and returns its meaning. Recursion is bounded by the reader's depth.
    fn value(&mut self, reader: &mut Reader<'_>) -> Result<u64> {
        let meaning = match reader.peek() {
            Some(b'{') => self.object(reader)?,
            Some(b'[') => self.array(reader)?,
            Some(b'"') => {
                let text = reader.string_here()?;
                write::string(&mut self.out, &text);
                combine(Tag::String, xxh3_64(text.as_bytes()), 0)
            }
            Some(b'-' | b'0'..=b'9') => {
                let text = reader.number_here()?;
                self.out.extend_from_slice(text.as_bytes());
                number_meaning(text)
            }
            Some(b'n') if reader.null() => self.word("null", Tag::Null),
            Some(b't' | b'f') => match reader.boolean()? {
                true => self.word("true", Tag::True),
                false => self.word("false", Tag::False),
            },
            _ => return Err(reader.syntax("a value")),
        };
        if self.out.len() > self.bytes_max {
            return Err(reader.invalid(format!("Larger than {} bytes. Send less.", self.bytes_max)));
        }
        Ok(meaning)
    }

    fn object(&mut self, reader: &mut Reader<'_>) -> Result<u64> {
        let mut names = BTreeSet::new();
        let mut sum = 0_u64;
        self.out.push(b'{');
        reader.object(|reader, name| {
            let name_hash = xxh3_64(name.as_bytes());
            if !names.insert(name_hash) {
                return Err(reader.invalid("The member is there twice. Send it once."));
            }
            if names.len() > 1 {
                self.out.push(b',');
            }
            write::string(&mut self.out, name);
            self.out.push(b':');
            let value = self.value(reader)?;
            // A sum, because the order of members means nothing.
            sum = sum.wrapping_add(combine(Tag::Member, name_hash, value));
            Ok(())
        })?;
        self.out.push(b'}');
        Ok(combine(Tag::Object, sum, names.len() as u64))
    }

    fn array(&mut self, reader: &mut Reader<'_>) -> Result<u64> {
        let mut meaning = 0_u64;
        self.out.push(b'[');
        reader.array(|reader, index| {
            if index > 0 {
                self.out.push(b',');
            }
            let value = self.value(reader)?;
            meaning = combine(Tag::Array, meaning, value);
            Ok(())
        })?;
        self.out.push(b']');
        Ok(combine(Tag::Array, meaning, 0))
    }

    fn word(&mut self, text: &'static str, tag: Tag) -> u64 {
        self.out.extend_from_slice(text.as_bytes());
        combine(tag, 0, 0)
    }
}

fn combine(tag: Tag, left: u64, right: u64) -> u64 {
    let mut bytes = [0_u8; 17];
    bytes[0] = tag as u8;
    bytes[1..9].copy_from_slice(&left.to_le_bytes());
    bytes[9..].copy_from_slice(&right.to_le_bytes());
    xxh3_64(&bytes)
}

/// Hash of a number's value: sign, significant digits, and the power of ten of the last one.
fn number_meaning(text: &str) -> u64 {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return combine(Tag::Number, 0, 0);
    }
    let trailing_zeros = digits.len() - digits.trim_end_matches('0').len();
    let power = exponent.parse::<i64>().ok().and_then(|exponent| {
        exponent
            .checked_sub(i64::try_from(fraction.len()).ok()?)?
            .checked_add(i64::try_from(trailing_zeros).ok()?)
    });
    match power {
        Some(power) => {
            let scale = xxh3_64(&[&power.to_le_bytes()[..], &[u8::from(negative)]].concat());
            combine(Tag::Number, xxh3_64(significant.as_bytes()), scale)
        }
        // An exponent beyond 64 bits has only its spelling.
        None => combine(Tag::Number, xxh3_64(text.as_bytes()), u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RawObject> {
        Reader::document(text.as_bytes(), |reader| RawObject::read(reader, 16 * 1024))
    }

    #[test]
    fn compact_text_keeps_the_document() {
        for (sent, kept) in [
            ("{}", "{}"),
            (r#" { "a" : [ 1 , 2.50 , -3e4 ] } "#, r#"{"a":[1,2.50,-3e4]}"#),
            (r#"{"a\u0041":"\u00e9\n\"\\"}"#, "{\"aA\":\"é\\n\\\"\\\\\"}"),
            (r#"{"x":{"y":{"z":[null,true,false,[]]}}}"#, r#"{"x":{"y":{"z":[null,true,false,[]]}}}"#),
            (r#"{"😀":"\ud83d\ude00"}"#, r#"{"😀":"😀"}"#),
        ] {
            let object = read(sent).expect(sent);
            assert_eq!(&*object.text, kept);
            let tree: serde_json::Value = serde_json::from_str(&object.text).expect("compact text is JSON");
            assert_eq!(tree, serde_json::from_str::<serde_json::Value>(sent).expect("so was the original"));
            assert_eq!(read(kept).expect("compact text reads back").meaning, object.meaning);
        }
    }

    #[test]
    fn meaning_ignores_spelling_and_order_only() {
        let same = [
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#),
            (r#"{"a":5}"#, r#"{"a":5.0}"#),
            (r#"{"a":500}"#, r#"{"a":5e2}"#),
            (r#"{"a":0.05}"#, r#"{"a":5.0E-2}"#),
            (r#"{"a":-0}"#, r#"{"a":0.00}"#),
            (r#"{"a":"A"}"#, r#"{"a":"\u0041"}"#),
            (r#"{"a":[ {"x":1,"y":2} ]}"#, r#"{"a":[{"y":2,"x":1}]}"#),
        ];
        for (left, right) in same {
            assert_eq!(read(left).expect(left).meaning, read(right).expect(right).meaning, "{left} {right}");
        }
        let different = [
            r#"{}"#,
            r#"{"a":1}"#,
            r#"{"a":-1}"#,
            r#"{"a":10}"#,
            r#"{"a":"1"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":[[1]]}"#,
            r#"{"a":[]}"#,
            r#"{"a":{}}"#,
            r#"{"a":null}"#,
            r#"{"a":false}"#,
            r#"{"a":true}"#,
            r#"{"b":1}"#,
            r#"{"a":[1,2]}"#,
            r#"{"a":[2,1]}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a":2,"b":1}"#,
            r#"{"a":1e999999999999999999999}"#,
        ];
        let meanings: BTreeSet<u64> = different.iter().map(|text| read(text).expect(text).meaning).collect();
        assert_eq!(meanings.len(), different.len(), "every pair differs");
    }

    #[test]
    fn refused_documents_name_the_place() {
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(16 * 1024));
        for (text, path, word) in [
            (r#"{"a":1,"a":2}"#, "$.a", "twice"),
            (r#"{"o":{"k":1,"\u006b":2}}"#, "$.o[?]", "twice"),
            (r#"[1]"#, "$", "object"),
            (r#"{"a":[1,,2]}"#, "$.a[1]", "value"),
            (r#"{"a":01}"#, "$.a", "number"),
            (r#"{"a":"\ud800"}"#, "$.a", "surrogate"),
            (r#"{"a":nul}"#, "$.a", "value"),
            (long.as_str(), "$.a", "16384 bytes"),
        ] {
            let invalid = read(text).expect_err(text);
            assert_eq!(invalid.path, path, "{text}");
            assert!(invalid.message.contains(word), "{text}: {}", invalid.message);
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", r#"{"a":"#.repeat(depth) + "1", "}".repeat(depth));
        assert!(read(&nested(super::super::DEPTH_MAX)).is_ok());
        let invalid = read(&nested(super::super::DEPTH_MAX + 1)).expect_err("one too deep");
        assert!(invalid.message.contains("nested deeper than 16"));
        assert!(read(&nested(100_000)).is_err(), "depth costs no stack");
    }
}
