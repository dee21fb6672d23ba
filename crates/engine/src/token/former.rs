//! Tokens that have ended and left memory: the record of the end tells all about one, and the index finds that record.
//! Without an index it is certain that such a token has ended, and nobody says how.

use ledger::{
    AgentId, Denial, Fact, Outages, Position, Step, Token, TokenClaims, TokenDecision, TokenTerms,
    decide_step,
};

use super::view::{TokenView, view_after, view_of};
use crate::{Engine, refusal::Refusal, views::Answer};

/// A token that has ended and left memory.
pub(crate) enum FormerToken {
    /// As the record of its end left it.
    Ended(Token),
    /// As its reservation left it: there is no index to find its end by.
    Unindexed(Token),
}

impl FormerToken {
    pub(super) fn terms(&self) -> &TokenTerms {
        match self {
            Self::Ended(token) | Self::Unindexed(token) => &token.terms,
        }
    }
}

impl Engine {
    /// A step of a token that has ended and was forgotten: at best a repetition.
    pub(super) fn step_of_ended(
        &self,
        position: Position,
        token: &Token,
        caller: AgentId,
        claims: Option<TokenClaims>,
        step: Step,
    ) -> Result<Answer<TokenView>, Refusal> {
        let shared = self.shared();
        if caller == token.terms.provider && claims.is_some_and(|claims| !token.says(&claims)) {
            return Err(Denial::TokenMismatch.into());
        }
        let moments = (shared.time.now(), shared.time.late());
        let (rules, outages) = (&shared.rules, Outages::default());
        match decide_step(token, position, caller, step.clone(), moments, rules, &outages) {
            TokenDecision::Repeats => Ok(Answer::again(view_after(shared, position, token, &step))),
            TokenDecision::Denied(denial) => Err(denial.into()),
            TokenDecision::Fact(_) | TokenDecision::Lapsed(..) => unreachable!("it has ended"),
        }
    }

    /// A token as the record of its end left it.
    pub(crate) fn view_of_ended(&self, id: Position, token: &Token) -> TokenView {
        view_of(self.shared(), id, token)
    }

    /// A token that has ended and is not in memory any more, for one of its parties.
    pub(super) async fn ended_token(&self, caller: AgentId, id: Position) -> Result<Token, Refusal> {
        let former = self.former_token(id).await?;
        let terms = former.terms();
        if caller != terms.payer_agent && caller != terms.provider {
            return Err(Denial::UnknownToken.into());
        }
        match former {
            FormerToken::Ended(token) => Ok(token),
            FormerToken::Unindexed(_) => Err(Refusal::EndNotIndexed),
        }
    }

    /// A token that is not in memory. None leaves it before it has ended, so without an index its end is certain and only
    /// its manner is not: that would take a walk through the log.
    pub(crate) async fn former_token(&self, id: Position) -> Result<FormerToken, Refusal> {
        if !self.reads().has_index() {
            let reserved = self.reads().reserved(id.get()).await?;
            return Ok(FormerToken::Unindexed(Token::reserved(&reserved, id)));
        }
        let Some(end) = self.reads().token_end(id).await? else { return Err(Denial::UnknownToken.into()) };
        match self.reads().fact(end.get()).await? {
            Fact::TokenEnded(ended) if ended.token == id => Ok(FormerToken::Ended(ended.token(end))),
            _ => Err(Refusal::Damaged),
        }
    }
}
