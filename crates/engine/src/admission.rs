//! Permits: taken at the engine's face before anything is sent, travelling with the command, given back when its reply
//! has been released. ractor's mailboxes are unbounded, so this is what bounds them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering},
};

use crate::refusal::Refusal;

/// Counter of the whole engine.
pub(crate) struct Admission {
    in_flight: AtomicU32,
    in_flight_max: u32,
    per_agent_max: u32,
}

impl Admission {
    pub(crate) fn new(in_flight_max: u32, per_agent_max: u32) -> Arc<Self> {
        Arc::new(Self { in_flight: AtomicU32::new(0), in_flight_max, per_agent_max })
    }

    /// Payments under way now.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Takes `weight` places (a batch weighs as many as it has items) for one agent, all or none.
    pub(crate) fn admit(self: &Arc<Self>, meter: &Arc<AgentMeter>, weight: u32) -> Result<Permit, Refusal> {
        if !take(&meter.in_flight, weight, self.per_agent_max) {
            return Err(Refusal::TooManyInFlight);
        }
        if !take(&self.in_flight, weight, self.in_flight_max) {
            meter.in_flight.fetch_sub(weight, Ordering::AcqRel);
            return Err(Refusal::Overloaded);
        }
        let places = Places { admission: self.clone(), meter: meter.clone(), weight };
        Ok(Permit { places, given_back: None })
    }
}

/// Adds `weight` unless that would pass `max`. A weight above `max` is let through alone, so that a full batch is
/// never impossible under a small configured bound.
fn take(counter: &AtomicU32, weight: u32, max: u32) -> bool {
    let before = counter.fetch_add(weight, Ordering::AcqRel);
    if before == 0 || before.saturating_add(weight) <= max {
        return true;
    }
    counter.fetch_sub(weight, Ordering::AcqRel);
    false
}

/// Places held by one command until its reply is released.
pub(crate) struct Permit {
    places: Places,
    /// Set by whoever gives the places back, where there are two.
    given_back: Option<Arc<AtomicBool>>,
}

/// Gives the places of a [`Permit`] back before it goes; forgotten, it leaves them to the permit.
pub(crate) struct GiveBack {
    places: Places,
    given_back: Arc<AtomicBool>,
}

#[derive(Clone)]
struct Places {
    admission: Arc<Admission>,
    meter: Arc<AgentMeter>,
    weight: u32,
}

impl Places {
    fn give_back(&self) {
        self.meter.in_flight.fetch_sub(self.weight, Ordering::AcqRel);
        self.admission.in_flight.fetch_sub(self.weight, Ordering::AcqRel);
    }
}

impl Permit {
    /// For a requester whose answer may be ready before the permit that travels with the log comes back.
    pub(crate) fn give_back_early(&mut self) -> GiveBack {
        let given_back = self.given_back.get_or_insert_default().clone();
        GiveBack { places: self.places.clone(), given_back }
    }
}

impl GiveBack {
    pub(crate) fn now(self) {
        if !self.given_back.swap(true, Ordering::AcqRel) {
            self.places.give_back();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let is_done =
            self.given_back.as_ref().is_some_and(|given_back| given_back.swap(true, Ordering::AcqRel));
        if !is_done {
            self.places.give_back();
        }
    }
}

/// What one agent has under way, and its token bucket. Not durable: a restart begins with a full bucket.
#[derive(Default)]
pub struct AgentMeter {
    in_flight: AtomicU32,
    bucket: TokenBucket,
}

/// Outcome of a successful [`AgentMeter::try_take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining(pub u32);

/// Milliseconds after which a refused caller may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfterMs(pub u64);

impl AgentMeter {
    /// Takes `tokens` from a bucket that refills at `per_second` and holds one second's worth.
    pub fn try_take(&self, now_ms: i64, per_second: u32, tokens: u32) -> Result<Remaining, RetryAfterMs> {
        self.bucket.try_take(now_ms, per_second, tokens)
    }
}

/// Generic cell rate algorithm in one atomic word: the time at which the bucket would be full again, in units of
/// 2⁻¹⁰ ms so that rates up to a million per second keep their precision.
#[derive(Default)]
struct TokenBucket {
    full_at: AtomicU64,
    base_ms: AtomicI64,
}

const UNITS_PER_MS: u64 = 1 << 10;
/// Head room kept below the first observation, so that the word never has to go negative.
const START_UNITS: u64 = 2_000 * UNITS_PER_MS;

impl TokenBucket {
    fn try_take(&self, now_ms: i64, per_second: u32, tokens: u32) -> Result<Remaining, RetryAfterMs> {
        let per_second = u64::from(per_second.max(1));
        let window = 1_000 * UNITS_PER_MS;
        let now = self.units_since_first_use(now_ms);
        let cost = (u64::from(tokens) * window).div_ceil(per_second);
        let mut full_at = self.full_at.load(Ordering::Acquire);
        loop {
            // A clock that went back leaves `full_at` far ahead; it is never allowed to lock a caller out for longer
            // than one window.
            let start = full_at.clamp(now, now + window);
            let next = start + cost;
            // One request larger than the whole bucket is let through when the bucket is full, and paid back later.
            if next > now + window && start > now {
                return Err(RetryAfterMs(
                    (next - now - window).min(cost + window).div_ceil(UNITS_PER_MS).max(1),
                ));
            }
            match self.full_at.compare_exchange_weak(full_at, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    let left = (now + window).saturating_sub(next) * per_second / window;
                    return Ok(Remaining(u32::try_from(left).unwrap_or(u32::MAX)));
                }
                Err(seen) => full_at = seen,
            }
        }
    }

    fn units_since_first_use(&self, now_ms: i64) -> u64 {
        let base = match self.base_ms.compare_exchange(0, now_ms, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => now_ms,
            Err(base) => base,
        };
        let since = u64::try_from(now_ms.saturating_sub(base)).unwrap_or(0);
        START_UNITS.saturating_add(since.saturating_mul(UNITS_PER_MS).min(u64::MAX / 4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_are_given_back_early_come_back_once() {
        let (admission, meter) = (Admission::new(10, 10), Arc::new(AgentMeter::default()));
        let mut permit = admission.admit(&meter, 6).expect("six of ten");
        let early = permit.give_back_early();
        early.now();
        assert_eq!(admission.in_flight(), 0);
        let other = admission.admit(&meter, 10).expect("all are free");
        drop(permit);
        assert_eq!(admission.in_flight(), 10, "the others' places stay taken");
        drop(other);

        let mut permit = admission.admit(&meter, 6).expect("six of ten");
        let late = permit.give_back_early();
        let forgotten = permit.give_back_early();
        drop(forgotten);
        assert_eq!(admission.in_flight(), 6, "a requester that went away frees nothing");
        drop(permit);
        late.now();
        assert_eq!(admission.in_flight(), 0);
    }

    #[test]
    fn permits_bound_agent_and_engine_and_come_back() {
        let admission = Admission::new(10, 6);
        let (a, b) = (Arc::new(AgentMeter::default()), Arc::new(AgentMeter::default()));
        let first = admission.admit(&a, 6).expect("six of six");
        assert_eq!(admission.admit(&a, 1).err(), Some(Refusal::TooManyInFlight));
        let second = admission.admit(&b, 4).expect("ten of ten");
        assert_eq!(admission.admit(&b, 1).err(), Some(Refusal::Overloaded));
        drop(first);
        assert_eq!(admission.in_flight(), 4);
        drop(second);
        assert_eq!(admission.in_flight(), 0);
        assert!(admission.admit(&a, 600).is_ok(), "a batch above the bound passes alone");
    }

    #[test]
    fn bucket_holds_one_second_refills_and_survives_clock_jumps() {
        let meter = AgentMeter::default();
        let t = 1_700_000_000_000;
        for left in (0..10).rev() {
            assert_eq!(meter.try_take(t, 10, 1), Ok(Remaining(left)));
        }
        let RetryAfterMs(wait) = meter.try_take(t, 10, 1).expect_err("empty");
        assert!((1..=101).contains(&wait), "one token refills within 100 ms, got {wait}");
        assert!(meter.try_take(t + 101, 10, 1).is_ok());
        assert!(
            meter.try_take(t - 3_600_000, 10, 1).is_err(),
            "a clock that went back gives nothing for free"
        );
        assert!(meter.try_take(t + 3_600_000, 10, 1).is_ok());
        assert!(meter.try_take(t + 3_602_000, 10, 50).is_ok(), "one large request passes a full bucket");
        assert!(meter.try_take(t + 3_602_000, 10, 1).is_err(), "and is paid back");
    }
}
