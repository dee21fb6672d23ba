//! Opening the ledger of a data directory: from configuration to a running engine, and from its errors to exit codes.
//! Used by `serve` and by the commands that work offline.

use crate::config::{Config, Refused};
use crate::data_dir::{DataDir, OwnedDataDir};
use crate::exit::{Exit, Failure, chain};
use crate::system::{SystemClock, SystemEntropy};
use engine::{Engine, HistoryAt, KeyOptions, StartError, Status};
use ledger::{Amount, Currency, FeeSchedule, Rail, Rules};
use snapshot::FileStore;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use webhooks::{Reach, SystemResolver, Webhooks};

/// Recovers and starts the engine on the current runtime.
pub(crate) async fn start(config: &Config, owned: &OwnedDataDir, status: Status) -> Result<Engine, Failure> {
    let mut options = engine_options(config, owned.id_key.bytes()).map_err(refused)?;
    options.keys.directory = Some(owned.dir.keys());
    let log = owned.dir.log();
    let storage = wal::FileStorage::open(&log).map_err(|error| log_failure(&error))?;
    let snapshots = snapshots(&owned.dir)?;
    let history = match config.history.enabled {
        true => Some(HistoryAt {
            directory: owned.dir.history(),
            options: history_options(config).map_err(refused)?,
        }),
        false => None,
    };
    Engine::start(
        options,
        Arc::new(storage),
        Arc::new(snapshots),
        history,
        Arc::new(SystemClock),
        Arc::new(SystemEntropy),
        status,
    )
    .await
    .map_err(|error| start_failure(&error))
}

/// The snapshot store of a data directory.
pub(crate) fn snapshots(dir: &DataDir) -> Result<FileStore, Failure> {
    FileStore::open(&dir.snapshots()).map_err(|error| Failure::because("cannot open the snapshots", &error))
}

/// The asynchronous runtime, as configured.
pub(crate) fn runtime(config: &Config) -> Result<Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name("agentpay");
    if config.process.worker_threads > 0 {
        builder.worker_threads(config.process.worker_threads);
    }
    builder.build().map_err(|error| Failure::because("cannot start the runtime", &error))
}

/// Checks every value that a component will get, so that nothing is touched under a configuration that is refused.
pub(crate) fn check(config: &Config) -> Result<(), Refused> {
    in_range("process.worker_threads", config.process.worker_threads, 0, WORKER_THREADS_MAX)?;
    in_range("process.drain_seconds", config.process.drain_seconds, 0, DRAIN_SECONDS_MAX)?;
    history_options(config)?;
    webhook_options(config)?;
    engine_options(config, [0; 32]).map(drop)
}

/// More threads than this only cost memory and switches.
const WORKER_THREADS_MAX: usize = 1_024;
/// Service managers kill what takes longer.
const DRAIN_SECONDS_MAX: u64 = 3_600;

/// The engine's options out of the configuration.
pub(crate) fn engine_options(config: &Config, id_key: [u8; 32]) -> Result<engine::Options, Refused> {
    let rules = rules(config)?;
    let default_currency = currency("ledger.default_currency", &config.ledger.default_currency)?;
    if !rules.currencies.contains(&default_currency) {
        return Err(Refused(format!(
            "key `ledger.default_currency`: {default_currency} is not among `ledger.currencies`"
        )));
    }
    // What no operator has a reason to change.
    let fixed = engine::Options::default();
    Ok(engine::Options {
        partition: config.ledger.partition,
        rules,
        default_currency,
        id_key,
        in_flight_max: positive("admission.in_flight_max", config.admission.in_flight_max)?,
        in_flight_per_agent_max: positive(
            "admission.in_flight_per_agent_max",
            config.admission.in_flight_per_agent_max,
        )?,
        in_flight_per_wallet_max: positive(
            "admission.in_flight_per_wallet_max",
            config.admission.in_flight_per_wallet_max,
        )?,
        idle_after: Duration::from_millis(positive(
            "admission.idle_after_ms",
            config.admission.idle_after_ms,
        )?),
        snapshot_every: Duration::from_secs(config.snapshot.every_seconds),
        snapshot_bytes_per_second: config.snapshot.bytes_per_second,
        snapshots_kept: positive("snapshot.keep", config.snapshot.keep)?,
        wal: wal_options(config)?,
        activation: fixed.activation,
        ended_tokens_kept: fixed.ended_tokens_kept,
        dead_timers_max: fixed.dead_timers_max,
        tokens_open_max: positive("x402.tokens_open_max", config.x402.tokens_open_max)?,
        tokens_open_per_agent_max: positive(
            "x402.tokens_open_per_agent_max",
            config.x402.tokens_open_per_agent_max,
        )?,
        keys: KeyOptions {
            directory: None,
            in_memory_max: positive(
                "ledger.idempotency_keys_in_memory_max",
                config.ledger.idempotency_keys_in_memory_max,
            )?,
            filter_bytes_max: config.ledger.idempotency_filter_bytes_max,
        },
        clock_jump_max: Duration::from_secs(positive(
            "x402.clock_jump_max_seconds",
            config.x402.clock_jump_max_seconds,
        )?),
        outage_max: Duration::from_secs(positive("x402.outage_max_seconds", config.x402.outage_max_seconds)?),
        segment_wait: Duration::from_millis(config.log.segment_wait_ms),
        history_wait: Duration::from_millis(config.history.wait_ms),
    })
}

/// The index's options out of the configuration.
fn history_options(config: &Config) -> Result<history::Options, Refused> {
    let options = history::Options { cache_bytes: config.history.cache_bytes, ..history::Options::default() };
    options.validate().map_err(|error| Refused(format!("section [history]: {}", chain(&error))))?;
    Ok(options)
}

/// Starts delivery to webhooks.
pub(crate) async fn start_webhooks(
    config: &Config,
    owned: &OwnedDataDir,
    engine: &Engine,
) -> Result<Webhooks, Failure> {
    let options = webhook_options(config).map_err(refused)?;
    let bodies = Box::new(api::Bodies::new(engine.clone()));
    Webhooks::start(engine.clone(), &owned.dir.webhooks(), options, Arc::new(SystemResolver), bodies)
        .await
        .map_err(|error| Failure::because("cannot open the deliveries of webhooks", &error))
}

/// Delivery's options out of the configuration.
fn webhook_options(config: &Config) -> Result<webhooks::Options, Refused> {
    let section = &config.webhooks;
    let options = webhooks::Options {
        reach: if section.loopback_allowed { Reach::Development } else { Reach::Global },
        attempt_timeout: Duration::from_millis(section.attempt_timeout_ms),
        in_flight_max: section.in_flight_max,
        in_flight_per_webhook_max: section.in_flight_per_webhook_max,
        pending_per_webhook_max: section.pending_per_webhook_max,
        pending_max: section.pending_max,
        ended_kept_per_webhook_max: section.ended_kept_per_webhook_max,
        ended_kept: Duration::from_secs(section.ended_kept_seconds),
    };
    options.validate().map_err(|error| Refused(format!("section [webhooks]: {}", chain(&error))))?;
    Ok(options)
}

/// The log's options out of the configuration.
pub(crate) fn wal_options(config: &Config) -> Result<wal::Options, Refused> {
    let options = wal::Options {
        segment_bytes: config.log.segment_bytes,
        record_bytes_max: config.log.record_bytes_max,
        batch_bytes_max: config.log.batch_bytes_max,
        gather_per_record: Duration::from_micros(config.log.gather_us_per_record),
        gather_max: Duration::from_micros(config.log.gather_us_max),
        segments_ahead: config.log.segments_ahead,
        watermark_after: Duration::from_millis(config.log.watermark_after_ms),
        allocation_retry: Duration::from_millis(config.log.allocation_retry_ms),
        ..wal::Options::default()
    };
    options.validate().map_err(|error| Refused(format!("section [log]: {}", chain(&error))))?;
    Ok(options)
}

/// The rules of money out of the configuration.
pub(crate) fn rules(config: &Config) -> Result<Rules, Refused> {
    let ledger = &config.ledger;
    let currencies = ledger
        .currencies
        .iter()
        .map(|text| currency("ledger.currencies", text))
        .collect::<Result<Vec<Currency>, Refused>>()?;
    let fees = [
        (Rail::Internal, ledger.fee_internal_basis_points),
        (Rail::Ach, ledger.fee_ach_basis_points),
        (Rail::Card, ledger.fee_card_basis_points),
        (Rail::Crypto, ledger.fee_crypto_basis_points),
        (Rail::Stripe, ledger.fee_stripe_basis_points),
    ]
    .into_iter()
    .fold(FeeSchedule::default(), |fees, (rail, basis_points)| fees.with(rail, basis_points));
    let faucet_cap = Amount::parse(&ledger.faucet_cap)
        .map_err(|error| Refused(format!("key `ledger.faucet_cap`: {:?}: {error}", ledger.faucet_cap)))?;
    let idempotency_retention_ms =
        milliseconds("ledger.idempotency_retention_seconds", ledger.idempotency_retention_seconds)?;
    let rules = Rules {
        fees,
        faucet_cap,
        idempotency_retention_ms,
        wallets_per_agent_max: ledger.wallets_per_agent_max,
        keys_per_agent_max: ledger.keys_per_agent_max,
        currencies,
        platform_fee_basis_points: config.x402.platform_fee_basis_points,
        token_ttl_default_ms: milliseconds(
            "x402.token_ttl_default_seconds",
            config.x402.token_ttl_default_seconds,
        )?,
        token_ttl_max_ms: token_ttl_max_ms(config)?,
        token_start_within_ms: milliseconds(
            "x402.token_start_within_seconds",
            config.x402.token_start_within_seconds,
        )?,
        token_complete_within_ms: milliseconds(
            "x402.token_complete_within_seconds",
            config.x402.token_complete_within_seconds,
        )?,
        services_per_agent_max: config.x402.services_per_agent_max,
        webhooks_per_agent_max: config.webhooks.per_agent_max,
        dispute_window_ms: milliseconds("disputes.window_seconds", config.disputes.window_seconds)?,
        ..Rules::default()
    };
    rules
        .validate()
        .map_err(|error| Refused(format!("sections [ledger], [x402] and [disputes]: {error}")))?;
    Ok(rules)
}

/// The longest life of a token, within which retired keys are published.
fn token_ttl_max_ms(config: &Config) -> Result<u64, Refused> {
    let most = api::TOKEN_LIFETIME_MAX_SECONDS.unsigned_abs();
    in_range("x402.token_ttl_max_seconds", config.x402.token_ttl_max_seconds, 1, most)?;
    milliseconds("x402.token_ttl_max_seconds", config.x402.token_ttl_max_seconds)
}

fn milliseconds(key: &str, seconds: u64) -> Result<u64, Refused> {
    seconds.checked_mul(1_000).ok_or_else(|| Refused(format!("key `{key}`: {seconds} is too large")))
}

fn currency(key: &str, text: &str) -> Result<Currency, Refused> {
    Currency::parse(text)
        .map_err(|_| Refused(format!("key `{key}`: {text:?} is not a currency of three capital letters")))
}

/// Zero would stop everything, so it is never what was meant.
fn positive<T: Default + PartialEq>(key: &str, value: T) -> Result<T, Refused> {
    if value == T::default() { Err(Refused(format!("key `{key}`: must be at least 1"))) } else { Ok(value) }
}

fn in_range<T: PartialOrd + Display>(key: &str, value: T, least: T, most: T) -> Result<(), Refused> {
    if value >= least && value <= most {
        return Ok(());
    }
    Err(Refused(format!("key `{key}`: {value} does not lie between {least} and {most}")))
}

/// A refused configuration as the program's end.
pub(crate) fn refused(refused: Refused) -> Failure {
    Failure::new(Exit::Config, refused.0)
}

/// An error of the log with its exit code and what to do.
pub(crate) fn log_failure(error: &wal::Error) -> Failure {
    match error {
        wal::Error::Locked { .. } => Failure::new(
            Exit::Locked,
            format!("{}; stop that process or name another directory with --data-dir", chain(error)),
        ),
        wal::Error::Corrupt { .. } | wal::Error::Version { .. } => Failure::new(
            Exit::Corrupt,
            format!(
                "{}; nothing was changed. `agentpay wal verify` shows the extent; restore the data directory from a \
                 backup, see docs/operations.md",
                chain(error)
            ),
        ),
        wal::Error::Options { .. } => Failure::new(Exit::Config, chain(error)),
        other => Failure::because("the log cannot be used", other),
    }
}

/// An error of recovery with its exit code and what to do.
pub(crate) fn start_failure(error: &StartError) -> Failure {
    match error {
        StartError::Log(error) => log_failure(error),
        StartError::History(error) => Failure::because("cannot open the history index", error),
        StartError::Keys(error) => Failure::because("cannot open the idempotency keys on disk", error),
        StartError::Spawn(error) => Failure::because("cannot start a thread for recovery", error),
        StartError::Rules(_) | StartError::DefaultCurrency(_) => Failure::new(Exit::Config, chain(error)),
        StartError::Snapshot(_)
        | StartError::Record { .. }
        | StartError::Orphan { .. }
        | StartError::LogBehindSnapshot { .. }
        | StartError::Spilling(_)
        | StartError::Unbalanced { .. } => Failure::new(
            Exit::Corrupt,
            format!("{}; nothing was changed, see \"Recovery\" in docs/operations.md", chain(error)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(change: impl FnOnce(&mut Config)) -> Result<(), Refused> {
        let mut config = Config::default();
        change(&mut config);
        check(&config)
    }

    #[test]
    fn the_default_configuration_gives_the_components_defaults() {
        let options = engine_options(&Config::default(), [0; 32]).expect("valid");
        let expected = engine::Options::default();
        assert_eq!(options.rules, expected.rules);
        assert_eq!(options.default_currency, expected.default_currency);
        assert_eq!(options.in_flight_max, expected.in_flight_max);
        assert_eq!(options.idle_after, expected.idle_after);
        assert_eq!(options.snapshot_every, expected.snapshot_every);
        assert_eq!(options.history_wait, expected.history_wait);
        assert_eq!(options.segment_wait, expected.segment_wait);
        assert_eq!(options.tokens_open_max, expected.tokens_open_max);
        assert_eq!(options.tokens_open_per_agent_max, expected.tokens_open_per_agent_max);
        assert_eq!(options.keys.in_memory_max, expected.keys.in_memory_max);
        assert_eq!(options.keys.filter_bytes_max, expected.keys.filter_bytes_max);
        assert_eq!(options.clock_jump_max, expected.clock_jump_max);
        let webhooks = webhook_options(&Config::default()).expect("valid");
        assert_eq!(webhooks, webhooks::Options::default());
        assert_eq!(options.outage_max, expected.outage_max);
        assert_eq!(options.wal.segment_bytes, expected.wal.segment_bytes);
        assert_eq!(options.wal.watermark_after, expected.wal.watermark_after);
        assert_eq!(options.wal.gather_per_record, expected.wal.gather_per_record);
        assert_eq!(options.wal.gather_max, expected.wal.gather_max);
    }

    #[test]
    fn impossible_values_are_refused_by_name() {
        type Change = fn(&mut Config);
        let cases: [(Change, &str); 15] = [
            (
                |config| config.webhooks.in_flight_max = 1,
                "section [webhooks]: in_flight_max must lie between 2 and 10000",
            ),
            (
                |config| config.x402.token_ttl_max_seconds = 3_601,
                "key `x402.token_ttl_max_seconds`: 3601 does not lie between 1 and 3600",
            ),
            (
                |config| config.x402.token_start_within_seconds = u64::MAX,
                "key `x402.token_start_within_seconds`",
            ),
            (|config| config.ledger.currencies = vec!["usd".to_owned()], "key `ledger.currencies`: \"usd\""),
            (
                |config| config.ledger.default_currency = "GBP".to_owned(),
                "GBP is not among `ledger.currencies`",
            ),
            (|config| config.ledger.faucet_cap = "1e3".to_owned(), "key `ledger.faucet_cap`: \"1e3\""),
            (
                |config| config.ledger.fee_card_basis_points = 10_001,
                "sections [ledger], [x402] and [disputes]: the fee of rail card",
            ),
            (|config| config.ledger.idempotency_retention_seconds = u64::MAX, "too large"),
            (|config| config.disputes.window_seconds = 0, "the window for disputes must be between"),
            (|config| config.log.segment_bytes = 513, "section [log]: "),
            (|config| config.history.cache_bytes = 1, "section [history]: "),
            (
                |config| config.process.worker_threads = 1_025,
                "key `process.worker_threads`: 1025 does not lie",
            ),
            (|config| config.process.drain_seconds = 3_601, "key `process.drain_seconds`"),
            (|config| config.snapshot.keep = 0, "key `snapshot.keep`: must be at least 1"),
            (|config| config.admission.in_flight_max = 0, "key `admission.in_flight_max`"),
        ];
        for (change, expected) in cases {
            let why = changed(change).expect_err(expected).0;
            assert!(why.contains(expected), "{why}\n  lacks: {expected}");
        }
    }
}
