//! How far the commit stream has delivered: the position below which everything is durable, posted to every owner and
//! visible to readers.

use std::sync::atomic::{AtomicU64, Ordering};

use ledger::Position;
use tokio::sync::Notify;
use wal::Lsn;

#[derive(Default)]
pub(crate) struct Delivered {
    end: AtomicU64,
    newest: AtomicU64,
    moved: Notify,
}

impl Delivered {
    /// End of the delivered prefix of the log.
    pub(crate) fn end(&self) -> Lsn {
        Lsn::new(self.end.load(Ordering::Acquire))
    }

    /// Whether the record item at `position` has been delivered. Nothing decided yet (position zero) has been.
    pub(crate) fn covers(&self, position: Position) -> bool {
        position == Position::ZERO || position.get() < self.end.load(Ordering::Acquire)
    }

    /// Position of the newest record delivered, as far as this process has seen one.
    pub(crate) fn newest(&self) -> Lsn {
        Lsn::new(self.newest.load(Ordering::Acquire))
    }

    /// The record at `lsn` is the newest; the end moves behind it later.
    pub(crate) fn saw(&self, lsn: Lsn) {
        self.newest.store(lsn.get(), Ordering::Release);
    }

    /// Moves forward; only the commit stream and recovery call this.
    pub(crate) fn advance(&self, end: Lsn) {
        let before = self.end.swap(end.get(), Ordering::AcqRel);
        assert!(before <= end.get(), "the delivered position never goes back");
        if before < end.get() {
            self.moved.notify_waiters();
        }
    }

    /// Waits until `position` is covered.
    pub(crate) async fn reach(&self, position: Position) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.covers(position) {
                return;
            }
            moved.await;
        }
    }
}
