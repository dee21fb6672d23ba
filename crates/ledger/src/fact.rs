//! Facts: everything that a record can say.

use crate::{
    AgentCreated, AgentFact, AgentPolicyChanged, Change, ClaimChange, ClockFact, DisputeMoved, DisputeOpened,
    EvidenceAdded, Funding, KeyAdded, KeyHash, KeyRevoked, KeysRotated, Payment, PaymentBatch, PolicyChanged,
    Posting, Refund, ServiceChanged, Spending, StatusChange, Timestamp, TokenEnded, TokenFact, TokenReserved,
    TokenStepped, TrustChanged, WalletOpened, WebhookChanged,
};

/// One decision that was taken. Funding, payments, refunds, disputes, reservations, changes of status and of policy
/// belong to the wallet that decided them, steps and ends to their token, services to their actor, times to the clock, policies of
/// agents to their budget, the others to the directory.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum Fact {
    AgentCreated(AgentCreated),
    WalletOpened(WalletOpened),
    KeyAdded(KeyAdded),
    KeyRevoked(KeyRevoked),
    KeysRotated(KeysRotated),
    Funding(Funding),
    Payment(Payment),
    PaymentBatch(PaymentBatch),
    StatusChange(StatusChange),
    TokenReserved(TokenReserved),
    TokenStepped(TokenStepped),
    TokenEnded(TokenEnded),
    ServiceChanged(ServiceChanged),
    TrustChanged(TrustChanged),
    Clock(ClockFact),
    WebhookChanged(WebhookChanged),
    PolicyChanged(PolicyChanged),
    AgentPolicyChanged(AgentPolicyChanged),
    Refund(Refund),
    DisputeOpened(DisputeOpened),
    EvidenceAdded(EvidenceAdded),
    DisputeMoved(DisputeMoved),
}

impl Fact {
    /// When the request arrived that led to it.
    pub fn at(&self) -> Timestamp {
        match self {
            Fact::AgentCreated(fact) => fact.at,
            Fact::WalletOpened(fact) => fact.at,
            Fact::KeyAdded(fact) => fact.key.created_at,
            Fact::KeyRevoked(fact) => fact.at,
            Fact::KeysRotated(fact) => fact.key.created_at,
            Fact::Funding(fact) => fact.at,
            Fact::Payment(fact) => fact.at,
            Fact::PaymentBatch(fact) => fact.at,
            Fact::StatusChange(fact) => fact.at,
            Fact::TokenReserved(fact) => fact.terms.reserved_at,
            Fact::TokenStepped(fact) => fact.at,
            Fact::TokenEnded(fact) => fact.at,
            Fact::ServiceChanged(fact) => fact.at,
            Fact::TrustChanged(fact) => fact.at,
            Fact::Clock(fact) => fact.at(),
            Fact::WebhookChanged(fact) => fact.at,
            Fact::PolicyChanged(fact) => fact.at,
            Fact::AgentPolicyChanged(fact) => fact.at,
            Fact::Refund(fact) => fact.at,
            Fact::DisputeOpened(fact) => fact.at,
            Fact::EvidenceAdded(fact) => fact.at,
            Fact::DisputeMoved(fact) => fact.at,
        }
    }

    /// The owner wallet's side; `None` for facts of other owners.
    pub fn change(&self) -> Option<Change> {
        match self {
            Fact::Funding(fact) => Some(fact.change()),
            Fact::Payment(fact) => Some(fact.change()),
            Fact::PaymentBatch(fact) => Some(fact.change()),
            Fact::StatusChange(fact) => Some(fact.change()),
            Fact::TokenReserved(fact) => Some(fact.change()),
            Fact::PolicyChanged(_) => Some(Change::default()),
            Fact::Refund(_) | Fact::DisputeOpened(_) | Fact::EvidenceAdded(_) | Fact::DisputeMoved(_) => {
                self.claim_change().map(|change| change.change())
            }
            Fact::AgentPolicyChanged(_)
            | Fact::AgentCreated(_)
            | Fact::WalletOpened(_)
            | Fact::KeyAdded(_)
            | Fact::KeyRevoked(_)
            | Fact::KeysRotated(_)
            | Fact::TokenStepped(_)
            | Fact::TokenEnded(_)
            | Fact::ServiceChanged(_)
            | Fact::TrustChanged(_)
            | Fact::Clock(_)
            | Fact::WebhookChanged(_) => None,
        }
    }

    /// What it uses of its wallet's policy; `None` for what is no spending.
    pub fn spending(&self) -> Option<Spending> {
        match self {
            Fact::Payment(fact) => Some(fact.spending()),
            Fact::PaymentBatch(fact) => Some(fact.spending()),
            Fact::TokenReserved(fact) => Some(fact.spending()),
            _ => None,
        }
    }

    /// What it does to the claim that it is about; `None` for everything but refunds and disputes.
    pub fn claim_change(&self) -> Option<ClaimChange> {
        match self {
            Fact::Refund(fact) => Some(fact.claim_change()),
            Fact::DisputeOpened(fact) => Some(fact.claim_change()),
            Fact::EvidenceAdded(fact) => Some(fact.claim_change()),
            Fact::DisputeMoved(fact) => Some(fact.claim_change()),
            _ => None,
        }
    }

    pub fn for_each_posting(&self, f: impl FnMut(Posting)) {
        match self {
            Fact::Funding(fact) => fact.for_each_posting(f),
            Fact::Payment(fact) => fact.for_each_posting(f),
            Fact::PaymentBatch(fact) => fact.for_each_posting(f),
            Fact::TokenReserved(fact) => fact.for_each_posting(f),
            Fact::TokenEnded(fact) => fact.for_each_posting(f),
            Fact::Refund(fact) => fact.for_each_posting(f),
            Fact::DisputeOpened(fact) => fact.for_each_posting(f),
            Fact::DisputeMoved(fact) => fact.for_each_posting(f),
            Fact::StatusChange(_)
            | Fact::PolicyChanged(_)
            | Fact::AgentPolicyChanged(_)
            | Fact::AgentCreated(_)
            | Fact::WalletOpened(_)
            | Fact::KeyAdded(_)
            | Fact::KeyRevoked(_)
            | Fact::KeysRotated(_)
            | Fact::TokenStepped(_)
            | Fact::ServiceChanged(_)
            | Fact::TrustChanged(_)
            | Fact::Clock(_)
            | Fact::WebhookChanged(_)
            | Fact::EvidenceAdded(_) => {}
        }
    }

    /// Hash, fingerprint and item of every idempotency key that the fact uses up, for its owner wallet or agent to
    /// remember. Tokens and services keep theirs in their own state.
    pub fn for_each_key(&self, f: impl FnMut(KeyHash, u64, u32)) {
        match self {
            Fact::WalletOpened(fact) => fact.for_each_key(f),
            Fact::Funding(fact) => fact.for_each_key(f),
            Fact::Payment(fact) => fact.for_each_key(f),
            Fact::PaymentBatch(fact) => fact.for_each_key(f),
            Fact::TokenReserved(fact) => fact.for_each_key(f),
            Fact::WebhookChanged(fact) => fact.for_each_key(f),
            Fact::Refund(fact) => fact.for_each_key(f),
            Fact::DisputeOpened(fact) => fact.for_each_key(f),
            Fact::EvidenceAdded(fact) => fact.for_each_key(f),
            Fact::StatusChange(_)
            | Fact::PolicyChanged(_)
            | Fact::AgentPolicyChanged(_)
            | Fact::AgentCreated(_)
            | Fact::KeyAdded(_)
            | Fact::KeyRevoked(_)
            | Fact::KeysRotated(_)
            | Fact::TokenStepped(_)
            | Fact::TokenEnded(_)
            | Fact::ServiceChanged(_)
            | Fact::TrustChanged(_)
            | Fact::Clock(_)
            | Fact::DisputeMoved(_) => {}
        }
    }
}

macro_rules! from {
    ($($variant:ident),*) => {
        $(impl From<$variant> for Fact {
            fn from(fact: $variant) -> Fact {
                Fact::$variant(fact)
            }
        })*
    };
}

from!(
    AgentCreated,
    WalletOpened,
    KeyAdded,
    KeyRevoked,
    KeysRotated,
    Funding,
    Payment,
    PaymentBatch,
    StatusChange,
    TokenReserved,
    TokenStepped,
    TokenEnded,
    ServiceChanged,
    TrustChanged,
    WebhookChanged,
    Refund,
    DisputeOpened,
    EvidenceAdded,
    DisputeMoved,
    PolicyChanged,
    AgentPolicyChanged
);

impl From<ClockFact> for Fact {
    fn from(fact: ClockFact) -> Fact {
        Fact::Clock(fact)
    }
}

impl From<TokenFact> for Fact {
    fn from(fact: TokenFact) -> Fact {
        match fact {
            TokenFact::Stepped(fact) => Fact::TokenStepped(fact),
            TokenFact::Ended(fact) => Fact::TokenEnded(fact),
        }
    }
}

impl From<AgentFact> for Fact {
    fn from(fact: AgentFact) -> Fact {
        match fact {
            AgentFact::WalletOpened(fact) => Fact::WalletOpened(fact),
            AgentFact::KeyAdded(fact) => Fact::KeyAdded(fact),
            AgentFact::KeyRevoked(fact) => Fact::KeyRevoked(fact),
            AgentFact::KeysRotated(fact) => Fact::KeysRotated(fact),
            AgentFact::WebhookChanged(fact) => Fact::WebhookChanged(fact),
        }
    }
}

/// The fact itself comes back when it does not change an existing agent.
impl TryFrom<Fact> for AgentFact {
    type Error = Box<Fact>;

    fn try_from(fact: Fact) -> Result<AgentFact, Box<Fact>> {
        match fact {
            Fact::WalletOpened(fact) => Ok(AgentFact::WalletOpened(fact)),
            Fact::KeyAdded(fact) => Ok(AgentFact::KeyAdded(fact)),
            Fact::KeyRevoked(fact) => Ok(AgentFact::KeyRevoked(fact)),
            Fact::KeysRotated(fact) => Ok(AgentFact::KeysRotated(fact)),
            Fact::WebhookChanged(fact) => Ok(AgentFact::WebhookChanged(fact)),
            other => Err(Box::new(other)),
        }
    }
}
