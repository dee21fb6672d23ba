//! Replies that wait for the disk. A reply is made by an owner when it decides, travels with the batch of the log as
//! its companion, and is released by the commit stream once everything the owner had decided is durable and delivered.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use ledger::{Agent, Funding, KeyPlace, Payment, PaymentBatch, WalletOpened};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use wal::Lsn;

use crate::{admission::Permit, refusal::Refusal, views::WalletView};

/// What an owner answers.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A payment, and the record that holds it.
    Payment(Lsn, Box<Payment>),
    /// A batch; without a record when nothing moved and no key has to be remembered.
    Batch(Option<Lsn>, Box<PaymentBatch>),
    /// A funding and its record.
    Funding(Lsn, Box<Funding>),
    /// A payment that was only tried.
    Preview(Box<Payment>),
    /// A wallet as its owner sees it.
    Wallet(WalletView),
    /// A wallet was opened by this record.
    Opened(Box<WalletOpened>),
    /// The directory's answer about an agent.
    Agent(Option<Box<Agent>>),
    /// Done; nothing to tell beyond that.
    Done,
    /// The same request was answered before; the answer is in this record.
    Replay(KeyPlace),
    /// Not carried out.
    Refused(Refusal),
}

/// Where a reply goes.
pub(crate) enum ReplyTo {
    /// To the one request that waits for it.
    One(oneshot::Sender<Reply>),
    /// To a request that waits for several owners.
    Gathered(Arc<Gatherer>, usize),
}

impl ReplyTo {
    /// Hands the reply over. A requester that has gone away is not an error: what was decided stays decided.
    pub(crate) fn send(self, reply: Reply) {
        match self {
            Self::One(sender) => drop(sender.send(reply)),
            Self::Gathered(gatherer, index) => gatherer.put(index, reply),
        }
    }
}

/// A reply, where it goes, and the places its command holds until then.
pub(crate) struct Parked {
    pub(crate) to: ReplyTo,
    pub(crate) permit: Permit,
}

impl Parked {
    pub(crate) fn release(self, reply: Reply) {
        // The places are free before the requester can act on the answer.
        drop(self.permit);
        self.to.send(reply);
    }
}

/// What travels with a batch of the log.
pub(crate) struct Companion {
    pub(crate) parked: Parked,
    pub(crate) reply: Reply,
}

impl Companion {
    pub(crate) fn release(self) {
        self.parked.release(self.reply);
    }

    /// The log failed under this reply.
    pub(crate) fn fail(self) {
        self.parked.release(Reply::Refused(Refusal::OutcomeUnknown));
    }
}

/// Collects the replies of several owners and wakes the requester once, with all of them.
pub(crate) struct Gatherer {
    replies: Mutex<Vec<Option<Reply>>>,
    missing: AtomicUsize,
    done: Mutex<Option<oneshot::Sender<Vec<Option<Reply>>>>>,
}

impl Gatherer {
    /// A gatherer of `count` replies, which is at least one.
    pub(crate) fn new(count: usize) -> (Arc<Self>, oneshot::Receiver<Vec<Option<Reply>>>) {
        assert!(count > 0, "nothing to gather would never wake the requester");
        let (sender, receiver) = oneshot::channel();
        let replies = std::iter::repeat_with(|| None).take(count).collect();
        let gatherer = Self {
            replies: Mutex::new(replies),
            missing: AtomicUsize::new(count),
            done: Mutex::new(Some(sender)),
        };
        (Arc::new(gatherer), receiver)
    }

    fn put(&self, index: usize, reply: Reply) {
        let before = self.replies.lock()[index].replace(reply);
        assert!(before.is_none(), "an owner answered twice");
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            let all = std::mem::take(&mut *self.replies.lock());
            if let Some(done) = self.done.lock().take() {
                drop(done.send(all));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gatherer_wakes_once_with_every_reply_in_place() {
        let (gatherer, mut receiver) = Gatherer::new(3);
        for index in [2, 0] {
            ReplyTo::Gathered(gatherer.clone(), index).send(Reply::Done);
            assert!(receiver.try_recv().is_err(), "still waiting");
        }
        ReplyTo::Gathered(gatherer, 1).send(Reply::Refused(Refusal::Overloaded));
        let all = receiver.try_recv().expect("complete");
        assert!(matches!(
            all.as_slice(),
            [Some(Reply::Done), Some(Reply::Refused(Refusal::Overloaded)), Some(Reply::Done)]
        ));
    }

    #[test]
    fn a_requester_that_went_away_is_no_error() {
        let (sender, receiver) = oneshot::channel();
        drop(receiver);
        ReplyTo::One(sender).send(Reply::Done);
    }
}
