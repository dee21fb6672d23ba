//! Totals of the system accounts and of all wallets together, kept by the commit stream, so that the trial balance is
//! known at every delivered position.

use ledger::{Account, Amount, Change, Currency, SystemAccount, Totals};
use wal::Lsn;

use crate::views::{TrialBalance, TrialBalanceRow};

/// The totals and the end of the log that they include.
#[derive(Clone, Default)]
pub(crate) struct TotalsAt {
    pub(crate) system: Totals,
    /// Sum over all wallets per currency.
    pub(crate) wallets: Vec<(Currency, Amount)>,
    /// Records below this are included.
    pub(crate) end: Lsn,
}

impl TotalsAt {
    /// Posts what a record changes for its owner wallet, in `currency`.
    pub(crate) fn post_owner(&mut self, currency: Currency, change: &Change) {
        for delta in [change.available, change.held, change.disputed] {
            self.post_wallets(currency, delta);
        }
    }

    pub(crate) fn post_wallets(&mut self, currency: Currency, delta: Amount) {
        if delta == Amount::ZERO {
            return;
        }
        let index = self.wallets.iter().position(|(known, _)| *known == currency).unwrap_or_else(|| {
            self.wallets.push((currency, Amount::ZERO));
            self.wallets.len() - 1
        });
        let sum = &mut self.wallets[index].1;
        *sum = sum.checked_add(delta).expect("the supply bound keeps sums in range");
    }

    /// Sum of all wallets of a currency.
    pub(crate) fn wallets(&self, currency: Currency) -> Amount {
        self.wallets.iter().find(|(known, _)| *known == currency).map_or(Amount::ZERO, |(_, sum)| *sum)
    }

    /// Whether all accounts of every currency add up to zero.
    pub(crate) fn balanced(&self) -> bool {
        let posted = self.system.iter().map(|(currency, ..)| currency);
        let mut currencies = posted.chain(self.wallets.iter().map(|(currency, _)| *currency));
        currencies.all(|currency| {
            self.system.sum(currency).checked_add(self.wallets(currency)) == Some(Amount::ZERO)
        })
    }

    pub(crate) fn trial_balance(&self) -> TrialBalance {
        let system = self.system.iter().map(|(currency, account, sum)| TrialBalanceRow {
            currency,
            account: account.as_str(),
            sum,
        });
        let wallets = self.wallets.iter().map(|(currency, sum)| TrialBalanceRow {
            currency: *currency,
            account: "wallets",
            sum: *sum,
        });
        let mut rows: Vec<_> = system.chain(wallets).collect();
        rows.sort_by_key(|row| row.currency);
        TrialBalance { lsn: self.end.get(), rows }
    }
}

/// Account that takes what is posted to a wallet that does not exist (any more).
pub(crate) const SUSPENSE: Account = Account::System(SystemAccount::Suspense);
