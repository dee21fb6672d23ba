use super::*;
use crate::{KeyPlace, Position, RailSet};

const OWNER: AgentId = AgentId::from_raw(1);
const PAYER: WalletId = WalletId::from_raw(10);
const PAYEE: WalletId = WalletId::from_raw(11);
const AT: Timestamp = Timestamp::from_millis(1_000);
const USED: KeyPlace = KeyPlace { lsn: 77, item: 3 };

const fn units(units: i128) -> Amount {
    Amount::from_nanos(units * 1_000_000_000)
}

/// 100 available, 7 held, and the key "used" recorded at [`USED`] with fingerprint 5.
fn wallet() -> Wallet {
    let mut wallet = Wallet::open(OWNER, Currency::USD, None, AT, Position::new(1));
    wallet.available = units(100);
    wallet.held = units(7);
    wallet.keys.remember(KeyHash::of(KeyScope::Payment, "used"), USED, 5, AT, 1_000);
    wallet
}

fn command() -> PayCommand {
    PayCommand {
        caller: OWNER,
        payer: PAYER,
        payee: Payee::Wallet(PAYEE),
        payee_agent: None,
        amount: units(5),
        currency: None,
        rail: Rail::Internal,
        description: Some("tool".into()),
        metadata: Some("{}".into()),
        key: key("new", 5),
        agent_terms: None,
        at: AT,
    }
}

fn key(text: &str, fingerprint: u64) -> Option<KeyUse> {
    Some(KeyUse { text: text.into(), fingerprint })
}

enum Expected {
    /// Fee and what is left available.
    Paid(Amount, Amount),
    Denied(Denial),
    Replay,
}

use Expected::{Denied, Paid, Replay};

#[track_caller]
fn check(change: impl FnOnce(&mut Wallet, &mut PayCommand), expected: Expected) {
    let (mut wallet, mut command) = (wallet(), command());
    change(&mut wallet, &mut command);
    let expected = match expected {
        Denied(denial) => Decision::Denied(denial),
        Replay => Decision::Replay(USED),
        Paid(fee, available) => {
            let command = command.clone();
            Decision::Fact(Payment {
                payer: command.payer,
                payee: command.payee,
                amount: command.amount,
                fee,
                currency: wallet.currency,
                rail: command.rail,
                description: command.description,
                metadata: command.metadata,
                key: command.key,
                at: command.at,
                balance_after: Parts { available, held: units(7) },
            })
        }
    };
    let before = wallet.clone();
    assert_eq!(decide_payment(&wallet, command, &Rules::default()), expected);
    assert_eq!(wallet, before, "deciding changes nothing");
}

#[test]
fn what_is_available_can_be_paid_with_its_fee() {
    let cents = |cents: i128| Amount::from_nanos(cents * 10_000_000);
    check(|_, _| (), Paid(cents(2), cents(9_498)));
    check(|_, c| c.currency = Some(Currency::USD), Paid(cents(2), cents(9_498)));
    check(|_, c| c.payee = Payee::External("merchant:demo".into()), Paid(cents(2), cents(9_498)));
    check(|_, c| c.key = None, Paid(cents(2), cents(9_498)));
    check(
        |_, c| c.amount = Amount::from_nanos(1),
        Paid(Amount::ZERO, units(100).minus(Amount::from_nanos(1))),
    );
    check(|w, _| w.available = cents(502), Paid(cents(2), Amount::ZERO));
}

#[test]
fn held_funds_and_a_nano_too_much_are_refused() {
    let needed = Amount::from_nanos(5_020_000_000);
    let available = Amount::from_nanos(5_019_999_999);
    let poor = |available| Denied(Denial::InsufficientBalance { available, held: units(7), needed });
    check(|w, _| w.available = available, poor(available));
    check(|w, _| w.available = Amount::ZERO, poor(Amount::ZERO));
    check(|w, _| w.available = units(-3), poor(units(-3)));
}

#[test]
fn impossible_requests_are_refused() {
    check(|_, c| c.caller = AgentId::from_raw(2), Denied(Denial::UnknownWallet));
    check(|_, c| c.payee = Payee::Wallet(PAYER), Denied(Denial::SameWallet));
    let mismatch = Denial::CurrencyMismatch { wallet: Currency::USD, requested: Currency::EUR };
    check(|_, c| c.currency = Some(Currency::EUR), Denied(mismatch));
    for rail in [Rail::Ach, Rail::Card, Rail::Crypto, Rail::Stripe] {
        check(|_, c| c.rail = rail, Denied(Denial::SettlementNotConfigured { rail }));
    }
    check(|w, _| w.status = WalletStatus::Frozen, Denied(Denial::WalletFrozen));
    check(|w, _| w.status = WalletStatus::Closed, Denied(Denial::WalletClosed));
    check(|_, c| c.amount = Amount::ZERO, Denied(Denial::AmountNotPositive));
    check(|_, c| c.amount = units(-5), Denied(Denial::AmountNotPositive));
    check(|_, c| c.amount = Amount::MAX.plus(Amount::from_nanos(1)), Denied(Denial::AmountTooLarge));
    check(|_, c| c.amount = Amount::from_nanos(i128::MAX), Denied(Denial::AmountTooLarge));
    check(|_, c| c.amount = Amount::from_nanos(i128::MIN), Denied(Denial::AmountNotPositive));
}

#[test]
fn a_repeated_request_is_answered_whatever_became_of_the_wallet() {
    check(|_, c| c.key = key("used", 5), Replay);
    check(|_, c| c.key = key("used", 6), Denied(Denial::KeyConflict));
    for status in [WalletStatus::Frozen, WalletStatus::Closed] {
        check(
            |w, c| {
                w.status = status;
                w.available = Amount::ZERO;
                c.key = key("used", 5);
            },
            Replay,
        );
    }
    check(
        |_, c| {
            c.caller = AgentId::from_raw(2);
            c.key = key("used", 5);
        },
        Denied(Denial::UnknownWallet),
    );
}

/// Breaks every rule at once and repairs them one by one: the answers come in the order of [`Denial`].
#[test]
fn refusals_come_in_their_order_of_precedence() {
    let mut wallet = wallet();
    wallet.status = WalletStatus::Closed;
    wallet.available = Amount::ZERO;
    let mut command = command();
    command.caller = AgentId::from_raw(2);
    command.key = key("used", 6);
    command.payee = Payee::Wallet(PAYER);
    command.currency = Some(Currency::EUR);
    command.rail = Rail::Card;
    command.amount = Amount::ZERO;

    let mut names = Vec::new();
    let mut step = |wallet: &Wallet, command: &PayCommand| match decide_payment(
        wallet,
        command.clone(),
        &Rules::default(),
    ) {
        Decision::Denied(denial) => names.push(denial.name()),
        other => panic!("{other:?}"),
    };
    step(&wallet, &command);
    command.caller = OWNER;
    step(&wallet, &command);
    command.key = None;
    step(&wallet, &command);
    command.payee = Payee::Wallet(PAYEE);
    step(&wallet, &command);
    command.currency = None;
    step(&wallet, &command);
    command.rail = Rail::Internal;
    step(&wallet, &command);
    wallet.status = WalletStatus::Frozen;
    step(&wallet, &command);
    wallet.status = WalletStatus::Active;
    step(&wallet, &command);
    command.amount = Amount::from_nanos(i128::MAX);
    step(&wallet, &command);
    command.amount = units(1);
    step(&wallet, &command);
    let expected = [
        "unknown_wallet",
        "key_conflict",
        "same_wallet",
        "currency_mismatch",
        "settlement_not_configured",
        "wallet_closed",
        "wallet_frozen",
        "amount_not_positive",
        "amount_too_large",
        "insufficient_balance",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_rail_with_a_connector_charges_its_own_rate() {
    let rules = Rules {
        fees: Rules::default().fees.with(Rail::Card, 290),
        rails_with_connector: RailSet::EMPTY.with(Rail::Card),
        ..Rules::default()
    };
    let card = PayCommand { rail: Rail::Card, ..command() };
    let Decision::Fact(payment) = decide_payment(&wallet(), card, &rules) else { panic!("paid") };
    assert_eq!(payment.fee, Amount::from_nanos(145_000_000));
}

#[test]
fn a_payment_posts_what_it_changes() {
    let Decision::Fact(payment) = decide_payment(&wallet(), command(), &Rules::default()) else {
        panic!("paid")
    };
    assert_eq!(payment.total_debited(), Amount::from_nanos(5_020_000_000));
    let available = Amount::from_nanos(-5_020_000_000);
    assert_eq!(payment.change(), Change { available, ..Change::default() });
    let mut postings = Vec::new();
    payment.for_each_posting(|posting| postings.push((posting.account, posting.delta, posting.item)));
    let fees = Account::System(SystemAccount::Fees);
    let fee = Amount::from_nanos(20_000_000);
    let expected =
        [(Account::Wallet(PAYER), available, 0), (Account::Wallet(PAYEE), units(5), 0), (fees, fee, 0)];
    assert_eq!(postings, expected);
    crate::assert_balanced(|f| payment.for_each_posting(f));

    let mut keys = Vec::new();
    payment.for_each_key(|hash, fingerprint, item| keys.push((hash, fingerprint, item)));
    assert_eq!(keys, [(KeyHash::of(KeyScope::Payment, "new"), 5, 0)]);
    assert_eq!(Payee::External("x".into()).account(), Account::System(SystemAccount::External));
}
