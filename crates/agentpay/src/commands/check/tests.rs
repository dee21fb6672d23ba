//! `check` over a log that the engine made.

use super::*;
use crate::testing::{DRAIN, TestLedger, fill};
use engine::Asker;
use ledger::DisputeMove;

fn report_on(ledger: &TestLedger) -> Report {
    let dir = DataDir::existing(&ledger.config.data.dir).expect("exists");
    report(&ledger.config, &dir, false).expect("readable")
}

fn sum(report: &Report, account: &str) -> String {
    report.trial_balance.iter().find(|row| row.account == account).expect("a row").sum.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_ledger_is_proved_before_and_after_a_snapshot() {
    let ledger = TestLedger::new();
    let (owned, engine) = ledger.start().await;
    fill(&engine, 20).await;

    let beside = report_on(&ledger);
    assert!(beside.proved, "{:?}", beside.findings);
    assert_eq!((beside.records, beside.wallets, beside.agents, beside.snapshot), (23, 2, 2, None));
    assert_eq!(sum(&beside, "wallets"), "99.96");
    assert_eq!((sum(&beside, "faucet"), sum(&beside, "fees")), ("-100".to_owned(), "0.04".to_owned()));

    let first = engine.snapshot_now().await.expect("a snapshot");
    fill(&engine, 5).await;
    let after = report_on(&ledger);
    assert!(after.proved, "{:?}", after.findings);
    assert_eq!((after.records, after.wallets, after.snapshot), (31, 4, Some(first.id)));

    let last = engine.shutdown(DRAIN).await.expect("closed");
    drop(owned);
    let closed = report_on(&ledger);
    assert!(closed.proved, "{:?}", closed.findings);
    assert_eq!((closed.records, closed.snapshot), (31, Some(last.id)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_ledger_goes_on_and_is_proved() {
    let ledger = TestLedger::new();
    for round in 1..=3 {
        let (_owned, engine) = ledger.start().await;
        fill(&engine, 3).await;
        engine.shutdown(DRAIN).await.expect("closed");
        assert_eq!(report_on(&ledger).records, round * 6);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_changes_nothing() {
    let ledger = TestLedger::new();
    let (owned, engine) = ledger.start().await;
    fill(&engine, 3).await;
    engine.shutdown(DRAIN).await.expect("closed");
    let before = contents(&owned.dir);
    report_on(&ledger);
    assert!(contents(&owned.dir) == before, "check must not change the log");
}

/// Refunds, an open dispute and a debt are proved too, live and from a snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_with_claims_is_proved() {
    let ledger = TestLedger::new();
    let (owned, engine) = ledger.start().await;
    let paid = fill(&engine, 4).await;
    let at = ledger::Timestamp::from_millis(1_700_000_000_000);
    let refund = engine::RefundPayment { payment: paid.payments[0], amount: None, key: None, at };
    engine.refund(Asker::Operator, refund).await.expect("refunded");
    let mut disputes = Vec::new();
    for payment in &paid.payments[1..3] {
        let (reason, description) = ("service_not_delivered".into(), None);
        let open = engine::OpenDispute { payment: *payment, reason, description, key: None, at };
        let opened = engine.open_dispute(Asker::Agent(&paid.payer), open).await.expect("opened");
        disputes.push(opened.value.id);
    }
    engine.move_dispute(Asker::Operator, disputes[0], DisputeMove::Refund, None, at).await.expect("resolved");
    engine.snapshot_now().await.expect("a snapshot");
    let report = report_on(&ledger);
    assert!(report.proved, "{:?}", report.findings);
    assert_eq!((report.claims, report.open_disputes), (3, 1));
    engine.shutdown(DRAIN).await.expect("closed");
    drop(owned);
    assert!(report_on(&ledger).proved);
}

/// Records that are sound one by one and wrong together.
#[test]
fn claims_that_do_not_add_up_are_findings() {
    let nanos = Amount::from_nanos;
    let (payer, payee) = (ledger::WalletId::from_raw(1), ledger::WalletId::from_raw(2));
    let at = ledger::Timestamp::from_millis(0);
    let opened = |wallet| {
        let keys = Vec::new();
        ledger::Fact::from(ledger::AgentCreated {
            agent: ledger::AgentId::from_raw(9),
            name: "a".into(),
            operator: "o".into(),
            metadata: None,
            public_key: [0; 32],
            keys,
            wallet,
            currency: ledger::Currency::USD,
            at,
        })
    };
    let terms = ledger::ClaimTerms {
        payment: ledger::KeyPlace { lsn: 1, item: 0 },
        payer,
        payee: Some(payee),
        currency: ledger::Currency::USD,
        principal: nanos(100),
    };
    let refund = ledger::Refund {
        terms,
        amount: nanos(60),
        refunded_after: nanos(60),
        by: ledger::Party::Payee,
        key: None,
        at,
        balance_after: ledger::Parts::default(),
    };
    let funding = ledger::Funding {
        wallet: payee,
        amount: nanos(1_000),
        currency: ledger::Currency::USD,
        key: None,
        at,
        balance_after: ledger::Parts::default(),
    };
    let moved = ledger::DisputeMoved {
        terms,
        dispute: ledger::Position::new(5),
        previous: ledger::Position::new(5),
        to: ledger::DisputeStatus::ResolvedDenied,
        by: ledger::Party::Operator,
        returned: Amount::ZERO,
        released: nanos(1),
        refunded_after: Amount::ZERO,
        note: None,
        call: None,
        at,
    };
    let findings = |facts: Vec<ledger::Fact>| {
        let (mut proof, mut scratch) = (Proof::default(), journal::Scratch::new());
        for (lsn, fact) in
            (1_u64..).zip([opened(payer), opened(payee), funding.clone().into()].into_iter().chain(facts))
        {
            journal::Encode::encode(&fact, &mut scratch);
            proof.record(wal::Lsn::new(lsn), scratch.bytes());
        }
        proof.close();
        proof.findings.join("; ")
    };
    assert_eq!(findings(vec![refund.clone().into()]), "");
    let twice = findings(vec![refund.clone().into(), refund.clone().into()]);
    assert!(twice.contains("120 of a payment of 100 was given back"), "{twice}");
    let other =
        ledger::Refund { terms: ledger::ClaimTerms { principal: nanos(99), ..terms }, ..refund.clone() };
    let differing = findings(vec![refund.into(), other.into()]);
    assert!(differing.contains("different terms of one payment"), "{differing}");
    let released = findings(vec![moved.into()]);
    assert!(released.contains("set aside") && released.contains("below zero"), "{released}");
}

/// Names and bytes of the log's files.
fn contents(dir: &DataDir) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir.log()).expect("listed");
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("listed");
        let bytes = std::fs::read(entry.path()).expect("readable");
        (entry.file_name().to_string_lossy().into_owned(), bytes)
    };
    entries.map(file).collect()
}

#[test]
fn a_directory_without_a_log_is_explained() {
    let mut config = Config::default();
    config.data.dir = "/nonexistent/data".to_owned();
    let failure = check(&config, Output::new(false)).expect_err("nothing there");
    assert!(failure.message.contains("--data-dir"), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_has_its_own_exit_code() {
    let ledger = TestLedger::new();
    let (owned, engine) = ledger.start().await;
    fill(&engine, 50).await;
    engine.shutdown(DRAIN).await.expect("closed");
    let mut segments: Vec<_> = contents(&owned.dir).into_iter().collect();
    segments.sort();
    let (name, mut bytes) = segments.swap_remove(0);
    // In the midst of the records, far from the tail.
    let middle = 4_096 + 1_000;
    bytes[middle] ^= 1;
    std::fs::write(owned.dir.log().join(name), bytes).expect("written");
    let failure = report(&ledger.config, &owned.dir, false).map(|_| ()).expect_err("damaged");
    assert_eq!(failure.exit, Exit::Corrupt, "{}", failure.message);
}
