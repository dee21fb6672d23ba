//! The end in order: nothing that was admitted is lost, nothing new is taken, and the deadline holds whatever the disk
//! does.

use std::{
    fs::{self, DirEntry},
    sync::Arc,
    time::Duration,
};

use engine::{Phase, Refusal, ShutdownError};
use ledger::Currency;
use wal::testing::{Fault, FaultyStorage, MemoryStorage, On};

use crate::harness::{GatedStorage, PATIENCE, Setup, amount, batch, batch_item, eventually, fund, pay};

#[test]
fn what_was_admitted_is_answered_and_nothing_follows() {
    let disk = GatedStorage::new(Arc::new(MemoryStorage::new()));
    let setup = Setup::new(disk.clone());
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
    let shut = disk.shut();
    let (engine, payer, payee) = (node.engine.clone(), alice.clone(), bob.wallet);
    let paying = node.spawn(async move { engine.pay(&payer.caller, pay(&payer, payee, "10")).await });
    eventually("the payment is under way", || node.engine.gauges().in_flight == 1);
    let engine = node.engine.clone();
    let stopping = node.spawn(async move { engine.shutdown(PATIENCE).await });
    eventually("the shutdown has begun", || node.status.phase() == Phase::Stopping);
    let late = node.run(node.engine.pay(&alice.caller, pay(&alice, bob.wallet, "1")));
    assert_eq!(late.map(drop), Err(Refusal::Stopping));
    shut.open();
    node.run(paying).expect("no panic").expect("paid");
    let generation = node.run(stopping).expect("no panic").expect("in order");
    assert_eq!((node.status.phase(), generation.summary.wallets), (Phase::Stopped, 2));
    let late = node.run(node.engine.fund(&alice.caller, fund(&alice, "1")));
    assert_eq!(late.map(drop), Err(Refusal::Stopping));
    node.kill();

    // The snapshot has everything: nothing is left to replay.
    let audit = setup.audit();
    assert_eq!((audit.snapshot, audit.records), (Some(generation.id), 4));
    assert!(
        audit.end - generation.summary.start < 256,
        "nothing but a watermark lies behind it: {generation:?}"
    );
    let node = setup.start();
    assert_eq!((node.available(&alice), node.available(&bob)), (amount("89.96"), amount("10")));
    node.shutdown();
}

/// A snapshot that its rate would make last for days is finished at once.
#[test]
fn the_end_does_not_wait_for_the_rate_of_a_snapshot() {
    const WALLETS: u32 = 3_000;
    let setup = Setup::new(MemoryStorage::new()).tuned(|options| {
        options.snapshot_bytes_per_second = 1;
        options.rules.wallets_per_agent_max = WALLETS + 1;
    });
    let node = setup.start();
    let alice = node.party("alice");
    for _ in 0..WALLETS {
        node.another(&alice, Currency::USD);
    }
    let engine = node.engine.clone();
    let taking = node.spawn(async move { engine.snapshot_now().await });
    let is_resting = |file: DirEntry| file.metadata().is_ok_and(|file| file.len() > 100_000);
    eventually("the first chunk is written", || {
        fs::read_dir(setup.snapshots()).expect("there").flatten().any(is_resting)
    });
    node.run(node.engine.shutdown(PATIENCE)).expect("in order");
    let taken = node.run(taking).expect("no panic").expect("a snapshot");
    assert_eq!(taken.summary.wallets, u64::from(WALLETS) + 1);
    node.kill();
    setup.audit();
}

/// A disk that never answers keeps neither the snapshot nor the closing of the log from giving up in time.
#[test]
fn a_stuck_disk_does_not_hold_up_the_end() {
    let memory = MemoryStorage::new();
    let disk = GatedStorage::new(Arc::new(memory.clone()));
    let setup = Setup::new(disk.clone());
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
    let shut = disk.shut();
    let (engine, payer, payee) = (node.engine.clone(), alice.clone(), bob.wallet);
    let paying = node.spawn(async move { engine.pay(&payer.caller, pay(&payer, payee, "10")).await });
    eventually("the payment is appended", || disk.waiting() > 0);
    let outcome = node.run(node.engine.shutdown(Duration::from_millis(20)));
    assert!(matches!(outcome, Err(ShutdownError::Deadline { in_flight: 1 })), "{outcome:?}");
    assert!(!paying.is_finished(), "nobody knows the outcome yet");
    let files = MemoryStorage::with_files(memory.files());
    shut.open();
    node.run(paying).expect("no panic").expect("paid after all");
    node.kill();
    let node = setup.on(files).start();
    assert_eq!(node.available(&alice), amount("89.96"), "written, if not synced");
    node.check_trial_balance();
    node.shutdown();
}

#[test]
fn the_end_after_a_failed_log_says_so() {
    let disk = FaultyStorage::new();
    let setup = Setup::new(disk.clone());
    // The next sync is the payment's, however slow the machine is: no watermark's, and no segment's.
    let setup = setup.tuned(|options| options.wal.watermark_after = PATIENCE);
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
    let ahead = u64::from(setup.options.wal.segments_ahead);
    eventually("segments are ready", || setup.segments_ready() == Some(ahead));
    disk.fail(Fault { on: On::Sync, nth: 1, kind: std::io::ErrorKind::Other, lasting: false });
    let unknown = node.run(node.engine.pay(&alice.caller, pay(&alice, bob.wallet, "10")));
    assert_eq!(unknown.map(drop), Err(Refusal::OutcomeUnknown));
    let outcome = node.run(node.engine.shutdown(PATIENCE));
    assert!(matches!(outcome, Err(ShutdownError::Log(_) | ShutdownError::Snapshot(_))), "{outcome:?}");
    assert_eq!(node.status.phase(), Phase::Failed);
}

/// When the process ends, the runtime drops the owners one by one, while others may still be at work.
#[test]
fn whoever_asks_an_owner_that_is_gone_is_told_so() {
    let node = Setup::new(MemoryStorage::new()).start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
    let engine = node.engine.clone();
    node.kill();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let read = runtime.block_on(engine.wallet(&alice.caller, alice.wallet));
    assert_eq!(read.map(drop), Err(Refusal::OutcomeUnknown));
    let items = vec![(alice.wallet, batch_item(bob.wallet, "1"))];
    for _ in 0..2 {
        let paid = runtime.block_on(engine.pay_batch(&alice.caller, batch(items.clone())));
        assert_eq!(paid.map(drop), Err(Refusal::OutcomeUnknown));
    }
    let agent = runtime.block_on(engine.agent(alice.id()));
    assert_eq!(agent.map(drop), Err(Refusal::OutcomeUnknown));
    assert_eq!(engine.gauges().in_flight, 0);
}
