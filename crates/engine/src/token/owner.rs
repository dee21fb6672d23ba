//! What the owner of a token does when it is asked: decide by the pure rules, append the record, change the state.
//! Nothing is awaited here, so nothing comes between "handed to the log" and "state changed".

use std::cell::RefCell;

use journal::{Encode, Scratch};
use ledger::{
    AgentId, Denial, Fact, Position, Step, Timestamp, Token, TokenClaims, TokenDecision, TokenFact,
    decide_lapse, decide_step,
};
use wal::Refused;

use super::view::{TokenView, view_after, view_of};
use crate::{
    release::{Decided, Reply, Requester, Seat},
    shared::Shared,
};

/// What a party asks of a token.
pub(crate) struct Asked {
    pub(crate) caller: AgentId,
    /// What the token said of itself where it was presented.
    pub(crate) claims: Option<TokenClaims>,
    pub(crate) step: Step,
}

/// What came of waking a token at a deadline.
pub(crate) enum Lapse {
    /// It has ended by this, in the record at `position`.
    Ended { position: Position, late_ms: i64 },
    /// It had ended before.
    Over,
    /// It is not late yet: wake it again then.
    Later(Timestamp),
    /// The log takes nothing now.
    Refused(Refused),
}

/// A token in the hands of its owner.
pub(crate) struct Owner<'t> {
    pub(crate) id: Position,
    pub(crate) token: &'t mut Token,
    pub(crate) shared: &'t Shared,
}

thread_local! {
    /// Records are serialised outside the log's lock, one at a time per thread, into a buffer that is kept.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Owner<'_> {
    /// Takes a step for a party. The reply may be shown once its position is delivered.
    pub(crate) fn take_step(&mut self, asked: Asked, seat: Seat) -> Decided {
        let Asked { caller, claims, step } = asked;
        if let Some(claims) = claims
            && caller == self.token.terms.provider
            && !self.token.says(&claims)
        {
            return self.answer(seat, Reply::Refused(Denial::TokenMismatch.into()));
        }
        let time = &self.shared.time;
        let moments = (time.now(), time.late());
        let rules = &self.shared.rules;
        let decision = time.with_outages(|outages| {
            decide_step(self.token, self.id, caller, step.clone(), moments, rules, outages)
        });
        match decision {
            TokenDecision::Fact(fact) => match self.record(fact, seat.companion()) {
                Ok(()) => self.decided(Reply::Token(Box::new(self.after(&step)), false)),
                Err(refused) => refuse(refused),
            },
            TokenDecision::Lapsed(ended, denial) => {
                match self.record(TokenFact::Ended(ended), seat.companion()) {
                    Ok(()) => self.decided(Reply::Refused(denial.into())),
                    Err(refused) => refuse(refused),
                }
            }
            TokenDecision::Repeats => {
                let view = self.after(&step);
                self.answer(seat, Reply::Token(Box::new(view), true))
            }
            TokenDecision::Denied(denial) => self.answer(seat, Reply::Refused(denial.into())),
        }
    }

    /// Ends the token if it is late.
    pub(crate) fn lapse(&mut self) -> Lapse {
        let time = &self.shared.time;
        let (now, late) = (time.now(), time.late());
        let rules = &self.shared.rules;
        let (deadline, ended) = time.with_outages(|outages| {
            let deadline = self.token.deadline(rules, outages);
            (deadline, decide_lapse(self.token, self.id, (now, late), rules, outages))
        });
        match (deadline, ended) {
            (None, _) => Lapse::Over,
            (Some(deadline), None) => Lapse::Later(deadline),
            (Some(deadline), Some(ended)) => match self.record(TokenFact::Ended(ended), None) {
                Ok(()) => Lapse::Ended {
                    position: self.token.decided,
                    late_ms: now.millis().saturating_sub(deadline.millis()),
                },
                Err(refused) => Lapse::Refused(refused),
            },
        }
    }

    /// Shows the token to one of its parties.
    pub(crate) fn read(&self, caller: AgentId, seat: Seat) -> Decided {
        let terms = &self.token.terms;
        let reply = if caller == terms.payer_agent || caller == terms.provider {
            Reply::Token(Box::new(view_of(self.shared, self.id, self.token)), false)
        } else {
            Reply::Refused(Denial::UnknownToken.into())
        };
        // The deadline that is shown may stand on an outage that is not durable yet.
        let decided = self.shared.time.with_outages(|outages| outages.decided).max(self.token.decided);
        let decided = self.shared.answer(decided, Requester::Here(seat), reply);
        decided.expect("the requester is on this task")
    }

    /// Appends the fact and changes the state, with the code that replay uses. A log that refuses leaves everything as it
    /// was. A deadline that comes closer by it is handed to the wheel.
    fn record(
        &mut self,
        fact: TokenFact,
        companion: Option<crate::release::Companion>,
    ) -> Result<(), Refused> {
        let rules = &self.shared.rules;
        let time = &self.shared.time;
        let before = time.with_outages(|outages| self.token.deadline(rules, outages));
        let fact = Fact::from(fact);
        ledger::assert_balanced(|f| fact.for_each_posting(f));
        let lsn = SCRATCH.with_borrow_mut(|scratch| {
            fact.encode(scratch);
            match companion {
                Some(companion) => self.shared.wal.append_with(scratch.bytes(), |_| companion),
                None => self.shared.wal.append(scratch.bytes()),
            }
        })?;
        self.shared.time.stamped_at(fact.at());
        let fact = match fact {
            Fact::TokenStepped(fact) => TokenFact::Stepped(fact),
            Fact::TokenEnded(fact) => TokenFact::Ended(fact),
            _ => unreachable!("made from a token's fact above"),
        };
        self.token.apply(&fact, Position::new(lsn.get()));
        let after = time.with_outages(|outages| self.token.deadline(rules, outages));
        // A timer at or before the old deadline is armed already; it finds the new one when it fires.
        if let Some(after) = after
            && before.is_none_or(|before| after < before)
        {
            self.shared.timers.arm(self.id, after);
        }
        Ok(())
    }

    fn after(&self, step: &Step) -> TokenView {
        view_after(self.shared, self.id, self.token, step)
    }

    fn decided(&self, reply: Reply) -> Decided {
        Decided { reply, position: self.token.decided }
    }

    /// Answers without a record, but not before all that this token has decided is durable.
    fn answer(&self, seat: Seat, reply: Reply) -> Decided {
        let decided = self.shared.answer(self.token.decided, Requester::Here(seat), reply);
        decided.expect("the requester is on this task")
    }
}

fn refuse(refused: Refused) -> Decided {
    Decided { reply: Reply::Refused(refused.into()), position: Position::ZERO }
}
