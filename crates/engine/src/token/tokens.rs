//! Every token of the partition that somebody may still ask for, by the position of its reservation.
//!
//! Open ones are here until they end. Those that have ended stay for a while, because a party may repeat its last step,
//! and leave once the record of their end is in the history index, where it is found from then on. None leaves while a
//! snapshot is taken: replay from the snapshot must find every token that a later record speaks of.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

use journal::{RowRef, Scratch};
use ledger::{AgentId, Amount, Offer, Position, Token, TokenStatus, WalletId};
use parking_lot::Mutex;

use crate::sharded::{SHARDS, ShardedMap};

#[derive(Default)]
pub(crate) struct Tokens {
    slots: Slots,
    ended: Mutex<Ended>,
    /// Tokens whose provider has redeemed them and still owes something.
    running: AtomicI64,
    /// Tokens that have not ended, together and by consumer.
    open: AtomicU32,
    open_by_agent: ByAgent,
    offers: Mutex<Offers>,
}

/// One copy of each offer that tokens were reserved under.
#[derive(Default)]
struct Offers {
    by_version: HashMap<Position, Arc<Offer>>,
    /// Offers after the last cleaning.
    kept: usize,
}

/// Offers below which cleaning is not worth a walk.
const OFFERS_FEW: usize = 1_024;

impl Offers {
    /// Puts the shared copy in the place of an equal one.
    fn share(&mut self, offer: &mut Arc<Offer>) {
        let shared = self.by_version.entry(offer.service_at).or_insert_with(|| offer.clone());
        if shared == offer {
            *offer = shared.clone();
        }
        if self.by_version.len() > OFFERS_FEW.max(self.kept * 2) {
            self.by_version.retain(|_, offer| Arc::strong_count(offer) > 1);
            self.kept = self.by_version.len();
        }
    }
}

struct Slots(ShardedMap<Position, Box<Token>>);

/// Grows with the agents that ever reserved a call.
struct ByAgent(ShardedMap<AgentId, AtomicU32>);

impl Default for ByAgent {
    fn default() -> Self {
        Self(ShardedMap::new())
    }
}

impl Default for Slots {
    fn default() -> Self {
        Self(ShardedMap::new())
    }
}

#[derive(Default)]
struct Ended {
    /// Position of the token and of its end, in the order of their ends.
    queue: VecDeque<(Position, Position)>,
    /// Snapshots under way.
    held: u32,
}

impl Tokens {
    pub(crate) fn len(&self) -> usize {
        self.slots.0.len()
    }

    /// Tokens whose provider owes something.
    pub(crate) fn running(&self) -> i64 {
        self.running.load(Ordering::Relaxed)
    }

    /// Tokens that have not ended, of one consumer and of all. Those whose reservation is under way are not counted.
    pub(crate) fn open_of(&self, agent: AgentId) -> (u32, u32) {
        let own = self.open_by_agent.0.read(agent, |open| open.load(Ordering::Relaxed));
        (own.unwrap_or(0), self.open.load(Ordering::Relaxed))
    }

    /// Brings a token to life. One that is there already keeps its state (replay of a record that a snapshot covers).
    pub(crate) fn insert(&self, id: Position, mut token: Token) -> bool {
        self.offers.lock().share(&mut token.terms.offer);
        let (status, decided, agent) = (token.status, token.decided, token.terms.payer_agent);
        // Whoever owns the token from here on counts for its consumer.
        self.open_by_agent.0.insert_new(agent, AtomicU32::new(0));
        let inserted = self.slots.0.insert_new(id, Box::new(token));
        if inserted {
            self.moved(agent, None, status);
            if !status.is_open() {
                self.closed(id, decided);
            }
        }
        inserted
    }

    /// Reads a token. What is read may show decisions that are not delivered yet.
    pub(crate) fn read<T>(&self, id: Position, read: impl FnOnce(&Token) -> T) -> Option<T> {
        self.slots.0.read(id, |token| read(token))
    }

    /// Makes the caller the owner for as long as `own` takes.
    pub(crate) fn own<T>(&self, id: Position, own: impl FnOnce(&mut Token) -> T) -> Option<T> {
        self.slots.0.write(id, |token| {
            let before = token.status;
            let outcome = own(token);
            self.moved(token.terms.payer_agent, Some(before), token.status);
            outcome
        })
    }

    /// The end of a token was delivered: it may leave when its time comes.
    pub(crate) fn closed(&self, id: Position, end: Position) {
        self.ended.lock().queue.push_back((id, end));
    }

    /// Lets the oldest ended tokens go, but for `kept` of them, and up to `limit` at once: the commit stream waits
    /// meanwhile. `indexed` is how far the index has come, if there is one; `is_delivered` tells of a position whether the
    /// commit stream has passed it.
    pub(crate) fn evict(
        &self,
        kept: usize,
        limit: usize,
        indexed: Option<u64>,
        is_delivered: impl Fn(Position) -> bool,
    ) {
        let mut ended = self.ended.lock();
        if ended.held > 0 {
            return;
        }
        for _ in 0..ended.queue.len().saturating_sub(kept).min(limit) {
            let (id, end) = *ended.queue.front().expect("there are more than are kept");
            if !is_delivered(end) || indexed.is_some_and(|indexed| end.get() >= indexed) {
                return;
            }
            ended.queue.pop_front();
            self.slots.0.remove(id);
        }
    }

    /// Keeps every token here until [`Self::release`]: a snapshot begins.
    pub(crate) fn hold(&self) {
        self.ended.lock().held += 1;
    }

    pub(crate) fn release(&self) {
        self.ended.lock().held -= 1;
    }

    /// Removes a token that replay has seen end.
    pub(crate) fn forget(&self, id: Position) {
        self.slots.0.remove(id);
    }

    /// Walks all tokens shard by shard and hands the encoded row of each to `emit`, with the position of its last
    /// decision. No guard is held then.
    pub(crate) fn rows<E>(&self, mut emit: impl FnMut(&[u8], Position) -> Result<(), E>) -> Result<(), E> {
        let mut scratch = Scratch::default();
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for shard in 0..SHARDS {
            bytes.clear();
            ends.clear();
            self.slots.0.walk_shard(shard, |id, token| {
                journal::encode_row(RowRef::Token(id, token), &mut scratch);
                bytes.extend_from_slice(scratch.bytes());
                ends.push((bytes.len(), token.decided));
            });
            let mut start = 0;
            for (end, decided) in &ends {
                emit(&bytes[start..*end], *decided)?;
                start = *end;
            }
        }
        Ok(())
    }

    /// Visits every open token.
    pub(crate) fn each_open(&self, mut visit: impl FnMut(Position, &Token)) {
        for shard in 0..SHARDS {
            self.slots.0.walk_shard(shard, |id, token| {
                if token.status.is_open() {
                    visit(id, token);
                }
            });
        }
    }

    /// Tokens that have not ended.
    pub(crate) fn open_len(&self) -> u64 {
        u64::from(self.open.load(Ordering::Relaxed))
    }

    /// What open tokens hold of each wallet; for the audit.
    pub(crate) fn holds(&self) -> HashMap<WalletId, Amount> {
        let mut holds = HashMap::new();
        self.each_open(|_, token| {
            let held: &mut Amount = holds.entry(token.terms.payer).or_insert(Amount::ZERO);
            *held = held.checked_add(token.terms.price).expect("the supply bound keeps sums in range");
        });
        holds
    }

    /// Open tokens that differ between two maps; for the audit.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        self.each_open(|id, token| match other.read(id, |other| other == token) {
            Some(true) => {}
            Some(false) => {
                found.push(format!("the token of {id} differs between the replay and the snapshot"))
            }
            None => found.push(format!("the token of {id} is missing from the snapshot")),
        });
        other.each_open(|id, _| {
            if self.read(id, |token| token.status.is_open()) != Some(true) {
                found.push(format!("the token of {id} is open in the snapshot, but not in the log"));
            }
        });
        found
    }

    fn moved(&self, agent: AgentId, before: Option<TokenStatus>, after: TokenStatus) {
        let count = |change: fn(&AtomicU32) -> u32| {
            change(&self.open);
            self.open_by_agent.0.read(agent, change).expect("an agent is counted with its first token");
        };
        match (before.is_some_and(TokenStatus::is_open), after.is_open()) {
            (false, true) => count(|open| open.fetch_add(1, Ordering::Relaxed)),
            (true, false) => count(|open| open.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        let change = i64::from(owes(after)) - i64::from(before.is_some_and(owes));
        if change != 0 {
            self.running.fetch_add(change, Ordering::Relaxed);
        }
    }
}

/// Whether the provider has something to do that it can be late with.
const fn owes(status: TokenStatus) -> bool {
    matches!(status, TokenStatus::Verified | TokenStatus::Started | TokenStatus::Accepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(tokens: &Tokens) -> usize {
        tokens.ended.lock().queue.len()
    }

    /// A burst of ends must not hold up the commit stream, which needs the same guard, while it is cleared away.
    const KEPT: usize = 500;

    #[test]
    fn ended_tokens_leave_in_slices_and_only_when_they_are_found_elsewhere() {
        let tokens = Tokens::default();
        let ends = u64::try_from(KEPT).expect("a count") + 3_000;
        (0..ends).for_each(|end| tokens.closed(Position::new(end), Position::new(end)));
        tokens.hold();
        tokens.evict(KEPT, 1_000, Some(u64::MAX), |_| true);
        assert_eq!(waiting(&tokens), KEPT + 3_000, "a snapshot is taken");
        tokens.release();
        tokens.evict(KEPT, 1_000, Some(u64::MAX), |_| true);
        assert_eq!(waiting(&tokens), KEPT + 2_000);
        tokens.evict(KEPT, 1_000, Some(u64::MAX), |end| end.get() < 1_500);
        assert_eq!(waiting(&tokens), KEPT + 1_500, "the others are not delivered");
        tokens.evict(KEPT, 1_000, Some(1_600), |_| true);
        assert_eq!(waiting(&tokens), KEPT + 1_400, "the others are not in the index");
        for _ in 0..5 {
            tokens.evict(KEPT, 1_000, Some(u64::MAX), |_| true);
        }
        assert_eq!(waiting(&tokens), KEPT);
    }
}
