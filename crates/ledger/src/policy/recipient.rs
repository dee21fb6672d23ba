//! Who is meant by an entry of a list of recipients.

use super::{POLICY_TEXT_BYTES_MAX, Target};
use crate::{AgentId, ServiceId, WalletId};

/// One entry. Ids mean wallets, agents and services of the ledger; labels mean payees outside of it, and only those.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum Recipient {
    Wallet(WalletId),
    /// Every wallet and service of the agent.
    Agent(AgentId),
    Service(ServiceId),
    /// A label; one that ends in `*` means every label that begins as it does.
    Label(Box<str>),
}

impl Recipient {
    /// Reads an entry. What begins like an id has to be one; `None` when it is not.
    pub fn parse(text: &str) -> Option<Recipient> {
        if text.starts_with("wallet_") {
            return text.parse().ok().map(Recipient::Wallet);
        }
        if text.starts_with("agent_") {
            return text.parse().ok().map(Recipient::Agent);
        }
        if text.starts_with("svc_") {
            return text.parse().ok().map(Recipient::Service);
        }
        (!text.is_empty()).then(|| Recipient::Label(text.into()))
    }

    pub(super) fn is_valid(&self) -> bool {
        let Recipient::Label(label) = self else { return true };
        let stem = label.strip_suffix('*').unwrap_or(label);
        !label.is_empty() && label.len() <= POLICY_TEXT_BYTES_MAX && !stem.contains('*')
    }

    pub(super) fn means(&self, target: &Target<'_>) -> bool {
        match self {
            Recipient::Wallet(wallet) => target.wallet == Some(*wallet),
            Recipient::Agent(agent) => target.agent == Some(*agent),
            Recipient::Service(service) => target.service == Some(*service),
            Recipient::Label(label) => target.label.is_some_and(|named| match label.strip_suffix('*') {
                Some(stem) => named.starts_with(stem),
                None => named == &**label,
            }),
        }
    }
}

impl std::fmt::Display for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Recipient::Wallet(wallet) => wallet.fmt(f),
            Recipient::Agent(agent) => agent.fmt(f),
            Recipient::Service(service) => service.fmt(f),
            Recipient::Label(label) => f.write_str(label),
        }
    }
}
