//! The wallets that were posted to lately: where each stands, and its number in the part that is being filled.
//!
//! Two generations: when the young one is full it becomes the old one, and what was in the old one is forgotten. So the
//! set is bounded, a wallet in use stays in it, and nothing is kept per access. Generations change between batches only,
//! and one look-up for each entry tells all there is to know.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;

use ledger::WalletId;

use crate::entry::Head;
use crate::recent::Number;

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

/// What is remembered of a wallet.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) head: Head,
    /// Its number in the last part that it was added to.
    pub(crate) number: Number,
}

const _: () = assert!(size_of::<(WalletId, Standing)>() == 64, "a look-up touches one or two lines");

#[derive(Debug)]
pub(crate) struct Balances {
    young: ByWallet<Standing>,
    old: ByWallet<Standing>,
    generation_max: usize,
}

impl Balances {
    /// At most `max` wallets are remembered, and those of one batch.
    pub(crate) fn new(max: usize) -> Balances {
        assert!(max >= 2, "each generation holds a wallet");
        Balances { young: ByWallet::default(), old: ByWallet::default(), generation_max: max / 2 }
    }

    /// Begins a batch.
    pub(crate) fn begin(&mut self) {
        if self.young.len() >= self.generation_max {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
    }

    /// What is remembered of a wallet; `read` finds out where it stands when nothing is.
    pub(crate) fn standing<E>(
        &mut self,
        wallet: WalletId,
        read: impl FnOnce() -> Result<Head, E>,
    ) -> Result<&mut Standing, E> {
        Ok(match self.young.entry(wallet) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(match self.old.get(&wallet) {
                Some(standing) => *standing,
                None => Standing { head: read()?, number: Number::NONE },
            }),
        })
    }

    /// Looks some wallets up without using what is found, so that it is in the processor's cache when it is used: the
    /// processor waits for many of them at once here, and for one after the other where each entry is worked on.
    pub(crate) fn fetch(&self, wallets: impl Iterator<Item = WalletId>) {
        black_box(wallets.filter(|wallet| self.young.contains_key(wallet)).count());
    }

    /// Remembers the number of a wallet that this batch has met.
    pub(crate) fn number(&mut self, wallet: WalletId, number: Number) {
        self.young.get_mut(&wallet).expect("what a batch meets stays for as long as the batch").number =
            number;
    }

    /// Forgets everything: what is needed again follows from the entries.
    pub(crate) fn forget(&mut self) {
        self.young.clear();
        self.old.clear();
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
        let other = |step: i128| WalletId::new(0, 1_000 + step.cast_unsigned());
        // Where a wallet stands; `None` when nothing is remembered.
        let known = |balances: &mut Balances, wallet| balances.standing(wallet, || Err(())).map(|it| it.head);
        let put = |balances: &mut Balances, wallet, head| {
            let standing: Result<_, ()> = balances.standing(wallet, || Ok(Head::EMPTY));
            standing.expect("it was read").head = head;
        };
        put(&mut balances, used, head(-1));
        for step in 0..1_000 {
            balances.begin();
            assert_eq!(known(&mut balances, used), Ok(head(step - 1)));
            put(&mut balances, used, head(step));
            assert_eq!(known(&mut balances, other(step)), Err(()));
            put(&mut balances, other(step), head(-step));
            assert!(balances.young.len() + balances.old.len() <= 8 + 2);
        }
        assert_eq!(known(&mut balances, other(0)), Err(()));
        assert_eq!(known(&mut balances, other(999)), Ok(head(-999)));
        balances.forget();
        assert_eq!((known(&mut balances, used), known(&mut balances, other(999))), (Err(()), Err(())));
    }
}
