//! The audit: the walk of recovery from the first record, without any snapshot to lean on.

use ledger::{Amount, Currency, Rules};
use snapshot::SnapshotStore;
use wal::{Log, Lsn};

use super::{Rebuilt, StartError, from_snapshot};
use crate::{directory::Agents, status::Status};

/// What an audit found.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Records applied, from the first one on.
    pub records: u64,
    /// End of the log.
    pub end: u64,
    pub wallets: u64,
    pub agents: u64,
    /// Tokens that have not ended.
    pub open_tokens: u64,
    pub services: u64,
    /// Payments of which something was claimed back.
    pub claims: u64,
    /// Disputes that have not ended.
    pub open_disputes: u64,
    /// Sum of all wallets per currency.
    pub sums: Vec<(Currency, Amount)>,
    pub trial_balance: crate::views::TrialBalance,
    /// The snapshot that was compared: applying the log above it must lead to the same state.
    pub snapshot: Option<u64>,
    /// Differences between the two, and balances that are below zero; empty when all is well.
    pub findings: Vec<String>,
}

/// Replays everything from the first record and compares the outcome, wallet by wallet, with what the newest snapshot
/// and the log above it lead to. Idempotency keys are compared as long as all of them are in memory; once some are on
/// disk, a replay of everything would have to hold more than memory is meant for, and they are left out.
pub fn audit(log: &Log, snapshots: &dyn SnapshotStore, rules: &Rules) -> Result<Audit, StartError> {
    let status = Status::new();
    let second = from_snapshot(log, snapshots, rules)?;
    let compares_keys = second.as_ref().is_some_and(|(second, _)| second.spilled == 0);
    let remember_from = if compares_keys { 0 } else { u64::MAX };
    let mut first = Rebuilt { remember_from, ..Rebuilt::empty(rules) };
    first.replay(log, log.begin(), &status, &mut |_| Ok(()))?;
    let mut findings = first.registry.unfounded(&first.claims.by_owner());
    findings.extend(first.registry.held_otherwise(&first.tokens.holds()));
    let mut snapshot = None;
    if let Some((mut second, generation)) = second {
        second.remember_from = remember_from;
        second.replay(log, Lsn::new(generation.summary.start), &status, &mut |_| Ok(()))?;
        if !compares_keys {
            second.forget_all_keys();
        }
        findings.extend(first.registry.differences(&second.registry));
        if first.totals.system != second.totals.system {
            findings.push("the system accounts differ".to_owned());
        }
        findings.extend(agent_differences(&first.agents, &second.agents));
        findings.extend(first.tokens.differences(&second.tokens));
        findings.extend(first.services.differences(&second.services));
        findings.extend(first.claims.differences(&second.claims));
        findings.extend(first.webhooks.differences(&second.webhooks));
        findings.extend(first.budgets.differences(&second.budgets));
        if first.outages.list() != second.outages.list() {
            findings.push("the outages differ between the replay and the snapshot".to_owned());
        }
        snapshot = Some(generation.id);
    }
    Ok(Audit {
        records: first.records,
        end: log.end().get(),
        wallets: first.registry.len() as u64,
        agents: first.agents.len() as u64,
        open_tokens: first.tokens.open_len(),
        services: first.services.len() as u64,
        claims: first.claims.len() as u64,
        open_disputes: first.claims.open_disputes(),
        sums: first.totals.wallets.clone(),
        trial_balance: first.totals.trial_balance(),
        snapshot,
        findings,
    })
}

fn agent_differences(first: &Agents, second: &Agents) -> Vec<String> {
    let ids: std::collections::BTreeSet<_> = first.keys().chain(second.keys()).collect();
    let differing = ids.into_iter().filter(|id| first.get(id) != second.get(id));
    differing.map(|id| format!("{id} differs between the replay and the snapshot")).collect()
}
