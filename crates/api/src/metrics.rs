//! Every metric of the front end, registered once.
//!
//! | name | labels |
//! |---|---|
//! | `agentpay_http_requests_total` | `route` (pattern with method, `unmatched`, `protocol`), `outcome` ([`OK`], [`REPLAYED`] or a label of the error table) |
//! | `agentpay_http_request_seconds` | `route` |
//! | `agentpay_http_in_flight_requests` | |
//! | `agentpay_http_connections` | |
//! | `agentpay_http_connections_closed_total` | `reason` (see [`Closed`]) |
//! | `agentpay_http_batch_payments` | |
//! | `agentpay_http_payment_tokens_total` | `work` (see [`TokenWork`]) |
//!
//! Labels come from the route table and from enums, never from a request. Counters register themselves with their first
//! event, so that the exporter shows only outcomes that happened; after that an event is one atomic addition.

use std::{sync::OnceLock, time::Duration};

use metrics::{Counter, Gauge, Histogram};

use crate::{
    errors::Kind,
    routes::{Route, routes},
};

/// Outcome of a request that got its result.
pub(crate) const OK: &str = "ok";
/// Outcome of a request that got an earlier result again.
pub(crate) const REPLAYED: &str = "replayed";

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Replayed,
    Problem(Kind),
}

impl Outcome {
    const COUNT: usize = 2 + Kind::ALL.len();

    fn place(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Replayed => 1,
            Self::Problem(kind) => 2 + kind as usize,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Ok => OK,
            Self::Replayed => REPLAYED,
            Self::Problem(kind) => kind.row().label,
        }
    }
}

/// What a request was for, as far as it was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Place in the route table.
    Route(usize),
    /// No route, or another method.
    Unmatched,
    /// Not even a request.
    Protocol,
}

impl Target {
    fn place(self) -> usize {
        match self {
            Self::Route(place) => place,
            Self::Unmatched => routes().len(),
            Self::Protocol => routes().len() + 1,
        }
    }
}

/// Why the gateway ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Closed {
    /// The client left, or asked to close.
    Done,
    /// The head was refused.
    Refused,
    /// The head took too long.
    HeadTimeout,
    Idle,
    /// The answer was not read.
    WriteTimeout,
    /// The node stops.
    Drained,
    /// The connection broke.
    Broken,
}

impl Closed {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Done, "done"),
        (Self::Refused, "refused"),
        (Self::HeadTimeout, "head_timeout"),
        (Self::Idle, "idle"),
        (Self::WriteTimeout, "write_timeout"),
        (Self::Drained, "drained"),
        (Self::Broken, "broken"),
    ];
}

/// What was done with the text of a payment token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum TokenWork {
    Signed,
    /// Recognised by its signature.
    Verified,
    /// Recognised without: this process signed it a moment ago.
    Remembered,
    /// Not a token of this node.
    Rejected,
}

impl TokenWork {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Signed, "signed"),
        (Self::Verified, "verified"),
        (Self::Remembered, "remembered"),
        (Self::Rejected, "rejected"),
    ];
}

/// Handles of all metrics.
pub(crate) struct Metrics {
    labels: Vec<String>,
    requests: Vec<OnceLock<Counter>>,
    seconds: Vec<Histogram>,
    in_flight: Gauge,
    pub(crate) connections: Gauge,
    closed: [Counter; Closed::ALL.len()],
    batch_payments: Histogram,
    tokens: [Counter; TokenWork::ALL.len()],
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut labels: Vec<String> = routes().iter().map(Route::label).collect();
        labels.extend(["unmatched", "protocol"].map(String::from));
        let seconds = labels
            .iter()
            .map(|label| metrics::histogram!("agentpay_http_request_seconds", "route" => label.clone()));
        Self {
            seconds: seconds.collect(),
            requests: (0..labels.len() * Outcome::COUNT).map(|_| OnceLock::new()).collect(),
            labels,
            in_flight: metrics::gauge!("agentpay_http_in_flight_requests"),
            connections: metrics::gauge!("agentpay_http_connections"),
            closed: Closed::ALL.map(
                |(_, reason)| metrics::counter!("agentpay_http_connections_closed_total", "reason" => reason),
            ),
            batch_payments: metrics::histogram!("agentpay_http_batch_payments"),
            tokens: TokenWork::ALL
                .map(|(_, work)| metrics::counter!("agentpay_http_payment_tokens_total", "work" => work)),
        }
    }

    /// One request has been answered.
    pub(crate) fn answered(&self, target: Target, outcome: Outcome, took: Duration) {
        let place = target.place();
        let counter = self.requests[place * Outcome::COUNT + outcome.place()].get_or_init(|| {
            let (route, outcome) = (self.labels[place].clone(), outcome.label());
            metrics::counter!("agentpay_http_requests_total", "route" => route, "outcome" => outcome)
        });
        counter.increment(1);
        self.seconds[place].record(took.as_secs_f64());
    }

    /// Counts a request as under way until the returned value is dropped, be it that its connection broke.
    pub(crate) fn in_flight(&self) -> InFlight<'_> {
        self.in_flight.increment(1.0);
        InFlight(&self.in_flight)
    }

    /// A batch of so many payments arrived.
    pub(crate) fn batch(&self, payments: usize) {
        // A batch has at most 10 000 items, which a float holds exactly.
        self.batch_payments.record(u32::try_from(payments).map_or(f64::MAX, f64::from));
    }

    /// Something was done with a token's text.
    pub(crate) fn token(&self, work: TokenWork) {
        self.tokens[work as usize].increment(1);
    }

    /// A connection has ended.
    pub(crate) fn closed(&self, reason: Closed) {
        self.closed[reason as usize].increment(1);
    }
}

/// A request under way.
pub(crate) struct InFlight<'m>(&'m Gauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_place_of_its_own() {
        let outcomes = [Outcome::Ok, Outcome::Replayed].into_iter().chain(Kind::ALL.map(Outcome::Problem));
        for (place, outcome) in outcomes.enumerate() {
            assert_eq!(outcome.place(), place, "{outcome:?}");
            assert!(!outcome.label().is_empty());
        }
        for (place, (closed, _)) in Closed::ALL.into_iter().enumerate() {
            assert_eq!(closed as usize, place, "{closed:?}");
        }
        for (place, (work, _)) in TokenWork::ALL.into_iter().enumerate() {
            assert_eq!(work as usize, place, "{work:?}");
        }
    }

    #[test]
    fn events_of_every_kind_are_taken() {
        let metrics = Metrics::new();
        for target in
            [Target::Route(0), Target::Route(routes().len() - 1), Target::Unmatched, Target::Protocol]
        {
            for outcome in [Outcome::Ok, Outcome::Replayed, Outcome::Problem(Kind::Damaged)] {
                metrics.answered(target, outcome, Duration::from_micros(5));
            }
        }
        let registered = metrics.requests.iter().filter(|counter| counter.get().is_some()).count();
        assert_eq!(registered, 12, "one counter per pair that happened");
    }
}
