//! Steps of a token's life and their decisions.

use super::{Token, TokenEnd, TokenEnded, TokenStatus, digest_of};
use crate::{
    AgentId, Amount, Currency, Denial, KeyScope, KeyUse, Outages, Position, Rules, ServiceId, Timestamp,
};

/// What a party asks of a token.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum Step {
    /// The provider redeems it.
    Verify(Verification),
    /// The provider begins the call: the clock of the SLA starts.
    Start,
    Accept,
    /// The provider is done: the hold becomes its money.
    Complete,
    /// The consumer gives it up.
    Cancel,
}

/// What comes with a redemption.
#[derive(Clone, Eq, PartialEq, Debug, Default)]
pub struct Verification {
    pub key: Option<KeyUse>,
}

impl Step {
    /// The states that the step leads from and to.
    pub const fn edge(&self) -> (TokenStatus, TokenStatus) {
        match self {
            Step::Verify(_) => (TokenStatus::Reserved, TokenStatus::Verified),
            Step::Start => (TokenStatus::Verified, TokenStatus::Started),
            Step::Accept => (TokenStatus::Started, TokenStatus::Accepted),
            Step::Complete => (TokenStatus::Accepted, TokenStatus::Settled),
            Step::Cancel => (TokenStatus::Reserved, TokenStatus::Cancelled),
        }
    }
}

/// A step that moves no money.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct TokenStepped {
    /// Position of the reservation.
    pub token: Position,
    /// One of the first three.
    pub step: Step,
    pub at: Timestamp,
}

/// What a token decides about itself.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum TokenFact {
    Stepped(TokenStepped),
    Ended(TokenEnded),
}

/// The outcome of asking a token.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum TokenDecision {
    /// To be recorded and applied; answered with the token as it is then.
    Fact(TokenFact),
    /// The time for it has passed: to be recorded and applied, and answered with the denial.
    Lapsed(TokenEnded, Denial),
    /// Taken before: answered with the token as the step left it.
    Repeats,
    Denied(Denial),
}

/// What a token says of itself where it was presented; compared before anything about its state is told.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct TokenClaims {
    pub service: ServiceId,
    pub payer_agent: AgentId,
    pub amount: Amount,
    pub currency: Currency,
}

/// Decides a step that `caller` asks for at `now`. `late` is the time up to which a provider's deadlines are judged: it
/// lags behind `now` while the node may have kept the provider waiting.
pub fn decide_step(
    token: &Token,
    id: Position,
    caller: AgentId,
    step: Step,
    (now, late): (Timestamp, Timestamp),
    rules: &Rules,
    outages: &Outages,
) -> TokenDecision {
    let party = match step {
        Step::Cancel => token.terms.payer_agent,
        Step::Verify(_) | Step::Start | Step::Accept | Step::Complete => token.terms.provider,
    };
    if caller != party {
        return TokenDecision::Denied(Denial::UnknownToken);
    }
    if let Some(verdict) = repetition(token, &step) {
        return verdict;
    }
    if let Some(ended) = decide_lapse(token, id, (now, late), rules, outages) {
        let denial = match ended.end {
            TokenEnd::Expired => expired(token, &step),
            end => Denial::WrongTokenStatus { status: end.status() },
        };
        return TokenDecision::Lapsed(ended, denial);
    }
    let (from, _) = step.edge();
    if token.status != from {
        return TokenDecision::Denied(refusal(token, &step));
    }
    TokenDecision::Fact(match step {
        Step::Complete => TokenFact::Ended(TokenEnded::of(token, id, TokenEnd::Settled, now, rules)),
        Step::Cancel => TokenFact::Ended(TokenEnded::of(token, id, TokenEnd::Cancelled, now, rules)),
        Step::Verify(_) | Step::Start | Step::Accept => {
            TokenFact::Stepped(TokenStepped { token: id, step, at: now })
        }
    })
}

/// The end of a token whose deadline has passed at `late`; `None` while there is time, and once it has ended.
pub fn decide_lapse(
    token: &Token,
    id: Position,
    (now, late): (Timestamp, Timestamp),
    rules: &Rules,
    outages: &Outages,
) -> Option<TokenEnded> {
    let deadline = token.deadline(rules, outages)?;
    // An unredeemed token is nobody's debt: its time is over when it is over.
    let judged = if token.status == TokenStatus::Reserved { now } else { late };
    if judged < deadline {
        return None;
    }
    let end = match token.status {
        TokenStatus::Reserved => TokenEnd::Expired,
        TokenStatus::Started | TokenStatus::Accepted if token.terms.sla.is_some() => TokenEnd::SlaBreached,
        _ => TokenEnd::Refunded,
    };
    Some(TokenEnded::of(token, id, end, now, rules))
}

/// The answer to a step that was taken before. A redemption repeats only under its own key: without one, a second
/// redemption is what tokens exist to prevent.
fn repetition(token: &Token, step: &Step) -> Option<TokenDecision> {
    let taken = match step {
        Step::Verify(Verification { key: Some(key) }) if token.redeemed_by.0 != 0 => {
            if token.redeemed_by.0 != digest_of(key.hash(KeyScope::VerifyToken)) {
                return None;
            }
            if token.redeemed_by.1 != key.fingerprint {
                return Some(TokenDecision::Denied(Denial::KeyConflict));
            }
            true
        }
        Step::Verify(_) => false,
        // A step that was taken and then overtaken by a deadline is not confirmed again: the caller has to learn of it.
        Step::Start => alive(token) && token.times().started_at.is_some(),
        Step::Accept => alive(token) && token.times().accepted_at.is_some(),
        Step::Complete => token.status == TokenStatus::Settled,
        Step::Cancel => token.status == TokenStatus::Cancelled,
    };
    taken.then_some(TokenDecision::Repeats)
}

/// Not ended otherwise than by settlement.
fn alive(token: &Token) -> bool {
    token.status.is_open() || token.status == TokenStatus::Settled
}

fn refusal(token: &Token, step: &Step) -> Denial {
    let status = token.status;
    match (step, status) {
        (Step::Verify(_), TokenStatus::Expired) => Denial::TokenExpired { expired_at: token.expires_at },
        (Step::Verify(_), TokenStatus::Cancelled) => Denial::WrongTokenStatus { status },
        (Step::Verify(_), _) => Denial::TokenUsed { status },
        _ => Denial::WrongTokenStatus { status },
    }
}

fn expired(token: &Token, step: &Step) -> Denial {
    match step {
        Step::Verify(_) => Denial::TokenExpired { expired_at: token.expires_at },
        Step::Start | Step::Accept | Step::Complete | Step::Cancel => {
            Denial::WrongTokenStatus { status: TokenStatus::Expired }
        }
    }
}
