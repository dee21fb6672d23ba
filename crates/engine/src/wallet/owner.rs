//! What a wallet's owner does with a command: decide by the pure rules, append the record, change the state, park the
//! reply. Nothing is awaited here, so nothing comes between "handed to the log" and "state changed".

use std::{cell::RefCell, sync::Arc};

use journal::{Encode, RowRef, Scratch, View};
use ledger::{
    AgentId, BatchCommand, Decision, Denial, FundCommand, KeyPlace, KeyScope, KeyUse, KeyVerdict, PayCommand,
    Position, Rules, Timestamp, Wallet, WalletId, WalletStatus,
};
use tokio::sync::oneshot;
use wal::Lsn;

use super::{
    inbox::Inbox,
    message::{Command, RowFacts, RowReply},
};
use crate::{
    release::{Companion, Parked, Reply},
    shared::Shared,
    views::WalletView,
};

/// What the actor does after a pass.
pub(super) enum Next {
    /// Nothing waits.
    Sleep,
    /// Look again.
    Continue,
    /// The wallet is back at rest; the actor ends.
    Rested,
}

pub(super) struct Owner {
    id: WalletId,
    pub(super) wallet: Box<Wallet>,
    shared: Arc<Shared>,
}

thread_local! {
    /// Records are serialised outside the log's lock, one at a time per thread, into a buffer that is kept.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Owner {
    pub(super) fn new(id: WalletId, wallet: Box<Wallet>, shared: Arc<Shared>) -> Self {
        Self { id, wallet, shared }
    }

    pub(super) fn carry_out(&mut self, command: Command, parked: Parked) {
        match command {
            Command::Pay(command) => self.pay(command, parked),
            Command::Batch(command) => self.batch(command, parked),
            Command::Fund(command) => self.fund(command, parked),
            Command::SetStatus { caller, wanted, at } => self.set_status(caller, wanted, at, parked),
            Command::Preview(command) => {
                let reply = preview(&self.wallet, command, &self.shared.rules);
                self.answer(parked, reply);
            }
            Command::CheckKey { key } => self.check_key(&key, parked),
            Command::Read { caller, at } => self.read(caller, at, parked),
        }
    }

    /// The wallet's snapshot row as it stands, decisions that are not durable yet included: the snapshot waits for them.
    pub(super) fn row(&self, reply: oneshot::Sender<RowReply>) {
        let bytes = SCRATCH.with_borrow_mut(|scratch| {
            journal::encode_row(RowRef::Wallet(self.id, self.wallet.fields()), scratch);
            scratch.bytes().to_vec()
        });
        drop(reply.send(RowReply { bytes, facts: RowFacts::of(&self.wallet.fields()) }));
    }

    /// Goes back to rest, unless something waits or a decision is not delivered yet.
    pub(super) fn rest(mut self, inbox: &Inbox) -> Result<(), Box<Self>> {
        if !self.shared.delivered.covers(self.wallet.decided) {
            return Err(Box::new(self));
        }
        match self.shared.registry.rest(self.id, self.wallet, inbox) {
            Ok(()) => Ok(()),
            Err(wallet) => {
                self.wallet = wallet;
                Err(Box::new(self))
            }
        }
    }

    fn pay(&mut self, command: PayCommand, parked: Parked) {
        match ledger::decide_payment(&self.wallet, command, &self.shared.rules) {
            Decision::Fact(payment) => self.record(Box::new(payment), parked, Reply::Payment),
            Decision::Denied(denial) => self.answer(parked, Reply::Refused(denial.into())),
            Decision::Replay(place) => self.answer(parked, Reply::Replay(place)),
        }
    }

    fn batch(&mut self, command: BatchCommand, parked: Parked) {
        match ledger::decide_batch(&self.wallet, command, &self.shared.rules) {
            // Nothing moved and no key to remember: there is no fact to write down.
            Decision::Fact(batch) if !batch.moves_money() && batch.key.is_none() => {
                self.answer(parked, Reply::Batch(None, Box::new(batch)));
            }
            Decision::Fact(batch) => {
                self.record(Box::new(batch), parked, |lsn, batch| Reply::Batch(Some(lsn), batch));
            }
            Decision::Denied(denial) => self.answer(parked, Reply::Refused(denial.into())),
            Decision::Replay(place) => self.answer(parked, Reply::Replay(place)),
        }
    }

    fn fund(&mut self, command: FundCommand, parked: Parked) {
        match ledger::decide_funding(&self.wallet, command, &self.shared.rules) {
            Decision::Fact(funding) => self.record(Box::new(funding), parked, Reply::Funding),
            Decision::Denied(denial) => self.answer(parked, Reply::Refused(denial.into())),
            Decision::Replay(place) => self.answer(parked, Reply::Replay(place)),
        }
    }

    fn set_status(&mut self, caller: AgentId, wanted: WalletStatus, at: Timestamp, parked: Parked) {
        match ledger::decide_status(&self.wallet, self.id, caller, wanted, at) {
            Decision::Fact(change) => {
                let mut view = WalletView::of(self.id, &self.wallet, at);
                view.status = change.status;
                self.record(Box::new(change), parked, |_, _| Reply::Wallet(view));
            }
            Decision::Denied(denial) => self.answer(parked, Reply::Refused(denial.into())),
            Decision::Replay(_) => unreachable!("freezing takes no idempotency key"),
        }
    }

    fn check_key(&self, key: &KeyUse, parked: Parked) {
        let reply = match self.wallet.keys.judge(Some(key), KeyScope::Batch) {
            KeyVerdict::New | KeyVerdict::Repeats(_) => Reply::Done,
            KeyVerdict::Conflicts => Reply::Refused(Denial::KeyConflict.into()),
        };
        self.answer(parked, reply);
    }

    fn read(&self, caller: AgentId, at: Timestamp, parked: Parked) {
        let reply = if self.wallet.agent == caller {
            Reply::Wallet(WalletView::of(self.id, &self.wallet, at))
        } else {
            Reply::Refused(Denial::UnknownWallet.into())
        };
        self.answer(parked, reply);
    }

    /// Appends the fact and changes the state by the bytes that were appended, with the code that replay uses. The
    /// reply waits for the disk. A log that refuses leaves everything as it was.
    fn record<F: Encode>(&mut self, fact: Box<F>, parked: Parked, reply: impl FnOnce(Lsn, Box<F>) -> Reply) {
        SCRATCH.with_borrow_mut(|scratch| {
            fact.encode(scratch);
            let view = journal::view(scratch.bytes()).expect("a record just encoded reads back and balances");
            let mut waiting = Some((parked, fact, reply));
            let appended = self.shared.wal.append_with(scratch.bytes(), |lsn| {
                let (parked, fact, reply) = waiting.take().expect("called once");
                Companion { parked, reply: reply(lsn, fact) }
            });
            match appended {
                Ok(lsn) => apply_own(&mut self.wallet, &view, lsn, &self.shared.rules),
                Err(refused) => {
                    let (parked, ..) = waiting.expect("not called when the log refuses");
                    parked.release(Reply::Refused(refused.into()));
                }
            }
        });
    }

    /// Answers without a record, but not before all that this owner has decided is durable.
    fn answer(&self, parked: Parked, reply: Reply) {
        self.shared.answer(self.wallet.decided, parked, reply);
    }
}

/// The owner's own side of the record at `lsn`: balance, status, and the keys it must remember. Live and in replay.
pub(crate) fn apply_own(wallet: &mut Wallet, view: &View<'_>, lsn: Lsn, rules: &Rules) {
    let change = view.change().expect("a record of a wallet changes that wallet");
    wallet.apply(&change, Position::new(lsn.get()));
    view.for_each_key(|hash, fingerprint, item| {
        let place = KeyPlace { lsn: lsn.get(), item };
        wallet.keys.remember(hash, place, fingerprint, view.at(), rules.idempotency_retention_ms);
    });
}

/// What a payment would do to this wallet; decides and forgets.
pub(crate) fn preview(wallet: &Wallet, command: PayCommand, rules: &Rules) -> Reply {
    match ledger::decide_payment(wallet, command, rules) {
        Decision::Fact(payment) => Reply::Preview(Box::new(payment)),
        Decision::Denied(denial) => Reply::Refused(denial.into()),
        Decision::Replay(place) => Reply::Replay(place),
    }
}
