use super::*;
use crate::{KeyHash, KeyPlace};

fn wallet() -> Wallet {
    let (agent, at) = (AgentId::from_raw(u128::MAX - 1), Timestamp::from_millis(7));
    let mut wallet = Wallet::open(agent, Currency::EUR, None, at, Position::new(10));
    wallet.available = Amount::from_nanos(100);
    wallet.faucet_drawn = Amount::from_nanos(3);
    wallet
}

fn with_key() -> Wallet {
    let mut wallet = wallet();
    let place = KeyPlace { lsn: 10, item: 3 };
    wallet.keys.remember(KeyHash::from_raw(1 << 20), place, 9, Timestamp::from_millis(7), 1_000);
    wallet
}

#[test]
fn a_plain_wallet_allocates_nothing_at_rest() {
    let resting = RestingWallet::of(wallet());
    assert!(resting.more.is_none());
    assert_eq!((resting.agent(), resting.currency()), (wallet().agent, Currency::EUR));
    assert_eq!(resting.decided(), Position::new(10));
    assert_eq!(resting.wake(), wallet());
}

#[test]
fn every_part_comes_back_alone() {
    let nanos = Amount::from_nanos;
    let beyond = nanos(i128::from(i64::MAX) + 1);
    let table = [
        Wallet { label: Some("".into()), ..wallet() },
        Wallet { label: Some("ops".into()), ..wallet() },
        Wallet { status: WalletStatus::Frozen, ..wallet() },
        Wallet { held: nanos(1), ..wallet() },
        Wallet { disputed: nanos(i128::MAX), ..wallet() },
        Wallet { available: beyond, ..wallet() },
        Wallet { available: nanos(i128::MIN), ..wallet() },
        Wallet { faucet_drawn: beyond, ..wallet() },
        Wallet { decided: Position::new(u64::MAX), posted: Position::new(0), ..wallet() },
        with_key(),
    ];
    for wallet in table {
        let resting = RestingWallet::of(wallet.clone());
        assert_eq!(resting.fields(), wallet.fields());
        assert_eq!(resting.wake(), wallet);
    }
}

#[test]
fn a_balance_that_crosses_64_bits_is_credited_as_in_use() {
    let most = Amount::from_nanos(i64::MAX.into());
    let steps = [(1, 20), (-1, 21), (i128::from(i64::MAX), 22), (-i128::from(i64::MAX), 23)];
    let mut wallet = Wallet { available: most, label: Some("x".into()), ..with_key() };
    let mut resting = RestingWallet::of(wallet.clone());
    for (delta, position) in steps {
        wallet.credit(Amount::from_nanos(delta), Position::new(position));
        resting.credit(Amount::from_nanos(delta), Position::new(position));
        assert_eq!(resting, RestingWallet::of(wallet.clone()), "after {delta}");
    }
}

#[test]
fn a_release_is_posted_as_in_use() {
    let mut wallet = Wallet { held: Amount::from_nanos(30), ..with_key() };
    let mut resting = RestingWallet::of(wallet.clone());
    for (available, held, position) in [(5, -10, 20), (7, 0, 21), (0, -20, 22)] {
        let (available, held) = (Amount::from_nanos(available), Amount::from_nanos(held));
        wallet.post(available, held, Position::new(position));
        resting.post(available, held, Position::new(position));
        assert_eq!(resting, RestingWallet::of(wallet.clone()), "at {position}");
    }
    assert!(wallet.held.is_zero());
}

#[test]
fn a_change_at_rest_is_kept() {
    let mut resting = RestingWallet::of(with_key());
    let before = resting.change(|wallet| std::mem::replace(&mut wallet.held, Amount::from_nanos(5)));
    assert_eq!(before, Amount::ZERO);
    assert_eq!(resting.wake(), Wallet { held: Amount::from_nanos(5), ..with_key() });
}

#[test]
#[should_panic(expected = "posting 10 is not after 10")]
fn a_posting_is_folded_in_once_at_rest_too() {
    RestingWallet::of(wallet()).credit(Amount::from_nanos(1), Position::new(10));
}
