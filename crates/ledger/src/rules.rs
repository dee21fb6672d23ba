//! Limits and rates that decisions are taken under. Given by configuration, checked once at start.

use crate::{Amount, BASIS_POINTS_MAX, Currency, FeeSchedule, Rail, RailSet};

const DAY_MS: u64 = 86_400_000;
const YEAR_MS: u64 = 366 * DAY_MS;
const TOKEN_TIME_MS_MAX: u64 = 30 * DAY_MS;
const DISPUTE_WINDOW_MS_MAX: u64 = 10 * YEAR_MS;

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
    pub services_per_agent_max: u32,
    pub webhooks_per_agent_max: u32,
    /// Share of a settled call's price that the platform keeps from the provider.
    pub platform_fee_basis_points: u32,
    /// Time in which a token can be redeemed when the consumer names none.
    pub token_ttl_default_ms: u64,
    pub token_ttl_max_ms: u64,
    /// A redeemed token whose call does not start within this is given back.
    pub token_start_within_ms: u64,
    /// A started call of a service without SLA that is not completed within this is given back.
    pub token_complete_within_ms: u64,
    /// Time after a payment in which a dispute about it can be opened.
    pub dispute_window_ms: u64,
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
    #[error("the platform fee is above {BASIS_POINTS_MAX} basis points")]
    PlatformFee,
    #[error("tokens must live between one second and thirty days, the default not above the maximum")]
    TokenTimes,
    #[error("the window for disputes must be between one second and ten years")]
    DisputeWindow,
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
            services_per_agent_max: 1_000,
            webhooks_per_agent_max: 20,
            platform_fee_basis_points: 0,
            token_ttl_default_ms: 300_000,
            token_ttl_max_ms: 3_600_000,
            token_start_within_ms: 300_000,
            token_complete_within_ms: 3_600_000,
            dispute_window_ms: 30 * DAY_MS,
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
        if self.platform_fee_basis_points > BASIS_POINTS_MAX {
            return Err(RulesError::PlatformFee);
        }
        let times = [
            self.token_ttl_default_ms,
            self.token_ttl_max_ms,
            self.token_start_within_ms,
            self.token_complete_within_ms,
        ];
        let in_range = times.iter().all(|time| (1_000..=TOKEN_TIME_MS_MAX).contains(time));
        if !in_range || self.token_ttl_default_ms > self.token_ttl_max_ms {
            return Err(RulesError::TokenTimes);
        }
        if !(1_000..=DISPUTE_WINDOW_MS_MAX).contains(&self.dispute_window_ms) {
            return Err(RulesError::DisputeWindow);
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
        check(|rules| rules.platform_fee_basis_points = 10_000, Ok(()));
        check(|rules| rules.platform_fee_basis_points = 10_001, Err(RulesError::PlatformFee));
        check(|rules| rules.token_ttl_default_ms = rules.token_ttl_max_ms, Ok(()));
        check(|rules| rules.token_ttl_max_ms = 299_999, Err(RulesError::TokenTimes));
        check(|rules| rules.token_start_within_ms = 999, Err(RulesError::TokenTimes));
        check(|rules| rules.token_complete_within_ms = TOKEN_TIME_MS_MAX + 1, Err(RulesError::TokenTimes));
        check(|rules| rules.dispute_window_ms = 1_000, Ok(()));
        check(|rules| rules.dispute_window_ms = 999, Err(RulesError::DisputeWindow));
        check(|rules| rules.dispute_window_ms = DISPUTE_WINDOW_MS_MAX + 1, Err(RulesError::DisputeWindow));
        check(|rules| rules.currencies.clear(), Err(RulesError::Currencies));
    }
}
