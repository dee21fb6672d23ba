//! Disputes in the index: which ones an agent has had, on either side, and all of them for operators.
//!
//! Kept as entries under keys that no wallet and no list of tokens has, like those in `tokens.rs`: another bit that
//! partitions do not use. Nothing in them changes a balance, and where a dispute stands is not here.

use ledger::{AgentId, WalletId};

use crate::{Entry, EntryKey, Error, History, Page, TimeRange};

const DISPUTES: u128 = 1 << 125;
const PAYEE: u128 = 1 << 126;
const ALL: u128 = 1 << 127;

/// A party's side of a dispute.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum DisputeRole {
    Payer,
    Payee,
}

/// Under which an agent's disputes are listed.
pub(crate) fn dispute_key(agent: AgentId, role: DisputeRole) -> WalletId {
    let bits = match role {
        DisputeRole::Payer => DISPUTES,
        DisputeRole::Payee => DISPUTES | PAYEE,
    };
    WalletId::from_raw(agent.raw() | bits)
}

/// Under which all disputes are listed.
pub(crate) fn all_key() -> WalletId {
    WalletId::from_raw(ALL | DISPUTES)
}

impl History {
    /// Openings of disputes in which one of these agents has this role, or of all when none is named, older than
    /// `before`, at most `limit`: the positions of the entries are those of the disputes. Blocks the calling thread on disk
    /// reads.
    pub fn disputes(
        &self,
        roles: &[(AgentId, DisputeRole)],
        before: Option<EntryKey>,
        range: TimeRange,
        limit: usize,
    ) -> Result<Page<Entry>, Error> {
        let mut keys: Vec<WalletId> = roles.iter().map(|(agent, role)| dispute_key(*agent, *role)).collect();
        if keys.is_empty() {
            keys.push(all_key());
        }
        self.merged(&keys, before, range, limit)
    }
}
