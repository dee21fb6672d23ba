//! Every claim of the partition, by the position of its payment.
//!
//! A claim is changed by its owner wallet alone, under that wallet's guard (its slot's, or in its actor); the guard here
//! is taken inside that one and never the other way round. Others read: what they see may not be delivered yet, and
//! `decided` tells. Claims are never removed: 64 bytes each, 112 with a dispute, beside the key and the map's eight.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicI64, Ordering},
};

use journal::{RowRef, Scratch};
use ledger::{Amount, Claim, ClaimChange, DisputeStatus, Position, WalletId};

use crate::sharded::{Place, ShardedMap};

pub(crate) struct Claims {
    claims: ShardedMap<Position, Claim>,
    /// Disputes that have not ended.
    open: AtomicI64,
}

/// What the claims of one wallet make of it.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// Set aside for open disputes.
    pub(crate) set_aside: Amount,
    /// Whether a dispute ended with a refund: then the wallet may be below zero.
    pub(crate) may_owe: bool,
}

impl Default for Claims {
    fn default() -> Self {
        Self { claims: ShardedMap::new(), open: AtomicI64::new(0) }
    }
}

impl Claims {
    pub(crate) fn len(&self) -> usize {
        self.claims.len()
    }

    pub(crate) fn open_disputes(&self) -> u64 {
        u64::try_from(self.open.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Reads the claim about the payment at `payment`.
    pub(crate) fn read<T>(&self, payment: Position, read: impl FnOnce(&Claim) -> T) -> Option<T> {
        self.claims.read(payment, read)
    }

    /// A snapshot row.
    pub(crate) fn insert(&self, payment: Position, claim: Claim) {
        self.count(0, is_open(&claim));
        assert!(self.claims.insert_new(payment, claim), "a snapshot has one row for each claim");
    }

    /// Folds in the record at `position`, live by the claim's owner and in replay. What a row includes already is skipped.
    pub(crate) fn apply(&self, change: &ClaimChange, position: Position) {
        let payment = change.terms.position();
        self.claims.insert_new(payment, Claim::new(&change.terms));
        let folded = self.claims.write(payment, |claim| {
            let before = is_open(claim);
            if position > claim.decided {
                claim.apply(change, position);
            }
            self.count(before, is_open(claim));
        });
        folded.expect("inserted above, and never removed");
    }

    /// Walks all claims in small steps and hands the encoded row of each to `emit`, with the position of its last
    /// decision. No guard is held then.
    pub(crate) fn rows<E>(&self, mut emit: impl FnMut(&[u8], Position) -> Result<(), E>) -> Result<(), E> {
        let mut scratch = Scratch::default();
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        let mut place = Some(Place::default());
        while let Some(from) = place {
            bytes.clear();
            ends.clear();
            place = self.claims.walk(from, |payment, claim| {
                journal::encode_row(RowRef::Claim(payment, claim), &mut scratch);
                bytes.extend_from_slice(scratch.bytes());
                ends.push((bytes.len(), claim.decided));
            });
            let mut start = 0;
            for (end, decided) in &ends {
                emit(&bytes[start..*end], *decided)?;
                start = *end;
            }
        }
        Ok(())
    }

    /// What the claims make of each wallet; for the audit.
    pub(crate) fn by_owner(&self) -> HashMap<WalletId, Claimed> {
        let mut owners: HashMap<WalletId, Claimed> = HashMap::new();
        self.each(|_, claim| {
            let claimed = owners.entry(claim.owner).or_default();
            if let Some(dispute) = &claim.dispute {
                claimed.set_aside = claimed.set_aside.plus(dispute.set_aside);
                claimed.may_owe |= dispute.status == DisputeStatus::ResolvedRefunded;
            }
        });
        owners
    }

    /// Claims that differ between two maps; for the audit.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        self.each(|payment, claim| match other.read(payment, |other| other == claim) {
            Some(true) => {}
            Some(false) => {
                found.push(format!("the claim about {payment} differs between the replay and the snapshot"));
            }
            None => found.push(format!("the claim about {payment} is missing from the snapshot")),
        });
        other.each(|payment, _| {
            if self.read(payment, |_| ()).is_none() {
                found.push(format!("the claim about {payment} is in the snapshot, but no record made it"));
            }
        });
        found
    }

    fn each(&self, mut visit: impl FnMut(Position, &Claim)) {
        let mut place = Some(Place::default());
        while let Some(from) = place {
            place = self.claims.walk(from, &mut visit);
        }
    }

    fn count(&self, before: i64, after: i64) {
        if before != after {
            self.open.fetch_add(after - before, Ordering::Relaxed);
        }
    }
}

fn is_open(claim: &Claim) -> i64 {
    i64::from(claim.open_dispute().is_some())
}
