//! The program itself: exit codes and files, against a server in memory that is honest or lies.

#[allow(dead_code, reason = "each test uses a part of it")]
mod fake;

use std::process::{Command, Output};

use fake::{Lie, OPERATOR_TOKEN, serve, serve_without_services};
use serde_json::Value;

/// A short load of few wallets.
fn loadtest(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest")).args(arguments).output().expect("the program can be started")
}

fn short_load<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["payments", "--url", url, "--agents", "5", "--wallets-per-agent", "1"];
    arguments.extend(["--connections", "2", "--seconds", "0.3", "--warm-up-seconds", "0"]);
    arguments.extend(["--operator-token", OPERATOR_TOKEN]);
    arguments.extend(more);
    arguments
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_honest_server_gives_zero_and_all_reports() {
    let url = format!("http://{}", serve(Lie::None).authority);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let [json, html] = ["run.json", "run.html"].map(|name| dir.path().join(name).display().to_string());
    let output = loadtest(&short_load(&url, &["--json", &json, "--html", &html, "--seed", "9"]));
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    assert!(stderr.contains("seed 9; again: loadtest payments"), "{stderr}");
    assert!(stdout.contains("OK:") && stdout.contains("trial balance"), "{stdout}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(json).expect("a file")).expect("JSON");
    assert_eq!((&report["holds"], &report["seed"]), (&Value::Bool(true), &Value::from(9)));
    assert_eq!(report["verification"]["payments"], report["verification"]["payments_read"]);
    assert!(report["run"]["per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{report}");
    let page = std::fs::read_to_string(html).expect("a file");
    assert!(page.starts_with("<!doctype html>") && page.contains("<svg"), "{page}");
}

#[test]
fn a_lie_gives_one_and_names_itself() {
    for (lie, name) in
        [(Lie::Forgets, "lost"), (Lie::KeepsTheMoney, "wrong_sum"), (Lie::CooksTheBooks, "wrong_books")]
    {
        let url = format!("http://{}", serve(lie).authority);
        let output = loadtest(&short_load(&url, &[]));
        let stdout = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{lie:?}: {stdout}");
        assert!(stdout.contains("WRONG:") && stdout.contains(name), "{lie:?}: {stdout}");
    }
}

#[test]
fn two_servers_are_compared_and_both_verified() {
    let [one, other] =
        [serve(Lie::None), serve(Lie::None)].map(|target| format!("http://{}", target.authority));
    let output = loadtest(&short_load(&one, &["--compare", &other, "--rounds", "2"]));
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", text(&output.stderr));
    assert!(stdout.contains("ratio") && stdout.matches("Verification").count() == 2, "{stdout}");
    let liar = format!("http://{}", serve(Lie::KeepsTheMoney).authority);
    let output = loadtest(&short_load(&one, &["--compare", &liar, "--rounds", "1"]));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
}

#[test]
fn a_search_ends_with_a_rate_or_with_none() {
    let url = format!("http://{}", serve(Lie::None).authority);
    let wide = ["--search-p99-ms", "60000", "--search-step-seconds", "0.1"];
    let output = loadtest(&short_load(&url, &wide));
    assert!(text(&output.stdout).contains("highest rate that holds"), "{}", text(&output.stdout));
    // Nothing answers within a nanosecond.
    let narrow = ["--search-p99-ms", "0.000001", "--search-step-seconds", "0.1"];
    let output = loadtest(&short_load(&url, &narrow));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("no rate holds"), "{}", text(&output.stdout));
}

#[test]
fn services_that_a_node_does_not_have_are_named() {
    let url = format!("http://{}", serve_without_services().authority);
    let output =
        loadtest(&["x402", "--url", &url, "--agents", "5", "--wallets-per-agent", "1", "--providers", "2"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("the node has no POST /v1/services"), "{stderr}");
}

#[test]
fn service_calls_are_made_where_there_are_services() {
    let url = format!("http://{}", serve(Lie::None).authority);
    let mut arguments = vec!["x402", "--url", &url, "--agents", "5", "--wallets-per-agent", "1"];
    arguments.extend([
        "--providers",
        "2",
        "--connections",
        "2",
        "--seconds",
        "0.3",
        "--warm-up-seconds",
        "0",
    ]);
    let output = loadtest(&arguments);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", text(&output.stderr));
    assert!(stdout.contains("service calls read"), "{stdout}");
}

#[test]
fn what_cannot_be_done_is_said() {
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", nowhere.local_addr().expect("an address"));
    drop(nowhere);
    for (arguments, code, words) in [
        (vec!["payments", "--url", url.as_str()], 1, "cannot connect"),
        (vec!["payments", "--agents", "0"], 1, "agents"),
        (vec!["mixed", "--reads", "99", "--batches", "9"], 1, "100 requests"),
        (vec!["payments", "--start-node", "/nowhere/agentpay"], 1, "no node's program"),
        (vec!["payments", "--kill-every", "1"], 2, "--start-node"),
        (vec!["surprise"], 2, "surprise"),
    ] {
        let output = loadtest(&arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_log_that_does_not_fit_on_the_disk_is_refused_before_anything_is_started() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let work_dir = dir.path().display().to_string();
    let mut arguments = vec!["curves", "--start-node", "/bin/false", "--work-dir", &work_dir];
    arguments.extend(["--only", "log-age", "--max-records", "1000000000000000"]);
    let output = loadtest(&arguments);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("needs about 380000003.0 GB") && stderr.contains("at most --max-records"),
        "{stderr}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0);
}
