//! Locks, condition variables, atomics and threads of the commit path, in one place so that the model checker
//! runs the very same code: with the feature `shuttle` they are its own, otherwise those of the standard
//! library.

#[cfg(not(feature = "shuttle"))]
pub(crate) use std::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    sync::{Condvar, Mutex, MutexGuard, RwLock},
    thread,
};

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    sync::{Condvar, Mutex, MutexGuard, RwLock},
    thread,
};

/// Locks. A thread that panicked inside may have left anything behind, so everybody else stops too.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panicked while it held this lock")
}
