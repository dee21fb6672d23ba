//! A node in memory: decisions, a log of encoded records, a commit stream that delivers when told to, snapshots.
//!
//! What it knows after a crash comes from bytes alone, through the same steps that replay takes.

use std::collections::BTreeMap;

use journal::{Encode, Owner, Row, RowRef, Scratch, View, decode_row, encode_row, view};
use ledger::{
    Account, Agent, AgentCreated, AgentFact, AgentId, Amount, Decision, Denial, Fact, ItemOutcome, KeyPlace,
    Position, Rules, Timestamp, Totals, Wallet, WalletId, WalletOpened, assert_balanced, decide_batch,
    decide_funding, decide_payment, decide_status,
};
use testkit::{Action, Command, Config, Ids, ItemResult, LedgerCommand, ModelOutcome, Reading};

/// Bytes that a log adds to each payload.
const FRAME_BYTES: u64 = 16;

pub(crate) struct Node {
    rules: Rules,
    ids: Ids,
    log: Vec<Record>,
    /// Records whose postings the commit stream has delivered.
    delivered: usize,
    state: State,
    snapshot: Option<Snapshot>,
    scratch: Scratch,
    /// Number of the command that each record answers.
    commands: BTreeMap<u64, usize>,
}

struct Record {
    lsn: u64,
    payload: Vec<u8>,
}

/// Everything that is lost in a crash.
#[derive(Clone, Eq, PartialEq, Debug, Default)]
pub(crate) struct State {
    wallets: BTreeMap<WalletId, Wallet>,
    agents: BTreeMap<AgentId, Agent>,
    totals: Totals,
    /// Last record in `totals`.
    posted: Position,
}

/// Rows that are taken one after another while the node goes on.
struct Snapshot {
    /// Records that had been delivered when it began; replay starts there.
    start: usize,
    rows: Vec<Vec<u8>>,
    missing: Vec<WalletId>,
    /// No row knows more of the log than this.
    covers: Position,
}

impl Node {
    /// Agents and wallets of `config`, created by records like everything else.
    pub(crate) fn new(config: &Config) -> Self {
        let mut node = Node {
            rules: config.rules(),
            ids: Ids::numbered(config),
            log: Vec::new(),
            delivered: 0,
            state: State::default(),
            snapshot: None,
            scratch: Scratch::new(),
            commands: BTreeMap::new(),
        };
        for index in 0..config.wallets {
            let (agent, wallet) = (node.ids.agents[config.agent_of(index)], node.ids.wallets[index]);
            let currency = node.ids.currency(index);
            let at = Timestamp::from_millis(config.start);
            let fact = if index < config.agents {
                let (name, operator) = (format!("agent {index}").into(), "self".into());
                let public_key = [0; 32];
                let keys = Vec::new();
                let metadata = None;
                Fact::from(AgentCreated {
                    agent,
                    name,
                    operator,
                    metadata,
                    public_key,
                    keys,
                    wallet,
                    currency,
                    at,
                })
            } else {
                Fact::from(WalletOpened { agent, wallet, label: None, currency, key: None, at })
            };
            node.append(&fact);
            node.deliver(1);
        }
        node
    }

    /// Decides a command against what has been delivered, and records what comes of it.
    pub(crate) fn submit(&mut self, number: usize, command: &Command) -> ModelOutcome {
        match self.ids.translate(command) {
            LedgerCommand::Refused(denial) => denied(&denial),
            LedgerCommand::Fund(fund) => {
                let decision = decide_funding(&self.state.wallets[&fund.wallet], fund, &self.rules);
                self.conclude(number, command, decision, |funding| ModelOutcome::Funded {
                    available: funding.balance_after.available.nanos(),
                })
            }
            LedgerCommand::Pay(pay) => {
                let decision = decide_payment(&self.state.wallets[&pay.payer], pay, &self.rules);
                self.conclude(number, command, decision, |payment| ModelOutcome::Paid {
                    fee: payment.fee.nanos(),
                    available: payment.balance_after.available.nanos(),
                })
            }
            LedgerCommand::Batch(batch) => {
                let commands = self.commands.clone();
                let decision = decide_batch(&self.state.wallets[&batch.payer], batch, &self.rules);
                if let Decision::Fact(batch) = &decision
                    && !batch.needs_record()
                {
                    return ModelOutcome::Batch(item_results(&commands, &batch.items));
                }
                self.conclude(number, command, decision, |batch| {
                    ModelOutcome::Batch(item_results(&commands, &batch.items))
                })
            }
            LedgerCommand::Status { caller, wallet, wanted, at } => {
                let decision = decide_status(&self.state.wallets[&wallet], wallet, caller, wanted, at);
                self.conclude(number, command, decision, |_| ModelOutcome::StatusChanged)
            }
        }
    }

    /// Delivers the postings of the next `records` records, as the commit stream does after a sync.
    pub(crate) fn deliver(&mut self, records: usize) {
        let until = self.log.len().min(self.delivered + records);
        for record in &self.log[self.delivered..until] {
            let view = view(&record.payload).expect("what was appended can be read");
            self.state.post(&view, record.lsn);
        }
        self.delivered = until;
    }

    pub(crate) fn deliver_all(&mut self) {
        self.deliver(usize::MAX - self.delivered);
    }

    pub(crate) fn undelivered(&self) -> usize {
        self.log.len() - self.delivered
    }

    /// Goes on with the snapshot under way by some rows, or begins one.
    pub(crate) fn take_rows(&mut self, rows: usize) {
        if self.snapshot.as_ref().is_none_or(|snapshot| snapshot.missing.is_empty()) {
            let mut snapshot = Snapshot {
                start: self.delivered,
                rows: Vec::new(),
                missing: self.state.wallets.keys().copied().collect(),
                covers: self.state.posted,
            };
            for agent in self.state.agents.values() {
                encode_row(RowRef::Agent(agent), &mut self.scratch);
                snapshot.rows.push(self.scratch.bytes().to_vec());
            }
            encode_row(RowRef::Totals(&self.state.totals, self.state.posted), &mut self.scratch);
            snapshot.rows.push(self.scratch.bytes().to_vec());
            self.snapshot = Some(snapshot);
        }
        let Some(snapshot) = self.snapshot.as_mut() else { return };
        for id in snapshot.missing.split_off(snapshot.missing.len().saturating_sub(rows)) {
            let wallet = &self.state.wallets[&id];
            encode_row(RowRef::Wallet(id, wallet.fields()), &mut self.scratch);
            snapshot.rows.push(self.scratch.bytes().to_vec());
            snapshot.covers = snapshot.covers.max(wallet.decided).max(wallet.posted);
        }
    }

    /// Loses the last `lost` records and all memory, and comes back from bytes. The same state must come from the
    /// whole log, from the snapshot when there is a usable one, and from replaying a part of the log twice.
    pub(crate) fn crash(&mut self, lost: usize) {
        // Agents and wallets were acknowledged long ago.
        let lost = lost.min(self.commands.len());
        self.log.truncate(self.log.len() - lost);
        let end = self.log.last().map_or(Position::ZERO, |record| Position::new(record.lsn));
        self.commands.retain(|lsn, _| Position::new(*lsn) <= end);
        let mut state = State::default();
        state.replay(&self.log, &self.rules);
        if let Some(snapshot) = self.snapshot.take().filter(|snapshot| snapshot.missing.is_empty()) {
            // A snapshot is finished only once everything in it is durable.
            if snapshot.covers.get() < end.get() {
                let mut restored = State::restore(&snapshot.rows);
                restored.replay(&self.log[snapshot.start..], &self.rules);
                assert_eq!(
                    restored, state,
                    "a snapshot and the rest of the log give what the whole log gives"
                );
            }
        }
        let once = state.clone();
        state.replay(&self.log[self.log.len() / 2..], &self.rules);
        assert_eq!(state, once, "records that are known already change nothing");
        self.state = state;
        self.delivered = self.log.len();
    }

    /// What the state would be if the log were replayed now.
    pub(crate) fn replayed(&self) -> State {
        let mut state = State::default();
        state.replay(&self.log, &self.rules);
        state
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn readings(&self) -> Vec<Reading> {
        self.ids.wallets.iter().map(|id| Reading::from(&self.state.wallets[id])).collect()
    }

    pub(crate) fn totals(&self) -> &Totals {
        &self.state.totals
    }

    /// Each wallet's streams as the log has them: own changes, and postings of others.
    pub(crate) fn streams(&self) -> BTreeMap<WalletId, Streams> {
        let mut streams: BTreeMap<WalletId, Streams> = BTreeMap::new();
        for record in &self.log {
            let view = view(&record.payload).expect("what was appended can be read");
            if let (Owner::Wallet(id), Some(change)) = (view.owner(), view.change()) {
                let own = &mut streams.entry(id).or_default().own;
                own.push((change, Position::of_item(record.lsn, 0)));
            }
            view.for_each_foreign(|posting| {
                if let Account::Wallet(id) = posting.account {
                    let position = Position::of_item(record.lsn, posting.item);
                    streams.entry(id).or_default().credits.push((posting.delta, position));
                }
            });
        }
        streams
    }

    fn conclude<F: Into<Fact>>(
        &mut self,
        number: usize,
        command: &Command,
        decision: Decision<F>,
        answer: impl FnOnce(&F) -> ModelOutcome,
    ) -> ModelOutcome {
        match decision {
            Decision::Denied(denial) => denied(&denial),
            Decision::Replay(place) => self.replay_answer(command, place),
            Decision::Fact(fact) => {
                let outcome = answer(&fact);
                let lsn = self.append(&fact.into());
                self.commands.insert(lsn, number);
                outcome
            }
        }
    }

    /// A repeated request is answered from the record, which must be about that request.
    fn replay_answer(&self, command: &Command, place: KeyPlace) -> ModelOutcome {
        let number = self.commands[&place.lsn];
        let record =
            self.log.iter().find(|record| record.lsn == place.lsn).expect("a key leads to its record");
        let fact = journal::decode(&record.payload).expect("what was appended can be read");
        let item = usize::try_from(place.item).expect("an item's index fits");
        match (&command.action, fact) {
            (Action::Pay(asked), Fact::Payment(payment)) => {
                assert_eq!(
                    (asked.amount, asked.key.as_deref()),
                    (payment.amount.nanos(), key_text(&payment))
                );
                ModelOutcome::Replayed { command: number }
            }
            (Action::Pay(asked), Fact::PaymentBatch(batch)) => {
                let payment = batch.payment(item).expect("a key belongs to a paid item");
                assert_eq!(
                    (asked.amount, asked.key.as_deref()),
                    (payment.amount.nanos(), key_text(&payment))
                );
                ModelOutcome::ReplayedItem { command: number, item }
            }
            (Action::Fund { amount, .. }, Fact::Funding(funding)) => {
                assert_eq!(Amount::from_nanos(*amount), funding.amount);
                ModelOutcome::Replayed { command: number }
            }
            (Action::Batch { items, .. }, Fact::PaymentBatch(batch)) => {
                assert_eq!((item, items.len()), (0, batch.items.len()));
                ModelOutcome::Replayed { command: number }
            }
            (action, fact) => panic!("{action:?} was answered by {fact:?}"),
        }
    }

    /// Appends a fact, checks that its bytes say what it says, and folds in its owner's side.
    fn append(&mut self, fact: &Fact) -> u64 {
        assert_balanced(|f| fact.for_each_posting(f));
        fact.encode(&mut self.scratch);
        let payload = self.scratch.bytes().to_vec();
        let last = self.log.last();
        let lsn = last.map_or(4_096, |record| record.lsn + FRAME_BYTES + length(&record.payload));
        let view = view(&payload).expect("what was encoded can be read");
        assert_same(&view, fact);
        self.state.fold_own(&view, lsn, &self.rules);
        self.log.push(Record { lsn, payload });
        lsn
    }
}

/// Calls of services have a model and tests of their own.
const NO_CALLS: &str = "the workload reserves no calls";

/// The two ordered streams in which facts reach a wallet.
#[derive(Default)]
pub(crate) struct Streams {
    pub(crate) own: Vec<(ledger::Change, Position)>,
    pub(crate) credits: Vec<(Amount, Position)>,
}

impl State {
    pub(crate) fn wallet(&self, id: WalletId) -> &Wallet {
        &self.wallets[&id]
    }

    fn replay(&mut self, log: &[Record], rules: &Rules) {
        for record in log {
            let view = view(&record.payload).expect("what was appended can be read");
            self.fold_own(&view, record.lsn, rules);
            self.post(&view, record.lsn);
        }
    }

    /// The owner's side of a record, unless the owner knows it already.
    fn fold_own(&mut self, view: &View<'_>, lsn: u64, rules: &Rules) {
        let position = Position::of_item(lsn, 0);
        match view.owner() {
            Owner::Wallet(id) => {
                let wallet = self.wallets.get_mut(&id).expect("a wallet exists before it decides");
                if position > wallet.decided {
                    wallet.apply(&view.change().expect("a wallet's record changes it"), position);
                    view.for_each_key(|hash, fingerprint, item| {
                        let place = KeyPlace { lsn, item };
                        wallet.keys.remember(
                            hash,
                            place,
                            fingerprint,
                            view.at(),
                            rules.idempotency_retention_ms,
                        );
                    });
                }
            }
            Owner::Directory(id) => self.fold_directory(id, view, position),
            Owner::Token(_) | Owner::Service(_) | Owner::Budget(_) | Owner::Clock => {
                unreachable!("{NO_CALLS}")
            }
        }
    }

    fn fold_directory(&mut self, id: AgentId, view: &View<'_>, position: Position) {
        match view.to_fact().expect("what was appended can be read") {
            Fact::AgentCreated(fact) => {
                self.agents.entry(id).or_insert_with(|| Agent::created(&fact, position));
                self.wallets
                    .entry(fact.wallet)
                    .or_insert_with(|| Wallet::open(fact.agent, fact.currency, None, fact.at, position));
            }
            fact => {
                if let Fact::WalletOpened(opened) = &fact {
                    self.wallets.entry(opened.wallet).or_insert_with(|| {
                        let label = opened.label.clone();
                        Wallet::open(opened.agent, opened.currency, label, opened.at, position)
                    });
                }
                let fact = AgentFact::try_from(fact).expect("the directory's facts change agents");
                self.agents.get_mut(&id).expect("an agent exists before it changes").apply(&fact, position);
            }
        }
    }

    /// A record's postings to others, unless they know them already.
    fn post(&mut self, view: &View<'_>, lsn: u64) {
        let record = Position::of_item(lsn, 0);
        let totals_are_behind = record > self.posted;
        view.for_each_foreign(|posting| match posting.account {
            Account::Wallet(id) => {
                let wallet = self.wallets.get_mut(&id).expect("a payee exists before it is paid");
                let position = Position::of_item(lsn, posting.item);
                if position > wallet.posted {
                    wallet.post(posting.delta, posting.held, position);
                }
            }
            Account::System(_) if totals_are_behind => self.totals.post(&posting),
            Account::System(_) => {}
        });
        self.posted = self.posted.max(record);
    }

    fn restore(rows: &[Vec<u8>]) -> State {
        let mut state = State::default();
        for row in rows {
            match decode_row(row).expect("a row can be read") {
                Row::Wallet(id, wallet) => drop(state.wallets.insert(id, wallet)),
                Row::Agent(agent) => drop(state.agents.insert(agent.id, agent)),
                Row::Totals(totals, position) => (state.totals, state.posted) = (totals, position),
                Row::Spilled(_) => unreachable!("this node keeps all keys in memory"),
                Row::Token(..)
                | Row::Service(_)
                | Row::Outages(_)
                | Row::Webhook(_)
                | Row::Budget(..)
                | Row::Claim(..) => {
                    unreachable!("{NO_CALLS}")
                }
            }
        }
        state
    }
}

/// A record's bytes and the fact that was decided say the same.
fn assert_same(view: &View<'_>, fact: &Fact) {
    assert_eq!(view.to_fact().as_ref(), Ok(fact));
    assert_eq!((view.at(), view.change()), (fact.at(), fact.change()));
    let owner = match view.owner() {
        Owner::Wallet(id) => Some(Account::Wallet(id)),
        Owner::Directory(_) => None,
        Owner::Token(_) | Owner::Service(_) | Owner::Budget(_) | Owner::Clock => unreachable!("{NO_CALLS}"),
    };
    let (mut decided, mut recorded) = (Vec::new(), Vec::new());
    fact.for_each_posting(|posting| {
        if Some(posting.account) != owner {
            decided.push(posting);
        }
    });
    view.for_each_foreign(|posting| recorded.push(posting));
    assert_eq!(recorded, decided);
    let (mut decided, mut recorded) = (Vec::new(), Vec::new());
    fact.for_each_key(|hash, fingerprint, item| decided.push((hash, fingerprint, item)));
    view.for_each_key(|hash, fingerprint, item| recorded.push((hash, fingerprint, item)));
    assert_eq!(recorded, decided);
}

fn denied(denial: &Denial) -> ModelOutcome {
    match denial {
        Denial::AtomicBatch { item, because } => ModelOutcome::AtomicDenied {
            item: usize::try_from(*item).expect("an index fits"),
            because: because.name(),
        },
        other => ModelOutcome::Denied(other.name()),
    }
}

fn item_results(commands: &BTreeMap<u64, usize>, items: &[ItemOutcome]) -> Vec<ItemResult> {
    let index = |item: u32| usize::try_from(item).expect("an index fits");
    let result = |outcome: &ItemOutcome| match outcome {
        ItemOutcome::Paid(payment) => {
            ItemResult::Paid { fee: payment.fee.nanos(), available: payment.available_after.nanos() }
        }
        ItemOutcome::Denied(denial) => ItemResult::Denied(denial.name()),
        ItemOutcome::Replayed(place) => {
            ItemResult::Replayed { command: commands[&place.lsn], item: index(place.item) }
        }
        ItemOutcome::Repeated { item } => ItemResult::Repeated { item: index(*item) },
    };
    items.iter().map(result).collect()
}

fn key_text(payment: &ledger::Payment) -> Option<&str> {
    payment.key.as_ref().map(|key| &*key.text)
}

fn length(payload: &[u8]) -> u64 {
    u64::try_from(payload.len()).expect("a payload fits memory").next_multiple_of(8)
}
