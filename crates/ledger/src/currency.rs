//! Currency codes: three upper-case ASCII letters.

use std::fmt;

/// ISO 4217 shaped code. Which codes a node serves is a matter of [`crate::Rules`].
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Currency([u8; 3]);

/// The text is not three upper-case ASCII letters.
#[derive(Copy, Clone, Eq, PartialEq, Debug, thiserror::Error)]
#[error("a currency is three upper-case letters")]
pub struct CurrencyError;

impl Currency {
    pub const USD: Currency = Currency(*b"USD");
    pub const EUR: Currency = Currency(*b"EUR");

    pub fn parse(text: &str) -> Result<Currency, CurrencyError> {
        let bytes = text.as_bytes().try_into().map_err(|_| CurrencyError)?;
        Self::from_bytes(bytes).ok_or(CurrencyError)
    }

    /// The code of three bytes as kept in records; `None` unless all are upper-case ASCII letters.
    pub fn from_bytes(bytes: [u8; 3]) -> Option<Currency> {
        bytes.iter().all(u8::is_ascii_uppercase).then_some(Currency(bytes))
    }

    pub const fn to_bytes(self) -> [u8; 3] {
        self.0
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a currency is ASCII by construction")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_upper_case_letters_are_a_currency() {
        assert_eq!(Currency::parse("USD"), Ok(Currency::USD));
        assert_eq!(Currency::parse("EUR").map(|currency| currency.to_string()), Ok("EUR".to_owned()));
        for text in ["", "US", "USDT", "usd", "U D", "U1D", "€UR", "ÜSD"] {
            assert_eq!(Currency::parse(text), Err(CurrencyError), "{text:?}");
        }
        assert_eq!(Currency::from_bytes([0xff, b'S', b'D']), None);
        assert_eq!(Currency::from_bytes(Currency::EUR.to_bytes()), Some(Currency::EUR));
    }
}
