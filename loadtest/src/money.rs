//! Amounts as whole numbers of 10⁻⁹ of their currency, read from and written as plain decimal text. Never through
//! floating point: a verification that rounds would hide what it looks for.

/// 10⁻⁹ units in one.
pub const NANOS_PER_UNIT: i128 = 1_000_000_000;

/// Reads `12`, `12.5` or `-0.000000001`; nothing with an exponent, more than 9 decimals or more than 27 digits before
/// the point.
pub fn nanos(text: &[u8]) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let point = memchr::memchr(b'.', digits).unwrap_or(digits.len());
    let (whole, fraction) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
    if whole.is_empty() || whole.len() > 27 || fraction.len() > 9 {
        return None;
    }
    if point < digits.len() && fraction.is_empty() {
        return None;
    }
    // Nine digits at a time fit into a word: every answer has several amounts, and nearly all of them are short.
    let mut value = 0;
    for part in whole.chunks(9) {
        value = value * i128::from(POWERS_OF_TEN[part.len()]) + i128::from(plain(part)?);
    }
    let fraction = plain(fraction)? * POWERS_OF_TEN[9 - fraction.len()];
    let value = value * NANOS_PER_UNIT + i128::from(fraction);
    Some(if negative { -value } else { value })
}

const POWERS_OF_TEN: [u64; 10] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// At most nine digits and nothing else.
fn plain(digits: &[u8]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0_u64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
}

/// The shortest decimal text.
pub fn decimal(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let value = nanos.unsigned_abs();
    let (whole, fraction) = (value / NANOS_PER_UNIT.unsigned_abs(), value % NANOS_PER_UNIT.unsigned_abs());
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    let fraction = format!("{fraction:09}");
    format!("{sign}{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_both_ways() {
        let table = [
            ("0", 0),
            ("5", 5_000_000_000),
            ("5.02", 5_020_000_000),
            ("0.000000001", 1),
            ("-0.5", -500_000_000),
            ("1000000000", 1_000_000_000_000_000_000),
            ("9876543210.000000001", 9_876_543_210_000_000_001),
            ("123456789012345678.123456789", 123_456_789_012_345_678_123_456_789),
            ("123456789012345678901234567", 123_456_789_012_345_678_901_234_567_000_000_000),
        ];
        for (text, value) in table {
            assert_eq!(nanos(text.as_bytes()), Some(value), "{text}");
            assert_eq!(decimal(value), text);
        }
        assert_eq!(nanos(b"1.500"), Some(1_500_000_000));
        for text in [
            "",
            "-",
            ".5",
            "5.",
            "1e3",
            "+1",
            "1_0",
            "1.0000000001",
            "1,0",
            "1234567890x",
            "12345678901234567890123456789",
            "--1",
            "1.2.3",
        ] {
            assert_eq!(nanos(text.as_bytes()), None, "{text}");
        }
    }
}
