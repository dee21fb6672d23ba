//! A text that must never be printed: it shows itself as `***` in every format, logs included.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A secret from the configuration. Empty means "not set".
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    /// The text itself, for the one place that needs it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_set(&self) -> bool {
        !self.0.is_empty()
    }

    /// Why this secret is too weak for production, or `None` when it is not.
    ///
    /// The rules are cheap and catch what people really do: nothing set, the sample value of a document kept, a short
    /// word, one character repeated. They cannot measure randomness.
    pub(crate) fn weakness(&self) -> Option<String> {
        if !self.is_set() {
            return Some("is not set".to_owned());
        }
        let count = self.0.chars().count();
        if count < CHARACTERS_MIN {
            return Some(format!("has {count} characters, at least {CHARACTERS_MIN} are needed"));
        }
        let folded = self.0.to_ascii_lowercase();
        if let Some(phrase) = PLACEHOLDERS.iter().find(|phrase| folded.contains(**phrase)) {
            return Some(format!("still holds the placeholder text {phrase:?}"));
        }
        let mut distinct: Vec<char> = self.0.chars().collect();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() < DISTINCT_MIN {
            return Some(format!("uses only {} different characters", distinct.len()));
        }
        None
    }
}

const CHARACTERS_MIN: usize = 32;
/// A random hexadecimal text of 32 characters uses fewer than 8 different ones about once in 10 000 draws.
const DISTINCT_MIN: usize = 8;
/// Published sample values: whoever read the documentation knows them.
const PLACEHOLDERS: [&str; 4] = ["replace-with", "changeme", "change-me", "placeholder"];

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "***" } else { "(not set)" })
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn weakness_table() {
        let long = "0123456789abcdef".repeat(2);
        let cases: [(&str, Option<&str>); 6] = [
            ("", Some("is not set")),
            ("short", Some("at least 32")),
            ("replace-with-at-least-32-random-characters", Some("placeholder")),
            ("CHANGEME-CHANGEME-CHANGEME-CHANGEME", Some("placeholder")),
            (&"ab".repeat(20), Some("only 2 different")),
            (&long, None),
        ];
        for (text, expected) in cases {
            let found = Secret::from(text.to_owned()).weakness();
            match expected {
                None => assert_eq!(found, None, "{text}"),
                Some(part) => {
                    assert!(found.as_deref().is_some_and(|why| why.contains(part)), "{text}: {found:?}")
                }
            }
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::from("hunter2".to_owned())), "***");
        assert_eq!(format!("{:?}", Secret::default()), "(not set)");
    }
}
