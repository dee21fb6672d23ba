//! What an operator does and meets: stopping, two nodes on one directory, a full disk, a damaged log, a lost key.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;
use system_tests::http::Request;
use system_tests::{Account, DataDir, Node, NodeBuilder, PaymentRequest, Receiver, agentpay, eventually};

use crate::journal::Ledger;

/// Exit codes of `agentpay --help`.
const LOCKED: Option<i32> = Some(3);
const CORRUPT: Option<i32> = Some(4);
const CONFIG: Option<i32> = Some(5);
const ID_KEY: Option<i32> = Some(8);

#[test]
fn a_second_node_on_the_same_directory_is_refused() {
    let node = Node::start();
    let account = Account::funded(&node, "first", "100");
    let refused = Node::builder().data(node.data().clone()).try_start().err().expect("it must not start");
    assert_eq!(refused.code, LOCKED, "{}", refused.output);
    assert!(refused.output.contains(&node.data().text()), "the directory is named: {}", refused.output);
    // The first one is unimpressed.
    account.pay_external(&node, "5");
    assert_eq!(account.balance(&node).raw(&["available"]), "94.98");
    let node = node.stop().start();
    assert_eq!(account.balance(&node).raw(&["available"]), "94.98");
}

/// A huge page is handed out as one long stall of the payment that needs it.
#[test]
fn a_node_that_serves_gets_memory_in_small_pages() {
    let node = Node::start();
    let status = fs::read_to_string(format!("/proc/{}/status", node.process_id())).expect("it runs");
    let huge = status.lines().find_map(|line| line.strip_prefix("THP_enabled:")).map(str::trim);
    assert_eq!(huge, Some("0"), "{status}");
}

#[test]
fn sigterm_under_load_drains_takes_a_snapshot_and_loses_nothing() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let node = Node::start();
    let mut ledger = Ledger::open(&node, 16);
    let mut builder = None;
    ledger.load(node.address(), seed, || {
        std::thread::sleep(Duration::from_millis(300));
        builder = Some(node.stop());
    });
    let builder = builder.expect("stopped");
    let snapshots = snapshots(&builder.data_dir().text());
    assert!(!snapshots.is_empty(), "a stop leaves a snapshot behind");
    let node = builder.start();
    ledger.verify(&node, &mut rng);
    assert!(ledger.acknowledged() > 0);
}

fn snapshots(data_dir: &str) -> Vec<Value> {
    let output = agentpay(&["snapshot", "list", "--json", "--data-dir", data_dir]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let list: Value = serde_json::from_str(&output.stdout).expect("`snapshot list --json` prints JSON");
    list.as_array().or_else(|| list["snapshots"].as_array()).expect("a list of snapshots").clone()
}

#[test]
fn configuration_mistakes_are_refused_and_named() {
    let refused = |builder: NodeBuilder, named: &str| {
        let exited = builder.try_start().err().expect("it must not start");
        assert_eq!(exited.code, CONFIG, "{}", exited.output);
        assert!(exited.output.contains(named), "{named} is not named: {}", exited.output);
    };
    refused(Node::builder().set("http.no_such_key", "1"), "AGENTPAY__HTTP__NO_SUCH_KEY");
    refused(Node::builder().set("rates.agent_per_second", "many"), "rates.agent_per_second");
    refused(Node::builder().set("log.segment_bytes", "1000"), "segment_bytes");
    // Production names what is missing instead of starting without it.
    refused(Node::builder().set("process.environment", "production"), "jwt_secret");
}

#[test]
fn a_damaged_log_stops_the_node_with_its_place_and_is_left_untouched() {
    let node = Node::start();
    let account = Account::funded(&node, "damage", "100");
    for _ in 0..50 {
        account.pay_external(&node, "0.01");
    }
    let builder = node.kill();
    let log = builder.data_dir().path().join("log");
    let segment = first_file(&log, "wal");
    let mut bytes = fs::read(&segment).expect("a segment");
    // In the middle of what was written: valid batches follow, so this cannot be a torn tail.
    let written = bytes.iter().rposition(|byte| *byte != 0).expect("something was written");
    bytes[written / 2] ^= 0x01;
    fs::write(&segment, &bytes).expect("written");
    let before = contents(&log);

    let exited = builder.clone().try_start().err().expect("it must not start");
    assert_eq!(exited.code, CORRUPT, "{}", exited.output);
    let text = exited.output.to_lowercase();
    assert!(text.contains("offset") && text.contains("lsn"), "the place is told: {}", exited.output);
    assert!(contents(&log) == before, "a damaged log must be left as it was found");
    let verify = agentpay(&["wal", "verify", "--json", "--data-dir", &builder.data_dir().text()]);
    assert_eq!(verify.code, CORRUPT, "{}{}", verify.stdout, verify.stderr);
}

#[test]
fn a_log_without_its_id_key_is_refused() {
    let node = Node::start();
    Account::funded(&node, "id-key", "100");
    let builder = node.stop();
    let key = builder.data_dir().path().join("id.key");
    let aside = builder.data_dir().path().join("aside");
    fs::rename(&key, &aside).expect("the id key is in the data directory");
    let exited = builder.clone().try_start().err().expect("it must not start");
    assert_eq!(exited.code, ID_KEY, "{}", exited.output);
    assert!(!key.exists(), "a new key would make every id that was given out meaningless");
    fs::rename(&aside, &key).expect("moved back");
    builder.start();
}

#[test]
fn the_derived_index_is_rebuilt_when_it_is_lost() {
    let node = Node::start();
    let account = Account::funded(&node, "index", "100");
    let ids: Vec<String> = (0..30).map(|_| account.pay_external(&node, "1")).collect();
    let list = |node: &Node| {
        let request = Request::get("/v1/payments?limit=100").bearer(&account.api_key);
        node.send(&request).expect(200).document().at("/payments").clone()
    };
    let before = list(&node);
    assert_eq!(before.as_array().map(Vec::len), Some(ids.len()), "{before}");
    let builder = node.stop();
    fs::remove_dir_all(builder.data_dir().path().join("history"))
        .expect("the index is a directory of its own");
    assert_eq!(list(&builder.start()), before);
}

/// Calls of the recovering node are slowed down by strace, so that there is something to see.
#[test]
fn a_recovering_node_says_so_and_takes_no_payments() {
    require_strace();
    let node = Node::start();
    let account = Account::funded(&node, "recovering", "100");
    let builder = node.kill();
    let one_second = "inject=fsync:delay_enter=1000000";
    let slowly = builder
        .under(&["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", one_second])
        .without_waiting();
    let mut node = slowly.start();
    let readiness = node.send(&Request::get("/readyz"));
    assert_eq!(readiness.status, 503, "{}", readiness.text());
    assert_eq!(readiness.document().at("/ready"), false);
    node.send(&Request::get("/healthz")).expect(200);
    let read = Request::get(format!("/v1/wallets/{}/balance", account.wallet)).bearer(&account.api_key);
    let refused = node.send(&read);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    refused.expect_error(503, "AP-3001");
    node.wait_until_ready().expect("it becomes ready");
    assert_eq!(account.balance(&node).raw(&["available"]), "100");
}

/// The disk of the logs of the process may be full as well; that is no reason to stop taking payments.
#[test]
fn a_node_that_cannot_write_its_own_log_lines_goes_on() {
    let node = Node::builder().errors_to("/dev/full").start();
    let account = Account::funded(&node, "dev-full", "100");
    account.pay_external(&node, "5");
    let node = node.stop().start();
    assert_eq!(account.balance(&node).raw(&["available"]), "94.98");
}

/// T11, in a mount namespace with a small file system of its own.
#[test]
fn a_full_disk_closes_payments_keeps_reads_and_loses_nothing() {
    if let Some(dir) = std::env::var_os(SMALL_DISK) {
        return on_a_small_disk(Path::new(&dir));
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let this = std::env::current_exe().expect("a test knows its own path");
    let script = r#"mount -t tmpfs -o size=24m tmpfs "$1" && shift && exec "$@""#;
    let name = "operations::a_full_disk_closes_payments_keeps_reads_and_loses_nothing";
    let mut refusals = Vec::new();
    for unshare in [&["--mount"][..], &["--user", "--map-root-user", "--mount"][..]] {
        if let Err(refusal) = can_mount(unshare, dir.path()) {
            refusals.push(refusal);
            continue;
        }
        let status = std::process::Command::new("unshare")
            .args(unshare)
            .args(["sh", "-c", script, "sh"])
            .arg(dir.path())
            .arg(&this)
            .args(["--exact", name, "--nocapture"])
            .env(SMALL_DISK, dir.path())
            .env("AGENTPAY_BIN", system_tests::program())
            .status()
            .expect("unshare is installed");
        assert!(status.success(), "the test on the small disk failed, see above");
        return;
    }
    panic!(
        "a small file system cannot be mounted here, neither as root nor in a user namespace, so the full disk cannot be \
         tested: {refusals:?}"
    );
}

/// Set in the inner run: a directory on a file system of 24 MiB.
const SMALL_DISK: &str = "AGENTPAY_TEST_SMALL_DISK";

fn can_mount(unshare: &[&str], dir: &Path) -> Result<(), String> {
    let output = std::process::Command::new("unshare")
        .args(unshare)
        .args(["mount", "-t", "tmpfs", "tmpfs"])
        .arg(dir)
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(text) }
}

fn on_a_small_disk(dir: &Path) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let builder = Node::builder()
        .data(DataDir::existing(dir))
        .set("log.segment_bytes", "1048576")
        .set("log.record_bytes_max", "262144")
        .set("history.enabled", "false")
        .set("snapshot.every_seconds", "0");
    let node = builder.start();
    let mut ledger = Ledger::open(&node, 8);
    let account = Account::funded(&node, "disk", "100000");
    let receiver = Receiver::start();
    let told = Account::create(&node, "told");
    let hook = format!(r#"{{"url":"{}","events":["wallet.funded"]}}"#, receiver.url("/"));
    node.send(&Request::post("/v1/webhooks", hook).bearer(&told.api_key)).expect(201);
    let ballast = fill(dir);
    for _ in 0..5 {
        told.fund(&node, "1");
    }

    // Segments that were ready before still take payments. Then all clients are refused, for want of space and for no
    // other reason.
    ledger.load(node.address(), seed, || {});
    assert_eq!(ledger.refusals(), ["AP-3004"], "{}", node.output());
    assert_eq!(account.balance(&node).raw(&["available"]), "100000");
    node.send(&Request::get("/healthz")).expect(200);

    // A restart needs no space: what was promised is there, and payments are still refused.
    let node = node.kill_and_restart();
    assert_eq!(account.balance(&node).raw(&["available"]), "100000");
    let payment = PaymentRequest { from: &account.wallet, to: ("to_external", "m"), amount: "1", key: None };
    let refused = account.pay(&node, &payment).expect_error(503, "AP-3004");
    assert_eq!(refused.at("/error/retryable"), true);

    // Space comes back, and with it writing, without a restart.
    fs::remove_file(ballast).expect("removed");
    let path = format!("/v1/wallets/{}/fund", account.wallet);
    let fund = Request::post(path, r#"{"amount":1,"source":"test_faucet"}"#).bearer(&account.api_key);
    while node.send(&fund).status == 503 {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(account.balance(&node).raw(&["available"]), "100001");
    ledger.verify(&node, &mut rng);
    // Deliveries had no room either; the log still has what they are made of.
    told.fund(&node, "1");
    eventually("every funding is told of", || {
        let ids: BTreeSet<String> =
            receiver.received().iter().map(|one| one.document().text("/data/id").to_owned()).collect();
        (ids.len() == 6).then_some(())
    });
    let node = node.kill_and_restart();
    ledger.verify_everything(&node, &mut rng);
}

/// Leaves no free space.
fn fill(dir: &Path) -> PathBuf {
    use std::io::Write;
    let path = dir.join("ballast");
    let mut file = fs::File::create(&path).expect("created");
    let zeros = [0_u8; 64 * 1024];
    while file.write_all(&zeros).is_ok() {}
    path
}

/// T24: between a payment's write to the log and its answer a sync of that file began and returned.
#[test]
fn every_answer_follows_a_sync_of_its_record() {
    const PAYMENTS: usize = 40;
    require_strace();
    let trace = tempfile::NamedTempFile::new().expect("a temporary file");
    let trace_path = trace.path().to_str().expect("a plain path").to_owned();
    let calls = "trace=pwrite64,pwritev,pwritev2,fdatasync,fsync,write,writev,sendto,sendmsg";
    let builder = Node::builder().set("history.enabled", "false");
    let node = builder
        .under(&["strace", "-D", "-f", "-qq", "-s", "1000000", "-o", &trace_path, "-e", calls])
        .start();
    let account = Account::funded(&node, "strace", "100000");
    let keys: Vec<String> = (0..PAYMENTS).map(|n| format!("traced-payment-{n:04}.")).collect();
    std::thread::scope(|scope| {
        for keys in keys.chunks(PAYMENTS / 8) {
            let (node, account) = (&node, &account);
            scope.spawn(move || {
                let mut connection = node.connect();
                for key in keys {
                    let payment = PaymentRequest {
                        from: &account.wallet,
                        to: ("to_external", "m"),
                        amount: "1",
                        key: Some(key),
                    };
                    connection.send(&account.pay_request(&payment)).expect("an answer").expect(201);
                }
            });
        }
    });
    node.stop();
    let text =
        fs::read_to_string(trace.path()).expect("strace wrote its file; is it installed and permitted?");
    let lines: Vec<&str> = text.lines().collect();
    for key in &keys {
        assert_synced_before_answer(&lines, key);
    }
}

fn assert_synced_before_answer(lines: &[&str], key: &str) {
    let is_log_write = |line: &&str| line.contains("pwrite") && line.contains(key);
    let write = lines.iter().position(is_log_write).unwrap_or_else(|| panic!("{key} was never written"));
    let is_answer = |line: &&str| {
        ["write(", "writev(", "sendto(", "sendmsg("].iter().any(|call| line.contains(call))
            && line.contains("HTTP/1.1 201")
            && line.contains(key)
    };
    let answer = lines.iter().position(is_answer).unwrap_or_else(|| panic!("{key} was never answered"));
    assert!(write < answer, "{key} was answered in line {answer} before its write in line {write}");
    let synced = lines[write + 1..answer].iter().enumerate().any(|(at, line)| {
        let begins = line.contains("fdatasync(") || line.contains("fsync(");
        begins && returns_zero(&lines[write + 1 + at..answer])
    });
    assert!(
        synced,
        "{key}: no sync returned between its write (line {write}) and its answer (line {answer})"
    );
}

/// The sync that begins in the first of these lines returns 0 within them.
fn returns_zero(lines: &[&str]) -> bool {
    let thread = lines[0].split_whitespace().next().expect("strace -f begins lines with the thread");
    if !lines[0].contains("<unfinished") {
        return lines[0].ends_with("= 0");
    }
    lines[1..].iter().any(|line| {
        line.split_whitespace().next() == Some(thread)
            && line.contains("sync resumed>")
            && line.ends_with("= 0")
    })
}

/// Tests that look at system calls need the tracer; skipping them silently would hide what they prove.
fn require_strace() {
    let found = std::process::Command::new("strace").arg("-V").output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "this test needs strace: apt-get install strace"
    );
}

fn first_file(dir: &Path, extension: &str) -> PathBuf {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files.into_iter().next().unwrap_or_else(|| panic!("no .{extension} in {}", dir.display()))
}

/// Names and contents of all files of a directory.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), fs::read(&path).expect("readable")))
        .collect()
}
