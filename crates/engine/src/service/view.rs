//! Services as they are asked for and shown.

use ledger::{
    AgentId, KeyUse, PatchCommand, ServiceChanged, ServiceId, ServiceStatus, ServiceTerms, TRUST_SCORE_START,
    Timestamp, WalletId,
};

/// A service to register for the caller.
#[derive(Clone, Debug)]
pub struct RegisterService {
    pub terms: ServiceTerms,
    /// Paid into; `None` means the agent's first wallet in the service's currency.
    pub wallet: Option<WalletId>,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
}

/// What a provider changes; `None` leaves a field as it is.
pub type ServicePatch = PatchCommand;

/// A service at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    pub id: ServiceId,
    pub provider: AgentId,
    /// Paid into.
    pub wallet: WalletId,
    pub slug: Box<str>,
    pub terms: ServiceTerms,
    pub status: ServiceStatus,
    pub verified: bool,
    pub trust_score: u8,
    pub settled_calls: u64,
    pub breached_calls: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl ServiceView {
    /// The service as this record describes it. What a record does not tell, its trust, is as at the beginning.
    pub(crate) fn recorded(fact: &ServiceChanged) -> Self {
        Self {
            id: fact.service,
            provider: fact.provider,
            wallet: fact.wallet,
            slug: fact.slug.clone(),
            terms: fact.terms.clone(),
            status: fact.status,
            verified: fact.verified,
            trust_score: TRUST_SCORE_START,
            settled_calls: 0,
            breached_calls: 0,
            created_at: fact.created_at,
            updated_at: fact.at,
        }
    }
}
