//! Idempotency keys that have no room in memory: the verdicts are the same, whatever was moved, lost or damaged.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use engine::{Answer, Engine, OpenWallet, PayBatch, PaymentReceipt, Refusal, StartError};
use ledger::{BatchItem, Denial};
use testkit::Random;
use wal::testing::MemoryStorage;

use crate::harness::{
    Node, Party, Setup, amount, batch_item, denial, eventually, fund, fund_keyed, key, open_wallet, pay,
    pay_keyed,
};

/// So few that nearly all are on disk.
const IN_MEMORY: u64 = 20;
const PAYMENTS: u64 = 300;

fn setup() -> Setup {
    Setup::new(MemoryStorage::new()).with_keys_on_disk(IN_MEMORY)
}

/// Where the runs are.
fn runs(setup: &Setup) -> Vec<PathBuf> {
    let directory = setup.options.keys.directory.as_ref().expect("given");
    let entries = fs::read_dir(directory).expect("listed").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "run")).collect()
}

struct Story {
    alice: Party,
    bob: Party,
    paid: Vec<PaymentReceipt>,
}

impl Story {
    /// Payments with a key each, until most keys are on disk.
    fn begin(node: &Node) -> Self {
        let (alice, bob) = (node.party("alice"), node.party("bob"));
        node.run(node.engine.fund(&alice.caller, fund_keyed(&alice, "1000", "first", 1))).expect("funded");
        let paid = (0..PAYMENTS).map(|number| {
            let command = pay_keyed(&alice, bob.wallet, "1", &number.to_string(), number);
            node.run(node.engine.pay(&alice.caller, command)).expect("paid").value
        });
        let story = Story { paid: paid.collect(), alice, bob };
        story.settle(node);
        story
    }

    fn settle(&self, node: &Node) {
        eventually("most keys are on disk", || {
            let gauges = node.engine.gauges();
            gauges.keys_in_memory <= IN_MEMORY && gauges.keys_on_disk + IN_MEMORY > PAYMENTS
        });
    }

    fn pay_again(
        &self,
        node: &Node,
        number: u64,
        fingerprint: u64,
    ) -> Result<Answer<PaymentReceipt>, Refusal> {
        let command = pay_keyed(&self.alice, self.bob.wallet, "1", &number.to_string(), fingerprint);
        node.run(node.engine.pay(&self.alice.caller, command))
    }

    /// Every key gets its first answer again, or a conflict; nothing moves.
    #[track_caller]
    fn check(&self, node: &Node) {
        let before = node.available(&self.alice);
        for (number, receipt) in (0..).zip(&self.paid) {
            let again = self.pay_again(node, number, number).expect("answered again");
            assert_eq!((&again.value, again.replayed), (receipt, true), "{number}");
            let command = pay_keyed(&self.alice, self.bob.wallet, "1", &number.to_string(), number);
            let tried = node.run(node.engine.dry_run(&self.alice.caller, command)).expect("answered");
            assert_eq!(tried, *receipt.payment);
            assert_eq!(denial(self.pay_again(node, number, number + 1)), Denial::KeyConflict);
        }
        let funded =
            node.run(node.engine.fund(&self.alice.caller, fund_keyed(&self.alice, "1000", "first", 1)));
        assert!(funded.expect("answered again").replayed);
        assert_eq!(node.available(&self.alice), before);
        assert_eq!(node.available(&self.bob), amount(&PAYMENTS.to_string()));
        node.check_trial_balance();
    }
}

#[test]
fn keys_on_disk_are_answered_as_those_in_memory_across_restarts_and_crashes() {
    let setup = setup();
    let node = setup.start();
    let story = Story::begin(&node);
    story.check(&node);
    node.kill();
    let node = setup.start();
    story.check(&node);
    node.shutdown();
    let node = setup.start();
    story.check(&node);
    node.shutdown();
    setup.audit();
}

/// The runs are gone, alone or with the snapshots; the log has every key.
#[test]
fn runs_that_are_gone_are_built_again_from_the_log() {
    let setup = setup();
    let node = setup.start();
    let story = Story::begin(&node);
    node.shutdown();
    assert!(!runs(&setup).is_empty());
    runs(&setup).into_iter().for_each(|run| fs::remove_file(run).expect("removed"));
    let node = setup.start();
    story.check(&node);
    node.kill();
    runs(&setup).into_iter().for_each(|run| fs::remove_file(run).expect("removed"));
    fs::remove_dir_all(setup.snapshots()).expect("removed");
    let node = setup.start();
    story.settle(&node);
    story.check(&node);
}

/// The snapshots are gone; the runs are not, and need not be built again.
#[test]
fn runs_are_of_use_without_a_snapshot() {
    let setup = setup();
    let node = setup.start();
    let story = Story::begin(&node);
    node.kill();
    assert!(!runs(&setup).is_empty());
    let node = setup.start();
    assert!(node.engine.gauges().keys_in_memory <= 2 * IN_MEMORY);
    story.check(&node);
}

/// A run of a log that went further says nothing about this one.
#[test]
fn runs_of_another_log_are_not_believed() {
    let setup = setup();
    let node = setup.start();
    drop(Story::begin(&node));
    node.shutdown();
    fs::remove_dir_all(setup.snapshots()).expect("removed");
    let other = setup.on(MemoryStorage::new());
    let node = other.start();
    assert_eq!(node.engine.gauges().keys_on_disk, 0);
    Story::begin(&node).check(&node);
}

#[test]
fn a_damaged_run_refuses_until_it_is_built_again() {
    let setup = setup();
    let node = setup.start();
    let story = Story::begin(&node);
    let before = node.available(&story.bob);
    // Their pages, not their names and ends: as on a disk that rots.
    for run in runs(&setup) {
        // It may have been joined with others since it was listed.
        let Ok(file) = fs::OpenOptions::new().write(true).open(&run) else { continue };
        let pages = usize::try_from(file.metadata().expect("examined").len()).expect("small") - 72;
        file.write_all_at(&vec![0xa5; pages], 0).expect("written");
    }
    for number in 0..PAYMENTS {
        match story.pay_again(&node, number, number) {
            Ok(again) => assert!(again.replayed, "{number}"),
            Err(refusal) => assert_eq!(refusal, Refusal::Overloaded),
        }
        assert_eq!(node.available(&story.bob), before, "never decided anew");
    }
    eventually("the runs are built again", || {
        (0..PAYMENTS).step_by(17).all(|number| story.pay_again(&node, number, number).is_ok())
    });
    story.check(&node);
}

#[test]
fn keys_past_the_retention_leave_the_disk() {
    let setup = setup();
    let node = setup.start();
    let story = Story::begin(&node);
    setup.clock.advance(3 * 86_400_000);
    eventually("nothing is left on disk", || node.engine.gauges().keys_on_disk == 0);
    assert!(story.pay_again(&node, 3, 3).is_ok_and(|again| !again.replayed), "a new payment");
}

/// Without the directory nothing is known about the keys that were moved.
#[test]
fn keys_on_disk_need_their_directory() {
    let setup = setup();
    let node = setup.start();
    drop(Story::begin(&node));
    node.shutdown();
    let without = setup.clone().tuned(|options| options.keys.directory = None);
    assert!(matches!(without.try_start().map(drop), Err(StartError::Spilling(_))));
    setup.start().kill();
}

/// Keys of wallets that are opened, and of batches and their items.
#[test]
fn every_kind_of_key_is_found_on_disk() {
    let setup = setup();
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "1000"))).expect("funded");
    let open = |number: u64| OpenWallet {
        key: key(&format!("open {number}"), number),
        ..open_wallet(ledger::Currency::USD)
    };
    let opened = node.run(node.engine.open_wallet(&alice.caller, open(1))).expect("opened").value;
    let item = |text: &str| (alice.wallet, BatchItem { key: key(text, 9), ..batch_item(bob.wallet, "1") });
    let items = || vec![item("item 1"), item("item 2")];
    let keyed = || PayBatch {
        items: items(),
        atomic: false,
        key: key("batch", 5),
        at: pay(&alice, bob.wallet, "1").at,
    };
    let first = node.run(node.engine.pay_batch(&alice.caller, keyed())).expect("paid").value;
    let story = Story::begin(&node);
    let check = |node: &Node| {
        let again = node.run(node.engine.open_wallet(&alice.caller, open(1))).expect("answered again");
        assert_eq!((again.replayed, again.value.id), (true, opened.id));
        let other = OpenWallet { key: key("open 1", 2), ..open_wallet(ledger::Currency::USD) };
        assert_eq!(denial(node.run(node.engine.open_wallet(&alice.caller, other))), Denial::KeyConflict);
        let again = node.run(node.engine.pay_batch(&alice.caller, keyed())).expect("answered again");
        assert!(again.replayed);
        let receipts = |results: &[Result<Answer<PaymentReceipt>, Refusal>]| -> Vec<PaymentReceipt> {
            results.iter().map(|result| result.clone().expect("paid").value).collect()
        };
        assert_eq!(receipts(&again.value), receipts(&first));
        let unkeyed = PayBatch { key: None, ..keyed() };
        let again = node.run(node.engine.pay_batch(&alice.caller, unkeyed)).expect("answered again").value;
        assert_eq!(receipts(&again), receipts(&first));
        let alone = pay_keyed(&alice, bob.wallet, "1", "item 2", 9);
        let again = node.run(node.engine.pay(&alice.caller, alone)).expect("answered again");
        assert_eq!(again.value, receipts(&first)[1]);
        assert_eq!(node.available(&bob), amount("2"));
    };
    check(&node);
    story.check(&node);
    node.shutdown();
    check(&setup.start());
}

/// Gives up after a while: the test then says that no keys did move.
async fn until_keys_are_on_disk(engine: &Engine) {
    let patience = Instant::now() + Duration::from_secs(30);
    while engine.gauges().keys_on_disk == 0 && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Keys move while they are used: many tasks pay under few keys, again and again. Each key has one effect.
#[test]
fn keys_that_move_while_they_are_used_have_one_effect() {
    const KEYS: u64 = 400;
    const TASKS: u64 = 8;
    let seed = testkit::seed("cargo test -p engine keys_that_move");
    let mut setup = Setup::new(MemoryStorage::new()).with_keys_on_disk(8);
    setup.workers = 4;
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "1000"))).expect("funded");
    let (alice, wallet) = (Arc::new(alice), bob.wallet);
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (engine, alice) = (node.engine.clone(), alice.clone());
            let mut random = Random::new(seed.wrapping_add(task));
            node.spawn(async move {
                for step in 0..KEYS {
                    // On a busy machine the thread that moves keys may not have had its turn before the end.
                    if step == KEYS / 4 {
                        until_keys_are_on_disk(&engine).await;
                    }
                    // Mostly a key that others use about now, sometimes an old one.
                    let number = if random.chance(70) { step } else { random.below(step + 1) };
                    let command = pay_keyed(&alice, wallet, "1", &number.to_string(), number);
                    engine.pay(&alice.caller, command).await.expect("paid once, and answered again");
                }
            })
        })
        .collect();
    for task in tasks {
        node.run(task).expect("no task panics");
    }
    assert!(node.engine.gauges().keys_on_disk > 0, "keys did move");
    let used = node.available(&bob);
    for number in 0..KEYS {
        let command = pay_keyed(&alice, wallet, "1", &number.to_string(), number);
        drop(node.run(node.engine.pay(&alice.caller, command)).expect("answered"));
    }
    assert_eq!(node.available(&bob), amount(&KEYS.to_string()), "before the last round: {used}");
    node.check_trial_balance();
}

/// Nowhere to go and no more room: what would add to it is refused, what is known is answered.
#[test]
fn without_room_for_keys_nothing_new_is_taken() {
    let setup = Setup::new(MemoryStorage::new()).tuned(|options| {
        options.keys.in_memory_max = 10;
        options.wal.record_bytes_max = 1 << 22;
        options.wal.batch_bytes_max = 1 << 22;
        options.wal.segment_bytes = 1 << 23;
    });
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "1000"))).expect("funded");
    let mut taken = 0;
    let refusal = loop {
        let item = |number: u64| {
            let key = key(&format!("{taken} {number}"), 1);
            (alice.wallet, BatchItem { key, ..batch_item(bob.wallet, "0.000001") })
        };
        let items = (0..9_000).map(item).collect();
        let batch = PayBatch { items, atomic: false, key: None, at: pay(&alice, bob.wallet, "1").at };
        match node.run(node.engine.pay_batch(&alice.caller, batch)) {
            Ok(_) => taken += 1,
            Err(refusal) => break refusal,
        }
        assert!(taken < 20, "it has to end");
    };
    // An answer may overtake the count of its keys by one batch.
    assert!(refusal == Refusal::Overloaded && (12..14).contains(&taken), "{refusal:?} after {taken}");
    eventually("every key is counted", || node.engine.gauges().keys_in_memory == taken * 9_000);
    assert!(node.run(node.engine.wallet(&alice.caller, alice.wallet)).is_ok(), "reads go on");
}
