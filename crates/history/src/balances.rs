//! Running balances of the wallets that were posted to lately.
//!
//! Two generations: when the young one is full it becomes the old one, and what was in the old one is forgotten. So the
//! set is bounded, a wallet in use stays in it, and nothing is kept per access.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use ledger::WalletId;

use crate::entry::Head;

/// Maps by wallet id need no hashing: the low half of an id is random already.
pub(crate) type ByWallet<T> = HashMap<WalletId, T, BuildHasherDefault<LowHalf>>;

#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct LowHalf(u64);

impl Hasher for LowHalf {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("a wallet id hashes as one number")
    }
}

#[derive(Debug)]
pub(crate) struct Balances {
    young: ByWallet<Head>,
    old: ByWallet<Head>,
    generation_max: usize,
}

impl Balances {
    /// At most `max` wallets are remembered.
    pub(crate) fn new(max: usize) -> Balances {
        assert!(max >= 2, "each generation holds a wallet");
        Balances { young: ByWallet::default(), old: ByWallet::default(), generation_max: max / 2 }
    }

    pub(crate) fn get(&self, wallet: WalletId) -> Option<Head> {
        self.young.get(&wallet).or_else(|| self.old.get(&wallet)).copied()
    }

    pub(crate) fn put(&mut self, wallet: WalletId, head: Head) {
        if self.young.len() == self.generation_max && !self.young.contains_key(&wallet) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(wallet, head);
    }
}

#[cfg(test)]
mod tests {
    use ledger::{Amount, Timestamp};

    use super::*;

    fn head(balance: i128) -> Head {
        Head { balance: Amount::from_nanos(balance), latest_at: Timestamp::from_millis(0) }
    }

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten() {
        let mut balances = Balances::new(8);
        let used = WalletId::new(0, 1);
        for step in 0..1000 {
            balances.put(used, head(step));
            balances.put(WalletId::new(0, 1000 + step.cast_unsigned()), head(-step));
            assert!(balances.young.len() + balances.old.len() <= 8);
            assert_eq!(balances.get(used), Some(head(step)));
        }
        assert_eq!(balances.get(WalletId::new(0, 1000)), None);
        assert_eq!(balances.get(WalletId::new(0, 1999)), Some(head(-999)));
    }
}
