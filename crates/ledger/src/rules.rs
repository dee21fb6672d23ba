//! Limits and rates that decisions are taken under. Given by configuration, checked once at start.

use crate::{Amount, BASIS_POINTS_MAX, Currency, FeeSchedule, Rail, RailSet};

const DAY_MS: u64 = 86_400_000;
const YEAR_MS: u64 = 366 * DAY_MS;

/// Everything besides an owner's state that a decision depends on.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Rules {
    pub fees: FeeSchedule,
    /// Most that the sandbox faucet gives to one wallet over its life.
    pub faucet_cap: Amount,
    /// Milliseconds for which an idempotency key is kept at least.
    pub idempotency_retention_ms: u64,
    /// External rails that have a connector. Payments over the others are denied.
    pub rails_with_connector: RailSet,
    pub wallets_per_agent_max: u32,
    /// Usable keys of one agent, of both kinds together.
    pub keys_per_agent_max: u32,
    /// Currencies that wallets may be opened in.
    pub currencies: Vec<Currency>,
}

/// A value that rules must not have. Nothing is repaired silently.
#[derive(Copy, Clone, Eq, PartialEq, Debug, thiserror::Error)]
pub enum RulesError {
    #[error("the fee of rail {} is above {BASIS_POINTS_MAX} basis points", .0.as_str())]
    Fee(Rail),
    #[error("the faucet cap must be positive and at most {}", Amount::MAX)]
    FaucetCap,
    #[error("idempotency keys must be kept between one second and one year")]
    Retention,
    #[error("rail {} cannot have a connector: its payments would need a hold until they settle", .0.as_str())]
    Connector(Rail),
    #[error("an agent needs room for at least one wallet and two keys")]
    PerAgent,
    #[error("at least one currency is needed")]
    Currencies,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            fees: FeeSchedule::default(),
            faucet_cap: Amount::from_nanos(1_000_000_000_000_000),
            idempotency_retention_ms: DAY_MS,
            rails_with_connector: RailSet::EMPTY,
            wallets_per_agent_max: 1_000,
            keys_per_agent_max: 100,
            currencies: vec![Currency::USD, Currency::EUR],
        }
    }
}

impl Rules {
    /// Checks every value; to be called once before the first decision.
    pub fn validate(&self) -> Result<(), RulesError> {
        if let Some(rail) =
            Rail::ALL.into_iter().find(|rail| self.fees.basis_points(*rail) > BASIS_POINTS_MAX)
        {
            return Err(RulesError::Fee(rail));
        }
        if !self.faucet_cap.is_positive() || self.faucet_cap > Amount::MAX {
            return Err(RulesError::FaucetCap);
        }
        if !(1_000..=YEAR_MS).contains(&self.idempotency_retention_ms) {
            return Err(RulesError::Retention);
        }
        // A payment completes in the record that decides it. An external rail settles later and needs a hold.
        if let Some(rail) = Rail::ALL.into_iter().find(|rail| self.rails_with_connector.contains(*rail)) {
            return Err(RulesError::Connector(rail));
        }
        if self.wallets_per_agent_max < 1 || self.keys_per_agent_max < 2 {
            return Err(RulesError::PerAgent);
        }
        if self.currencies.is_empty() {
            return Err(RulesError::Currencies);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Rules), expected: Result<(), RulesError>) {
        let mut rules = Rules::default();
        change(&mut rules);
        assert_eq!(rules.validate(), expected, "{rules:?}");
    }

    #[test]
    fn impossible_rules_are_refused() {
        check(|_| (), Ok(()));
        check(|rules| rules.fees = rules.fees.with(Rail::Card, 10_000), Ok(()));
        check(|rules| rules.fees = rules.fees.with(Rail::Card, 10_001), Err(RulesError::Fee(Rail::Card)));
        check(|rules| rules.faucet_cap = Amount::MAX, Ok(()));
        check(|rules| rules.faucet_cap = Amount::MAX.plus(Amount::from_nanos(1)), Err(RulesError::FaucetCap));
        check(|rules| rules.faucet_cap = Amount::ZERO, Err(RulesError::FaucetCap));
        check(|rules| rules.idempotency_retention_ms = 1_000, Ok(()));
        check(|rules| rules.idempotency_retention_ms = 999, Err(RulesError::Retention));
        check(|rules| rules.idempotency_retention_ms = YEAR_MS + 1, Err(RulesError::Retention));
        let ach = RailSet::EMPTY.with(Rail::Ach);
        check(|rules| rules.rails_with_connector = ach, Err(RulesError::Connector(Rail::Ach)));
        check(|rules| rules.wallets_per_agent_max = 0, Err(RulesError::PerAgent));
        check(|rules| rules.keys_per_agent_max = 1, Err(RulesError::PerAgent));
        check(|rules| rules.currencies.clear(), Err(RulesError::Currencies));
    }
}
