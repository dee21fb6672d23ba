//! Which deliveries are due, and which of them may go now. In memory only: it follows from the rows on disk.
//!
//! Pure, with time as an argument. A webhook has so many attempts under way at most, one until it has answered and while
//! it fails, and never two about the same object, so that events of one object arrive in order as long as they are taken.
//! Webhooks that failed last, or have never answered, share one half of all places: however many there are and however
//! long they take, the other half belongs to those that answer.

use std::collections::{BTreeSet, HashMap};

use ledger::WebhookId;

use crate::Options;
use crate::store::Place;

/// Due entries looked at for one whose object is free.
const LOOKED_AT_MAX: usize = 64;

/// Bounds of the queue; see [`crate::Options`].
#[derive(Copy, Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) in_flight_max: usize,
    pub(crate) in_flight_per_webhook_max: usize,
}

impl Bounds {
    pub(crate) fn of(options: &Options) -> Bounds {
        Bounds {
            in_flight_max: options.in_flight_max,
            in_flight_per_webhook_max: options.in_flight_per_webhook_max,
        }
    }
}

/// One attempt to make.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) webhook: WebhookId,
    pub(crate) place: Place,
    pub(crate) subject: u128,
    suspect: bool,
}

/// What came of it, as far as the queue is concerned.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// The receiver took it.
    Delivered,
    /// To be tried again at `due_ms`; the whole webhook rests until `rest_until_ms`.
    Retry { due_ms: i64, rest_until_ms: i64 },
    /// It has ended otherwise.
    Ended,
}

type Due = (i64, Place, u128);

pub(crate) struct Queue {
    bounds: Bounds,
    endpoints: HashMap<WebhookId, Endpoint>,
    /// When each webhook has something to do next; those with nothing to do are not in it.
    wakes: BTreeSet<(i64, WebhookId)>,
    pending: usize,
    in_flight: usize,
    in_flight_suspect: usize,
}

#[derive(Default)]
struct Endpoint {
    due: BTreeSet<Due>,
    in_flight: Vec<(Place, u128)>,
    /// Failed attempts in a row.
    failures: u32,
    /// It has taken something since the process began.
    is_proven: bool,
    rest_until_ms: i64,
    wake: Option<i64>,
}

impl Endpoint {
    fn is_suspect(&self) -> bool {
        self.failures > 0 || !self.is_proven
    }

    fn room(&self, bounds: &Bounds) -> bool {
        let most = if self.is_suspect() { 1 } else { bounds.in_flight_per_webhook_max };
        self.in_flight.len() < most
    }

    /// The first entry whose object has no attempt under way, among the earliest.
    fn candidate(&self) -> Option<&Due> {
        let is_free = |due: &&Due| self.in_flight.iter().all(|(_, subject)| *subject != due.2);
        self.due.iter().take(LOOKED_AT_MAX).find(is_free)
    }

    fn next_wake(&self, bounds: &Bounds) -> Option<i64> {
        if !self.room(bounds) {
            return None;
        }
        self.candidate().map(|(due_ms, ..)| (*due_ms).max(self.rest_until_ms))
    }

    fn pending(&self) -> usize {
        self.due.len() + self.in_flight.len()
    }
}

impl Queue {
    pub(crate) fn new(bounds: Bounds) -> Queue {
        Queue {
            bounds,
            endpoints: HashMap::new(),
            wakes: BTreeSet::new(),
            pending: 0,
            in_flight: 0,
            in_flight_suspect: 0,
        }
    }

    /// Deliveries that wait or are under way.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    pub(crate) fn pending_of(&self, webhook: WebhookId) -> usize {
        self.endpoints.get(&webhook).map_or(0, Endpoint::pending)
    }

    /// The webhook that most waits for.
    pub(crate) fn fullest(&self) -> Option<WebhookId> {
        self.endpoints.iter().max_by_key(|(id, endpoint)| (endpoint.pending(), **id)).map(|(id, _)| *id)
    }

    /// One more delivery. One that waits already only gets the new time; one under way stays as it is.
    pub(crate) fn add(&mut self, webhook: WebhookId, place: Place, subject: u128, due_ms: i64) {
        let endpoint = self.endpoints.entry(webhook).or_default();
        if endpoint.in_flight.iter().any(|(other, _)| *other == place) {
            return;
        }
        if endpoint.due.insert((due_ms, place, subject)) {
            self.pending += 1;
        }
        self.schedule(webhook);
    }

    /// Moves a delivery that waits to another time; false when it does not wait.
    pub(crate) fn move_to(&mut self, webhook: WebhookId, place: Place, due_ms: i64) -> bool {
        let Some(endpoint) = self.endpoints.get_mut(&webhook) else { return false };
        let Some(old) = endpoint.due.iter().find(|(_, other, _)| *other == place).copied() else {
            return false;
        };
        endpoint.due.remove(&old);
        endpoint.due.insert((due_ms, place, old.2));
        endpoint.rest_until_ms = endpoint.rest_until_ms.min(due_ms);
        self.schedule(webhook);
        true
    }

    /// Whether an attempt at this delivery is under way.
    pub(crate) fn is_in_flight(&self, webhook: WebhookId, place: Place) -> bool {
        let endpoint = self.endpoints.get(&webhook);
        endpoint.is_some_and(|endpoint| endpoint.in_flight.iter().any(|(other, _)| *other == place))
    }

    /// Takes the next attempt to make at `now_ms`.
    pub(crate) fn take(&mut self, now_ms: i64) -> Option<Work> {
        if self.in_flight >= self.bounds.in_flight_max {
            return None;
        }
        let suspects_are_full = self.in_flight_suspect >= self.bounds.in_flight_max / 2;
        let ready = self.wakes.iter().take_while(|(wake_ms, _)| *wake_ms <= now_ms).map(|(_, id)| *id);
        let is_open = |id: &WebhookId| {
            !suspects_are_full || self.endpoints.get(id).is_some_and(|endpoint| !endpoint.is_suspect())
        };
        let webhook = { ready }.find(is_open)?;
        let endpoint = self.endpoints.get_mut(&webhook)?;
        let entry = *endpoint.candidate()?;
        endpoint.due.remove(&entry);
        let (_, place, subject) = entry;
        endpoint.in_flight.push((place, subject));
        let suspect = endpoint.is_suspect();
        self.in_flight += 1;
        self.in_flight_suspect += usize::from(suspect);
        self.schedule(webhook);
        Some(Work { webhook, place, subject, suspect })
    }

    /// When something can be taken next, after `now_ms`; what is due already waits for a place and not for time.
    pub(crate) fn next_wake(&self, now_ms: i64) -> Option<i64> {
        let after = (now_ms.saturating_add(1), WebhookId::from_raw(0));
        self.wakes.range(after..).next().map(|(wake_ms, _)| *wake_ms)
    }

    /// An attempt has ended.
    pub(crate) fn finish(&mut self, work: Work, done: Done) {
        self.in_flight -= 1;
        self.in_flight_suspect -= usize::from(work.suspect);
        self.pending -= 1;
        let Some(endpoint) = self.endpoints.get_mut(&work.webhook) else { return };
        endpoint.in_flight.retain(|(place, _)| *place != work.place);
        match done {
            Done::Delivered => {
                (endpoint.failures, endpoint.is_proven, endpoint.rest_until_ms) = (0, true, i64::MIN);
            }
            Done::Retry { due_ms, rest_until_ms } => {
                endpoint.failures = endpoint.failures.saturating_add(1);
                endpoint.rest_until_ms = endpoint.rest_until_ms.max(rest_until_ms);
                endpoint.due.insert((due_ms, work.place, work.subject));
                self.pending += 1;
            }
            Done::Ended => {}
        }
        self.schedule(work.webhook);
    }

    /// Failed attempts in a row.
    pub(crate) fn failures(&self, webhook: WebhookId) -> u32 {
        self.endpoints.get(&webhook).map_or(0, |endpoint| endpoint.failures)
    }

    /// Lets a webhook that was turned on again start anew.
    pub(crate) fn forgive(&mut self, webhook: WebhookId) {
        if let Some(endpoint) = self.endpoints.get_mut(&webhook) {
            (endpoint.failures, endpoint.rest_until_ms) = (0, i64::MIN);
            self.schedule(webhook);
        }
    }

    fn schedule(&mut self, webhook: WebhookId) {
        let Some(endpoint) = self.endpoints.get_mut(&webhook) else { return };
        let wake = endpoint.next_wake(&self.bounds);
        if wake != endpoint.wake {
            if let Some(old) = endpoint.wake {
                self.wakes.remove(&(old, webhook));
            }
            if let Some(new) = wake {
                self.wakes.insert((new, webhook));
            }
            endpoint.wake = wake;
        }
        if endpoint.pending() == 0 && !endpoint.is_proven && endpoint.failures == 0 {
            self.endpoints.remove(&webhook);
        }
    }
}

#[cfg(test)]
mod tests;
