//! Idempotency keys: one key, one effect, one answer, whoever races and whatever restarts.

use engine::{Answer, OpenWallet, PaymentReceipt, Refusal};
use ledger::{Denial, FundCommand, PayCommand};
use tokio::task::JoinHandle;
use wal::testing::MemoryStorage;

use crate::harness::{
    GatedStorage, Node, Party, Setup, WATCH, amount, denial, eventually, fund, fund_keyed, key, open_wallet,
    pay_keyed, usd,
};

const USES: usize = 1_000;

type Paid = Result<Answer<PaymentReceipt>, Refusal>;

fn spawn_pay(node: &Node, payer: &Party, command: PayCommand) -> JoinHandle<Paid> {
    let (engine, caller) = (node.engine.clone(), payer.caller.clone());
    node.spawn(async move { engine.pay(&caller, command).await })
}

#[track_caller]
fn join<T>(node: &Node, tasks: Vec<JoinHandle<T>>) -> Vec<T> {
    node.run(async move {
        let mut joined = Vec::with_capacity(tasks.len());
        for task in tasks {
            joined.push(task.await.expect("no task panics"));
        }
        joined
    })
}

/// All answers are the same one; how many of them are the first.
#[track_caller]
fn firsts<T: PartialEq + std::fmt::Debug + Clone>(answers: &[Result<Answer<T>, Refusal>]) -> (usize, T) {
    let answer = |outcome: &Result<Answer<T>, Refusal>| outcome.clone().expect("answered");
    let value = answer(&answers[0]).value;
    for outcome in answers {
        assert_eq!(answer(outcome).value, value);
    }
    (answers.iter().filter(|outcome| !answer(outcome).replayed).count(), value)
}

#[test]
fn a_thousand_uses_of_one_key_are_one_payment_across_restarts() {
    let mut setup = Setup::new(MemoryStorage::new());
    setup.workers = 4;
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
    let command = pay_keyed(&alice, bob.wallet, "5", "once", 1);
    let race = |node: &Node| {
        let tasks = (0..USES).map(|_| spawn_pay(node, &alice, command.clone())).collect();
        join(node, tasks)
    };
    let (first, receipt) = firsts(&race(&node));
    assert_eq!(first, 1);
    let check = |node: &Node| {
        assert_eq!((node.available(&alice), node.available(&bob)), (amount("94.98"), amount("5")));
        node.check_trial_balance();
        assert_eq!(node.engine.gauges().in_flight, 0);
    };
    check(&node);
    node.shutdown();

    let node = setup.start();
    assert_eq!(firsts(&race(&node)), (0, receipt));
    check(&node);
    let other = pay_keyed(&alice, bob.wallet, "5", "once", 2);
    assert_eq!(denial(node.run(node.engine.pay(&alice.caller, other))), Denial::KeyConflict);
    node.shutdown();
    assert_eq!(setup.audit().records, 4);
}

#[test]
fn fundings_and_new_wallets_are_made_once_under_a_key() {
    let setup = Setup::new(MemoryStorage::new());
    let node = setup.start();
    let alice = node.party("alice");
    let fund = fund_keyed(&alice, "7", "once", 1);
    let open = OpenWallet { key: key("once", 1), ..open_wallet(ledger::Currency::EUR) };
    let race = |node: &Node| {
        let spawn = |_| {
            let (engine, caller, fund, open) =
                (node.engine.clone(), alice.caller.clone(), fund.clone(), open.clone());
            node.spawn(
                async move { (engine.fund(&caller, fund).await, engine.open_wallet(&caller, open).await) },
            )
        };
        let (funded, opened): (Vec<_>, Vec<_>) =
            join(node, (0..100).map(spawn).collect()).into_iter().unzip();
        (firsts(&funded), firsts(&opened))
    };
    let ((funded, funding), (opened, wallet)) = race(&node);
    assert_eq!((funded, opened), (1, 1));
    node.shutdown();
    let node = setup.start();
    assert_eq!(race(&node), ((0, funding), (0, wallet)));
    assert_eq!(node.available(&alice), amount("7"));
    let agent = node.run(node.engine.agent(alice.id())).expect("read").expect("present");
    assert_eq!(agent.wallets.len(), 2);
    let other = FundCommand { amount: amount("8"), ..fund_keyed(&alice, "7", "once", 2) };
    assert_eq!(denial(node.run(node.engine.fund(&alice.caller, other))), Denial::KeyConflict);
    let other = OpenWallet { key: key("once", 2), ..open_wallet(ledger::Currency::EUR) };
    assert_eq!(denial(node.run(node.engine.open_wallet(&alice.caller, other))), Denial::KeyConflict);
    node.shutdown();
}

/// One key may be used once for each kind of command and by each wallet.
#[test]
fn keys_of_other_routes_and_wallets_are_others() {
    let node = Setup::new(MemoryStorage::new()).start();
    let alice = node.party("alice");
    let (second, bob) = (node.another(&alice, ledger::Currency::USD), node.party("bob"));
    for party in [&alice, &second, &bob] {
        let funded = node.run(node.engine.fund(&party.caller, fund_keyed(party, "10", "k", 1)));
        assert!(!funded.expect("funded").replayed);
    }
    for (payer, payee) in [(&alice, &bob), (&second, &bob), (&bob, &alice)] {
        let command = pay_keyed(payer, payee.wallet, "1", "k", 2);
        assert!(!node.run(node.engine.pay(&payer.caller, command)).expect("paid").replayed);
    }
    assert_eq!(node.available(&bob), amount("10.996"));
}

#[test]
fn a_denial_uses_up_no_key() {
    let node = Setup::new(MemoryStorage::new()).start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    let command = || pay_keyed(&alice, bob.wallet, "5", "later", 1);
    let refused = denial(node.run(node.engine.pay(&alice.caller, command())));
    let needed = amount("5.02");
    assert_eq!(refused, Denial::InsufficientBalance { available: usd(0), held: usd(0), needed });
    node.run(node.engine.fund(&alice.caller, fund(&alice, "6"))).expect("funded");
    assert!(!node.run(node.engine.pay(&alice.caller, command())).expect("paid now").replayed);
    assert!(node.run(node.engine.pay(&alice.caller, command())).expect("answered again").replayed);
    assert_eq!(node.available(&alice), amount("0.98"));
}

/// What the first use decided may still be lost with the power, so nobody is told of it before it is durable.
#[test]
fn a_key_is_judged_at_once_and_answered_when_its_first_use_is_durable() {
    let disk = GatedStorage::new(std::sync::Arc::new(MemoryStorage::new()));
    let node = Setup::new(disk.clone()).start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
    let shut = disk.shut();
    let appended = node.engine.gauges().appended_lsn;
    let first = spawn_pay(&node, &alice, pay_keyed(&alice, bob.wallet, "5", "k", 1));
    eventually("the first use is appended", || node.engine.gauges().appended_lsn > appended + 100);
    let again = spawn_pay(&node, &alice, pay_keyed(&alice, bob.wallet, "5", "k", 1));
    let other = spawn_pay(&node, &alice, pay_keyed(&alice, bob.wallet, "6", "k", 2));
    std::thread::sleep(WATCH);
    assert!(!first.is_finished() && !again.is_finished() && !other.is_finished());
    shut.open();
    let answers = join(&node, vec![first, again, other]);
    let (first, again) = (answers[0].clone().expect("paid"), answers[1].clone().expect("answered again"));
    assert!(!first.replayed && again.replayed && first.value == again.value);
    assert_eq!(answers[2], Err(Denial::KeyConflict.into()));
    assert_eq!(node.available(&bob), amount("5"));
}
