//! A JSON answer, looked at exactly: numbers keep the text they were written with.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

/// One JSON object and the bytes it came from.
#[derive(Debug, Clone)]
pub struct Document {
    text: String,
    value: Value,
}

impl Document {
    /// Panics, showing the bytes, if they are not one JSON object.
    pub fn parse(bytes: &[u8]) -> Document {
        let text = String::from_utf8(bytes.to_vec()).expect("answers are UTF-8");
        let value: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"));
        assert!(value.is_object(), "not a JSON object: {text}");
        Document { text, value }
    }

    /// A value by JSON pointer (`/error/code`); null if there is none.
    pub fn at(&self, pointer: &str) -> &Value {
        self.value.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// Text by JSON pointer; panics, showing the answer, if there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.at(pointer).as_str().unwrap_or_else(|| panic!("no text at {pointer} in {}", self.text))
    }

    /// The bytes of a value as they were sent: `0.02`, not 2e-2. `path` names members from the outside in.
    pub fn raw(&self, path: &[&str]) -> String {
        let mut text = self.text.clone();
        for name in path {
            let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("no object at {path:?} ({error}): {text}"));
            let member = members.get(*name).unwrap_or_else(|| panic!("no {path:?} in {}", self.text));
            text = member.get().to_owned();
        }
        text
    }

    /// Names of the members at a pointer, sorted.
    pub fn names(&self, pointer: &str) -> Vec<&str> {
        let value = if pointer.is_empty() { &self.value } else { self.at(pointer) };
        let members =
            value.as_object().unwrap_or_else(|| panic!("no object at {pointer:?} in {}", self.text));
        let mut names: Vec<&str> = members.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// An amount at a member path as a count of 10^-9, read from its exact text.
    pub fn nanos(&self, path: &[&str]) -> i128 {
        let raw = self.raw(path);
        nanos(&raw).unwrap_or_else(|| panic!("{path:?} is not a plain decimal: {raw}"))
    }
}

/// A plain decimal number as a count of 10^-9. Written for the tests, independent of the node's own reading.
pub fn nanos(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || fraction.len() > 9 {
        return None;
    }
    let count: i128 = format!("{whole}{fraction:0<9}").parse().ok()?;
    Some(if negative { -count } else { count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_text() {
        let document = Document::parse(br#"{"fee":0.020,"balance_after":{"available":94.98},"list":[1]}"#);
        assert_eq!(document.raw(&["fee"]), "0.020");
        assert_eq!(document.raw(&["balance_after", "available"]), "94.98");
        assert_eq!(document.nanos(&["balance_after", "available"]), 94_980_000_000);
        assert_eq!(document.names(""), ["balance_after", "fee", "list"]);
        assert!(document.at("/nothing").is_null());
    }

    #[test]
    fn only_plain_decimals_are_amounts() {
        let table = [
            ("5", Some(5_000_000_000)),
            ("0.02", Some(20_000_000)),
            ("-1.5", Some(-1_500_000_000)),
            ("0.000000001", Some(1)),
            ("5e0", None),
            ("0.0000000001", None),
            (".5", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(nanos(text), expected, "{text:?}");
        }
    }
}
