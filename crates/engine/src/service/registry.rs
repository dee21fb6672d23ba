//! What the owner of the services does: decide by the pure rules, append the record, change the state.
//!
//! The guard is held for a look-up and an append, never across an await. The commit stream folds the ends of calls in
//! under the same guard; a score that moved by them is recorded by the timer thread, at most once per service and second.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use journal::{Encode, RowRef, Scratch};
use ledger::{
    AgentId, CallTerms, Denial, KeyHash, KeyScope, PatchCommand, Position, RegisterCommand, Service,
    ServiceChanged, ServiceId, Standing, Timestamp, TokenEnded, TrustChanged, decide_patch, decide_register,
    decide_verified,
};
use parking_lot::{Mutex, RwLock};
use wal::{Lsn, Refused};

use super::{published::Published, view::ServiceView};
use crate::{
    refusal::Refusal,
    release::{Companion, Decided, Reply, Requester, Seat},
    shared::Shared,
};

/// Decided and published services of the partition.
#[derive(Default)]
pub(crate) struct Services {
    state: Mutex<ServicesState>,
    published: RwLock<Published>,
}

/// Every service as decided, in the order of ids so that a snapshot can walk them in steps.
#[derive(Default)]
pub(crate) struct ServicesState {
    services: BTreeMap<ServiceId, Service>,
    slugs: HashMap<Box<str>, ServiceId>,
    /// Registrations by provider and key.
    keys: BTreeMap<(AgentId, KeyHash), (Position, u64)>,
    by_provider: HashMap<AgentId, usize>,
    /// What the services of each provider give it. Those whose calls never counted are left out.
    standings: HashMap<AgentId, Standing>,
    /// Whose calls ended since its score was recorded.
    moved: BTreeSet<ServiceId>,
    /// Whose scores are being recorded, a slice at a time.
    telling: BTreeSet<ServiceId>,
    /// Position of the newest decision about any service.
    newest: Position,
    scratch: Scratch,
}

/// Snapshot rows of some services; fewer than asked for means that there are no more.
pub(crate) struct ServiceRows {
    pub(crate) rows: Vec<Vec<u8>>,
    pub(crate) last: Option<ServiceId>,
    pub(crate) decided: Position,
}

impl Services {
    /// The services that recovery has found.
    pub(crate) fn recovered(mut state: ServicesState) -> Self {
        let mut published = Published::default();
        for service in state.services.values() {
            published.recovered(service);
        }
        let unsaid = |service: &&Service| service.trust.score() != service.trust.shown;
        state.moved = state.services.values().filter(unsaid).map(|service| service.id).collect();
        for service in state.services.values().filter(|service| !service.trust.calls.is_empty()) {
            let standing = state.standings.entry(service.provider).or_default();
            *standing = standing.with(Standing::default(), Standing::of(&service.trust));
        }
        Self { state: Mutex::new(state), published: RwLock::new(published) }
    }

    /// A durable service with the record that describes it.
    pub(crate) fn published(&self, id: ServiceId) -> Option<(Position, Arc<ServiceView>)> {
        self.published.read().get(id)
    }

    pub(crate) fn by_slug(&self, slug: &str) -> Option<Arc<ServiceView>> {
        self.published.read().by_slug(slug)
    }

    pub(crate) fn all(&self) -> Vec<Arc<ServiceView>> {
        self.published.read().all()
    }

    pub(crate) fn at_url(&self, url: &str, limit: usize) -> (Vec<Arc<ServiceView>>, usize) {
        self.published.read().at_url(url, limit)
    }

    pub(crate) fn len(&self) -> usize {
        self.state.lock().services.len()
    }

    /// For the commit stream: a record about a service is durable.
    pub(crate) fn publish(&self, lsn: Lsn, fact: &ServiceChanged) {
        self.published.write().changed(fact, Position::new(lsn.get()));
    }

    /// For the commit stream: a score is durable.
    pub(crate) fn publish_trust(&self, fact: &TrustChanged) {
        self.published.write().trust_changed(fact);
    }

    /// For the commit stream: a call has ended.
    pub(crate) fn saw(&self, ended: &TokenEnded, position: Position) {
        self.moves_trust(ended.terms.service, |state| state.saw(ended, position));
    }

    /// Carries out what may move the score of a service, and moves that of its provider with it.
    fn moves_trust(&self, id: ServiceId, change: impl FnOnce(&mut ServicesState) -> bool) {
        let part = |state: &ServicesState| {
            let service = state.services.get(&id)?;
            Some((service.provider, Standing::of(&service.trust)))
        };
        let mut state = self.state.lock();
        let before = part(&state);
        change(&mut state);
        if let (Some((provider, before)), Some((_, after))) = (before, part(&state))
            && before != after
        {
            let standing = state.standings.entry(provider).or_default();
            *standing = standing.with(before, after);
        }
        let trust = state.services.get(&id).map(|service| &service.trust);
        let counts = trust.map(|trust| (trust.settled_calls, trust.breached_calls));
        drop(state);
        if let Some((settled_calls, breached_calls)) = counts {
            self.published.write().counted(id, settled_calls, breached_calls);
        }
    }

    /// The score of an agent as a provider: from calls whose ends are durable.
    pub(crate) fn score_of(&self, agent: AgentId) -> u8 {
        self.state.lock().standings.get(&agent).copied().unwrap_or_default().score()
    }

    /// For the commit stream: a dispute about a settled call was resolved with a refund.
    pub(crate) fn refunded(&self, call: &CallTerms, position: Position) {
        self.moves_trust(call.service, |state| state.refunded(call, position));
    }

    /// Registers a service. `found` was found where the request arrived and is looked at after the key.
    pub(super) fn register(
        &self,
        command: RegisterCommand,
        found: Option<Denial>,
        shared: &Shared,
        seat: Seat,
    ) -> Decided {
        let mut state = self.state.lock();
        if let Some(key) = &command.key {
            let known = state.keys.get(&(command.provider, key.hash(KeyScope::RegisterService))).copied();
            match known {
                Some((place, fingerprint)) if fingerprint == key.fingerprint => {
                    let reply = Reply::Replay(ledger::KeyPlace { lsn: place.get(), item: 0 });
                    return answer(shared, place, seat, reply);
                }
                Some((place, _)) => return answer(shared, place, seat, refused(Denial::KeyConflict)),
                None => {}
            }
        }
        if let Some(denial) = found {
            return answer(shared, Position::ZERO, seat, refused(denial));
        }
        let count = state.by_provider.get(&command.provider).copied().unwrap_or(0);
        let decision = decide_register(command, count, |slug| state.slugs.contains_key(slug), &shared.rules);
        match decision {
            Ok(fact) => state.record(fact, shared, seat),
            Err(denial) => {
                // The slug may be taken by a service that is not durable yet.
                let newest = state.newest;
                answer(shared, newest, seat, refused(denial))
            }
        }
    }

    /// Changes a service for its provider.
    pub(super) fn patch(
        &self,
        id: ServiceId,
        caller: AgentId,
        patch: PatchCommand,
        shared: &Shared,
        seat: Seat,
    ) -> Decided {
        let mut state = self.state.lock();
        let Some(service) = state.services.get(&id) else {
            return answer(shared, Position::ZERO, seat, refused(Denial::UnknownService));
        };
        let decision = decide_patch(service, caller, patch, |slug| state.slugs.contains_key(slug));
        state.conclude(id, decision, shared, seat)
    }

    /// Records an operator's word on a service, or what was found at its URL: then only while that is its URL.
    pub(super) fn judge(
        &self,
        id: ServiceId,
        verified: bool,
        only_at: Option<&str>,
        at: Timestamp,
        shared: &Shared,
        seat: Seat,
    ) -> Decided {
        let mut state = self.state.lock();
        let Some(service) = state.services.get(&id) else {
            return answer(shared, Position::ZERO, seat, refused(Denial::UnknownService));
        };
        if only_at.is_some_and(|url| service.terms.endpoint_url.as_deref() != Some(url)) {
            return state.conclude(id, Ok(None), shared, seat);
        }
        let decision = Ok(decide_verified(service, verified, at));
        state.conclude(id, decision, shared, seat)
    }

    /// Begins to tell the scores that have moved until now. Nobody is told of twice until [`Self::record_scores`] is
    /// through with all of them.
    pub(crate) fn begin_telling(&self) {
        let mut state = self.state.lock();
        let moved = std::mem::take(&mut state.moved);
        state.telling.extend(moved);
    }

    /// Looks at up to `limit` of the scores that are to be told, records those that have changed, and hands on the position
    /// of each record; true when none is left. The guard is given back between two of them. Stops when the log takes nothing.
    pub(crate) fn record_scores(
        &self,
        shared: &Shared,
        at: Timestamp,
        limit: usize,
        mut recorded: impl FnMut(Position),
    ) -> Result<bool, Refused> {
        for _ in 0..limit {
            let mut state = self.state.lock();
            let Some(id) = state.telling.first().copied() else { return Ok(true) };
            if let Some(position) = state.record_score(id, shared, at)? {
                recorded(position);
            }
            state.telling.remove(&id);
        }
        Ok(false)
    }

    /// Encoded snapshot rows of up to `limit` services that follow `after`.
    pub(crate) fn rows(&self, after: Option<ServiceId>, limit: usize) -> ServiceRows {
        let mut state = self.state.lock();
        let ServicesState { services, scratch, .. } = &mut *state;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut reply = ServiceRows { rows: Vec::with_capacity(limit), last: None, decided: Position::ZERO };
        for (id, service) in services.range((start, Bound::Unbounded)).take(limit) {
            journal::encode_row(RowRef::Service(service), scratch);
            reply.rows.push(scratch.bytes().to_vec());
            reply.last = Some(*id);
            reply.decided = reply.decided.max(service.decided);
        }
        reply
    }
}

impl ServicesState {
    pub(crate) fn len(&self) -> usize {
        self.services.len()
    }

    /// A snapshot row.
    pub(crate) fn restore(&mut self, service: Service) {
        let position = service.registered;
        if let Some((hash, fingerprint)) = service.registered_by {
            self.keys.insert((service.provider, hash), (position, fingerprint));
        }
        *self.by_provider.entry(service.provider).or_default() += 1;
        self.slugs.insert(service.slug.clone(), service.id);
        let before = self.services.insert(service.id, service);
        assert!(before.is_none(), "a snapshot has one row for each service");
    }

    /// The record at `position`, live and in replay.
    pub(crate) fn apply(&mut self, fact: &ServiceChanged, position: Position) {
        match self.services.get_mut(&fact.service) {
            None => self.restore(Service::registered(fact, position)),
            Some(service) => {
                let old = service.slug.clone();
                if service.apply(fact, position) && old != service.slug {
                    self.slugs.insert(service.slug.clone(), service.id);
                    self.slugs.remove(&old);
                }
            }
        }
    }

    /// The score recorded at `position`; false when no record made its service.
    pub(crate) fn apply_trust(&mut self, fact: &TrustChanged, position: Position) -> bool {
        let service = self.services.get_mut(&fact.service);
        service.map(|service| service.apply_trust(fact, position)).is_some()
    }

    /// A call that ended at `position`, in log order; false when no record made its service.
    pub(crate) fn saw(&mut self, ended: &TokenEnded, position: Position) -> bool {
        let Some(service) = self.services.get_mut(&ended.terms.service) else { return false };
        if service.saw(ended, position) {
            self.moved.insert(service.id);
        }
        true
    }

    /// A dispute about a call that was resolved with a refund at `position`, in log order; false when no record made its
    /// service.
    pub(crate) fn refunded(&mut self, call: &CallTerms, position: Position) -> bool {
        let Some(service) = self.services.get_mut(&call.service) else { return false };
        if service.refunded(call, position) {
            self.moved.insert(service.id);
        }
        true
    }

    /// Services that differ between two states; for the audit.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let ids: BTreeSet<_> = self.services.keys().chain(other.services.keys()).collect();
        let differing = ids.into_iter().filter(|id| self.services.get(id) != other.services.get(id));
        differing.map(|id| format!("{id} differs between the replay and the snapshot")).collect()
    }

    fn conclude(
        &mut self,
        id: ServiceId,
        decision: Result<Option<ServiceChanged>, Denial>,
        shared: &Shared,
        seat: Seat,
    ) -> Decided {
        match decision {
            Ok(Some(fact)) => self.record(fact, shared, seat),
            Ok(None) => {
                let decided = self.services.get(&id).map_or(Position::ZERO, |service| service.decided);
                answer(shared, decided, seat, Reply::Service(None))
            }
            Err(denial) => {
                let newest = self.newest;
                answer(shared, newest, seat, refused(denial))
            }
        }
    }

    fn record(&mut self, fact: ServiceChanged, shared: &Shared, seat: Seat) -> Decided {
        fact.encode(&mut self.scratch);
        let appended = match seat.companion() {
            Some(companion) => {
                shared.wal.append_with(self.scratch.bytes(), |_: Lsn| -> Companion { companion })
            }
            None => shared.wal.append(self.scratch.bytes()),
        };
        match appended {
            Ok(lsn) => {
                let position = Position::new(lsn.get());
                self.apply(&fact, position);
                self.newest = position;
                Decided { reply: Reply::Service(Some(Box::new(fact))), position }
            }
            Err(refused) => Decided { reply: Reply::Refused(refused.into()), position: Position::ZERO },
        }
    }

    fn record_score(
        &mut self,
        id: ServiceId,
        shared: &Shared,
        at: Timestamp,
    ) -> Result<Option<Position>, Refused> {
        let service = self.services.get_mut(&id).expect("no service ever leaves");
        let (score, trust) = (service.trust.score(), &service.trust);
        if score == trust.shown {
            return Ok(None);
        }
        let (settled_calls, breached_calls) = (trust.settled_calls, trust.breached_calls);
        let fact = TrustChanged { service: id, score, settled_calls, breached_calls, at };
        fact.encode(&mut self.scratch);
        let position = Position::new(shared.wal.append(self.scratch.bytes())?.get());
        let applied = service.apply_trust(&fact, position);
        assert!(applied, "a new record is above everything decided before");
        Ok(Some(position))
    }
}

fn refused(denial: Denial) -> Reply {
    Reply::Refused(Refusal::Denied(denial))
}

/// Answers without a record, but not before everything up to `decided` is durable.
fn answer(shared: &Shared, decided: Position, seat: Seat, reply: Reply) -> Decided {
    shared.answer(decided, Requester::Here(seat), reply).expect("the requester is on this task")
}
