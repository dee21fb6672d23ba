//! The engine against the naive model (T13): the same commands, one after the other, with restarts, crashes, snapshots
//! and rests in between. Every answer and every balance is compared, the books add up after every step.

use std::time::Duration;

use engine::{Answer, PayBatch, PaymentFilter, PaymentReceipt, Refusal, TimeRange, Transaction};
use ledger::{
    BatchItem, Currency, Denial, FundCommand, KeyUse, PayCommand, Rail, SystemAccount, Timestamp, Totals,
    WalletId, WalletStatus,
};
use testkit::{
    Action, Command, Config, Ids, Item, ItemResult, Model, ModelOutcome, Payee, Random, Reading, Workload,
    differences,
};
use wal::testing::FaultyStorage;

use crate::harness::{Node, Party, Setup, denial, eventually, external, page, usd};

const STEPS: usize = 1_500;

type ItemAnswer = Result<Answer<PaymentReceipt>, Refusal>;

/// What the engine answered to a command that left a record.
enum Stored {
    Nothing,
    Funding(engine::FundReceipt),
    Payment(PaymentReceipt),
    Batch(Vec<ItemAnswer>),
}

struct Story {
    config: Config,
    disk: FaultyStorage,
    setup: Setup,
    /// `None` between two lives.
    node: Option<Node>,
    ids: Ids,
    model: Model,
    /// Answers by the number of their command.
    stored: Vec<Stored>,
    /// Every payment made, oldest first.
    paid: Vec<PaymentReceipt>,
}

impl Story {
    /// With room for `keys_in_memory` idempotency keys; others are on disk.
    fn begin(config: Config, keys_in_memory: u64) -> Self {
        let disk = FaultyStorage::new();
        let setup =
            Setup::new(disk.clone()).with_history().with_keys_on_disk(keys_in_memory).tuned(|options| {
                options.rules = config.rules();
                options.idle_after = Duration::from_millis(3);
            });
        let node = setup.start();
        let owners: Vec<Party> =
            (0..config.agents).map(|index| node.party(&format!("agent {index}"))).collect();
        let wallet = |index| {
            let currency = Currency::parse(config.currency_of(index)).expect("a currency");
            node.another(&owners[config.agent_of(index)], currency).wallet
        };
        let wallets = (0..config.wallets).map(wallet).collect();
        let ids = Ids::given(&config, owners.iter().map(Party::id).collect(), wallets);
        let model = Model::new(&config);
        Self { config, disk, setup, node: Some(node), ids, model, stored: Vec::new(), paid: Vec::new() }
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("alive")
    }

    /// The wallet with its owner as the caller.
    fn owner(&self, wallet: usize) -> Party {
        Party::new(self.ids.agents[self.config.agent_of(wallet)], self.ids.wallets[wallet])
    }

    fn payee(&self, payee: &Payee) -> ledger::Payee {
        match payee {
            Payee::Wallet(index) => ledger::Payee::Wallet(self.ids.wallets[*index]),
            Payee::Nobody => ledger::Payee::Wallet(WalletId::new(0, 1)),
            Payee::External(label) => external(label),
        }
    }

    fn pay_command(&self, command: &Command, item: &Item) -> PayCommand {
        PayCommand {
            caller: self.ids.agents[command.caller],
            payer: self.ids.wallets[command.wallet],
            payee: self.payee(&item.payee),
            payee_agent: None,
            amount: usd(item.amount),
            currency: item.currency.map(|code| Currency::parse(code).expect("a currency")),
            rail: Rail::parse(item.rail).expect("a rail"),
            description: item.description.as_deref().map(Box::from),
            metadata: None,
            key: key_use(item.key.as_deref(), item.fingerprint()),
            agent_terms: None,
            at: Timestamp::from_millis(command.at),
        }
    }

    fn batch_item(&self, command: &Command, item: &Item) -> (WalletId, BatchItem) {
        let pay = self.pay_command(command, item);
        let PayCommand {
            payer, payee, payee_agent, amount, currency, rail, description, metadata, key, ..
        } = pay;
        let refused = None;
        (payer, BatchItem { payee, payee_agent, amount, currency, rail, description, metadata, key, refused })
    }

    /// Carries out the next command on both sides.
    fn submit(&mut self, command: &Command) {
        self.setup.clock.set(command.at);
        let expected = self.model.apply(command);
        let caller = Party::new(self.ids.agents[command.caller], self.ids.wallets[command.wallet]);
        let at = Timestamp::from_millis(command.at);
        let stored = match &command.action {
            Action::Fund { amount, key } => {
                let (wallet, key) = (caller.wallet, key_use(key.as_deref(), command.action.fingerprint()));
                let fund = FundCommand { caller: caller.id(), wallet, amount: usd(*amount), key, at };
                let outcome = self.node().run(self.node().engine.fund(&caller.caller, fund));
                self.check_funding(&expected, outcome)
            }
            Action::Pay(item) => {
                let pay = self.pay_command(command, item);
                let tried = self.node().run(self.node().engine.dry_run(&caller.caller, pay.clone()));
                let outcome = self.node().run(self.node().engine.pay(&caller.caller, pay));
                match (&tried, &outcome) {
                    (Ok(tried), Ok(answer)) => assert_eq!(tried, &*answer.value.payment),
                    (tried, outcome) => assert_eq!(tried.as_ref().err(), outcome.as_ref().err()),
                }
                self.check_payment(&expected, outcome)
            }
            Action::Batch { items, atomic, key } => {
                let items = items.iter().map(|item| self.batch_item(command, item)).collect();
                let key = key_use(key.as_deref(), command.action.fingerprint());
                let batch = PayBatch { items, atomic: *atomic, key, at };
                let outcome = self.node().run(self.node().engine.pay_batch(&caller.caller, batch));
                self.check_batch(&expected, outcome)
            }
            Action::Freeze => self.check_status(&expected, &caller, WalletStatus::Frozen, at),
            Action::Unfreeze => self.check_status(&expected, &caller, WalletStatus::Active, at),
        };
        self.stored.push(stored);
        self.check_wallet(command.wallet);
        self.node().check_trial_balance();
    }

    fn check_funding(
        &self,
        expected: &ModelOutcome,
        outcome: Result<Answer<engine::FundReceipt>, Refusal>,
    ) -> Stored {
        match (expected, outcome) {
            (ModelOutcome::Funded { available }, Ok(Answer { value, replayed: false })) => {
                assert_eq!(value.funding.balance_after.available, usd(*available));
                Stored::Funding(value)
            }
            (ModelOutcome::Replayed { command }, Ok(Answer { value, replayed: true })) => {
                assert!(matches!(&self.stored[*command], Stored::Funding(first) if *first == value));
                Stored::Nothing
            }
            (expected, outcome) => refused(expected, outcome),
        }
    }

    fn check_payment(&mut self, expected: &ModelOutcome, outcome: ItemAnswer) -> Stored {
        match (expected, outcome) {
            (ModelOutcome::Paid { fee, available }, Ok(Answer { value, replayed: false })) => {
                self.check_receipt(&value, *fee, *available);
                self.paid.push(value.clone());
                Stored::Payment(value)
            }
            (ModelOutcome::Replayed { command }, Ok(Answer { value, replayed: true })) => {
                assert_eq!(&value, self.receipt(*command, 0));
                Stored::Nothing
            }
            (ModelOutcome::ReplayedItem { command, item }, Ok(Answer { value, replayed: true })) => {
                assert_eq!(&value, self.receipt(*command, *item));
                Stored::Nothing
            }
            (expected, outcome) => refused(expected, outcome),
        }
    }

    fn check_batch(
        &mut self,
        expected: &ModelOutcome,
        outcome: Result<Answer<Vec<ItemAnswer>>, Refusal>,
    ) -> Stored {
        match (expected, outcome) {
            (ModelOutcome::Batch(results), Ok(Answer { value, replayed: false })) => {
                assert_eq!(results.len(), value.len());
                for (index, result) in results.iter().enumerate() {
                    self.check_item(result, &value, index);
                }
                Stored::Batch(value)
            }
            (ModelOutcome::Replayed { command }, Ok(Answer { value, replayed: true })) => {
                assert!(matches!(&self.stored[*command], Stored::Batch(first) if *first == value));
                Stored::Nothing
            }
            (ModelOutcome::AtomicDenied { item, because }, Err(Refusal::Denied(found))) => {
                let Denial::AtomicBatch { item: found_item, because: found } = found else {
                    panic!("expected an atomic refusal, got {found:?}")
                };
                assert_eq!((*item as u64, *because), (u64::from(found_item), found.name()));
                Stored::Nothing
            }
            (expected, outcome) => refused(expected, outcome),
        }
    }

    fn check_item(&mut self, expected: &ItemResult, answers: &[ItemAnswer], index: usize) {
        match (expected, &answers[index]) {
            (ItemResult::Paid { fee, available }, Ok(Answer { value, replayed: false })) => {
                self.check_receipt(value, *fee, *available);
                self.paid.push(value.clone());
            }
            (ItemResult::Denied(name), Err(Refusal::Denied(found))) => assert_eq!(found.name(), *name),
            (ItemResult::Replayed { command, item }, Ok(Answer { value, replayed: true })) => {
                assert_eq!(value, self.receipt(*command, *item));
            }
            (ItemResult::Repeated { item }, Ok(Answer { value, replayed: true })) => {
                assert_eq!(value, &answers[*item].as_ref().expect("paid").value);
            }
            (expected, found) => panic!("item {index}: expected {expected:?}, got {found:?}"),
        }
    }

    fn check_status(
        &self,
        expected: &ModelOutcome,
        caller: &Party,
        wanted: WalletStatus,
        at: Timestamp,
    ) -> Stored {
        let set = self.node().engine.set_status(&caller.caller, caller.wallet, wanted, at);
        match (expected, self.node().run(set)) {
            (ModelOutcome::StatusChanged, Ok(view)) => {
                assert_eq!(view.status, wanted);
                Stored::Nothing
            }
            (expected, outcome) => refused(expected, outcome),
        }
    }

    /// A payment that was just made: its figures, and that both sides find it.
    fn check_receipt(&self, receipt: &PaymentReceipt, fee: i128, available: i128) {
        let payment = &receipt.payment;
        assert_eq!((payment.fee, payment.balance_after.available), (usd(fee), usd(available)));
        let mut sides = vec![payment.payer];
        if let ledger::Payee::Wallet(payee) = payment.payee {
            sides.push(payee);
        }
        for side in sides {
            let index = self.ids.wallet_index(side).expect("a wallet of the story");
            let found = self.node().run(self.node().engine.transaction(self.owner(index).id(), receipt.id));
            assert_eq!(found, Ok(Transaction::Payment(receipt.clone())));
        }
    }

    fn receipt(&self, command: usize, item: usize) -> &PaymentReceipt {
        match &self.stored[command] {
            Stored::Payment(receipt) if item == 0 => receipt,
            Stored::Batch(items) => &items[item].as_ref().expect("a key leads to what was paid").value,
            _ => panic!("command {command} made no payment"),
        }
    }

    fn check_wallet(&self, wallet: usize) {
        let (view, expected) = (self.node().wallet(&self.owner(wallet)), &self.model.wallets()[wallet]);
        assert_eq!(view.available, usd(expected.available), "wallet {wallet}");
        assert_eq!(view.status == WalletStatus::Frozen, expected.frozen, "wallet {wallet}");
    }

    /// Everything that the model knows.
    fn check_all(&self) {
        let reading = |wallet| {
            let view = self.node().wallet(&self.owner(wallet));
            let frozen = view.status == WalletStatus::Frozen;
            Reading { available: view.available, held: view.held, disputed: view.disputed, frozen }
        };
        let readings: Vec<Reading> = (0..self.config.wallets).map(reading).collect();
        let rows = self.node().engine.trial_balance().rows;
        let totals = Totals::restore(rows.into_iter().filter_map(|row| {
            let account = SystemAccount::ALL.into_iter().find(|account| account.as_str() == row.account)?;
            Some((row.currency, account, row.sum))
        }));
        assert_eq!(differences(&self.model, &readings, &totals), Vec::<String>::new());
        assert_eq!(self.node().engine.gauges().in_flight, 0);
    }

    /// Lists and statements of everybody (T16): asked after the data is there.
    fn check_lists(&self) {
        let all = page(100_000);
        for (agent, id) in self.ids.agents.iter().enumerate() {
            let is_theirs = |wallet: WalletId| {
                self.ids.wallet_index(wallet).is_some_and(|index| self.config.agent_of(index) == agent)
            };
            let involved = |receipt: &&PaymentReceipt| {
                let received =
                    matches!(receipt.payment.payee, ledger::Payee::Wallet(payee) if is_theirs(payee));
                received || is_theirs(receipt.payment.payer)
            };
            let listed = self.node().run(self.node().engine.payments(*id, PaymentFilter::default(), all));
            let listed = listed.expect("a list").items;
            let expected: Vec<_> =
                self.paid.iter().rev().filter(involved).cloned().map(Transaction::Payment).collect();
            assert_eq!(listed, expected, "payments of agent {agent}");
        }
        for wallet in 0..self.config.wallets {
            let owner = self.owner(wallet);
            let lines = self.node().engine.entries(owner.id(), owner.wallet, TimeRange::default(), all);
            let lines = self.node().run(lines).expect("a statement").items;
            let sum: i128 = lines.iter().map(|line| line.delta.nanos()).sum();
            assert_eq!(sum, self.model.wallets()[wallet].available, "statement of wallet {wallet}");
            let last = lines.first().map_or(0, |line| line.balance_after.nanos());
            assert_eq!(last, sum, "the newest line of wallet {wallet}");
        }
    }

    fn restart(&mut self) {
        self.node.take().expect("alive").shutdown();
        self.node = Some(self.setup.start());
    }

    /// The power goes: what was not synced is lost, and nothing of that was acknowledged.
    fn crash(&mut self) {
        let node = self.node.take().expect("alive");
        self.node = Some(self.setup.lose_power(&mut self.disk, node));
    }

    fn tell(&mut self, random: &mut Random, workload: &mut Workload) {
        for step in 0..STEPS {
            match random.below(1_000) {
                0..2 => self.restart(),
                2..4 => self.crash(),
                4..10 => drop(self.node().run(self.node().engine.snapshot_now()).expect("a snapshot")),
                10..14 => eventually("all rest", || self.node().engine.gauges().active_actors == 0),
                _ => self.submit(&workload.next()),
            }
            if step % 50 == 0 {
                self.check_all();
            }
        }
        self.check_all();
        self.check_lists();
        self.restart();
        self.check_all();
        self.check_lists();
        self.node.take().expect("alive").shutdown();
        self.setup.audit();
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(expected: &ModelOutcome, outcome: Result<T, Refusal>) -> Stored {
    let ModelOutcome::Denied(name) = expected else { panic!("expected {expected:?}, got {outcome:?}") };
    assert_eq!(denial(outcome).name(), *name);
    Stored::Nothing
}

fn key_use(text: Option<&str>, fingerprint: u64) -> Option<KeyUse> {
    text.map(|text| KeyUse { text: text.into(), fingerprint })
}

#[test]
fn engine_and_model_agree() {
    const REPLAY: &str = "cargo test -p engine --test engine engine_and_model_agree";
    let mut random = Random::new(testkit::seed(REPLAY));
    for keys_in_memory in [1, 40, 1_000_000] {
        let config = Config::default();
        let mut workload = Workload::new(random.next_u64(), config.clone());
        Story::begin(config, keys_in_memory).tell(&mut random, &mut workload);
    }
}
