//! Every load against a real node, which the program starts, kills and ends by itself.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The node's program, built with the test's own profile unless `AGENTPAY_BIN` names one: it is another package, so
/// cargo does not build it for this test.
fn node() -> &'static str {
    static NODE: OnceLock<String> = OnceLock::new();
    NODE.get_or_init(|| {
        if let Ok(path) = std::env::var("AGENTPAY_BIN") {
            return path;
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--locked", "--package", "agentpay"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .status()
            .expect("cargo can be started");
        assert!(status.success(), "the node does not build: run `cargo build -p agentpay` and see");
        let loadtest = PathBuf::from(env!("CARGO_BIN_EXE_loadtest"));
        loadtest.with_file_name("agentpay").display().to_string()
    })
}

/// Runs a load on a node of its own; it must succeed. Returns its report.
fn run(load: &[&str]) -> Value {
    let dir = tempfile::Builder::new().prefix("loadtest-").tempdir().expect("a temporary directory");
    let json = dir.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(load)
        .args(["--start-node", node(), "--work-dir"])
        .arg(dir.path())
        .args(["--agents", "6", "--wallets-per-agent", "4", "--connections", "8"])
        .args(["--warm-up-seconds", "0.1", "--json"])
        .arg(&json)
        .output()
        .expect("the program can be started");
    let written =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{load:?}: {}\n{written}", output.status);
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("a directory").flatten().collect();
    assert_eq!(left.len(), 1, "the node's data stays behind: {left:?}");
    serde_json::from_str(&std::fs::read_to_string(json).expect("a report")).expect("JSON")
}

#[test]
fn every_load_is_answered_and_verified() {
    let loads: [&[&str]; 8] = [
        &["payments", "--external-share", "0.2", "--verify-lists"],
        &["payments", "--shape", "zipf", "--zipf-exponent", "1.2"],
        &["payments", "--shape", "one-hot-payer"],
        &["payments", "--shape", "one-hot-payee", "--rate", "500"],
        &["batch", "--items", "50"],
        &["batch", "--items", "500", "--verify-lists"],
        &["reads", "--payments", "200"],
        &["mixed", "--items", "20"],
    ];
    for load in loads {
        let report = run(&[load, &["--seconds", "0.4"]].concat());
        let verification = &report["verification"];
        assert_eq!(verification["complete"], true, "{load:?}: {verification}");
        assert_eq!(verification["books_compared"], true, "{load:?}: {verification}");
        assert!(verification["payments"].as_u64().is_some_and(|count| count > 0), "{load:?}: {verification}");
    }
}

#[test]
fn service_calls_come_to_their_end_also_when_the_node_is_killed() {
    for more in [&["--seconds", "0.4", "--verify-lists"][..], &["--seconds", "2", "--kill-every", "0.4"]] {
        let report = run(&[&["x402", "--providers", "2"], more].concat());
        let verification = &report["verification"];
        assert!(verification["calls"].as_u64().is_some_and(|calls| calls > 0), "{verification}");
        assert_eq!(verification["calls"], verification["calls_read"]);
        assert_eq!(verification["calls"], verification["listed"]);
        assert_eq!((&verification["lost"], &verification["doubled"]), (&0.into(), &0.into()));
    }
}

#[test]
fn a_killed_node_loses_nothing_and_doubles_nothing() {
    for load in [&["payments"][..], &["mixed", "--items", "10"], &["batch", "--items", "100"]] {
        let report = run(&[load, &["--seconds", "2", "--kill-every", "0.4"]].concat());
        let kills = report["run"]["kills"].as_array().expect("a list");
        assert!(!kills.is_empty(), "the load lasts longer than the time to the first kill: {report}");
        let verification = &report["verification"];
        assert_eq!((&verification["lost"], &verification["doubled"]), (&0.into(), &0.into()));
        assert_eq!(verification["payments"], verification["payments_read"]);
        assert!(verification["listed"].as_u64() >= verification["payments"].as_u64(), "{verification}");
    }
}

#[test]
fn the_curve_over_the_age_of_the_log_fills_it_and_leaves_nothing_behind() {
    let dir = tempfile::Builder::new().prefix("loadtest-").tempdir().expect("a temporary directory");
    let json = dir.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args([
            "curves",
            "--only",
            "log-age",
            "--max-wallets",
            "200",
            "--max-records",
            "5000",
            "--seconds",
            "0.2",
        ])
        .args(["--connections", "8", "--start-node", node(), "--work-dir"])
        .arg(dir.path())
        .arg("--json")
        .arg(&json)
        .output()
        .expect("the program can be started");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", String::from_utf8_lossy(&output.stdout));
    assert!(stderr.contains("records needs about 3.0 GB"), "{stderr}");
    assert!(stderr.contains("payments filled the log"), "{stderr}");
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(json).expect("a report")).expect("JSON");
    let curve = &report["curves"][0];
    assert_eq!(curve["points"][0]["x"], 5_000.0);
    assert!(curve["verifications"][0]["payments"].as_u64() > Some(4_600), "{curve}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 1, "only the report stays");
}
