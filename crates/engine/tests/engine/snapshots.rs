//! Snapshots: taken at any moment, they and the log above them lead to the state that the whole log leads to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use journal::Row;
use snapshot::{FileStore, SnapshotStore};
use wal::testing::MemoryStorage;

use crate::harness::{Setup, amount, batch, batch_item, eventually, fund, pay};

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

/// A row may include credits of a batch that is being delivered right now. The generation must not claim to be covered
/// by a shorter log than they came from.
#[test]
fn a_generation_covers_every_credit_in_it() {
    const GENERATIONS: usize = 8;
    const REPLAY: &str = "cargo test -p engine --test engine a_generation_covers_every_credit_in_it";
    let mut random = testkit::Random::new(testkit::seed(REPLAY));
    let mut setup = Setup::new(MemoryStorage::new()).tuned(|options| {
        options.wal =
            wal::Options { segment_bytes: 16 << 20, record_bytes_max: 8 << 20, ..Default::default() };
        options.snapshots_kept = usize::MAX;
    });
    setup.workers = 3;
    let node = setup.start();
    let payer = node.party("payer");
    let payees: Vec<_> = (0..500).map(|index| node.party(&format!("payee {index}"))).collect();
    node.run(node.engine.fund(&payer.caller, fund(&payer, "900000"))).expect("funded");
    let stop = Arc::new(AtomicBool::new(false));
    let paying = {
        let items: Vec<_> = (0..1_000).map(|_| batch_item(random.pick(&payees).wallet, "0.01")).collect();
        let (engine, payer, stop) = (node.engine.clone(), payer.clone(), stop.clone());
        node.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let items = items.iter().map(|item| (payer.wallet, item.clone())).collect();
                engine.pay_batch(&payer.caller, batch(items)).await.expect("paid");
            }
        })
    };
    for _ in 0..GENERATIONS {
        node.run(node.engine.snapshot_now()).expect("a snapshot");
    }
    stop.store(true, Ordering::Relaxed);
    node.run(paying).expect("no panic");
    node.shutdown();
    let store = FileStore::open(setup.snapshots()).expect("the snapshots");
    let generations = store.list().expect("a listing").generations;
    assert_eq!(generations.len(), GENERATIONS + 1);
    for generation in generations {
        let mut newest = 0;
        let mut visit = |row| {
            if let Row::Wallet(_, wallet) = row {
                newest = newest.max(wallet.posted.get()).max(wallet.decided.get());
            }
            Ok(())
        };
        store.load(generation.id, &mut visit).expect("whole");
        assert!(newest < generation.summary.covers, "a row knows {newest}: {:?}", generation.summary);
    }
    setup.audit();
}
