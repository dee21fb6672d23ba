//! Identifiers and their text: a prefix and 26 characters of lower-case Crockford base32.
//!
//! Invariant: one id has one text. Upper case, look-alike letters and values above 128 bits are refused.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// Digits of 128 bits in base 32, five bits each; the first carries only three.
const DIGITS: usize = 26;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const PARTITION_SHIFT: u32 = 112;

/// The text is not an id of this kind in its one canonical spelling.
#[derive(Copy, Clone, Eq, PartialEq, Debug, thiserror::Error)]
#[error("not a valid {prefix} identifier")]
pub struct IdError {
    /// What the text should have started with, for example `wallet_`.
    pub prefix: &'static str,
}

/// Bytes of the longest prefix.
const PREFIX_BYTES_MAX: usize = 8;

/// The text of an id.
#[derive(Copy, Clone, Debug)]
pub struct IdText {
    bytes: [u8; PREFIX_BYTES_MAX + DIGITS],
    length: usize,
}

impl IdText {
    fn of(prefix: &'static str, raw: u128) -> Self {
        let mut bytes = [0; PREFIX_BYTES_MAX + DIGITS];
        let (head, digits) = bytes.split_at_mut(prefix.len());
        head.copy_from_slice(prefix.as_bytes());
        digits[..DIGITS].copy_from_slice(&encode(raw));
        Self { bytes, length: prefix.len().saturating_add(DIGITS) }
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).expect("prefix and digits are ASCII")
    }
}

macro_rules! id {
    ($(#[$meta:meta])* $name:ident, $prefix:literal) => {
        $(#[$meta])*
        #[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd)]
        pub struct $name(u128);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            pub const fn from_raw(raw: u128) -> Self {
                Self(raw)
            }

            pub const fn raw(self) -> u128 {
                self.0
            }

            /// The text, without an allocation or a formatter.
            pub fn text(self) -> IdText {
                IdText::of(Self::PREFIX, self.0)
            }
        }

        // The low half is random or a cipher's output already, so maps may use it as it is.
        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                state.write_u64(low_half(self.0));
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text().as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let digits = text.strip_prefix(Self::PREFIX);
                digits.and_then(decode).map(Self).ok_or(IdError { prefix: Self::PREFIX })
            }
        }
    };
}

id!(
    /// An agent. The top 16 bits name the partition that owns it, the rest is random.
    AgentId,
    "agent_"
);
id!(
    /// A wallet. The top 16 bits name the partition that owns it, the rest is random.
    WalletId,
    "wallet_"
);
id!(
    /// A payment or a funding: its address in the log, sealed by [`crate::IdSealer`].
    PaymentId,
    "tx_"
);

id!(
    /// A service. The top 16 bits name the partition that owns it, the rest is random.
    ServiceId,
    "svc_"
);
id!(
    /// A payment token: the address of its reservation in the log, sealed by [`crate::IdSealer`].
    TokenId,
    "tokid_"
);

id!(
    /// A dispute: the address of the record that opened it, sealed by [`crate::IdSealer`].
    DisputeId,
    "disp_"
);
id!(
    /// A webhook. The top 16 bits name the partition that owns it, the rest is random.
    WebhookId,
    "wh_"
);
id!(
    /// An event as one webhook hears of it: a keyed digest of the event's place in the log and of the webhook.
    EventId,
    "evt_"
);

impl WebhookId {
    /// An id of `partition` from 112 random bits; the top 16 bits of `random` are not used.
    pub const fn new(partition: u16, random: u128) -> Self {
        Self(in_partition(partition, random))
    }
}

impl ServiceId {
    /// An id of `partition` from 112 random bits; the top 16 bits of `random` are not used.
    pub const fn new(partition: u16, random: u128) -> Self {
        Self(in_partition(partition, random))
    }

    pub const fn partition(self) -> u16 {
        partition_of(self.0)
    }
}

impl AgentId {
    /// An id of `partition` from 112 random bits; the top 16 bits of `random` are not used.
    pub const fn new(partition: u16, random: u128) -> Self {
        Self(in_partition(partition, random))
    }

    pub const fn partition(self) -> u16 {
        partition_of(self.0)
    }
}

impl WalletId {
    /// An id of `partition` from 112 random bits; the top 16 bits of `random` are not used.
    pub const fn new(partition: u16, random: u128) -> Self {
        Self(in_partition(partition, random))
    }

    pub const fn partition(self) -> u16 {
        partition_of(self.0)
    }
}

/// An API key's public number. Its text form belongs to the API.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct KeyId(u64);

impl KeyId {
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    pub const fn raw(self) -> u64 {
        self.0
    }
}

const fn in_partition(partition: u16, random: u128) -> u128 {
    let random = random & !(0xffff << PARTITION_SHIFT);
    random | ((partition as u128) << PARTITION_SHIFT)
}

const fn partition_of(raw: u128) -> u16 {
    (raw >> PARTITION_SHIFT) as u16
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn low_half(raw: u128) -> u64 {
    raw as u64
}

fn encode(raw: u128) -> [u8; DIGITS] {
    let mut digits = [0; DIGITS];
    // Twelve digits at a time are sixty bits: shifts of 128 bits take twice as long.
    for (part, digits) in [raw >> 120, raw >> 60, raw].into_iter().zip(digits_in_parts(&mut digits)) {
        let mut rest = low_half(part);
        for digit in digits.iter_mut().rev() {
            *digit = ALPHABET[usize::from(rest.to_le_bytes()[0] & 31)];
            rest >>= 5;
        }
    }
    digits
}

/// The first two digits, and twice twelve.
fn digits_in_parts(digits: &mut [u8; DIGITS]) -> [&mut [u8]; 3] {
    let (first, rest) = digits.split_at_mut(2);
    let (second, third) = rest.split_at_mut(12);
    [first, second, third]
}

fn decode(text: &str) -> Option<u128> {
    let digits: &[u8; DIGITS] = text.as_bytes().try_into().ok()?;
    // The first digit carries the top three bits only; a larger one would name a value above 128 bits.
    if digits[0] > b'7' {
        return None;
    }
    let mut raw = 0u128;
    for digit in digits {
        raw = (raw << 5) | u128::from(value_of(*digit)?);
    }
    Some(raw)
}

fn value_of(digit: u8) -> Option<u8> {
    let value = DIGIT_VALUES[usize::from(digit)];
    (value < 32).then_some(value)
}

/// Value of each byte as a digit; 255 for bytes that are none.
const DIGIT_VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0u8;
    while value < 32 {
        values[ALPHABET[value as usize] as usize] = value;
        value = value.checked_add(1).expect("counts to 32");
    }
    values
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_text_and_come_back_from_it() {
        for raw in [0, 1, 31, 32, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let wallet = WalletId::from_raw(raw);
            let text = wallet.to_string();
            assert_eq!(wallet.text().as_str(), text);
            assert_eq!(text.len(), "wallet_".len() + 26);
            assert_eq!(text.parse(), Ok(wallet), "{text}");
        }
        assert_eq!(WalletId::from_raw(0).to_string(), "wallet_00000000000000000000000000");
        assert_eq!(AgentId::from_raw(u128::MAX).to_string(), "agent_7zzzzzzzzzzzzzzzzzzzzzzzzz");
        assert_eq!(PaymentId::from_raw(32).to_string(), "tx_00000000000000000000000010");
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "wallet_",
            "wallet_0000000000000000000000000",
            "wallet_000000000000000000000000000",
            "wallet_80000000000000000000000000",
            "wallet_zzzzzzzzzzzzzzzzzzzzzzzzzz",
            "wallet_0000000000000000000000000A",
            "wallet_0000000000000000000000000i",
            "wallet_0000000000000000000000000l",
            "wallet_0000000000000000000000000o",
            "wallet_0000000000000000000000000u",
            "wallet_000000000000000000000000é",
            "Wallet_00000000000000000000000000",
            "agent_00000000000000000000000000",
            "00000000000000000000000000",
            " wallet_00000000000000000000000000",
        ] {
            assert_eq!(text.parse::<WalletId>(), Err(IdError { prefix: "wallet_" }), "{text:?}");
        }
    }

    #[test]
    fn the_partition_sits_in_the_top_bits_whatever_the_random_bits_are() {
        for partition in [0, 1, 0x8000, u16::MAX] {
            for random in [0, 1, u128::MAX] {
                assert_eq!(WalletId::new(partition, random).partition(), partition);
                assert_eq!(AgentId::new(partition, random).partition(), partition);
            }
        }
        assert_eq!(WalletId::new(7, 5).raw(), (7 << 112) | 5);
        assert_eq!(KeyId::from_raw(9).raw(), 9);
    }
}
