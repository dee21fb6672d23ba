//! A wallet's inbox: commands in the order of their arrival, and the sum of the credits that the commit stream has
//! delivered since the owner last looked.
//!
//! ractor's own mailbox carries only the wake-up. Commands are handed over many at a time (one wake-up, one pass), and
//! credits cost neither a message nor a wake-up: whoever decides or reads next takes them along first, in order. The
//! queue is bounded by the caller of [`Inbox::push`]; the credits take a fixed place however many they are. Holds that
//! went back are kept one by one, at most as many as stood when the owner last looked: a new one makes it look.

use ledger::{Amount, Position, Posting, Release, Wallet};
use parking_lot::Mutex;

use super::message::Work;

#[derive(Default)]
pub(crate) struct Inbox(Mutex<Contents>);

#[derive(Default)]
struct Contents {
    work: Vec<Work>,
    credited: Amount,
    /// Change of what is held, negative: holds that ended.
    held: Amount,
    /// Position of the last credit in `credited`; zero when there is none.
    credited_to: Position,
    /// Holds that went back, for the wallet's policy.
    releases: Vec<Release>,
    /// A wake-up is under way or the owner is at work: it will look again before it sleeps.
    awake: bool,
}

/// Outcome of [`Inbox::push`].
pub(crate) enum Pushed {
    /// Taken; the owner has to be woken by the caller.
    Wake,
    /// Taken; the owner looks by itself.
    Awake,
    /// `max` pieces of work are waiting already.
    Full(Work),
}

impl Inbox {
    /// Adds work behind what is waiting, unless `max` pieces are.
    pub(crate) fn push(&self, work: Work, max: usize) -> Pushed {
        let mut contents = self.0.lock();
        if contents.work.len() >= max {
            return Pushed::Full(work);
        }
        contents.work.push(work);
        if std::mem::replace(&mut contents.awake, true) { Pushed::Awake } else { Pushed::Wake }
    }

    /// Adds a posting of the record item at `position`. Called in log order.
    pub(crate) fn post(&self, posting: &Posting, position: Position) {
        let mut contents = self.0.lock();
        assert!(position > contents.credited_to, "credits are delivered in log order");
        let add = |sum: Amount, more| {
            sum.checked_add(more).expect("the supply bound keeps sums of credits in range")
        };
        contents.credited = add(contents.credited, posting.delta);
        contents.held = add(contents.held, posting.held);
        contents.releases.extend(posting.release);
        contents.credited_to = position;
    }

    /// Moves everything that waits into `work`, which must be empty, and credits the wallet with what came in. When
    /// nothing waits the owner is marked asleep and the answer is false.
    pub(crate) fn take(&self, work: &mut Vec<Work>, wallet: &mut Wallet) -> bool {
        assert!(work.is_empty(), "work taken earlier is carried out before more is taken");
        let mut contents = self.0.lock();
        contents.settle(wallet);
        std::mem::swap(&mut contents.work, work);
        contents.awake = !work.is_empty();
        contents.awake
    }

    /// Drops everything that waits: the owner is gone, and dropping a reply tells its requester so.
    pub(crate) fn abandon(&self) {
        let mut contents = self.0.lock();
        contents.awake = false;
        let work = std::mem::take(&mut contents.work);
        // What waits gives permits back and wakes requesters: not under the lock.
        drop(contents);
        drop(work);
    }

    /// Credits the wallet with the last that came in, if no command is waiting. The caller holds the registry's write
    /// guard, so that nothing can come in between this and the slot's return to rest.
    pub(crate) fn close(&self, wallet: &mut Wallet) -> bool {
        let mut contents = self.0.lock();
        if !contents.work.is_empty() {
            return false;
        }
        contents.settle(wallet);
        true
    }
}

impl Contents {
    fn settle(&mut self, wallet: &mut Wallet) {
        if self.credited_to > Position::ZERO {
            wallet.post(self.credited, self.held, self.credited_to);
            self.releases.drain(..).for_each(|release| wallet.release(release));
            self.credited = Amount::ZERO;
            self.held = Amount::ZERO;
            self.credited_to = Position::ZERO;
        }
    }
}
