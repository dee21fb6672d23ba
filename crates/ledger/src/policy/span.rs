//! Windows of time, and the slots into which they divide it.
//!
//! A use is kept by its slot. A rolling window of some length counts a use for that length; its slots are a
//! thirty-second of it, and a slot counts until its last possible use has left the window. A calendar window (an hour,
//! day, week from Monday, month, or a number of seconds counted from 1970, in UTC) is one slot and ends with it.
//! Both round to the same side: a use is never forgotten early.

use crate::Timestamp;

const SECOND_MS: i64 = 1_000;
const HOUR_MS: i64 = 3_600 * SECOND_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A rolling month is as long as the longest one.
const MONTH_DAYS: i64 = 31;
const SECONDS_MAX: u32 = 366 * 86_400;
/// Slots of a rolling window.
const SLOTS: i64 = 32;

/// How long.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Window {
    Hour,
    Day,
    Week,
    Month,
    Seconds(u32),
}

/// A window, and whether it moves with time or follows the calendar.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Span {
    pub window: Window,
    pub rolling: bool,
}

impl Window {
    /// `hour`, `day`, `week`, `month`, or a number of seconds such as `90s`.
    pub fn parse(text: &str) -> Option<Window> {
        match text {
            "hour" => Some(Window::Hour),
            "day" => Some(Window::Day),
            "week" => Some(Window::Week),
            "month" => Some(Window::Month),
            text => {
                let digits = text.strip_suffix('s')?;
                let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
                plain.then(|| digits.parse().ok().map(Window::Seconds)).flatten()
            }
        }
    }

    fn length_ms(self) -> i64 {
        match self {
            Window::Hour => HOUR_MS,
            Window::Day => DAY_MS,
            Window::Week => DAY_MS.saturating_mul(7),
            Window::Month => DAY_MS.saturating_mul(MONTH_DAYS),
            Window::Seconds(seconds) => i64::from(seconds).saturating_mul(SECOND_MS).max(1),
        }
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Window::Hour => f.write_str("hour"),
            Window::Day => f.write_str("day"),
            Window::Week => f.write_str("week"),
            Window::Month => f.write_str("month"),
            Window::Seconds(seconds) => write!(f, "{seconds}s"),
        }
    }
}

impl Span {
    pub(super) fn is_valid(&self) -> bool {
        match self.window {
            Window::Hour | Window::Day | Window::Week | Window::Month => true,
            Window::Seconds(seconds) => (1..=SECONDS_MAX).contains(&seconds),
        }
    }

    /// The slot that a use at `at` belongs to.
    pub fn slot(&self, at: Timestamp) -> i64 {
        let millis = at.millis();
        if self.rolling {
            return millis.div_euclid(self.width_ms());
        }
        match self.window {
            // 1970 began on a Thursday.
            Window::Week => millis.div_euclid(DAY_MS).saturating_add(3).div_euclid(7),
            Window::Month => month_of(millis.div_euclid(DAY_MS)),
            window => millis.div_euclid(window.length_ms()),
        }
    }

    /// The moment from which a use in `slot` does not count any more.
    pub fn expiry(&self, slot: i64) -> Timestamp {
        let next = slot.saturating_add(1);
        Timestamp::from_millis(if self.rolling {
            let end = next.saturating_mul(self.width_ms());
            end.saturating_sub(1).saturating_add(self.window.length_ms())
        } else {
            match self.window {
                Window::Week => next.saturating_mul(7).saturating_sub(3).saturating_mul(DAY_MS),
                Window::Month => first_day_of(next).saturating_mul(DAY_MS),
                window => next.saturating_mul(window.length_ms()),
            }
        })
    }

    /// Length of a rolling window's slots, rounded up.
    fn width_ms(&self) -> i64 {
        self.window.length_ms().saturating_add(SLOTS).saturating_sub(1).div_euclid(SLOTS).max(1)
    }
}

/// Months since January of the year 0 at the day `days` after 1970-01-01, in the proleptic Gregorian calendar. Years
/// are counted from March here, so that the leap day is the last day of a year.
fn month_of(days: i64) -> i64 {
    let days = days.saturating_add(719_468);
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let leaps = (of_era.div_euclid(1_460))
        .saturating_sub(of_era.div_euclid(36_524))
        .saturating_add(of_era.div_euclid(146_096));
    let year = of_era.saturating_sub(leaps).div_euclid(365);
    let before = days_before_year(year);
    let month = of_era.saturating_sub(before).saturating_mul(5).saturating_add(2).div_euclid(153);
    era.saturating_mul(400).saturating_add(year).saturating_mul(12).saturating_add(month).saturating_add(2)
}

/// First day of a month as counted by [`month_of`], in days after 1970-01-01.
fn first_day_of(month: i64) -> i64 {
    let from_march = month.saturating_sub(2);
    let (years, month) = (from_march.div_euclid(12), from_march.rem_euclid(12));
    let (era, year) = (years.div_euclid(400), years.rem_euclid(400));
    let in_year = month.saturating_mul(153).saturating_add(2).div_euclid(5);
    let days = era.saturating_mul(146_097).saturating_add(days_before_year(year)).saturating_add(in_year);
    days.saturating_sub(719_468)
}

/// Days of an era of 400 years before its year `year`.
fn days_before_year(year: i64) -> i64 {
    let leaps = year.div_euclid(4).saturating_sub(year.div_euclid(100));
    year.saturating_mul(365).saturating_add(leaps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    const fn span(window: Window, rolling: bool) -> Span {
        Span { window, rolling }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for text in ["hour", "day", "week", "month", "1s", "90s", "31622400s"] {
            assert_eq!(Window::parse(text).map(|window| window.to_string()).as_deref(), Some(text));
        }
        for text in ["", "s", "0s", "-1s", "+1s", "1.5s", "01s", "hours", "Day", "4294967296s", "1 s"] {
            assert_eq!(Window::parse(text), None, "{text}");
        }
        assert!(!span(Window::Seconds(31_622_401), true).is_valid());
        assert!(!span(Window::Seconds(0), false).is_valid());
    }

    #[test]
    fn calendar_windows_end_with_the_calendar() {
        // 2026-02-27T23:30:00Z, a Friday.
        let friday = at(1_772_235_000_000);
        let ends = |window| span(window, false).expiry(span(window, false).slot(friday)).millis();
        assert_eq!(ends(Window::Hour), 1_772_236_800_000);
        assert_eq!(ends(Window::Day), 1_772_236_800_000, "2026-02-28T00:00:00Z");
        assert_eq!(ends(Window::Week), 1_772_409_600_000, "Monday 2026-03-02T00:00:00Z");
        assert_eq!(ends(Window::Month), 1_772_323_200_000, "2026-03-01T00:00:00Z");
        assert_eq!(ends(Window::Seconds(7)), 1_772_235_003_000);
        // The leap day of 2028 belongs to February.
        let leap = at(1_835_438_400_000);
        assert_eq!(
            span(Window::Month, false).expiry(span(Window::Month, false).slot(leap)).millis(),
            1_835_481_600_000
        );
    }

    #[test]
    fn months_follow_each_other_without_gap() {
        let month = span(Window::Month, false);
        let mut days = Vec::new();
        for slot in 23_640..23_640 + 4_800 {
            let end = month.expiry(slot);
            assert_eq!(month.slot(end), slot + 1, "the end of a month is in the next one");
            assert_eq!(month.slot(at(end.millis() - 1)), slot);
            days.push((end.millis() - month.expiry(slot - 1).millis()) / DAY_MS);
        }
        assert_eq!(days[..12], [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], "1970");
        assert_eq!(days.iter().sum::<i64>(), 146_097);
    }

    #[test]
    fn a_rolling_window_keeps_a_use_for_its_length_and_little_longer() {
        for window in [Window::Hour, Window::Day, Window::Week, Window::Month, Window::Seconds(1)] {
            let span = span(window, true);
            let length = window.length_ms();
            for used in (0..5_000).map(|step| 1_772_235_000_000 + step * (length / 700 + 1)) {
                let kept = span.expiry(span.slot(at(used))).millis() - used;
                assert!((length..=length + length / 32 + 1).contains(&kept), "{window}: {kept}");
            }
        }
    }

    #[test]
    fn the_ends_of_time_do_not_panic() {
        for window in
            [Window::Hour, Window::Week, Window::Month, Window::Seconds(1), Window::Seconds(u32::MAX)]
        {
            for rolling in [true, false] {
                for millis in [i64::MIN, i64::MAX] {
                    let span = span(window, rolling);
                    let _ = span.expiry(span.slot(at(millis)));
                    let _ = span.expiry(millis);
                }
            }
        }
    }
}
