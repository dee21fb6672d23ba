//! The node is killed under refunds and disputes, again and again: what was answered stands afterwards, money moved once,
//! and the log proves it.

use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;
use system_tests::http::{Connection, Request, Response};
use system_tests::{ADMIN_TOKEN, Account, Node, agentpay};

const CYCLES: u32 = 4;
const CLIENTS: u64 = 8;

/// What was answered about one payment of 1.
#[derive(Debug, Clone, Default)]
struct Told {
    payment: String,
    /// In hundredths.
    refunded: u32,
    dispute: Option<String>,
    evidence: u64,
    status: &'static str,
}

fn json(response: &Response) -> Value {
    serde_json::from_str(&response.text()).expect("JSON")
}

/// Payments with random ends, until the node is gone. The last one may be half told.
struct Client<'c> {
    connection: Connection,
    consumer: &'c Account,
    merchant: &'c Account,
}

impl Client<'_> {
    /// The answer, unless the node has gone.
    fn post(&mut self, key: &str, path: &str, body: &str) -> Option<Value> {
        let response = self.connection.send(&Request::post(path, body).bearer(key)).ok()?;
        // A node that is about to be killed may still be refusing in order.
        (response.status < 300).then(|| json(&response))
    }

    fn run(mut self, mut rng: Rng) -> Vec<Told> {
        let mut told = Vec::new();
        loop {
            let mut one = Told::default();
            let went_on = self.one(&mut one, &mut rng);
            if !one.payment.is_empty() {
                told.push(one);
            }
            if went_on.is_none() {
                return told;
            }
        }
    }

    fn one(&mut self, told: &mut Told, rng: &mut Rng) -> Option<()> {
        let (consumer, merchant) = (self.consumer.api_key.clone(), self.merchant.api_key.clone());
        let (from, to) = (&self.consumer.wallet, &self.merchant.wallet);
        let body = format!(r#"{{"from_wallet_id":"{from}","to_wallet_id":"{to}","amount":1}}"#);
        let paid = self.post(&consumer, "/v1/payments", &body)?;
        told.payment = paid["id"].as_str().expect("an id").to_owned();
        for _ in 0..rng.u32(0..3) {
            let path = format!("/v1/payments/{}/refund", told.payment);
            self.post(&merchant, &path, r#"{"amount":0.25}"#)?;
            told.refunded += 25;
        }
        if rng.bool() {
            return Some(());
        }
        let body = format!(r#"{{"payment_id":"{}","reason":"service_not_delivered"}}"#, told.payment);
        let opened = self.post(&consumer, "/v1/disputes", &body)?;
        let id = opened["id"].as_str().expect("an id").to_owned();
        told.dispute = Some(id.clone());
        told.status = "open";
        let path = format!("/v1/disputes/{id}/evidence");
        self.post(&merchant, &path, r#"{"type":"note","content":"it was delivered"}"#)?;
        told.evidence = 1;
        let (key, path, body, status) = match rng.u32(0..4) {
            0 => return Some(()),
            1 => (consumer.as_str(), format!("/v1/disputes/{id}/withdraw"), "{}", "withdrawn"),
            2 => (ADMIN_TOKEN, resolve(&id), r#"{"outcome":"denied"}"#, "resolved_denied"),
            _ => (ADMIN_TOKEN, resolve(&id), r#"{"outcome":"refunded"}"#, "resolved_refunded"),
        };
        self.post(key, &path, body)?;
        told.status = status;
        Some(())
    }
}

fn resolve(id: &str) -> String {
    format!("/v1/ops/disputes/{id}/resolve")
}

#[test]
fn nothing_answered_about_a_claim_is_lost_by_kill_9() {
    let seed = std::env::var("AGENTPAY_CLAIMS_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!(
        "seed {seed}; again: AGENTPAY_CLAIMS_SEED={seed} cargo test -p system-tests --test system about_a_claim"
    );
    let mut rng = Rng::with_seed(seed);
    // Snapshots fall into the load, so that recovery has rows of claims and records behind them.
    let mut node = Node::builder().set("snapshot.every_seconds", "1").start();
    let (consumer, merchant) =
        (Account::funded(&node, "consumer", "100000"), Account::create(&node, "merchant"));
    let mut told: Vec<Told> = Vec::new();
    for _ in 0..CYCLES {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (connection, rng) = (node.connect(), Rng::with_seed(rng.u64(..)));
                let (consumer, merchant) = (consumer.clone(), merchant.clone());
                thread::spawn(move || {
                    Client { connection, consumer: &consumer, merchant: &merchant }.run(rng)
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(rng.u64(100..700)));
        let builder = node.kill();
        let answers = clients.into_iter().flat_map(|client| client.join().expect("no client panics"));
        told.extend(answers);
        node = builder.start();
        verify(&node, &consumer, &told);
    }
    let is_told = |status: &str| told.iter().any(|one| one.status == status);
    assert!(is_told("resolved_refunded") && is_told("withdrawn"), "a run worth killing: {}", told.len());
    let balance = node.send(&Request::get("/v1/ledger/trial-balance").bearer(ADMIN_TOKEN)).expect(200);
    assert_eq!(json(&balance)["balanced"], true);
    let data = node.kill();
    let proof = agentpay(&["check", "--json", "--data-dir", &data.data_dir().text()]);
    assert_eq!(proof.code, Some(0), "{}{}", proof.stdout, proof.stderr);
}

/// Everything that was answered stands; what was under way may have happened too.
fn verify(node: &Node, consumer: &Account, told: &[Told]) {
    let mut connection = node.connect();
    let mut read = |path: String| {
        let request = Request::get(path).bearer(&consumer.api_key);
        json(&connection.send(&request).expect("the node answers").expect(200))
    };
    for one in told {
        let payment = read(format!("/v1/payments/{}", one.payment));
        let refunded = payment.get("refunded_amount").map_or(0.0, |part| part.as_f64().expect("a number"));
        assert!(refunded * 100.0 + 0.5 > f64::from(one.refunded), "{one:?}: {payment}");
        assert!(refunded < 1.000_001, "{one:?}: {payment}");
        let Some(dispute) = &one.dispute else { continue };
        assert_eq!(payment["dispute_id"], dispute.as_str(), "{one:?}");
        let found = read(format!("/v1/disputes/{dispute}"));
        let is_kept = one.status == "open" || found["status"] == one.status;
        assert!(is_kept && found["evidence_count"].as_u64() >= Some(one.evidence), "{one:?}: {found}");
        if found["status"] == "resolved_refunded" {
            assert_eq!(payment["status"], "refunded", "{one:?}");
        }
    }
}
