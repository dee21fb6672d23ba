//! Sending: takes what is due from the queue and makes one task of each attempt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, StatusCode};
use ledger::{Timestamp, Webhook, WebhookDisabled};
use tokio::task::JoinSet;

use crate::metrics::Outcome as Counted;
use crate::queue::{Done, Work};
use crate::schedule::{self, Next, Outcome, Why};
use crate::store::{Attempt, Row, State, Store};
use crate::webhooks::Inner;
use crate::{Error, Failure, Target, sign};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Longest sleep: the clock may be set, and due times are wall time.
const SLEEP_MAX_MS: i64 = 30_000;
/// Time between two sweeps of what has ended.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// Pause of a webhook whose rows could not be read or written.
const BROKEN_PAUSE_MS: i64 = 30_000;
/// Ended deliveries beyond what is kept before some are forgotten: in few steps and not one by one.
const PRUNE_SLACK: usize = 64;

/// Sends until the end is asked for or the store fails.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut attempts = JoinSet::new();
    let mut swept: Option<Instant> = None;
    while !inner.is_over() {
        if swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
            swept = Some(Instant::now());
            sweep(&inner).await;
        }
        let now_ms = inner.engine.clock().now().millis();
        while let Some(work) = { inner.queue().take(now_ms) } {
            attempts.spawn(attempt(inner.clone(), work));
        }
        while attempts.try_join_next().is_some() {}
        let wake_ms = inner.queue().next_wake(now_ms);
        let sleep_ms = wake_ms.map_or(SLEEP_MAX_MS, |at| at.saturating_sub(now_ms).clamp(1, SLEEP_MAX_MS));
        let sleep = Duration::from_millis(sleep_ms.unsigned_abs());
        tokio::select! {
            () = inner.bell.notified() => {}
            () = inner.stopped() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
    // What is under way is given up: its rows still wait on disk.
    attempts.shutdown().await;
}

async fn attempt(inner: Arc<Inner>, work: Work) {
    let done = match deliver(&inner, work).await {
        Some(done) => done,
        None => {
            let due_ms = inner.engine.clock().now().millis().saturating_add(BROKEN_PAUSE_MS);
            Done::Retry { due_ms, rest_until_ms: due_ms }
        }
    };
    let mut queue = inner.queue();
    queue.finish(work, done);
    inner.metrics.pending(queue.pending());
    drop(queue);
    inner.bell.notify_one();
}

/// One attempt from row to row; `None` when the rows cannot be read or written.
async fn deliver(inner: &Arc<Inner>, work: Work) -> Option<Done> {
    let read = move |_: &Inner, store: &Store| store.row(work.webhook, work.place);
    let Some(mut row) = inner.clone().blocking(read).await.ok()? else { return Some(Done::Ended) };
    let Some(webhook) = inner.engine.any_webhook(work.webhook) else {
        inner.clone().blocking(move |_, store| store.remove(&row)).await.ok()?;
        return Some(Done::Ended);
    };
    let begun = Instant::now();
    if webhook.disabled.is_some() {
        return end(inner, row, Err(Failure::Disabled), begun).await;
    }
    let sent = send(inner, &webhook, &row).await;
    let now = inner.engine.clock().now();
    let (outcome, result) = judge(sent, now);
    row.attempts = row.attempts.saturating_add(1);
    row.last = Some(Attempt { at: now, result });
    match schedule::next(row.attempts, outcome, random()) {
        Next::Delivered => {
            inner.metrics.attempt(Counted::Delivered, begun.elapsed());
            row.state = State::Delivered { at: now };
            write(inner, row).await?;
            Some(Done::Delivered)
        }
        Next::Retry { after_ms } => {
            inner.metrics.attempt(Counted::Retried, begun.elapsed());
            let due = now.saturating_add_millis(after_ms);
            row.state = State::Pending { due };
            write(inner, row).await?;
            let asked_ms = match outcome {
                Outcome::Failed { retry_after_ms } => retry_after_ms,
                Outcome::Delivered | Outcome::Gone => None,
            };
            let failures = inner.queue().failures(work.webhook).saturating_add(1);
            let rest_until_ms = now.saturating_add_millis(schedule::rest_ms(failures, asked_ms)).millis();
            Some(Done::Retry { due_ms: due.millis(), rest_until_ms })
        }
        Next::Disable(why) => {
            let reason = match why {
                Why::Gone => WebhookDisabled::Gone,
                Why::LastTry => WebhookDisabled::Failing,
            };
            tracing::warn!(webhook = %webhook.id, reason = reason.as_str(), "a webhook is turned off");
            if let Err(refusal) = inner.engine.disable_webhook(webhook.id, reason, now).await {
                // Nothing is sent to it through this delivery any more; another one will say the same again.
                tracing::warn!(webhook = %webhook.id, ?refusal, "a webhook could not be turned off");
            }
            end(inner, row, result, begun).await
        }
    }
}

/// A delivery that has failed for good.
async fn end(inner: &Arc<Inner>, mut row: Row, result: Result<u16, Failure>, begun: Instant) -> Option<Done> {
    inner.metrics.attempt(Counted::Failed, begun.elapsed());
    let now = inner.engine.clock().now();
    row.last = Some(Attempt { at: now, result });
    row.state = State::Failed { at: now };
    write(inner, row).await?;
    Some(Done::Ended)
}

async fn send(inner: &Inner, webhook: &Webhook, row: &Row) -> Result<crate::Answer, Failure> {
    // Refused here when the node was configured otherwise when the webhook was made.
    let target = Target::parse(&webhook.url, inner.client.reach()).map_err(|_| Failure::Refused)?;
    let now = inner.engine.clock().now();
    let id = row.id.to_string();
    let header = |text: String| HeaderValue::try_from(text).map_err(|_| Failure::Http);
    let headers = [
        (WEBHOOK_TIMESTAMP, header(now.millis().div_euclid(1_000).to_string())?),
        (WEBHOOK_SIGNATURE, header(sign::signatures(webhook, &id, now, &row.body))?),
        (WEBHOOK_ID, header(id)?),
    ];
    inner.client.post(&target, &headers, row.body.clone()).await
}

fn judge(sent: Result<crate::Answer, Failure>, now: Timestamp) -> (Outcome, Result<u16, Failure>) {
    match sent {
        Ok(answer) => {
            let outcome = if answer.status.is_success() {
                Outcome::Delivered
            } else if answer.status == StatusCode::GONE {
                Outcome::Gone
            } else {
                let asked = answer.retry_after.as_deref();
                let retry_after_ms = asked.and_then(|value| schedule::retry_after_ms(value, now.millis()));
                Outcome::Failed { retry_after_ms }
            };
            (outcome, Ok(answer.status.as_u16()))
        }
        Err(failure) => (Outcome::Failed { retry_after_ms: None }, Err(failure)),
    }
}

async fn write(inner: &Arc<Inner>, row: Row) -> Option<()> {
    inner.clone().blocking(move |_, store| store.put(&row)).await.ok()
}

/// Forgets what ended long ago, what is too much, and what belongs to webhooks that are gone.
async fn sweep(inner: &Arc<Inner>) {
    let swept = inner.clone().blocking(move |inner, store| -> Result<(), Error> {
        let kept_ms = i64::try_from(inner.options.ended_kept.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp::from_millis(inner.engine.clock().now().millis().saturating_sub(kept_ms));
        let is_known = |webhook| inner.engine.any_webhook(webhook).is_some();
        store.sweep(before, is_known)?;
        for (webhook, count) in store.ended()? {
            let most = inner.options.ended_kept_per_webhook_max;
            if count > most + PRUNE_SLACK {
                store.prune(webhook, count - most)?;
            }
        }
        Ok(())
    });
    // A failure was logged, and the next sweep tries again.
    let _ = swept.await;
}

/// Chance for the spread of retries; nothing secret hangs on it.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
