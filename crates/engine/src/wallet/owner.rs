//! What the owner of a wallet does with a command: decide by the pure rules, append the record, change the state.
//! Nothing is awaited here, so nothing comes between "handed to the log" and "state changed".
//!
//! The owner is whoever holds the wallet exclusively: its actor, or a requester's task under the guard of the slot that
//! the wallet rests in.

use std::cell::RefCell;

use journal::{Encode, RowRef, Scratch, View};
use ledger::{
    AddEvidenceCommand, AgentId, BatchCommand, Claim, ClaimTerms, Decision, Denial, FundCommand, ItemOutcome,
    KeyPlace, KeyScope, KeyUse, KeyVerdict, Mandate, MoveDisputeCommand, OpenDisputeCommand, PayCommand,
    Policy, PolicyDenied, Position, RefundCommand, ReserveCommand, Rules, Timestamp, Wallet, WalletId,
    WalletStatus,
};
use tokio::sync::oneshot;
use wal::Lsn;

use super::message::{Asked, Command, RowFacts, RowReply};
use crate::{
    budget::Reservation,
    release::{Companion, Decided, Reply, Requester},
    shared::Shared,
    views::{PolicyView, WalletView},
};

/// A wallet in the hands of its owner.
pub(crate) struct Owner<'w> {
    pub(crate) id: WalletId,
    pub(crate) wallet: &'w mut Wallet,
    pub(crate) shared: &'w Shared,
    /// Of the command that is being carried out.
    reserved: Option<Reservation>,
}

thread_local! {
    /// Records are serialised outside the log's lock, one at a time per thread, into a buffer that is kept.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl<'w> Owner<'w> {
    pub(crate) fn new(id: WalletId, wallet: &'w mut Wallet, shared: &'w Shared) -> Self {
        Self { id, wallet, shared, reserved: None }
    }

    /// Carries a command out. What a requester on this task gets is returned; others get it through the log.
    pub(crate) fn carry_out(&mut self, asked: Asked, requester: Requester) -> Option<Decided> {
        let Asked { command, absent_below, reserved } = asked;
        self.reserved = reserved;
        let keys = &self.shared.keys;
        let hashes = || command.key_hashes();
        let recalled = keys.recall(self.id.raw(), &mut self.wallet.keys, absent_below, hashes);
        let decided = match recalled {
            Ok(()) => self.decide(command, requester),
            Err(refusal) => self.answer(requester, Reply::Refused(refusal)),
        };
        self.wallet.keys.release_recalled();
        // What was not recorded goes back.
        self.reserved = None;
        decided
    }

    fn decide(&mut self, command: Command, requester: Requester) -> Option<Decided> {
        match command {
            Command::Pay(command) => self.pay(command, requester),
            Command::Batch(command) => self.batch(command, requester),
            Command::Fund(command) => self.fund(command, requester),
            Command::Reserve(command) => self.reserve(*command, requester),
            Command::Refund(command) => self.refund(*command, requester),
            Command::OpenDispute(command) => self.open_dispute(*command, requester),
            Command::AddEvidence(command) => self.add_evidence(*command, requester),
            Command::MoveDispute(command) => self.move_dispute(*command, requester),
            Command::SetStatus { caller, wanted, at } => self.set_status(caller, wanted, at, requester),
            Command::SetPolicy { caller, policy, at } => self.set_policy(caller, *policy, at, requester),
            Command::Policy { caller, at } => self.policy(caller, at, requester),
            Command::Preview(mut command) => {
                command.at = self.time(command.at);
                let reply = preview(self.wallet, command, &self.shared.rules);
                self.answer(requester, reply)
            }
            Command::CheckKey { key } => self.check_key(&key, requester),
            Command::Read { caller, at } => self.read(caller, at, requester),
        }
    }

    /// The wallet's snapshot row as it stands, decisions that are not durable yet included: the snapshot waits for them.
    pub(crate) fn row(&self, reply: oneshot::Sender<RowReply>) {
        let bytes = SCRATCH.with_borrow_mut(|scratch| {
            journal::encode_row(RowRef::Wallet(self.id, self.wallet.fields()), scratch);
            scratch.bytes().to_vec()
        });
        drop(reply.send(RowReply { bytes, facts: RowFacts::of(&self.wallet.fields()) }));
    }

    /// Forgets the keys of one part that are on disk. The answer is the next part, when there is one.
    pub(crate) fn forget_keys(&mut self, part: usize) -> Option<usize> {
        let (keys, parts) = (&self.shared.keys, self.wallet.keys.parts());
        keys.forget_part(&mut self.wallet.keys, keys.floor(), part);
        (part + 1 < parts).then_some(part + 1)
    }

    /// When a command that arrived at `at` is decided. Uses of a policy are counted by the time that jumps of the wall
    /// clock do not move.
    fn time(&self, at: Timestamp) -> Timestamp {
        match &self.reserved {
            Some(reserved) => self.shared.time.now().max(reserved.at),
            None if self.wallet.policy.is_some() => self.shared.time.now(),
            None => at,
        }
    }

    fn pay(&mut self, mut command: PayCommand, requester: Requester) -> Option<Decided> {
        command.at = self.time(command.at);
        let at = command.at;
        match ledger::decide_payment(self.wallet, command, &self.shared.rules) {
            Decision::Fact(payment) => self.record(Box::new(payment), requester, Reply::Payment),
            Decision::Denied(denial) => self.deny(denial, at, requester),
            Decision::Replay(place) => self.answer(requester, Reply::Replay(place)),
        }
    }

    fn batch(&mut self, mut command: BatchCommand, requester: Requester) -> Option<Decided> {
        command.at = self.time(command.at);
        let at = command.at;
        let decision = ledger::decide_batch(self.wallet, command, &self.shared.rules);
        if let Decision::Fact(batch) = &decision {
            for item in &batch.items {
                if let ItemOutcome::Denied(denial) = item {
                    self.note(denial, at);
                }
            }
        }
        match decision {
            // Nothing moved and no key to remember: there is no fact to write down.
            Decision::Fact(batch) if !batch.moves_money() && batch.key.is_none() => {
                self.answer(requester, Reply::Batch(None, Box::new(batch)))
            }
            Decision::Fact(batch) => {
                self.record(Box::new(batch), requester, |lsn, batch| Reply::Batch(Some(lsn), batch))
            }
            Decision::Denied(denial) => self.deny(denial, at, requester),
            Decision::Replay(place) => self.answer(requester, Reply::Replay(place)),
        }
    }

    /// Refuses, and notes a policy's denial for those who want to be told.
    fn deny(&mut self, denial: Denial, at: Timestamp, requester: Requester) -> Option<Decided> {
        self.note(&denial, at);
        self.answer(requester, Reply::Refused(denial.into()))
    }

    /// Records a policy's denial where somebody listens, once per rule and second. A log that refuses it costs the
    /// event and not the answer.
    fn note(&mut self, denial: &Denial, at: Timestamp) {
        let denial = match denial {
            Denial::Policy(denial) => **denial,
            Denial::AtomicBatch { because, .. } => return self.note(because, at),
            _ => return,
        };
        let (shared, agent) = (self.shared, self.wallet.agent);
        if !shared.webhooks.has_any(agent) || !shared.denied.is_first(self.id, denial.rule, at) {
            return;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            PolicyDenied { wallet: self.id, denial, at }.encode(scratch);
            let view = journal::view(scratch.bytes()).expect("a record just encoded reads back and balances");
            if let Ok(lsn) = shared.wal.append(scratch.bytes()) {
                apply_own(self.wallet, &view, lsn);
            }
        });
    }

    fn fund(&mut self, command: FundCommand, requester: Requester) -> Option<Decided> {
        match ledger::decide_funding(self.wallet, command, &self.shared.rules) {
            Decision::Fact(funding) => self.record(Box::new(funding), requester, Reply::Funding),
            Decision::Denied(denial) => self.answer(requester, Reply::Refused(denial.into())),
            Decision::Replay(place) => self.answer(requester, Reply::Replay(place)),
        }
    }

    fn reserve(&mut self, command: ReserveCommand, requester: Requester) -> Option<Decided> {
        let at = command.at;
        match ledger::decide_reservation(self.wallet, command) {
            Decision::Fact(reserved) => {
                self.shared.time.stamped_at(reserved.terms.reserved_at);
                self.record(Box::new(reserved), requester, Reply::Reserved)
            }
            Decision::Denied(denial) => self.deny(denial, at, requester),
            Decision::Replay(place) => self.answer(requester, Reply::Replay(place)),
        }
    }

    fn refund(&mut self, command: RefundCommand, requester: Requester) -> Option<Decided> {
        let claim = self.claim(&command.terms);
        let id_of = |opened| self.shared.dispute_id(opened);
        match ledger::decide_refund(self.wallet, claim.as_ref(), command, id_of) {
            Decision::Fact(refund) => self.record(Box::new(refund), requester, |_, fact| Reply::Refund(fact)),
            Decision::Denied(denial) => self.answer(requester, Reply::Refused(denial.into())),
            Decision::Replay(place) => self.answer(requester, Reply::Replay(place)),
        }
    }

    fn open_dispute(&mut self, command: OpenDisputeCommand, requester: Requester) -> Option<Decided> {
        let claim = self.claim(&command.terms);
        let id_of = |opened| self.shared.dispute_id(opened);
        let rules = &self.shared.rules;
        match ledger::decide_open_dispute(self.wallet, claim.as_ref(), command, rules, id_of) {
            Decision::Fact(opened) => self.record(Box::new(opened), requester, Reply::DisputeOpened),
            Decision::Denied(denial) => self.answer(requester, Reply::Refused(denial.into())),
            Decision::Replay(place) => self.answer(requester, Reply::Replay(place)),
        }
    }

    fn add_evidence(&mut self, command: AddEvidenceCommand, requester: Requester) -> Option<Decided> {
        let claim = self.claim(&command.terms);
        match ledger::decide_evidence(self.wallet, claim.as_ref(), command) {
            Decision::Fact(added) => self.record(Box::new(added), requester, |_, fact| Reply::Evidence(fact)),
            Decision::Denied(denial) => self.answer(requester, Reply::Refused(denial.into())),
            Decision::Replay(place) => self.answer(requester, Reply::Replay(place)),
        }
    }

    fn move_dispute(&mut self, command: MoveDisputeCommand, requester: Requester) -> Option<Decided> {
        let claim = self.claim(&command.terms);
        match ledger::decide_dispute_move(claim.as_ref(), command) {
            Ok(Some(moved)) => self.record(Box::new(moved), requester, |_, fact| Reply::DisputeMoved(fact)),
            Ok(None) => self.answer(requester, Reply::Done),
            Err(denial) => self.answer(requester, Reply::Refused(denial.into())),
        }
    }

    /// What has been claimed back of a payment that this wallet decides about.
    fn claim(&self, terms: &ClaimTerms) -> Option<Claim> {
        self.shared.claims.read(terms.position(), Claim::clone)
    }

    fn set_status(
        &mut self,
        caller: AgentId,
        wanted: WalletStatus,
        at: Timestamp,
        requester: Requester,
    ) -> Option<Decided> {
        match ledger::decide_status(self.wallet, self.id, caller, wanted, at) {
            Decision::Fact(change) => {
                let mut view = WalletView::of(self.id, self.wallet.fields(), at);
                view.status = change.status;
                self.record(Box::new(change), requester, |_, _| Reply::Wallet(view))
            }
            Decision::Denied(denial) => self.answer(requester, Reply::Refused(denial.into())),
            Decision::Replay(_) => unreachable!("freezing takes no idempotency key"),
        }
    }

    fn set_policy(
        &mut self,
        caller: AgentId,
        policy: Policy,
        at: Timestamp,
        requester: Requester,
    ) -> Option<Decided> {
        let at = self.shared.time.now().max(at);
        let present = self.wallet.policy.as_ref().map(|mandate| &mandate.policy);
        if self.wallet.agent == caller && *present.unwrap_or(&Policy::default()) == policy {
            return self.policy(caller, at, requester);
        }
        match ledger::decide_policy(self.wallet, self.id, caller, policy, at) {
            Decision::Fact(changed) => {
                let before = self.wallet.policy.as_deref().cloned();
                let mandate = Mandate::set(before, changed.policy.clone(), changed.at, Position::ZERO);
                let view = PolicyView::of(Some(self.wallet.currency), mandate.as_ref(), changed.at);
                self.record(Box::new(changed), requester, |_, _| Reply::Policy(Box::new(view)))
            }
            Decision::Denied(denial) => self.answer(requester, Reply::Refused(denial.into())),
            Decision::Replay(_) => unreachable!("a policy takes no idempotency key"),
        }
    }

    fn policy(&mut self, caller: AgentId, at: Timestamp, requester: Requester) -> Option<Decided> {
        let reply = if self.wallet.agent == caller {
            let at = self.time(at);
            Reply::Policy(Box::new(PolicyView::of(
                Some(self.wallet.currency),
                self.wallet.policy.as_deref(),
                at,
            )))
        } else {
            Reply::Refused(Denial::UnknownWallet.into())
        };
        self.answer(requester, reply)
    }

    fn check_key(&mut self, key: &KeyUse, requester: Requester) -> Option<Decided> {
        let reply = match self.wallet.keys.judge(Some(key), KeyScope::Batch) {
            KeyVerdict::New | KeyVerdict::Repeats(_) => Reply::Done,
            KeyVerdict::Conflicts => Reply::Refused(Denial::KeyConflict.into()),
        };
        self.answer(requester, reply)
    }

    fn read(&mut self, caller: AgentId, at: Timestamp, requester: Requester) -> Option<Decided> {
        let reply = if self.wallet.agent == caller {
            Reply::Wallet(WalletView::of(self.id, self.wallet.fields(), at))
        } else {
            Reply::Refused(Denial::UnknownWallet.into())
        };
        self.answer(requester, reply)
    }

    /// Appends the fact and changes the state by the bytes that were appended, with the code that replay uses. The
    /// reply waits for the disk. A log that refuses leaves everything as it was.
    fn record<F: Encode>(
        &mut self,
        fact: Box<F>,
        requester: Requester,
        reply: impl FnOnce(Lsn, Box<F>) -> Reply,
    ) -> Option<Decided> {
        SCRATCH.with_borrow_mut(|scratch| {
            fact.encode(scratch);
            let view = journal::view(scratch.bytes()).expect("a record just encoded reads back and balances");
            let wal = &self.shared.wal;
            match requester {
                Requester::Here(seat) => {
                    let appended = match seat.companion() {
                        Some(companion) => wal.append_with(scratch.bytes(), |_| companion),
                        None => wal.append(scratch.bytes()),
                    };
                    match appended {
                        Ok(lsn) => {
                            self.apply(&view, lsn);
                            Some(Decided { reply: reply(lsn, fact), position: self.wallet.decided })
                        }
                        Err(refused) => {
                            Some(Decided { reply: Reply::Refused(refused.into()), position: Position::ZERO })
                        }
                    }
                }
                Requester::There(parked) if self.reserved.is_some() => {
                    // The reply must not overtake this task: the reservation belongs to the record before the requester
                    // can ask for what it would otherwise hold twice.
                    match wal.append(scratch.bytes()) {
                        Ok(lsn) => {
                            self.apply(&view, lsn);
                            self.shared.release(self.wallet.decided, parked, reply(lsn, fact));
                        }
                        Err(refused) => parked.release(Reply::Refused(refused.into())),
                    }
                    None
                }
                Requester::There(parked) => {
                    let mut waiting = Some((parked, fact, reply));
                    let appended = wal.append_with(scratch.bytes(), |lsn| {
                        let (parked, fact, reply) = waiting.take().expect("called once");
                        Companion::reply(parked, reply(lsn, fact))
                    });
                    match appended {
                        Ok(lsn) => self.apply(&view, lsn),
                        Err(refused) => {
                            let (parked, ..) = waiting.expect("not called when the log refuses");
                            parked.release(Reply::Refused(refused.into()));
                        }
                    }
                    None
                }
            }
        })
    }

    fn apply(&mut self, view: &View<'_>, lsn: Lsn) {
        let before = self.wallet.keys.len();
        apply_own(self.wallet, view, lsn);
        remember_own(self.wallet, view, lsn, &self.shared.rules);
        self.shared.keys.count(before, self.wallet.keys.len());
        if let Some(reserved) = self.reserved.take() {
            match view.spending() {
                Some(spending) => reserved.recorded(spending, lsn),
                // Nothing was spent: it goes back.
                None => drop(reserved),
            }
        }
        // State of this wallet too, and under its guard.
        if let Some(change) = view.claim_change() {
            self.shared.claims.apply(&change, Position::new(lsn.get()));
        }
    }

    /// Answers without a record, but not before all that this owner has decided is durable.
    fn answer(&mut self, requester: Requester, reply: Reply) -> Option<Decided> {
        // Nothing is recorded, so what was reserved is free before the requester can act on the answer.
        self.reserved = None;
        self.shared.answer(self.wallet.decided, requester, reply)
    }
}

/// The owner's own side of the record at `lsn`: balance, status, policy and what is used of it. Live and in replay.
pub(crate) fn apply_own(wallet: &mut Wallet, view: &View<'_>, lsn: Lsn) {
    let change = view.change().expect("a record of a wallet changes that wallet");
    wallet.apply(&change, Position::new(lsn.get()));
    if wallet.policy.is_some()
        && let Some(spending) = view.spending()
    {
        wallet.spend(spending, view.at());
    }
    if let Some(changed) = view.policy_changed() {
        wallet.set_policy(changed.policy, changed.at, Position::new(lsn.get()));
    }
}

/// The keys that the record at `lsn` uses, for its owner to remember. Live and in replay.
fn remember_own(wallet: &mut Wallet, view: &View<'_>, lsn: Lsn, rules: &Rules) {
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
