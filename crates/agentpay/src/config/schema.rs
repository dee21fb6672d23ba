//! Every key of the configuration with its type and default. `config/agentpay.toml` documents the same keys for
//! operators; a test keeps both equal.
//!
//! Units are the last word of a name. Values are plain TOML types, so that one text form serves the file, the
//! environment and `config print`.

use super::Secret;
use serde::{Deserialize, Serialize};

/// The effective configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub process: Process,
    pub server: Server,
    pub data: Data,
    pub log: Log,
    pub snapshot: Snapshot,
    pub history: History,
    pub ledger: Ledger,
    pub admission: Admission,
    pub http: Http,
    pub rates: Rates,
    pub admin: Admin,
    pub auth: Auth,
    pub database: Database,
    pub demo: Demo,
    pub metrics: Metrics,
    pub logging: Logging,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Process {
    pub environment: Environment,
    /// Threads of the asynchronous runtime; 0 = one per core.
    pub worker_threads: usize,
    pub drain_seconds: u64,
    /// Soft limit of open files asked for at start; the hard limit is the most that can be had.
    pub open_files: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Environment {
    Development,
    Production,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    pub listen: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Data {
    pub dir: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub segment_bytes: u64,
    pub record_bytes_max: u32,
    pub watermark_after_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snapshot {
    /// 0 = only at shutdown and on demand.
    pub every_seconds: u64,
    pub keep: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct History {
    pub enabled: bool,
    pub cache_bytes: u64,
    pub wait_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ledger {
    pub partition: u16,
    pub currencies: Vec<String>,
    pub default_currency: String,
    pub fee_internal_basis_points: u32,
    pub fee_ach_basis_points: u32,
    pub fee_card_basis_points: u32,
    pub fee_crypto_basis_points: u32,
    pub fee_stripe_basis_points: u32,
    /// Decimal text, so that no floating point ever touches an amount.
    pub faucet_cap: String,
    pub idempotency_retention_seconds: u64,
    pub wallets_per_agent_max: u32,
    pub keys_per_agent_max: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admission {
    pub in_flight_max: u32,
    pub in_flight_per_agent_max: u32,
    pub in_flight_per_wallet_max: u32,
    pub idle_after_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    pub trust_proxy_hops: u8,
    pub allowed_origins: Vec<String>,
    pub connections_max: usize,
    pub body_bytes_max: usize,
    pub batch_body_bytes_max: usize,
    pub header_timeout_ms: u64,
    pub body_timeout_ms: u64,
    pub idle_timeout_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rates {
    pub agent_per_second: u32,
    pub address_per_second: u32,
    pub anonymous_per_minute: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    pub token: Secret,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Auth {
    pub jwt_secret: Secret,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Database {
    pub url: Secret,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Demo {
    pub enabled: bool,
    pub sandbox_only: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metrics {
    /// Empty = no metrics listener.
    pub listen: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Logging {
    pub format: LogFormat,
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
}

/// Keys whose values are masked in every output and may also be given as `…_FILE`.
pub(crate) const SECRETS: [&str; 3] = ["admin.token", "auth.jwt_secret", "database.url"];

impl Default for Process {
    fn default() -> Self {
        Process {
            environment: Environment::Development,
            worker_threads: 0,
            drain_seconds: 10,
            open_files: 65_536,
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Server { listen: "127.0.0.1:3100".to_owned() }
    }
}

impl Default for Data {
    fn default() -> Self {
        Data { dir: "./data".to_owned() }
    }
}

impl Default for Demo {
    fn default() -> Self {
        Demo { enabled: false, sandbox_only: true }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics { listen: "127.0.0.1:3101".to_owned() }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Logging { format: LogFormat::Auto, level: "info".to_owned() }
    }
}
impl Default for Log {
    fn default() -> Self {
        Log { segment_bytes: 64 << 20, record_bytes_max: 16 << 20, watermark_after_ms: 50 }
    }
}
impl Default for Snapshot {
    fn default() -> Self {
        Snapshot { every_seconds: 300, keep: 2 }
    }
}
impl Default for History {
    fn default() -> Self {
        History { enabled: true, cache_bytes: 64 << 20, wait_ms: 1000 }
    }
}
impl Default for Ledger {
    fn default() -> Self {
        Ledger {
            partition: 0,
            currencies: vec!["USD".into(), "EUR".into()],
            default_currency: "USD".into(),
            fee_internal_basis_points: 40,
            fee_ach_basis_points: 40,
            fee_card_basis_points: 40,
            fee_crypto_basis_points: 40,
            fee_stripe_basis_points: 40,
            faucet_cap: "1000000".into(),
            idempotency_retention_seconds: 86400,
            wallets_per_agent_max: 100,
            keys_per_agent_max: 100,
        }
    }
}
impl Default for Admission {
    fn default() -> Self {
        Admission {
            in_flight_max: 1,
            in_flight_per_agent_max: 1,
            in_flight_per_wallet_max: 1,
            idle_after_ms: 2000,
        }
    }
}
impl Default for Http {
    fn default() -> Self {
        Http {
            trust_proxy_hops: 0,
            allowed_origins: vec![],
            connections_max: 10,
            body_bytes_max: 65536,
            batch_body_bytes_max: 8 << 20,
            header_timeout_ms: 1,
            body_timeout_ms: 1,
            idle_timeout_ms: 1,
        }
    }
}
impl Default for Rates {
    fn default() -> Self {
        Rates { agent_per_second: 20000, address_per_second: 100000, anonymous_per_minute: 30 }
    }
}
