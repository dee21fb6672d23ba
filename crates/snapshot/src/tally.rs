//! Counting of rows: the writer of a generation and its reader count with the same code.

use journal::Row;
use ledger::{Amount, Currency, Wallet};

use crate::Summary;

/// Counts of the rows of one generation and the sums of its wallets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    wallets: u64,
    agents: u64,
    /// A handful of currencies: a scan is quicker than a map.
    sums: Vec<(Currency, Amount)>,
    /// A sum left the range of an amount, which the supply bound of `ledger` rules out for honest wallets.
    overflowed: bool,
}

impl Tally {
    /// Counts one wallet row.
    pub fn wallet(&mut self, wallet: &Wallet) {
        self.wallets += 1;
        let sum = match self.sums.iter_mut().find(|(currency, _)| *currency == wallet.currency) {
            Some((_, sum)) => sum,
            None => {
                self.sums.push((wallet.currency, Amount::ZERO));
                let (_, sum) = self.sums.last_mut().expect("one was pushed");
                sum
            }
        };
        // Not `Wallet::total`, which asserts its range: the row may come from a file that was made up.
        let parts = [wallet.available, wallet.held, wallet.disputed];
        match parts.into_iter().try_fold(*sum, Amount::checked_add) {
            Some(grown) => *sum = grown,
            None => self.overflowed = true,
        }
    }

    /// Counts one agent row.
    pub fn agent(&mut self) {
        self.agents += 1;
    }

    /// Counts one decoded row.
    pub fn row(&mut self, row: &Row) {
        match row {
            Row::Wallet(_, wallet) => self.wallet(wallet),
            Row::Agent(_) => self.agent(),
            Row::Totals(..)
            | Row::Token(..)
            | Row::Service(_)
            | Row::Outages(_)
            | Row::Webhook(_)
            | Row::Budget(..)
            | Row::Claim(..)
            | Row::Spilled(_) => {}
        }
    }

    /// The summary of a generation whose rows were all counted here.
    pub fn summary(self, start: u64, covers: u64) -> Summary {
        let Tally { wallets, agents, sums, overflowed } = self;
        assert!(!overflowed, "balances stay within the supply bound");
        Summary { start, covers, wallets, agents, sums }
    }

    /// The first count or sum that `summary` states otherwise.
    pub(crate) fn contradiction(&self, summary: &Summary) -> Option<String> {
        if self.overflowed {
            return Some("its wallets hold more than there can be".to_owned());
        }
        if self.wallets != summary.wallets {
            return Some(format!("it holds {} wallets and says {}", self.wallets, summary.wallets));
        }
        if self.agents != summary.agents {
            return Some(format!("it holds {} agents and says {}", self.agents, summary.agents));
        }
        let currencies = self.sums.iter().chain(&summary.sums).map(|(currency, _)| *currency);
        currencies
            .map(|currency| (currency, sum_of(&self.sums, currency), sum_of(&summary.sums, currency)))
            .find(|(_, found, stated)| found != stated)
            .map(|(currency, found, stated)| {
                format!("its wallets hold {found} {currency} and it says {stated}")
            })
    }
}

fn sum_of(sums: &[(Currency, Amount)], currency: Currency) -> Amount {
    sums.iter().find(|(other, _)| *other == currency).map_or(Amount::ZERO, |(_, sum)| *sum)
}
