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
    let is_plain = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    if whole.is_empty() || whole.len() > 27 || fraction.len() > 9 || !is_plain(whole) || !is_plain(fraction) {
        return None;
    }
    if point < digits.len() && fraction.is_empty() {
        return None;
    }
    let padding = std::iter::repeat_n(&b'0', 9 - fraction.len());
    let value = whole.iter().chain(fraction).chain(padding);
    let value = value.fold(0_i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    Some(if negative { -value } else { value })
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
            ("123456789012345678.123456789", 123_456_789_012_345_678_123_456_789),
        ];
        for (text, value) in table {
            assert_eq!(nanos(text.as_bytes()), Some(value), "{text}");
            assert_eq!(decimal(value), text);
        }
        assert_eq!(nanos(b"1.500"), Some(1_500_000_000));
        for text in ["", "-", ".5", "5.", "1e3", "+1", "1_0", "1.0000000001", "1,0", "--1", "1.2.3"] {
            assert_eq!(nanos(text.as_bytes()), None, "{text}");
        }
    }
}
