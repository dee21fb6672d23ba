//! Hours of the week, in UTC.

use crate::Timestamp;

/// Minutes of a day; a span may end there.
pub const DAY_MINUTES: u16 = 1_440;
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;
const DAYS: u8 = 0b111_1111;

/// A span of minutes on some days of the week.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct ActiveHours {
    /// One bit per day, the lowest for Monday.
    pub days: u8,
    /// First minute of the day in it.
    pub from_minute: u16,
    /// First minute of the day not in it any more.
    pub to_minute: u16,
}

impl ActiveHours {
    pub(super) fn is_valid(&self) -> bool {
        let days = self.days != 0 && self.days & !DAYS == 0;
        days && self.from_minute < self.to_minute && self.to_minute <= DAY_MINUTES
    }

    pub(super) fn contains(&self, at: Timestamp) -> bool {
        let minute = at.millis().rem_euclid(DAY_MS).div_euclid(MINUTE_MS);
        let in_span = (i64::from(self.from_minute)..i64::from(self.to_minute)).contains(&minute);
        in_span && self.days & bit_of(day_of(at)) != 0
    }

    /// When the span begins next after `at`.
    pub(super) fn opens_after(&self, at: Timestamp) -> Timestamp {
        let today = day_of(at);
        let begins = |day: i64| {
            let minutes = i64::from(self.from_minute).saturating_mul(MINUTE_MS);
            Timestamp::from_millis(day.saturating_mul(DAY_MS).saturating_add(minutes))
        };
        let days = (0..=7).map(|ahead| today.saturating_add(ahead));
        let mut coming = days.filter(|day| self.days & bit_of(*day) != 0).map(begins);
        coming.find(|begins| *begins > at).unwrap_or(at)
    }
}

/// Days since 1970-01-01.
fn day_of(at: Timestamp) -> i64 {
    at.millis().div_euclid(DAY_MS)
}

/// 1970 began on a Thursday.
fn bit_of(day: i64) -> u8 {
    1u8.checked_shl(u32::try_from(day.rem_euclid(7).saturating_add(3).rem_euclid(7)).unwrap_or(0))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Friday 2026-02-27T08:00:00Z.
    const FRIDAY_8: i64 = 1_772_179_200_000;
    const WORKDAYS: ActiveHours = ActiveHours { days: 0b001_1111, from_minute: 480, to_minute: 1_080 };

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(FRIDAY_8 + minutes * MINUTE_MS)
    }

    #[test]
    fn a_span_holds_its_first_minute_and_not_its_last() {
        assert!(!WORKDAYS.contains(Timestamp::from_millis(FRIDAY_8 - 1)));
        assert!(WORKDAYS.contains(at(0)) && WORKDAYS.contains(at(599)));
        assert!(!WORKDAYS.contains(at(600)), "18:00");
        assert!(!WORKDAYS.contains(at(24 * 60)), "Saturday");
        assert!(WORKDAYS.contains(at(3 * 24 * 60)), "Monday");
    }

    #[test]
    fn the_next_opening_is_found_over_the_week() {
        assert_eq!(WORKDAYS.opens_after(at(-1)), at(0));
        assert_eq!(WORKDAYS.opens_after(at(600)), at(3 * 24 * 60));
        let fridays = ActiveHours { days: 0b001_0000, ..WORKDAYS };
        assert_eq!(fridays.opens_after(at(600)), at(7 * 24 * 60));
    }

    #[test]
    fn impossible_spans_are_refused() {
        let check = |days, from_minute, to_minute| ActiveHours { days, from_minute, to_minute }.is_valid();
        assert!(check(1, 0, 1_440));
        assert!(!check(0, 0, 1_440) && !check(0b1000_0000, 0, 1) && !check(1, 5, 5) && !check(1, 0, 1_441));
        assert!(WORKDAYS.opens_after(Timestamp::from_millis(i64::MAX)).millis() > 0);
        assert!(!WORKDAYS.contains(Timestamp::from_millis(i64::MIN + 5)) || WORKDAYS.days != 0);
    }
}
