//! Every key of the configuration with its type and default. `config/agentpay.toml` documents the same keys for
//! operators; a test keeps both equal.
//!
//! Units are the last word of a name. Values are plain TOML types, so that one text form serves the file, the
//! environment and `config print`.

use super::Secret;
use ledger::Rail;
use serde::{Deserialize, Serialize};
use std::time::Duration;

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
    pub x402: X402,
    pub disputes: Disputes,
    pub webhooks: Webhooks,
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
    /// Whether one or two workers look for requests instead of sleeping while these come in a rush.
    pub poll_in_rush: bool,
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
    pub batch_bytes_max: u32,
    pub gather_us_per_record: u64,
    pub gather_us_max: u64,
    pub segments_ahead: u32,
    pub segment_wait_ms: u64,
    pub watermark_after_ms: u64,
    pub allocation_retry_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snapshot {
    /// 0 = only at shutdown and on demand.
    pub every_seconds: u64,
    /// 0 = as fast as it goes.
    pub bytes_per_second: u64,
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
    pub idempotency_keys_in_memory_max: u64,
    pub idempotency_filter_bytes_max: u64,
    pub wallets_per_agent_max: u32,
    pub keys_per_agent_max: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct X402 {
    pub platform_fee_basis_points: u32,
    pub token_ttl_default_seconds: u64,
    pub token_ttl_max_seconds: u64,
    pub token_start_within_seconds: u64,
    pub token_complete_within_seconds: u64,
    pub services_per_agent_max: u32,
    pub tokens_open_max: u32,
    pub tokens_open_per_agent_max: u32,
    pub clock_jump_max_seconds: u64,
    pub outage_max_seconds: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disputes {
    pub window_seconds: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhooks {
    /// Also plain http, and addresses of this machine.
    pub loopback_allowed: bool,
    pub attempt_timeout_ms: u64,
    pub in_flight_max: usize,
    pub in_flight_per_webhook_max: usize,
    pub pending_per_webhook_max: usize,
    pub pending_max: usize,
    pub ended_kept_per_webhook_max: usize,
    pub ended_kept_seconds: u64,
    pub per_agent_max: u32,
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
    pub trust_proxy_hops: usize,
    pub allowed_origins: Vec<String>,
    pub connections_max: usize,
    pub head_bytes_max: usize,
    pub head_lines_max: usize,
    pub target_bytes_max: usize,
    pub body_bytes_max: usize,
    pub batch_body_bytes_max: usize,
    pub batch_items_max: usize,
    pub batch_bytes_in_flight_max: usize,
    pub metadata_bytes_max: usize,
    pub head_timeout_ms: u64,
    pub body_timeout_ms: u64,
    pub body_bytes_per_second_min: u64,
    pub body_grace_ms: u64,
    pub idle_timeout_ms: u64,
    pub write_timeout_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rates {
    pub agent_per_second: u32,
    pub address_per_second: u32,
    pub anonymous_per_minute: u32,
    pub addresses_tracked_max: usize,
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
    /// Whether operators get the same figures from the API's listener.
    pub on_api: bool,
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

// Defaults are those of the component that uses the value; only what belongs to the process itself is chosen here.

impl Default for Process {
    fn default() -> Self {
        Process {
            environment: Environment::Development,
            worker_threads: 0,
            poll_in_rush: true,
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
        Metrics { listen: "127.0.0.1:3101".to_owned(), on_api: false }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Logging { format: LogFormat::Auto, level: "info".to_owned() }
    }
}

impl Default for Log {
    fn default() -> Self {
        let wal = wal::Options::default();
        Log {
            segment_bytes: wal.segment_bytes,
            record_bytes_max: wal.record_bytes_max,
            batch_bytes_max: wal.batch_bytes_max,
            gather_us_per_record: microseconds(wal.gather_per_record),
            gather_us_max: microseconds(wal.gather_max),
            segments_ahead: wal.segments_ahead,
            segment_wait_ms: milliseconds(engine::Options::default().segment_wait),
            watermark_after_ms: milliseconds(wal.watermark_after),
            allocation_retry_ms: milliseconds(wal.allocation_retry),
        }
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        let engine = engine::Options::default();
        Snapshot {
            every_seconds: engine.snapshot_every.as_secs(),
            bytes_per_second: engine.snapshot_bytes_per_second,
            keep: engine.snapshots_kept,
        }
    }
}

impl Default for History {
    fn default() -> Self {
        let wait_ms = milliseconds(engine::Options::default().history_wait);
        History { enabled: true, cache_bytes: 64 << 20, wait_ms }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        let engine = engine::Options::default();
        let rules = ledger::Rules::default();
        let fee = |rail| rules.fees.basis_points(rail);
        Ledger {
            partition: engine.partition,
            currencies: rules.currencies.iter().map(ToString::to_string).collect(),
            default_currency: engine.default_currency.to_string(),
            fee_internal_basis_points: fee(Rail::Internal),
            fee_ach_basis_points: fee(Rail::Ach),
            fee_card_basis_points: fee(Rail::Card),
            fee_crypto_basis_points: fee(Rail::Crypto),
            fee_stripe_basis_points: fee(Rail::Stripe),
            faucet_cap: rules.faucet_cap.to_string(),
            idempotency_retention_seconds: rules.idempotency_retention_ms / 1_000,
            idempotency_keys_in_memory_max: engine.keys.in_memory_max,
            idempotency_filter_bytes_max: engine.keys.filter_bytes_max,
            wallets_per_agent_max: rules.wallets_per_agent_max,
            keys_per_agent_max: rules.keys_per_agent_max,
        }
    }
}

impl Default for X402 {
    fn default() -> Self {
        let (rules, engine) = (ledger::Rules::default(), engine::Options::default());
        X402 {
            platform_fee_basis_points: rules.platform_fee_basis_points,
            token_ttl_default_seconds: rules.token_ttl_default_ms / 1_000,
            token_ttl_max_seconds: rules.token_ttl_max_ms / 1_000,
            token_start_within_seconds: rules.token_start_within_ms / 1_000,
            token_complete_within_seconds: rules.token_complete_within_ms / 1_000,
            services_per_agent_max: rules.services_per_agent_max,
            tokens_open_max: engine.tokens_open_max,
            tokens_open_per_agent_max: engine.tokens_open_per_agent_max,
            clock_jump_max_seconds: engine.clock_jump_max.as_secs(),
            outage_max_seconds: engine.outage_max.as_secs(),
        }
    }
}

impl Default for Disputes {
    fn default() -> Self {
        Disputes { window_seconds: ledger::Rules::default().dispute_window_ms / 1_000 }
    }
}

impl Default for Webhooks {
    fn default() -> Self {
        let webhooks = webhooks::Options::default();
        Webhooks {
            loopback_allowed: webhooks.reach == webhooks::Reach::Development,
            attempt_timeout_ms: milliseconds(webhooks.attempt_timeout),
            in_flight_max: webhooks.in_flight_max,
            in_flight_per_webhook_max: webhooks.in_flight_per_webhook_max,
            pending_per_webhook_max: webhooks.pending_per_webhook_max,
            pending_max: webhooks.pending_max,
            ended_kept_per_webhook_max: webhooks.ended_kept_per_webhook_max,
            ended_kept_seconds: webhooks.ended_kept.as_secs(),
            per_agent_max: ledger::Rules::default().webhooks_per_agent_max,
        }
    }
}

impl Default for Admission {
    fn default() -> Self {
        let engine = engine::Options::default();
        Admission {
            in_flight_max: engine.in_flight_max,
            in_flight_per_agent_max: engine.in_flight_per_agent_max,
            in_flight_per_wallet_max: engine.in_flight_per_wallet_max,
            idle_after_ms: milliseconds(engine.idle_after),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        let api = api::Settings::default();
        Http {
            trust_proxy_hops: api.trusted_hops,
            allowed_origins: api.cors_origins,
            connections_max: api.connections_max,
            head_bytes_max: api.head_bytes_max,
            head_lines_max: api.head_lines_max,
            target_bytes_max: api.target_bytes_max,
            body_bytes_max: api.body_bytes_max,
            batch_body_bytes_max: api.batch_body_bytes_max,
            batch_items_max: api.batch_items_max,
            batch_bytes_in_flight_max: api.batch_bytes_in_flight_max,
            metadata_bytes_max: api.metadata_bytes_max,
            head_timeout_ms: milliseconds(api.head_timeout),
            body_timeout_ms: milliseconds(api.body_timeout),
            body_bytes_per_second_min: api.body_bytes_per_second_min,
            body_grace_ms: milliseconds(api.body_grace),
            idle_timeout_ms: milliseconds(api.idle_timeout),
            write_timeout_ms: milliseconds(api.write_timeout),
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        let api = api::Settings::default();
        Rates {
            agent_per_second: api.agent_requests_per_second,
            address_per_second: api.address_requests_per_second,
            anonymous_per_minute: api.anonymous_requests_per_minute,
            addresses_tracked_max: api.addresses_tracked_max,
        }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("defaults are below a million years")
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("defaults are below a million years")
}
