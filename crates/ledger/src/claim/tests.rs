use super::*;
use crate::{
    AgentId, Decision, Denial, DisputeId, KeyScope, KeyUse, Rules, Timestamp, Wallet, WalletStatus,
    assert_balanced,
};

const PAYER: WalletId = WalletId::from_raw(1);
const PAYEE: WalletId = WalletId::from_raw(2);
const AT: Timestamp = Timestamp::from_millis(1_000_000);

fn nanos(nanos: i128) -> Amount {
    Amount::from_nanos(nanos)
}

/// A payment of 100.
fn terms() -> ClaimTerms {
    let payment = KeyPlace { lsn: 500, item: 3 };
    ClaimTerms { payment, payer: PAYER, payee: Some(PAYEE), currency: Currency::USD, principal: nanos(100) }
}

fn outside() -> ClaimTerms {
    ClaimTerms { payee: None, ..terms() }
}

fn wallet(available: i128) -> Wallet {
    let mut wallet = Wallet::open(AgentId::from_raw(9), Currency::USD, None, AT, Position::new(1));
    wallet.available = nanos(available);
    wallet
}

fn id_of(position: Position) -> DisputeId {
    DisputeId::from_raw(position.get().into())
}

fn refund_command(amount: Option<i128>) -> RefundCommand {
    RefundCommand { terms: terms(), amount: amount.map(nanos), by: Party::Payee, key: None, at: AT }
}

fn open_command() -> OpenDisputeCommand {
    OpenDisputeCommand {
        terms: terms(),
        paid_at: AT,
        payer_agent: AgentId::from_raw(8),
        payee_agent: Some(AgentId::from_raw(9)),
        call: None,
        by: Party::Payer,
        reason: "service_not_delivered".into(),
        description: None,
        key: None,
        at: AT,
    }
}

fn move_command(step: DisputeMove) -> MoveDisputeCommand {
    let by = if step == DisputeMove::Withdraw { Party::Payer } else { Party::Operator };
    MoveDisputeCommand {
        terms: terms(),
        dispute: Position::new(600),
        step,
        by,
        call: None,
        note: None,
        at: AT,
    }
}

/// The payee's wallet and the claim, changed as the engine changes them.
struct Books {
    wallet: Wallet,
    claim: Option<Claim>,
    payer: i128,
    next: u64,
}

impl Books {
    fn new(available: i128) -> Books {
        Books { wallet: wallet(available), claim: None, payer: 0, next: 600 }
    }

    fn record(&mut self, change: ClaimChange) {
        assert_balanced(|f| change.for_each_posting(f));
        let position = Position::new(self.next);
        self.next += 10;
        self.wallet.apply(&change.change(), position);
        self.claim.get_or_insert_with(|| Claim::new(&change.terms)).apply(&change, position);
        change.for_each_foreign(|posting| {
            assert_eq!(posting.account, Account::Wallet(PAYER));
            self.payer += posting.delta.nanos();
        });
    }

    fn refund(&mut self, amount: Option<i128>) -> Result<(), Denial> {
        match decide_refund(&self.wallet, self.claim.as_ref(), refund_command(amount), id_of) {
            Decision::Fact(fact) => {
                self.record(fact.claim_change());
                assert_eq!(fact.balance_after.available, self.wallet.available);
                Ok(())
            }
            Decision::Denied(denial) => Err(denial),
            Decision::Replay(_) => unreachable!("there is no key"),
        }
    }

    fn open(&mut self) -> Result<(), Denial> {
        match decide_open_dispute(&self.wallet, self.claim.as_ref(), open_command(), &Rules::default(), id_of)
        {
            Decision::Fact(fact) => {
                self.record(fact.claim_change());
                Ok(())
            }
            Decision::Denied(denial) => Err(denial),
            Decision::Replay(_) => unreachable!("there is no key"),
        }
    }

    fn go_on(&mut self, step: DisputeMove) -> Result<bool, Denial> {
        let moved = decide_dispute_move(self.claim.as_ref(), move_command(step))?;
        if let Some(moved) = &moved {
            self.record(moved.claim_change());
        }
        Ok(moved.is_some())
    }

    /// Available and disputed of the payee, and what the payer got back.
    #[track_caller]
    fn check(&self, available: i128, disputed: i128, payer: i128) {
        let found = (self.wallet.available.nanos(), self.wallet.disputed.nanos(), self.payer);
        assert_eq!(found, (available, disputed, payer));
    }
}

#[test]
fn refunds_add_up_to_the_principal_and_no_further() {
    let mut books = Books::new(1_000);
    assert_eq!(books.refund(Some(30)), Ok(()));
    let claim = books.claim.clone().expect("a claim");
    assert_eq!((claim.state(), claim.refundable()), (PaymentState::PartiallyRefunded, nanos(70)));
    let too_large = Denial::RefundTooLarge { refundable: nanos(70), refunded: nanos(30), needed: nanos(71) };
    assert_eq!(books.refund(Some(71)), Err(too_large));
    assert_eq!(books.refund(Some(0)), Err(Denial::AmountNotPositive));
    assert_eq!(books.refund(None), Ok(()));
    books.check(900, 0, 100);
    assert_eq!(books.claim.as_ref().map(Claim::state), Some(PaymentState::Refunded));
    assert_eq!(books.refund(None), Err(Denial::AlreadyRefunded));
    assert_eq!(books.refund(Some(1)), Err(Denial::AlreadyRefunded));
    assert_eq!(books.open(), Err(Denial::AlreadyRefunded));
}

#[test]
fn a_refund_needs_the_payees_money_and_leave() {
    let mut books = Books::new(40);
    let poor = |needed| Denial::InsufficientBalance {
        available: nanos(40),
        held: Amount::ZERO,
        needed: nanos(needed),
    };
    assert_eq!(books.refund(None), Err(poor(100)));
    assert_eq!(books.refund(Some(41)), Err(poor(41)));
    books.wallet.status = WalletStatus::Frozen;
    assert_eq!(books.refund(Some(40)), Err(Denial::WalletFrozen));
    let by_operator = RefundCommand { by: Party::Operator, ..refund_command(Some(40)) };
    let decided = decide_refund(&books.wallet, None, by_operator, id_of);
    assert!(matches!(decided, Decision::Fact(_)), "a freeze does not bind operators: {decided:?}");
    books.wallet.status = WalletStatus::Closed;
    assert_eq!(books.refund(Some(40)), Err(Denial::WalletClosed));
    books.wallet.status = WalletStatus::Active;
    assert_eq!(books.refund(Some(40)), Ok(()));
    books.check(0, 0, 40);
}

#[test]
fn an_outside_payee_pays_back_from_the_external_account() {
    let command = RefundCommand { terms: outside(), by: Party::Operator, ..refund_command(None) };
    let Decision::Fact(refund) = decide_refund(&wallet(0), None, command, id_of) else { panic!("it passes") };
    let mut postings = Vec::new();
    refund.for_each_posting(|posting| postings.push((posting.account, posting.delta.nanos())));
    let external = Account::System(SystemAccount::External);
    assert_eq!(postings, [(Account::Wallet(PAYER), 100), (external, -100)]);
    assert_eq!(refund.terms.owner(), PAYER);
    let command = OpenDisputeCommand { terms: outside(), ..open_command() };
    let decided = decide_open_dispute(&wallet(7), None, command, &Rules::default(), id_of);
    let Decision::Fact(opened) = decided else { panic!("it passes") };
    assert_eq!(
        (opened.claimed, opened.set_aside),
        (nanos(100), Amount::ZERO),
        "the payer is not made to pay"
    );
}

#[test]
fn a_dispute_sets_aside_what_is_there_and_ends_once() {
    for (available, step, after) in [
        (250, DisputeMove::Refund, (150, 0, 100)),
        (250, DisputeMove::Deny, (250, 0, 0)),
        (250, DisputeMove::Withdraw, (250, 0, 0)),
        (60, DisputeMove::Refund, (-40, 0, 100)),
        (60, DisputeMove::Deny, (60, 0, 0)),
        (0, DisputeMove::Refund, (-100, 0, 100)),
        (-5, DisputeMove::Refund, (-105, 0, 100)),
        (-5, DisputeMove::Withdraw, (-5, 0, 0)),
    ] {
        let mut books = Books::new(available);
        assert_eq!(books.open(), Ok(()));
        let set_aside = available.clamp(0, 100);
        books.check(available - set_aside, set_aside, 0);
        assert_eq!(books.go_on(step), Ok(true));
        let (left, disputed, payer) = after;
        books.check(left, disputed, payer);
        assert_eq!(books.go_on(step), Ok(false), "the same again is answered the same");
        let status = step.to();
        for other in DisputeMove::ALL.into_iter().filter(|other| *other != step) {
            assert_eq!(books.go_on(other), Err(Denial::WrongDisputeStatus { status }));
        }
        let dispute = id_of(Position::new(600));
        assert_eq!(books.open(), Err(Denial::DisputeExists { dispute, status }), "one per payment, ever");
    }
}

#[test]
fn a_dispute_takes_what_refunds_left_and_stops_them() {
    let mut books = Books::new(300);
    assert_eq!(books.refund(Some(30)), Ok(()));
    assert_eq!(books.open(), Ok(()));
    books.check(200, 70, 30);
    let dispute = id_of(Position::new(610));
    let disputed = |status| Denial::PaymentDisputed { dispute, status };
    assert_eq!(books.refund(Some(1)), Err(disputed(DisputeStatus::Open)));
    let step = |step| MoveDisputeCommand { dispute: Position::new(610), ..move_command(step) };
    let reviewed = decide_dispute_move(books.claim.as_ref(), step(DisputeMove::Review)).expect("it passes");
    books.record(reviewed.expect("a move").claim_change());
    assert_eq!(books.refund(Some(1)), Err(disputed(DisputeStatus::UnderReview)));
    let late = decide_dispute_move(books.claim.as_ref(), step(DisputeMove::Withdraw));
    assert_eq!(late, Err(Denial::WrongDisputeStatus { status: DisputeStatus::UnderReview }));
    let denied = decide_dispute_move(books.claim.as_ref(), step(DisputeMove::Deny)).expect("it passes");
    books.record(denied.expect("a move").claim_change());
    books.check(270, 0, 30);
    assert_eq!(books.refund(None), Ok(()), "a payee may still give back what it need not");
    books.check(200, 0, 100);
}

#[test]
fn a_dispute_is_found_by_its_own_record_and_dropped_by_its_opener() {
    let mut books = Books::new(300);
    assert_eq!(books.go_on(DisputeMove::Review), Err(Denial::UnknownDispute));
    assert_eq!(books.open(), Ok(()));
    let other = MoveDisputeCommand { dispute: Position::new(601), ..move_command(DisputeMove::Review) };
    assert_eq!(decide_dispute_move(books.claim.as_ref(), other), Err(Denial::UnknownDispute));
    let payee = MoveDisputeCommand { by: Party::Payee, ..move_command(DisputeMove::Withdraw) };
    assert_eq!(decide_dispute_move(books.claim.as_ref(), payee), Err(Denial::OnlyTheOpener));
}

#[test]
fn the_window_closes_when_it_is_over() {
    let window = Rules::default().dispute_window_ms;
    let at = |millis| OpenDisputeCommand { at: AT.saturating_add_millis(millis), ..open_command() };
    let decide = |command| decide_open_dispute(&wallet(1), None, command, &Rules::default(), id_of);
    assert!(matches!(decide(at(window - 1)), Decision::Fact(_)));
    let closed_at = AT.saturating_add_millis(window);
    assert_eq!(decide(at(window)), Decision::Denied(Denial::DisputeWindowClosed { closed_at }));
}

#[test]
fn evidence_is_counted_while_the_dispute_is_open() {
    let mut books = Books::new(300);
    let command = AddEvidenceCommand {
        terms: terms(),
        dispute: Position::new(600),
        by: Party::Payee,
        category: "log_excerpt".into(),
        content: "HTTP 503".into(),
        key: None,
        at: AT,
    };
    let decide = |books: &Books| decide_evidence(&books.wallet, books.claim.as_ref(), command.clone());
    assert_eq!(decide(&books), Decision::Denied(Denial::UnknownDispute));
    assert_eq!(books.open(), Ok(()));
    let mut previous = Position::new(600);
    for number in 1..=EVIDENCE_MAX {
        let Decision::Fact(added) = decide(&books) else { panic!("piece {number} is taken") };
        assert_eq!((added.number, added.previous), (number, previous), "each leads to the one before");
        books.record(added.claim_change());
        previous = books.claim.as_ref().expect("a claim").decided;
    }
    assert_eq!(decide(&books), Decision::Denied(Denial::TooMuchEvidence { limit: EVIDENCE_MAX }));
    let dispute = books.claim.as_ref().and_then(|claim| claim.dispute.clone()).expect("a dispute");
    assert_eq!((dispute.evidence, dispute.evidence_bytes), (EVIDENCE_MAX, EVIDENCE_MAX * 8));
    assert_eq!(books.go_on(DisputeMove::Deny), Ok(true));
    let over = Denial::WrongDisputeStatus { status: DisputeStatus::ResolvedDenied };
    assert_eq!(decide(&books), Decision::Denied(over));
}

#[test]
fn keys_are_scoped_to_the_payment_and_looked_at_first() {
    let key = KeyUse { text: "refund-1".into(), fingerprint: 5 };
    let mut books = Books::new(0);
    let hash = key.hash_about(KeyScope::Refund, terms().position());
    let place = KeyPlace { lsn: 700, item: 0 };
    books.wallet.keys.remember(hash, place, 5, AT, 86_400_000);
    let with = |command: RefundCommand, fingerprint| RefundCommand {
        key: Some(KeyUse { fingerprint, ..key.clone() }),
        ..command
    };
    let decide = |command| decide_refund(&books.wallet, None, command, id_of);
    assert_eq!(decide(with(refund_command(None), 5)), Decision::Replay(place));
    assert_eq!(decide(with(refund_command(None), 6)), Decision::Denied(Denial::KeyConflict));
    let mut other = refund_command(None);
    other.terms.payment.item = 4;
    let poor = Denial::InsufficientBalance { available: nanos(0), held: nanos(0), needed: nanos(100) };
    assert_eq!(decide(with(other, 6)), Decision::Denied(poor), "another payment, another key");
    let opening = OpenDisputeCommand { key: Some(key.clone()), ..open_command() };
    let opened = decide_open_dispute(&books.wallet, None, opening, &Rules::default(), id_of);
    assert!(matches!(opened, Decision::Fact(_)), "another route, another key");
}

#[test]
fn the_table_has_an_end_everywhere() {
    use DisputeStatus::{Open, ResolvedDenied, ResolvedRefunded, UnderReview, Withdrawn};
    for status in DisputeStatus::ALL {
        assert_eq!(DisputeStatus::from_name(status.as_str()), Some(status));
        let goes_on = DisputeMove::ALL.into_iter().any(|step| status.allows(step));
        assert_eq!(goes_on, status.is_open(), "{status:?}");
    }
    for (from, to) in [
        (Open, UnderReview),
        (Open, ResolvedRefunded),
        (Open, ResolvedDenied),
        (Open, Withdrawn),
        (UnderReview, ResolvedRefunded),
        (UnderReview, ResolvedDenied),
    ] {
        assert!(from.leads_to(to), "{from:?} to {to:?}");
    }
    assert!(!UnderReview.leads_to(Withdrawn) && !Open.leads_to(Open) && !UnderReview.leads_to(Open));
    assert_eq!(DisputeStatus::from_name("resolved"), None);
}

#[test]
#[should_panic(expected = "gives back more than was paid")]
fn more_than_was_paid_stops_the_process() {
    let mut claim = Claim::new(&terms());
    let step = ClaimStep::Refunded { amount: nanos(101) };
    claim.apply(&ClaimChange { terms: terms(), step }, Position::new(1));
}

#[test]
#[should_panic(expected = "is not after")]
fn a_record_is_folded_in_once() {
    let mut claim = Claim::new(&terms());
    let change = ClaimChange { terms: terms(), step: ClaimStep::Refunded { amount: nanos(1) } };
    claim.apply(&change, Position::new(1));
    claim.apply(&change, Position::new(1));
}
