//! Points in time and points in the log, both given from outside.

use std::fmt;

/// UTC milliseconds since 1970-01-01. The ledger never asks what time it is: a command carries the time of its arrival.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Default, Debug)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    /// This time and `millis` more, held at the end of time instead of overflowing.
    #[must_use]
    pub fn saturating_add_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add_unsigned(millis))
    }
}

/// Order of facts for an owner: Lsn of the record plus the item's index in it.
/// A record is longer in bytes than it has items, so positions of different items never meet.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Default, Debug)]
pub struct Position(u64);

impl Position {
    /// Before every fact.
    pub const ZERO: Position = Position(0);

    pub const fn new(position: u64) -> Self {
        Self(position)
    }

    /// Position of one item of the record at `lsn`; item 0 stands for the record itself.
    pub fn of_item(lsn: u64, item: u32) -> Self {
        Self(lsn.checked_add(u64::from(item)).expect("a log ends long before 2^64 bytes"))
    }

    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_items_follow_their_record() {
        assert_eq!(Position::of_item(40, 0), Position::new(40));
        assert_eq!(Position::of_item(40, 3).get(), 43);
        assert!(Position::ZERO < Position::new(1));
        assert_eq!(Position::new(7).to_string(), "7");
    }

    #[test]
    fn time_stops_at_its_end() {
        assert_eq!(Timestamp::from_millis(5).saturating_add_millis(7).millis(), 12);
        assert_eq!(Timestamp::from_millis(-5).saturating_add_millis(7).millis(), 2);
        assert_eq!(Timestamp::from_millis(i64::MAX - 1).saturating_add_millis(u64::MAX).millis(), i64::MAX);
    }
}
