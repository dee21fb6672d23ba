//! Rules for text that people will see: names, labels, descriptions.
//!
//! A name that looks like another one, or that rearranges the line it is printed in, is a tool for fraud. So names are
//! kept in NFC (what looks the same compares the same), and characters that are invisible or change the direction of
//! what follows are refused, with the advice to leave them out. Pure ASCII takes a short path without tables.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Characters a name, label or counterparty may have.
pub(crate) const NAME_CHARS_MAX: usize = 255;
/// Characters a description may have.
pub(crate) const DESCRIPTION_CHARS_MAX: usize = 1_000;

/// One line: 1 to `chars_max` characters, no controls.
///
/// # Errors
/// What to change, as a sentence.
pub(crate) fn line(text: Cow<'_, str>, chars_max: usize) -> Result<Box<str>, String> {
    let text = checked(text, chars_max, |character| character.is_control())?;
    if text.trim().is_empty() {
        return Err("Must not be empty or blank.".into());
    }
    Ok(text)
}

/// Running text: up to `chars_max` characters, line breaks and tabs allowed.
///
/// # Errors
/// What to change, as a sentence.
pub(crate) fn prose(text: Cow<'_, str>, chars_max: usize) -> Result<Box<str>, String> {
    checked(text, chars_max, |character| character.is_control() && !matches!(character, '\n' | '\t' | '\r'))
}

fn checked(
    text: Cow<'_, str>,
    chars_max: usize,
    refused_control: impl Fn(char) -> bool,
) -> Result<Box<str>, String> {
    let normal = text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes;
    let text = if normal { text } else { text.nfc().collect::<String>().into() };
    let mut length = 0;
    for character in text.chars() {
        length += 1;
        if refused_control(character) {
            return Err(format!(
                "Contains the control character U+{:04X}. Leave it out.",
                u32::from(character)
            ));
        }
        if is_deceptive(character) {
            return Err(format!(
                "Contains U+{:04X}, which is invisible or changes the reading direction. Leave it out.",
                u32::from(character)
            ));
        }
    }
    if length > chars_max {
        return Err(format!("Has {length} characters; at most {chars_max} are allowed."));
    }
    Ok(text.into())
}

/// Invisible characters and those that change the direction or shape of what stands around them.
fn is_deceptive(character: char) -> bool {
    !character.is_ascii()
        && matches!(
            character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0e}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'
            | '\u{ffff}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
            | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_in_nfc() {
        for (sent, kept) in [
            ("ResearchOpsAgent", "ResearchOpsAgent"),
            ("merchant:demo", "merchant:demo"),
            ("Zoe\u{308}", "Zoë"),
            ("日本語", "日本語"),
            ("=1+1", "=1+1"),
            ("👍\u{fe0f}", "👍\u{fe0f}"),
        ] {
            assert_eq!(line(sent.into(), NAME_CHARS_MAX).as_deref(), Ok(kept));
        }
    }

    #[test]
    fn deceptive_names_are_refused_with_advice() {
        let long = "x".repeat(256);
        for (sent, word) in [
            ("", "empty"),
            (" \u{a0} ", "empty"),
            ("a\nb", "U+000A"),
            ("a\u{0}b", "U+0000"),
            ("a\u{7f}", "U+007F"),
            ("a\u{85}b", "U+0085"),
            ("pay\u{202e}lap", "U+202E"),
            ("a\u{2066}b", "U+2066"),
            ("a\u{200b}b", "U+200B"),
            ("a\u{200d}b", "U+200D"),
            ("\u{feff}a", "U+FEFF"),
            ("a\u{ad}b", "U+00AD"),
            ("\u{3164}", "U+3164"),
            ("a\u{e0041}", "U+E0041"),
            (&long, "256 characters"),
        ] {
            let advice = line(sent.into(), NAME_CHARS_MAX).expect_err(sent);
            assert!(advice.contains(word), "{sent:?}: {advice}");
        }
        assert!(line("é".repeat(255).into(), NAME_CHARS_MAX).is_ok(), "characters count, not bytes");
    }

    #[test]
    fn prose_may_have_lines() {
        assert_eq!(prose("a\n\tb".into(), 1_000).as_deref(), Ok("a\n\tb"));
        assert_eq!(prose("".into(), 1_000).as_deref(), Ok(""));
        assert!(prose("a\u{1b}[31m".into(), 1_000).is_err());
        assert!(prose("a\u{202e}".into(), 1_000).is_err());
    }
}
