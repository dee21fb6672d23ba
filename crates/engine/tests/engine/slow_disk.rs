//! A disk that does not make the log's segments as fast as they are written: clients get slower, and are refused only
//! when nothing moves at all.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use engine::Refusal;
use wal::testing::{Fault, FaultyStorage, On};

use crate::harness::{GatedStorage, Node, Party, Setup, amount, eventually, fund, pay};

/// More than two segments hold.
const PAYMENTS: usize = 4_000;

struct Shop {
    node: Node,
    disk: GatedStorage,
    payer: Party,
    payee: Party,
}

impl Shop {
    fn open(storage: FaultyStorage, segment_wait: Duration) -> Self {
        let disk = GatedStorage::new(Arc::new(storage));
        let setup = Setup::new(disk.clone()).tuned(|options| {
            options.wal.segments_ahead = 1;
            options.segment_wait = segment_wait;
        });
        let node = setup.start();
        let (payer, payee) = (node.party("payer"), node.party("payee"));
        node.run(node.engine.fund(&payer.caller, fund(&payer, "10000"))).expect("funded");
        eventually("a segment is ready", || setup.segments_ready() == Some(1));
        Self { node, disk, payer, payee }
    }

    /// Payments of one unit, one after the other.
    fn pay_one_by_one(&self) -> tokio::task::JoinHandle<Result<(), Refusal>> {
        let (engine, payer, payee) = (self.node.engine.clone(), self.payer.clone(), self.payee.wallet);
        self.node.spawn(async move {
            for _ in 0..PAYMENTS {
                engine.pay(&payer.caller, pay(&payer, payee, "1")).await?;
            }
            Ok(())
        })
    }
}

const LONG: Duration = Duration::from_secs(60);

/// Pays until somebody waits, with no segment behind the present one.
fn run_short(shop: &Shop) -> tokio::task::JoinHandle<Result<(), Refusal>> {
    let paying = shop.pay_one_by_one();
    eventually("a payment waits", || {
        assert!(!paying.is_finished(), "there is no room for all of them");
        shop.node.engine.gauges().waiting_for_segment == 1
    });
    paying
}

#[test]
fn payments_wait_for_the_segment_that_is_being_made() {
    let shop = Shop::open(FaultyStorage::new(), LONG);
    let gate = shop.disk.shut_for_new_files();
    let paying = run_short(&shop);
    assert_eq!(shop.node.engine.gauges().in_flight, 1, "what waits holds its place");
    let before = shop.node.available(&shop.payee);
    assert!(before > amount("0"), "reads are served");
    drop(gate);
    assert_eq!(shop.node.run(paying).expect("no task panics"), Ok(()));
    assert_eq!(shop.node.available(&shop.payee), amount(&PAYMENTS.to_string()));
    assert_eq!(shop.node.engine.gauges().waiting_for_segment, 0);
    shop.node.check_trial_balance();
}

#[test]
fn a_payment_waits_for_a_segment_no_longer_than_the_options_say() {
    let shop = Shop::open(FaultyStorage::new(), Duration::from_millis(20));
    let gate = shop.disk.shut_for_new_files();
    let paying = shop.pay_one_by_one();
    assert_eq!(shop.node.run(paying).expect("no task panics"), Err(Refusal::Overloaded));
    let gauges = shop.node.engine.gauges();
    assert_eq!((gauges.in_flight, gauges.waiting_for_segment), (0, 0));
    drop(gate);
    let paid =
        || shop.node.run(shop.node.engine.pay(&shop.payer.caller, pay(&shop.payer, shop.payee.wallet, "1")));
    eventually("there is room again", || paid().is_ok());
}

#[test]
fn a_payment_that_waits_hears_that_the_disk_is_full() {
    let storage = FaultyStorage::new();
    let shop = Shop::open(storage.clone(), LONG);
    let gate = shop.disk.shut_for_new_files();
    let paying = run_short(&shop);
    storage.fail(Fault { on: On::Space, nth: 1, kind: ErrorKind::StorageFull, lasting: true });
    drop(gate);
    assert_eq!(shop.node.run(paying).expect("no task panics"), Err(Refusal::ReadOnly));
    assert_eq!(shop.node.engine.gauges().in_flight, 0);
}

/// Who gives up waiting leaves nothing behind, and the others go on.
#[test]
fn a_request_that_is_dropped_while_it_waits_moves_nothing() {
    let shop = Shop::open(FaultyStorage::new(), LONG);
    let gate = shop.disk.shut_for_new_files();
    let first = run_short(&shop);
    let second = shop.pay_one_by_one();
    eventually("both wait", || shop.node.engine.gauges().waiting_for_segment == 2);
    let before = shop.node.available(&shop.payee);
    first.abort();
    eventually("one waits", || shop.node.engine.gauges().waiting_for_segment == 1);
    assert_eq!(shop.node.engine.gauges().in_flight, 1);
    assert_eq!(shop.node.available(&shop.payee), before);
    drop(gate);
    assert_eq!(shop.node.run(second).expect("no task panics"), Ok(()));
    let payments = amount(&PAYMENTS.to_string());
    assert_eq!(shop.node.available(&shop.payee), before.checked_add(payments).expect("a small sum"));
}
