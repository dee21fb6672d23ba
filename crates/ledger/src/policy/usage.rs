//! What was used of a policy's windows.
//!
//! Facts of the owner add to it in their order; ends of holds give back in theirs. The two streams have no order between
//! them and need none: adding and giving back within a slot commute, a slot is forgotten by the time of the owner's own
//! facts alone, and a hold is given back to the slot it was taken from, or not at all when that is gone or the window
//! began after it.

use super::{Policy, Span};
use crate::{Amount, Position, Timestamp};

/// Most buckets that a window can have at once: those of a rolling window, and one on either side.
pub const BUCKETS_MAX: usize = 34;

/// What a fact used.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub struct Spending {
    /// Fees included.
    pub amount: Amount,
    pub payments: u32,
}

impl Spending {
    #[must_use]
    pub fn and(self, other: Spending) -> Spending {
        Spending {
            amount: self.amount.checked_add(other.amount).unwrap_or(Amount::SUPPLY_MAX),
            payments: self.payments.saturating_add(other.payments),
        }
    }

    /// Takes back what [`Self::and`] has added.
    #[must_use]
    pub fn without(self, other: Spending) -> Spending {
        Spending {
            amount: self.amount.checked_sub(other.amount).unwrap_or(Amount::ZERO),
            payments: self.payments.saturating_sub(other.payments),
        }
    }
}

/// The end of a hold whose funds went back.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Release {
    /// The reservation.
    pub reserved: Position,
    pub reserved_at: Timestamp,
    pub amount: Amount,
}

/// What a window adds up.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Measure {
    /// Nanos.
    Amount,
    /// Payments.
    Count,
}

/// Everything used within one slot; never zero.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Bucket {
    pub slot: i64,
    pub used: i128,
}

const _: () = assert!(size_of::<Bucket>() == 32);

/// One window.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Used {
    pub measure: Measure,
    pub span: Span,
    /// The change of policy that began it: it knows nothing from before.
    pub since: Position,
    /// By slot.
    pub buckets: Vec<Bucket>,
}

/// All windows of a policy: those of its limits, then those of its counts.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Usage {
    /// Time of the owner's latest fact. Time does not run backwards here.
    pub latest: Timestamp,
    pub windows: Vec<Used>,
}

impl Usage {
    /// The windows of `policy`, set at `at` by the record at `since`. Those that the usage before has too go on.
    pub(super) fn begin(policy: &Policy, at: Timestamp, since: Position, before: Option<Usage>) -> Usage {
        let known = before.as_ref().map_or(at, |before| before.latest);
        let mut old = before.map(|before| before.windows).unwrap_or_default();
        let mut goes_on = false;
        let mut window = |measure, span| {
            let kept = old.iter().position(|used| used.measure == measure && used.span == span);
            let fresh = || Used { measure, span, since, buckets: Vec::new() };
            goes_on |= kept.is_some();
            kept.map_or_else(fresh, |place| old.swap_remove(place))
        };
        let mut windows: Vec<Used> =
            policy.limits.iter().map(|limit| window(Measure::Amount, limit.span)).collect();
        windows.extend(policy.max_payments.iter().map(|limit| window(Measure::Count, limit.span)));
        // What new windows alone know begins with them.
        let latest = if goes_on { known.max(at) } else { at };
        let mut usage = Usage { latest, windows };
        usage.forget();
        usage
    }

    /// Whether these are the windows of `policy`, well formed: for usage that was read from disk.
    pub fn fits(&self, policy: &Policy) -> bool {
        let amounts = policy.limits.iter().map(|limit| (Measure::Amount, limit.span));
        let counts = policy.max_payments.iter().map(|limit| (Measure::Count, limit.span));
        let listed = self.windows.iter().map(|used| (used.measure, used.span));
        listed.eq(amounts.chain(counts)) && self.windows.iter().all(Used::is_sound)
    }

    /// Adds what a fact at `at` used.
    pub(super) fn add(&mut self, spending: Spending, at: Timestamp) {
        self.add_by(spending, at, Position::new(u64::MAX));
    }

    /// As [`Self::add`] for the record at `position` of somebody whose records have no order with the changes of this
    /// policy: a window that began after it does not count it.
    pub(super) fn add_by(&mut self, spending: Spending, at: Timestamp, position: Position) {
        if self.windows.iter().all(|used| position <= used.since) {
            return;
        }
        self.latest = self.latest.max(at);
        for used in self.windows.iter_mut().filter(|used| position > used.since) {
            used.change(used.span.slot(at), used.measure.of(spending));
        }
        self.forget();
    }

    /// Gives back what a hold had used. Its place in time does not move `latest`: releases come in another order.
    pub(super) fn give_back(&mut self, release: Release) {
        let spending = Spending { amount: release.amount, payments: 1 };
        for used in self.windows.iter_mut().filter(|used| release.reserved > used.since) {
            let back = used.measure.of(spending).saturating_neg();
            let slot = used.span.slot(release.reserved_at);
            if used.buckets.iter().any(|bucket| bucket.slot == slot) {
                used.change(slot, back);
            }
        }
    }

    fn forget(&mut self) {
        for used in &mut self.windows {
            let (span, latest) = (used.span, self.latest);
            used.buckets.retain(|bucket| span.expiry(bucket.slot) > latest);
        }
    }
}

impl Measure {
    pub(super) fn of(self, spending: Spending) -> i128 {
        match self {
            Measure::Amount => spending.amount.nanos(),
            Measure::Count => spending.payments.into(),
        }
    }
}

impl Used {
    /// What counts at `at`.
    pub(super) fn total(&self, at: Timestamp) -> i128 {
        let counting = self.buckets.iter().filter(|bucket| self.span.expiry(bucket.slot) > at);
        counting.fold(0, |sum: i128, bucket| sum.saturating_add(bucket.used))
    }

    /// When `needed` will fit below `limit`, if nothing is used meanwhile but `at_once`, now; `None` when it never will.
    pub(super) fn fits_at(
        &self,
        limit: i128,
        needed: i128,
        at_once: i128,
        at: Timestamp,
    ) -> Option<Timestamp> {
        let room = limit.checked_sub(needed).filter(|room| *room >= 0)?;
        let now_until = self.span.expiry(self.span.slot(at));
        let mut expiries: Vec<Timestamp> =
            self.buckets.iter().map(|bucket| self.span.expiry(bucket.slot)).collect();
        expiries.push(now_until);
        expiries.retain(|expiry| *expiry > at);
        expiries.sort_unstable();
        let used =
            |then: Timestamp| self.total(then).saturating_add(if then < now_until { at_once } else { 0 });
        expiries.into_iter().find(|expiry| used(*expiry) <= room)
    }

    /// When the oldest use that counts at `at` will not count any more.
    pub(super) fn first_expiry(&self, at: Timestamp) -> Option<Timestamp> {
        let expiries = self.buckets.iter().map(|bucket| self.span.expiry(bucket.slot));
        expiries.filter(|expiry| *expiry > at).min()
    }

    fn change(&mut self, slot: i64, by: i128) {
        match self.buckets.binary_search_by_key(&slot, |bucket| bucket.slot) {
            Ok(place) => {
                self.buckets[place].used = self.buckets[place].used.saturating_add(by);
                if self.buckets[place].used == 0 {
                    self.buckets.remove(place);
                }
            }
            Err(_) if by == 0 => {}
            Err(place) => self.buckets.insert(place, Bucket { slot, used: by }),
        }
    }

    fn is_sound(&self) -> bool {
        let sorted = self.buckets.is_sorted_by(|one, next| one.slot < next.slot);
        sorted && self.buckets.len() <= BUCKETS_MAX && self.buckets.iter().all(|bucket| bucket.used > 0)
    }
}
