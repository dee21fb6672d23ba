//! Budgets: the spending policies of agents, and what all wallets of an agent have used of them.
//!
//! Owner of state: one budget per agent, behind its own guard. It decides its policy; what is used comes from the records
//! of the agent's wallets, in log order, from the commit stream and from replay, so it is kept nowhere twice. Before a
//! wallet decides, the request reserves here what it may spend; the reservation is volatile and goes back when nothing
//! was recorded. Between a record and its delivery it stands under the record's position.
//! Invariants: recorded, reserved and delivered use together never pass a limit; a race may refuse early. Only agents
//! with a policy have a budget; the others pay one look at a counter, or into a map while there are any.
//! A payment that was under way when the policy came is counted, but not held to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use journal::{Encode, RowRef, Scratch};
use ledger::{
    AT_ONCE, AgentId, AgentPolicyChanged, AgentTerms, Amount, Mandate, Policy, PolicyDenial, PolicyScope,
    Position, Release, Spend, Spending, Target, Timestamp,
};
use parking_lot::{Mutex, RwLock};
use wal::Lsn;

use crate::{commit::position, shared::Shared};

#[derive(Default)]
pub(crate) struct Budgets {
    budgets: RwLock<BTreeMap<AgentId, Arc<Budget>>>,
    count: AtomicUsize,
}

pub(crate) struct Budget {
    agent: AgentId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    mandate: Option<Mandate>,
    /// The policy once more, for terms to share.
    policy: Arc<Policy>,
    /// The last change of policy.
    decided: Position,
    /// The last record of a wallet, or end of a hold, that was counted.
    posted: Position,
    /// By requests that are not recorded yet.
    reserved: BTreeMap<u64, Spending>,
    next_reservation: u64,
    /// By records that are not delivered yet.
    recorded: BTreeMap<u64, Spending>,
    /// The sum of both: a request costs the same however many others are under way.
    under_way: Spending,
}

/// What one request may spend until its record is there; given back when it is dropped before that.
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    number: u64,
    /// Time of the reservation: the record must not be older.
    pub(crate) at: Timestamp,
    /// A refusal shows nothing above this position.
    pub(crate) seen: Position,
}

impl Budgets {
    /// The budget of an agent that has a policy.
    pub(crate) fn of(&self, agent: AgentId) -> Option<Arc<Budget>> {
        let budget = self.get(agent)?;
        let is_set = budget.state.lock().mandate.is_some();
        is_set.then_some(budget)
    }

    /// The policy in force, with its usage at `at`.
    pub(crate) fn mandate(&self, agent: AgentId) -> (Option<Mandate>, Position) {
        let Some(budget) = self.get(agent) else { return (None, Position::ZERO) };
        let state = budget.state.lock();
        (state.mandate.clone(), state.decided.max(state.posted))
    }

    /// Appends the change of a policy and puts it into force. The answer is its position; a policy that is in force
    /// already is not written again.
    pub(crate) fn set(
        &self,
        shared: &Shared,
        agent: AgentId,
        policy: Policy,
        at: Timestamp,
    ) -> Result<Position, wal::Refused> {
        let budget = self.get_or_insert(agent);
        let mut state = budget.state.lock();
        if *state.policy == policy {
            return Ok(state.decided);
        }
        let at = state.mandate.as_ref().map_or(at, |mandate| mandate.time(at));
        let changed = AgentPolicyChanged { agent, policy, at };
        let mut scratch = Scratch::default();
        changed.encode(&mut scratch);
        // Under the guard: changes are in force in the order of their records.
        let lsn = shared.wal.append(scratch.bytes())?;
        state.apply(&changed, position(lsn, 0));
        Ok(state.decided)
    }

    /// The change of a policy, in replay.
    pub(crate) fn apply(&self, changed: &AgentPolicyChanged, position: Position) {
        let budget = self.get_or_insert(changed.agent);
        let mut state = budget.state.lock();
        if position > state.decided {
            state.apply(changed, position);
        }
    }

    /// A record of one of the agent's wallets is durable, or replayed.
    pub(crate) fn spent(&self, agent: AgentId, spending: Spending, at: Timestamp, lsn: Lsn) {
        let Some(budget) = self.get(agent) else { return };
        let mut state = budget.state.lock();
        state.delivered(lsn);
        let position = position(lsn, 0);
        if position > state.posted {
            state.posted = position;
            if let Some(mandate) = &mut state.mandate {
                mandate.spent_by(spending, at, position);
            }
        }
    }

    /// The end of a hold that went back is durable, or replayed.
    pub(crate) fn released(&self, agent: AgentId, release: Release, lsn: Lsn) {
        let Some(budget) = self.get(agent) else { return };
        let mut state = budget.state.lock();
        let position = position(lsn, 0);
        if position > state.posted {
            state.posted = position;
            if let Some(mandate) = &mut state.mandate {
                mandate.released(release);
            }
        }
    }

    /// Whether there is any.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// A snapshot row.
    pub(crate) fn restore(&self, agent: AgentId, mandate: Mandate, decided: Position, posted: Position) {
        let budget = self.get_or_insert(agent);
        let policy = Arc::new(mandate.policy.clone());
        *budget.state.lock() = State { mandate: Some(mandate), policy, decided, posted, ..State::default() };
    }

    /// Rows of all budgets, each with the last position that it includes.
    pub(crate) fn rows(&self) -> Vec<(Vec<u8>, Position)> {
        let budgets: Vec<Arc<Budget>> = self.budgets.read().values().cloned().collect();
        let mut scratch = Scratch::default();
        let row = |budget: &Arc<Budget>| {
            let state = budget.state.lock();
            let mandate = state.mandate.as_ref()?;
            journal::encode_row(
                RowRef::Budget(budget.agent, mandate, state.decided, state.posted),
                &mut scratch,
            );
            Some((scratch.bytes().to_vec(), state.decided.max(state.posted)))
        };
        budgets.iter().filter_map(row).collect()
    }

    /// Budgets that differ between two states; for the audit.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let (one, two) = (self.budgets.read(), other.budgets.read());
        let agents: BTreeSet<AgentId> = one.keys().chain(two.keys()).copied().collect();
        let mandate = |budgets: &BTreeMap<AgentId, Arc<Budget>>, agent| {
            budgets.get(agent).and_then(|budget| budget.state.lock().mandate.clone())
        };
        let differing = agents.iter().filter(|agent| mandate(&one, *agent) != mandate(&two, *agent));
        differing
            .map(|agent| format!("the budget of {agent} differs between the replay and the snapshot"))
            .collect()
    }

    fn get(&self, agent: AgentId) -> Option<Arc<Budget>> {
        if self.is_empty() {
            return None;
        }
        self.budgets.read().get(&agent).cloned()
    }

    fn get_or_insert(&self, agent: AgentId) -> Arc<Budget> {
        let mut budgets = self.budgets.write();
        let fresh = || Arc::new(Budget { agent, state: Mutex::default() });
        let budget = budgets.entry(agent).or_insert_with(fresh).clone();
        self.count.store(budgets.len(), Ordering::Release);
        budget
    }
}

impl Budget {
    /// Reserves what the payments need, one after the other; those for which there is no room are refused, and `None`
    /// needs nothing. The terms are what the payer's wallet asks, item by item.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        needs: &[Option<Amount>],
        at: Timestamp,
    ) -> (Reservation, AgentTerms) {
        let mut state = self.state.lock();
        let at = state.mandate.as_ref().map_or(at, |mandate| mandate.time(at));
        let (mut own, under_way) = (AT_ONCE, state.under_way);
        let refused: Vec<Option<PolicyDenial>> = needs
            .iter()
            .map(|needed| {
                let spend = spend(*(needed.as_ref()?), at);
                let full = state.mandate.as_ref().and_then(|mandate| {
                    mandate.windows_refuse(PolicyScope::Agent, &spend, under_way.and(own))
                });
                if full.is_none() {
                    own = own.and(Spending { amount: spend.needed, payments: 1 });
                }
                full
            })
            .collect();
        let number = state.reserve(own);
        let last = state.recorded.last_key_value().map_or(Position::ZERO, |(lsn, _)| Position::new(*lsn));
        let seen = last.max(state.decided).max(state.posted);
        let terms = AgentTerms { policy: state.policy.clone(), refused };
        (Reservation { budget: self.clone(), number, at, seen }, terms)
    }
}

impl State {
    fn apply(&mut self, changed: &AgentPolicyChanged, position: Position) {
        self.mandate = Mandate::set(self.mandate.take(), changed.policy.clone(), changed.at, position);
        self.policy = Arc::new(changed.policy.clone());
        self.decided = position;
    }

    fn reserve(&mut self, spending: Spending) -> u64 {
        let number = self.next_reservation;
        self.next_reservation += 1;
        self.reserved.insert(number, spending);
        self.under_way = self.under_way.and(spending);
        number
    }

    fn give_back(&mut self, number: u64) {
        if let Some(spending) = self.reserved.remove(&number) {
            self.under_way = self.under_way.without(spending);
        }
    }

    fn recorded(&mut self, spending: Spending, lsn: Lsn) {
        self.recorded.insert(lsn.get(), spending);
        self.under_way = self.under_way.and(spending);
    }

    fn delivered(&mut self, lsn: Lsn) {
        if let Some(spending) = self.recorded.remove(&lsn.get()) {
            self.under_way = self.under_way.without(spending);
        }
    }
}

impl Reservation {
    /// The record at `lsn` has used this much.
    pub(crate) fn recorded(self, spending: Spending, lsn: Lsn) {
        let mut state = self.budget.state.lock();
        state.give_back(self.number);
        // It may have been delivered already.
        if position(lsn, 0) > state.posted {
            state.recorded(spending, lsn);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.state.lock().give_back(self.number);
    }
}

/// As far as windows look at it.
fn spend(needed: Amount, at: Timestamp) -> Spend<'static> {
    Spend { at, needed, rail: ledger::Rail::Internal, target: Target::default(), category: None }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use ledger::{Span, SpendLimit, Window};
    use testkit::Random;

    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn budgets_of(agent: AgentId) -> Budgets {
        let span = Span { window: Window::Month, rolling: true };
        let policy = Policy { limits: vec![SpendLimit { amount: Amount::MAX, span }], ..Policy::default() };
        let budgets = Budgets::default();
        budgets.apply(&AgentPolicyChanged { agent, policy, at: AT }, Position::new(1));
        budgets
    }

    /// Whatever is reserved, recorded, delivered and dropped, in whatever order: what is under way is the sum of its
    /// parts, and nothing once everything is over.
    #[test]
    fn what_is_under_way_is_the_sum_of_its_parts() {
        let seed = testkit::seed("cargo test -p engine --lib what_is_under_way");
        let mut random = Random::new(seed);
        let agent = AgentId::from_raw(7);
        let budgets = budgets_of(agent);
        let budget = budgets.of(agent).expect("it has a policy");
        let mut open: Vec<Reservation> = Vec::new();
        let mut records: VecDeque<(Lsn, Spending)> = VecDeque::new();
        let mut end = 1;
        for step in 0..10_000 {
            match random.below(5) {
                0 | 1 => {
                    let needs =
                        vec![Some(Amount::from_nanos(1 + i128::from(random.below(1_000)))); random.index(4)];
                    open.push(budget.reserve(&needs, AT).0);
                }
                2 if !open.is_empty() => {
                    let reservation = open.swap_remove(random.index(open.len()));
                    let amount = Amount::from_nanos(1 + i128::from(random.below(1_000)));
                    let (lsn, spending) = (Lsn::new(end + 1), Spending { amount, payments: 1 });
                    end += 1;
                    // A record may be delivered before its owner goes on.
                    if random.chance(20) {
                        while let Some((lsn, spending)) = records.pop_front() {
                            budgets.spent(agent, spending, AT, lsn);
                        }
                        budgets.spent(agent, spending, AT, lsn);
                    } else {
                        records.push_back((lsn, spending));
                    }
                    reservation.recorded(spending, lsn);
                }
                3 => {
                    if let Some((lsn, spending)) = records.pop_front() {
                        budgets.spent(agent, spending, AT, lsn);
                    }
                }
                _ if !open.is_empty() => drop(open.swap_remove(random.index(open.len()))),
                _ => {}
            }
            let state = budget.state.lock();
            let parts = state.reserved.values().chain(state.recorded.values());
            assert_eq!(state.under_way, parts.copied().fold(AT_ONCE, Spending::and), "step {step}");
            assert_eq!(
                (state.reserved.len(), state.recorded.len()),
                (open.len(), records.len()),
                "step {step}"
            );
        }
        drop(open);
        for (lsn, spending) in records {
            budgets.spent(agent, spending, AT, lsn);
        }
        assert_eq!(budget.state.lock().under_way, AT_ONCE);
    }
}
