//! Many commands decided side by side.
//!
//! The requester puts its commands up in shares. Tasks of other workers take shares while there are any, and so does the
//! requester once all are up: what nobody else has the time for it decides itself, so it never waits for a busy worker,
//! only for shares that are being decided. Owners decide alone, so it makes no difference which share is first.
//! Invariant: each share is taken once, and [`Round::finish`] ends when all of them are decided.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
};

use ledger::{Position, WalletId};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    Engine,
    registry::Handed,
    release::{Decided, Reply, Seat},
    wallet::Asked,
};

/// Commands of one share: a few hundred microseconds, after which others on the worker have their turn, and as much memory
/// as a core has in its cache.
const SHARE_COMMANDS: usize = 256;

type Share = Vec<(WalletId, Asked)>;

/// A request's commands on their way to their owners.
pub(super) struct Round {
    table: Arc<Table>,
    /// The share that is being filled.
    filling: Share,
    /// Other workers of the runtime.
    helpers_max: usize,
}

/// What a round has come to.
#[derive(Default)]
pub(super) struct Outcome {
    /// In the order in which the commands were put.
    pub(super) replies: Vec<Reply>,
    /// Replies that come from actors, by the place of the command.
    pub(super) queued: Vec<(usize, oneshot::Receiver<Reply>)>,
    /// What all replies together have to wait for.
    pub(super) last: Position,
}

struct Table {
    engine: Engine,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Shares that nobody has taken, with their numbers.
    waiting: VecDeque<(usize, Share)>,
    /// What the shares have come to, by their numbers.
    outcomes: Vec<Option<Outcome>>,
    /// Shares that were taken and are not decided.
    taken: usize,
    helpers: usize,
    /// The requester, while it waits.
    waker: Option<Waker>,
}

impl Round {
    pub(super) fn begin(engine: &Engine) -> Self {
        let workers = tokio::runtime::Handle::current().metrics().num_workers();
        Self {
            table: Arc::new(Table { engine: engine.clone(), state: Mutex::default() }),
            filling: Share::new(),
            helpers_max: workers.saturating_sub(1),
        }
    }

    /// Puts up one more command. Those of one wallet belong into one command, and those of one shard of the registry
    /// should come one after the other.
    pub(super) fn put(&mut self, wallet: WalletId, asked: Asked) {
        self.filling.push((wallet, asked));
        if self.filling.len() == SHARE_COMMANDS {
            let next = Share::with_capacity(SHARE_COMMANDS);
            self.table.put(std::mem::replace(&mut self.filling, next));
            if self.table.wants_helper(self.helpers_max) {
                tokio::spawn(help(self.table.clone()));
            }
        }
    }

    /// Has the rest decided.
    pub(super) async fn finish(self) -> Outcome {
        let Self { table, filling, .. } = self;
        table.put(filling);
        while table.decide_one() {
            if table.has_waiting() {
                tokio::task::yield_now().await;
            }
        }
        poll_fn(|cx| {
            let mut state = table.state.lock();
            if state.taken == 0 {
                return Poll::Ready(());
            }
            state.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        let outcomes = std::mem::take(&mut table.state.lock().outcomes);
        let outcomes = outcomes.into_iter().map(|outcome| outcome.expect("whoever took a share decided it"));
        outcomes.reduce(Outcome::and).unwrap_or_default()
    }
}

/// A helper's life: shares of this round until none is left.
async fn help(table: Arc<Table>) {
    while table.decide_one() {
        tokio::task::yield_now().await;
    }
    table.state.lock().helpers -= 1;
}

impl Table {
    fn put(&self, share: Share) {
        let mut state = self.state.lock();
        let number = state.outcomes.len();
        state.outcomes.push(None);
        state.waiting.push_back((number, share));
    }

    fn has_waiting(&self) -> bool {
        !self.state.lock().waiting.is_empty()
    }

    /// Counts one more helper, if there is room for one.
    fn wants_helper(&self, max: usize) -> bool {
        let mut state = self.state.lock();
        let is_wanted = state.helpers < max;
        state.helpers += usize::from(is_wanted);
        is_wanted
    }

    /// Decides one share; false when none is left.
    fn decide_one(&self) -> bool {
        let (number, share) = {
            let mut state = self.state.lock();
            let Some(next) = state.waiting.pop_front() else { return false };
            state.taken += 1;
            next
        };
        let mut taken = Taken { table: self, number, outcome: None };
        taken.outcome = Some(decide(&self.engine, share));
        true
    }
}

/// A share in somebody's hands. It goes back decided, or, from a panic, undecided: the requester must not wait for ever.
struct Taken<'t> {
    table: &'t Table,
    number: usize,
    outcome: Option<Outcome>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.table.state.lock();
        state.outcomes[self.number] = self.outcome.take();
        state.taken -= 1;
        let waker = if state.taken == 0 { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Gives each command of a share to its owner.
fn decide(engine: &Engine, share: Share) -> Outcome {
    let mut outcome = Outcome { replies: Vec::with_capacity(share.len()), ..Outcome::default() };
    for (place, (wallet, asked)) in share.into_iter().enumerate() {
        outcome.replies.push(match engine.hand(wallet, asked, Seat::default()) {
            Ok(Handed::Decided(Decided { reply, position })) => {
                outcome.last = outcome.last.max(position);
                reply
            }
            Ok(Handed::Queued(receiver)) => {
                outcome.queued.push((place, receiver));
                Reply::Done
            }
            Ok(Handed::Unknown | Handed::Full) => unreachable!("refused by `hand`"),
            Err(refusal) => Reply::Refused(refusal),
        });
    }
    outcome
}

impl Outcome {
    /// Both, `next` behind this one.
    fn and(mut self, next: Outcome) -> Outcome {
        let before = self.replies.len();
        self.replies.extend(next.replies);
        self.queued.extend(next.queued.into_iter().map(|(place, receiver)| (before + place, receiver)));
        self.last = self.last.max(next.last);
        self
    }
}
