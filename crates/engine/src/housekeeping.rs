//! Tasks that run beside the owners and end with the engine's last handle.

use std::{sync::Arc, time::Duration};

use crate::{Engine, status::Phase};

/// How often the log is asked whether it can still grow.
const DISK_CHECKED_EVERY: Duration = Duration::from_millis(100);

impl Engine {
    /// Starts sweeping idle wallets, watching the disk, and periodic snapshots.
    pub(crate) fn spawn_housekeeping(&self) {
        let shared = self.0.shared.clone();
        let idle_after = shared.options.idle_after;
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(idle_after);
            // The first tick is at once: a wallet that came into use while this task waited for its turn is not idle.
            ticks.tick().await;
            while inner.upgrade().is_some() {
                ticks.tick().await;
                shared.registry.sweep();
            }
        });
        let shared = self.0.shared.clone();
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(DISK_CHECKED_EVERY);
            while inner.upgrade().is_some() {
                ticks.tick().await;
                shared.status.set_read_only(shared.wal.admission() == wal::Admission::ReadOnly);
            }
        });
        let every = self.0.shared.options.snapshot_every;
        if every.is_zero() {
            return;
        }
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(inner) = inner.upgrade() else { return };
                if inner.shared.status.phase() != Phase::Ready {
                    continue;
                }
                match Engine(inner).snapshot_now().await {
                    Ok(generation) => {
                        tracing::info!(id = generation.id, bytes = generation.bytes, "snapshot taken")
                    }
                    Err(error) => tracing::error!(%error, "snapshot failed; the log keeps everything"),
                }
            }
        });
    }
}
