//! The lock between appenders, log thread and allocator, and how they wake each other.
//!
//! A thread is woken only when it has said that it sleeps, so an append beside a busy log thread makes no
//! system call.

use crate::event::Pool;
use crate::frame::frame_bytes;
use crate::intake::{AllocatorState, Intake, Place, Spare, Work};
use crate::published::Published;
use crate::sync::{AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, lock};
use crate::{Error, Lsn, Options, Refused};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Shared<T> {
    intake: Mutex<Intake<T>>,
    log_wakes: Condvar,
    allocator_wakes: Condvar,
    /// What poisoned the log.
    cause: Mutex<Option<Arc<Error>>>,
    /// With so many companions a batch has gathered enough.
    company: AtomicUsize,
    pub(crate) pool: Arc<Pool>,
    pub(crate) published: Arc<Published>,
    pub(crate) options: Options,
}

impl<T> Shared<T> {
    pub(crate) fn new(options: Options, published: Arc<Published>, ready: Vec<Arc<Place>>) -> Shared<T> {
        let pool = Pool::new(options.batch_bytes_max as usize + crate::batch::SEAL_FRAME);
        let intake = Intake::new(&options, Arc::clone(&published), ready, Arc::clone(&pool));
        Shared {
            intake: Mutex::new(intake),
            log_wakes: Condvar::new(),
            allocator_wakes: Condvar::new(),
            cause: Mutex::new(None),
            company: AtomicUsize::new(usize::MAX),
            pool,
            published,
            options,
        }
    }

    pub(crate) fn append(
        &self,
        payload: &[u8],
        companion: impl FnOnce(Lsn) -> Option<T>,
    ) -> Result<Lsn, Refused> {
        let needed = crate::batch::BATCH_FRAME + frame_bytes(payload.len());
        let large = (needed > self.options.batch_bytes_max as usize
            && payload.len() <= self.options.record_bytes_max as usize)
            .then(|| self.pool.take_large(needed + crate::batch::SEAL_FRAME));
        let mut intake = lock(&self.intake);
        let lsn = intake.append(payload, large, companion);
        self.wake(intake);
        lsn
    }

    pub(crate) fn attach(&self, companion: T) -> Result<(), (Refused, T)> {
        let mut intake = lock(&self.intake);
        if let Err(refused) = intake.check_running() {
            return Err((refused, companion));
        }
        intake.attach(companion);
        self.wake(intake);
        Ok(())
    }

    /// Gives up the lock and wakes whoever sleeps and has something to do now.
    fn wake(&self, mut intake: MutexGuard<'_, Intake<T>>) {
        let log = intake.takes_log_from_sleep();
        let allocator = intake.wakes_allocator();
        if allocator {
            intake.allocator = AllocatorState::Busy;
        }
        drop(intake);
        if log {
            self.log_wakes.notify_one();
        }
        if allocator {
            self.allocator_wakes.notify_one();
        }
    }

    /// The log thread's next work, without waiting; for tests that drive the log without its threads.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(crate) fn poll(&self, spare: &mut Option<Spare<T>>) -> Option<Work<T>> {
        lock(&self.intake).next(spare)
    }

    /// The log thread's next work. With `watermark_due`, a moment of the options' clock, a watermark is the
    /// work when nothing else came by then, and before the end.
    pub(crate) fn wait(&self, spare: &mut Option<Spare<T>>, mut watermark_due: Option<Duration>) -> Work<T> {
        let mut intake = lock(&self.intake);
        loop {
            match (intake.next(spare), watermark_due) {
                (Some(Work::Over), Some(_)) => match intake.watermark() {
                    Some(batch) => return Work::Batch(batch),
                    None => return Work::Over,
                },
                (Some(work), _) => return work,
                (None, None) => {
                    intake.log_sleeps = true;
                    intake = self.log_wakes.wait(intake).expect("no thread panicked with the intake");
                }
                (None, Some(due)) => match due.saturating_sub(self.options.clock.now()) {
                    Duration::ZERO => {
                        watermark_due = None;
                        if let Some(batch) = intake.watermark() {
                            return Work::Batch(batch);
                        }
                    }
                    left => {
                        intake.log_sleeps = true;
                        let woken = self.log_wakes.wait_timeout(intake, left);
                        intake = woken.expect("no thread panicked with the intake").0;
                    }
                },
            }
            intake.log_sleeps = false;
        }
    }

    /// Lets the open batch fill, for at most `left`.
    pub(crate) fn gather(&self, left: Duration) {
        let mut intake = lock(&self.intake);
        intake.log_gathers = Some(self.company.load(Ordering::Relaxed));
        if !intake.has_gathered() {
            intake.log_sleeps = true;
            let woken = self.log_wakes.wait_timeout(intake, left);
            intake = woken.expect("no thread panicked with the intake").0;
            intake.log_sleeps = false;
        }
        intake.log_gathers = None;
    }

    /// From the next time on a batch has gathered enough with so many companions.
    pub(crate) fn gather_to(&self, companions: usize) {
        self.company.store(companions, Ordering::Relaxed);
    }

    /// Whether the log thread sleeps and nobody has woken it.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(crate) fn log_sleeps(&self) -> bool {
        lock(&self.intake).log_sleeps
    }

    /// A watermark now, for tests that drive the log without its threads.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(crate) fn watermark(&self) -> Option<crate::intake::Batch<T>> {
        lock(&self.intake).watermark()
    }

    /// Stops taking records for good and returns the companions of everything that waited.
    pub(crate) fn poison(&self, cause: Arc<Error>) -> Vec<T> {
        *lock(&self.cause) = Some(cause);
        let mut intake = lock(&self.intake);
        let companions = intake.poison();
        self.wake(intake);
        companions
    }

    pub(crate) fn close(&self) {
        let mut intake = lock(&self.intake);
        intake.close();
        self.wake(intake);
    }

    /// Waits until a segment is wanted. `false`: the log ends.
    pub(crate) fn wait_until_wanted(&self) -> bool {
        let mut intake = lock(&self.intake);
        while intake.is_running() && !intake.wants_segment() {
            intake.allocator = AllocatorState::Idle;
            intake = self.allocator_wakes.wait(intake).expect("no thread panicked with the intake");
        }
        intake.allocator = AllocatorState::Busy;
        intake.is_running()
    }

    /// Lets the allocator rest unless its segment is needed at once. `false`: the log ends.
    pub(crate) fn pause(&self, pause: Duration, unless_pressed: bool) -> bool {
        let mut intake = lock(&self.intake);
        if intake.is_running() && !(unless_pressed && intake.is_pressed()) {
            intake.allocator = AllocatorState::Pausing;
            let woken = self.allocator_wakes.wait_timeout(intake, pause);
            intake = woken.expect("no thread panicked with the intake").0;
            intake.allocator = AllocatorState::Busy;
        }
        intake.is_running()
    }

    pub(crate) fn add_ready(&self, place: Arc<Place>) {
        lock(&self.intake).add_ready(place);
    }

    pub(crate) fn set_disk_full(&self) {
        lock(&self.intake).set_disk_full();
    }

    pub(crate) fn fail(&self, error: Error) {
        let mut intake = lock(&self.intake);
        intake.fail(error);
        self.wake(intake);
    }

    /// What poisoned the log, if anything did.
    pub(crate) fn cause(&self) -> Option<Arc<Error>> {
        lock(&self.cause).clone()
    }

    #[cfg(all(test, not(feature = "shuttle")))]
    pub(crate) fn wants_segment(&self) -> bool {
        lock(&self.intake).wants_segment()
    }

    pub(crate) fn ready_segments(&self) -> usize {
        lock(&self.intake).ready_segments()
    }
}
