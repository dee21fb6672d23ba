//! The trust score of an agent: the mean of its services' scores, each weighted by the calls that count for it.
//!
//! score = floor(Σ calls·score / Σ calls) over all services of the agent, ended ones included: a provider does not shed
//! what its calls have earned it by ending the service. Calls are those in the window of [`Trust`], so a service weighs at
//! most 256, and calls that do not count there (inside one operator, beyond one consumer's share) do not count here. A
//! mean of scores lies between 0 and 100; an agent without a call that counts stands at 50. Limits: those of a service's
//! score, and a provider can hide a bad service behind many good ones, which is why each service shows its own.
//! Owner of state: the services' registry. It follows from the calls alone, so replay gives the same score.

use crate::{TRUST_SCORE_START, Trust};

/// Sums over some services of one agent.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub struct Standing {
    calls: u64,
    /// Each call times the score of its service.
    values: u64,
}

impl Standing {
    /// What one service adds.
    pub fn of(trust: &Trust) -> Standing {
        let calls = u64::try_from(trust.calls.len()).expect("a window is small");
        Standing { calls, values: calls.saturating_mul(trust.score().into()) }
    }

    /// The same with one service's part replaced. Panics when `before` was never added: the sums would be wrong for ever.
    #[must_use]
    pub fn with(self, before: Standing, after: Standing) -> Standing {
        let replaced = |sum: u64, before: u64, after: u64| {
            sum.checked_sub(before)
                .and_then(|rest| rest.checked_add(after))
                .expect("what is taken out was added")
        };
        Standing {
            calls: replaced(self.calls, before.calls, after.calls),
            values: replaced(self.values, before.values, after.values),
        }
    }

    /// The agent's score.
    pub fn score(self) -> u8 {
        let mean = self.values.checked_div(self.calls);
        mean.map_or(TRUST_SCORE_START, |mean| u8::try_from(mean).expect("a mean of scores is a score"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, Outcome};

    fn trust(calls: u32, outcome: Outcome) -> Trust {
        let calls = (0..calls).map(|consumer| Call { consumer, outcome }).collect();
        Trust { calls, ..Trust::default() }
    }

    #[track_caller]
    fn check(services: &[Trust], expected: u8) {
        let standing = services
            .iter()
            .fold(Standing::default(), |sum, trust| sum.with(Standing::default(), Standing::of(trust)));
        assert_eq!(standing.score(), expected);
    }

    #[test]
    fn a_score_is_the_mean_of_the_services_by_calls() {
        let (good, bad) = (trust(10, Outcome::Settled), trust(10, Outcome::Breached));
        assert_eq!((good.score(), bad.score()), (75, 16));
        check(&[], 50);
        check(&[Trust::default()], 50);
        check(std::slice::from_ref(&good), 75);
        // A service that nobody has called says nothing.
        check(&[good.clone(), Trust::default()], 75);
        check(&[good.clone(), bad.clone()], 45);
        // 256 calls at 97 and 10 at 16.
        check(&[trust(256, Outcome::Settled), bad], 93);
        check(&[trust(256, Outcome::Breached)], 1);
    }

    #[test]
    fn a_part_that_changes_replaces_what_it_was() {
        let (before, after) = (trust(10, Outcome::Settled), trust(20, Outcome::Breached));
        let other = Standing::of(&trust(7, Outcome::Cancelled));
        let sum = Standing::default().with(Standing::default(), other);
        let with = sum.with(Standing::default(), Standing::of(&before));
        assert_eq!(with.with(Standing::of(&before), Standing::of(&after)), {
            sum.with(Standing::default(), Standing::of(&after))
        });
        assert_eq!(with.with(Standing::of(&before), Standing::default()), sum);
    }
}
