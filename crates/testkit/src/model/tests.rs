use super::*;

fn model() -> Model {
    Model::new(&Config { faucet_cap: 1_000_000, ..Config::default() })
}

fn command(wallet: usize, action: Action) -> Command {
    Command { caller: wallet % 4, wallet, action, at: 0 }
}

fn fund(model: &mut Model, wallet: usize, amount: Money) -> ModelOutcome {
    model.apply(&command(wallet, Action::Fund { amount, key: None }))
}

fn item(payee: usize, amount: Money, key: Option<&str>) -> Item {
    Item {
        payee: Payee::Wallet(payee),
        amount,
        currency: None,
        rail: "internal",
        description: None,
        key: key.map(str::to_owned),
    }
}

#[test]
fn money_moves_with_its_fee() {
    let mut model = model();
    assert_eq!(fund(&mut model, 0, 10_000), ModelOutcome::Funded { available: 10_000 });
    let pay = command(0, Action::Pay(item(4, 1_125, None)));
    assert_eq!(model.apply(&pay), ModelOutcome::Paid { fee: 5, available: 8_870 });
    assert_eq!((model.balances()[0], model.balances()[4]), (8_870, 1_125));
    assert_eq!(model.account("USD", Account::Fees), 5);
    assert_eq!(model.account("USD", Account::Faucet), -10_000);
    assert_eq!(model.account("EUR", Account::Faucet), 0);
    assert_eq!(model.commands(), 2);
}

#[test]
fn fees_round_half_up() {
    let model = model();
    let fees = [0, 1, 124, 125, 374, 375, 5_000_000_000].map(|amount| model.fee(amount));
    assert_eq!(fees, [0, 0, 0, 1, 1, 2, 20_000_000]);
}

#[test]
fn an_atomic_batch_leaves_no_trace_when_refused() {
    let mut model = model();
    fund(&mut model, 0, 10_000);
    let before = model.balances();
    let items = vec![item(4, 5_000, Some("a")), item(8, 9_000, None)];
    let batch = command(0, Action::Batch { items, atomic: true, key: Some("b".to_owned()) });
    let denied = ModelOutcome::AtomicDenied { item: 1, because: "insufficient_balance" };
    assert_eq!(model.apply(&batch), denied);
    assert_eq!(model.balances(), before);
    assert_eq!(model.apply(&batch), denied, "neither key was used up");
    assert_eq!(model.commands(), 3);
}

#[test]
fn keys_answer_again_and_refuse_another_meaning() {
    let mut model = model();
    fund(&mut model, 0, 10_000);
    let pay = command(0, Action::Pay(item(4, 100, Some("a"))));
    assert!(matches!(model.apply(&pay), ModelOutcome::Paid { .. }));
    assert_eq!(model.apply(&pay), ModelOutcome::Replayed { command: 1 });
    let other = command(0, Action::Pay(item(4, 101, Some("a"))));
    assert_eq!(model.apply(&other), ModelOutcome::Denied("key_conflict"));

    let items = vec![item(4, 100, Some("a")), item(4, 7, Some("b")), item(4, 7, Some("b"))];
    let batch = command(0, Action::Batch { items, atomic: false, key: None });
    let paid = ItemResult::Paid { fee: 0, available: 9_893 };
    let expected = vec![ItemResult::Replayed { command: 1, item: 0 }, paid, ItemResult::Repeated { item: 1 }];
    assert_eq!(model.apply(&batch), ModelOutcome::Batch(expected));
    let again = command(0, Action::Pay(item(4, 7, Some("b"))));
    assert_eq!(model.apply(&again), ModelOutcome::ReplayedItem { command: 4, item: 1 });
    assert_eq!(model.balances()[4], 107);
}

#[test]
fn a_freeze_stops_debits_only() {
    let mut model = model();
    fund(&mut model, 0, 100);
    fund(&mut model, 4, 100);
    assert_eq!(model.apply(&command(0, Action::Freeze)), ModelOutcome::StatusChanged);
    assert_eq!(model.apply(&command(0, Action::Freeze)), ModelOutcome::Denied("wrong_status"));
    assert_eq!(
        model.apply(&command(0, Action::Pay(item(4, 1, None)))),
        ModelOutcome::Denied("wallet_frozen")
    );
    assert!(matches!(model.apply(&command(4, Action::Pay(item(0, 1, None)))), ModelOutcome::Paid { .. }));
    assert_eq!(fund(&mut model, 0, 1), ModelOutcome::Funded { available: 102 });
    assert_eq!(model.apply(&command(0, Action::Unfreeze)), ModelOutcome::StatusChanged);
}
