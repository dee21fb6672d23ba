//! RFC 3339 in UTC: written with milliseconds, read with any offset.
//!
//! Knows no clock: times come in as [`Timestamp`]s from the engine's clock or as text from a caller.

use jiff::fmt::temporal::DateTimePrinter;
use ledger::Timestamp;

/// Appends `2026-05-08T12:00:00.123Z`.
pub(crate) fn write(out: &mut Vec<u8>, at: Timestamp) {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    // A clock outside of what a calendar can show has gone mad; the nearest end is shown.
    let end = if at.millis() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    let shown = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or(end);
    PRINTER.print_timestamp(&shown, &mut *out).expect("writing to memory cannot fail");
}

/// Reads an RFC 3339 time; finer parts than milliseconds are cut off.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let parsed: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_millis(parsed.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_milliseconds_and_reads_them_back() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_778_241_600_000, "2026-05-08T12:00:00.000Z"),
            (1_778_241_600_007, "2026-05-08T12:00:00.007Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            let mut out = Vec::new();
            write(&mut out, Timestamp::from_millis(millis));
            assert_eq!(out, text.as_bytes());
            assert_eq!(parse(text).map(Timestamp::millis), Some(millis));
        }
    }

    #[test]
    fn extreme_clocks_do_not_panic() {
        for millis in [i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            write(&mut out, Timestamp::from_millis(millis));
            assert!(out.ends_with(b"Z"));
        }
    }

    #[test]
    fn reads_offsets_and_refuses_the_rest() {
        assert_eq!(parse("2026-05-08T14:00:00+02:00"), parse("2026-05-08T12:00:00Z"));
        for text in ["", "yesterday", "2026-05-08", "2026-13-01T00:00:00Z", "1778241600"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
