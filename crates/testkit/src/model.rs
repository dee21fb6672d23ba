//! A naive ledger: maps and loops, written from the published rules and from nothing else.
//!
//! It takes effect at once and forgets nothing: no positions, no log, no generations of keys.

use std::collections::BTreeMap;

use crate::{Action, Command, Config, Item, Money, Payee};

/// Largest amount of one command: 18 integer digits and 9 decimals.
const LARGEST: Money = 999_999_999_999_999_999_999_999_999;

#[derive(Clone, Debug)]
pub struct Model {
    wallets: Vec<ModelWallet>,
    accounts: BTreeMap<(&'static str, Account), Money>,
    keys: BTreeMap<(usize, Route, String), Use>,
    fee_basis_points: Money,
    faucet_cap: Money,
    commands: usize,
}

#[derive(Clone, Eq, PartialEq, Debug)]
pub struct ModelWallet {
    pub agent: usize,
    pub currency: &'static str,
    pub available: Money,
    pub frozen: bool,
    pub drawn: Money,
}

/// Where money is when it is in no wallet.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Debug)]
pub enum Account {
    Faucet,
    Fees,
    External,
}

/// What a command must answer. Refusals go by name.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum ModelOutcome {
    Funded {
        available: Money,
    },
    Paid {
        fee: Money,
        available: Money,
    },
    Batch(Vec<ItemResult>),
    StatusChanged,
    Denied(&'static str),
    /// An atomic batch was refused for its item `item`.
    AtomicDenied {
        item: usize,
        because: &'static str,
    },
    /// Answered as the command with this number was, counted from 0.
    Replayed {
        command: usize,
    },
    /// Answered as that item of that earlier batch was.
    ReplayedItem {
        command: usize,
        item: usize,
    },
}

#[derive(Clone, Eq, PartialEq, Debug)]
pub enum ItemResult {
    Paid {
        fee: Money,
        available: Money,
    },
    Denied(&'static str),
    /// Paid before: by a single payment (item 0) or by an item of a batch.
    Replayed {
        command: usize,
        item: usize,
    },
    /// Paid by an earlier item of the same batch.
    Repeated {
        item: usize,
    },
}

#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Debug)]
enum Route {
    Payment,
    Batch,
    Fund,
}

/// First use of a key.
#[derive(Clone, Debug)]
struct Use {
    command: usize,
    /// `None` for the command as a whole.
    item: Option<usize>,
    fingerprint: u64,
}

enum Known {
    New,
    Conflict,
    Use(Use),
}

impl Model {
    pub fn new(config: &Config) -> Self {
        let wallet = |index| ModelWallet {
            agent: config.agent_of(index),
            currency: config.currency_of(index),
            available: 0,
            frozen: false,
            drawn: 0,
        };
        Self {
            wallets: (0..config.wallets).map(wallet).collect(),
            accounts: BTreeMap::new(),
            keys: BTreeMap::new(),
            fee_basis_points: Money::from(config.fee_basis_points),
            faucet_cap: config.faucet_cap,
            commands: 0,
        }
    }

    /// Carries out the next command.
    pub fn apply(&mut self, command: &Command) -> ModelOutcome {
        let number = self.commands;
        self.commands += 1;
        if self.wallets[command.wallet].agent != command.caller {
            return ModelOutcome::Denied("unknown_wallet");
        }
        match &command.action {
            Action::Fund { amount, key } => self.fund(number, command, *amount, key.as_deref()),
            Action::Pay(item) => self.pay(number, command.wallet, item),
            Action::Batch { items, atomic, key } => {
                self.batch(number, command, items, *atomic, key.as_deref())
            }
            Action::Freeze => self.set_frozen(command.wallet, true),
            Action::Unfreeze => self.set_frozen(command.wallet, false),
        }
    }

    /// What every wallet can spend, by index.
    pub fn balances(&self) -> Vec<Money> {
        self.wallets.iter().map(|wallet| wallet.available).collect()
    }

    pub fn wallets(&self) -> &[ModelWallet] {
        &self.wallets
    }

    pub fn account(&self, currency: &'static str, account: Account) -> Money {
        self.accounts.get(&(currency, account)).copied().unwrap_or(0)
    }

    /// What an item would pay on top of its amount.
    pub fn fee(&self, amount: Money) -> Money {
        let scaled = amount * self.fee_basis_points;
        scaled / 10_000 + Money::from(scaled % 10_000 >= 5_000)
    }

    /// Commands carried out so far.
    pub fn commands(&self) -> usize {
        self.commands
    }

    fn fund(&mut self, number: usize, command: &Command, amount: Money, key: Option<&str>) -> ModelOutcome {
        let fingerprint = command.action.fingerprint();
        match self.known(command.wallet, Route::Fund, key, fingerprint) {
            Known::New => {}
            Known::Conflict => return ModelOutcome::Denied("key_conflict"),
            Known::Use(first) => return ModelOutcome::Replayed { command: first.command },
        }
        if amount <= 0 {
            return ModelOutcome::Denied("amount_not_positive");
        }
        if amount > LARGEST {
            return ModelOutcome::Denied("amount_too_large");
        }
        let wallet = &mut self.wallets[command.wallet];
        if wallet.drawn + amount > self.faucet_cap {
            return ModelOutcome::Denied("faucet_cap");
        }
        wallet.drawn += amount;
        wallet.available += amount;
        let (currency, available) = (wallet.currency, wallet.available);
        self.add(currency, Account::Faucet, -amount);
        self.remember(command.wallet, Route::Fund, key, Use { command: number, item: None, fingerprint });
        ModelOutcome::Funded { available }
    }

    fn pay(&mut self, number: usize, payer: usize, item: &Item) -> ModelOutcome {
        match self.known(payer, Route::Payment, item.key.as_deref(), item.fingerprint()) {
            Known::New => {}
            Known::Conflict => return ModelOutcome::Denied("key_conflict"),
            Known::Use(first) => {
                return match first.item {
                    None => ModelOutcome::Replayed { command: first.command },
                    Some(item) => ModelOutcome::ReplayedItem { command: first.command, item },
                };
            }
        }
        if let Some(name) = self.refusal(payer, item) {
            return ModelOutcome::Denied(name);
        }
        let (fee, available) = self.transfer(payer, item);
        let first = Use { command: number, item: None, fingerprint: item.fingerprint() };
        self.remember(payer, Route::Payment, item.key.as_deref(), first);
        ModelOutcome::Paid { fee, available }
    }

    fn batch(
        &mut self,
        number: usize,
        command: &Command,
        items: &[Item],
        atomic: bool,
        key: Option<&str>,
    ) -> ModelOutcome {
        let payer = command.wallet;
        let fingerprint = command.action.fingerprint();
        match self.known(payer, Route::Batch, key, fingerprint) {
            Known::New => {}
            Known::Conflict => return ModelOutcome::Denied("key_conflict"),
            Known::Use(first) => return ModelOutcome::Replayed { command: first.command },
        }
        let before = self.clone();
        let mut results = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let result = self.batch_item(number, payer, index, item);
            if let ItemResult::Denied(because) = result
                && atomic
            {
                let commands = self.commands;
                *self = Model { commands, ..before };
                return ModelOutcome::AtomicDenied { item: index, because };
            }
            results.push(result);
        }
        self.remember(payer, Route::Batch, key, Use { command: number, item: None, fingerprint });
        ModelOutcome::Batch(results)
    }

    fn batch_item(&mut self, number: usize, payer: usize, index: usize, item: &Item) -> ItemResult {
        match self.known(payer, Route::Payment, item.key.as_deref(), item.fingerprint()) {
            Known::New => {}
            Known::Conflict => return ItemResult::Denied("key_conflict"),
            Known::Use(first) if first.command == number => {
                return ItemResult::Repeated { item: first.item.unwrap_or(0) };
            }
            Known::Use(first) => {
                return ItemResult::Replayed { command: first.command, item: first.item.unwrap_or(0) };
            }
        }
        if let Some(name) = self.refusal(payer, item) {
            return ItemResult::Denied(name);
        }
        let (fee, available) = self.transfer(payer, item);
        let first = Use { command: number, item: Some(index), fingerprint: item.fingerprint() };
        self.remember(payer, Route::Payment, item.key.as_deref(), first);
        ItemResult::Paid { fee, available }
    }

    fn set_frozen(&mut self, wallet: usize, frozen: bool) -> ModelOutcome {
        if self.wallets[wallet].frozen == frozen {
            return ModelOutcome::Denied("wrong_status");
        }
        self.wallets[wallet].frozen = frozen;
        ModelOutcome::StatusChanged
    }

    fn refusal(&self, payer: usize, item: &Item) -> Option<&'static str> {
        let wallet = &self.wallets[payer];
        let other_currency = |payee: &usize| self.wallets[*payee].currency != wallet.currency;
        match &item.payee {
            Payee::Nobody => return Some("unknown_payee"),
            Payee::Wallet(payee) if *payee == payer => return Some("same_wallet"),
            Payee::Wallet(payee) if other_currency(payee) => return Some("currency_mismatch"),
            Payee::Wallet(_) | Payee::External(_) => {}
        }
        if item.currency.is_some_and(|currency| currency != wallet.currency) {
            return Some("currency_mismatch");
        }
        if item.rail != "internal" {
            return Some("settlement_not_configured");
        }
        if wallet.frozen {
            return Some("wallet_frozen");
        }
        if item.amount <= 0 {
            return Some("amount_not_positive");
        }
        if item.amount > LARGEST {
            return Some("amount_too_large");
        }
        (item.amount + self.fee(item.amount) > wallet.available).then_some("insufficient_balance")
    }

    /// Moves the money of an item that nothing refuses: its fee, and what the payer has left.
    fn transfer(&mut self, payer: usize, item: &Item) -> (Money, Money) {
        let fee = self.fee(item.amount);
        let currency = self.wallets[payer].currency;
        self.wallets[payer].available -= item.amount + fee;
        match &item.payee {
            Payee::Wallet(payee) => self.wallets[*payee].available += item.amount,
            Payee::External(_) => self.add(currency, Account::External, item.amount),
            Payee::Nobody => unreachable!("nobody is refused"),
        }
        self.add(currency, Account::Fees, fee);
        (fee, self.wallets[payer].available)
    }

    fn add(&mut self, currency: &'static str, account: Account, amount: Money) {
        *self.accounts.entry((currency, account)).or_insert(0) += amount;
    }

    fn known(&self, wallet: usize, route: Route, key: Option<&str>, fingerprint: u64) -> Known {
        let Some(key) = key else { return Known::New };
        match self.keys.get(&(wallet, route, key.to_owned())) {
            None => Known::New,
            Some(first) if first.fingerprint == fingerprint => Known::Use(first.clone()),
            Some(_) => Known::Conflict,
        }
    }

    fn remember(&mut self, wallet: usize, route: Route, key: Option<&str>, first: Use) {
        if let Some(key) = key {
            self.keys.insert((wallet, route, key.to_owned()), first);
        }
    }
}

#[cfg(test)]
mod tests;
