use super::*;
use crate::{Account, Position, SystemAccount, WalletStatus};

const OWNER: AgentId = AgentId::from_raw(1);
const PAYER: WalletId = WalletId::from_raw(10);
const AT: Timestamp = Timestamp::from_millis(1_000);
const USED: KeyPlace = KeyPlace { lsn: 77, item: 3 };

fn nanos(nanos: i128) -> Amount {
    Amount::from_nanos(nanos)
}

/// 10 000 nanos available; keys "used" (payment) and "done" (batch) recorded with fingerprint 5.
fn wallet() -> Wallet {
    let mut wallet = Wallet::open(OWNER, Currency::USD, None, AT, Position::new(1));
    wallet.available = nanos(10_000);
    wallet.held = nanos(7);
    wallet.keys.remember(KeyHash::of(KeyScope::Payment, "used"), USED, 5, AT, 1_000);
    wallet.keys.remember(KeyHash::of(KeyScope::Batch, "done"), USED, 5, AT, 1_000);
    wallet
}

fn key(text: &str, fingerprint: u64) -> Option<KeyUse> {
    Some(KeyUse { text: text.into(), fingerprint })
}

/// An item of `amount` to wallet 11.
fn pay(amount: i128) -> BatchItem {
    BatchItem {
        payee: Payee::Wallet(WalletId::from_raw(11)),
        payee_agent: None,
        amount: nanos(amount),
        currency: None,
        rail: Rail::Internal,
        description: None,
        metadata: None,
        key: None,
        refused: None,
    }
}

fn keyed(amount: i128, text: &str, fingerprint: u64) -> BatchItem {
    BatchItem { key: key(text, fingerprint), ..pay(amount) }
}

fn command(atomic: bool, items: Vec<BatchItem>) -> BatchCommand {
    BatchCommand { caller: OWNER, payer: PAYER, items, atomic, key: None, agent_terms: None, at: AT }
}

fn decide(wallet: &Wallet, command: BatchCommand) -> Decision<PaymentBatch> {
    let before = wallet.clone();
    let decision = decide_batch(wallet, command, &Rules::default());
    assert_eq!(*wallet, before, "deciding changes nothing");
    if let Decision::Fact(batch) = &decision {
        crate::assert_balanced(|f| batch.for_each_posting(f));
    }
    decision
}

/// One line per item: `paid <fee> <available after>`, the name of a denial, `replayed`, or `repeats <item>`.
#[track_caller]
fn check(items: Vec<BatchItem>, expected: &[&str]) -> PaymentBatch {
    let Decision::Fact(batch) = decide(&wallet(), command(false, items)) else { panic!("a batch") };
    let lines: Vec<String> = batch.items.iter().map(line).collect();
    assert_eq!(lines, expected);
    batch
}

fn line(outcome: &ItemOutcome) -> String {
    match outcome {
        ItemOutcome::Paid(p) => format!("paid {} {}", p.fee.nanos(), p.available_after.nanos()),
        ItemOutcome::Denied(denial) => denial.name().to_owned(),
        ItemOutcome::Replayed(place) => {
            assert_eq!(*place, USED);
            "replayed".to_owned()
        }
        ItemOutcome::Repeated { item } => format!("repeats {item}"),
    }
}

#[test]
fn items_draw_on_what_earlier_items_left() {
    check(vec![pay(5_000), pay(5_000), pay(4_000)], &["paid 20 4980", "insufficient_balance", "paid 16 964"]);
    check(vec![pay(5_000), pay(4_960), pay(1)], &["paid 20 4980", "paid 20 0", "insufficient_balance"]);
    check(vec![], &[]);
}

#[test]
fn a_refused_item_tells_what_earlier_items_left() {
    let batch = check(vec![pay(9_000), pay(1_000)], &["paid 36 964", "insufficient_balance"]);
    let poor = Denial::InsufficientBalance { available: nanos(964), held: nanos(7), needed: nanos(1_004) };
    assert_eq!(batch.items[1], ItemOutcome::Denied(poor));
}

#[test]
fn every_item_has_its_own_refusal() {
    let refused = BatchItem { refused: Some(Denial::UnknownPayee), ..pay(1) };
    let same = BatchItem { payee: Payee::Wallet(PAYER), ..pay(1) };
    let euro = BatchItem { currency: Some(Currency::EUR), ..pay(1) };
    let card = BatchItem { rail: Rail::Card, ..pay(1) };
    check(
        vec![refused, same, euro, card, pay(0), pay(i128::MAX), pay(100)],
        &[
            "unknown_payee",
            "same_wallet",
            "currency_mismatch",
            "settlement_not_configured",
            "amount_not_positive",
            "amount_too_large",
            "paid 0 9900",
        ],
    );
}

#[test]
fn keys_are_checked_against_the_wallet_and_against_earlier_items() {
    check(
        vec![
            keyed(100, "used", 5),
            keyed(100, "used", 6),
            keyed(100, "a", 1),
            keyed(100, "a", 1),
            keyed(100, "a", 2),
            keyed(100, "b", 1),
        ],
        &["replayed", "key_conflict", "paid 0 9900", "repeats 2", "key_conflict", "paid 0 9800"],
    );
}

#[test]
fn a_key_is_used_up_only_by_an_item_that_was_paid() {
    let unknown = BatchItem { refused: Some(Denial::UnknownPayee), ..keyed(100, "a", 1) };
    let batch = check(
        vec![unknown, keyed(90_000, "a", 2), keyed(100, "a", 3)],
        &["unknown_payee", "insufficient_balance", "paid 0 9900"],
    );
    let mut keys = Vec::new();
    batch.for_each_key(|hash, fingerprint, item| keys.push((hash, fingerprint, item)));
    assert_eq!(keys, [(KeyHash::of(KeyScope::Payment, "a"), 3, 2)]);
}

#[test]
fn a_known_key_is_found_before_the_faces_refusal() {
    let replayed = BatchItem { refused: Some(Denial::UnknownPayee), ..keyed(100, "used", 5) };
    check(vec![replayed], &["replayed"]);
}

#[test]
fn a_frozen_wallet_still_answers_items_that_were_paid_before() {
    let mut wallet = wallet();
    wallet.status = WalletStatus::Frozen;
    let items = vec![pay(100), keyed(100, "used", 5)];
    let Decision::Fact(batch) = decide(&wallet, command(false, items)) else { panic!("a batch") };
    assert_eq!(batch.items.iter().map(line).collect::<Vec<_>>(), ["wallet_frozen", "replayed"]);
    assert!(!batch.moves_money() && !batch.needs_record());
}

#[test]
fn an_atomic_batch_moves_everything_or_nothing() {
    let Decision::Fact(batch) = decide(&wallet(), command(true, vec![pay(5_000), pay(4_960)])) else {
        panic!("everything is paid")
    };
    assert_eq!(batch.change().available, nanos(-10_000));
    assert!(batch.atomic && batch.moves_money() && batch.needs_record());

    // The order of items decides which refusal is named, never how much leaks: nothing does.
    for (items, expected) in [
        (vec![pay(5_000), pay(9_000), pay(0)], (1, "insufficient_balance")),
        (vec![pay(0), pay(5_000), pay(9_000)], (0, "amount_not_positive")),
        (vec![pay(9_000), keyed(5, "used", 6), pay(5_000)], (1, "key_conflict")),
    ] {
        let Decision::Denied(Denial::AtomicBatch { item, because }) = decide(&wallet(), command(true, items))
        else {
            panic!("nothing is paid")
        };
        assert_eq!((item, because.name()), expected);
    }
}

#[test]
fn an_atomic_batch_may_contain_what_was_paid_before() {
    let items = vec![keyed(100, "used", 5), pay(100)];
    let Decision::Fact(batch) = decide(&wallet(), command(true, items)) else { panic!("a batch") };
    assert_eq!(batch.items.iter().map(line).collect::<Vec<_>>(), ["replayed", "paid 0 9900"]);
}

#[test]
fn the_batch_as_a_whole_has_an_owner_and_a_key() {
    let with = |change: fn(&mut BatchCommand)| {
        let mut command = command(false, vec![pay(1)]);
        change(&mut command);
        let mut wallet = wallet();
        wallet.status = WalletStatus::Frozen;
        decide(&wallet, command)
    };
    assert_eq!(with(|c| c.caller = AgentId::from_raw(2)), Decision::Denied(Denial::UnknownWallet));
    assert_eq!(with(|c| c.key = key("done", 5)), Decision::Replay(USED));
    assert_eq!(with(|c| c.key = key("done", 6)), Decision::Denied(Denial::KeyConflict));
    // The payment's key is no batch's key.
    assert!(matches!(with(|c| c.key = key("used", 6)), Decision::Fact(_)));
}

#[test]
fn a_keyed_batch_keeps_its_refusals() {
    let refused = BatchCommand { key: key("new", 1), ..command(false, vec![pay(0)]) };
    let Decision::Fact(batch) = decide(&wallet(), refused) else { panic!("a batch") };
    assert!(!batch.moves_money() && batch.needs_record());
    assert_eq!(batch.change(), Change::default());
    let mut keys = Vec::new();
    batch.for_each_key(|hash, fingerprint, item| keys.push((hash, fingerprint, item)));
    assert_eq!(keys, [(KeyHash::of(KeyScope::Batch, "new"), 1, 0)]);
}

#[test]
fn postings_carry_the_index_of_their_item() {
    let external = BatchItem { payee: Payee::External("shop".into()), ..pay(1_000) };
    let batch =
        check(vec![pay(0), pay(100), external], &["amount_not_positive", "paid 0 9900", "paid 4 8896"]);
    let mut postings = Vec::new();
    batch.for_each_posting(|posting| postings.push((posting.account, posting.delta.nanos(), posting.item)));
    let (payer, payee) = (Account::Wallet(PAYER), Account::Wallet(WalletId::from_raw(11)));
    let system = Account::System;
    let expected = [
        (payer, -100, 1),
        (payee, 100, 1),
        (payer, -1_004, 2),
        (system(SystemAccount::External), 1_000, 2),
        (system(SystemAccount::Fees), 4, 2),
    ];
    assert_eq!(postings, expected);
}

#[test]
fn a_paid_item_reads_as_a_payment() {
    let item =
        BatchItem { description: Some("d".into()), metadata: Some("{}".into()), ..keyed(1_000, "a", 1) };
    let batch = check(vec![pay(0), item], &["amount_not_positive", "paid 4 8996"]);
    let expected = Payment {
        payer: PAYER,
        payee: Payee::Wallet(WalletId::from_raw(11)),
        amount: nanos(1_000),
        fee: nanos(4),
        currency: Currency::USD,
        rail: Rail::Internal,
        description: Some("d".into()),
        metadata: Some("{}".into()),
        key: key("a", 1),
        at: AT,
        balance_after: Parts { available: nanos(8_996), held: nanos(7) },
    };
    assert_eq!(batch.payment(1), Some(expected));
    assert_eq!(batch.payment(0), None);
    assert_eq!(batch.payment(2), None);
}

#[test]
fn ten_thousand_items_fit_one_batch() {
    let mut rich = wallet();
    rich.available = Amount::MAX;
    let items: Vec<BatchItem> =
        (0..BATCH_ITEMS_MAX).map(|index| keyed(1_000, &index.to_string(), 1)).collect();
    let Decision::Fact(batch) = decide(&rich, command(true, items)) else { panic!("a batch") };
    assert_eq!(batch.items.len(), BATCH_ITEMS_MAX);
    assert_eq!(batch.change().available, nanos(-10_040_000));
}

#[test]
#[should_panic(expected = "larger batches are refused")]
fn a_larger_batch_never_gets_here() {
    let items = vec![pay(1); BATCH_ITEMS_MAX + 1];
    let _ = decide_batch(&wallet(), command(false, items), &Rules::default());
}
