//! Nobody is shown what a power cut can take back: while the disk is stuck, a payment that was decided and appended is
//! visible nowhere; once it is durable, everywhere.

use std::{future::Future, sync::Arc};

use engine::{PayBatch, PaymentFilter, Refusal, TimeRange};
use ledger::{Denial, IdSealer, PaymentId, RecordAddress, SealedKind, WalletStatus};
use tokio::task::JoinHandle;
use wal::testing::MemoryStorage;

use crate::harness::{
    GatedStorage, Node, Party, Setup, Shut, WATCH, amount, batch, batch_item, denial, eventually, fund,
    new_agent, owner_key, page, pay, pay_keyed, runtime_key, usd,
};

/// Alice has paid bob 10 of her 100, and the disk does not answer.
struct Stuck {
    setup: Setup,
    shut: Shut,
    node: Node,
    alice: Party,
    bob: Party,
    paying: JoinHandle<Result<engine::Answer<engine::PaymentReceipt>, Refusal>>,
    /// Ends of the log before and after the payment was appended.
    before: u64,
    after: u64,
}

impl Stuck {
    fn new() -> Self {
        let disk = GatedStorage::new(Arc::new(MemoryStorage::new()));
        let setup = Setup::new(disk.clone()).with_history();
        // No watermark gets in between.
        let setup = setup.tuned(|options| options.wal.watermark_after = std::time::Duration::from_secs(3600));
        let node = setup.start();
        let alice = node.party_with_keys("alice", vec![owner_key(1, 0), runtime_key(2, 0)]);
        let bob = node.party("bob");
        node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
        let shut = disk.shut();
        let before = node.engine.gauges().appended_lsn;
        let command = pay_keyed(&alice, bob.wallet, "10", "k", 1);
        let (engine, caller) = (node.engine.clone(), alice.caller.clone());
        let paying = node.spawn(async move { engine.pay(&caller, command).await });
        eventually("the payment is appended", || node.engine.gauges().appended_lsn > before);
        eventually("the disk is stuck", || disk.waiting() > 0);
        let after = node.engine.gauges().appended_lsn;
        Self { setup, shut, node, alice, bob, paying, before, after }
    }

    /// Every id that a record in the undurable part could have.
    fn ids(&self) -> Vec<PaymentId> {
        let sealer = IdSealer::new(&self.setup.options.id_key);
        let id = |lsn| sealer.seal(SealedKind::Payment, RecordAddress { partition: 0, lsn, item: 0 });
        (self.before..self.after).step_by(8).map(|lsn| PaymentId::from_raw(id(lsn))).collect()
    }

    /// `ask` is not answered while the disk is stuck, and answered as expected afterwards.
    #[track_caller]
    fn check_waits<T, F>(self, ask: impl FnOnce(engine::Engine, Party, Party) -> F, expected: impl FnOnce(T))
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        // The gate is the last, so that a failure opens it before the engine goes.
        let Self { node, alice, bob, paying, shut, .. } = self;
        let asked = node.spawn(ask(node.engine.clone(), alice, bob));
        std::thread::sleep(WATCH);
        assert!(!asked.is_finished(), "answered by what is not durable");
        assert!(!paying.is_finished(), "acknowledged before the sync");
        shut.open();
        expected(node.run(asked).expect("no panic"));
        node.run(paying).expect("no panic").expect("paid");
    }
}

const LEFT: &str = "89.96";

#[test]
fn the_payers_balance_waits() {
    Stuck::new().check_waits(
        |engine, alice, _| async move { engine.wallet(&alice.caller, alice.wallet).await },
        |view| assert_eq!(view.expect("read").available, amount(LEFT)),
    );
}

#[test]
fn a_denial_by_the_undurable_balance_waits() {
    Stuck::new().check_waits(
        |engine, alice, bob| async move { engine.pay(&alice.caller, pay(&alice, bob.wallet, "95")).await },
        |outcome| {
            let (available, needed) = (amount(LEFT), amount("95.38"));
            let expected = Denial::InsufficientBalance { available, held: usd(0), needed };
            assert_eq!(denial(outcome), expected);
        },
    );
}

#[test]
fn a_denied_batch_waits() {
    Stuck::new().check_waits(
        |engine, alice, bob| async move {
            let items = vec![(alice.wallet, batch_item(bob.wallet, "95"))];
            engine.pay_batch(&alice.caller, PayBatch { atomic: true, ..batch(items) }).await
        },
        |outcome| assert!(matches!(denial(outcome), Denial::AtomicBatch { item: 0, .. })),
    );
}

#[test]
fn a_dry_run_waits() {
    Stuck::new().check_waits(
        |engine, alice, bob| async move { engine.dry_run(&alice.caller, pay(&alice, bob.wallet, "1")).await },
        |preview| assert_eq!(preview.expect("affordable").balance_after.available, amount("88.956")),
    );
}

#[test]
fn a_freeze_waits() {
    Stuck::new().check_waits(
        |engine, alice, _| async move {
            let at = engine.clock().now();
            engine.set_status(&alice.caller, alice.wallet, WalletStatus::Frozen, at).await
        },
        |view| assert_eq!(view.expect("frozen").available, amount(LEFT)),
    );
}

/// A row of the snapshot may include the payment; the generation must not count before it is durable.
#[test]
fn a_snapshot_waits() {
    let stuck = Stuck::new();
    let after = stuck.after;
    stuck.check_waits(
        |engine, _, _| async move { engine.snapshot_now().await },
        |generation| assert!(generation.expect("taken").summary.covers >= after),
    );
}

#[test]
fn the_payee_and_the_books_show_nothing_yet() {
    let stuck = Stuck::new();
    let (node, engine, bob) = (&stuck.node, &stuck.node.engine, &stuck.bob);
    let totals = engine.trial_balance();
    let gauges = engine.gauges();
    assert!(gauges.delivered_lsn <= stuck.before && gauges.durable_lsn <= stuck.before, "{gauges:?}");
    assert_eq!(totals.lsn, stuck.before);
    assert_eq!(node.available(bob), usd(0));
    let refused = denial(node.run(engine.pay(&bob.caller, pay(bob, stuck.alice.wallet, "1"))));
    assert!(matches!(refused, Denial::InsufficientBalance { available, .. } if available == usd(0)));
    let refused = denial(node.run(engine.dry_run(&bob.caller, pay(bob, stuck.alice.wallet, "1"))));
    assert!(matches!(refused, Denial::InsufficientBalance { available, .. } if available == usd(0)));
    for id in stuck.ids() {
        for caller in [stuck.alice.id(), bob.id()] {
            assert_eq!(node.run(engine.transaction(caller, id)), Err(Refusal::UnknownPayment));
        }
    }
    for party in [&stuck.alice, bob] {
        let listed =
            node.run(engine.payments(party.id(), PaymentFilter::default(), page(10))).expect("a list");
        assert_eq!(listed.items, []);
        let range = TimeRange::default();
        let lines = node.run(engine.entries(party.id(), party.wallet, range, page(10))).expect("a statement");
        assert_eq!(lines.items.len(), usize::from(party.wallet == stuck.alice.wallet), "the funding alone");
    }
    assert_eq!(engine.trial_balance(), totals);

    stuck.shut.open();
    let receipt = node.run(stuck.paying).expect("no panic").expect("paid").value;
    assert_eq!(node.available(bob), amount("10"));
    let found = node.run(engine.transaction(bob.id(), receipt.id)).expect("visible to its payee");
    assert_eq!(found, engine::Transaction::Payment(receipt.clone()));
    let listed = node.run(engine.payments(bob.id(), PaymentFilter::default(), page(10))).expect("a list");
    assert_eq!(listed.items, [engine::Transaction::Payment(receipt)]);
    assert_ne!(engine.trial_balance(), totals);
    node.check_trial_balance();
}

/// A directory record opens no door before it is durable, and closes none.
#[test]
fn keys_and_agents_show_when_they_are_durable() {
    let stuck = Stuck::new();
    let (node, alice) = (&stuck.node, &stuck.alice);
    let engine = node.engine.clone();
    let (creating, revoking, reading) = {
        let (first, second, third) = (engine.clone(), engine.clone(), engine.clone());
        let id = alice.id();
        let at = engine.clock().now();
        let creating =
            node.spawn(async move { first.create_agent(new_agent("carol", vec![owner_key(3, 0)])).await });
        let revoking = node.spawn(async move { second.revoke_key(id, ledger::KeyId::from_raw(2), at).await });
        // The payment and both of these.
        eventually("both are under way", || engine.gauges().in_flight == 3);
        eventually("their records are appended", || engine.gauges().appended_lsn > stuck.after + 200);
        let reading = node.spawn(async move { third.agent(id).await });
        (creating, revoking, reading)
    };
    std::thread::sleep(WATCH);
    assert!(!creating.is_finished() && !revoking.is_finished() && !reading.is_finished());
    assert!(engine.key(ledger::KeyId::from_raw(3)).is_none(), "a key that may never have been");
    assert_eq!(engine.gauges().agents, 2);
    let old = engine.key(ledger::KeyId::from_raw(2)).expect("published");
    assert!(old.key.usable(engine.clock().now()), "a revocation that may never have been");

    stuck.shut.open();
    let carol = node.run(creating).expect("no panic").expect("created");
    node.run(revoking).expect("no panic").expect("revoked");
    let read = node.run(reading).expect("no panic").expect("read").expect("present");
    assert!(read.key(ledger::KeyId::from_raw(2)).is_some_and(|key| key.revoked_at.is_some()));
    assert_eq!(engine.key(ledger::KeyId::from_raw(3)).expect("published").agent, carol.id);
    let old = engine.key(ledger::KeyId::from_raw(2)).expect("still known");
    assert!(!old.key.usable(engine.clock().now()));
}
