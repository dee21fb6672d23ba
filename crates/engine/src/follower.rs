//! The thread that keeps the history index up with the log. It tails what is durable at its own pace and low priority;
//! a slow or broken index costs fresh lists, never a payment.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use history::History;
use wal::Reader;

pub(crate) struct Follower {
    history: Arc<History>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Follower {
    pub(crate) fn start(history: History, reader: &Reader) -> Self {
        let history = Arc::new(history);
        let stop = Arc::new(AtomicBool::new(false));
        let tail = reader.tail(history.cursor());
        let thread = {
            let (history, stop) = (history.clone(), stop.clone());
            let run = move || {
                if let Err(error) = history::run(history, tail, &stop) {
                    tracing::error!(%error, "the history index stopped; lists grow stale until a restart");
                }
            };
            std::thread::Builder::new().name("history".into()).spawn(run).expect("a thread can be started")
        };
        Self { history, stop, thread }
    }

    pub(crate) fn history(&self) -> Arc<History> {
        self.history.clone()
    }

    /// Ends the thread after the batch it works on. Blocks.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        if self.thread.join().is_err() {
            tracing::error!(
                "the history index ended in disorder; it is rebuilt where needed at the next start"
            );
        }
    }
}
