use super::*;

fn wallet() -> Wallet {
    let mut wallet =
        Wallet::open(AgentId::from_raw(1), Currency::USD, None, Timestamp::from_millis(0), Position::new(10));
    wallet.credit(Amount::from_nanos(100), Position::new(11));
    wallet
}

fn spend(nanos: i128) -> Change {
    Change { available: Amount::from_nanos(-nanos), ..Change::default() }
}

#[test]
fn own_facts_and_postings_of_others_keep_their_own_positions() {
    let mut wallet = wallet();
    wallet.apply(&spend(30), Position::new(40));
    wallet.credit(Amount::from_nanos(5), Position::new(20));
    assert_eq!((wallet.decided, wallet.posted), (Position::new(40), Position::new(20)));
    assert_eq!(wallet.parts(), Parts { available: Amount::from_nanos(75), held: Amount::ZERO });
    assert_eq!(wallet.total(), Amount::from_nanos(75));
}

#[test]
fn a_change_moves_every_part() {
    let mut wallet = wallet();
    let change = Change {
        available: Amount::from_nanos(-60),
        held: Amount::from_nanos(20),
        disputed: Amount::from_nanos(30),
        faucet_drawn: Amount::from_nanos(4),
        status: Some(WalletStatus::Frozen),
        may_owe: false,
    };
    wallet.apply(&change, Position::new(12));
    assert_eq!(wallet.available, Amount::from_nanos(40));
    assert_eq!(wallet.held, Amount::from_nanos(20));
    assert_eq!(wallet.disputed, Amount::from_nanos(30));
    assert_eq!(wallet.faucet_drawn, Amount::from_nanos(4));
    assert_eq!(wallet.status, WalletStatus::Frozen);
    assert_eq!(wallet.total(), Amount::from_nanos(90));
    wallet.apply(&Change::default(), Position::new(13));
    assert_eq!(wallet.status, WalletStatus::Frozen, "no status in a change leaves it");
}

#[test]
fn the_last_nano_may_be_spent() {
    let mut wallet = wallet();
    wallet.apply(&spend(100), Position::new(12));
    assert_eq!(wallet.available, Amount::ZERO);
}

#[test]
#[should_panic(expected = "spends more than is available")]
fn an_overdraw_stops_the_process() {
    wallet().apply(&spend(101), Position::new(12));
}

#[test]
fn only_a_dispute_leaves_a_debt_and_credits_pay_it_back() {
    let mut wallet = wallet();
    wallet.apply(&Change { may_owe: true, ..spend(130) }, Position::new(12));
    assert_eq!(wallet.available, Amount::from_nanos(-30));
    wallet.credit(Amount::from_nanos(40), Position::new(13));
    assert_eq!(wallet.available, Amount::from_nanos(10));
}

#[test]
#[should_panic(expected = "releases more than is held")]
fn a_release_without_hold_stops_the_process() {
    wallet().apply(&Change { held: Amount::from_nanos(-1), ..Change::default() }, Position::new(12));
}

#[test]
#[should_panic(expected = "releases more than is disputed")]
fn a_release_without_dispute_stops_the_process() {
    wallet().apply(&Change { disputed: Amount::from_nanos(-1), ..Change::default() }, Position::new(12));
}

#[test]
#[should_panic(expected = "gives back to the faucet")]
fn a_faucet_takes_nothing_back() {
    wallet().apply(&Change { faucet_drawn: Amount::from_nanos(-1), ..Change::default() }, Position::new(12));
}

#[test]
#[should_panic(expected = "own record 10 is not after 10")]
fn an_own_record_is_folded_in_once() {
    wallet().apply(&spend(1), Position::new(10));
}

#[test]
#[should_panic(expected = "posting 11 is not after 11")]
fn a_posting_is_folded_in_once() {
    wallet().credit(Amount::from_nanos(1), Position::new(11));
}
