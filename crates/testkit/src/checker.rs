//! Compares what a ledger shows with what the model expects.
//!
//! It checks balances, freezes and totals. It does not check answers, positions or keys: tests compare those where
//! they get them.

use ledger::{Amount, Currency, SystemAccount, Totals, Wallet, WalletStatus};

use crate::{Account, Model, Money};

/// What a ledger shows of one wallet.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Reading {
    pub available: Amount,
    pub held: Amount,
    pub disputed: Amount,
    pub frozen: bool,
}

impl From<&Wallet> for Reading {
    fn from(wallet: &Wallet) -> Self {
        Self {
            available: wallet.available,
            held: wallet.held,
            disputed: wallet.disputed,
            frozen: wallet.status == WalletStatus::Frozen,
        }
    }
}

/// Every difference between the model and a ledger's readings, wallets in the order of their indexes; empty when they
/// agree and the books add up: wallets and system accounts together make zero in every currency.
pub fn differences(model: &Model, readings: &[Reading], totals: &Totals) -> Vec<String> {
    let mut found = Vec::new();
    let mut note = |what: String, expected: Money, shown: Money| {
        if expected != shown {
            found.push(format!("{what}: expected {expected}, found {shown}"));
        }
    };
    note("wallets".to_owned(), count(model.wallets().len()), count(readings.len()));
    for (index, (wallet, reading)) in model.wallets().iter().zip(readings).enumerate() {
        note(format!("wallet {index} available"), wallet.available, reading.available.nanos());
        note(format!("wallet {index} held"), 0, reading.held.nanos());
        note(format!("wallet {index} disputed"), 0, reading.disputed.nanos());
        note(format!("wallet {index} frozen"), Money::from(wallet.frozen), Money::from(reading.frozen));
    }
    for name in ["USD", "EUR"] {
        let currency = Currency::parse(name).expect("a real currency");
        for (account, system) in [
            (Account::Faucet, SystemAccount::Faucet),
            (Account::Fees, SystemAccount::Fees),
            (Account::External, SystemAccount::External),
        ] {
            let shown = totals.get(currency, system).nanos();
            note(format!("{name} {}", system.as_str()), model.account(name, account), shown);
        }
        note(format!("{name} suspense"), 0, totals.get(currency, SystemAccount::Suspense).nanos());
        let in_wallets: Money = model
            .wallets()
            .iter()
            .zip(readings)
            .filter(|(wallet, _)| wallet.currency == name)
            .map(|(_, reading)| reading.available.nanos() + reading.held.nanos() + reading.disputed.nanos())
            .sum();
        note(format!("{name} trial balance"), 0, in_wallets + totals.sum(currency).nanos());
    }
    found
}

fn count(length: usize) -> Money {
    Money::try_from(length).expect("a count fits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Command, Config};
    use ledger::{Account as LedgerAccount, Posting};

    /// A model in which wallet 0 was funded with 100, and the readings and totals that agree with it.
    fn funded() -> (Model, Vec<Reading>, Totals) {
        let config = Config::default();
        let mut model = Model::new(&config);
        let action = Action::Fund { amount: 100, key: None };
        model.apply(&Command { caller: 0, wallet: 0, action, at: 0 });
        let zero = Amount::ZERO;
        let mut readings =
            vec![Reading { available: zero, held: zero, disputed: zero, frozen: false }; config.wallets];
        readings[0].available = Amount::from_nanos(100);
        let mut totals = Totals::default();
        let (account, delta) = (LedgerAccount::System(SystemAccount::Faucet), Amount::from_nanos(-100));
        totals.post(&Posting::spendable(account, Currency::USD, delta, 0));
        (model, readings, totals)
    }

    #[test]
    fn agreement_leaves_nothing_to_say() {
        let (model, readings, totals) = funded();
        assert_eq!(differences(&model, &readings, &totals), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_named() {
        let (model, mut readings, totals) = funded();
        readings[0].available = Amount::from_nanos(99);
        readings[1].frozen = true;
        let found = differences(&model, &readings, &totals);
        let expected = [
            "wallet 0 available: expected 100, found 99",
            "wallet 1 frozen: expected 0, found 1",
            "USD trial balance: expected 0, found -1",
        ];
        assert_eq!(found, expected);
        let (model, readings, _) = funded();
        let found = differences(&model, &readings[1..], &Totals::default());
        assert!(found.contains(&"wallets: expected 12, found 11".to_owned()), "{found:?}");
        assert!(found.contains(&"USD faucet: expected -100, found 0".to_owned()), "{found:?}");
    }
}
