use super::*;
use crate::{KeyPlace, Position};

const OWNER: AgentId = AgentId::from_raw(1);
const WALLET: WalletId = WalletId::from_raw(10);
const AT: Timestamp = Timestamp::from_millis(1_000);
const USED: KeyPlace = KeyPlace { lsn: 77, item: 0 };

fn nanos(nanos: i128) -> Amount {
    Amount::from_nanos(nanos)
}

/// Decides against a wallet with 5 available and 60 of its cap of 100 drawn; checks the balance after, or the denial.
#[track_caller]
fn check(change: impl FnOnce(&mut Wallet, &mut FundCommand), expected: Result<i128, Denial>) {
    let mut wallet = Wallet::open(OWNER, Currency::USD, None, AT, Position::new(1));
    wallet.available = nanos(5);
    wallet.faucet_drawn = nanos(60);
    let mut command = FundCommand { caller: OWNER, wallet: WALLET, amount: nanos(40), key: None, at: AT };
    change(&mut wallet, &mut command);
    let rules = Rules { faucet_cap: nanos(100), ..Rules::default() };
    let expected = match expected {
        Err(denial) => Decision::Denied(denial),
        Ok(available) => Decision::Fact(Funding {
            wallet: WALLET,
            amount: command.amount,
            currency: Currency::USD,
            key: command.key.clone(),
            at: AT,
            balance_after: Parts { available: nanos(available), held: Amount::ZERO },
        }),
    };
    assert_eq!(decide_funding(&wallet, command, &rules), expected);
}

#[test]
fn the_faucet_gives_up_to_its_cap() {
    let cap = |needed| Err(Denial::FaucetCap { limit: nanos(100), used: nanos(60), needed: nanos(needed) });
    check(|_, _| (), Ok(45));
    check(|_, c| c.amount = nanos(41), cap(41));
    check(|_, c| c.amount = Amount::MAX, cap(Amount::MAX.nanos()));
    check(|w, _| w.available = nanos(-30), Ok(10));
}

#[test]
fn a_freeze_stops_no_funding() {
    check(|w, _| w.status = WalletStatus::Frozen, Ok(45));
    check(|w, _| w.status = WalletStatus::Closed, Err(Denial::WalletClosed));
}

#[test]
fn impossible_requests_are_refused() {
    check(|_, c| c.caller = AgentId::from_raw(2), Err(Denial::UnknownWallet));
    check(|_, c| c.amount = Amount::ZERO, Err(Denial::AmountNotPositive));
    check(|_, c| c.amount = nanos(-1), Err(Denial::AmountNotPositive));
    check(|_, c| c.amount = Amount::MAX.plus(nanos(1)), Err(Denial::AmountTooLarge));
    check(|_, c| c.amount = nanos(i128::MAX), Err(Denial::AmountTooLarge));
}

#[test]
fn a_repeated_request_is_found_first() {
    let mut wallet = Wallet::open(OWNER, Currency::USD, None, AT, Position::new(1));
    wallet.status = WalletStatus::Closed;
    wallet.keys.remember(KeyHash::of(KeyScope::Fund, "used"), USED, 5, AT, 1_000);
    let decide = |fingerprint| {
        let key = Some(KeyUse { text: "used".into(), fingerprint });
        let command = FundCommand { caller: OWNER, wallet: WALLET, amount: nanos(1), key, at: AT };
        decide_funding(&wallet, command, &Rules::default())
    };
    assert_eq!(decide(5), Decision::Replay(USED));
    assert_eq!(decide(6), Decision::Denied(Denial::KeyConflict));
}

#[test]
fn what_a_wallet_gets_the_faucet_owes() {
    let key = Some(KeyUse { text: "k".into(), fingerprint: 9 });
    let funding = Funding {
        wallet: WALLET,
        amount: nanos(40),
        currency: Currency::USD,
        key,
        at: AT,
        balance_after: Parts::default(),
    };
    assert_eq!(
        funding.change(),
        Change { available: nanos(40), faucet_drawn: nanos(40), ..Change::default() }
    );
    let mut postings = Vec::new();
    funding.for_each_posting(|posting| postings.push((posting.account, posting.delta.nanos())));
    assert_eq!(postings, [(Account::Wallet(WALLET), 40), (Account::System(SystemAccount::Faucet), -40)]);
    let mut keys = Vec::new();
    funding.for_each_key(|hash, fingerprint, item| keys.push((hash, fingerprint, item)));
    assert_eq!(keys, [(KeyHash::of(KeyScope::Fund, "k"), 9, 0)]);
}
