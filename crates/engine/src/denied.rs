//! Which denials of policies were recorded lately: at most one per wallet, rule and second is, because somebody who is
//! refused may try again at once. Kept in memory only; a restart may record one more.

use std::collections::HashMap;

use ledger::{PolicyRule, Timestamp, WalletId};
use parking_lot::Mutex;

/// Entries at which those of earlier seconds are dropped.
const ENTRIES_MANY: usize = 4_096;

#[derive(Default)]
pub(crate) struct DeniedLately(Mutex<HashMap<(WalletId, PolicyRule), i64>>);

impl DeniedLately {
    /// Whether this denial is the first of its second.
    pub(crate) fn is_first(&self, wallet: WalletId, rule: PolicyRule, at: Timestamp) -> bool {
        let second = at.millis().div_euclid(1_000);
        let mut last = self.0.lock();
        if last.len() >= ENTRIES_MANY {
            last.retain(|_, denied| *denied == second);
        }
        last.insert((wallet, rule), second) != Some(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_per_wallet_rule_and_second() {
        let denied = DeniedLately::default();
        let first = |wallet, rule, millis| {
            denied.is_first(WalletId::from_raw(wallet), rule, Timestamp::from_millis(millis))
        };
        assert!(first(1, PolicyRule::Limits, 1_000) && !first(1, PolicyRule::Limits, 1_999));
        assert!(first(2, PolicyRule::Limits, 1_999) && first(1, PolicyRule::MaxPayments, 1_999));
        assert!(first(1, PolicyRule::Limits, 2_000));
        for wallet in 10..10_000 {
            assert!(first(wallet, PolicyRule::Limits, 1_000 * i64::try_from(wallet).expect("small")));
        }
        assert!(denied.0.lock().len() <= ENTRIES_MANY);
    }
}
