use super::*;
use crate::{ClockFact, Denial, KeyUse, OutageCause, Parts, Wallet, WalletStatus};
use crate::{Currency, ServiceId, Sla};
use TokenStatus::{Accepted, Cancelled, Expired, Refunded, Settled, SlaBreached, Started, Verified};

const CONSUMER: AgentId = AgentId::from_raw(1);
const PROVIDER: AgentId = AgentId::from_raw(2);
const PAYER: WalletId = WalletId::from_raw(3);
const ID: Position = Position::new(100);

const fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn offer(sla: Option<Sla>) -> Offer {
    Offer {
        service: ServiceId::from_raw(5),
        service_at: Position::new(50),
        provider: PROVIDER,
        payee: WalletId::from_raw(4),
        price: Amount::from_nanos(500),
        currency: Currency::USD,
        sla,
    }
}

fn wallet(available: i128) -> Wallet {
    let mut wallet = Wallet::open(CONSUMER, Currency::USD, None, at(0), Position::new(1));
    wallet.available = Amount::from_nanos(available);
    wallet
}

fn command(sla: Option<Sla>) -> ReserveCommand {
    ReserveCommand {
        caller: CONSUMER,
        payer: PAYER,
        offer: Ok(Arc::new(offer(sla))),
        category: None,
        counts: true,
        max_amount: None,
        key: None,
        agent_terms: None,
        at: at(1_000),
        expires_at: at(301_000),
    }
}

fn token(sla: Option<Sla>) -> Token {
    let Decision::Fact(reserved) = decide_reservation(&wallet(500), command(sla)) else {
        panic!("it passes")
    };
    Token::reserved(&reserved, ID)
}

use crate::Decision;

fn key(text: &str, fingerprint: u64) -> Option<KeyUse> {
    Some(KeyUse { text: text.into(), fingerprint })
}

fn verify(key: Option<KeyUse>) -> Step {
    Step::Verify(Verification { key })
}

/// One token and its log.
struct Life {
    token: Token,
    rules: Rules,
    outages: Outages,
    next: u64,
    ended: Option<TokenEnded>,
}

impl Life {
    fn new(sla: Option<Sla>) -> Life {
        let rules = Rules { platform_fee_basis_points: 100, ..Rules::default() };
        Life { token: token(sla), rules, outages: Outages::default(), next: 200, ended: None }
    }

    fn ask(&mut self, caller: AgentId, step: Step, millis: i64) -> TokenDecision {
        let now = (at(millis), at(millis));
        let decision = decide_step(&self.token, ID, caller, step, now, &self.rules, &self.outages);
        match &decision {
            TokenDecision::Fact(fact) => self.apply(fact.clone()),
            TokenDecision::Lapsed(ended, _) => self.apply(TokenFact::Ended(ended.clone())),
            TokenDecision::Repeats | TokenDecision::Denied(_) => {}
        }
        decision
    }

    fn apply(&mut self, fact: TokenFact) {
        self.next += 1;
        self.token.apply(&fact, Position::new(self.next));
        if let TokenFact::Ended(ended) = fact {
            assert!(self.ended.is_none(), "a token ends once");
            crate::assert_balanced(|f| ended.for_each_posting(f));
            self.ended = Some(ended);
        }
    }

    #[track_caller]
    fn passes(&mut self, step: Step, millis: i64, status: TokenStatus) {
        let caller = if step == Step::Cancel { CONSUMER } else { PROVIDER };
        let decision = self.ask(caller, step, millis);
        assert!(matches!(decision, TokenDecision::Fact(_)), "{decision:?}");
        assert_eq!(self.token.status, status);
    }

    #[track_caller]
    fn denied(&mut self, step: Step, millis: i64, expected: Denial) {
        let caller = if step == Step::Cancel { CONSUMER } else { PROVIDER };
        match self.ask(caller, step, millis) {
            TokenDecision::Denied(denial) | TokenDecision::Lapsed(_, denial) => assert_eq!(denial, expected),
            other => panic!("{other:?}"),
        }
    }

    fn until(sla: Option<Sla>, status: TokenStatus) -> Life {
        let mut life = Life::new(sla);
        let steps = [
            (verify(None), Verified),
            (Step::Start, Started),
            (Step::Accept, Accepted),
            (Step::Complete, Settled),
        ];
        for (step, reached) in steps {
            if life.token.status == status {
                return life;
            }
            life.passes(step, 2_000, reached);
        }
        assert_eq!(life.token.status, status);
        life
    }
}

#[test]
fn a_call_goes_from_reservation_to_settlement() {
    let life = Life::until(None, Settled);
    let ended = life.ended.expect("it ended");
    assert_eq!((ended.fee, ended.end), (Amount::from_nanos(5), TokenEnd::Settled));
    assert_eq!(ended.token(life.token.decided), life.token, "the record of the end tells all");
}

#[test]
fn a_reservation_is_refused_in_order() {
    let check = |change: &dyn Fn(&mut Wallet, &mut ReserveCommand), expected: Denial| {
        let (mut wallet, mut command) = (wallet(499), command(None));
        command.max_amount = Some(Amount::from_nanos(499));
        change(&mut wallet, &mut command);
        assert_eq!(decide_reservation(&wallet, command), Decision::Denied(expected));
    };
    let nanos = Amount::from_nanos;
    check(&|_, command| command.caller = PROVIDER, Denial::UnknownWallet);
    check(&|_, command| command.offer = Err(Denial::ServiceInactive), Denial::ServiceInactive);
    check(&|_, command| command.payer = offer(None).payee, Denial::SameWallet);
    check(
        &|wallet, _| wallet.currency = Currency::EUR,
        Denial::CurrencyMismatch { wallet: Currency::EUR, requested: Currency::USD },
    );
    check(&|wallet, _| wallet.status = WalletStatus::Closed, Denial::WalletClosed);
    check(&|wallet, _| wallet.status = WalletStatus::Frozen, Denial::WalletFrozen);
    check(&|_, _| (), Denial::PriceAboveMaximum { price: nanos(500), max_amount: nanos(499) });
    check(
        &|_, command| command.max_amount = Some(nanos(500)),
        Denial::InsufficientBalance { available: nanos(499), held: nanos(0), needed: nanos(500) },
    );
    let Decision::Fact(reserved) = decide_reservation(&wallet(500), command(None)) else {
        panic!("it passes")
    };
    assert_eq!(reserved.balance_after, Parts { available: nanos(0), held: nanos(500) });
    crate::assert_balanced(|f| reserved.for_each_posting(f));
}

#[test]
fn a_repeated_reservation_is_found_before_the_service_is_looked_at() {
    let mut wallet = wallet(0);
    let used = key("k", 7).expect("a key");
    let place = crate::KeyPlace { lsn: 9, item: 0 };
    wallet.keys.remember(used.hash(crate::KeyScope::Authorize), place, 7, at(0), 1_000);
    let again = ReserveCommand { offer: Err(Denial::UnknownService), key: Some(used), ..command(None) };
    assert_eq!(decide_reservation(&wallet, again.clone()), Decision::Replay(place));
    let other = ReserveCommand { key: key("k", 8), ..again };
    assert_eq!(decide_reservation(&wallet, other), Decision::Denied(Denial::KeyConflict));
}

/// Every state against every step, asked in good time.
#[test]
fn every_step_in_every_state() {
    let sla = Some(Sla { window_ms: 60_000, accept_within_ms: None });
    let wrong = |status| Denial::WrongTokenStatus { status };
    let used = |status| Denial::TokenUsed { status };
    for status in TokenStatus::ALL {
        for step in [verify(None), Step::Start, Step::Accept, Step::Complete, Step::Cancel] {
            let mut life = ended_or_at(sla, status);
            let caller = if step == Step::Cancel { CONSUMER } else { PROVIDER };
            let before = life.token.clone();
            let decision = life.ask(caller, step.clone(), 2_500);
            let (from, to) = step.edge();
            if status == from {
                assert!(matches!(decision, TokenDecision::Fact(_)), "{step:?} in {status:?}: {decision:?}");
                assert_eq!(life.token.status, to);
                continue;
            }
            let expected = match (&step, status) {
                (Step::Verify(_), Expired) => {
                    TokenDecision::Denied(Denial::TokenExpired { expired_at: at(301_000) })
                }
                (Step::Verify(_), Cancelled) => TokenDecision::Denied(wrong(Cancelled)),
                (Step::Verify(_), status) => TokenDecision::Denied(used(status)),
                (Step::Start, Started | Accepted | Settled)
                | (Step::Accept, Accepted | Settled)
                | (Step::Complete, Settled)
                | (Step::Cancel, Cancelled) => TokenDecision::Repeats,
                (_, status) => TokenDecision::Denied(wrong(status)),
            };
            assert_eq!(decision, expected, "{step:?} in {status:?}");
            assert_eq!(life.token, before, "a refusal changes nothing");
        }
    }
}

fn ended_or_at(sla: Option<Sla>, status: TokenStatus) -> Life {
    let lapse = |mut life: Life, millis| {
        let now = (at(millis), at(millis));
        let ended = decide_lapse(&life.token, ID, now, &life.rules, &life.outages).expect("it is late");
        life.apply(TokenFact::Ended(ended));
        life
    };
    match status {
        Cancelled => {
            let mut life = Life::new(sla);
            life.passes(Step::Cancel, 2_000, Cancelled);
            life
        }
        Expired => lapse(Life::new(sla), 301_000),
        Refunded => lapse(Life::until(sla, Verified), 302_000),
        SlaBreached => lapse(Life::until(sla, Started), 62_000),
        status => Life::until(sla, status),
    }
}

#[test]
fn only_the_parties_learn_of_a_token() {
    for status in TokenStatus::ALL {
        for step in [verify(None), Step::Start, Step::Accept, Step::Complete, Step::Cancel] {
            let mut life = ended_or_at(Some(Sla { window_ms: 60_000, accept_within_ms: None }), status);
            let stranger = if step == Step::Cancel { PROVIDER } else { CONSUMER };
            let decision = life.ask(stranger, step, 2_500);
            assert_eq!(decision, TokenDecision::Denied(Denial::UnknownToken));
        }
    }
}

#[test]
fn a_redemption_repeats_under_its_own_key_only() {
    let mut life = Life::new(None);
    life.passes(verify(key("a", 1)), 2_000, Verified);
    assert_eq!(life.ask(PROVIDER, verify(key("a", 1)), 2_001), TokenDecision::Repeats);
    life.denied(verify(key("a", 2)), 2_001, Denial::KeyConflict);
    life.denied(verify(key("b", 1)), 2_001, Denial::TokenUsed { status: Verified });
    life.denied(verify(None), 2_001, Denial::TokenUsed { status: Verified });
    life.passes(Step::Start, 2_002, Started);
    assert_eq!(life.ask(PROVIDER, verify(key("a", 1)), 2_003), TokenDecision::Repeats);
}

#[test]
fn what_is_late_ends_the_token_and_says_so() {
    let mut expired = Life::new(None);
    expired.denied(verify(None), 301_000, Denial::TokenExpired { expired_at: at(301_000) });
    assert_eq!(expired.ended.as_ref().map(|ended| ended.end), Some(TokenEnd::Expired));
    expired.denied(verify(None), 301_001, Denial::TokenExpired { expired_at: at(301_000) });

    let sla = Some(Sla { window_ms: 1_000, accept_within_ms: Some(100) });
    let mut slow = Life::until(sla, Started);
    slow.denied(Step::Accept, 2_100, Denial::WrongTokenStatus { status: SlaBreached });
    let mut slower = Life::until(sla, Started);
    slower.passes(Step::Accept, 2_099, Accepted);
    slower.denied(Step::Complete, 3_000, Denial::WrongTokenStatus { status: SlaBreached });
    slower.denied(Step::Start, 3_000, Denial::WrongTokenStatus { status: SlaBreached });
    let mut in_time = Life::until(sla, Accepted);
    in_time.passes(Step::Complete, 2_999, Settled);

    let mut never_started = Life::until(sla, Verified);
    never_started.denied(Step::Start, 302_000, Denial::WrongTokenStatus { status: Refunded });
    let mut never_done = Life::until(None, Accepted);
    never_done.denied(Step::Complete, 3_602_000, Denial::WrongTokenStatus { status: Refunded });
    assert_eq!(never_done.ended.expect("it ended").fee, Amount::ZERO);
}

#[test]
fn outages_put_off_what_a_provider_owes_and_nothing_else() {
    let outage = ClockFact::Outage { from: at(2_500), at: at(400_000), cause: OutageCause::Down };
    let mut life = Life::until(Some(Sla { window_ms: 1_000, accept_within_ms: None }), Accepted);
    life.outages.apply(&outage, Position::new(1));
    assert_eq!(life.token.deadline(&life.rules, &life.outages), Some(at(400_500)));
    life.passes(Step::Complete, 400_499, Settled);
    let mut unredeemed = Life::new(None);
    unredeemed.outages.apply(&outage, Position::new(1));
    unredeemed.denied(verify(None), 400_000, Denial::TokenExpired { expired_at: at(301_000) });
}

#[test]
fn deadlines_are_judged_by_the_time_that_was_served() {
    let life = Life::until(Some(Sla { window_ms: 1_000, accept_within_ms: None }), Accepted);
    let lapse = |token: &Token, now, late| {
        decide_lapse(token, ID, (at(now), at(late)), &life.rules, &life.outages).is_some()
    };
    assert!(!lapse(&life.token, 9_000, 2_999) && lapse(&life.token, 9_000, 3_000));
    assert!(lapse(&Life::new(None).token, 301_000, 2_000), "an unredeemed token is nobody's debt");
}

#[test]
fn claims_are_compared_whole() {
    let token = token(None);
    let claims = TokenClaims {
        service: ServiceId::from_raw(5),
        payer_agent: CONSUMER,
        amount: Amount::from_nanos(500),
        currency: Currency::USD,
    };
    assert!(token.says(&claims));
    assert!(!token.says(&TokenClaims { service: ServiceId::from_raw(6), ..claims }));
    assert!(!token.says(&TokenClaims { payer_agent: PROVIDER, ..claims }));
    assert!(!token.says(&TokenClaims { amount: Amount::from_nanos(499), ..claims }));
    assert!(!token.says(&TokenClaims { currency: Currency::EUR, ..claims }));
}

#[test]
fn statuses_have_names() {
    for status in TokenStatus::ALL {
        assert_eq!(TokenStatus::from_name(status.as_str()), Some(status));
    }
    assert_eq!(TokenStatus::from_name("done"), None);
}
