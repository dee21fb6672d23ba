//! Exit codes of the program and the error that carries one.
//!
//! The numbers are a contract with service managers and scripts; `docs/operations.md` and `--help` list them.

use std::fmt;
use std::process::ExitCode;

/// Why the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Anything without a code of its own, for example an address that is in use.
    Failure = 1,
    /// The command line was not understood (the same number as the parser's own).
    Usage = 2,
    /// Another process has the data directory.
    Locked = 3,
    /// The log, or a snapshot that is needed to read it, is damaged. Files are left untouched.
    Corrupt = 4,
    /// The configuration was refused.
    Config = 5,
    /// The log failed while the node was running: what was not answered has an unknown outcome.
    LogFailed = 6,
    /// A proof failed: a balance or sum does not follow from the log.
    Disproved = 7,
    /// The id key is missing or damaged although the log exists.
    IdKey = 8,
    /// The keys that sign payment tokens are damaged.
    TokenKeys = 9,
}

/// Text for `--help`; a test keeps it equal to the enumeration.
pub(crate) const HELP: &str = "\
Exit codes:
  0  success
  1  failure without a code of its own
  2  command line not understood
  3  data directory is in use by another process
  4  log or snapshot is damaged; files are left untouched
  5  configuration refused
  6  log failed while running; unanswered requests have an unknown outcome
  7  check found a balance or sum that does not follow from the log
  8  id key is missing or damaged although the log exists
  9  token keys are damaged";

/// An error with its exit code. The message says what happened and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into() }
    }

    /// A failure without a code of its own; `context` says what was being done.
    pub(crate) fn because(context: impl fmt::Display, error: &(dyn std::error::Error + 'static)) -> Failure {
        Failure::new(Exit::Failure, format!("{context}: {}", chain(error)))
    }
}

/// An error with all its sources on one line. Errors here carry context, not their source's text (that is the rule for
/// every crate), so nothing is said twice.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_code() {
        let all = [
            Exit::Failure,
            Exit::Usage,
            Exit::Locked,
            Exit::Corrupt,
            Exit::Config,
            Exit::LogFailed,
            Exit::Disproved,
            Exit::IdKey,
            Exit::TokenKeys,
        ];
        for (index, exit) in all.into_iter().enumerate() {
            assert_eq!(exit as usize, index + 1, "codes are dense and fixed");
            assert!(HELP.contains(&format!("\n  {}  ", exit as u8)), "{exit:?} is missing in the help");
        }
        assert_eq!(HELP.lines().count(), all.len() + 2);
    }

    #[test]
    fn chains_name_every_source() {
        let inner = std::io::Error::other("disk on fire");
        let failure = Failure::because("cannot open x", &inner);
        assert_eq!(failure.message, "cannot open x: disk on fire");
        assert_eq!(failure.exit, Exit::Failure);
    }
}
