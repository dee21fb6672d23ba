//! Recovery: the newest snapshot that is whole, then every record of the log above it, through the rules that the live
//! path uses. A record's side that a row includes already (by its position) is skipped. Reads no clock.

mod audit;
mod remembering;

use std::collections::{VecDeque, btree_map::Entry};

use journal::{Kind, Owner, Row, View};
use ledger::{
    Account, Agent, AgentFact, Currency, Fact, IdempotencyKeys, Outages, Position, Posting, Rules, Timestamp,
    Token, TokenFact, Wallet,
};
use snapshot::{Generation, SnapshotStore};
use wal::{Log, Lsn, Records, ReplayError};

pub use audit::{Audit, audit};

use crate::{
    budget::Budgets,
    claim::Claims,
    commit::position,
    directory::{Agents, apply_agent_fact, remember_agent_fact},
    keys::{GatherError, Keys},
    recovery::remembering::Remembering,
    registry::Registry,
    service::ServicesState,
    sharded::Located,
    status::Status,
    token::Tokens,
    totals::{SUSPENSE, TotalsAt},
    wallet::apply_own,
    webhook::Webhooks,
};

/// Why an engine cannot start. The files are left as they are.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the log cannot be used")]
    Log(#[from] wal::Error),
    #[error("the snapshots cannot be read")]
    Snapshot(#[from] snapshot::Error),
    #[error("the record at {lsn} cannot be read back; the log is damaged or from a newer version")]
    Record { lsn: Lsn, source: journal::Error },
    #[error("the record at {lsn} speaks of something that no earlier record made: {what}")]
    Orphan { lsn: Lsn, what: String },
    #[error(
        "snapshot {generation} goes up to {covers}, but the log ends at {end}: a part of the log is missing; \
         restore it, do not delete the snapshot"
    )]
    LogBehindSnapshot { generation: u64, covers: u64, end: Lsn },
    #[error("the history index cannot be opened or rebuilt")]
    History(#[from] history::Error),
    #[error("the idempotency keys that are on disk cannot be opened")]
    Keys(#[from] idempotency::Error),
    #[error("idempotency keys cannot be moved to disk or brought back from the log")]
    Spilling(#[from] GatherError),
    #[error("no second thread could be started to remember idempotency keys")]
    Spawn(#[from] std::io::Error),
    #[error("the accounts do not add up to zero after replay up to {end}")]
    Unbalanced { end: Lsn },
    #[error("the settings are refused: {0}")]
    Rules(#[from] ledger::RulesError),
    #[error("the default currency {0} is not among the currencies")]
    DefaultCurrency(Currency),
}

/// State rebuilt from snapshot and log.
pub(crate) struct Rebuilt {
    pub(crate) registry: Registry,
    pub(crate) agents: Agents,
    pub(crate) webhooks: Webhooks,
    pub(crate) budgets: Budgets,
    pub(crate) tokens: Tokens,
    /// Tokens that replay saw end, and where.
    ended: VecDeque<(Position, Position)>,
    pub(crate) services: ServicesState,
    pub(crate) claims: Claims,
    pub(crate) outages: Outages,
    pub(crate) totals: TotalsAt,
    pub(crate) records: u64,
    /// The last record applied, by the snapshot or by the replay. Every record is some owner's decision.
    pub(crate) newest: Lsn,
    /// Idempotency keys of records below this are on disk, as far as the snapshot says.
    spilled: u64,
    /// Idempotency keys in memory, counted as they come and go: ten million owners are not asked every second.
    keys_held: u64,
    /// The keys of wallets that replay came by, which are not in their wallets before its end.
    remembering: Remembering,
    /// Owners remember the keys of records from here on. The others are on disk, or nobody wants them.
    remember_from: u64,
    rules: Rules,
}

/// Records between two looks at the memory for idempotency keys.
const KEYS_TENDED_EVERY: u64 = 1 << 20;
/// Ended tokens that replay leaves in memory; the engine lets go of those that are too many for it.
const ENDED_KEPT_MAX: usize = 65_536;
/// Records that are read ahead of the one that is applied.
const RECORDS_AHEAD: usize = 32;
/// Records between two reports of progress.
const PROGRESS_EVERY: u64 = 4_096;

/// A record that is read, and not applied yet.
struct Ahead<'r> {
    lsn: Lsn,
    view: View<'r>,
    /// The wallet that decided it, if it was there already when the record was read.
    owner: Option<Located>,
}

/// Rebuilds the state as of the end of the log.
pub(crate) fn recover(
    log: &Log,
    snapshots: &dyn SnapshotStore,
    keys: &Keys,
    now: Timestamp,
    rules: &Rules,
    status: &Status,
) -> Result<Rebuilt, StartError> {
    let (mut rebuilt, from) = match from_snapshot(log, snapshots, rules)? {
        Some((rebuilt, generation)) => (rebuilt, Lsn::new(generation.summary.start)),
        None => (Rebuilt::empty(rules), log.begin()),
    };
    keys.set_in_memory(rebuilt.keys_held);
    rebuilt.remember_from =
        keys.recover(&log.reader(), rebuilt.spilled, log.end(), rebuilt.not_after(now))?;
    rebuilt.forget_keys(keys);
    rebuilt.replay(log, from, status, &mut |rebuilt| {
        keys.set_in_memory(rebuilt.keys_held + rebuilt.remembering.held());
        while keys.is_over() && keys.spill_step(&log.reader(), rebuilt.not_after(now), &mut || ())? {
            rebuilt.remember_from = keys.floor();
            rebuilt.forget_keys(keys);
        }
        Ok(())
    })?;
    Ok(rebuilt)
}

/// The newest generation that can be read whole. A damaged one is said aloud and passed over: the log is kept from its
/// first record, so an older generation, or none, leads to the same state.
fn from_snapshot(
    log: &Log,
    snapshots: &dyn SnapshotStore,
    rules: &Rules,
) -> Result<Option<(Rebuilt, Generation)>, StartError> {
    let listing = snapshots.list()?;
    for damaged in &listing.damaged {
        tracing::error!(generation = damaged.id, error = %damaged.error, "snapshot passed over: it is damaged");
    }
    for generation in listing.generations {
        let mut rebuilt = Rebuilt::empty(rules);
        match snapshots.load(generation.id, &mut |row| rebuilt.row(row)) {
            Ok(loaded) => {
                let covers = loaded.summary.covers;
                if covers > log.end().get() {
                    return Err(StartError::LogBehindSnapshot {
                        generation: loaded.id,
                        covers,
                        end: log.end(),
                    });
                }
                return Ok(Some((rebuilt, loaded)));
            }
            Err(error) => {
                tracing::error!(generation = generation.id, %error, "snapshot passed over: it cannot be read whole");
            }
        }
    }
    Ok(None)
}

impl Rebuilt {
    pub(crate) fn empty(rules: &Rules) -> Self {
        Self {
            registry: Registry::new(),
            agents: Agents::new(),
            webhooks: Webhooks::default(),
            budgets: Budgets::default(),
            tokens: Tokens::default(),
            ended: VecDeque::new(),
            services: ServicesState::default(),
            claims: Claims::default(),
            outages: Outages::default(),
            totals: TotalsAt::default(),
            records: 0,
            newest: Lsn::ZERO,
            spilled: 0,
            keys_held: 0,
            remembering: Remembering::new(rules.idempotency_retention_ms),
            remember_from: 0,
            rules: rules.clone(),
        }
    }

    /// Applies every record from `from` on and checks the sums. `tend_keys` is called now and then, and at the end.
    pub(crate) fn replay(
        &mut self,
        log: &Log,
        from: Lsn,
        status: &Status,
        tend_keys: &mut dyn FnMut(&mut Self) -> Result<(), StartError>,
    ) -> Result<(), StartError> {
        let total = log.end().get().saturating_sub(from.get());
        status.recovering(0, total);
        let replayed = log.replay_runs(from, |mut records| {
            while let Some(few) = self.look_ahead(&mut records)? {
                for Ahead { lsn, view, owner } in few {
                    if self.records > 0 && self.records.is_multiple_of(KEYS_TENDED_EVERY) {
                        tend_keys(self)?;
                    }
                    if self.records.is_multiple_of(PROGRESS_EVERY) {
                        status.recovering(lsn.get().saturating_sub(from.get()), total);
                    }
                    self.records += 1;
                    self.saw(position(lsn, 0));
                    self.record(lsn, &view, owner)?;
                }
            }
            Ok(())
        });
        match replayed {
            Ok(()) => {}
            Err(ReplayError::Log(error)) => return Err(error.into()),
            Err(ReplayError::Visit(error)) => return Err(error),
        }
        status.recovering(total, total);
        self.ended.drain(..).for_each(|(id, end)| self.tokens.closed(id, end));
        self.keys_held += self.remembering.give_back(&mut self.registry);
        tend_keys(self)?;
        debug_assert_eq!(self.keys_held, self.keys_of_owners(), "keys are counted as they come and go");
        self.totals.end = log.end();
        self.totals.wallets = self.registry.sums();
        if self.totals.balanced() { Ok(()) } else { Err(StartError::Unbalanced { end: log.end() }) }
    }

    /// The next few records, with their wallets on the way into the processor's cache; `None` behind the last one. One look-up
    /// waits for memory beside the other, which changes, one behind the other, would not.
    fn look_ahead<'r>(&mut self, records: &mut Records<'r>) -> Result<Option<Vec<Ahead<'r>>>, StartError> {
        let mut few = Vec::with_capacity(RECORDS_AHEAD);
        let mut payees = 0;
        while few.len() < RECORDS_AHEAD
            && payees < RECORDS_AHEAD
            && let Some((lsn, payload)) = records.next()
        {
            let view = journal::view(payload).map_err(|source| StartError::Record { lsn, source })?;
            view.for_each_payee(|_| payees += 1);
            few.push(Ahead { lsn, view, owner: None });
        }
        let mut wallets = Vec::with_capacity(few.len() + payees);
        for Ahead { view, owner, .. } in &mut few {
            if let Owner::Wallet(wallet) = view.owner() {
                *owner = self.registry.locate(wallet);
            }
            wallets.extend(*owner);
            view.for_each_payee(|payee| wallets.extend(self.registry.locate(payee)));
        }
        self.registry.fetch(&wallets);
        Ok((!few.is_empty()).then_some(few))
    }

    fn row(&mut self, row: Row) -> Result<(), snapshot::Error> {
        match row {
            Row::Wallet(id, wallet) => {
                self.saw(wallet.decided);
                self.counted(0, wallet.keys.len());
                self.registry.insert(id, wallet);
            }
            Row::Agent(agent) => {
                self.saw(agent.decided);
                self.counted(0, agent.idempotency.len());
                self.agents.insert(agent.id, agent);
            }
            Row::Token(id, token) => {
                self.saw(token.decided);
                self.tokens.insert(id, token);
            }
            Row::Service(service) => {
                self.saw(service.decided);
                self.services.restore(*service);
            }
            Row::Outages(outages) => {
                self.saw(outages.decided);
                self.outages = outages;
            }
            Row::Webhook(webhook) => {
                self.saw(webhook.decided);
                self.webhooks.restore(*webhook);
            }
            Row::Budget(agent, mandate, decided, posted) => {
                self.saw(decided.max(posted));
                self.budgets.restore(agent, *mandate, decided, posted);
            }
            Row::Claim(payment, claim) => {
                self.saw(claim.decided);
                self.claims.insert(payment, claim);
            }
            Row::Totals(totals, end) => {
                self.totals.system = totals;
                self.totals.end = Lsn::new(end.get());
            }
            Row::Spilled(below) => self.spilled = self.spilled.max(below.get()),
        }
        Ok(())
    }

    /// The clock's time, but not after what the log says: used for one thing only, not to write down again keys that are
    /// past the retention, and a clock that is ahead must not make them so.
    fn not_after(&self, now: Timestamp) -> Timestamp {
        self.outages.alive_at().map_or(Timestamp::from_millis(i64::MIN), |alive| alive.min(now))
    }

    /// An owner holds other keys than before.
    fn counted(&mut self, before: usize, after: usize) {
        self.keys_held = self.keys_held + after as u64 - before as u64;
    }

    /// The keys in memory as the owners have them.
    fn keys_of_owners(&self) -> u64 {
        let of_agents = self.agents.values().map(|agent| agent.idempotency.len() as u64);
        self.registry.keys_held() + of_agents.sum::<u64>()
    }

    /// Has every owner forget the keys that are on disk.
    fn forget_keys(&mut self, keys: &Keys) {
        self.registry.forget_keys(keys, &mut || ());
        for agent in self.agents.values_mut() {
            keys.forget(&mut agent.idempotency, keys.floor());
        }
        self.remembering.forget(keys);
        self.keys_held = keys.in_memory() - self.remembering.held();
    }

    fn forget_all_keys(&mut self) {
        self.registry.forget_all_keys();
        self.agents.values_mut().for_each(|agent| agent.idempotency = IdempotencyKeys::NONE);
    }

    fn saw(&mut self, decided: Position) {
        self.newest = self.newest.max(Lsn::new(decided.get()));
    }

    fn record(&mut self, lsn: Lsn, view: &View<'_>, located: Option<Located>) -> Result<(), StartError> {
        match view.owner() {
            Owner::Wallet(owner) => {
                let remembers = lsn.get() >= self.remember_from;
                let remembering = &mut self.remembering;
                let Some(at) = located.or_else(|| self.registry.locate(owner)) else {
                    return Err(StartError::Orphan { lsn, what: owner.to_string() });
                };
                let brought = self.registry.recover(at, |wallet| {
                    if position(lsn, 0) <= wallet.decided {
                        return Ok(0);
                    }
                    apply_own(wallet, view, lsn);
                    if remembers { remembering.remember(at, wallet, view, lsn) } else { Ok(0) }
                });
                self.keys_held -= brought?;
                view.for_each_foreign(|posting| self.foreign(lsn, posting));
                if !self.budgets.is_empty()
                    && let Some(spending) = view.spending()
                    && let Some((agent, _)) = self.registry.facts(owner)
                {
                    self.budgets.spent(agent, spending, view.at(), lsn);
                }
                self.claimed(lsn, view)?;
                if view.kind() == Kind::TokenReserved { self.reserved(lsn, view) } else { Ok(()) }
            }
            Owner::Directory(_) => self.directory(lsn, view),
            Owner::Token(token) => self.token(lsn, token, view),
            Owner::Service(_) | Owner::Clock => self.service(lsn, view),
            Owner::Budget(_) => {
                let Fact::AgentPolicyChanged(changed) = owned(lsn, view)? else {
                    unreachable!("no other record is owned by a budget")
                };
                self.budgets.apply(&changed, position(lsn, 0));
                Ok(())
            }
        }
    }

    /// What a record says about a payment's refunds and dispute.
    fn claimed(&mut self, lsn: Lsn, view: &View<'_>) -> Result<(), StartError> {
        let place = position(lsn, 0);
        if let Some(change) = view.claim_change() {
            self.claims.apply(&change, place);
        }
        match view.refunded_call() {
            Some(call) if !self.services.refunded(&call, place) => {
                Err(StartError::Orphan { lsn, what: call.service.to_string() })
            }
            _ => Ok(()),
        }
    }

    fn reserved(&mut self, lsn: Lsn, view: &View<'_>) -> Result<(), StartError> {
        let Fact::TokenReserved(reserved) = owned(lsn, view)? else {
            unreachable!("its kind says what it is")
        };
        let id = position(lsn, 0);
        self.outages.saw(view.at());
        self.tokens.insert(id, Token::reserved(&reserved, id));
        Ok(())
    }

    /// A token has ended. The latest of them stay, as they would have without the restart: whoever lost the answer to its
    /// last step may ask for it now. No later record speaks of them, so that the others can go; of those that a snapshot
    /// holds as ended, records may still come.
    fn ended(&mut self, id: Position, end: Position) {
        self.ended.push_back((id, end));
        if self.ended.len() > ENDED_KEPT_MAX
            && let Some((oldest, _)) = self.ended.pop_front()
        {
            self.tokens.forget(oldest);
        }
    }

    /// What a token decided.
    fn token(&mut self, lsn: Lsn, id: Position, view: &View<'_>) -> Result<(), StartError> {
        let fact = match owned(lsn, view)? {
            Fact::TokenStepped(fact) => TokenFact::Stepped(fact),
            Fact::TokenEnded(fact) => TokenFact::Ended(fact),
            fact => unreachable!("no other record is owned by a token: {fact:?}"),
        };
        let place = position(lsn, 0);
        self.outages.saw(view.at());
        let ends_now = self.tokens.own(id, |token| {
            let is_new = place > token.decided;
            if is_new {
                token.apply(&fact, place);
            }
            is_new && !token.status.is_open()
        });
        let orphan = |what: String| Err(StartError::Orphan { lsn, what });
        match ends_now {
            None => return orphan(format!("the token reserved at {id}")),
            Some(true) => self.ended(id, place),
            Some(false) => {}
        }
        if let TokenFact::Ended(ended) = &fact {
            if !self.services.saw(ended, place) {
                return orphan(ended.terms.service.to_string());
            }
            view.for_each_foreign(|posting| {
                if let Some(release) = posting.release {
                    self.budgets.released(ended.terms.payer_agent, release, lsn);
                }
                self.foreign(lsn, posting);
            });
        }
        Ok(())
    }

    fn service(&mut self, lsn: Lsn, view: &View<'_>) -> Result<(), StartError> {
        let place = position(lsn, 0);
        match owned(lsn, view)? {
            Fact::ServiceChanged(changed) => self.services.apply(&changed, place),
            Fact::TrustChanged(changed) if self.services.apply_trust(&changed, place) => {}
            Fact::Clock(fact) => self.outages.apply(&fact, place),
            fact => {
                let what = format!("a service that does not exist: {fact:?}");
                return Err(StartError::Orphan { lsn, what });
            }
        }
        Ok(())
    }

    fn foreign(&mut self, lsn: Lsn, posting: Posting) {
        let system = |totals: &mut TotalsAt, posting: &Posting| {
            if lsn >= totals.end {
                totals.system.post(posting);
            }
        };
        match posting.account {
            Account::Wallet(wallet) => {
                if !self.registry.recover_posting(wallet, &posting, position(lsn, posting.item)) {
                    system(&mut self.totals, &Posting { account: SUSPENSE, ..posting });
                }
            }
            Account::System(_) => system(&mut self.totals, &posting),
        }
    }

    fn directory(&mut self, lsn: Lsn, view: &View<'_>) -> Result<(), StartError> {
        match owned(lsn, view)? {
            Fact::AgentCreated(created) => {
                let wallet =
                    Wallet::open(created.agent, created.currency, None, created.at, position(lsn, 0));
                self.registry.insert(created.wallet, wallet);
                if let Entry::Vacant(vacant) = self.agents.entry(created.agent) {
                    vacant.insert(Agent::created(&created, position(lsn, 0)));
                }
                Ok(())
            }
            fact => {
                if let Fact::WalletOpened(opened) = &fact {
                    let (label, at) = (opened.label.clone(), opened.at);
                    let wallet = Wallet::open(opened.agent, opened.currency, label, at, position(lsn, 0));
                    self.registry.insert(opened.wallet, wallet);
                }
                if let Fact::WebhookChanged(changed) = &fact {
                    self.webhooks.apply(changed, position(lsn, 0));
                }
                let fact = AgentFact::try_from(fact).map_err(|fact| StartError::Orphan {
                    lsn,
                    what: format!("a record of the directory that is none: {fact:?}"),
                })?;
                let Some(agent) = self.agents.get_mut(&fact.agent()) else {
                    return Err(StartError::Orphan { lsn, what: fact.agent().to_string() });
                };
                let before = agent.idempotency.len();
                if apply_agent_fact(agent, &fact, lsn) && lsn.get() >= self.remember_from {
                    remember_agent_fact(agent, &fact, lsn, &self.rules);
                }
                let after = agent.idempotency.len();
                self.counted(before, after);
                Ok(())
            }
        }
    }
}

fn owned(lsn: Lsn, view: &View<'_>) -> Result<Fact, StartError> {
    view.to_fact().map_err(|source| StartError::Record { lsn, source })
}
