//! A naive model of service calls: what holds, tokens and deadlines must come to, written from the published rules and
//! from nothing else. It looks at every token at every moment and keeps no timers.

use crate::Money;

/// Times that the rules give, in milliseconds.
#[derive(Copy, Clone, Debug)]
pub struct CallRules {
    pub start_within_ms: i64,
    pub complete_within_ms: i64,
}

/// A provider's promise: window from the start, and time to accept within it.
#[derive(Copy, Clone, Debug)]
pub struct Promise {
    pub window_ms: i64,
    pub accept_within_ms: Option<i64>,
}

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum CallStep {
    Verify,
    Start,
    Accept,
    Complete,
    Cancel,
}

impl CallStep {
    pub const ALL: [CallStep; 5] =
        [CallStep::Verify, CallStep::Start, CallStep::Accept, CallStep::Complete, CallStep::Cancel];

    fn edge(self) -> (&'static str, &'static str) {
        match self {
            CallStep::Verify => ("reserved", "verified"),
            CallStep::Start => ("verified", "started"),
            CallStep::Accept => ("started", "accepted"),
            CallStep::Complete => ("accepted", "settled"),
            CallStep::Cancel => ("reserved", "cancelled"),
        }
    }
}

/// Wallets by index, tokens by the order of their reservations.
#[derive(Clone, Debug)]
pub struct Calls {
    pub wallets: Vec<Purse>,
    pub tokens: Vec<CallToken>,
    /// Stretches in which nothing was served.
    pub outages: Vec<(i64, i64)>,
    rules: CallRules,
}

#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub struct Purse {
    pub available: Money,
    pub held: Money,
}

#[derive(Clone, Debug)]
pub struct CallToken {
    pub payer: usize,
    pub payee: usize,
    pub price: Money,
    pub status: &'static str,
    promise: Option<Promise>,
    expires_at: i64,
    verified_at: i64,
    started_at: i64,
    was_started: bool,
    was_accepted: bool,
    key: Option<(String, u64)>,
}

/// What a step must answer: the status that is shown and whether it is a repetition, or the name of a refusal.
pub type CallOutcome = Result<(&'static str, bool), &'static str>;

impl Calls {
    pub fn new(wallets: usize, rules: CallRules) -> Self {
        Self { wallets: vec![Purse::default(); wallets], tokens: Vec::new(), outages: Vec::new(), rules }
    }

    pub fn fund(&mut self, wallet: usize, amount: Money) {
        self.wallets[wallet].available += amount;
    }

    /// The new token's number, or the name of a refusal.
    pub fn reserve(
        &mut self,
        (payer, payee): (usize, usize),
        price: Money,
        promise: Option<Promise>,
        (now, ttl_ms): (i64, i64),
    ) -> Result<usize, &'static str> {
        if payer == payee {
            return Err("same_wallet");
        }
        if price > self.wallets[payer].available {
            return Err("insufficient_balance");
        }
        self.wallets[payer].available -= price;
        self.wallets[payer].held += price;
        self.tokens.push(CallToken {
            payer,
            payee,
            price,
            status: "reserved",
            promise,
            expires_at: now + ttl_ms,
            verified_at: 0,
            started_at: 0,
            was_started: false,
            was_accepted: false,
            key: None,
        });
        Ok(self.tokens.len() - 1)
    }

    /// A step by the party that may take it. `key` comes with a redemption.
    pub fn step(&mut self, token: usize, step: CallStep, key: Option<(&str, u64)>, now: i64) -> CallOutcome {
        self.pass(now);
        let (from, to) = step.edge();
        let status = self.tokens[token].status;
        if status == from {
            self.take(token, step, key, now);
            return Ok((to, false));
        }
        let known = &self.tokens[token];
        let alive = !matches!(status, "cancelled" | "expired" | "sla_breached" | "refunded");
        match step {
            CallStep::Verify => match (&known.key, key) {
                (Some((text, fingerprint)), Some((asked, print))) if text == asked => {
                    if *fingerprint == print { Ok(("verified", true)) } else { Err("key_conflict") }
                }
                _ => Err(match status {
                    "expired" => "token_expired",
                    "cancelled" => "wrong_token_status",
                    _ => "token_used",
                }),
            },
            CallStep::Start if alive && known.was_started => Ok(("started", true)),
            CallStep::Accept if alive && known.was_accepted => Ok(("accepted", true)),
            CallStep::Complete if status == "settled" => Ok(("settled", true)),
            CallStep::Cancel if status == "cancelled" => Ok(("cancelled", true)),
            CallStep::Start | CallStep::Accept | CallStep::Complete | CallStep::Cancel => {
                Err("wrong_token_status")
            }
        }
    }

    /// Ends every token that is late at `now`.
    pub fn pass(&mut self, now: i64) {
        for token in 0..self.tokens.len() {
            let late = self.deadline(token).is_some_and(|deadline| deadline <= now);
            if !late {
                continue;
            }
            let has_promise = self.tokens[token].promise.is_some();
            let end = match self.tokens[token].status {
                "reserved" => "expired",
                "started" | "accepted" if has_promise => "sla_breached",
                _ => "refunded",
            };
            self.give_back(token, end);
        }
    }

    /// When a token is late; `None` once it has ended.
    pub fn deadline(&self, token: usize) -> Option<i64> {
        let known = &self.tokens[token];
        let completed = |promise: Option<Promise>| {
            let within = promise.map_or(self.rules.complete_within_ms, |promise| promise.window_ms);
            self.served(known.started_at, within)
        };
        match known.status {
            "reserved" => Some(known.expires_at),
            "verified" => Some(self.served(known.verified_at, self.rules.start_within_ms)),
            "started" => {
                let accepted = known.promise.and_then(|promise| promise.accept_within_ms);
                let accepted = accepted.map(|within| self.served(known.started_at, within));
                Some(
                    accepted
                        .map_or(completed(known.promise), |accepted| accepted.min(completed(known.promise))),
                )
            }
            "accepted" => Some(completed(known.promise)),
            _ => None,
        }
    }

    /// The moment at which `within` milliseconds of service have passed since `start`, counted one by one.
    fn served(&self, start: i64, within: i64) -> i64 {
        let mut now = start;
        let mut left = within;
        while left > 0 {
            match self.outages.iter().find(|(from, to)| (*from..*to).contains(&now)) {
                Some((_, to)) => now = *to,
                None => {
                    now += 1;
                    left -= 1;
                }
            }
        }
        now
    }

    fn take(&mut self, token: usize, step: CallStep, key: Option<(&str, u64)>, now: i64) {
        let (_, to) = step.edge();
        let known = &mut self.tokens[token];
        match step {
            CallStep::Verify => {
                known.verified_at = now;
                known.key = key.map(|(text, print)| (text.to_owned(), print));
            }
            CallStep::Start => (known.started_at, known.was_started) = (now, true),
            CallStep::Accept => known.was_accepted = true,
            CallStep::Complete => {
                let (payer, payee, price) = (known.payer, known.payee, known.price);
                self.wallets[payer].held -= price;
                self.wallets[payee].available += price;
            }
            CallStep::Cancel => return self.give_back(token, to),
        }
        self.tokens[token].status = to;
    }

    fn give_back(&mut self, token: usize, end: &'static str) {
        let known = &mut self.tokens[token];
        known.status = end;
        let purse = &mut self.wallets[known.payer];
        purse.held -= known.price;
        purse.available += known.price;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: CallRules = CallRules { start_within_ms: 10, complete_within_ms: 20 };

    fn model() -> Calls {
        let mut calls = Calls::new(2, RULES);
        calls.fund(0, 100);
        calls
    }

    #[test]
    fn a_call_is_paid_once() {
        let mut calls = model();
        let token = calls.reserve((0, 1), 30, None, (0, 5)).expect("there is money");
        assert_eq!(calls.wallets[0], Purse { available: 70, held: 30 });
        for step in &CallStep::ALL[..4] {
            assert!(calls.step(token, *step, None, 1).is_ok());
        }
        assert_eq!(calls.step(token, CallStep::Complete, None, 2), Ok(("settled", true)));
        assert_eq!(calls.wallets[1], Purse { available: 30, held: 0 });
        assert_eq!(calls.reserve((0, 1), 71, None, (0, 5)), Err("insufficient_balance"));
        assert_eq!(calls.reserve((0, 0), 1, None, (0, 5)), Err("same_wallet"));
    }

    #[test]
    fn deadlines_count_what_was_served() {
        let mut calls = model();
        let promise = Some(Promise { window_ms: 8, accept_within_ms: Some(3) });
        let token = calls.reserve((0, 1), 30, promise, (0, 5)).expect("there is money");
        assert_eq!(calls.deadline(token), Some(5));
        calls.step(token, CallStep::Verify, None, 4).expect("in time");
        assert_eq!(calls.deadline(token), Some(14));
        calls.step(token, CallStep::Start, None, 6).expect("in time");
        calls.outages.push((7, 107));
        assert_eq!(calls.deadline(token), Some(109));
        calls.step(token, CallStep::Accept, None, 108).expect("in time");
        assert_eq!(calls.deadline(token), Some(114));
        assert_eq!(calls.step(token, CallStep::Complete, None, 114), Err("wrong_token_status"));
        assert_eq!((calls.tokens[token].status, calls.wallets[0].available), ("sla_breached", 100));
    }
}
