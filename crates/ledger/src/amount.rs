//! Money: a checked count of 10⁻⁹ of a currency.
//!
//! Text is read exactly or refused; nothing is rounded here and nothing passes through binary floating point.
//! Supply bound: text gives at most [`Amount::MAX`] (below 10²⁷), a faucet gives a wallet at most that much, and a
//! partition holds far fewer than 10¹⁰ wallets, so no sum of balances reaches 10³⁷ while `i128` holds 1.7 · 10³⁸.
//! [`Amount::plus`] and [`Amount::minus`] stand on that bound and assert it; state read from disk is held to it.

use std::fmt;

/// Decimals that an amount may carry.
const DECIMALS: usize = 9;
/// Digits before the decimal point that text may carry.
const INTEGER_DIGITS: usize = 18;
const NANOS_PER_UNIT: u64 = 1_000_000_000;
/// Sign, 39 digits of an `i128` and the decimal point.
const TEXT_BYTES_MAX: usize = 41;

/// Signed count of 10⁻⁹ of a currency. The currency is kept next to it, not in it.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Default)]
pub struct Amount(i128);

/// Why a text is not an amount. No variant means "rounded": what is not exact is refused.
#[derive(Copy, Clone, Eq, PartialEq, Debug, thiserror::Error)]
pub enum AmountError {
    /// Anything but ASCII digits with at most one point between digits: signs, exponents, `_`, blanks, other scripts.
    #[error("not a plain decimal number")]
    Malformed,
    /// `007` is no JSON number, and two spellings of one amount help nobody.
    #[error("leading zeros are not allowed")]
    LeadingZeros,
    /// More than nine decimals, even when the ones beyond are zeros.
    #[error("more than 9 decimals")]
    TooManyDecimals,
    /// More than 18 digits before the decimal point.
    #[error("more than 18 integer digits")]
    TooManyIntegerDigits,
}

impl Amount {
    pub const ZERO: Amount = Amount(0);
    /// The largest amount that text can express and a single command may carry: 18 integer digits, 9 decimals.
    pub const MAX: Amount = Amount(999_999_999_999_999_999_999_999_999);

    /// No balance and no total comes near this: the supply bound of the module head, 10³⁷ nanos.
    pub const SUPPLY_MAX: Amount = Amount(10_000_000_000_000_000_000_000_000_000_000_000_000);

    pub const fn from_nanos(nanos: i128) -> Self {
        Self(nanos)
    }

    pub const fn nanos(self) -> i128 {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    pub const fn checked_add(self, other: Amount) -> Option<Amount> {
        match self.0.checked_add(other.0) {
            Some(nanos) => Some(Self(nanos)),
            None => None,
        }
    }

    pub const fn checked_sub(self, other: Amount) -> Option<Amount> {
        match self.0.checked_sub(other.0) {
            Some(nanos) => Some(Self(nanos)),
            None => None,
        }
    }

    pub const fn checked_neg(self) -> Option<Amount> {
        match self.0.checked_neg() {
            Some(nanos) => Some(Self(nanos)),
            None => None,
        }
    }

    /// Sum of two amounts that the supply bound of the module head covers; panics when it does not.
    #[must_use]
    pub const fn plus(self, other: Amount) -> Amount {
        self.checked_add(other).expect("a sum of balances stays within the supply bound")
    }

    /// Difference of two amounts that the supply bound of the module head covers; panics when it does not.
    #[must_use]
    pub const fn minus(self, other: Amount) -> Amount {
        self.checked_sub(other).expect("a difference of balances stays within the supply bound")
    }

    /// The amount with its sign turned; panics for the one value of `i128` that has no counterpart.
    #[must_use]
    pub const fn negated(self) -> Amount {
        self.checked_neg().expect("an amount within the supply bound has a negative")
    }

    /// Reads unsigned decimal text exactly: 1 to 18 integer digits without leading zeros, then at most 9 decimals.
    pub fn parse(text: &str) -> Result<Amount, AmountError> {
        let bytes = text.as_bytes();
        let integer_len = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (integer, rest) = bytes.split_at(integer_len);
        let decimals = match rest {
            [] => &[][..],
            [b'.', decimals @ ..] if !decimals.is_empty() => decimals,
            _ => return Err(AmountError::Malformed),
        };
        if integer.is_empty() || !decimals.iter().all(u8::is_ascii_digit) {
            return Err(AmountError::Malformed);
        }
        if integer.len() > 1 && integer.starts_with(b"0") {
            return Err(AmountError::LeadingZeros);
        }
        if integer.len() > INTEGER_DIGITS {
            return Err(AmountError::TooManyIntegerDigits);
        }
        if decimals.len() > DECIMALS {
            return Err(AmountError::TooManyDecimals);
        }
        let units = digits_value(integer.iter().copied());
        let padding = DECIMALS.saturating_sub(decimals.len());
        let nanos = digits_value(decimals.iter().copied().chain(std::iter::repeat_n(b'0', padding)));
        let whole = i128::from(units).checked_mul(i128::from(NANOS_PER_UNIT));
        let total = whole.and_then(|whole| whole.checked_add(i128::from(nanos)));
        Ok(Self(total.expect("27 digits fit an i128")))
    }

    /// Appends the shortest plain decimal: `5`, `0.02`, `-1.5`.
    pub fn write(self, out: &mut Vec<u8>) {
        let mut buffer = [0; TEXT_BYTES_MAX];
        out.extend_from_slice(self.text(&mut buffer));
    }

    /// Fills `buffer` from its end and returns the part that was used.
    fn text(self, buffer: &mut [u8; TEXT_BYTES_MAX]) -> &[u8] {
        let mut writer = Backwards { buffer, start: TEXT_BYTES_MAX };
        let (units, nanos) = split(self.0.unsigned_abs());
        if nanos != 0 {
            let mut rest = nanos;
            let mut decimals = DECIMALS;
            while rest.is_multiple_of(10) {
                rest = rest.div_euclid(10);
                decimals = decimals.saturating_sub(1);
            }
            writer.digits(u128::from(rest), decimals);
            writer.byte(b'.');
        }
        writer.digits(units, 1);
        if self.is_negative() {
            writer.byte(b'-');
        }
        let Backwards { buffer, start } = writer;
        &buffer[start..]
    }
}

/// Whole units and the remaining nanos. Almost every amount fits 64 bits, where division is many times cheaper.
fn split(nanos: u128) -> (u128, u64) {
    match u64::try_from(nanos) {
        Ok(small) => (u128::from(small.div_euclid(NANOS_PER_UNIT)), small.rem_euclid(NANOS_PER_UNIT)),
        Err(_) => {
            let unit = u128::from(NANOS_PER_UNIT);
            let rest = u64::try_from(nanos.rem_euclid(unit)).expect("a remainder is below its divisor");
            (nanos.div_euclid(unit), rest)
        }
    }
}

/// Value of at most 18 ASCII digits, which always fits 64 bits.
fn digits_value(digits: impl Iterator<Item = u8>) -> u64 {
    digits.fold(0u64, |value, digit| {
        let digit = u64::from(digit.wrapping_sub(b'0'));
        value.checked_mul(10).and_then(|value| value.checked_add(digit)).expect("at most 18 digits")
    })
}

struct Backwards<'a> {
    buffer: &'a mut [u8; TEXT_BYTES_MAX],
    start: usize,
}

impl Backwards<'_> {
    fn byte(&mut self, byte: u8) {
        self.start = self.start.checked_sub(1).expect("the buffer holds the longest amount");
        self.buffer[self.start] = byte;
    }

    /// Writes `value` with at least `width` digits.
    fn digits(&mut self, mut value: u128, width: usize) {
        let mut written = 0usize;
        while value != 0 || written < width {
            let digit = match u64::try_from(value) {
                Ok(small) => {
                    value = u128::from(small.div_euclid(10));
                    small.rem_euclid(10)
                }
                Err(_) => {
                    let digit = value.rem_euclid(10);
                    value = value.div_euclid(10);
                    u64::try_from(digit).expect("a digit is below ten")
                }
            };
            self.byte(b'0'.wrapping_add(u8::try_from(digit).expect("a digit is below ten")));
            written = written.saturating_add(1);
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; TEXT_BYTES_MAX];
        let text = std::str::from_utf8(self.text(&mut buffer)).map_err(|_| fmt::Error)?;
        f.write_str(text)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
