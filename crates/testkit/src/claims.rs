//! A naive model of refunds and disputes: maps and plain sums, written from the published rules and from nothing else.
//!
//! It takes effect at once, forgets nothing and knows no positions. Wallets are numbers, each of an agent of its own.

use std::collections::BTreeMap;

use crate::Money;

/// Basis points on top of a payment.
const FEE_BASIS_POINTS: Money = 40;

/// Who speaks about a payment: the agent of a wallet, or an operator.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Voice {
    Wallet(usize),
    Operator,
}

/// What is asked for. Payments go by number, in the order in which they were made.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum ClaimAction {
    Fund {
        wallet: usize,
        amount: Money,
    },
    /// `payee: None` is somebody outside.
    Pay {
        payer: usize,
        payee: Option<usize>,
        amount: Money,
    },
    Refund {
        payment: usize,
        amount: Option<Money>,
        voice: Voice,
        key: Option<u64>,
    },
    Open {
        payment: usize,
        voice: Voice,
        key: Option<u64>,
        in_time: bool,
    },
    AddEvidence {
        payment: usize,
        voice: Voice,
    },
    /// `review`, `refund`, `deny` or `withdraw`.
    Move {
        payment: usize,
        step: &'static str,
        voice: Voice,
    },
}

/// What must come of it. Refusals go by name.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum ClaimOutcome {
    Done,
    /// Answered as it was before.
    Again,
    Denied(&'static str),
}

/// A wallet's parts.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub struct ClaimPurse {
    pub available: Money,
    pub disputed: Money,
}

#[derive(Clone, Eq, PartialEq, Debug)]
pub struct PaidOnce {
    pub payer: usize,
    pub payee: Option<usize>,
    pub amount: Money,
    pub refunded: Money,
    pub dispute: Option<Disputed>,
}

#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Disputed {
    /// Wallet whose agent opened it.
    pub by: usize,
    pub status: &'static str,
    pub set_aside: Money,
    pub evidence: usize,
}

/// The books.
#[derive(Clone, Debug)]
pub struct Claims {
    pub purses: Vec<ClaimPurse>,
    pub payments: Vec<PaidOnce>,
    /// Keys of refunds and openings, by payment and route: what they were used for.
    keys: BTreeMap<(usize, &'static str, u64), Option<Money>>,
    evidence_max: usize,
}

impl Claims {
    pub fn new(wallets: usize, evidence_max: usize) -> Self {
        Self {
            purses: vec![ClaimPurse::default(); wallets],
            payments: Vec::new(),
            keys: BTreeMap::new(),
            evidence_max,
        }
    }

    /// Carries out the next action.
    pub fn apply(&mut self, action: &ClaimAction) -> ClaimOutcome {
        let outcome = match action {
            ClaimAction::Fund { wallet, amount } => {
                self.purses[*wallet].available += amount;
                Ok(ClaimOutcome::Done)
            }
            ClaimAction::Pay { payer, payee, amount } => self.pay(*payer, *payee, *amount),
            ClaimAction::Refund { payment, amount, voice, key } => {
                self.refund(*payment, *amount, *voice, *key)
            }
            ClaimAction::Open { payment, voice, key, in_time } => self.open(*payment, *voice, *key, *in_time),
            ClaimAction::AddEvidence { payment, voice } => self.add_evidence(*payment, *voice),
            ClaimAction::Move { payment, step, voice } => self.go_on(*payment, step, *voice),
        };
        outcome.unwrap_or_else(ClaimOutcome::Denied)
    }

    fn pay(
        &mut self,
        payer: usize,
        payee: Option<usize>,
        amount: Money,
    ) -> Result<ClaimOutcome, &'static str> {
        let scaled = amount * FEE_BASIS_POINTS;
        let cost = amount + scaled / 10_000 + Money::from(scaled % 10_000 >= 5_000);
        if cost > self.purses[payer].available {
            return Err("insufficient_balance");
        }
        self.purses[payer].available -= cost;
        if let Some(payee) = payee {
            self.purses[payee].available += amount;
        }
        self.payments.push(PaidOnce { payer, payee, amount, refunded: 0, dispute: None });
        Ok(ClaimOutcome::Done)
    }

    fn refund(
        &mut self,
        number: usize,
        amount: Option<Money>,
        voice: Voice,
        key: Option<u64>,
    ) -> Result<ClaimOutcome, &'static str> {
        let paid = &self.payments[number];
        match voice {
            Voice::Operator => {}
            Voice::Wallet(wallet) if paid.payee == Some(wallet) => {}
            Voice::Wallet(wallet) if paid.payer == wallet => return Err("only_the_payee"),
            Voice::Wallet(_) => return Err("unknown_payment"),
        }
        if let Some(known) = self.known(number, "refund", key, amount)? {
            return Ok(known);
        }
        if paid.dispute.as_ref().is_some_and(|dispute| is_open(dispute.status)) {
            return Err("payment_disputed");
        }
        let left = paid.amount - paid.refunded;
        let asked = amount.unwrap_or(left);
        if left == 0 {
            return Err("already_refunded");
        }
        if asked <= 0 {
            return Err("amount_not_positive");
        }
        if asked > left {
            return Err("refund_too_large");
        }
        if let Some(payee) = paid.payee {
            if asked > self.purses[payee].available {
                return Err("insufficient_balance");
            }
            self.purses[payee].available -= asked;
        }
        let payer = paid.payer;
        self.purses[payer].available += asked;
        self.payments[number].refunded += asked;
        self.remember(number, "refund", key, amount);
        Ok(ClaimOutcome::Done)
    }

    fn open(
        &mut self,
        number: usize,
        voice: Voice,
        key: Option<u64>,
        in_time: bool,
    ) -> Result<ClaimOutcome, &'static str> {
        let paid = &self.payments[number];
        let by = match voice {
            Voice::Wallet(wallet) if wallet == paid.payer || paid.payee == Some(wallet) => wallet,
            Voice::Wallet(_) | Voice::Operator => return Err("unknown_payment"),
        };
        if let Some(known) = self.known(number, "open", key, None)? {
            return Ok(known);
        }
        if paid.dispute.is_some() {
            return Err("dispute_exists");
        }
        if paid.refunded == paid.amount {
            return Err("already_refunded");
        }
        if !in_time {
            return Err("dispute_window_closed");
        }
        let set_aside = match paid.payee {
            None => 0,
            Some(payee) => (paid.amount - paid.refunded).min(self.purses[payee].available.max(0)),
        };
        if let Some(payee) = paid.payee {
            self.purses[payee].available -= set_aside;
            self.purses[payee].disputed += set_aside;
        }
        self.payments[number].dispute = Some(Disputed { by, status: "open", set_aside, evidence: 0 });
        self.remember(number, "open", key, None);
        Ok(ClaimOutcome::Done)
    }

    fn add_evidence(&mut self, number: usize, voice: Voice) -> Result<ClaimOutcome, &'static str> {
        self.hears(number, voice)?;
        let most = self.evidence_max;
        let dispute = self.payments[number].dispute.as_mut().ok_or("unknown_dispute")?;
        if !is_open(dispute.status) {
            return Err("wrong_dispute_status");
        }
        if dispute.evidence == most {
            return Err("too_much_evidence");
        }
        dispute.evidence += 1;
        Ok(ClaimOutcome::Done)
    }

    fn go_on(&mut self, number: usize, step: &str, voice: Voice) -> Result<ClaimOutcome, &'static str> {
        self.hears(number, voice)?;
        let paid = &mut self.payments[number];
        let dispute = paid.dispute.as_mut().ok_or("unknown_dispute")?;
        let to = match step {
            "review" => "under_review",
            "refund" => "resolved_refunded",
            "deny" => "resolved_denied",
            _ => "withdrawn",
        };
        if to == "withdrawn" && voice != Voice::Wallet(dispute.by) {
            return Err("only_the_opener");
        }
        if dispute.status == to {
            return Ok(ClaimOutcome::Again);
        }
        let may = match to {
            "under_review" | "withdrawn" => dispute.status == "open",
            _ => is_open(dispute.status),
        };
        if !may {
            return Err("wrong_dispute_status");
        }
        dispute.status = to;
        if is_open(to) {
            return Ok(ClaimOutcome::Done);
        }
        let released = std::mem::take(&mut dispute.set_aside);
        let returned = if to == "resolved_refunded" { paid.amount - paid.refunded } else { 0 };
        if let Some(payee) = paid.payee {
            self.purses[payee].disputed -= released;
            self.purses[payee].available += released - returned;
        }
        paid.refunded += returned;
        let payer = paid.payer;
        self.purses[payer].available += returned;
        Ok(ClaimOutcome::Done)
    }

    /// Whether the dispute about a payment is for this voice to know.
    fn hears(&self, number: usize, voice: Voice) -> Result<(), &'static str> {
        let paid = &self.payments[number];
        let may = match voice {
            Voice::Operator => true,
            Voice::Wallet(wallet) => wallet == paid.payer || paid.payee == Some(wallet),
        };
        if may { Ok(()) } else { Err("unknown_dispute") }
    }

    fn known(
        &self,
        number: usize,
        route: &'static str,
        key: Option<u64>,
        meaning: Option<Money>,
    ) -> Result<Option<ClaimOutcome>, &'static str> {
        match key.and_then(|key| self.keys.get(&(number, route, key))) {
            None => Ok(None),
            Some(first) if *first == meaning => Ok(Some(ClaimOutcome::Again)),
            Some(_) => Err("key_conflict"),
        }
    }

    fn remember(&mut self, number: usize, route: &'static str, key: Option<u64>, meaning: Option<Money>) {
        if let Some(key) = key {
            self.keys.insert((number, route, key), meaning);
        }
    }
}

fn is_open(status: &str) -> bool {
    matches!(status, "open" | "under_review")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(actions: &[ClaimAction]) -> (Claims, ClaimOutcome) {
        let mut claims = Claims::new(3, 1);
        claims.apply(&ClaimAction::Fund { wallet: 0, amount: 1_000 });
        claims.apply(&ClaimAction::Pay { payer: 0, payee: Some(1), amount: 500 });
        let outcomes = actions.iter().map(|action| claims.apply(action)).collect::<Vec<_>>();
        let last = outcomes.last().copied().unwrap_or(ClaimOutcome::Done);
        (claims, last)
    }

    #[test]
    fn a_dispute_takes_what_is_there_and_the_rest_is_owed() {
        let spend = ClaimAction::Pay { payer: 1, payee: None, amount: 300 };
        let open = ClaimAction::Open { payment: 0, voice: Voice::Wallet(0), key: None, in_time: true };
        let (claims, outcome) = after(&[spend.clone(), open.clone()]);
        assert_eq!(
            (claims.purses[1], outcome),
            (ClaimPurse { available: 0, disputed: 199 }, ClaimOutcome::Done)
        );
        let refund = ClaimAction::Move { payment: 0, step: "refund", voice: Voice::Operator };
        let (claims, _) = after(&[spend, open, refund]);
        assert_eq!(claims.purses[1], ClaimPurse { available: -301, disputed: 0 });
        assert_eq!((claims.purses[0].available, claims.payments[0].refunded), (998, 500));
    }

    #[test]
    fn refunds_and_disputes_exclude_each_other() {
        let open = ClaimAction::Open { payment: 0, voice: Voice::Wallet(1), key: None, in_time: true };
        let refund = ClaimAction::Refund { payment: 0, amount: None, voice: Voice::Wallet(1), key: Some(7) };
        assert_eq!(after(&[open.clone(), refund.clone()]).1, ClaimOutcome::Denied("payment_disputed"));
        assert_eq!(after(&[refund.clone(), open]).1, ClaimOutcome::Denied("already_refunded"));
        assert_eq!(after(&[refund.clone(), refund]).1, ClaimOutcome::Again);
    }
}
