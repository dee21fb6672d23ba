//! How the index gives way: its threads take what payments leave.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Entries between two moments at which a thread gives way: about a hundred microseconds of work.
const STEP: u32 = 256;

/// Whether the index is in a hurry. Niceness decides who gets how much, not who waits: a thread that computes may keep
/// its core for milliseconds while a payment wants it. So the index offers its core every few entries, unless somebody
/// waits for it or it has fallen far behind.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    hurries: AtomicBool,
    /// Whether writing must not wait for the disk's sake either. Somebody who waits for the newest entries is not helped
    /// by tables that are written sooner.
    rushes: AtomicBool,
}

impl Pace {
    pub(crate) fn hurry(&self, hurries: bool) {
        self.hurries.store(hurries, Ordering::Relaxed);
    }

    pub(crate) fn rush(&self, rushes: bool) {
        self.rushes.store(rushes, Ordering::Relaxed);
    }

    pub(crate) fn rushes(&self) -> bool {
        self.rushes.load(Ordering::Relaxed)
    }

    /// `entries` more were worked on; `done` counts them for the calling thread.
    pub(crate) fn step(&self, done: &mut u32, entries: u32) {
        *done += entries;
        if *done >= STEP {
            *done = 0;
            if !self.hurries.load(Ordering::Relaxed) {
                thread::yield_now();
            }
        }
    }
}
