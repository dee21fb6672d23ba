//! The face of delivery: start, what the API asks, the end.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use engine::{Engine, Event};
use ledger::{AgentId, EventId, EventKind, Timestamp, Webhook, WebhookId};
use ring::hmac;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::metrics::Metrics;
use crate::prove::Lookers;
use crate::queue::{Bounds, Queue};
use crate::store::{Listed, Place, Row, State, Store};
use crate::{Client, Error, Options, Resolve, deliver, follow};

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
    /// The deliveries cannot be read or written; it was logged.
    Broken,
}

/// Delivery, running. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    pub(crate) client: Client,
    pub(crate) render: Box<dyn Render>,
    pub(crate) options: Options,
    pub(crate) metrics: Metrics,
    queue: Mutex<Queue>,
    /// Rung when there may be something to send.
    pub(crate) bell: Notify,
    stop: AtomicBool,
    stopped: Notify,
    /// The task that sends and the thread that follows.
    running: Mutex<Option<(tokio::task::JoinHandle<()>, JoinHandle<()>)>>,
    ids: hmac::Key,
    pub(crate) looking: Lookers,
}

impl Webhooks {
    /// Opens the store and starts to follow and to send, on the current runtime.
    pub async fn start(
        engine: Engine,
        directory: &Path,
        options: Options,
        resolver: Arc<dyn Resolve>,
        render: Box<dyn Render>,
    ) -> Result<Webhooks, Error> {
        options.validate()?;
        let client = Client::new(resolver, options.reach, options.attempt_timeout);
        let directory = directory.to_owned();
        let opening =
            tokio::task::spawn_blocking(move || Inner::open(engine, &directory, options, client, render));
        let inner = Arc::new(opening.await.expect("opening does not panic")?);
        let sender = tokio::spawn(deliver::run(inner.clone()));
        let follower = follow::start(inner.clone(), Handle::current())?;
        *inner.running.lock().unwrap_or_else(PoisonError::into_inner) = Some((sender, follower));
        Ok(Webhooks(inner))
    }

    /// Ends following and sending. Attempts under way are given up; they are made again after the next start.
    pub async fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        self.0.stopped.notify_waiters();
        self.0.bell.notify_one();
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((sender, follower)) = running else { return };
        let ending = tokio::task::spawn_blocking(move || follower.join());
        if sender.await.is_err() || !matches!(ending.await, Ok(Ok(()))) {
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
        self.0.clone().blocking(move |inner| inner.store.list(webhook, before, limit, wanted)).await
    }

    /// Makes a delivery that tests the receiver.
    pub async fn test(&self, webhook: Arc<Webhook>) -> Result<Row, Refused> {
        let inner = &self.0;
        if inner.queue().pending_of(webhook.id) >= inner.options.pending_per_webhook_max {
            return Err(Refused::Full);
        }
        let row = self.0.clone().blocking(move |inner| {
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
            inner.store.put(&row)?;
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
        let found = inner.clone().blocking(move |inner| inner.store.find(webhook, id)).await?;
        let mut row = found.ok_or(Refused::UnknownDelivery)?;
        let now = inner.engine.clock().now();
        if inner.queue().is_in_flight(webhook, row.place) {
            return Ok(row);
        }
        row.state = State::Pending { due: now };
        row.attempts = 0;
        let changed = row.clone();
        inner.clone().blocking(move |inner| inner.store.put(&changed)).await?;
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
    fn open(
        engine: Engine,
        directory: &Path,
        options: Options,
        client: Client,
        render: Box<dyn Render>,
    ) -> Result<Inner, Error> {
        let ids = hmac::Key::new(hmac::HMAC_SHA256, &engine.options().id_key);
        let ledger = truncated(&hmac::sign(&ids, b"webhooks: ledger"));
        let store = Store::open(directory, ledger, engine.delivered_end())?;
        let bounds = Bounds {
            in_flight_max: options.in_flight_max,
            in_flight_per_webhook_max: options.in_flight_per_webhook_max,
        };
        let mut queue = Queue::new(bounds);
        store.for_each_pending(|row| {
            if let State::Pending { due } = row.state {
                queue.add(row.webhook, row.place, row.subject, due.millis());
            }
        })?;
        tracing::info!(
            pending = queue.pending(),
            cursor = store.cursor()?,
            "deliveries of webhooks are open"
        );
        Ok(Inner {
            engine,
            store,
            client,
            render,
            options,
            metrics: Metrics::new(),
            queue: Mutex::new(queue),
            bell: Notify::new(),
            stop: AtomicBool::new(false),
            stopped: Notify::new(),
            running: Mutex::new(None),
            ids,
            looking: Lookers::default(),
        })
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
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Refused> {
        match tokio::task::spawn_blocking(move || work(&self)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                tracing::error!(%error, cause = ?std::error::Error::source(&error), "deliveries of webhooks");
                Err(Refused::Broken)
            }
            Err(_) => Err(Refused::Broken),
        }
    }
}

fn truncated(tag: &hmac::Tag) -> [u8; 16] {
    *tag.as_ref().first_chunk().expect("a digest has 32 bytes")
}
