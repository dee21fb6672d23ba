//! Log lines on standard error: text for a terminal, JSON otherwise or when configured.
//!
//! Every value is escaped before it is written: a name, a label or a header that carries line breaks or terminal
//! control sequences cannot forge a line or drive the reader's terminal. Secrets do not reach this module: their type
//! shows itself as `***`.

use crate::config::{LogFormat, Refused};
use std::fmt::{self, Write};
use std::io::IsTerminal;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::{FormatFields, MakeWriter};

/// Installs the process-wide subscriber. Called once, before anything logs.
///
/// # Errors
/// The configured level is not a filter.
pub(crate) fn install(format: LogFormat, level: &str) -> Result<(), Refused> {
    let filter = EnvFilter::try_new(level)
        .map_err(|error| Refused(format!("key `logging.level`: {level:?} is not a log filter: {error}")))?;
    let is_terminal = std::io::stderr().is_terminal();
    let is_text = match format {
        LogFormat::Auto => is_terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let subscriber: Box<dyn tracing::Subscriber + Send + Sync> = if is_text {
        Box::new(text(std::io::stderr, is_terminal, filter))
    } else {
        Box::new(json(std::io::stderr, filter))
    };
    // Fails only when a subscriber is installed already, which is a mistake in this program.
    tracing::subscriber::set_global_default(subscriber).expect("logging is installed once");
    log_panics();
    Ok(())
}

/// A line that cannot be written is lost. Saying so on the same standard error would end the process where that is full,
/// and payments do not depend on log lines.
const REPORT_FAILED_WRITES: bool = false;

fn text<W>(writer: W, is_terminal: bool, filter: EnvFilter) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_terminal)
        .with_target(false)
        .fmt_fields(escaped_fields())
        .log_internal_errors(REPORT_FAILED_WRITES)
        .with_writer(writer)
        .finish()
}

fn json<W>(writer: W, filter: EnvFilter) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .log_internal_errors(REPORT_FAILED_WRITES)
        .with_env_filter(filter)
        .with_writer(writer)
        .finish()
}

/// `message key=value`, each value with its control characters escaped.
fn escaped_fields() -> impl for<'a> FormatFields<'a> + Send + Sync + 'static {
    debug_fn(|writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        let mut escaped = Escaped { inner: writer };
        if field.name() == "message" {
            write!(escaped, "{value:?}")
        } else {
            write!(escaped, " {}={value:?}", field.name())
        }
    })
}

/// Passes text on with control characters and direction overrides written as `\u{…}`.
struct Escaped<'a, W> {
    inner: &'a mut W,
}

impl<W: fmt::Write> fmt::Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if character.is_control() || is_direction_override(character) {
                write!(self.inner, "{}", character.escape_unicode())?;
            } else {
                self.inner.write_char(character)?;
            }
        }
        Ok(())
    }
}

fn is_direction_override(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A panic ends a release build at once: what it was must be in the log, in the log's own format.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("a value that is not text");
        tracing::error!(thread = name, place, what, "panic");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Captured {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("UTF-8")
        }
    }

    const HOSTILE: &str = "x\n2026-01-01 INFO forged\r\u{1b}[2J\u{202e}gpj";

    #[test]
    fn text_lines_cannot_be_forged() {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = text(move || writer.clone(), false, EnvFilter::new("info"));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(name = HOSTILE, shown = %HOSTILE, "agent {HOSTILE}");
        });
        let text = captured.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end().chars().any(|c| c.is_control() || is_direction_override(c)), "{text:?}");
        assert!(text.contains("forged"), "the value itself is kept: {text}");
    }

    #[test]
    fn json_lines_are_one_object_each() {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = json(move || writer.clone(), EnvFilter::new("info"));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(name = HOSTILE, "agent");
        });
        let text = captured.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["name"], HOSTILE);
        assert_eq!(value["level"], "WARN");
    }

    #[test]
    fn a_level_that_is_no_filter_is_refused() {
        let refused = install(LogFormat::Json, "loud=yes=no").expect_err("must be refused");
        assert!(refused.0.contains("logging.level"), "{refused}");
    }
}
