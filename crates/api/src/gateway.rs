//! The front end as a whole: shared state, the accept loop, shutdown.
//!
//! Threads: one task accepts; one task per connection. Accepting waits while as many connections are open as may be, so
//! a flood queues in the kernel instead of here. Shutdown has three stages: serving, draining (no new connections, idle
//! ones end, requests under way finish), closed (whatever is left is cut). Connections do not poll for the stage: their
//! wakers are kept, and a change of stage wakes them all.

use std::{
    collections::HashMap,
    future::Future,
    io,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

use engine::{Clock, Engine, Entropy, Status};
use ledger::IdSealer;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use webhooks::Webhooks;

use crate::{
    connection,
    cors::Cors,
    limits::{Rate, Sources},
    metrics::Metrics,
    request_id::RequestIds,
    routes::Table,
    settings::Settings,
    wire::pulse::Ticks,
    x402::{catalogue::Catalogue, keys::TokenKeys, remembered::Remembered},
};

/// Renders the process's metrics.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Pause after a failed accept (usually: no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The HTTP front end. Begins to answer before the engine has recovered: health and readiness at once, everything else
/// with 503 until [`Gateway::attach`].
pub struct Gateway {
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) status: Status,
    pub(crate) attached: OnceLock<Attached>,
    pub(crate) render_metrics: Option<RenderMetrics>,
    pub(crate) table: Table,
    pub(crate) metrics: Metrics,
    pub(crate) cors: Cors,
    pub(crate) sources: Sources,
    pub(crate) rates: Rates,
    pub(crate) ids: RequestIds,
    pub(crate) catalogue: Catalogue,
    pub(crate) ticks: Ticks,
    /// Permits of one KiB each for bodies of batches.
    pub(crate) batch_kibibytes: Arc<Semaphore>,
    begun: Instant,
    stage: Stage,
}

/// The engine, once it has recovered.
pub(crate) struct Attached {
    pub(crate) engine: Engine,
    /// Seals cursors of lists.
    pub(crate) sealer: IdSealer,
    /// Keys for payment tokens; replaced as a whole by a rotation.
    pub(crate) token_keys: RwLock<Arc<TokenKeys>>,
    pub(crate) webhooks: Webhooks,
    /// Payment tokens signed lately.
    pub(crate) remembered: Remembered,
}

impl Attached {
    /// The present keys for payment tokens.
    pub(crate) fn token_keys(&self) -> Arc<TokenKeys> {
        self.token_keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Rates per client address.
pub(crate) struct Rates {
    pub(crate) address: Rate,
    pub(crate) anonymous: Rate,
}

/// The listener could not be used.
#[derive(Debug, thiserror::Error)]
#[error("the listening socket cannot be used")]
pub struct ServeError {
    #[from]
    source: io::Error,
}

impl Gateway {
    /// A gateway that answers health questions and waits for its engine.
    ///
    /// # Panics
    /// The settings are not valid: call [`Settings::validate`] where they are read.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, status: Status) -> Self {
        settings.validate().expect("settings are validated where they are read");
        let mut random = [0; 8];
        entropy.fill(&mut random);
        let batch_kibibytes = settings.batch_bytes_in_flight_max / 1_024;
        Self {
            cors: Cors::new(&settings.cors_origins),
            sources: Sources::new(settings.addresses_tracked_max),
            rates: Rates {
                address: Rate::per_second(settings.address_requests_per_second),
                anonymous: Rate::per_minute(settings.anonymous_requests_per_minute),
            },
            ids: RequestIds::new(u64::from_le_bytes(random)),
            ticks: Ticks::of(&settings),
            batch_kibibytes: Arc::new(Semaphore::new(batch_kibibytes.min(Semaphore::MAX_PERMITS))),
            catalogue: Catalogue::default(),
            table: Table::new(),
            metrics: Metrics::new(),
            begun: Instant::now(),
            stage: Stage::default(),
            attached: OnceLock::new(),
            render_metrics: None,
            settings,
            clock,
            entropy,
            status,
        }
    }

    /// Serves `/metrics` on this listener too, to operators.
    #[must_use]
    pub fn with_metrics(self, render: RenderMetrics) -> Self {
        Self { render_metrics: Some(render), ..self }
    }

    /// Gives the gateway its engine, its keys for payment tokens and delivery to webhooks; from now on requests are
    /// served.
    ///
    /// # Panics
    /// A gateway gets one engine in its life.
    pub fn attach(&self, engine: Engine, token_keys: TokenKeys, webhooks: Webhooks) {
        let sealer = IdSealer::new(&engine.options().id_key);
        let token_keys = RwLock::new(Arc::new(token_keys));
        let first = self
            .attached
            .set(Attached { engine, sealer, token_keys, webhooks, remembered: Remembered::default() })
            .is_ok();
        assert!(first, "a gateway gets one engine in its life");
    }

    /// Goes on with another set of keys for payment tokens, after a rotation.
    ///
    /// # Panics
    /// The gateway has no engine yet.
    pub fn replace_token_keys(&self, token_keys: TokenKeys) {
        let attached = self.attached.get().expect("keys are replaced on a gateway that serves");
        *attached.token_keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(token_keys);
    }

    /// Serves connections until `shutdown` resolves, then lets requests under way finish for at most
    /// [`Settings::drain_timeout`].
    ///
    /// # Errors
    /// The listener cannot be used by the runtime. Failures of single connections end those connections only.
    pub async fn serve(
        self: Arc<Self>,
        listener: std::net::TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let connections_max = self.settings.connections_max.min(Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(connections_max));
        tokio::select! {
            () = self.accept(&listener, &places) => {}
            () = shutdown => {}
        }
        drop(listener);
        self.stage.advance(DRAINING);
        let everything = u32::try_from(connections_max).unwrap_or(u32::MAX);
        let drained =
            tokio::time::timeout(self.settings.drain_timeout, places.acquire_many(everything)).await;
        if drained.is_err() {
            let left = connections_max - places.available_permits();
            tracing::warn!(
                connections = left,
                "connections were still open at the end of the drain time and are cut"
            );
            self.stage.advance(CLOSED);
            // Cutting needs one more poll of each connection's task.
            let _ = tokio::time::timeout(Duration::from_secs(1), places.acquire_many(everything)).await;
        }
        Ok(())
    }

    async fn accept(self: &Arc<Self>, listener: &TcpListener, places: &Arc<Semaphore>) {
        loop {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((socket, peer)) => self.begin(socket, peer.ip(), place),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections for the moment");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn begin(self: &Arc<Self>, socket: TcpStream, peer: std::net::IpAddr, place: OwnedSemaphorePermit) {
        // Answers are written whole; waiting to fill a packet would only delay them.
        let _ = socket.set_nodelay(true);
        let gateway = self.clone();
        self.metrics.connections.increment(1.0);
        tokio::spawn(async move {
            let reason = connection::serve(&gateway, socket, peer).await;
            gateway.metrics.closed(reason);
            gateway.metrics.connections.decrement(1.0);
            drop(place);
        });
    }

    /// Nanoseconds since the gateway began, for rate limits and latencies.
    pub(crate) fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.begun).as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn stage(&self) -> &Stage {
        &self.stage
    }
}

/// Errors that concern the connection that was to be accepted, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

const SERVING: u8 = 0;
const DRAINING: u8 = 1;
const CLOSED: u8 = 2;

/// How far shutdown has come, and whom to wake when it goes on.
#[derive(Default)]
pub(crate) struct Stage {
    now: AtomicU8,
    next: AtomicU64,
    wakers: Mutex<HashMap<u64, Waker>>,
}

impl Stage {
    pub(crate) fn is_draining(&self) -> bool {
        self.now.load(Ordering::Acquire) != SERVING
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.now.load(Ordering::Acquire) == CLOSED
    }

    /// Wakes `waker` at every change until the returned value is dropped.
    pub(crate) fn watch(&self, waker: Waker) -> Watching<'_> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).insert(id, waker);
        Watching { stage: self, id }
    }

    fn advance(&self, to: u8) {
        self.now.fetch_max(to, Ordering::AcqRel);
        // A connection that registers after this sees the new stage on its first poll.
        let wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        wakers.values().for_each(Waker::wake_by_ref);
    }
}

/// A registration with the stage.
pub(crate) struct Watching<'s> {
    stage: &'s Stage,
    id: u64,
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.stage.wakers.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
