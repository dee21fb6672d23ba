//! `agentpay serve`: one process from the first byte of configuration to the last sync.
//!
//! Order of a start: check every value, own the data directory, listen (so that readiness can be asked while the log
//! is replayed), recover, open the gate. Order of an end: stop accepting, let requests finish, sync, snapshot, close.
//! When the log fails there is no draining: what waits is told that its outcome is unknown, and the process ends,
//! because only a restart can tell what is durable.

mod announce;
mod pages;
mod polling;
mod signals;

use crate::commands::keys::KeyLine;
use crate::config::{Config, Environment, Loaded, Refused};
use crate::control::{self, Errands};
use crate::data_dir::{DataDir, OwnedDataDir};
use crate::exit::{Exit, Failure, chain};
use crate::logging;
use crate::node;
use crate::output::Output;
use crate::system::{self, SystemClock, SystemEntropy};
use crate::telemetry::Telemetry;
use crate::token_keys::{self, Rotation};
use announce::Announcer;
use api::{Gateway, Settings, TokenKeys};
use engine::{Engine, ShutdownError, Status};
use sha2::{Digest, Sha256};
use signals::Signals;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use webhooks::Webhooks;

/// Time for "outcome unknown" to reach those who wait after the log has failed.
const LAST_ANSWERS: Duration = Duration::from_millis(250);
/// Time for threads that only read to notice that the process ends.
const THREADS_END_WITHIN: Duration = Duration::from_millis(250);

/// Runs until a signal or a failure ends it.
pub(crate) fn run(loaded: &Loaded, output: Output) -> Result<(), Failure> {
    let config = &loaded.config;
    logging::install(config.logging.format, &config.logging.level).map_err(node::refused)?;
    for note in loaded.without_effect() {
        tracing::warn!("{note}");
    }
    let settings = api_settings(config).map_err(node::refused)?;
    node::check(config).map_err(node::refused)?;
    let owned = DataDir::own(&config.data.dir)?;
    let open_files = system::raise_open_files(config.process.open_files);
    tracing::info!(data = %owned.dir.root().display(), open_files, version = env!("CARGO_PKG_VERSION"), "starting");
    let runtime = node::runtime(config)?;
    let ended = runtime.block_on(serve(config, settings, &owned, output));
    runtime.shutdown_timeout(THREADS_END_WITHIN);
    ended
}

async fn serve(
    config: &Config,
    settings: Settings,
    owned: &OwnedDataDir,
    output: Output,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let status = Status::new();
    let token_keys = token_keys(owned)?;
    let mut signals = Signals::install()?;
    let telemetry = Telemetry::install(status.clone())?;
    let listener = bind(&config.server.listen, "server.listen")?;
    let announcer = Announcer::new(output, owned, &listener, metrics_listener(config, &telemetry)?)?;
    tokio::spawn(telemetry.clone().upkeep());

    let gateway = Arc::new(gateway(config, settings, &telemetry, status.clone()));
    let mut face = Face::open(&gateway, listener);
    announcer.listening()?;

    let engine = tokio::select! {
        started = node::start(config, owned, status.clone()) => started?,
        ended = &mut face.serving => return Err(face_ended(ended)),
        // Nothing was admitted yet, and recovery only reads: there is nothing to drain.
        signal = signals.next() => {
            tracing::info!(signal, "stopped while recovering");
            return Ok(());
        }
    };
    telemetry.attach(engine.clone());
    pages::small_from_now_on();
    if config.process.poll_in_rush {
        polling::start(&engine);
    }
    let webhooks = node::start_webhooks(config, owned, &engine).await?;
    gateway.attach(engine.clone(), token_keys, webhooks.clone());
    control::serve(&owned.dir, errands(config, owned, &engine, &gateway))?;
    announcer.ready(begun.elapsed())?;

    let ended = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "draining");
            let drained = drain(config, face, &webhooks, &engine);
            tokio::select! {
                drained = drained => drained,
                signal = signals.next() => {
                    tracing::warn!(signal, "second signal: ending at once; the next start replays the log");
                    Err(Failure::new(Exit::Failure, "ended by a second signal before the drain was complete"))
                }
            }
        }
        () = status.failed() => Err(log_failed(face).await),
        ended = &mut face.serving => Err(face_ended(ended)),
    };
    control::remove(&owned.dir);
    ended
}

/// The keys that sign payment tokens.
fn token_keys(owned: &OwnedDataDir) -> Result<TokenKeys, Failure> {
    let (keys, is_new) = token_keys::load_or_create(&owned.dir)?;
    if is_new && !owned.is_new {
        tracing::warn!(
            "there were no keys for payment tokens beside this ledger, and new ones were made; tokens that were handed \
             out under others cannot be redeemed and their holds go back when they expire"
        );
    }
    Ok(token_keys::ready(&keys))
}

/// What operators may ask of the running node.
fn errands(config: &Config, owned: &OwnedDataDir, engine: &Engine, gateway: &Arc<Gateway>) -> Errands {
    let (config, dir, gateway) = (config.clone(), owned.dir.clone(), Arc::clone(gateway));
    let rotate = move |active_in_seconds| {
        let keys = token_keys::rotate(&dir, Rotation::new(&config, active_in_seconds))?;
        gateway.replace_token_keys(token_keys::ready(&keys));
        tracing::info!(
            kid = keys.last().map(api::TokenKey::id),
            active_in_seconds,
            "added a key for payment tokens"
        );
        Ok(KeyLine::of(&keys, system::unix_seconds()))
    };
    Errands { engine: engine.clone(), rotate_token_keys: Box::new(rotate) }
}

fn gateway(config: &Config, settings: Settings, telemetry: &Telemetry, status: Status) -> Gateway {
    let gateway = Gateway::new(settings, Arc::new(SystemClock), Arc::new(SystemEntropy), status);
    if !config.metrics.on_api {
        return gateway;
    }
    let telemetry = telemetry.clone();
    gateway.with_metrics(Arc::new(move || telemetry.render()))
}

/// The listening front end and the way to tell it to stop.
struct Face {
    serving: JoinHandle<Result<(), api::ServeError>>,
    stop: oneshot::Sender<()>,
}

impl Face {
    fn open(gateway: &Arc<Gateway>, listener: TcpListener) -> Face {
        let (stop, stopped) = oneshot::channel();
        // A sender that is gone means the same as one that was used.
        let until = async move { drop(stopped.await) };
        Face { serving: tokio::spawn(Arc::clone(gateway).serve(listener, until)), stop }
    }
}

/// Stop accepting, let requests finish, stop sending, then the engine: sync, snapshot, close.
async fn drain(config: &Config, face: Face, webhooks: &Webhooks, engine: &Engine) -> Result<(), Failure> {
    // Refused only when the front end has ended already.
    let _ = face.stop.send(());
    if let Ok(Err(error)) = face.serving.await {
        tracing::warn!(error = chain(&error), "front end did not end in order");
    }
    webhooks.stop().await;
    match engine.shutdown(Duration::from_secs(config.process.drain_seconds)).await {
        Ok(generation) => {
            tracing::info!(snapshot = generation.id, covers = generation.summary.covers, "stopped");
            Ok(())
        }
        // Both leave a complete log behind: nothing acknowledged is lost, the next start only replays more of it.
        Err(error @ (ShutdownError::Deadline { .. } | ShutdownError::Snapshot(_))) => {
            tracing::warn!(error = chain(&error), "stopped");
            Ok(())
        }
        Err(error @ ShutdownError::Log(_)) => Err(Failure::new(Exit::LogFailed, chain(&error))),
    }
}

/// Gives the answers that are under way a moment, then says how the process ends.
async fn log_failed(face: Face) -> Failure {
    tracing::error!("the log failed: answering what waits with `outcome unknown` and ending");
    let _ = face.stop.send(());
    // Whether all of them could be written in time or not, nothing more can be done for them.
    let _ = tokio::time::timeout(LAST_ANSWERS, face.serving).await;
    Failure::new(
        Exit::LogFailed,
        "the log could not be written or synced; check the disk, then start again: recovery tells what is durable, \
         and clients retry with the same idempotency key",
    )
}

fn face_ended(ended: Result<Result<(), api::ServeError>, tokio::task::JoinError>) -> Failure {
    match ended {
        Ok(Ok(())) => Failure::new(Exit::Failure, "the front end ended by itself"),
        Ok(Err(error)) => Failure::because("the front end failed", &error),
        Err(error) => Failure::because("the front end failed", &error),
    }
}

/// Binds and starts the metrics listener, unless it is turned off.
fn metrics_listener(config: &Config, telemetry: &Telemetry) -> Result<Option<SocketAddr>, Failure> {
    if config.metrics.listen.is_empty() {
        return Ok(None);
    }
    let failed = |error: std::io::Error| Failure::because("cannot start the metrics listener", &error);
    let listener = bind(&config.metrics.listen, "metrics.listen")?;
    let address = listener.local_addr().map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    tokio::spawn(telemetry.clone().serve(listener));
    Ok(Some(address))
}

/// Connections that may wait to be accepted, where the system allows as many (`net.core.somaxconn`). A client beyond that
/// gets no answer and tries again after a second.
const BACKLOG: i32 = 4_096;

/// Binds a listener; the message names the key that sets its address.
fn bind(address: &str, key: &str) -> Result<TcpListener, Failure> {
    let parsed: SocketAddr = address.parse().map_err(|_| {
        Failure::new(
            Exit::Config,
            format!("key `{key}`: {address:?} is not an address such as 127.0.0.1:3100"),
        )
    })?;
    let listener = TcpListener::bind(parsed).map_err(|error| {
        Failure::new(
            Exit::Failure,
            format!("cannot listen on {address} (key `{key}`): {error}; choose another port"),
        )
    })?;
    let failed = |error| Failure::because(format!("cannot listen on {address}"), &error);
    // The standard library asks for 128; a listener may be told again.
    rustix::net::listen(&listener, BACKLOG).map_err(|errno| failed(errno.into()))?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// The front end's settings out of the configuration.
fn api_settings(config: &Config) -> Result<Settings, Refused> {
    let http = &config.http;
    let token = &config.admin.token;
    let settings = Settings {
        production: config.process.environment == Environment::Production,
        admin_token_hash: token.is_set().then(|| Sha256::digest(token.reveal().as_bytes()).into()),
        trusted_hops: http.trust_proxy_hops,
        cors_origins: http.allowed_origins.clone(),
        connections_max: http.connections_max,
        head_bytes_max: http.head_bytes_max,
        head_lines_max: http.head_lines_max,
        target_bytes_max: http.target_bytes_max,
        body_bytes_max: http.body_bytes_max,
        batch_body_bytes_max: http.batch_body_bytes_max,
        batch_items_max: http.batch_items_max,
        batch_bytes_in_flight_max: http.batch_bytes_in_flight_max,
        metadata_bytes_max: http.metadata_bytes_max,
        head_timeout: Duration::from_millis(http.head_timeout_ms),
        body_timeout: Duration::from_millis(http.body_timeout_ms),
        body_bytes_per_second_min: http.body_bytes_per_second_min,
        body_grace: Duration::from_millis(http.body_grace_ms),
        idle_timeout: Duration::from_millis(http.idle_timeout_ms),
        write_timeout: Duration::from_millis(http.write_timeout_ms),
        drain_timeout: Duration::from_secs(config.process.drain_seconds),
        agent_requests_per_second: config.rates.agent_per_second,
        address_requests_per_second: config.rates.address_per_second,
        anonymous_requests_per_minute: config.rates.anonymous_per_minute,
        addresses_tracked_max: config.rates.addresses_tracked_max,
        commit: option_env!("AGENTPAY_COMMIT").map(str::to_owned),
    };
    settings.validate().map_err(|error| Refused(format!("sections [http] and [rates]: {error}")))?;
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_configuration_gives_the_front_ends_defaults() {
        let settings = api_settings(&Config::default()).expect("valid");
        let expected = Settings { commit: settings.commit.clone(), ..Settings::default() };
        assert_eq!(format!("{settings:?}"), format!("{expected:?}"));
    }

    #[test]
    fn impossible_settings_are_refused() {
        let mut config = Config::default();
        config.http.connections_max = 0;
        let why = api_settings(&config).expect_err("must be refused").0;
        assert!(why.contains("connections_max: must be at least 1"), "{why}");
    }

    /// A client that is turned away tries again after a second, and the next time after two.
    #[test]
    fn clients_that_come_all_at_once_wait_for_nobody_to_accept_them() {
        let listener = bind("127.0.0.1:0", "server.listen").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let connect = |number| {
            let connected = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(900));
            connected.unwrap_or_else(|error| panic!("client {number}: {error}"))
        };
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("a bound of the system");
        let most: usize = most.trim().parse().expect("a number");
        let clients: Vec<_> = (0..most.min(400)).map(connect).collect();
        assert!(!clients.is_empty());
    }

    #[test]
    fn listeners_name_their_key() {
        assert_eq!(bind("localhost", "server.listen").expect_err("no address").exit, Exit::Config);
        let taken = bind("127.0.0.1:0", "server.listen").expect("a free port");
        let address = taken.local_addr().expect("bound").to_string();
        let failure = bind(&address, "metrics.listen").expect_err("in use");
        assert_eq!(failure.exit, Exit::Failure);
        assert!(failure.message.contains("metrics.listen"), "{}", failure.message);
    }
}
