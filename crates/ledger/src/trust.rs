//! The trust score of a service: an integer from 0 to 100 over its latest calls.
//!
//! score = floor((50·80 + Σ weight·value) / (80 + Σ weight)) over the newest [`CALLS_MAX`] calls that count, where a
//! settled call has weight 4 and value 100, a breached one weight 8 and value 0, a disputed one weight 8 and value 0, a
//! cancelled one weight 1 and value 50; the newest [`RECENT`] calls weigh double. So a service starts at 50, nothing
//! moves it out of 0 to 100, bad news counts twice as much as good news, and old calls are pushed out by new ones.
//! A settled call whose dispute was resolved with a refund stops counting as settled: the newest settled call of its
//! consumer leaves the window, if one is left there, and a disputed one comes in as the newest.
//! Damping: calls inside one operator are not counted at all (the reservation says so), and one consumer holds at most
//! [`CALLS_PER_CONSUMER_MAX`] of the calls: its next one takes the place of its own oldest. Limits: operators are named
//! by agents themselves, so somebody who registers many agents under many operators can still praise himself, at the
//! price of the platform fee; a service with few consumers stays near the middle.
//! Owner of state: the service. Everything here is integers and order of the log, so replay gives the same score.

use crate::{AgentId, CallTerms, ServiceId, TRUST_SCORE_START, Timestamp, TokenEnd, TokenEnded};

/// Calls that the score looks back on.
pub const CALLS_MAX: usize = 256;
/// Newest calls, which weigh double.
pub const RECENT: usize = 64;
/// Calls of one consumer among them.
pub const CALLS_PER_CONSUMER_MAX: usize = 8;
/// Weight of the starting score.
const PRIOR_WEIGHT: u32 = 80;

/// How a call went, as far as the provider's reputation goes.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
#[repr(u8)]
pub enum Outcome {
    Settled = 0,
    Breached = 1,
    Cancelled = 2,
    /// Refunded in a dispute.
    Disputed = 3,
}

impl Outcome {
    pub const ALL: [Outcome; 4] =
        [Outcome::Settled, Outcome::Breached, Outcome::Cancelled, Outcome::Disputed];

    /// `None` for a token that nobody redeemed: nothing is known about the provider by it.
    pub fn of(end: TokenEnd) -> Option<Outcome> {
        match end {
            TokenEnd::Settled => Some(Outcome::Settled),
            TokenEnd::SlaBreached | TokenEnd::Refunded => Some(Outcome::Breached),
            TokenEnd::Cancelled => Some(Outcome::Cancelled),
            TokenEnd::Expired => None,
        }
    }

    const fn weight(self) -> u32 {
        match self {
            Outcome::Settled => 4,
            Outcome::Breached | Outcome::Disputed => 8,
            Outcome::Cancelled => 1,
        }
    }

    const fn value(self) -> u32 {
        match self {
            Outcome::Settled => 100,
            Outcome::Breached | Outcome::Disputed => 0,
            Outcome::Cancelled => 50,
        }
    }
}

/// One call in the window.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Call {
    /// Digest of the consumer. Two consumers that share one share a cap, which happens to one pair in four thousand
    /// million.
    pub consumer: u32,
    pub outcome: Outcome,
}

/// What is remembered of a service's calls.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Trust {
    /// Oldest first, at most [`CALLS_MAX`].
    pub calls: Vec<Call>,
    /// Every call ever settled, or breached, whether it counted or not.
    pub settled_calls: u64,
    pub breached_calls: u64,
    /// The score that was last recorded and is shown.
    pub shown: u8,
}

/// The score of a service changed and was made public. At most one per service and second; the score itself follows from
/// the calls.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct TrustChanged {
    pub service: ServiceId,
    pub score: u8,
    pub settled_calls: u64,
    pub breached_calls: u64,
    pub at: Timestamp,
}

impl Default for Trust {
    fn default() -> Self {
        Self { calls: Vec::new(), settled_calls: 0, breached_calls: 0, shown: TRUST_SCORE_START }
    }
}

impl Trust {
    /// The score that the calls give now.
    pub fn score(&self) -> u8 {
        let old = self.calls.len().saturating_sub(RECENT);
        let (mut weights, mut values) = (PRIOR_WEIGHT, PRIOR_WEIGHT.saturating_mul(TRUST_SCORE_START.into()));
        for (index, call) in self.calls.iter().enumerate() {
            let double = u32::from(index >= old).saturating_add(1);
            let weight = call.outcome.weight().saturating_mul(double);
            weights = weights.saturating_add(weight);
            values = values.saturating_add(weight.saturating_mul(call.outcome.value()));
        }
        u8::try_from(values.div_euclid(weights)).expect("a mean of values up to 100 is at most 100")
    }

    /// Folds in the end of a call of this service.
    pub fn saw(&mut self, ended: &TokenEnded) {
        let Some(outcome) = Outcome::of(ended.end) else { return };
        match outcome {
            Outcome::Settled => self.settled_calls = self.settled_calls.saturating_add(1),
            Outcome::Breached => self.breached_calls = self.breached_calls.saturating_add(1),
            Outcome::Cancelled | Outcome::Disputed => {}
        }
        if ended.terms.counts {
            self.count(Call { consumer: digest(ended.terms.payer_agent), outcome });
        }
    }

    /// Folds in a dispute about a settled call that was resolved with a refund. Which of a consumer's settled calls it was
    /// is not remembered, and makes no difference but for its age.
    pub fn refunded(&mut self, call: &CallTerms) {
        if !call.counts {
            return;
        }
        let consumer = digest(call.consumer);
        let settled = Call { consumer, outcome: Outcome::Settled };
        if let Some(newest) = self.calls.iter().rposition(|call| *call == settled) {
            self.calls.remove(newest);
        }
        self.count(Call { consumer, outcome: Outcome::Disputed });
    }

    fn count(&mut self, call: Call) {
        let same = |old: &Call| old.consumer == call.consumer;
        let of_consumer = self.calls.iter().filter(|old| same(old)).count();
        if of_consumer >= CALLS_PER_CONSUMER_MAX {
            if let Some(oldest) = self.calls.iter().position(same) {
                self.calls.remove(oldest);
            }
        } else if self.calls.len() >= CALLS_MAX {
            self.calls.remove(0);
        }
        self.calls.push(call);
    }
}

fn digest(agent: AgentId) -> u32 {
    let [a, b, c, d, ..] = agent.raw().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(outcomes: impl IntoIterator<Item = (u32, Outcome)>) -> Trust {
        let mut trust = Trust::default();
        outcomes.into_iter().for_each(|(consumer, outcome)| trust.count(Call { consumer, outcome }));
        trust
    }

    #[track_caller]
    fn check(count: u32, outcome: Outcome, expected: u8) {
        assert_eq!(
            calls((0..count).map(|consumer| (consumer, outcome))).score(),
            expected,
            "{count} {outcome:?}"
        );
    }

    #[test]
    fn the_score_starts_in_the_middle_and_stays_within_its_bounds() {
        check(0, Outcome::Settled, 50);
        check(1, Outcome::Settled, 54);
        check(10, Outcome::Settled, 75);
        check(10_000, Outcome::Settled, 97);
        check(1, Outcome::Breached, 41);
        check(10, Outcome::Breached, 16);
        check(10_000, Outcome::Breached, 1);
        check(10, Outcome::Disputed, 16);
        check(10_000, Outcome::Cancelled, 50);
    }

    #[test]
    fn a_refunded_dispute_takes_the_place_of_its_settled_call() {
        let consumer = AgentId::from_raw(7);
        let call = CallTerms { service: ServiceId::from_raw(1), consumer, counts: true };
        let listed =
            |trust: &Trust| trust.calls.iter().map(|call| (call.consumer, call.outcome)).collect::<Vec<_>>();
        let mut trust = calls([(7, Outcome::Settled), (8, Outcome::Settled), (7, Outcome::Cancelled)]);
        trust.refunded(&call);
        let left = [(8, Outcome::Settled), (7, Outcome::Cancelled), (7, Outcome::Disputed)];
        assert_eq!(listed(&trust), left);
        // The settled call has left the window before: bad news counts all the same.
        trust.refunded(&call);
        assert_eq!(listed(&trust)[3], (7, Outcome::Disputed));
        let before = trust.clone();
        trust.refunded(&CallTerms { counts: false, ..call });
        assert_eq!(trust, before, "calls inside one operator do not count");
        for _ in 0..100 {
            trust.refunded(&call);
        }
        let of_consumer = trust.calls.iter().filter(|call| call.consumer == 7).count();
        assert_eq!(of_consumer, CALLS_PER_CONSUMER_MAX, "one consumer's voice stays bounded");
    }

    #[test]
    fn new_calls_outweigh_old_ones() {
        let good = (0..256).map(|consumer| (consumer, Outcome::Settled));
        let bad = (1_000..1_032).map(|consumer| (consumer, Outcome::Breached));
        let fell = calls(good.clone().chain(bad.clone())).score();
        let rose = calls(bad.chain(good)).score();
        assert!(fell < 70 && rose > 90, "fell to {fell}, rose to {rose}");
    }

    #[test]
    fn one_consumer_has_a_bounded_voice_and_its_latest_word_counts() {
        let praised = calls((0..1_000).map(|_| (7, Outcome::Settled)));
        assert_eq!((praised.calls.len(), praised.score()), (CALLS_PER_CONSUMER_MAX, 72));
        let turned =
            calls((0..1_000).map(|n| (7, if n < 992 { Outcome::Settled } else { Outcome::Breached })));
        assert_eq!(turned.score(), 19);
        let window = calls((0..1_000).map(|consumer| (consumer, Outcome::Settled)));
        assert_eq!(window.calls.len(), CALLS_MAX);
        assert_eq!(window.calls[0].consumer, 1_000 - 256);
    }
}
