//! The face of delivery: start, what the API asks, the end.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use engine::{Engine, Event};
use ledger::{AgentId, EventId, EventKind, Timestamp, Webhook, WebhookId};
use ring::hmac;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::metrics::Metrics;
use crate::prove::Lookers;
use crate::queue::{Bounds, Queue};
use crate::store::{Listed, Place, Row, State, Store};
use crate::{Client, Error, Options, Resolve, life};

/// Writes the bodies of deliveries. Equal events give equal bytes.
pub trait Render: Send + Sync + 'static {
    /// What `agent` is told of an event under this id.
    fn event(&self, event: &Event, agent: AgentId, id: EventId) -> Vec<u8>;

    /// What a receiver is tested with.
    fn test(&self, webhook: &Webhook, id: EventId, at: Timestamp) -> Vec<u8>;
}

/// Why a question about deliveries has no answer.
#[derive(Debug)]
pub enum Refused {
    /// The webhook has no such delivery.
    UnknownDelivery,
    /// As many deliveries wait as may.
    Full,
    /// The deliveries cannot be read or written now; it was logged.
    Closed,
}

/// Delivery, running. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    store: RwLock<Option<Arc<Store>>>,
    pub(crate) client: Client,
    pub(crate) render: Box<dyn Render>,
    pub(crate) options: Options,
    pub(crate) metrics: Metrics,
    queue: Mutex<Queue>,
    /// Rung when there may be something to send.
    pub(crate) bell: Notify,
    stop: AtomicBool,
    broken: AtomicBool,
    stopped: Notify,
    running: Mutex<Option<JoinHandle<()>>>,
    pub(crate) ids: hmac::Key,
    pub(crate) looking: Lookers,
}

impl Webhooks {
    /// Opens the store and starts to follow and to send, on the current runtime. A machine that is out of something, such
    /// as disk, is no reason not to start: the store is opened once it can be.
    pub async fn start(
        engine: Engine,
        directory: &Path,
        options: Options,
        resolver: Arc<dyn Resolve>,
        render: Box<dyn Render>,
    ) -> Result<Webhooks, Error> {
        options.validate()?;
        let client = Client::new(resolver, options.reach, options.attempt_timeout);
        let inner = Arc::new(Inner::new(engine, options, client, render));
        let opened = match life::open(&inner, directory).await {
            Ok(store) => Some(store),
            Err(error) if error.blames_machine() => {
                tracing::warn!(%error, "webhooks begin without their deliveries");
                None
            }
            Err(error) => return Err(error),
        };
        let running = tokio::spawn(life::run(inner.clone(), directory.to_owned(), opened));
        *inner.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        Ok(Webhooks(inner))
    }

    /// Ends following and sending. Attempts under way are given up; they are made again after the next start.
    pub async fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        self.0.stopped.notify_waiters();
        self.0.bell.notify_one();
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running
            && running.await.is_err()
        {
            tracing::error!("delivery to webhooks ended in disorder");
        }
    }

    /// The client that calls foreign addresses.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// Deliveries of a webhook, newest first.
    pub async fn deliveries(
        &self,
        webhook: WebhookId,
        before: Option<(u64, u32)>,
        limit: usize,
        wanted: impl Fn(State) -> bool + Send + 'static,
    ) -> Result<Listed, Refused> {
        self.0.clone().blocking(move |_, store| store.list(webhook, before, limit, wanted)).await
    }

    /// Makes a delivery that tests the receiver.
    pub async fn test(&self, webhook: Arc<Webhook>) -> Result<Row, Refused> {
        let inner = &self.0;
        if inner.queue().pending_of(webhook.id) >= inner.options.pending_per_webhook_max {
            return Err(Refused::Full);
        }
        let row = self.0.clone().blocking(move |inner, store| {
            let now = inner.engine.clock().now();
            let mut item = [0; 2];
            ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut item)
                .unwrap_or_else(|_| item = [now.millis().to_le_bytes()[0], now.millis().to_le_bytes()[1]]);
            let item = u32::from(u16::from_le_bytes(item));
            let place = Place { lsn: inner.engine.delivered_end(), item, kind: EventKind::WebhookTest };
            let id = inner.event_id(webhook.id, place);
            let body = Bytes::from(inner.render.test(&webhook, id, now));
            let row = Row {
                webhook: webhook.id,
                place,
                id,
                subject: webhook.id.raw(),
                created_at: now,
                state: State::Pending { due: now },
                attempts: 0,
                last: None,
                body,
            };
            store.put(&row)?;
            Ok(row)
        });
        let row = row.await?;
        inner.queue().add(row.webhook, row.place, row.subject, row.created_at.millis());
        inner.bell.notify_one();
        Ok(row)
    }

    /// Sends a delivery again, with the same id and body, as if it were new. One under way is left alone.
    pub async fn redeliver(&self, webhook: WebhookId, id: EventId) -> Result<Row, Refused> {
        let inner = self.0.clone();
        let found = inner.clone().blocking(move |_, store| store.find(webhook, id)).await?;
        let mut row = found.ok_or(Refused::UnknownDelivery)?;
        let now = inner.engine.clock().now();
        if inner.queue().is_in_flight(webhook, row.place) {
            return Ok(row);
        }
        row.state = State::Pending { due: now };
        row.attempts = 0;
        let changed = row.clone();
        inner.clone().blocking(move |_, store| store.put(&changed)).await?;
        let mut queue = inner.queue();
        if !queue.move_to(webhook, row.place, now.millis()) {
            queue.add(webhook, row.place, row.subject, now.millis());
        }
        drop(queue);
        inner.bell.notify_one();
        Ok(row)
    }

    /// The webhook was turned on again: what waits for it need not rest any longer.
    pub fn forgive(&self, webhook: WebhookId) {
        self.0.queue().forgive(webhook);
        self.0.bell.notify_one();
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(crate) fn key(&self) -> &hmac::Key {
        &self.0.ids
    }
}

impl Inner {
    fn new(engine: Engine, options: Options, client: Client, render: Box<dyn Render>) -> Inner {
        let ids = hmac::Key::new(hmac::HMAC_SHA256, &engine.options().id_key);
        Inner {
            engine,
            client,
            render,
            metrics: Metrics::new(),
            store: RwLock::new(None),
            queue: Mutex::new(Queue::new(Bounds::of(&options))),
            options,
            bell: Notify::new(),
            stop: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            stopped: Notify::new(),
            running: Mutex::new(None),
            ids,
            looking: Lookers::default(),
        }
    }

    pub(crate) fn fresh_queue(&self) -> Queue {
        Queue::new(Bounds::of(&self.options))
    }

    /// Goes on with this store and what waits in it, or without one.
    pub(crate) fn install(&self, store: Option<Arc<Store>>, queue: Queue) {
        self.broken.store(false, Ordering::Release);
        self.metrics.open(store.is_some());
        *self.queue() = queue;
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = store;
    }

    fn store(&self) -> Result<Arc<Store>, Error> {
        self.store.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Closed)
    }

    /// The store has failed: nothing more is followed or sent until it is opened again.
    pub(crate) fn failed(&self, error: &Error) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::error!(%error, cause, "deliveries of webhooks");
        if !matches!(error, Error::Closed) {
            self.broken.store(true, Ordering::Release);
            self.bell.notify_one();
        }
    }

    /// Whether to end what follows and sends.
    pub(crate) fn is_over(&self) -> bool {
        self.is_stopping() || self.broken.load(Ordering::Acquire)
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Resolves when the end was asked for.
    pub(crate) async fn stopped(&self) {
        let stopped = self.stopped.notified();
        tokio::pin!(stopped);
        stopped.as_mut().enable();
        if !self.is_stopping() {
            stopped.await;
        }
    }

    /// The id of an event for one webhook: follows from the event's place, so that it is the same whenever the log is
    /// read, and tells nothing about that place.
    pub(crate) fn event_id(&self, webhook: WebhookId, place: Place) -> EventId {
        let mut context = hmac::Context::with_key(&self.ids);
        context.update(b"webhooks: event");
        context.update(&webhook.raw().to_be_bytes());
        context.update(&self.engine.options().partition.to_be_bytes());
        context.update(&place.lsn.to_be_bytes());
        context.update(&place.item.to_be_bytes());
        context.update(&[place.kind as u8]);
        EventId::from_raw(u128::from_be_bytes(truncated(&context.sign())))
    }

    /// Work on the store, off the runtime's threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Inner, &Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Refused> {
        let working = tokio::task::spawn_blocking(move || {
            let done = self.store().and_then(|store| work(&self, &store));
            done.inspect_err(|error| self.failed(error))
        });
        working.await.ok().and_then(Result::ok).ok_or(Refused::Closed)
    }
}

pub(crate) fn truncated(tag: &hmac::Tag) -> [u8; 16] {
    *tag.as_ref().first_chunk().expect("a digest has 32 bytes")
}
