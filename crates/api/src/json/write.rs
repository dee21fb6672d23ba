//! Appends JSON to one buffer.
//!
//! Callers open and close objects and arrays; commas come by themselves, from the last byte written. Amounts are plain
//! decimal numbers, or strings when the caller asked for that. What is written can always be parsed again: strings are
//! escaped here, raw JSON is only taken from places that checked it before.

use std::{fmt::Display, io::Write, ops::Range};

use ledger::{Amount, Timestamp};

use crate::time;

/// How amounts are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum AmountStyle {
    /// `5.02`
    #[default]
    Number,
    /// `"5.02"`, asked for by `Accept: application/json; amounts=string`.
    String,
}

/// A JSON text in the making.
pub(crate) struct Writer {
    out: Vec<u8>,
    amounts: AmountStyle,
    /// The last time written and where: the items of a batch share theirs, and copying costs less than a calendar.
    last_time: Option<(Timestamp, Range<usize>)>,
}

impl Writer {
    /// An empty text with room for `capacity` bytes.
    pub(crate) fn new(capacity: usize, amounts: AmountStyle) -> Self {
        Self { out: Vec::with_capacity(capacity), amounts, last_time: None }
    }

    /// The finished text.
    pub(crate) fn finish(self) -> Vec<u8> {
        debug_assert!(
            !matches!(self.out.last(), None | Some(b'{' | b'[' | b':' | b',')),
            "a finished document"
        );
        self.out
    }

    /// Writes an object whose members `members` writes.
    pub(crate) fn object(&mut self, members: impl FnOnce(&mut Self)) {
        self.separate();
        self.out.push(b'{');
        members(self);
        self.out.push(b'}');
    }

    /// Writes an array whose items `items` writes.
    pub(crate) fn array(&mut self, items: impl FnOnce(&mut Self)) {
        self.separate();
        self.out.push(b'[');
        items(self);
        self.out.push(b']');
    }

    /// Writes a member's name; its value must follow. Names are ours and need no escapes.
    pub(crate) fn name(&mut self, name: &'static str) -> &mut Self {
        debug_assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'));
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.separate();
        string(&mut self.out, text);
    }

    /// A string, or null.
    pub(crate) fn optional_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.null(),
        }
    }

    /// A string that is known to need no escapes and is one already: where thousands are written, formatting costs.
    pub(crate) fn word(&mut self, text: &str) {
        debug_assert!(text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\'));
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'"');
    }

    /// A string that is known to need no escapes: an id, a code, a name of ours.
    pub(crate) fn plain(&mut self, text: impl Display) {
        self.separate();
        self.out.push(b'"');
        let start = self.out.len();
        write!(self.out, "{text}").expect("writing to memory cannot fail");
        debug_assert!(self.out[start..].iter().all(|byte| *byte >= 0x20 && *byte != b'"' && *byte != b'\\'));
        self.out.push(b'"');
    }

    /// JSON that was checked when it came in, or null.
    pub(crate) fn raw(&mut self, json: Option<&str>) {
        self.separate();
        self.out.extend_from_slice(json.unwrap_or("null").as_bytes());
    }

    pub(crate) fn amount(&mut self, amount: Amount) {
        self.separate();
        match self.amounts {
            AmountStyle::Number => amount.write(&mut self.out),
            AmountStyle::String => {
                self.out.push(b'"');
                amount.write(&mut self.out);
                self.out.push(b'"');
            }
        }
    }

    pub(crate) fn integer(&mut self, value: impl itoa::Integer) {
        self.separate();
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        self.separate();
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    pub(crate) fn null(&mut self) {
        self.separate();
        self.out.extend_from_slice(b"null");
    }

    pub(crate) fn timestamp(&mut self, at: Timestamp) {
        self.separate();
        if let Some((_, place)) = self.last_time.clone().filter(|(last, _)| *last == at) {
            self.out.extend_from_within(place);
            return;
        }
        let start = self.out.len();
        self.out.push(b'"');
        time::write(&mut self.out, at);
        self.out.push(b'"');
        self.last_time = Some((at, start..self.out.len()));
    }

    /// A comma, unless something just opened or a name waits for its value.
    fn separate(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(b',');
        }
    }
}

/// Appends a JSON string with the escapes that JSON requires and no others.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x00..=0x1f => 0,
            _ => continue,
        };
        out.extend_from_slice(&bytes[copied..at]);
        copied = at + 1;
        if short == 0 {
            out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]);
        } else {
            out.extend_from_slice(&[b'\\', short]);
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_survive_a_round_trip() {
        let every_ascii: String = (0_u8..128).map(char::from).collect();
        for text in ["", "plain", "\"\\/\u{8}\u{c}\n\r\t\u{0}\u{1f}", "é😀\u{2028}", &every_ascii] {
            let mut out = Vec::new();
            string(&mut out, text);
            let back: String = serde_json::from_slice(&out).expect("a JSON string");
            assert_eq!(back, text);
        }
    }

    #[test]
    fn commas_come_by_themselves() {
        let mut writer = Writer::new(16, AmountStyle::Number);
        writer.object(|w| {
            w.name("a").integer(1);
            w.name("b").array(|w| {
                w.boolean(true);
                w.null();
                w.object(|_| {});
                w.array(|_| {});
                w.string("x,");
                w.plain("y");
            });
            w.name("c").raw(Some("{\"k\":[]}"));
            w.name("d").raw(None);
            w.name("e").optional_string(None);
            w.name("f").amount(Amount::parse("0.020").expect("an amount"));
            w.name("g").timestamp(Timestamp::from_millis(1_778_241_600_123));
        });
        let text = String::from_utf8(writer.finish()).expect("UTF-8");
        assert_eq!(
            text,
            r#"{"a":1,"b":[true,null,{},[],"x,","y"],"c":{"k":[]},"d":null,"e":null,"f":0.02,"g":"2026-05-08T12:00:00.123Z"}"#
        );
    }

    #[test]
    fn repeated_times_are_written_alike() {
        let mut writer = Writer::new(16, AmountStyle::Number);
        writer.array(|w| {
            [0, 0, 1, 0].into_iter().for_each(|millis| w.timestamp(Timestamp::from_millis(millis)))
        });
        let times: Vec<String> = serde_json::from_slice(&writer.finish()).expect("JSON");
        assert!(
            times
                .iter()
                .zip(["00.000Z", "00.000Z", "00.001Z", "00.000Z"])
                .all(|(time, end)| time.ends_with(end))
        );
    }

    #[test]
    fn amounts_are_strings_when_asked() {
        let mut writer = Writer::new(16, AmountStyle::String);
        writer.amount(Amount::parse("12.50").expect("an amount"));
        assert_eq!(writer.finish(), b"\"12.5\"");
    }
}
