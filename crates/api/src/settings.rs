//! What the front end is told at start. Every limit has a unit, a default and a reason; `validate` refuses and never
//! repairs.

use std::time::Duration;

use http::HeaderValue;

/// Settings of one gateway.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Agents are created by operators only and the faucet is closed.
    pub production: bool,
    /// SHA-256 of the operator token; without one every operator route answers 401.
    pub admin_token_hash: Option<[u8; 32]>,
    /// Proxies in front whose `X-Forwarded-For` entries are believed, counted from the right.
    pub trusted_hops: usize,
    /// Origins that browsers may call from, such as `https://demo.example`. Empty: no cross-origin answers.
    pub cors_origins: Vec<String>,
    /// Connections served at once; more wait in the kernel's queue. A quiet one costs about 10 KB.
    pub connections_max: usize,
    /// Bytes of a request head (request line and headers). Ours fit into 1 KB; the rest is for proxies.
    pub head_bytes_max: usize,
    /// Header lines of a request.
    pub head_lines_max: usize,
    /// Bytes of a request target, within the head.
    pub target_bytes_max: usize,
    /// Bytes of a request body.
    pub body_bytes_max: usize,
    /// Bytes of a body of the batch route.
    pub batch_body_bytes_max: usize,
    /// Payments in one batch.
    pub batch_items_max: usize,
    /// Bytes of batch bodies being held at once, over all connections; a batch that finds none free gets 503.
    pub batch_bytes_in_flight_max: usize,
    /// Bytes of an agent's or payment's metadata in compact form.
    pub metadata_bytes_max: usize,
    /// Longest time from the first byte of a request head to its end, and for a new connection to send anything.
    pub head_timeout: Duration,
    /// Longest time a body may take in whole.
    pub body_timeout: Duration,
    /// Slowest body, in bytes per second, measured after [`Self::body_grace`]. Keeps one byte per second out.
    pub body_bytes_per_second_min: u64,
    /// Time before the slowest rate counts.
    pub body_grace: Duration,
    /// Longest time a kept-alive connection may stay quiet.
    pub idle_timeout: Duration,
    /// Longest time the client may take to read one answer.
    pub write_timeout: Duration,
    /// Time for requests under way to finish when the node stops; then connections are cut.
    pub drain_timeout: Duration,
    /// Requests per second of one agent.
    pub agent_requests_per_second: u32,
    /// Requests per second of one client address.
    pub address_requests_per_second: u32,
    /// Requests per minute of one client address without a key (creation of agents).
    pub anonymous_requests_per_minute: u32,
    /// Client addresses remembered for rate limits; about 150 bytes each.
    pub addresses_tracked_max: usize,
    /// Commit the program was built from, shown by `/version`.
    pub commit: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            production: false,
            admin_token_hash: None,
            trusted_hops: 0,
            cors_origins: Vec::new(),
            connections_max: 10_000,
            head_bytes_max: 16 * 1024,
            head_lines_max: 64,
            target_bytes_max: 4 * 1024,
            body_bytes_max: 64 * 1024,
            batch_body_bytes_max: 8 * 1024 * 1024,
            batch_items_max: ledger::BATCH_ITEMS_MAX,
            batch_bytes_in_flight_max: 256 * 1024 * 1024,
            metadata_bytes_max: 16 * 1024,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            body_bytes_per_second_min: 1_024,
            body_grace: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            agent_requests_per_second: 20_000,
            address_requests_per_second: 100_000,
            anonymous_requests_per_minute: 30,
            addresses_tracked_max: 65_536,
            commit: None,
        }
    }
}

/// A setting that cannot be served, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {reason}")]
pub struct SettingsError {
    /// Name of the field.
    pub setting: &'static str,
    /// What is wrong, as a sentence.
    pub reason: String,
}

impl Settings {
    /// Checks every value.
    ///
    /// # Errors
    /// The first setting that cannot be served.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let positive = [
            ("connections_max", self.connections_max),
            ("head_lines_max", self.head_lines_max),
            ("body_bytes_max", self.body_bytes_max),
            ("batch_items_max", self.batch_items_max),
            ("metadata_bytes_max", self.metadata_bytes_max),
            ("agent_requests_per_second", self.agent_requests_per_second as usize),
            ("address_requests_per_second", self.address_requests_per_second as usize),
            ("anonymous_requests_per_minute", self.anonymous_requests_per_minute as usize),
            ("addresses_tracked_max", self.addresses_tracked_max),
        ];
        for (setting, value) in positive {
            if value == 0 {
                return refuse(setting, "must be at least 1");
            }
        }
        let periods = [
            ("head_timeout", self.head_timeout),
            ("body_timeout", self.body_timeout),
            ("idle_timeout", self.idle_timeout),
            ("write_timeout", self.write_timeout),
        ];
        for (setting, value) in periods {
            if !(Duration::from_millis(100)..=Duration::from_secs(3_600)).contains(&value) {
                return refuse(setting, "must lie between 100 ms and one hour");
            }
        }
        // The parser keeps room for this many lines and no more.
        if self.head_lines_max > 96 {
            return refuse("head_lines_max", "must be at most 96");
        }
        if !(1_024..=64 * 1024).contains(&self.head_bytes_max) {
            return refuse("head_bytes_max", "must lie between 1 KiB and 64 KiB");
        }
        if self.target_bytes_max == 0 || self.target_bytes_max >= self.head_bytes_max {
            return refuse("target_bytes_max", "must be positive and below head_bytes_max");
        }
        if self.batch_items_max > ledger::BATCH_ITEMS_MAX {
            return refuse("batch_items_max", format!("must be at most {}", ledger::BATCH_ITEMS_MAX));
        }
        if self.batch_bytes_in_flight_max < self.batch_body_bytes_max {
            return refuse("batch_bytes_in_flight_max", "must hold at least one batch body");
        }
        for origin in &self.cors_origins {
            let scheme = ["https://", "http://"].iter().find(|scheme| origin.starts_with(**scheme));
            let host = scheme.map_or("", |scheme| &origin[scheme.len()..]);
            if host.is_empty() || host.contains(['/', '*', ' ']) || HeaderValue::from_str(origin).is_err() {
                return refuse(
                    "cors_origins",
                    format!("{origin:?} is not an origin such as https://demo.example"),
                );
            }
        }
        Ok(())
    }
}

fn refuse(setting: &'static str, reason: impl Into<String>) -> Result<(), SettingsError> {
    Err(SettingsError { setting, reason: reason.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_wrong_values_are_named() {
        assert_eq!(Settings::default().validate(), Ok(()));
        let wrong: Vec<(&str, Settings)> = vec![
            ("connections_max", Settings { connections_max: 0, ..Settings::default() }),
            ("head_timeout", Settings { head_timeout: Duration::ZERO, ..Settings::default() }),
            ("head_bytes_max", Settings { head_bytes_max: 100, ..Settings::default() }),
            ("head_lines_max", Settings { head_lines_max: 97, ..Settings::default() }),
            ("target_bytes_max", Settings { target_bytes_max: 64 * 1024, ..Settings::default() }),
            ("batch_items_max", Settings { batch_items_max: usize::MAX, ..Settings::default() }),
            ("batch_bytes_in_flight_max", Settings { batch_bytes_in_flight_max: 1, ..Settings::default() }),
            ("cors_origins", Settings { cors_origins: vec!["*".into()], ..Settings::default() }),
            (
                "cors_origins",
                Settings { cors_origins: vec!["https://a.example/".into()], ..Settings::default() },
            ),
            ("cors_origins", Settings { cors_origins: vec!["https://".into()], ..Settings::default() }),
        ];
        for (setting, settings) in wrong {
            assert_eq!(settings.validate().expect_err(setting).setting, setting);
        }
    }
}
