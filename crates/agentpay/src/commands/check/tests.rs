//! `check` over a log that the engine made.

use super::*;
use crate::testing::{DRAIN, TestLedger, fill};

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
