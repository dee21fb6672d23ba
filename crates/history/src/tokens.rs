//! Tokens in the index: which ones an agent has had, and which record ended each.
//!
//! Both are kept as entries like those of wallets, under keys that no wallet has: ids carry their partition in the top
//! bits, and these set bits there that partitions do not use. Nothing in them changes a balance.

use ledger::{AgentId, Position, WalletId};

use crate::{Entry, EntryKey, Error, History, Page, TimeRange};

/// Partitions are numbered below 2¹³ here: the third bit is that of disputes.
const CONSUMER: u128 = 1 << 127;
const PROVIDER: u128 = 1 << 126;
const ENDS: u128 = CONSUMER | PROVIDER;

/// A party's side of a token.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum TokenRole {
    Consumer,
    Provider,
}

/// Under which an agent's tokens are listed.
pub(crate) fn role_key(agent: AgentId, role: TokenRole) -> WalletId {
    let bits = match role {
        TokenRole::Consumer => CONSUMER,
        TokenRole::Provider => PROVIDER,
    };
    WalletId::from_raw(agent.raw() | bits)
}

/// Under which the end of the token that was reserved at `token` is found.
pub(crate) fn end_key(token: Position) -> WalletId {
    WalletId::from_raw(ENDS | u128::from(token.get()))
}

impl History {
    /// Reservations in which the agent has this role, older than `before`, at most `limit`: the positions of the entries
    /// are those of the tokens. Blocks the calling thread on disk reads.
    pub fn tokens(
        &self,
        agent: AgentId,
        role: TokenRole,
        before: Option<EntryKey>,
        range: TimeRange,
        limit: usize,
    ) -> Result<Page<Entry>, Error> {
        self.entries(role_key(agent, role), before, range, limit)
    }

    /// Position of the record that ended a token; `None` when none is in the index. Blocks the calling thread on disk
    /// reads.
    pub fn token_end(&self, token: Position) -> Result<Option<Position>, Error> {
        let page = self.entries(end_key(token), None, TimeRange::default(), 1)?;
        Ok(page.items.first().map(|entry| Position::new(entry.lsn)))
    }
}
