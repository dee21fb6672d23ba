//! Single payments, fundings and freezes: what each answers, and what stands in the books afterwards.

use engine::{Refusal, Transaction};
use ledger::{Amount, Currency, Denial, PayCommand, Payee, PaymentId, Rail, WalletId, WalletStatus};
use wal::testing::MemoryStorage;

use crate::harness::{Node, Party, Setup, amount, denial, external, fund, pay, usd};

struct Scene {
    node: Node,
    alice: Party,
    bob: Party,
    euro: Party,
}

impl Scene {
    /// Alice has 100 dollars and an empty wallet in euro; bob has an empty wallet.
    fn new() -> Self {
        let node = Setup::new(MemoryStorage::new()).start();
        let (alice, bob) = (node.party("alice"), node.party("bob"));
        let euro = node.another(&alice, Currency::EUR);
        node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
        Self { node, alice, bob, euro }
    }

    fn command(&self) -> PayCommand {
        pay(&self.alice, self.bob.wallet, "10")
    }

    fn pay(&self, command: PayCommand) -> Result<engine::Answer<engine::PaymentReceipt>, Refusal> {
        self.node.run(self.node.engine.pay(&self.alice.caller, command))
    }

    /// The same refusal comes from a dry run and from the payment, and nothing has moved.
    #[track_caller]
    fn check_denied(&self, command: PayCommand, expected: &Denial) {
        let tried = self.node.run(self.node.engine.dry_run(&self.alice.caller, command.clone()));
        assert_eq!(&denial(tried), expected, "dry run");
        assert_eq!(&denial(self.pay(command)), expected);
        assert_eq!(self.node.available(&self.alice), amount("100"));
        assert_eq!(self.node.engine.gauges().in_flight, 0);
    }
}

#[test]
fn a_payment_moves_amount_and_fee_and_is_found_by_both_sides() {
    let scene = Scene::new();
    let (node, command) = (&scene.node, scene.command());
    let tried = node.run(node.engine.dry_run(&scene.alice.caller, command.clone())).expect("affordable");
    assert_eq!(node.available(&scene.alice), amount("100"), "trying moves nothing");
    let receipt = scene.pay(command).expect("paid").value;
    assert_eq!(*receipt.payment, tried);
    assert_eq!((receipt.payment.fee, receipt.payment.total_debited()), (amount("0.04"), amount("10.04")));
    assert_eq!(receipt.payment.balance_after.available, amount("89.96"));
    assert_eq!((node.available(&scene.alice), node.available(&scene.bob)), (amount("89.96"), amount("10")));
    for party in [&scene.alice, &scene.bob] {
        let found = node.run(node.engine.transaction(party.id(), receipt.id));
        assert_eq!(found, Ok(Transaction::Payment(receipt.clone())));
    }
    let stranger = node.party("stranger");
    assert_eq!(node.run(node.engine.transaction(stranger.id(), receipt.id)), Err(Refusal::UnknownPayment));
    for bit in [0, 1, 36, 52, 107, 127] {
        let forged = PaymentId::from_raw(receipt.id.raw() ^ (1 << bit));
        assert_eq!(node.run(node.engine.transaction(scene.alice.id(), forged)), Err(Refusal::UnknownPayment));
    }
    let rows = node.engine.trial_balance().rows;
    let sum = |account| rows.iter().find(|row| row.account == account).expect("a row").sum;
    assert_eq!(
        (sum("wallets"), sum("fees"), sum("faucet")),
        (amount("99.96"), amount("0.04"), usd(-100_000_000_000))
    );
    node.check_trial_balance();
}

#[test]
fn what_is_paid_outside_leaves_the_wallets() {
    let scene = Scene::new();
    let receipt = scene.pay(PayCommand { payee: external("shop"), ..scene.command() }).expect("paid").value;
    assert_eq!(receipt.payment.payee, external("shop"));
    let rows = scene.node.engine.trial_balance().rows;
    let external = rows.iter().find(|row| row.account == "external").expect("a row");
    assert_eq!(external.sum, amount("10"));
    assert_eq!(scene.node.available(&scene.alice), amount("89.96"));
    scene.node.check_trial_balance();
}

#[test]
fn refusals_have_their_reasons() {
    let scene = Scene::new();
    let command = || scene.command();
    let to = |payee| PayCommand { payee: Payee::Wallet(payee), ..command() };
    let of = |amount| PayCommand { amount, ..command() };
    scene.check_denied(to(WalletId::new(0, 77)), &Denial::UnknownPayee);
    scene.check_denied(to(scene.alice.wallet), &Denial::SameWallet);
    let (wallet, requested) = (Currency::EUR, Currency::USD);
    scene.check_denied(to(scene.euro.wallet), &Denial::CurrencyMismatch { wallet, requested });
    let in_euro = PayCommand { currency: Some(Currency::EUR), ..command() };
    let (wallet, requested) = (Currency::USD, Currency::EUR);
    scene.check_denied(in_euro, &Denial::CurrencyMismatch { wallet, requested });
    let by_card = PayCommand { rail: Rail::Card, ..command() };
    scene.check_denied(by_card, &Denial::SettlementNotConfigured { rail: Rail::Card });
    scene.check_denied(of(Amount::ZERO), &Denial::AmountNotPositive);
    scene.check_denied(of(usd(-1)), &Denial::AmountNotPositive);
    scene.check_denied(of(Amount::from_nanos(Amount::MAX.nanos() + 1)), &Denial::AmountTooLarge);
    scene.check_denied(of(Amount::from_nanos(i128::MAX)), &Denial::AmountTooLarge);
    let (available, held) = (amount("100"), Amount::ZERO);
    let needed = amount("100.4");
    scene.check_denied(of(amount("100")), &Denial::InsufficientBalance { available, held, needed });
    let theirs =
        PayCommand { payer: scene.bob.wallet, payee: Payee::Wallet(scene.alice.wallet), ..command() };
    scene.check_denied(theirs, &Denial::UnknownWallet);
    let nobodys = PayCommand { payer: WalletId::new(0, 78), ..command() };
    scene.check_denied(nobodys, &Denial::UnknownWallet);
}

#[test]
fn everything_can_be_spent_and_not_a_nano_more() {
    let scene = Scene::new();
    // 99.601593625 with its fee of 0.398406375 (0.3984063745 half-up) is 100 to the last decimal.
    let all = amount("99.601593625");
    let over = Amount::from_nanos(all.nanos() + 1);
    assert!(matches!(
        denial(scene.pay(PayCommand { amount: over, ..scene.command() })),
        Denial::InsufficientBalance { .. }
    ));
    let receipt = scene.pay(PayCommand { amount: all, ..scene.command() }).expect("exactly all").value;
    assert_eq!(receipt.payment.balance_after.available, Amount::ZERO);
    assert_eq!(scene.node.available(&scene.alice), Amount::ZERO);
    assert_eq!(scene.node.available(&scene.bob), all);
    scene.node.check_trial_balance();
}

#[test]
fn a_frozen_wallet_receives_and_does_not_pay() {
    let scene = Scene::new();
    let (node, alice, bob) = (&scene.node, &scene.alice, &scene.bob);
    let at = node.engine.clock().now();
    let set = |status| node.run(node.engine.set_status(&alice.caller, alice.wallet, status, at));
    assert_eq!(set(WalletStatus::Frozen).expect("frozen").status, WalletStatus::Frozen);
    let status = WalletStatus::Frozen;
    assert_eq!(denial(set(WalletStatus::Frozen)), Denial::WrongStatus { status });
    scene.check_denied(scene.command(), &Denial::WalletFrozen);
    node.run(node.engine.fund(&bob.caller, fund(bob, "10"))).expect("funded");
    node.run(node.engine.pay(&bob.caller, pay(bob, alice.wallet, "5"))).expect("credits arrive");
    node.run(node.engine.fund(&alice.caller, fund(alice, "5"))).expect("so do fundings");
    let view = set(WalletStatus::Active).expect("unfrozen");
    assert_eq!((view.status, view.available), (WalletStatus::Active, amount("110")));
    scene.pay(scene.command()).expect("pays again");
    let status = WalletStatus::Active;
    assert_eq!(denial(set(WalletStatus::Closed)), Denial::WrongStatus { status });
}

#[test]
fn the_faucet_has_a_cap_for_each_wallet() {
    let setup = Setup::new(MemoryStorage::new()).tuned(|options| options.rules.faucet_cap = amount("100"));
    let node = setup.start();
    let alice = node.party("alice");
    let fund = |node: &Node, units| node.run(node.engine.fund(&alice.caller, fund(&alice, units)));
    fund(&node, "60").expect("within the cap");
    let receipt = fund(&node, "40").expect("up to the cap").value;
    assert_eq!(receipt.funding.balance_after.available, amount("100"));
    let found = node.run(node.engine.transaction(alice.id(), receipt.id));
    assert_eq!(found, Ok(Transaction::Funding(receipt)));
    let (limit, needed) = (amount("100"), usd(1));
    let expected = Denial::FaucetCap { limit, used: limit, needed };
    assert_eq!(denial(fund(&node, "0.000000001")), expected);
    node.shutdown();
    let node = setup.start();
    assert_eq!(denial(fund(&node, "0.000000001")), expected, "remembered by the snapshot");
    node.shutdown();
}
