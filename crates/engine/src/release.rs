//! Replies that wait for the disk. Whatever an owner answers shows what it has decided, so nobody sees the answer before
//! all of that is durable and delivered.
//!
//! Usually the requester's own task carries its command out and keeps the reply; then only a [`Seat`] travels with the
//! batch of the log, and tells the task when it may look. A reply that is made on another task travels itself.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use ledger::{
    Agent, DisputeMoved, DisputeOpened, EvidenceAdded, Funding, ItemOutcome, KeyPlace, Payment, PaymentBatch,
    Position, Refund, ServiceChanged, TokenReserved, WalletOpened, WebhookChanged,
};
use tokio::sync::oneshot;
use wal::Lsn;

use crate::{
    admission::{GiveBack, Permit},
    refusal::Refusal,
    requesters::Task,
    shared::Shared,
    status::Phase,
    token::TokenView,
    views::{PolicyView, WalletView},
};

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
    /// A wallet's or agent's policy, with what is left of it.
    Policy(Box<PolicyView>),
    /// A wallet was opened by this record.
    Opened(Box<WalletOpened>),
    /// A call was reserved by this record.
    Reserved(Lsn, Box<TokenReserved>),
    /// A refund as it is recorded now.
    Refund(Box<Refund>),
    /// A dispute that this record opened.
    DisputeOpened(Lsn, Box<DisputeOpened>),
    /// A piece of evidence as it is recorded now.
    Evidence(Box<EvidenceAdded>),
    /// A dispute has gone on by this.
    DisputeMoved(Box<DisputeMoved>),
    /// A token as a step left it, and whether the step was taken before.
    Token(Box<TokenView>, bool),
    /// A service as it is recorded now; nothing when it stays as it is.
    Service(Option<Box<ServiceChanged>>),
    /// A webhook as it is recorded now.
    Webhook(Box<WebhookChanged>),
    /// The directory's answer about an agent.
    Agent(Option<Box<Agent>>),
    /// Done; nothing to tell beyond that.
    Done,
    /// The same request was answered before; the answer is in this record.
    Replay(KeyPlace),
    /// Not carried out.
    Refused(Refusal),
}

impl Reply {
    /// Whether an earlier record has to be read for the answer.
    pub(crate) fn repeats(&self) -> bool {
        match self {
            Self::Replay(_) => true,
            Self::Batch(_, batch) => batch.items.iter().any(|item| matches!(item, ItemOutcome::Replayed(_))),
            _ => false,
        }
    }
}

/// A reply that its requester holds already, and may show once `position` is delivered.
pub(crate) struct Decided {
    pub(crate) reply: Reply,
    pub(crate) position: Position,
}

/// Whom an owner answers.
pub(crate) enum Requester {
    /// The task that carries the command out.
    Here(Seat),
    /// Another task, which waits for the reply.
    There(Parked),
}

/// Whom to wake, and the places a command holds until then. Parts of a larger command have neither: its last part
/// speaks for all.
#[derive(Default)]
pub(crate) struct Seat {
    pub(crate) waker: Option<Waker>,
    pub(crate) permit: Option<Permit>,
}

impl Seat {
    /// What travels with the log, if anything has to.
    pub(crate) fn companion(self) -> Option<Companion> {
        (self.waker.is_some() || self.permit.is_some()).then_some(Companion::Seat(self))
    }

    /// The same requester, who waits for another task's reply.
    pub(crate) fn parked(self, to: oneshot::Sender<Reply>) -> Parked {
        Parked { to, permit: self.permit, task: self.waker.as_ref().map(Task::woken_by) }
    }

    fn release(self) {
        // The places are free before the requester can act on the answer.
        drop(self.permit);
        if let Some(waker) = self.waker {
            waker.wake();
        }
    }
}

/// Where a reply goes, and the places its command holds until then.
pub(crate) struct Parked {
    pub(crate) to: oneshot::Sender<Reply>,
    pub(crate) permit: Option<Permit>,
    /// The task that waits for the reply, where it is known.
    pub(crate) task: Option<Task>,
}

impl Parked {
    /// Hands the reply over. A requester that has gone away is not an error: what was decided stays decided.
    pub(crate) fn release(self, reply: Reply) {
        drop(self.permit);
        drop(self.to.send(reply));
    }
}

/// What travels with a batch of the log.
pub(crate) enum Companion {
    Seat(Seat),
    Reply(Box<(Parked, Reply)>),
}

impl Companion {
    pub(crate) fn reply(parked: Parked, reply: Reply) -> Self {
        Self::Reply(Box::new((parked, reply)))
    }

    pub(crate) fn release(self) {
        match self {
            Self::Seat(seat) => seat.release(),
            Self::Reply(waiting) => {
                let (parked, reply) = *waiting;
                parked.release(reply);
            }
        }
    }

    /// The task that waits.
    pub(crate) fn task(&self) -> Option<Task> {
        match self {
            Self::Seat(seat) => seat.waker.as_ref().map(Task::woken_by),
            Self::Reply(waiting) => waiting.0.task,
        }
    }

    /// The log failed under this reply. Whoever sits here finds that out by the engine's status.
    pub(crate) fn fail(self) {
        match self {
            Self::Seat(seat) => seat.release(),
            Self::Reply(waiting) => waiting.0.release(Reply::Refused(Refusal::OutcomeUnknown)),
        }
    }
}

/// An answer that was decided and must not be shown yet. What can be prepared of it may be prepared meanwhile, beside the
/// disk.
#[must_use = "an answer counts once it is delivered"]
pub struct Undelivered<'e, T> {
    value: T,
    delivery: Option<Delivery<'e>>,
}

impl<'e, T> Undelivered<'e, T> {
    pub(crate) fn new(value: T, delivery: Delivery<'e>) -> Self {
        Self { value, delivery: Some(delivery) }
    }

    /// An answer that hides nothing.
    pub(crate) fn delivered_already(value: T) -> Self {
        Self { value, delivery: None }
    }

    /// Prepares the answer. Whatever `prepare` makes is as secret as the answer.
    pub fn map<U>(self, prepare: impl FnOnce(T) -> U) -> Undelivered<'e, U> {
        Undelivered { value: prepare(self.value), delivery: self.delivery }
    }

    /// The answer, once it may be shown.
    pub async fn delivered(self) -> Result<T, Refusal> {
        if let Some(delivery) = self.delivery {
            delivery.await?;
        }
        Ok(self.value)
    }
}

/// Waits until `position` is delivered. The task sits with the log already, or the position is covered.
pub(crate) struct Delivery<'s> {
    shared: &'s Shared,
    position: Position,
    /// Whom the log wakes.
    seated: Waker,
    /// Places to be given back with the answer, where the seat is in a later batch of the log than what is waited for.
    places: Option<GiveBack>,
}

impl<'s> Delivery<'s> {
    pub(crate) fn new(shared: &'s Shared, position: Position, seated: Waker) -> Self {
        Self { shared, position, seated, places: None }
    }

    pub(crate) fn giving_back(self, places: GiveBack) -> Self {
        Self { places: Some(places), ..self }
    }
}

impl Future for Delivery<'_> {
    type Output = Result<(), Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        if self.shared.delivered.covers(self.position) {
            // Before the requester can act on the answer.
            if let Some(places) = self.places.take() {
                places.now();
            }
            return Poll::Ready(Ok(()));
        }
        if !self.seated.will_wake(cx.waker()) {
            self.seated = cx.waker().clone();
            let seat = Seat { waker: Some(self.seated.clone()), permit: None };
            if self.shared.wal.attach(Companion::Seat(seat)).is_err() {
                return Poll::Ready(Err(Refusal::OutcomeUnknown));
            }
        }
        // Whoever failed the log said so before it woke anybody, and what was delivered before that is covered.
        if self.shared.status.phase() == Phase::Failed && !self.shared.delivered.covers(self.position) {
            return Poll::Ready(Err(Refusal::OutcomeUnknown));
        }
        Poll::Pending
    }
}
