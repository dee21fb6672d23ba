//! When a delivery is tried again, and when no more. Pure: time and chance come in as arguments.

/// Waits before the second and every later attempt, in milliseconds: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
pub(crate) const BACKOFF_MS: [u64; 9] =
    [5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 50_400_000, 72_000_000, 86_400_000];

/// Attempts after which a delivery has failed for good.
pub(crate) const ATTEMPTS_MAX: u32 = 10;
const _: () = assert!(BACKOFF_MS.len() + 1 == ATTEMPTS_MAX as usize);

/// Longest wait that a receiver's `Retry-After` is followed for.
pub(crate) const RETRY_AFTER_MS_MAX: u64 = 86_400_000;

/// What came of one attempt.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Any status of 200 to 299.
    Delivered,
    /// 410: the receiver wants nothing more, ever.
    Gone,
    /// Any other status, or no answer; with what the receiver asked for.
    Failed { retry_after_ms: Option<u64> },
}

/// What follows from it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Delivered,
    /// Try again so many milliseconds later.
    Retry {
        after_ms: u64,
    },
    /// Failed for good, and the webhook with it: nothing more is to be sent there.
    Disable(Why),
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Gone,
    LastTry,
}

/// What follows after `attempts` (this one included). `random` spreads retries by a fifth to both sides, so that many
/// deliveries that failed together do not come back together.
pub(crate) fn next(attempts: u32, outcome: Outcome, random: u64) -> Next {
    let retry_after_ms = match outcome {
        Outcome::Delivered => return Next::Delivered,
        Outcome::Gone => return Next::Disable(Why::Gone),
        Outcome::Failed { retry_after_ms } => retry_after_ms,
    };
    let place = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(base_ms) = BACKOFF_MS.get(place) else { return Next::Disable(Why::LastTry) };
    let asked_ms = retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MS_MAX);
    Next::Retry { after_ms: jittered(*base_ms, random).max(asked_ms) }
}

/// How long a whole endpoint rests after so many failures in a row: its next delivery would most likely fail too.
pub(crate) fn rest_ms(failures: u32, retry_after_ms: Option<u64>) -> u64 {
    let doubled = 1_000_u64.saturating_mul(1_u64 << failures.saturating_sub(1).min(9));
    doubled.min(300_000).max(retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MS_MAX))
}

/// Four to six fifths.
fn jittered(base_ms: u64, random: u64) -> u64 {
    let spread = base_ms / 5;
    base_ms - spread + random % (2 * spread + 1)
}

/// Milliseconds that a `Retry-After` asks for at `now_ms`: seconds, or a date.
pub(crate) fn retry_after_ms(value: &str, now_ms: i64) -> Option<u64> {
    let value = value.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
        return Some(value.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1_000));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(u64::try_from(date.as_millisecond().saturating_sub(now_ms)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Outcome = Outcome::Failed { retry_after_ms: None };

    #[test]
    fn ten_attempts_within_their_bounds_and_then_the_end() {
        for (place, base_ms) in BACKOFF_MS.into_iter().enumerate() {
            let attempts = u32::try_from(place).expect("few") + 1;
            for random in [0, 1, 7_919, u64::MAX / 2, u64::MAX] {
                let Next::Retry { after_ms } = next(attempts, FAILED, random) else { panic!("{attempts}") };
                assert!(after_ms >= base_ms / 5 * 4 && after_ms <= base_ms / 5 * 6, "{attempts}: {after_ms}");
            }
        }
        for attempts in [ATTEMPTS_MAX, ATTEMPTS_MAX + 1, u32::MAX] {
            assert_eq!(next(attempts, FAILED, 5), Next::Disable(Why::LastTry));
        }
    }

    #[test]
    fn retries_spread() {
        let waits: std::collections::BTreeSet<u64> = (0..1_000)
            .map(|random| match next(1, FAILED, random * 104_729) {
                Next::Retry { after_ms } => after_ms,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(waits.len() > 500, "{}", waits.len());
    }

    #[test]
    fn success_and_410_end_at_once() {
        assert_eq!(next(1, Outcome::Delivered, 0), Next::Delivered);
        assert_eq!(next(10, Outcome::Delivered, 0), Next::Delivered);
        assert_eq!(next(1, Outcome::Gone, 0), Next::Disable(Why::Gone));
    }

    #[test]
    fn what_a_receiver_asks_for_is_a_lower_bound_within_a_day() {
        let wait = |attempts, retry_after_ms| {
            let outcome = Outcome::Failed { retry_after_ms: Some(retry_after_ms) };
            match next(attempts, outcome, 0) {
                Next::Retry { after_ms } => after_ms,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(wait(1, 60_000), 60_000);
        assert_eq!(wait(1, 1), 4_000, "never sooner than the schedule");
        assert_eq!(wait(1, u64::MAX), RETRY_AFTER_MS_MAX);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now_ms = 784_111_767_000;
        for (value, expected) in [
            ("120", Some(120_000)),
            (" 0 ", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(10_000)),
            ("Sun, 06 Nov 1994 08:49:17 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("soon", None),
            ("1.5", None),
        ] {
            assert_eq!(retry_after_ms(value, now_ms), expected, "{value:?}");
        }
    }

    #[test]
    fn an_endpoint_that_fails_rests_longer_each_time() {
        let rests: Vec<u64> =
            [1, 2, 3, 8, 9, 10, 11, u32::MAX].map(|failures| rest_ms(failures, None)).to_vec();
        assert_eq!(rests, [1_000, 2_000, 4_000, 128_000, 256_000, 300_000, 300_000, 300_000]);
        assert_eq!(rest_ms(1, Some(30_000)), 30_000);
        assert_eq!(rest_ms(1, Some(u64::MAX)), RETRY_AFTER_MS_MAX);
    }
}
