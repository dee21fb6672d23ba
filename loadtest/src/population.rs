//! Agents and wallets to pay with, made through the public API over many connections.

use std::fmt::Write as _;

use serde_json::Value;

use crate::steps::Steps;
use crate::{Error, RequestTemplate, Target, Unwatched, Watch};

/// What to create.
#[derive(Debug, Clone)]
pub struct PopulationSpec {
    pub agents: usize,
    /// With the default wallet; at least 1.
    pub wallets_per_agent: usize,
    /// Faucet amount per wallet, as it stands in the request. `None`: wallets stay empty.
    pub fund: Option<String>,
    pub connections: usize,
}

/// Everything that was created.
#[derive(Debug, Clone, Default)]
pub struct Population {
    pub accounts: Vec<Account>,
}

/// One agent with its keys and wallets; the first wallet is the one it was created with.
#[derive(Debug, Clone)]
pub struct Account {
    pub agent_id: String,
    /// Runtime key.
    pub api_key: String,
    /// Owner key.
    pub secret_key: String,
    pub wallets: Vec<String>,
}

impl Population {
    /// Creates agents, then their further wallets, then funds all wallets.
    ///
    /// # Errors
    /// Any answer other than 2xx, an answer without the documented fields, or a lost connection.
    pub fn create(target: &Target, spec: &PopulationSpec) -> Result<Population, Error> {
        Population::create_watched(target, spec, &mut Unwatched)
    }

    /// The same, told to a watcher as it goes on.
    ///
    /// # Errors
    /// As [`Population::create`].
    pub fn create_watched(
        target: &Target,
        spec: &PopulationSpec,
        watch: &mut dyn Watch,
    ) -> Result<Population, Error> {
        let mut population = Population::default();
        population.create_agents(target, spec, watch)?;
        population.open_wallets(target, spec, watch)?;
        if let Some(amount) = &spec.fund {
            population.fund(target, spec.connections, amount, watch)?;
        }
        Ok(population)
    }

    /// Number of wallets of all agents.
    pub fn wallets(&self) -> usize {
        self.accounts.iter().map(|account| account.wallets.len()).sum()
    }

    fn create_agents(
        &mut self,
        target: &Target,
        spec: &PopulationSpec,
        watch: &mut dyn Watch,
    ) -> Result<(), Error> {
        const STEP: &str = "create an agent";
        let template = RequestTemplate::post(&target.authority, "/v1/agents", None);
        let accounts = &mut self.accounts;
        let write = |index: usize, out: &mut Vec<u8>| {
            template.write(format!(r#"{{"name":"load-{index}","operator":"loadtest"}}"#).as_bytes(), out);
        };
        let read = |_: usize, body: &[u8]| {
            let value = parse(STEP, body)?;
            accounts.push(Account {
                agent_id: text(STEP, &value, "id")?,
                api_key: text(STEP, &value, "api_key")?,
                secret_key: text(STEP, &value, "secret_key")?,
                wallets: vec![text(STEP, &value, "wallet_id")?],
            });
            Ok(())
        };
        Steps::new(STEP, spec.agents, spec.connections, write, read).carry_out(target, watch)
    }

    fn open_wallets(
        &mut self,
        target: &Target,
        spec: &PopulationSpec,
        watch: &mut dyn Watch,
    ) -> Result<(), Error> {
        const STEP: &str = "open a wallet";
        let further = spec.wallets_per_agent.saturating_sub(1);
        let templates: Vec<RequestTemplate> = self
            .accounts
            .iter()
            .map(|account| RequestTemplate::post(&target.authority, "/v1/wallets", Some(&account.secret_key)))
            .collect();
        let accounts = &mut self.accounts;
        // Neighbouring requests go to different agents, so that no single owner is a bottleneck.
        let agents = templates.len().max(1);
        let write = |index: usize, out: &mut Vec<u8>| {
            templates[index % agents].write(br#"{"currency":"USD"}"#, out);
        };
        let read = |index: usize, body: &[u8]| {
            accounts[index % agents].wallets.push(text(STEP, &parse(STEP, body)?, "id")?);
            Ok(())
        };
        Steps::new(STEP, further * templates.len(), spec.connections, write, read).carry_out(target, watch)
    }

    fn fund(
        &self,
        target: &Target,
        connections: usize,
        amount: &str,
        watch: &mut dyn Watch,
    ) -> Result<(), Error> {
        const STEP: &str = "fund a wallet";
        let wallets: Vec<(&str, &str)> = self
            .accounts
            .iter()
            .flat_map(|account| {
                account.wallets.iter().map(|wallet| (account.api_key.as_str(), wallet.as_str()))
            })
            .collect();
        let body = format!(r#"{{"amount":{amount},"source":"test_faucet"}}"#);
        let mut path = String::new();
        let write = |index: usize, out: &mut Vec<u8>| {
            let (key, wallet) = wallets[index];
            path.clear();
            write!(path, "/v1/wallets/{wallet}/fund").expect("writing to a String cannot fail");
            RequestTemplate::post(&target.authority, &path, Some(key)).write(body.as_bytes(), out);
        };
        Steps::new(STEP, wallets.len(), connections, write, |_, _| Ok(())).carry_out(target, watch)
    }
}

fn parse(step: &'static str, body: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(body).map_err(|_| Error::Shape { step, field: "(all)", body: lossy(body) })
}

fn text(step: &'static str, value: &Value, field: &'static str) -> Result<String, Error> {
    match value.get(field).and_then(Value::as_str) {
        Some(text) => Ok(text.to_owned()),
        None => Err(Error::Shape { step, field, body: value.to_string() }),
    }
}

fn lossy(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}
