//! The disk fails: fail-stop as designed. Whoever waits is told that the outcome is unknown, nobody is told anything
//! after that, and a restart finds everything that was acknowledged. A full disk is no failure: it closes admission.

use std::{io::ErrorKind, time::Duration};

use engine::{Engine, Phase, Refusal, StartError, Transaction};
use ledger::{Denial, PayCommand};
use testkit::Random;
use wal::testing::{Call, Fault, FaultyStorage, Loss, On};

use crate::harness::{Books, Node, Party, Setup, amount, eventually, fund, pay, pay_keyed};

const WORKERS: usize = 6;
const PAYMENTS: usize = 25;

/// What became of one keyed payment.
type Outcome = (PayCommand, Result<engine::PaymentReceipt, Refusal>);

/// Small segments, so that allocation is among the calls that fail.
fn setup(disk: &FaultyStorage) -> Setup {
    Setup::new(disk.clone()).tuned(|options| {
        options.wal.segment_bytes = 16 << 10;
        options.wal.record_bytes_max = 2 << 10;
        options.wal.watermark_after = Duration::from_millis(1);
        options.wal.allocation_retry = Duration::from_millis(2);
        options.idle_after = Duration::from_millis(5);
    })
}

async fn pay_in_turn(engine: Engine, payer: Party, payee: Party, worker: usize) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for number in 0..PAYMENTS {
        let text = format!("{worker}-{number}");
        let command = pay_keyed(&payer, payee.wallet, "1", &text, number as u64);
        let outcome = engine.pay(&payer.caller, command.clone()).await;
        outcomes.push((command, outcome.map(|answer| answer.value)));
    }
    outcomes
}

struct Story {
    alice: Party,
    bob: Party,
    outcomes: Vec<Outcome>,
}

/// Two parties and as many payments as the disk lets happen. `Err`: the engine did not even start.
fn tell(node: &Node) -> Option<Story> {
    let create = |name| node.run(node.engine.create_agent(crate::harness::new_agent(name, Vec::new())));
    let alice = Party::of(&create("alice").ok()?);
    let bob = Party::of(&create("bob").ok()?);
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100000"))).ok()?;
    let paying: Vec<_> = (0..WORKERS)
        .map(|worker| node.spawn(pay_in_turn(node.engine.clone(), alice.clone(), bob.clone(), worker)))
        .collect();
    let outcomes = node.run(async move {
        let mut outcomes = Vec::new();
        for task in paying {
            outcomes.extend(task.await.expect("no task panics"));
        }
        outcomes
    });
    Some(Story { alice, bob, outcomes })
}

/// The engine that recovers from `image` has every acknowledged payment once, none that was refused, and gives each
/// outcome that is unknown one meaning.
fn check_recovered(setup: &Setup, image: &wal::testing::MemoryStorage, story: &Story) {
    let books = Books::of_image(image, &setup.options.wal);
    let node = setup.on(image.clone()).start();
    let (alice, bob) = (&story.alice, &story.bob);
    let count = i128::try_from(books.payments.len()).expect("few");
    assert_eq!(node.available(bob).nanos(), count * amount("1").nanos());
    assert_eq!(node.available(alice), books.balance(alice.wallet));
    for (command, outcome) in &story.outcomes {
        let recorded = books.payments.values().filter(|payment| payment.key == command.key).count();
        match outcome {
            Ok(receipt) => {
                assert_eq!(recorded, 1, "acknowledged: {command:?}");
                let found = node.run(node.engine.transaction(bob.id(), receipt.id));
                assert_eq!(found, Ok(Transaction::Payment(receipt.clone())));
            }
            Err(Refusal::OutcomeUnknown) => assert!(recorded <= 1, "{command:?}"),
            Err(Refusal::Stopping) => assert_eq!(recorded, 0, "refused: {command:?}"),
            Err(other) => panic!("unexpected {other:?} for {command:?}"),
        }
        let again = node.run(node.engine.pay(&alice.caller, command.clone())).expect("affordable");
        assert_eq!(again.replayed, recorded == 1);
        if let Ok(receipt) = outcome {
            assert_eq!(&again.value, receipt);
        }
    }
    let all = i128::try_from(story.outcomes.len()).expect("few");
    assert_eq!(node.available(bob).nanos(), all * amount("1").nanos(), "each has happened once now");
    node.check_trial_balance();
    node.kill();
}

/// T10: every kind of call fails at many places of a run.
#[test]
fn whichever_call_fails_nothing_acknowledged_is_lost() {
    const REPLAY: &str =
        "cargo test -p engine --test engine whichever_call_fails_nothing_acknowledged_is_lost";
    let mut random = Random::new(testkit::seed(REPLAY));
    let calls = {
        let disk = FaultyStorage::new();
        let node = setup(&disk).start();
        tell(&node).expect("a sound disk");
        node.kill();
        disk.calls()
    };
    let mut met = 0;
    for round in 0..60 {
        let on = *random.pick(&[On::Any, On::Sync, On::Write, On::Create, On::Rename, On::SyncDirectory]);
        let count = calls.iter().filter(|call| is_covered(on, call)).count();
        // The first calls are those of the start.
        let nth = 1 + if round < 15 { round } else { random.index(count) } as u64;
        let kind = *random.pick(&[ErrorKind::Other, ErrorKind::PermissionDenied, ErrorKind::TimedOut]);
        let fault = Fault { on, nth, kind, lasting: random.chance(50) };
        let disk = FaultyStorage::new();
        disk.fail(fault);
        let setup = setup(&disk);
        let node = match setup.try_start() {
            Ok(node) => node,
            Err(StartError::Log(_)) => {
                met += 1;
                continue;
            }
            Err(error) => panic!("{fault:?}: {error}"),
        };
        let story = tell(&node);
        if disk.is_fault_pending() {
            node.kill();
            continue;
        }
        // An allocation that fails is met by the log's thread on its own, maybe after the last payment.
        eventually("the engine says that it failed", || node.status.phase() == Phase::Failed);
        node.run(node.status.failed());
        met += 1;
        if let Some(story) = &story {
            let late =
                node.run(node.engine.pay(&story.alice.caller, pay(&story.alice, story.bob.wallet, "1")));
            assert_eq!(late.map(drop), Err(Refusal::Stopping), "{fault:?}");
            assert_eq!(node.engine.gauges().in_flight, 0, "{fault:?}");
            disk.heal();
            for loss in [Loss::Dropped, Loss::Kept, Loss::Random(random.next_u64())] {
                check_recovered(&setup, &disk.crash_image(loss), story);
            }
        }
        node.kill();
    }
    assert!(met > 30, "most faults are met: {met}");
}

fn is_covered(on: On, call: &Call) -> bool {
    match on {
        On::Any => true,
        On::Sync => matches!(call, Call::Sync { .. }),
        On::Write => matches!(call, Call::Write { .. }),
        On::Create => matches!(call, Call::Create { .. }),
        On::Rename => matches!(call, Call::Rename { .. }),
        On::SyncDirectory => matches!(call, Call::SyncDirectory),
        other => unreachable!("{other:?} is not drawn"),
    }
}

/// A read of what is not durable is not answered by a log that has failed; a wallet at rest still is.
#[test]
fn after_a_failure_only_what_is_durable_is_read() {
    let disk = FaultyStorage::new();
    let setup = setup(&disk).tuned(|options| {
        options.idle_after = Duration::from_secs(3600);
        // The next sync is the payment's, however slow the machine is.
        options.wal.watermark_after = Duration::from_secs(3600);
    });
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
    let before = node.engine.trial_balance();
    disk.fail(Fault { on: On::Sync, nth: 1, kind: ErrorKind::Other, lasting: false });
    let paid = node.run(node.engine.pay(&alice.caller, pay(&alice, bob.wallet, "10")));
    assert_eq!(paid.map(drop), Err(Refusal::OutcomeUnknown));
    node.run(node.status.failed());
    let read = node.run(node.engine.wallet(&alice.caller, alice.wallet));
    assert_eq!(read.map(drop), Err(Refusal::OutcomeUnknown), "the owner knows of a payment that may be lost");
    let tried = node.run(node.engine.dry_run(&alice.caller, pay(&alice, bob.wallet, "1")));
    assert_eq!(tried.map(drop), Err(Refusal::OutcomeUnknown));
    assert_eq!(node.available(&bob), ledger::Amount::ZERO);
    assert_eq!(node.engine.trial_balance(), before);
    assert!(node.run(node.engine.snapshot_now()).is_err(), "a snapshot of what may be lost");
    assert_eq!(node.engine.gauges().in_flight, 0);
}

/// A record that cannot be read is reported as that, and not as one that never was; it hurts nobody else.
#[test]
fn a_disk_that_does_not_answer_a_read_is_no_missing_payment() {
    let disk = FaultyStorage::new();
    let node = setup(&disk).start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100"))).expect("funded");
    let command = || pay_keyed(&alice, bob.wallet, "1", "k", 1);
    let receipt = node.run(node.engine.pay(&alice.caller, command())).expect("paid").value;
    disk.fail(Fault { on: On::Read, nth: 1, kind: ErrorKind::Other, lasting: true });
    let found = node.run(node.engine.transaction(bob.id(), receipt.id));
    assert_eq!(found, Err(Refusal::Damaged));
    let again = node.run(node.engine.pay(&alice.caller, command()));
    assert_eq!(again.map(drop), Err(Refusal::Damaged), "known, but not to be answered now");
    node.run(node.engine.pay(&alice.caller, pay(&alice, bob.wallet, "1"))).expect("payments go on");
    disk.heal();
    assert_eq!(
        node.run(node.engine.transaction(bob.id(), receipt.id)),
        Ok(Transaction::Payment(receipt.clone()))
    );
    let again = node.run(node.engine.pay(&alice.caller, command())).expect("answered again");
    assert!(again.replayed && again.value == receipt);
    assert_eq!(node.available(&bob), amount("2"));
    node.check_trial_balance();
}

/// A full disk closes admission before anything is lost, and opens it again when there is space.
#[test]
fn a_full_disk_is_read_only_until_there_is_space() {
    let disk = FaultyStorage::new();
    let setup = setup(&disk);
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "100000"))).expect("funded");
    disk.fail(Fault { on: On::Space, nth: 1, kind: ErrorKind::StorageFull, lasting: true });
    let mut paid = 0_u32;
    loop {
        match node.run(node.engine.pay(&alice.caller, pay(&alice, bob.wallet, "1"))) {
            Ok(_) => paid += 1,
            Err(Refusal::ReadOnly) => break,
            Err(other) => panic!("{other:?}"),
        }
        assert!(paid < 10_000, "the disk is full");
    }
    eventually("the phase follows", || node.status.phase() == Phase::ReadOnly);
    let units = |paid: u32| amount(&paid.to_string());
    let funded = node.run(node.engine.fund(&alice.caller, fund(&alice, "1")));
    assert_eq!(funded.map(drop), Err(Refusal::ReadOnly));
    assert_eq!(node.available(&bob), units(paid), "reads are served");
    let poor = pay(&bob, alice.wallet, "99999");
    let denied = node.run(node.engine.dry_run(&bob.caller, poor));
    assert!(matches!(denied, Err(Refusal::Denied(Denial::InsufficientBalance { .. }))), "so are dry runs");
    assert_eq!(node.engine.gauges().in_flight, 0);

    // A start on the full disk: read-only as well, with everything that was acknowledged.
    let full = FaultyStorage::with_image(&disk.crash_image(Loss::Dropped));
    full.fail(Fault { on: On::Space, nth: 1, kind: ErrorKind::StorageFull, lasting: true });
    let restarted = setup.on(full.clone()).start();
    assert_eq!(restarted.available(&bob), units(paid));
    loop {
        match restarted.run(restarted.engine.pay(&alice.caller, pay(&alice, bob.wallet, "1"))) {
            Ok(_) => {}
            Err(refusal) => {
                assert_eq!(refusal, Refusal::ReadOnly);
                break;
            }
        }
    }
    restarted.kill();

    disk.heal();
    eventually("there is space again", || node.status.phase() == Phase::Ready);
    node.run(node.engine.pay(&alice.caller, pay(&alice, bob.wallet, "1"))).expect("paid again");
    assert_eq!(node.available(&bob), units(paid + 1));
    node.check_trial_balance();
    node.shutdown();
    setup.audit();
}
