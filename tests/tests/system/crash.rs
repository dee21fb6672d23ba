//! T9: the node is killed under load, again and again, sometimes while it recovers. Nothing acknowledged may be lost,
//! applied twice, or leave a wallet with another sum than was promised.
//!
//! `AGENTPAY_CRASH_CYCLES` (default 20) says how often, `AGENTPAY_CRASH_SEED` repeats a run's choices; the moments of
//! the kills themselves are the machine's.

use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;
use system_tests::{DataDir, Node, agentpay};

use crate::journal::Ledger;

const CLIENTS: usize = 64;

fn number_from(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")),
        Err(_) => default,
    }
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kill_9() {
    let cycles = number_from("AGENTPAY_CRASH_CYCLES", 20);
    let seed = number_from("AGENTPAY_CRASH_SEED", fastrand::u64(..));
    println!(
        "seed {seed}; again: AGENTPAY_CRASH_SEED={seed} AGENTPAY_CRASH_CYCLES={cycles} \
         cargo test -p system-tests --test system crash"
    );
    let mut rng = Rng::with_seed(seed);
    // Snapshots and new segments fall into the load, so that kills meet them half-made.
    let mut node = Node::builder()
        .set("snapshot.every_seconds", "1")
        .set("log.segment_bytes", "1048576")
        .set("log.record_bytes_max", "262144")
        .start();
    let mut ledger = Ledger::open(&node, CLIENTS);
    let mut unknown = 0;
    for cycle in 0..cycles {
        let builder = cycle_of_load(node, &ledger, &mut rng);
        if rng.u32(0..4) == 0 {
            let recovering = builder.clone().without_waiting().start();
            thread::sleep(Duration::from_micros(rng.u64(0..20_000)));
            drop(recovering);
        }
        node = builder.start();
        unknown += ledger.verify(&node, &mut rng);
        println!("cycle {cycle}: {} requests acknowledged, {unknown} were unknown", ledger.acknowledged());
    }
    assert!(ledger.acknowledged() > CLIENTS, "the node was killed before it did anything");
    ledger.verify_everything(&node, &mut rng);
    prove_offline(node.kill().data_dir());
}

/// Load, and a kill in the middle of it.
fn cycle_of_load(node: Node, ledger: &Ledger, rng: &mut Rng) -> system_tests::NodeBuilder {
    let before_kill = Duration::from_millis(rng.u64(20..400));
    let seed = rng.u64(..);
    let mut builder = None;
    ledger.load(node.address(), seed, || {
        thread::sleep(before_kill);
        builder = Some(node.kill());
    });
    builder.expect("the load was ended by the kill")
}

/// The log alone proves every balance and sum, and agrees with the newest snapshot.
fn prove_offline(data: &DataDir) {
    let output = agentpay(&["check", "--json", "--data-dir", &data.text()]);
    assert_eq!(output.code, Some(0), "{}{}", output.stdout, output.stderr);
    let report: Value = serde_json::from_str(&output.stdout).expect("`check --json` prints JSON");
    assert!(report["records"].as_u64().is_some_and(|records| records > 0), "{report}");
}
