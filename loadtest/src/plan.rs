//! What a run is asked to do: target, connections, pace, and how long.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use crate::Error;

/// The server under load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where connections go.
    pub address: SocketAddr,
    /// Value of the `host` header.
    pub authority: String,
}

impl Target {
    /// Reads `http://host:port`, with or without a trailing slash. The name is resolved once, here.
    pub fn parse(url: &str) -> Result<Target, Error> {
        let refused = |reason| Error::Target { url: url.to_owned(), reason };
        let rest = url.strip_prefix("http://").ok_or_else(|| refused("it must begin with http://"))?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('/') {
            return Err(refused("it must not have a path"));
        }
        let mut addresses =
            authority.to_socket_addrs().map_err(|_| refused("host and port do not resolve"))?;
        let address = addresses.next().ok_or_else(|| refused("host and port do not resolve"))?;
        Ok(Target { address, authority: authority.to_owned() })
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Target {
        Target { address, authority: address.to_string() }
    }
}

/// When the next request is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Each connection asks again as soon as it was answered. Latency counts from the send.
    Closed,
    /// Requests have evenly spaced intended start times. One that finds no idle connection waits for the next one
    /// that becomes idle, and its latency still counts from its intended time, so that a stall of the server is
    /// seen by every request that it delayed.
    Open { requests_per_second: f64 },
    /// The same with a rate that changes evenly from the begin of the warm-up to the end of the window.
    Ramp { from_per_second: f64, to_per_second: f64 },
}

/// One run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the live line calls it.
    pub label: &'static str,
    pub target: Target,
    /// Keep-alive connections, all opened before the first request.
    pub connections: usize,
    pub pace: Pace,
    /// Load before the measured window; its answers are checked, not timed.
    pub warm_up: Duration,
    /// The measured window. `None`: until the workload has no more requests.
    pub measure: Option<Duration>,
    /// How long after the end to wait for answers that are still out.
    pub drain: Duration,
    /// How long the target may be unreachable before the run is given up; connections are tried again meanwhile.
    /// Zero: a connection that cannot be opened again at once stays away.
    pub patience: Duration,
    /// Number of answers that a run without a window will get, for the live line.
    pub expected: Option<u64>,
}

impl Plan {
    /// Each bound is far above any use and keeps a typing error from exhausting the machine.
    const CONNECTIONS_MAX: usize = 20_000;

    /// A closed loop for a fixed time.
    pub fn closed(target: Target, connections: usize, warm_up: Duration, measure: Duration) -> Plan {
        Plan {
            label: "load",
            target,
            connections,
            pace: Pace::Closed,
            warm_up,
            measure: Some(measure),
            drain: Duration::from_secs(10),
            patience: Duration::ZERO,
            expected: None,
        }
    }

    /// A closed loop that ends when the workload has nothing more to send.
    pub fn exhaust(target: Target, connections: usize) -> Plan {
        Plan { measure: None, ..Plan::closed(target, connections, Duration::ZERO, Duration::ZERO) }
    }

    /// An open loop for a fixed time.
    pub fn open(
        target: Target,
        connections: usize,
        requests_per_second: f64,
        warm_up: Duration,
        measure: Duration,
    ) -> Plan {
        Plan {
            pace: Pace::Open { requests_per_second },
            ..Plan::closed(target, connections, warm_up, measure)
        }
    }

    /// Warm-up and window; `None` without a window.
    pub(crate) fn total(&self) -> Option<Duration> {
        self.measure.map(|window| self.warm_up + window)
    }

    /// Time from the start at which the request with this index is to be sent; `None` in a closed loop and behind the
    /// end of a ramp.
    pub(crate) fn intended(&self, index: u64) -> Option<Duration> {
        let index = index as f64;
        let seconds = match self.pace {
            Pace::Closed => return None,
            Pace::Open { requests_per_second } => index / requests_per_second,
            Pace::Ramp { from_per_second, .. } => {
                // Solves from·t + slope·t²/2 = index; in this form nothing cancels when the slope is small.
                let radicand = from_per_second * from_per_second + 2.0 * self.slope() * index;
                if radicand < 0.0 {
                    return None;
                }
                2.0 * index / (from_per_second + radicand.sqrt())
            }
        };
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// How many requests were intended before this moment.
    pub(crate) fn intended_before(&self, elapsed: Duration) -> f64 {
        let seconds = elapsed.as_secs_f64();
        match self.pace {
            Pace::Closed => 0.0,
            Pace::Open { requests_per_second } => requests_per_second * seconds,
            Pace::Ramp { from_per_second, .. } => {
                from_per_second * seconds + self.slope() * seconds * seconds / 2.0
            }
        }
    }

    /// Change of a ramp's rate per second.
    fn slope(&self) -> f64 {
        match (self.pace, self.total()) {
            (Pace::Ramp { from_per_second, to_per_second }, Some(total)) => {
                (to_per_second - from_per_second) / total.as_secs_f64()
            }
            _ => 0.0,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        if self.connections == 0 || self.connections > Plan::CONNECTIONS_MAX {
            return Err(Error::Plan("connections must be between 1 and 20000"));
        }
        if self.measure.is_some_and(|window| window.is_zero()) {
            return Err(Error::Plan("the measured window must be longer than zero"));
        }
        match self.pace {
            Pace::Closed => Ok(()),
            _ if self.measure.is_none() => Err(Error::Plan("an open loop needs a measured window")),
            Pace::Open { requests_per_second } => usable_rate(requests_per_second),
            Pace::Ramp { from_per_second, to_per_second } => {
                usable_rate(from_per_second)?;
                usable_rate(to_per_second)
            }
        }
    }
}

fn usable_rate(per_second: f64) -> Result<(), Error> {
    if (0.001..=10_000_000.0).contains(&per_second) {
        Ok(())
    } else {
        Err(Error::Plan("a rate must be between 0.001 and 10000000 requests per second"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_host_and_port_only() {
        let target = Target::parse("http://127.0.0.1:3100/").expect("a plain address");
        assert_eq!(target.address, SocketAddr::from(([127, 0, 0, 1], 3100)));
        assert_eq!(target.authority, "127.0.0.1:3100");
        for url in ["127.0.0.1:3100", "https://127.0.0.1:3100", "http://127.0.0.1", "http://127.0.0.1:1/v1"] {
            assert!(matches!(Target::parse(url), Err(Error::Target { .. })), "{url}");
        }
    }

    #[test]
    fn unusable_plans_are_refused() {
        let target = Target::from(SocketAddr::from(([127, 0, 0, 1], 1)));
        let second = Duration::from_secs(1);
        let good = Plan::closed(target.clone(), 1, Duration::ZERO, second);
        assert!(good.validate().is_ok());
        let refused = [
            Plan { connections: 0, ..good.clone() },
            Plan { connections: 1_000_000, ..good.clone() },
            Plan { measure: Some(Duration::ZERO), ..good.clone() },
            Plan { measure: None, ..Plan::open(target.clone(), 1, 10.0, second, second) },
            Plan::open(target.clone(), 1, 0.0, second, second),
            Plan::open(target.clone(), 1, f64::NAN, second, second),
            Plan { pace: Pace::Ramp { from_per_second: 0.0, to_per_second: 9.0 }, ..good.clone() },
            Plan { pace: Pace::Ramp { from_per_second: 9.0, to_per_second: -1.0 }, ..good.clone() },
        ];
        for plan in refused {
            assert!(matches!(plan.validate(), Err(Error::Plan(_))), "{plan:?}");
        }
    }

    #[test]
    fn a_ramp_sends_more_and_more() {
        let target = Target::from(SocketAddr::from(([127, 0, 0, 1], 1)));
        let pace = Pace::Ramp { from_per_second: 100.0, to_per_second: 300.0 };
        let plan = Plan { pace, ..Plan::closed(target, 1, Duration::from_secs(2), Duration::from_secs(8)) };
        // Ten seconds at 200 per second on average.
        assert!((plan.intended_before(Duration::from_secs(10)) - 2_000.0).abs() < 1e-6);
        let mut last = Duration::ZERO;
        let mut last_gap = Duration::from_secs(1);
        for index in 1..2_000_u64 {
            let intended = plan.intended(index).expect("within the ramp");
            let back = plan.intended_before(intended);
            assert!((back - index as f64).abs() < 1e-3, "{index} became {back}");
            let gap = intended - last;
            assert!(gap <= last_gap + Duration::from_nanos(2), "at {index}");
            (last, last_gap) = (intended, gap);
        }
        let falling = Plan { pace: Pace::Ramp { from_per_second: 300.0, to_per_second: 100.0 }, ..plan };
        assert!(falling.intended(2_000).is_some());
        assert_eq!(falling.intended(1_000_000), None);
    }
}
