//! Snapshots: taken at any moment, they and the log above them lead to the state that the whole log leads to.

use std::time::Duration;

use wal::testing::MemoryStorage;

use crate::harness::{Setup, amount, eventually, fund, pay};

/// An idle log writes a watermark, which moves the durable position without any record.
#[test]
fn a_snapshot_can_be_taken_after_a_watermark() {
    let setup = Setup::new(MemoryStorage::new());
    let setup = setup.tuned(|options| options.wal.watermark_after = Duration::from_millis(1));
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "10"))).expect("funded");
    node.run(node.engine.pay(&alice.caller, pay(&alice, bob.wallet, "5"))).expect("paid");
    let recorded = node.engine.trial_balance().lsn;
    eventually("a watermark is delivered", || node.engine.gauges().delivered_lsn > recorded);
    let generation = node.run(node.engine.snapshot_now()).expect("a snapshot of an idle engine");
    assert!(generation.summary.start > recorded, "{generation:?}");
    assert_eq!(generation.summary.wallets, 2);
    node.shutdown();
    setup.audit();

    let node = setup.start();
    assert_eq!(node.available(&bob), amount("5"));
    assert_eq!(node.available(&alice), amount("4.98"));
    node.check_trial_balance();
    node.shutdown();
}
