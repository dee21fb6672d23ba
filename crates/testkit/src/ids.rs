//! From a workload's indexes to the commands of the `ledger` crate.

use ledger::{
    AgentId, Amount, BatchCommand, BatchItem, Currency, Denial, FundCommand, KeyUse, PayCommand, Rail,
    Timestamp, WalletId, WalletStatus,
};

use crate::{Action, Command, Config, Item, Payee};

/// A workload's command in the terms of the `ledger` crate.
#[derive(Clone, Debug)]
pub enum LedgerCommand {
    Fund(FundCommand),
    Pay(PayCommand),
    Batch(BatchCommand),
    Status {
        caller: AgentId,
        wallet: WalletId,
        wanted: WalletStatus,
        at: Timestamp,
    },
    /// Refused before any wallet is asked.
    Refused(Denial),
}

/// Ids of the agents and wallets that a workload names by index.
#[derive(Clone, Debug)]
pub struct Ids {
    pub agents: Vec<AgentId>,
    pub wallets: Vec<WalletId>,
    currencies: Vec<Currency>,
}

impl Ids {
    /// Ids made from the indexes, for tests that create their wallets themselves.
    pub fn numbered(config: &Config) -> Self {
        let raw = |index: usize| u128::try_from(index).expect("an index fits") + 1;
        let agents = (0..config.agents).map(|index| AgentId::new(0, raw(index))).collect();
        let wallets = (0..config.wallets).map(|index| WalletId::new(0, raw(index))).collect();
        Self::given(config, agents, wallets)
    }

    /// Ids that a node has given out, in the order of the workload's indexes.
    pub fn given(config: &Config, agents: Vec<AgentId>, wallets: Vec<WalletId>) -> Self {
        assert_eq!((agents.len(), wallets.len()), (config.agents, config.wallets), "one id per index");
        let currencies = (0..config.wallets).map(|index| code(config.currency_of(index))).collect();
        Self { agents, wallets, currencies }
    }

    pub fn currency(&self, wallet: usize) -> Currency {
        self.currencies[wallet]
    }

    pub fn wallet_index(&self, id: WalletId) -> Option<usize> {
        self.wallets.iter().position(|wallet| *wallet == id)
    }

    /// The command of the ledger that corresponds, or the refusal that it meets where requests arrive.
    pub fn translate(&self, command: &Command) -> LedgerCommand {
        let (caller, wallet) = (self.agents[command.caller], self.wallets[command.wallet]);
        let at = Timestamp::from_millis(command.at);
        let own_key = |key: &Option<String>| key_use(key.as_deref(), command.action.fingerprint());
        match &command.action {
            Action::Fund { amount, key } => {
                let amount = Amount::from_nanos(*amount);
                LedgerCommand::Fund(FundCommand { caller, wallet, amount, key: own_key(key), at })
            }
            Action::Pay(item) => match self.payee(command.wallet, &item.payee) {
                Err(denial) => LedgerCommand::Refused(denial),
                Ok(payee) => LedgerCommand::Pay(PayCommand {
                    caller,
                    payer: wallet,
                    payee,
                    payee_agent: None,
                    amount: Amount::from_nanos(item.amount),
                    currency: item.currency.map(code),
                    rail: rail(item.rail),
                    description: item.description.as_deref().map(Box::from),
                    metadata: None,
                    key: key_use(item.key.as_deref(), item.fingerprint()),
                    agent_terms: None,
                    at,
                }),
            },
            Action::Batch { items, atomic, key } => {
                let items = items.iter().map(|item| self.batch_item(command.wallet, item)).collect();
                let key = own_key(key);
                LedgerCommand::Batch(BatchCommand {
                    caller,
                    payer: wallet,
                    items,
                    atomic: *atomic,
                    key,
                    agent_terms: None,
                    at,
                })
            }
            Action::Freeze => LedgerCommand::Status { caller, wallet, wanted: WalletStatus::Frozen, at },
            Action::Unfreeze => LedgerCommand::Status { caller, wallet, wanted: WalletStatus::Active, at },
        }
    }

    fn batch_item(&self, payer: usize, item: &Item) -> BatchItem {
        let (payee, refused) = match self.payee(payer, &item.payee) {
            Ok(payee) => (payee, None),
            Err(denial) => (ledger::Payee::Wallet(WalletId::from_raw(0)), Some(denial)),
        };
        BatchItem {
            payee,
            payee_agent: None,
            amount: Amount::from_nanos(item.amount),
            currency: item.currency.map(code),
            rail: rail(item.rail),
            description: item.description.as_deref().map(Box::from),
            metadata: None,
            key: key_use(item.key.as_deref(), item.fingerprint()),
            refused,
        }
    }

    /// Existence and currency of a payee never change, so they are checked before the payer decides.
    fn payee(&self, payer: usize, payee: &Payee) -> Result<ledger::Payee, Denial> {
        match payee {
            Payee::Nobody => Err(Denial::UnknownPayee),
            Payee::External(label) => Ok(ledger::Payee::External(label.as_str().into())),
            Payee::Wallet(index) if self.currencies[*index] != self.currencies[payer] => {
                let (wallet, requested) = (self.currencies[payer], self.currencies[*index]);
                Err(Denial::CurrencyMismatch { wallet, requested })
            }
            Payee::Wallet(index) => Ok(ledger::Payee::Wallet(self.wallets[*index])),
        }
    }
}

/// The key of a request with the digest of its meaning.
fn key_use(key: Option<&str>, fingerprint: u64) -> Option<KeyUse> {
    key.map(|text| KeyUse { text: text.into(), fingerprint })
}

fn code(text: &str) -> Currency {
    Currency::parse(text).expect("a workload uses real currencies")
}

fn rail(name: &str) -> Rail {
    Rail::parse(name).expect("a workload uses real rails")
}
