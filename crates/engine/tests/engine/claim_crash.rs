//! Power cuts between the steps of refunds and disputes (T7): a busy run is recorded call by call, then the power goes at
//! many of its moments. Whatever a party had been told is still true, and the money is where it says.
//!
//! `ENGINE_CRASH_POINTS` sets how many moments are tried.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use engine::{Asker, DisputeView, Engine, RefundReceipt, Transaction};
use ledger::{Amount, DisputeId, DisputeMove, DisputeStatus, Fact, PaymentId, Timestamp};
use testkit::Random;
use wal::testing::{FaultyStorage, MemoryStorage};

use crate::harness::{
    Books, Party, Setup, amount, dispute_of, evidence_for, external, for_each_power_cut, fund, pay, refund_of,
};

const CLIENTS: usize = 6;
const PAYMENTS: usize = 20;
const POINTS: usize = 300;
const AT: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// Something that a party was told.
#[derive(Clone, Debug)]
enum Told {
    Refunded(PaymentId, Amount),
    Dispute(DisputeId, DisputeStatus),
    Evidence(DisputeId, u32),
}

type Notes = Arc<Mutex<Vec<(usize, Told)>>>;

#[derive(Clone)]
struct Client {
    engine: Engine,
    consumer: Party,
    merchant: Party,
    disk: FaultyStorage,
    notes: Notes,
}

impl Client {
    fn note(&self, told: Told) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        // Counted under the lock, so that the counts grow.
        let calls = self.disk.call_count();
        notes.push((calls, told));
    }

    fn refunded(&self, receipt: &RefundReceipt) {
        let Transaction::Payment(paid) = &receipt.payment else { panic!("{receipt:?}") };
        self.note(Told::Refunded(paid.id, receipt.refunded));
    }

    fn disputed(&self, view: &DisputeView) {
        self.note(Told::Dispute(view.id, view.status));
    }

    /// Payments with random ends. The merchant spends what it has now and then, so that some disputes leave a debt.
    async fn work(self, mut random: Random) {
        for number in 0..PAYMENTS {
            let command = pay(&self.consumer, self.merchant.wallet, "1");
            let payment = self.engine.pay(&self.consumer.caller, command).await.expect("paid").value.id;
            if random.below(3) == 0 {
                let refund = refund_of(payment, "0.25");
                // The merchant may have nothing left.
                if let Ok(answer) = self.engine.refund(Asker::Agent(&self.merchant.caller), refund).await {
                    self.refunded(&answer.value);
                }
            }
            if random.below(5) == 0 {
                let spend = ledger::PayCommand {
                    payee: external("shop"),
                    ..pay(&self.merchant, self.consumer.wallet, "1")
                };
                let _ = self.engine.pay(&self.merchant.caller, spend).await;
            }
            if random.below(3) > 0 {
                self.dispute(payment, &mut random).await;
            }
            if number % 8 == 7 {
                self.engine.snapshot_now().await.expect("a snapshot");
            }
        }
    }

    async fn dispute(&self, payment: PaymentId, random: &mut Random) {
        let asker = Asker::Agent(&self.consumer.caller);
        let opened = self.engine.open_dispute(asker, dispute_of(payment)).await.expect("opened").value;
        self.disputed(&opened);
        for number in 1..=random.below(3) {
            let add = evidence_for(opened.id, "a line of a log", None);
            self.engine.add_evidence(asker, add).await.expect("added");
            self.note(Told::Evidence(opened.id, u32::try_from(number).expect("few")));
        }
        let steps: &[DisputeMove] = match random.below(5) {
            0 => &[],
            1 => &[DisputeMove::Withdraw],
            2 => &[DisputeMove::Review],
            3 => &[DisputeMove::Review, DisputeMove::Deny],
            _ => &[DisputeMove::Review, DisputeMove::Refund],
        };
        for step in steps {
            let asker = if *step == DisputeMove::Withdraw { asker } else { Asker::Operator };
            let moved = self.engine.move_dispute(asker, opened.id, *step, None, AT).await.expect("moved");
            self.disputed(&moved.value);
        }
    }
}

fn rank(status: DisputeStatus) -> u8 {
    match status {
        DisputeStatus::Open => 0,
        DisputeStatus::UnderReview => 1,
        DisputeStatus::ResolvedRefunded | DisputeStatus::ResolvedDenied | DisputeStatus::Withdrawn => 2,
    }
}

#[test]
fn nothing_that_a_party_was_told_of_a_claim_is_lost() {
    const REPLAY: &str =
        "cargo test -p engine --test engine nothing_that_a_party_was_told_of_a_claim_is_lost";
    let mut random = Random::new(testkit::seed(REPLAY));
    let points =
        std::env::var("ENGINE_CRASH_POINTS").ok().and_then(|text| text.parse().ok()).unwrap_or(POINTS);
    let disk = FaultyStorage::new();
    let setup = Setup::new(disk.clone()).with_many_segments();
    let node = setup.start();
    let (consumer, merchant) = (node.party("consumer"), node.party("merchant"));
    node.run(node.engine.fund(&consumer.caller, fund(&consumer, "1000"))).expect("funded");
    let opened = disk.call_count();
    let notes = Notes::default();
    let client = Client { engine: node.engine.clone(), consumer, merchant, disk: disk.clone(), notes };
    let tasks: Vec<_> =
        (0..CLIENTS).map(|_| node.spawn(client.clone().work(Random::new(random.next_u64())))).collect();
    node.run(async move {
        for task in tasks {
            task.await.expect("no task panics");
        }
    });
    node.kill();
    let calls = disk.calls();
    let told = std::mem::take(&mut *client.notes.lock().unwrap_or_else(PoisonError::into_inner));
    assert!(calls.len() > opened + 200 && told.len() > 200, "a run worth cutting");
    for_each_power_cut(&calls, opened, points, &mut random, |moment, image| {
        let told = &told[..told.partition_point(|(calls, _)| *calls <= moment)];
        check(&setup, &client, image, told);
    });
}

fn check(setup: &Setup, client: &Client, image: MemoryStorage, told: &[(usize, Told)]) {
    // Snapshots are taken away: that they agree with the log is another test's matter.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let setup = setup.on(image).with_snapshots(directory.path());
    let node = setup.start();
    let mut stories = HashMap::new();
    let mut story = |id: DisputeId| {
        let told = || node.run(node.engine.dispute(Asker::Operator, id)).expect("it was told of");
        stories.entry(id).or_insert_with(told).clone()
    };
    for (_, told) in told {
        match told {
            Told::Refunded(payment, refunded) => {
                let claim = node.claim(*payment).expect("it was refunded");
                assert!(claim.refunded >= *refunded, "{told:?}, found {claim:?}");
            }
            Told::Dispute(id, status) => {
                let found = story(*id).dispute.status;
                let is_same_end = rank(*status) < 2 || found == *status;
                assert!(rank(found) >= rank(*status) && is_same_end, "{told:?}, found {found:?}");
            }
            Told::Evidence(id, number) => {
                assert!(story(*id).evidence.len() >= *number as usize, "{told:?}");
            }
        }
    }
    let (consumer, merchant) = (node.wallet(&client.consumer), node.wallet(&client.merchant));
    node.check_trial_balance();
    node.kill();
    let audit = setup.audit();

    // By plain addition over what is left of the log.
    let books = Books::of(setup.storage.clone(), &setup.options.wal);
    assert_eq!(books.balance(client.consumer.wallet), consumer.available);
    assert_eq!(books.balance(client.merchant.wallet), merchant.available);
    let (mut set_aside, mut open) = (amount("0"), 0_u64);
    let mut back: HashMap<(u64, u32), Amount> = HashMap::new();
    for (_, fact) in &books.facts {
        let place = |terms: &ledger::ClaimTerms| (terms.payment.lsn, terms.payment.item);
        match fact {
            Fact::Refund(fact) => {
                let sum = back.entry(place(&fact.terms)).or_default();
                *sum = sum.plus(fact.amount);
            }
            Fact::DisputeOpened(fact) => {
                set_aside = set_aside.plus(fact.set_aside);
                open += 1;
            }
            Fact::DisputeMoved(fact) => {
                let sum = back.entry(place(&fact.terms)).or_default();
                *sum = sum.plus(fact.returned);
                set_aside = set_aside.minus(fact.released);
                open -= u64::from(!fact.to.is_open());
            }
            _ => {}
        }
    }
    assert_eq!((merchant.disputed, audit.open_disputes), (set_aside, open));
    assert!(back.values().all(|sum| *sum <= amount("1")), "never more than was paid");
}
