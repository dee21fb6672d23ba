//! Pull reader over the text of one request.
//!
//! Invariants: `at` is always on a character boundary of `text`; nothing is allocated for well-formed input except
//! strings with escapes; every error carries the JSON path of the value it is about. Depth is bounded by
//! [`DEPTH_MAX`], so recursion is too.
//!
//! Non-goals: it does not build values for fields nobody asked for, and it never parses a number into a float.

use std::borrow::Cow;

use ledger::{Amount, AmountError};

use super::DEPTH_MAX;

/// Why a document was refused: where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    /// JSON path, e.g. `$.payments[17].amount`.
    pub(crate) path: String,
    /// Sentence for people and models.
    pub(crate) message: String,
}

pub(crate) type Result<T> = std::result::Result<T, Box<Invalid>>;

/// Position of the value being read, below the document's root.
#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    /// A field whose name was written with escapes or is not worth keeping.
    EscapedField,
    Index(usize),
}

/// The reader. Methods consume exactly one value each, with the white space before it.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    path: [Step<'a>; DEPTH_MAX],
    depth: usize,
}

impl<'a> Reader<'a> {
    /// A reader over a request body.
    ///
    /// # Errors
    /// The body is not UTF-8.
    pub(crate) fn new(body: &'a [u8]) -> Result<Self> {
        let text = std::str::from_utf8(body).map_err(|error| {
            Box::new(Invalid {
                path: "$".into(),
                message: format!(
                    "The body is not UTF-8: byte {} is not part of a character.",
                    error.valid_up_to()
                ),
            })
        })?;
        Ok(Self { text, at: 0, path: [Step::EscapedField; DEPTH_MAX], depth: 0 })
    }

    /// Reads a whole document with `read` and refuses anything behind it.
    pub(crate) fn document<T>(body: &'a [u8], read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let mut reader = Self::new(body)?;
        let value = read(&mut reader)?;
        assert_eq!(reader.depth, 0, "every opened array and object was closed");
        match reader.peek() {
            None => Ok(value),
            Some(_) => {
                Err(reader
                    .invalid("There is text behind the end of the JSON document. Send one document only."))
            }
        }
    }

    /// Reads an object; `field` is called with each name and must consume the value.
    pub(crate) fn object(&mut self, mut field: impl FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        if self.peek() != Some(b'{') {
            return Err(self.wrong_type("an object"));
        }
        self.at += 1;
        self.enter()?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return self.leave();
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.syntax("a field name in double quotes"));
            }
            let name = self.string_here()?;
            if self.peek() != Some(b':') {
                return Err(self.syntax("a colon behind the field name"));
            }
            self.at += 1;
            self.path[self.depth - 1] = match &name {
                Cow::Borrowed(name) => Step::Field(name),
                Cow::Owned(_) => Step::EscapedField,
            };
            field(self, &name)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return self.leave();
                }
                _ => return Err(self.syntax("a comma or a closing brace")),
            }
        }
    }

    /// Reads an array; `item` is called with each index and must consume the value.
    pub(crate) fn array(&mut self, mut item: impl FnMut(&mut Self, usize) -> Result<()>) -> Result<()> {
        if self.peek() != Some(b'[') {
            return Err(self.wrong_type("an array"));
        }
        self.at += 1;
        self.enter()?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return self.leave();
        }
        for index in 0.. {
            self.path[self.depth - 1] = Step::Index(index);
            item(self, index)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return self.leave();
                }
                _ => return Err(self.syntax("a comma or a closing bracket")),
            }
        }
        unreachable!("an array has fewer items than usize has values")
    }

    /// Reads a string; borrowed from the body unless it contains escapes.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>> {
        if self.peek() != Some(b'"') {
            return Err(self.wrong_type("a string"));
        }
        self.string_here()
    }

    /// Reads an amount from a number or a string, exactly.
    pub(crate) fn amount(&mut self) -> Result<Amount> {
        let text = match self.peek() {
            Some(b'"') => self.string_here()?,
            Some(b'-' | b'0'..=b'9') => Cow::Borrowed(self.number_here()?),
            _ => {
                return Err(
                    self.wrong_type("an amount, as a number such as 12.50 or a string such as \"12.50\"")
                );
            }
        };
        Amount::parse(&text).map_err(|error| self.invalid(amount_message(error)))
    }

    /// Reads `true` or `false`.
    pub(crate) fn boolean(&mut self) -> Result<bool> {
        self.peek();
        for (word, value) in [("true", true), ("false", false)] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.wrong_type("true or false"))
    }

    /// Reads a whole number without sign, fraction or exponent.
    pub(crate) fn whole_number(&mut self) -> Result<u64> {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return Err(self.wrong_type("a whole number"));
        }
        let text = self.number_here()?;
        text.parse()
            .map_err(|_| self.invalid("Must be a whole number that is not negative, written in digits only."))
    }

    /// Consumes `null` if that is the next value.
    pub(crate) fn null(&mut self) -> bool {
        self.peek();
        let found = self.text[self.at..].starts_with("null");
        if found {
            self.at += "null".len();
        }
        found
    }

    /// The next significant byte, after skipping white space.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Reads the number that begins here by JSON's grammar and returns its raw text.
    pub(super) fn number_here(&mut self) -> Result<&'a str> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut at = start;
        let digits = |at: &mut usize| {
            let first = *at;
            while matches!(bytes.get(*at), Some(b'0'..=b'9')) {
                *at += 1;
            }
            *at - first
        };
        if bytes.get(at) == Some(&b'-') {
            at += 1;
        }
        let leading_zero = bytes.get(at) == Some(&b'0');
        let whole = digits(&mut at);
        let mut valid = whole == 1 || (whole > 1 && !leading_zero);
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            valid &= digits(&mut at) > 0;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            at += 1;
            if matches!(bytes.get(at), Some(b'+' | b'-')) {
                at += 1;
            }
            valid &= digits(&mut at) > 0;
        }
        // `1_000`, `5.5.5` and the like would otherwise be reported as a missing comma.
        valid &= !matches!(
            bytes.get(at),
            Some(b'_' | b'.' | b'+' | b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
        );
        if !valid {
            return Err(
                self.invalid("Not a JSON number. Write plain digits such as 5 or 0.02, or send a string.")
            );
        }
        self.at = at;
        Ok(&self.text[start..at])
    }

    /// Reads the string that begins here.
    pub(super) fn string_here(&mut self) -> Result<Cow<'a, str>> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let at = start + usual_bytes(&bytes[start..]);
        match bytes.get(at) {
            Some(b'"') => {
                self.at = at + 1;
                Ok(Cow::Borrowed(&self.text[start..at]))
            }
            Some(b'\\') => self.string_with_escapes(start, at),
            Some(_) => Err(self.control_in_string()),
            None => Err(self.syntax("a closing double quote")),
        }
    }

    /// Continues [`Self::string_here`] from the first backslash on, copying.
    fn string_with_escapes(&mut self, start: usize, first_escape: usize) -> Result<Cow<'a, str>> {
        let bytes = self.text.as_bytes();
        let mut out = String::with_capacity(first_escape - start + 32);
        let (mut copied, mut at) = (start, first_escape);
        loop {
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    out.push_str(&self.text[copied..at]);
                    let (character, length) = self.escape(at)?;
                    out.push(character);
                    at += length;
                    copied = at;
                }
                Some(0x00..=0x1f) => return Err(self.control_in_string()),
                Some(_) => at += 1,
                None => return Err(self.syntax("a closing double quote")),
            }
        }
        out.push_str(&self.text[copied..at]);
        self.at = at + 1;
        Ok(Cow::Owned(out))
    }

    /// Decodes the escape at `at`; returns the character and how many bytes it took.
    fn escape(&self, at: usize) -> Result<(char, usize)> {
        let bytes = self.text.as_bytes();
        let simple = match bytes.get(at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(at),
            _ => return Err(self.invalid("The string contains an escape that JSON does not know.")),
        };
        Ok((simple, 2))
    }

    fn unicode_escape(&self, at: usize) -> Result<(char, usize)> {
        let unit = |at: usize| -> Option<u32> {
            let hex = self.text.as_bytes().get(at..at + 6)?;
            let digits = hex.strip_prefix(b"\\u")?;
            digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
        };
        let lone = || {
            self.invalid(
                "The string contains a \\u escape that is not a character (lone surrogate or bad digits).",
            )
        };
        let first = unit(at).ok_or_else(lone)?;
        if let Some(character) = char::from_u32(first) {
            return Ok((character, 6));
        }
        let second = unit(at + 6).filter(|second| (0xdc00..0xe000).contains(second)).ok_or_else(lone)?;
        if first >= 0xdc00 {
            return Err(lone());
        }
        let character =
            char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or_else(lone)?;
        Ok((character, 12))
    }

    fn enter(&mut self) -> Result<()> {
        if self.depth == DEPTH_MAX {
            return Err(self.invalid(format!(
                "The document is nested deeper than {DEPTH_MAX} levels. Send a flatter one."
            )));
        }
        self.path[self.depth] = Step::EscapedField;
        self.depth += 1;
        Ok(())
    }

    // Returns a result only so that the callers above end in one expression.
    #[allow(clippy::unnecessary_wraps)]
    fn leave(&mut self) -> Result<()> {
        assert!(self.depth > 0, "left more levels than were entered");
        self.depth -= 1;
        Ok(())
    }

    /// An error about the value being read.
    #[cold]
    pub(crate) fn invalid(&self, message: impl Into<String>) -> Box<Invalid> {
        Box::new(Invalid { path: self.path_text(), message: message.into() })
    }

    /// An error that names the field after which `known` were the possible ones.
    #[cold]
    pub(crate) fn unknown_field(&self, name: &str, known: &[&str]) -> Box<Invalid> {
        let mut path = String::from("$");
        for step in &self.path[..self.depth.saturating_sub(1)] {
            push_step(&mut path, step);
        }
        push_field(&mut path, name);
        let hint = match nearest(name, known) {
            Some(candidate) => format!("Did you mean \"{candidate}\"? "),
            None => String::new(),
        };
        Box::new(Invalid {
            path,
            message: format!("Unknown field. {hint}Known fields: {}.", known.join(", ")),
        })
    }

    #[cold]
    fn wrong_type(&mut self, wanted: &str) -> Box<Invalid> {
        let found = match self.peek() {
            None => "the end of the text",
            Some(b'"') => "a string",
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b't' | b'f') => "a boolean",
            Some(b'n') => "null",
            Some(b'-' | b'0'..=b'9') => "a number",
            Some(_) => "something that is not JSON",
        };
        self.invalid(format!("Must be {wanted}, but {found} was sent."))
    }

    #[cold]
    pub(super) fn syntax(&self, wanted: &str) -> Box<Invalid> {
        self.invalid(format!("Not valid JSON: {wanted} was expected at byte {} of the body.", self.at))
    }

    #[cold]
    fn control_in_string(&self) -> Box<Invalid> {
        self.invalid(
            "The string contains a raw control character. Escape it, for example a line break as \\n.",
        )
    }

    fn path_text(&self) -> String {
        let mut path = String::from("$");
        for step in &self.path[..self.depth] {
            push_step(&mut path, step);
        }
        path
    }
}

/// A field of a request: at most once, maybe null.
#[derive(Debug)]
pub(crate) enum Slot<T> {
    Missing,
    Null,
    Value(T),
}

impl<T> Slot<T> {
    /// Reads the field's value.
    ///
    /// # Errors
    /// The field was there before, or `read` failed.
    pub(crate) fn set<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T>,
    ) -> Result<()> {
        if !matches!(self, Self::Missing) {
            return Err(reader.invalid("The field is there twice. Send it once."));
        }
        *self = if reader.null() { Self::Null } else { Self::Value(read(reader)?) };
        Ok(())
    }

    /// The value of a field that may be left out or null.
    pub(crate) fn optional(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Missing | Self::Null => None,
        }
    }

    /// The value of a field that must be there. Call it right after the object was read.
    pub(crate) fn required(self, reader: &Reader<'_>, name: &'static str) -> Result<T> {
        self.optional()
            .ok_or_else(|| wrong_member(reader, name, format!("The field \"{name}\" is required.")))
    }

    /// The value of a field that may be left out but not be null. Call it right after the object was read.
    pub(crate) fn never_null(self, reader: &Reader<'_>, name: &'static str) -> Result<Option<T>> {
        match self {
            Self::Missing => Ok(None),
            Self::Null => {
                let advice = "Cannot be null. Leave the field out to keep what is there.";
                Err(wrong_member(reader, name, advice.into()))
            }
            Self::Value(value) => Ok(Some(value)),
        }
    }
}

#[cold]
fn wrong_member(reader: &Reader<'_>, name: &str, message: String) -> Box<Invalid> {
    let mut path = reader.path_text();
    push_field(&mut path, name);
    Box::new(Invalid { path, message })
}

fn push_step(path: &mut String, step: &Step<'_>) {
    match step {
        Step::Field(name) => push_field(path, name),
        Step::EscapedField => path.push_str("[?]"),
        Step::Index(index) => {
            path.push('[');
            path.push_str(&index.to_string());
            path.push(']');
        }
    }
}

/// Appends a member name: plain names with a dot, everything else quoted, cut to a sane length.
fn push_field(path: &mut String, name: &str) {
    const SHOWN_MAX: usize = 64;
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let shown: String = name.chars().take(SHOWN_MAX).collect();
    if plain {
        path.push('.');
        path.push_str(&shown);
    } else {
        path.push_str("[\"");
        path.extend(shown.chars().flat_map(char::escape_default));
        path.push_str("\"]");
    }
}

/// What is wrong with an amount, as advice.
fn amount_message(error: AmountError) -> String {
    format!(
        "Not an amount: {error}. Send a positive decimal with at most 18 digits before and 9 behind the point, \
         without sign, exponent or separators, such as 12.5 or \"12.50\"."
    )
}

/// The known word that `name` was probably meant to be: at most two edits away.
pub(crate) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    if name.len() > 64 {
        return None;
    }
    let best = known.iter().map(|candidate| (edit_distance(name, candidate), *candidate)).min()?;
    (best.0 <= 2).then_some(best.1)
}

fn edit_distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(!l.eq_ignore_ascii_case(&r));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[right.len()]
}

/// How many bytes come before the first that means something in a string: a quote, a backslash, a control character.
/// Eight at a time. A byte's top bit marks it; what is subtracted from a byte that is marked may borrow from the next ones
/// and mark them too, so only the lowest mark counts.
fn usual_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const TOPS: u64 = u64::from_le_bytes([0x80; 8]);
    let below = |word: u64, least: u8| word.wrapping_sub(ONES * u64::from(least)) & !word & TOPS;
    let equal = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let marks = below(word, 0x20) | equal(word, b'"') | equal(word, b'\\');
        if marks != 0 {
            return index * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let is_usual = |byte: &&u8| !matches!(**byte, b'"' | b'\\' | 0x00..=0x1f);
    words.len() * 8 + rest.iter().take_while(is_usual).count()
}

#[cfg(test)]
mod tests;
