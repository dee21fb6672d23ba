//! Ways for money to travel.

/// How a payment reaches its payee.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
#[repr(u8)]
pub enum Rail {
    /// Within this ledger; completes at once.
    Internal = 0,
    Ach = 1,
    Card = 2,
    Crypto = 3,
    Stripe = 4,
}

impl Rail {
    pub const COUNT: usize = 5;
    pub const ALL: [Rail; Rail::COUNT] = [Rail::Internal, Rail::Ach, Rail::Card, Rail::Crypto, Rail::Stripe];

    pub fn parse(text: &str) -> Option<Rail> {
        Rail::ALL.into_iter().find(|rail| rail.as_str() == text)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Rail::Internal => "internal",
            Rail::Ach => "ach",
            Rail::Card => "card",
            Rail::Crypto => "crypto",
            Rail::Stripe => "stripe",
        }
    }

    /// Place in a table of [`Rail::COUNT`] entries.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A set of rails.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub struct RailSet(u8);

impl RailSet {
    pub const EMPTY: RailSet = RailSet(0);

    #[must_use]
    pub const fn with(self, rail: Rail) -> RailSet {
        RailSet(self.0 | (1 << rail as u8))
    }

    pub const fn contains(self, rail: Rail) -> bool {
        self.0 & (1 << rail as u8) != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tables_agree() {
        for (index, rail) in Rail::ALL.into_iter().enumerate() {
            assert_eq!(rail.index(), index);
            assert_eq!(Rail::parse(rail.as_str()), Some(rail));
            let only = RailSet::EMPTY.with(rail);
            assert!(Rail::ALL.into_iter().all(|other| only.contains(other) == (other == rail)));
            assert!(!only.is_empty());
        }
        assert_eq!(Rail::parse("Internal"), None);
        assert_eq!(Rail::parse(""), None);
        assert!(RailSet::EMPTY.is_empty());
    }
}
