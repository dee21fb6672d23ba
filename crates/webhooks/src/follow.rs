//! The follower: turns the events of the log into deliveries, on a thread of its own and at low priority.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use engine::{Event, EventBatch, EventTail, EventsError};
use ledger::{Webhook, WebhookDisabled, WebhookId};
use tokio::runtime::Handle;

use crate::Error;
use crate::store::{Place, Row, State, Store};
use crate::webhooks::Inner;

/// How long the follower waits for the log before it looks at the stop flag, and at who listens.
const IDLE: Duration = Duration::from_millis(50);
/// Pause before it goes on after what may pass by itself.
const PAUSE: Duration = Duration::from_millis(250);
/// Bytes by which the log grows without anybody listening before the cursor is written down.
const SILENT_BYTES: u64 = 64 << 20;
/// Payments go first.
const NICENESS: i32 = 19;

pub(crate) fn start(inner: Arc<Inner>, store: Arc<Store>, runtime: Handle) -> Result<JoinHandle<()>, Error> {
    let run = move || {
        spread::lower_priority(NICENESS);
        if let Err(error) = follow(&inner, &store, &runtime) {
            inner.failed(&error);
        }
    };
    std::thread::Builder::new().name("webhooks".into()).spawn(run).map_err(Error::Thread)
}

fn follow(inner: &Inner, store: &Store, runtime: &Handle) -> Result<(), Error> {
    let mut cursor = store.cursor()?;
    let mut written = cursor;
    while !inner.is_over() {
        // While nobody listens the log need not be read.
        if let Some(end) = inner.engine.silent_up_to() {
            cursor = cursor.max(end);
            if cursor - written >= SILENT_BYTES {
                store.follow(&[], cursor)?;
                written = cursor;
            }
            inner.metrics.behind(0);
            std::thread::sleep(IDLE);
            continue;
        }
        let mut tail = inner.engine.events(cursor);
        match listen(inner, store, runtime, &mut tail, &mut cursor) {
            Ok(()) => {}
            Err(Error::Events(EventsError::Ended)) => break,
            // The index of history, for one, may be behind; the same records are read again.
            Err(Error::Events(error @ EventsError::Unreadable { .. })) => {
                tracing::warn!(%error, "webhooks wait for what they have to tell of");
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(error),
        }
        written = cursor;
    }
    if cursor > written { store.follow(&[], cursor) } else { Ok(()) }
}

/// Follows while anybody listens.
fn listen(
    inner: &Inner,
    store: &Store,
    runtime: &Handle,
    tail: &mut EventTail,
    cursor: &mut u64,
) -> Result<(), Error> {
    while !inner.is_over() {
        inner.metrics.behind(tail.behind());
        match tail.next(IDLE, runtime).map_err(Error::Events)? {
            Some(batch) => {
                take(inner, store, runtime, &batch)?;
                *cursor = batch.end;
            }
            None if inner.engine.silent_up_to().is_some() => return Ok(()),
            None => {}
        }
    }
    Ok(())
}

/// The deliveries of one stretch of the log, written together with the cursor.
fn take(inner: &Inner, store: &Store, runtime: &Handle, batch: &EventBatch) -> Result<(), Error> {
    let (mut rows, mut full) = (Vec::new(), HashSet::new());
    let mut added: HashMap<WebhookId, usize> = HashMap::new();
    for event in &batch.events {
        for agent in &event.agents {
            for webhook in inner.engine.webhooks(*agent) {
                if !wants(&webhook, event) || full.contains(&webhook.id) {
                    continue;
                }
                let here = added.entry(webhook.id).or_default();
                if let Some(overfull) = overfull(inner, webhook.id, *here, rows.len()) {
                    disable(inner, runtime, overfull);
                    full.insert(overfull);
                }
                if !full.contains(&webhook.id) {
                    *here += 1;
                    rows.push(row(inner, event, &webhook));
                }
            }
        }
    }
    store.follow(&rows, batch.end)?;
    if rows.is_empty() {
        return Ok(());
    }
    let mut queue = inner.queue();
    for row in &rows {
        queue.add(row.webhook, row.place, row.subject, row.created_at.millis());
    }
    inner.metrics.pending(queue.pending());
    drop(queue);
    inner.bell.notify_one();
    Ok(())
}

fn wants(webhook: &Webhook, event: &Event) -> bool {
    webhook.disabled.is_none() && event.lsn > webhook.listens_since.get() && webhook.wants(event.kind.name())
}

/// The webhook that has to be turned off before there is room for one more delivery to this one.
fn overfull(inner: &Inner, webhook: WebhookId, here: usize, all: usize) -> Option<WebhookId> {
    let queue = inner.queue();
    if queue.pending_of(webhook) + here >= inner.options.pending_per_webhook_max {
        return Some(webhook);
    }
    if queue.pending() + all >= inner.options.pending_max {
        return queue.fullest().or(Some(webhook));
    }
    None
}

fn row(inner: &Inner, event: &Event, webhook: &Webhook) -> Row {
    let place = Place { lsn: event.lsn, item: event.item, kind: event.kind };
    let id = inner.event_id(webhook.id, place);
    let now = inner.engine.clock().now();
    Row {
        webhook: webhook.id,
        place,
        id,
        subject: event.subject,
        created_at: now,
        state: State::Pending { due: now },
        attempts: 0,
        last: None,
        body: Bytes::from(inner.render.event(event, webhook.agent, id)),
    }
}

/// Until it is recorded, or the node ends: the stretch of the log that did not fit is passed over after it.
fn disable(inner: &Inner, runtime: &Handle, webhook: WebhookId) {
    tracing::warn!(%webhook, "more waits for this webhook than may; it is turned off");
    while !inner.is_over() {
        let now = inner.engine.clock().now();
        let disabling = inner.engine.disable_webhook(webhook, WebhookDisabled::Backlog, now);
        match runtime.block_on(disabling) {
            Ok(()) => return,
            Err(refusal) => {
                tracing::debug!(?refusal, "a webhook cannot be turned off now");
                std::thread::sleep(PAUSE);
            }
        }
    }
}
