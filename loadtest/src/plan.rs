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
}

/// One run.
#[derive(Debug, Clone)]
pub struct Plan {
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
}

impl Plan {
    /// Each bound is far above any use and keeps a typing error from exhausting the machine.
    const CONNECTIONS_MAX: usize = 20_000;

    /// A closed loop for a fixed time.
    pub fn closed(target: Target, connections: usize, warm_up: Duration, measure: Duration) -> Plan {
        Plan {
            target,
            connections,
            pace: Pace::Closed,
            warm_up,
            measure: Some(measure),
            drain: Duration::from_secs(10),
        }
    }

    /// A closed loop that ends when the workload has nothing more to send.
    pub fn exhaust(target: Target, connections: usize) -> Plan {
        Plan {
            target,
            connections,
            pace: Pace::Closed,
            warm_up: Duration::ZERO,
            measure: None,
            drain: Duration::from_secs(10),
        }
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

    pub(crate) fn validate(&self) -> Result<(), Error> {
        if self.connections == 0 || self.connections > Plan::CONNECTIONS_MAX {
            return Err(Error::Plan("connections must be between 1 and 20000"));
        }
        if self.measure.is_some_and(|window| window.is_zero()) {
            return Err(Error::Plan("the measured window must be longer than zero"));
        }
        match self.pace {
            Pace::Closed => Ok(()),
            Pace::Open { .. } if self.measure.is_none() => {
                Err(Error::Plan("an open loop needs a measured window"))
            }
            Pace::Open { requests_per_second } if !(0.001..=10_000_000.0).contains(&requests_per_second) => {
                Err(Error::Plan("the rate must be between 0.001 and 10000000 requests per second"))
            }
            Pace::Open { .. } => Ok(()),
        }
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
            Plan::open(target, 1, f64::NAN, second, second),
        ];
        for plan in refused {
            assert!(matches!(plan.validate(), Err(Error::Plan(_))), "{plan:?}");
        }
    }
}
