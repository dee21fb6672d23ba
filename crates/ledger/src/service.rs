//! Services: what a provider offers, and who may change it.
//!
//! Owner of state: the registry's service actor, which knows all services of the partition and therefore guards that a
//! slug is taken once. Every change is recorded as the whole service: a token is bound to the record that was valid when
//! it was reserved, and that record alone tells what was agreed.

mod decide;

pub use decide::{PatchCommand, RegisterCommand, decide_patch, decide_register, decide_verified};

use crate::{
    AgentId, Amount, Currency, KeyHash, KeyScope, KeyUse, Position, ServiceId, Timestamp, Trust,
    TrustChanged, WalletId,
};

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum ServiceStatus {
    Active,
    /// Takes no new calls; open tokens live on.
    Inactive,
}

impl ServiceStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            ServiceStatus::Active => "active",
            ServiceStatus::Inactive => "inactive",
        }
    }
}

/// Longest window of an SLA: thirty days.
pub const SLA_WINDOW_MS_MAX: u32 = 30 * 86_400_000;

/// What a provider promises about time. The clock starts when the call starts.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Sla {
    /// Until the call is completed.
    pub window_ms: u32,
    /// Until the call is accepted.
    pub accept_within_ms: Option<u32>,
}

impl Sla {
    /// Whether the times are ones that can be kept: at least a millisecond, at most thirty days, and acceptance not
    /// after completion.
    pub fn check(&self) -> bool {
        let in_window = |within: u32| (1..=self.window_ms).contains(&within);
        (1..=SLA_WINDOW_MS_MAX).contains(&self.window_ms) && self.accept_within_ms.is_none_or(in_window)
    }
}

/// What a provider says of a service. Texts are checked where requests arrive.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct ServiceTerms {
    pub name: Box<str>,
    pub description: Option<Box<str>>,
    /// Of one call.
    pub price: Amount,
    pub currency: Currency,
    pub category: Option<Box<str>>,
    pub endpoint_url: Option<Box<str>>,
    pub sla: Option<Sla>,
    /// A JSON object as it was sent.
    pub metadata: Option<Box<str>>,
}

/// Why a service was recorded.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum ServiceChange {
    Registered,
    /// By its provider.
    Patched,
    /// By an operator, or by what the node found at its URL.
    Judged,
}

/// A service as it is from this record on.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct ServiceChanged {
    pub service: ServiceId,
    pub change: ServiceChange,
    pub provider: AgentId,
    /// Paid into.
    pub wallet: WalletId,
    pub slug: Box<str>,
    pub terms: ServiceTerms,
    pub status: ServiceStatus,
    pub verified: bool,
    pub key: Option<KeyUse>,
    pub created_at: Timestamp,
    pub at: Timestamp,
}

/// State of one service.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Service {
    pub id: ServiceId,
    pub provider: AgentId,
    pub wallet: WalletId,
    pub slug: Box<str>,
    pub terms: ServiceTerms,
    pub status: ServiceStatus,
    pub verified: bool,
    pub trust: Trust,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Hash and fingerprint of the key that it was registered under.
    pub registered_by: Option<(KeyHash, u64)>,
    /// Position of its registration.
    pub registered: Position,
    /// Position of the record that describes it now.
    pub version: Position,
    /// Position of the last fact that was decided about it.
    pub decided: Position,
    /// Position of the last end of a call that was delivered.
    pub posted: Position,
}

impl Service {
    /// The service that the record at `position` brought to life.
    pub fn registered(fact: &ServiceChanged, position: Position) -> Service {
        Service {
            id: fact.service,
            provider: fact.provider,
            wallet: fact.wallet,
            slug: fact.slug.clone(),
            terms: fact.terms.clone(),
            status: fact.status,
            verified: fact.verified,
            trust: Trust::default(),
            created_at: fact.created_at,
            updated_at: fact.at,
            registered_by: fact
                .key
                .as_ref()
                .map(|key| (key.hash(KeyScope::RegisterService), key.fingerprint)),
            registered: position,
            version: position,
            decided: position,
            posted: position,
        }
    }

    /// Folds in a later record about it; false when it is known already.
    pub fn apply(&mut self, fact: &ServiceChanged, position: Position) -> bool {
        assert_eq!(fact.service, self.id, "a fact reaches the service it is about");
        if position <= self.decided {
            return false;
        }
        self.slug = fact.slug.clone();
        self.terms = fact.terms.clone();
        self.status = fact.status;
        self.verified = fact.verified;
        self.updated_at = fact.at;
        self.version = position;
        self.decided = position;
        true
    }

    /// Folds in the publication of its score; false when it is known already.
    pub fn apply_trust(&mut self, fact: &TrustChanged, position: Position) -> bool {
        assert_eq!(fact.service, self.id, "a fact reaches the service it is about");
        if position <= self.decided {
            return false;
        }
        self.trust.shown = fact.score;
        self.decided = position;
        true
    }

    /// Folds in the end of one of its calls, in the order of the log; false when it is known already.
    pub fn saw(&mut self, ended: &crate::TokenEnded, position: Position) -> bool {
        assert_eq!(ended.terms.service, self.id, "a call reaches the service it was for");
        if position <= self.posted {
            return false;
        }
        self.trust.saw(ended);
        self.posted = position;
        true
    }

    /// Folds in a dispute about one of its calls that was resolved with a refund; false when it is known already.
    pub fn refunded(&mut self, call: &crate::CallTerms, position: Position) -> bool {
        assert_eq!(call.service, self.id, "a dispute reaches the service that it is about");
        if position <= self.posted {
            return false;
        }
        self.trust.refunded(call);
        self.posted = position;
        true
    }
}

/// The slug that a name gives: ASCII letters and digits in lower case, anything between them as one `-`. A name without
/// any gets a digest of itself.
pub fn slug_of(name: &str) -> Box<str> {
    let mut slug = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() {
        return format!("service-{:016x}", xxhash_rust::xxh3::xxh3_64(name.as_bytes())).into();
    }
    slug.into()
}

#[cfg(test)]
mod tests;
