//! The life of delivery: open the store, follow and send, and begin anew when the store fails.
//!
//! A database that could not write, on a full disk for one, takes nothing more until it is opened again. Nothing is lost
//! meanwhile: the log tells again what the cursor has not passed, and what waits is on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ring::hmac;
use tokio::runtime::Handle;

use crate::store::{State, Store};
use crate::webhooks::{Inner, truncated};
use crate::{Error, deliver, follow};

/// Pause before the store is opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(5);

/// Opens the store of this ledger, off the runtime's threads.
pub(crate) async fn open(inner: &Arc<Inner>, directory: &Path) -> Result<Store, Error> {
    let (inner, directory) = (inner.clone(), directory.to_owned());
    let opening = tokio::task::spawn_blocking(move || {
        let ledger = truncated(&hmac::sign(&inner.ids, b"webhooks: ledger"));
        Store::open(&directory, ledger, inner.engine.delivered_end())
    });
    opening.await.expect("opening does not panic")
}

/// Runs until the end is asked for.
pub(crate) async fn run(inner: Arc<Inner>, directory: PathBuf, mut opened: Option<Store>) {
    while !inner.is_stopping() {
        let store = match opened.take() {
            Some(store) => Ok(store),
            None => open(&inner, &directory).await,
        };
        match store {
            Ok(store) => work(&inner, store).await,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "deliveries of webhooks wait until their store can be opened");
            }
        }
        tokio::select! {
            () = inner.stopped() => {}
            () = tokio::time::sleep(REOPEN_AFTER) => {}
        }
    }
}

/// Follows and sends until the end, or until the store fails.
async fn work(inner: &Arc<Inner>, store: Store) {
    let store = Arc::new(store);
    let (reading, fresh) = (store.clone(), inner.fresh_queue());
    let waiting = tokio::task::spawn_blocking(move || {
        let mut queue = fresh;
        reading.for_each_pending(|row| {
            if let State::Pending { due } = row.state {
                queue.add(row.webhook, row.place, row.subject, due.millis());
            }
        })?;
        Ok::<_, Error>((queue, reading.cursor()?))
    });
    let (queue, cursor) = match waiting.await.expect("reading does not panic") {
        Ok(read) => read,
        Err(error) => return tracing::error!(%error, "the deliveries of webhooks cannot be read"),
    };
    tracing::info!(pending = queue.pending(), cursor, "deliveries of webhooks are open");
    inner.install(Some(store.clone()), queue);
    match follow::start(inner.clone(), store, Handle::current()) {
        Ok(follower) => {
            deliver::run(inner.clone()).await;
            let ending = tokio::task::spawn_blocking(move || follower.join());
            if !matches!(ending.await, Ok(Ok(()))) {
                tracing::error!("the thread that follows the log for webhooks ended in disorder");
            }
        }
        Err(error) => tracing::error!(%error, "webhooks"),
    }
    inner.install(None, inner.fresh_queue());
}
