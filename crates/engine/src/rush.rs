//! Whether requests come in a rush: batch after batch of the log releases so many requesters that the next request is a
//! matter of microseconds, and whoever serves them does better to look for it than to sleep until it wakes him.
//!
//! The commit stream judges by whole rounds of batches ([`crate::requesters`]): a queue behind a moment's stall is no rush.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use tokio::sync::watch;

use crate::requesters::Round;

/// A batch of a rush releases this part of all who ask, on average. With fewer, most are outside with their answers, as in
/// an open loop at half of what the node can do, and polling would take from those who work.
const SHARE: usize = 6;
/// At least so many, and not more than so many, whatever the share.
const PER_BATCH: RangeInclusive<usize> = 16..=64;
/// Looks within one round before a rush is over: some tens of milliseconds of nothing else. Rounds take ten.
const LOOKS_MAX: u32 = 20_000;

/// A view of the engine's load, for whoever runs its tasks.
#[derive(Clone, Default)]
pub struct Rush(Arc<State>);

#[derive(Default)]
struct State {
    is_on: watch::Sender<bool>,
    /// Whether the last round was dense.
    was_dense: AtomicBool,
    /// Looks since then.
    looks: AtomicU32,
}

impl Rush {
    /// Begins with the second of two rounds that are dense, and ends with the first that is not.
    pub(crate) fn judge(&self, round: Round) {
        let is_dense = round.per_batch() >= (round.count / SHARE).clamp(*PER_BATCH.start(), *PER_BATCH.end());
        let was_dense = self.0.was_dense.swap(is_dense, Ordering::Relaxed);
        self.0.looks.store(0, Ordering::Relaxed);
        self.set(was_dense && is_dense);
    }

    /// Returns once requests come in a rush.
    pub async fn begins(&self) {
        self.0.is_on.subscribe().wait_for(|is_on| *is_on).await.expect("its sender is held here");
    }

    /// Whether they still do, to be asked at each look for the next. When nobody asks any more, or the disk is stuck, no
    /// round would end it: looks are counted.
    pub fn lasts(&self) -> bool {
        if self.0.looks.fetch_add(1, Ordering::Relaxed) >= LOOKS_MAX {
            self.set(false);
        }
        *self.0.is_on.borrow()
    }

    fn set(&self, is_on: bool) {
        self.0.is_on.send_if_modified(|was| std::mem::replace(was, is_on) != is_on);
    }
}
