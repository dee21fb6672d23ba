//! The end of a token, with everything that is worth knowing about it afterwards: once it is delivered the token
//! itself may be forgotten.

use super::{Token, TokenStatus, TokenTerms, TokenTimes};
use crate::{Amount, HoldEnd, Position, Posting, Rules, Timestamp, fees};

/// How a token ended.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum TokenEnd {
    Settled,
    Cancelled,
    Expired,
    SlaBreached,
    Refunded,
}

impl TokenEnd {
    pub const fn status(self) -> TokenStatus {
        match self {
            TokenEnd::Settled => TokenStatus::Settled,
            TokenEnd::Cancelled => TokenStatus::Cancelled,
            TokenEnd::Expired => TokenStatus::Expired,
            TokenEnd::SlaBreached => TokenStatus::SlaBreached,
            TokenEnd::Refunded => TokenStatus::Refunded,
        }
    }
}

#[derive(Clone, Eq, PartialEq, Debug)]
pub struct TokenEnded {
    /// Position of the reservation.
    pub token: Position,
    pub end: TokenEnd,
    pub terms: TokenTerms,
    pub expires_at: Timestamp,
    /// `ended_at` is `at` and not kept twice.
    pub times: TokenTimes,
    /// Part of the amount that the platform keeps from the provider; zero unless settled.
    pub fee: Amount,
    /// Digest of the idempotency key of the redemption, and the fingerprint of its request; zero without a key.
    pub redeemed_by: (u64, u64),
    pub at: Timestamp,
}

impl TokenEnded {
    pub(super) fn of(token: &Token, id: Position, end: TokenEnd, at: Timestamp, rules: &Rules) -> TokenEnded {
        let fee = match end {
            TokenEnd::Settled => fees::share(rules.platform_fee_basis_points, token.terms.price)
                .expect("a price within the bounds of amounts has a fee within them"),
            TokenEnd::Cancelled | TokenEnd::Expired | TokenEnd::SlaBreached | TokenEnd::Refunded => {
                Amount::ZERO
            }
        };
        assert!(!fee.is_negative() && fee <= token.terms.price, "a fee is at most the amount");
        TokenEnded {
            token: id,
            end,
            terms: token.terms.clone(),
            expires_at: token.expires_at,
            times: TokenTimes { ended_at: None, ..token.times() },
            fee,
            redeemed_by: token.redeemed_by,
            at,
        }
    }

    /// The token as this record leaves it, for questions that come after it has been forgotten.
    pub fn token(&self, position: Position) -> Token {
        let times = TokenTimes { ended_at: Some(self.at), ..self.times };
        let status = self.end.status();
        let (terms, by) = (self.terms.clone(), self.redeemed_by);
        Token::restore(terms, status, self.expires_at, times, self.fee, by, position)
    }

    pub fn hold_end(&self) -> HoldEnd {
        HoldEnd {
            payer: self.terms.payer,
            payee: self.terms.payee,
            currency: self.terms.currency,
            amount: self.terms.price,
            fee: self.fee,
            settled: self.end == TokenEnd::Settled,
            reserved: self.token,
            reserved_at: self.terms.reserved_at,
        }
    }

    pub fn for_each_posting(&self, f: impl FnMut(Posting)) {
        self.hold_end().for_each_posting(f);
    }
}
