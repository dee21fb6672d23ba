//! A payment token: one reserved call of a service, from its reservation to its end.
//!
//! Owner of state: the token's slot in the engine's registry. The payer's wallet decides the reservation
//! ([`decide_reservation`]), because only balance and status can refuse it; everything after is decided by the token
//! ([`decide_step`], [`decide_lapse`]), because only its own state can refuse that.
//! Invariants: states move along the table of [`TokenStatus`] and never back; a token ends once, and the record of its
//! end carries the postings that end the hold; time comes in as an argument, with the outages that lengthen deadlines.

mod end;
mod reserve;
mod step;

pub use end::{TokenEnd, TokenEnded};
pub use reserve::{Offer, ReserveCommand, TokenReserved, decide_reservation};
pub use step::{
    Step, TokenClaims, TokenDecision, TokenFact, TokenStepped, Verification, decide_lapse, decide_step,
};

use std::ops::Deref;
use std::sync::Arc;

use crate::{AgentId, Amount, KeyHash, Outages, Position, Rules, Timestamp, WalletId};

/// Where a token stands. From → to: reserved → verified → started → accepted → settled; reserved → cancelled or
/// expired; verified → refunded; started or accepted → sla_breached (with an SLA) or refunded (without).
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub enum TokenStatus {
    Reserved,
    Verified,
    Started,
    Accepted,
    Settled,
    /// By the consumer, before it was redeemed.
    Cancelled,
    /// Not redeemed in time.
    Expired,
    /// Not accepted or not completed within the service's SLA.
    SlaBreached,
    /// Redeemed but not carried out: the hold was given back.
    Refunded,
}

impl TokenStatus {
    pub const ALL: [TokenStatus; 9] = [
        TokenStatus::Reserved,
        TokenStatus::Verified,
        TokenStatus::Started,
        TokenStatus::Accepted,
        TokenStatus::Settled,
        TokenStatus::Cancelled,
        TokenStatus::Expired,
        TokenStatus::SlaBreached,
        TokenStatus::Refunded,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            TokenStatus::Reserved => "reserved",
            TokenStatus::Verified => "verified",
            TokenStatus::Started => "started",
            TokenStatus::Accepted => "accepted",
            TokenStatus::Settled => "settled",
            TokenStatus::Cancelled => "cancelled",
            TokenStatus::Expired => "expired",
            TokenStatus::SlaBreached => "sla_breached",
            TokenStatus::Refunded => "refunded",
        }
    }

    pub fn from_name(name: &str) -> Option<TokenStatus> {
        TokenStatus::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether the hold still stands.
    pub const fn is_open(self) -> bool {
        matches!(
            self,
            TokenStatus::Reserved | TokenStatus::Verified | TokenStatus::Started | TokenStatus::Accepted
        )
    }
}

/// State of one token. A million of them live in memory, hence the size limit below.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Token {
    pub terms: TokenTerms,
    pub status: TokenStatus,
    pub expires_at: Timestamp,
    verified_at: Moment,
    started_at: Moment,
    accepted_at: Moment,
    ended_at: Moment,
    /// What the platform kept of the amount.
    pub fee: Amount,
    /// Digest of the idempotency key of the redemption, and the fingerprint of its request; zero without a key.
    redeemed_by: (u64, u64),
    /// Position of the last fact about this token: its reservation, then its own decisions.
    pub decided: Position,
}

const _: () = assert!(size_of::<Token>() <= 160);

/// What was agreed at the reservation and never changes: the offer that was taken up, and by whom.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct TokenTerms {
    /// All tokens of one version of a service may share it, which is most of what a token would cost in memory.
    pub offer: Arc<Offer>,
    pub payer: WalletId,
    pub payer_agent: AgentId,
    /// Whether the outcome counts for trust: calls inside one operator do not.
    pub counts: bool,
    pub reserved_at: Timestamp,
}

impl Deref for TokenTerms {
    type Target = Offer;

    fn deref(&self) -> &Offer {
        &self.offer
    }
}

/// An optional point in time in eight bytes.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
struct Moment(i64);

impl Moment {
    const NEVER: Moment = Moment(i64::MIN);

    fn get(self) -> Option<Timestamp> {
        (self != Self::NEVER).then(|| Timestamp::from_millis(self.0))
    }
}

impl From<Option<Timestamp>> for Moment {
    fn from(at: Option<Timestamp>) -> Moment {
        at.map_or(Moment::NEVER, |at| Moment(at.millis()))
    }
}

/// When each step was taken, for records, rows and views.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub struct TokenTimes {
    pub verified_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub accepted_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
}

impl Token {
    /// The token that the record at `position` brought to life.
    pub fn reserved(fact: &TokenReserved, position: Position) -> Token {
        Token {
            terms: fact.terms.clone(),
            status: TokenStatus::Reserved,
            expires_at: fact.expires_at,
            verified_at: Moment::NEVER,
            started_at: Moment::NEVER,
            accepted_at: Moment::NEVER,
            ended_at: Moment::NEVER,
            fee: Amount::ZERO,
            redeemed_by: (0, 0),
            decided: position,
        }
    }

    /// The token of a snapshot row.
    pub fn restore(
        terms: TokenTerms,
        status: TokenStatus,
        expires_at: Timestamp,
        times: TokenTimes,
        fee: Amount,
        redeemed_by: (u64, u64),
        decided: Position,
    ) -> Token {
        Token {
            terms,
            status,
            expires_at,
            verified_at: times.verified_at.into(),
            started_at: times.started_at.into(),
            accepted_at: times.accepted_at.into(),
            ended_at: times.ended_at.into(),
            fee,
            redeemed_by,
            decided,
        }
    }

    pub fn times(&self) -> TokenTimes {
        TokenTimes {
            verified_at: self.verified_at.get(),
            started_at: self.started_at.get(),
            accepted_at: self.accepted_at.get(),
            ended_at: self.ended_at.get(),
        }
    }

    /// Digest and fingerprint of the redemption's idempotency key, for snapshot rows.
    pub fn redeemed_by(&self) -> (u64, u64) {
        self.redeemed_by
    }

    /// Whether this is the token that speaks so of itself.
    pub fn says(&self, claims: &TokenClaims) -> bool {
        let terms = &self.terms;
        *claims
            == TokenClaims {
                service: terms.service,
                payer_agent: terms.payer_agent,
                amount: terms.price,
                currency: terms.currency,
            }
    }

    /// When what is awaited now is late; `None` once the token has ended. What a provider owes is put off by outages,
    /// the redemption is not: a consumer can reserve again.
    pub fn deadline(&self, rules: &Rules, outages: &Outages) -> Option<Timestamp> {
        match self.status {
            TokenStatus::Reserved => Some(self.expires_at),
            TokenStatus::Verified => {
                Some(outages.extend(self.verified_at.get()?, rules.token_start_within_ms))
            }
            TokenStatus::Started => {
                let started_at = self.started_at.get()?;
                let completed = self.completed_by(started_at, rules, outages);
                let accept_within = self.terms.sla.and_then(|sla| sla.accept_within_ms);
                let accepted = accept_within.map(|within| outages.extend(started_at, within.into()));
                Some(accepted.map_or(completed, |accepted| accepted.min(completed)))
            }
            TokenStatus::Accepted => Some(self.completed_by(self.started_at.get()?, rules, outages)),
            TokenStatus::Settled
            | TokenStatus::Cancelled
            | TokenStatus::Expired
            | TokenStatus::SlaBreached
            | TokenStatus::Refunded => None,
        }
    }

    fn completed_by(&self, started_at: Timestamp, rules: &Rules, outages: &Outages) -> Timestamp {
        let within_ms = self.terms.sla.map_or(rules.token_complete_within_ms, |sla| sla.window_ms.into());
        outages.extend(started_at, within_ms)
    }

    /// Folds in the token's own fact at `position`: right after the append, and in replay for records above `decided`.
    /// Panics when it is out of order: state and log have parted.
    pub fn apply(&mut self, fact: &TokenFact, position: Position) {
        assert!(position > self.decided, "own record {position} is not after {}", self.decided);
        assert!(self.status.is_open(), "record {position} goes on after the token's end");
        match fact {
            TokenFact::Stepped(stepped) => self.step(stepped),
            TokenFact::Ended(ended) => {
                self.status = ended.end.status();
                self.ended_at = Moment(ended.at.millis());
                self.fee = ended.fee;
            }
        }
        self.decided = position;
    }

    fn step(&mut self, stepped: &TokenStepped) {
        let at = Moment(stepped.at.millis());
        let (from, to) = stepped.step.edge();
        assert_eq!(self.status, from, "a step leads from the state before it");
        self.status = to;
        match &stepped.step {
            Step::Verify(verification) => {
                self.verified_at = at;
                if let Some(key) = &verification.key {
                    self.redeemed_by = (digest_of(key.hash(crate::KeyScope::VerifyToken)), key.fingerprint);
                }
            }
            Step::Start => self.started_at = at,
            Step::Accept => self.accepted_at = at,
            Step::Complete | Step::Cancel => unreachable!("they end a token and are recorded as its end"),
        }
    }
}

/// 64 of the hash's bits, none of them among its low sixteen, which are always zero; never zero itself.
fn digest_of(hash: KeyHash) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = hash.raw().to_le_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(1)
}

#[cfg(test)]
mod tests;
