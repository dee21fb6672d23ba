//! A seeded stream of commands with everything in it that goes wrong in practice.
//!
//! Retries, keys taken for something else, requests by strangers, overdrafts, amounts at the edges of rounding,
//! payees that do not exist, freezes in between, batches with duplicates inside.

use crate::{Action, Command, Item, Money, Payee, RAILS, Random};

/// Retries and conflicts refer to one of this many recent commands, so that memory stays bounded.
const RECENT_COMMANDS: usize = 64;
const CURRENCIES: [&str; 2] = ["USD", "EUR"];

/// Shape of a workload, and the rules that model and ledger are both given.
#[derive(Clone, Debug)]
pub struct Config {
    /// At least two per currency, so that everybody has somebody to pay.
    pub wallets: usize,
    pub agents: usize,
    /// Items of the largest batch.
    pub batch_items_max: usize,
    /// Basis points of every rail.
    pub fee_basis_points: u32,
    /// Most that one wallet gets from the faucet, in nanos.
    pub faucet_cap: Money,
    /// Arrival of the first command, UTC milliseconds.
    pub start: i64,
    /// Longest pause between two commands in milliseconds.
    pub pause_ms_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            wallets: 12,
            agents: 4,
            batch_items_max: 12,
            fee_basis_points: 40,
            faucet_cap: 1_000_000_000_000,
            start: 1_790_000_000_000,
            pause_ms_max: 20,
        }
    }
}

impl Config {
    /// Index of the agent who owns a wallet.
    pub fn agent_of(&self, wallet: usize) -> usize {
        wallet % self.agents
    }

    /// Currency of a wallet: a quarter are in euro.
    pub fn currency_of(&self, wallet: usize) -> &'static str {
        CURRENCIES[usize::from(wallet % 4 == 3)]
    }

    /// The rules of the `ledger` crate that correspond.
    pub fn rules(&self) -> ledger::Rules {
        let fees = ledger::Rail::ALL
            .into_iter()
            .fold(ledger::FeeSchedule::default(), |fees, rail| fees.with(rail, self.fee_basis_points));
        let faucet_cap = ledger::Amount::from_nanos(self.faucet_cap);
        ledger::Rules { fees, faucet_cap, ..ledger::Rules::default() }
    }
}

/// An endless stream of commands; equal seeds and configs give equal streams.
#[derive(Clone, Debug)]
pub struct Workload {
    random: Random,
    config: Config,
    recent: Vec<Command>,
    now: i64,
    keys: u64,
}

impl Workload {
    pub fn new(seed: u64, config: Config) -> Self {
        assert!(
            config.wallets >= 8 && config.agents >= 2,
            "two wallets per currency and two agents are needed"
        );
        assert!(config.batch_items_max >= 1, "a batch has items");
        let now = config.start;
        Self { random: Random::new(seed), config, recent: Vec::new(), now, keys: 0 }
    }

    /// The next command. The stream has no end.
    #[expect(clippy::should_implement_trait, reason = "an iterator would wrap a command that always comes")]
    pub fn next(&mut self) -> Command {
        let pause = self.random.below(self.config.pause_ms_max + 1);
        self.now = self.now.saturating_add_unsigned(pause);
        let command = match self.random.below(100) {
            0..8 if !self.recent.is_empty() => self.retry(),
            0..12 if !self.recent.is_empty() => self.conflict(),
            _ => self.fresh(),
        };
        if self.recent.len() < RECENT_COMMANDS {
            self.recent.push(command.clone());
        } else {
            let place = self.random.index(RECENT_COMMANDS);
            self.recent[place] = command.clone();
        }
        command
    }

    /// An earlier command again, word for word, or one item of an earlier batch as a payment of its own.
    fn retry(&mut self) -> Command {
        let mut command = self.random.pick(&self.recent).clone();
        command.at = self.now;
        if let Action::Batch { items, .. } = &command.action
            && self.random.chance(50)
        {
            let item = self.random.pick(items).clone();
            command.caller = self.config.agent_of(command.wallet);
            command.action = Action::Pay(item);
        }
        command
    }

    /// An earlier key for a request of another meaning.
    fn conflict(&mut self) -> Command {
        let mut command = self.retry();
        match &mut command.action {
            Action::Fund { amount, .. } => *amount += 1,
            Action::Pay(item) => item.amount += 1,
            Action::Batch { items, atomic, .. } => match items.first_mut() {
                Some(item) => item.amount += 1,
                None => *atomic = !*atomic,
            },
            Action::Freeze => command.action = Action::Unfreeze,
            Action::Unfreeze => command.action = Action::Freeze,
        }
        command
    }

    fn fresh(&mut self) -> Command {
        let wallet = self.random.index(self.config.wallets);
        let owner = self.config.agent_of(wallet);
        let action = match self.random.below(100) {
            0..22 => Action::Fund { amount: self.amount(), key: self.key() },
            22..72 => Action::Pay(self.item(wallet)),
            72..88 => self.batch(wallet),
            88..92 => Action::Freeze,
            _ => Action::Unfreeze,
        };
        // A stranger asks only for what would be fine otherwise: which of two refusals such a request gets depends on
        // where it is checked first.
        let stranger = self.random.chance(3) && !self.refused_on_arrival(wallet, &action);
        let caller = if stranger { (owner + 1) % self.config.agents } else { owner };
        Command { caller, wallet, action, at: self.now }
    }

    fn refused_on_arrival(&self, payer: usize, action: &Action) -> bool {
        let currency = |wallet| self.config.currency_of(wallet);
        match action {
            Action::Pay(Item { payee: Payee::Nobody, .. }) => true,
            Action::Pay(Item { payee: Payee::Wallet(payee), .. }) => currency(*payee) != currency(payer),
            _ => false,
        }
    }

    fn batch(&mut self, payer: usize) -> Action {
        let count = 1 + self.random.index(self.config.batch_items_max);
        let mut items: Vec<Item> = (0..count).map(|_| self.item(payer)).collect();
        if self.random.chance(30) {
            let (from, to) = (self.random.index(count), self.random.index(count));
            items[to] = items[from].clone();
        }
        Action::Batch { items, atomic: self.random.chance(40), key: self.key() }
    }

    fn item(&mut self, payer: usize) -> Item {
        let payee = self.payee(payer);
        let description = self.random.chance(20).then(|| format!("note {}", self.random.below(1_000)));
        let rail = if self.random.chance(3) { *self.random.pick(&RAILS) } else { RAILS[0] };
        let currency = self.random.chance(20).then(|| *self.random.pick(&CURRENCIES));
        Item { payee, amount: self.amount(), currency, rail, description, key: self.key() }
    }

    fn payee(&mut self, payer: usize) -> Payee {
        match self.random.below(100) {
            0..3 => Payee::Nobody,
            3..6 => Payee::Wallet(payer),
            6..12 => Payee::Wallet(self.random.index(self.config.wallets)),
            12..25 => Payee::External(format!("merchant:{}", self.random.below(5))),
            _ => {
                // Steps of four stay within the currency.
                let steps = 1 + self.random.index(self.config.wallets / 4 - 1);
                let payee = (payer + 4 * steps) % (self.config.wallets / 4 * 4);
                Payee::Wallet(payee)
            }
        }
    }

    fn amount(&mut self) -> Money {
        match self.random.below(100) {
            0..3 => 0,
            3..5 => -1,
            5..8 => 999_999_999_999_999_999_999_999_999 + Money::from(self.random.below(2)),
            8..30 => Money::from(1 + self.random.below(2_000)),
            30..80 => Money::from(1 + self.random.below(20_000_000_000)),
            _ => Money::from(1 + self.random.below(200)) * 1_000_000_000,
        }
    }

    fn key(&mut self) -> Option<String> {
        self.random.chance(60).then(|| {
            self.keys += 1;
            format!("key-{}", self.keys)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Model, ModelOutcome};
    use std::collections::BTreeMap;

    #[test]
    fn equal_seeds_give_equal_streams() {
        let commands = |seed| {
            let mut workload = Workload::new(seed, Config::default());
            (0..500).map(|_| workload.next()).collect::<Vec<Command>>()
        };
        assert_eq!(commands(1), commands(1));
        assert_ne!(commands(1), commands(2));
    }

    /// A workload that never reached a refusal would test nothing of it.
    #[test]
    fn every_kind_of_outcome_occurs() {
        let config = Config::default();
        let (mut workload, mut model) = (Workload::new(7, config.clone()), Model::new(&config));
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for _ in 0..20_000 {
            let name = match model.apply(&workload.next()) {
                ModelOutcome::Funded { .. } => "funded",
                ModelOutcome::Paid { .. } => "paid",
                ModelOutcome::Batch(_) => "batch",
                ModelOutcome::StatusChanged => "status_changed",
                ModelOutcome::Denied(name) => name,
                ModelOutcome::AtomicDenied { .. } => "atomic_denied",
                ModelOutcome::Replayed { .. } => "replayed",
                ModelOutcome::ReplayedItem { .. } => "replayed_item",
            };
            *seen.entry(name).or_insert(0) += 1;
        }
        for name in [
            "funded",
            "paid",
            "batch",
            "status_changed",
            "atomic_denied",
            "replayed",
            "replayed_item",
            "unknown_wallet",
            "key_conflict",
            "unknown_payee",
            "same_wallet",
            "currency_mismatch",
            "settlement_not_configured",
            "wallet_frozen",
            "amount_not_positive",
            "amount_too_large",
            "faucet_cap",
            "insufficient_balance",
            "wrong_status",
        ] {
            assert!(seen.contains_key(name), "{name} is missing in {seen:?}");
        }
        assert!(seen["paid"] > 2_000, "most payments of a good workload pass: {seen:?}");
    }
}
