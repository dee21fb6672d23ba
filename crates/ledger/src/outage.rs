//! Outages: times in which the node could not serve, so that nobody who owes it a call is late because of them.
//!
//! Owner of state: the partition's clock. Outages are few and tokens are many, so an outage is kept once and every
//! deadline is computed with it, instead of every token being changed by it.

use crate::{Position, Timestamp};

/// Why the node did not serve.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum OutageCause {
    /// The process was not running.
    Down,
    /// The log took nothing: the disk was full.
    ReadOnly,
    /// The disk did not answer in time.
    Stalled,
    /// The clock told nonsense and deadlines were frozen.
    Clock,
}

/// The node was up, or was not, until `at`.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum ClockFact {
    /// A sign of life while providers have calls under way, so that the next start knows how long it was down.
    Alive { at: Timestamp },
    /// From `from` to `at` nothing was served.
    Outage { from: Timestamp, at: Timestamp, cause: OutageCause },
}

impl ClockFact {
    pub fn at(&self) -> Timestamp {
        match self {
            ClockFact::Alive { at } | ClockFact::Outage { at, .. } => *at,
        }
    }
}

/// One stretch without service.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Outage {
    pub from: Timestamp,
    pub to: Timestamp,
}

/// What the partition's clock knows: outages in order, without overlap, and the last sign of life.
#[derive(Clone, Eq, PartialEq, Debug, Default)]
pub struct Outages {
    list: Vec<Outage>,
    alive_at: Option<Timestamp>,
    /// Position of the last fact of the clock.
    pub decided: Position,
}

/// Outages that ended this long before the newest are forgotten: no deadline reaches back so far, because every time
/// that a token may take is at most thirty days, and a token takes at most two of them.
const KEPT_MS: u64 = 90 * 86_400_000;
/// Stretches kept. When there are more, the oldest two become one that spans both and the gap between them: deadlines
/// of that age move later rather than earlier.
const LIST_MAX: usize = 1_024;

impl Outages {
    /// What a snapshot row described.
    pub fn restore(list: Vec<Outage>, alive_at: Option<Timestamp>, decided: Position) -> Outages {
        Outages { list, alive_at, decided }
    }

    pub fn list(&self) -> &[Outage] {
        &self.list
    }

    /// When the node was last known to serve.
    pub fn alive_at(&self) -> Option<Timestamp> {
        self.alive_at
    }

    /// A record that the engine stamped with its own time was written at `at`: the node was alive then.
    pub fn saw(&mut self, at: Timestamp) {
        self.alive_at = Some(self.alive_at.map_or(at, |seen| seen.max(at)));
    }

    /// Folds in the clock's fact at `position`; one at or below `decided` is known already.
    pub fn apply(&mut self, fact: &ClockFact, position: Position) {
        if position <= self.decided {
            return;
        }
        self.decided = position;
        self.saw(fact.at());
        if let ClockFact::Outage { from, at: to, .. } = fact {
            self.add(*from, *to);
        }
    }

    /// `start` and `window_ms` of service more: whatever falls into an outage does not count.
    pub fn extend(&self, start: Timestamp, window_ms: u64) -> Timestamp {
        let mut end = start.saturating_add_millis(window_ms);
        let first = self.list.partition_point(|outage| outage.to <= start);
        for outage in self.list.iter().skip(first) {
            if outage.from >= end {
                break;
            }
            end = end.saturating_add_millis(millis_between(outage.from.max(start), outage.to));
        }
        end
    }

    fn add(&mut self, from: Timestamp, to: Timestamp) {
        let from = self.list.last().map_or(from, |last| from.max(last.to));
        if to <= from {
            return;
        }
        self.list.push(Outage { from, to });
        let kept = |outage: &Outage| millis_between(outage.to, to) < KEPT_MS;
        self.list.retain(kept);
        if self.list.len() > LIST_MAX {
            let first = self.list.remove(0);
            if let Some(second) = self.list.first_mut() {
                second.from = first.from;
            }
        }
    }
}

/// Milliseconds from `from` to `to`; zero when `to` is not after it.
pub(crate) fn millis_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.millis().saturating_sub(from.millis())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn outages(stretches: &[(i64, i64)]) -> Outages {
        let mut outages = Outages::default();
        for (index, (from, to)) in (1u64..).zip(stretches) {
            let fact = ClockFact::Outage { from: at(*from), at: at(*to), cause: OutageCause::Down };
            outages.apply(&fact, Position::new(index));
        }
        outages
    }

    #[track_caller]
    fn check(stretches: &[(i64, i64)], start: i64, window_ms: u64, expected: i64) {
        assert_eq!(outages(stretches).extend(at(start), window_ms), at(expected));
    }

    #[test]
    fn only_the_time_that_was_served_counts() {
        check(&[], 100, 50, 150);
        check(&[(0, 100)], 100, 50, 150);
        check(&[(150, 170)], 100, 50, 150);
        check(&[(149, 170)], 100, 50, 171);
        check(&[(90, 120)], 100, 50, 170);
        // The second begins within the time that the first has added.
        check(&[(110, 130), (160, 200)], 100, 50, 210);
        check(&[(110, 130), (170, 200)], 100, 50, 170);
        check(&[(0, i64::MAX)], 100, 50, i64::MAX);
    }

    #[test]
    fn stretches_do_not_overlap_and_signs_of_life_do_not_go_back() {
        let outages = outages(&[(10, 30), (20, 40), (25, 35)]);
        assert_eq!(
            outages.list(),
            [Outage { from: at(10), to: at(30) }, Outage { from: at(30), to: at(40) }]
        );
        assert_eq!(outages.alive_at(), Some(at(40)));
        let mut later = outages.clone();
        later.apply(&ClockFact::Alive { at: at(50) }, Position::new(4));
        later.saw(at(45));
        assert_eq!((later.alive_at(), later.decided), (Some(at(50)), Position::new(4)));
        later.apply(
            &ClockFact::Outage { from: at(50), at: at(90), cause: OutageCause::Clock },
            Position::new(4),
        );
        assert_eq!(later.list(), outages.list(), "a record is folded in once");
    }

    #[test]
    fn the_list_is_bounded_and_errs_towards_later() {
        let many: Vec<(i64, i64)> = (0..2_000).map(|index| (index * 10, index * 10 + 5)).collect();
        let kept = outages(&many);
        assert_eq!(kept.list().len(), LIST_MAX);
        assert_eq!(kept.extend(at(19_990), 8), at(20_003));
        assert!(kept.extend(at(0), 8) > at(8), "what was merged still counts");
        let old = outages(&[(0, 5), (i64::try_from(KEPT_MS).expect("small") + 5, i64::MAX)]);
        assert_eq!(old.list().len(), 1);
    }
}
