//! Agents and wallets as the load uses them: by number, in few allocations, so that ten million wallets fit beside the
//! node that holds them.

use crate::Population;

/// Every agent and wallet of a population. Wallets of one agent are neighbours.
#[derive(Debug, Default)]
pub struct Roster {
    agents: Vec<Agent>,
    /// Ids of all wallets, one after the other.
    ids: String,
    /// End of each id in `ids`.
    ends: Vec<usize>,
    /// Length of every id, if they are all of one. Then a look-up touches one place in memory and not two.
    id_bytes: Option<usize>,
    /// Agent of each wallet.
    owners: Vec<u32>,
}

/// One agent with its keys.
#[derive(Debug, Clone)]
pub struct Agent {
    pub id: String,
    /// Runtime key.
    pub api_key: String,
    /// First wallet and number of wallets.
    pub first_wallet: u32,
    pub wallets: u32,
}

impl Roster {
    /// Numbers wallets in the order of their agents. At most 2³² - 2 wallets.
    pub fn new(population: &Population) -> Roster {
        let mut roster = Roster::default();
        for account in &population.accounts {
            let agent = number(roster.agents.len());
            let first_wallet = number(roster.owners.len());
            for wallet in &account.wallets {
                roster.ids.push_str(wallet);
                roster.ends.push(roster.ids.len());
                roster.owners.push(agent);
            }
            roster.agents.push(Agent {
                id: account.agent_id.clone(),
                api_key: account.api_key.clone(),
                first_wallet,
                wallets: number(account.wallets.len()),
            });
        }
        let first = roster.ends.first().copied().unwrap_or_default();
        let is_even = roster.ends.iter().enumerate().all(|(index, end)| *end == (index + 1) * first);
        roster.id_bytes = is_even.then_some(first);
        roster
    }

    pub fn wallets(&self) -> u32 {
        number(self.owners.len())
    }

    pub fn agents(&self) -> &[Agent] {
        &self.agents
    }

    /// Id of a wallet.
    pub fn wallet(&self, index: u32) -> &str {
        let index = index as usize;
        if let Some(bytes) = self.id_bytes {
            return &self.ids[index * bytes..(index + 1) * bytes];
        }
        let begin = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.ids[begin..self.ends[index]]
    }

    pub fn owner_index(&self, wallet: u32) -> u32 {
        self.owners[wallet as usize]
    }

    pub fn owner(&self, wallet: u32) -> &Agent {
        &self.agents[self.owners[wallet as usize] as usize]
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count)
        .ok()
        .filter(|count| *count < u32::MAX)
        .expect("fewer than 2^32 - 1 agents and wallets")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Account;

    /// Wallets `wallet_<agent>_<n>` and keys `pk_<agent>`.
    pub(crate) fn roster(agents: usize, wallets_per_agent: usize) -> Roster {
        let account = |agent: usize| Account {
            agent_id: format!("agent_{agent}"),
            api_key: format!("pk_{agent}"),
            secret_key: format!("sk_{agent}"),
            wallets: (0..wallets_per_agent).map(|n| format!("wallet_{agent}_{n}")).collect(),
        };
        Roster::new(&Population { accounts: (0..agents).map(account).collect() })
    }

    #[test]
    fn wallets_are_found_by_number() {
        let roster = roster(3, 4);
        assert_eq!(roster.wallets(), 12);
        assert_eq!(roster.wallet(0), "wallet_0_0");
        assert_eq!(roster.wallet(7), "wallet_1_3");
        assert_eq!(roster.owner(7).api_key, "pk_1");
        assert_eq!((roster.agents()[2].first_wallet, roster.agents()[2].wallets), (8, 4));
        let uneven = super::tests::roster(2, 11);
        assert_eq!(
            (uneven.wallet(9), uneven.wallet(10), uneven.wallet(11)),
            ("wallet_0_9", "wallet_0_10", "wallet_1_0")
        );
    }
}
