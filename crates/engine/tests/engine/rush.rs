//! A rush is seen when it comes, is over when nobody asks any more, and a few who ask in turns are none.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use engine::Rush;
use ledger::WalletId;
use tokio::task::JoinHandle;
use wal::{Storage, testing::MemoryStorage};

use crate::harness::{GatedStorage, Node, PATIENCE, Party, Setup, fund, pay};

/// Batches wait for as many as they should hold, however slow the machine is.
fn node(disk: impl Storage) -> Node {
    let setup = Setup::new(disk).tuned(|options| {
        options.wal.gather_per_record = Duration::from_millis(5);
        options.wal.gather_max = Duration::from_millis(5);
    });
    setup.start()
}

/// Pays again and again until it is told to stop, or has paid as often as it should; says how often it paid.
fn payer(node: &Node, party: &Party, payee: WalletId, most: u32, stop: &Arc<AtomicBool>) -> JoinHandle<u32> {
    let (engine, party, stop) = (node.engine.clone(), party.clone(), stop.clone());
    node.spawn(async move {
        let mut paid = 0;
        while paid < most && !stop.load(Ordering::Relaxed) {
            engine.pay(&party.caller, pay(&party, payee, "0.01")).await.expect("paid");
            paid += 1;
        }
        paid
    })
}

/// Looks as often as a worker would that finds nothing.
fn is_over(rush: &Rush) -> bool {
    (0..100_000).any(|_| !rush.lasts())
}

fn funded(node: &Node, name: &str) -> Party {
    let party = node.party(name);
    node.run(node.engine.fund(&party.caller, fund(&party, "10000"))).expect("funded");
    party
}

#[test]
fn many_who_ask_again_and_again_are_a_rush_until_they_stop() {
    let node = node(MemoryStorage::new());
    let payee = node.party("payee");
    let payers: Vec<_> = (0..16).map(|index| funded(&node, &format!("payer {index}"))).collect();
    let rush = node.engine.rush();
    for _ in 0..2 {
        assert!(is_over(&rush), "nobody asks");
        let stop = Arc::new(AtomicBool::new(false));
        let paying: Vec<_> =
            (0..128).map(|index| payer(&node, &payers[index % 16], payee.wallet, u32::MAX, &stop)).collect();
        let seen = node.run(async { tokio::time::timeout(PATIENCE, rush.begins()).await });
        stop.store(true, Ordering::Relaxed);
        seen.expect("a rush is seen");
        for task in paying {
            // A rush can be seen before all of them have had a turn.
            node.run(task).expect("no panic");
        }
    }
    assert!(is_over(&rush), "nobody asks any more");
    node.shutdown();
}

#[test]
fn a_stuck_disk_ends_it() {
    let disk = GatedStorage::new(Arc::new(MemoryStorage::new()));
    let node = node(disk.clone());
    let (payee, party) = (node.party("payee"), funded(&node, "payer"));
    let (rush, stop) = (node.engine.rush(), Arc::new(AtomicBool::new(false)));
    let paying: Vec<_> = (0..128).map(|_| payer(&node, &party, payee.wallet, u32::MAX, &stop)).collect();
    node.run(async { tokio::time::timeout(PATIENCE, rush.begins()).await }).expect("a rush is seen");
    let shut = disk.shut();
    assert!(is_over(&rush), "nothing moves");
    assert!(node.engine.gauges().in_flight > 0, "all still wait");
    stop.store(true, Ordering::Relaxed);
    shut.open();
    for task in paying {
        node.run(task).expect("no panic");
    }
    node.shutdown();
}

#[test]
fn a_few_who_ask_in_turns_are_none() {
    let node = node(MemoryStorage::new());
    let payee = node.party("payee");
    let (party, stop) = (funded(&node, "payer"), Arc::new(AtomicBool::new(false)));
    let rush = node.engine.rush();
    let begins = node.spawn({
        let rush = rush.clone();
        async move { rush.begins().await }
    });
    let paying: Vec<_> = (0..8).map(|_| payer(&node, &party, payee.wallet, 50, &stop)).collect();
    for task in paying {
        assert_eq!(node.run(task).expect("no panic"), 50);
    }
    assert!(!begins.is_finished(), "400 payments by 8, and no rush");
    begins.abort();
    node.shutdown();
}
