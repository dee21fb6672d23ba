//! Numbers as people read them.

use std::time::Duration;

/// Separates groups of three digits; does not break a line.
const THIN: char = '\u{202f}';

/// A whole number in groups of three: `152 341`.
pub fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && !out.ends_with('-') {
            out.push(THIN);
        }
        out.push(digit);
    }
    out
}

/// Three significant digits, grouped: `0.12`, `4.56`, `45.6`, `456`, `45 600`.
pub fn short(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        _ if !value.is_finite() => return "–".to_owned(),
        _ if size >= 100.0 => return grouped(value),
        _ if size >= 10.0 => 1,
        _ if size >= 1.0 => 2,
        _ if size == 0.0 => return "0".to_owned(),
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

/// Milliseconds with their unit.
pub fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1e3;
    let text = match millis {
        _ if millis >= 100.0 => grouped(millis),
        _ if millis >= 10.0 => format!("{millis:.1}"),
        _ if millis >= 1.0 => format!("{millis:.2}"),
        _ => format!("{millis:.3}"),
    };
    format!("{text} ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        let table = [
            (0.0, "0"),
            (0.1234, "0.123"),
            (4.5, "4.5"),
            (45.67, "45.7"),
            (456.7, "457"),
            (45_678.0, "45\u{202f}678"),
            (-1_234.0, "-1\u{202f}234"),
            (100.0, "100"),
            (10.0, "10"),
        ];
        for (value, text) in table {
            assert_eq!(short(value), text, "{value}");
        }
        assert_eq!(millis(Duration::from_micros(1_234)), "1.23 ms");
        assert_eq!(millis(Duration::from_micros(12)), "0.012 ms");
        assert_eq!(millis(Duration::from_millis(2_500)), "2\u{202f}500 ms");
    }
}
