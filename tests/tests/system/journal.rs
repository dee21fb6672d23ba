//! Clients that write down what they were promised, and the proof that the promises were kept.
//!
//! A [`Ledger`] of expectations is kept outside the node: every acknowledged payment with its id and its whole answer,
//! every request whose connection broke with its key. After a crash each unknown request is retried with its key; then
//! nothing is unknown any more, and every balance must equal what the promises add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fastrand::Rng;
use system_tests::http::{Connection, Request};
use system_tests::{Account, Document, Node, nanos};

/// A request that was sent: one payment, or a batch of some.
#[derive(Debug, Clone)]
struct Sent {
    client: usize,
    request: Request,
    payments: Vec<Expected>,
}

/// What one payment must do.
#[derive(Debug, Clone)]
struct Expected {
    payer: usize,
    /// `None`: an external party.
    payee: Option<usize>,
    nanos: i128,
}

/// A request that was answered with success.
#[derive(Debug, Clone)]
struct Acknowledged {
    sent: Sent,
    ids: Vec<String>,
    body: String,
}

/// Accounts, and everything that was promised to them.
pub(crate) struct Ledger {
    accounts: Vec<Account>,
    /// Funds of each account at the start, in 10^-9.
    funded: i128,
    acknowledged: Mutex<Vec<Acknowledged>>,
    unknown: Mutex<Vec<Sent>>,
    /// Codes of the refusals that ended clients.
    refusals: Mutex<BTreeSet<String>>,
    /// Acknowledged requests below this index were verified completely before.
    verified: usize,
    next_key: AtomicU64,
}

/// Payments of one batch.
const BATCH_ITEMS: usize = 5;
/// Threads that verify; more than cores would only wait.
const VERIFIERS: usize = 4;
/// Older promises looked at again after every crash.
const SAMPLE: usize = 200;

impl Ledger {
    /// Creates one funded account per client.
    pub(crate) fn open(node: &Node, clients: usize) -> Ledger {
        const FUNDS: &str = "1000000";
        let accounts = (0..clients).map(|n| Account::funded(node, &format!("client-{n}"), FUNDS)).collect();
        Ledger {
            accounts,
            funded: 1_000_000 * 1_000_000_000,
            acknowledged: Mutex::default(),
            unknown: Mutex::default(),
            refusals: Mutex::default(),
            verified: 0,
            next_key: AtomicU64::new(0),
        }
    }

    /// Number of requests that were answered with success so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.lock().expect("no client panicked").len()
    }

    /// Codes of the refusals that clients met so far.
    pub(crate) fn refusals(&self) -> Vec<String> {
        self.refusals.lock().expect("no client panicked").iter().cloned().collect()
    }

    /// Every client pays, one request at a time on its own connection, until its connection breaks or the node
    /// takes no more. `meanwhile` runs on the calling thread; it may end the node in some way.
    pub(crate) fn load(&self, address: SocketAddr, seed: u64, meanwhile: impl FnOnce()) {
        thread::scope(|scope| {
            for client in 0..self.accounts.len() {
                let rng = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(client as u64));
                let connection = Connection::open(address).expect("the node accepts connections");
                scope.spawn(move || self.be_a_client(client, connection, rng));
            }
            meanwhile();
        });
    }

    fn be_a_client(&self, client: usize, mut connection: Connection, mut rng: Rng) {
        loop {
            let sent = self.next_request(client, &mut rng);
            match connection.send(&sent.request) {
                Ok(answer) if matches!(answer.status, 200 | 201) => self.acknowledge(sent, &answer.body),
                // Refused before anything was decided, or unknown; a retry settles both.
                Ok(answer) if answer.status == 503 => {
                    let code = answer.document().text("/error/code").to_owned();
                    self.refusals.lock().expect("no panic").insert(code);
                    return self.unknown.lock().expect("no panic").push(sent);
                }
                Ok(answer) => panic!("client {client}: status {}: {}", answer.status, answer.text()),
                Err(_) => return self.unknown.lock().expect("no panic").push(sent),
            }
        }
    }

    fn next_request(&self, client: usize, rng: &mut Rng) -> Sent {
        let key = format!("key-{}", self.next_key.fetch_add(1, Ordering::Relaxed));
        let is_batch = rng.u32(0..10) == 0;
        let count = if is_batch { BATCH_ITEMS } else { 1 };
        let (payments, bodies): (Vec<Expected>, Vec<String>) =
            (0..count).map(|_| self.next_payment(client, rng)).unzip();
        let request = if is_batch {
            let items: Vec<String> = bodies.iter().map(|body| format!("{{{body}}}")).collect();
            let body = format!(
                r#"{{"payments":[{}],"atomic":{},"idempotency_key":"{key}"}}"#,
                items.join(","),
                rng.bool()
            );
            Request::post("/v1/payments/batch", body)
        } else {
            Request::post("/v1/payments", format!(r#"{{{},"idempotency_key":"{key}"}}"#, bodies[0]))
        };
        Sent { client, request: request.bearer(&self.accounts[client].api_key), payments }
    }

    /// A random payment of that client: what it must do, and the members of its body.
    fn next_payment(&self, client: usize, rng: &mut Rng) -> (Expected, String) {
        let nanos = rng.i128(1..=1_000_000_000);
        let from = &self.accounts[client].wallet;
        let amount = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
        let other = rng.usize(0..self.accounts.len());
        let payee = (other != client).then_some(other);
        let to = match payee {
            Some(payee) => format!(r#""to_wallet_id":"{}""#, self.accounts[payee].wallet),
            None => r#""to_external":"merchant:crash""#.to_owned(),
        };
        let body = format!(r#""from_wallet_id":"{from}",{to},"amount":{amount}"#);
        (Expected { payer: client, payee, nanos }, body)
    }

    fn acknowledge(&self, sent: Sent, body: &[u8]) {
        let document = Document::parse(body);
        let ids = ids_of(&document);
        assert_eq!(
            ids.len(),
            sent.payments.len(),
            "not every item was paid: {}",
            String::from_utf8_lossy(body)
        );
        let body = String::from_utf8(body.to_vec()).expect("answers are UTF-8");
        self.acknowledged.lock().expect("no panic").push(Acknowledged { sent, ids, body });
    }

    /// Settles what is unknown and proves every promise since the last time, a sample of the older ones, and every
    /// balance. Returns how many requests had an unknown outcome.
    pub(crate) fn verify(&mut self, node: &Node, rng: &mut Rng) -> usize {
        let unknown = std::mem::take(self.unknown.get_mut().expect("no panic"));
        let unknown_count = unknown.len();
        // Before anything is retried: what was promised must be there without anybody's help.
        let acknowledged = self.acknowledged.get_mut().expect("no panic").clone();
        let (old, new) = acknowledged.split_at(self.verified);
        let mut wanted: Vec<&Acknowledged> = new.iter().collect();
        if !old.is_empty() {
            wanted.extend((0..SAMPLE).map(|_| &old[rng.usize(0..old.len())]));
        }
        self.verify_promises(node, &wanted);
        self.verified = acknowledged.len();
        for sent in unknown {
            let answer = node.send(&sent.request);
            assert!(matches!(answer.status, 200 | 201), "a retry must succeed: {}", answer.text());
            self.acknowledge(sent, &answer.body);
        }
        self.verify_balances(node);
        unknown_count
    }

    /// Proves every promise ever made.
    pub(crate) fn verify_everything(&mut self, node: &Node, rng: &mut Rng) {
        self.verified = 0;
        self.verify(node, rng);
    }

    fn verify_promises(&self, node: &Node, wanted: &[&Acknowledged]) {
        let part = wanted.len().div_ceil(VERIFIERS).max(1);
        thread::scope(|scope| {
            for chunk in wanted.chunks(part) {
                scope.spawn(move || {
                    let mut connection = node.connect();
                    for promise in chunk {
                        self.verify_promise(&mut connection, promise);
                    }
                });
            }
        });
    }

    /// Readable by id with the right amount, and one effect only: a retry is the first answer again, byte for byte.
    fn verify_promise(&self, connection: &mut Connection, promise: &Acknowledged) {
        let account = &self.accounts[promise.sent.client];
        for (id, expected) in promise.ids.iter().zip(&promise.sent.payments) {
            let request = Request::get(format!("/v1/payments/{id}")).bearer(&account.api_key);
            let answer = connection.send(&request).expect("an answer");
            assert_eq!(answer.status, 200, "an acknowledged payment is gone: {id}: {}", answer.text());
            let document = answer.document();
            assert_eq!(document.nanos(&["amount"]), expected.nanos, "{}", answer.text());
            assert_eq!(document.text("/id"), id);
        }
        let again = connection.send(&promise.sent.request).expect("an answer");
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "applied twice? {}", again.text());
        assert_eq!(again.text(), promise.body);
    }

    /// With nothing unknown, each wallet holds exactly what the promises add up to.
    fn verify_balances(&self, node: &Node) {
        let mut expected = vec![self.funded; self.accounts.len()];
        let mut fees = 0;
        let mut external = 0;
        for promise in self.acknowledged.lock().expect("no panic").iter() {
            for payment in &promise.sent.payments {
                let fee = fee(payment.nanos);
                expected[payment.payer] -= payment.nanos + fee;
                fees += fee;
                match payment.payee {
                    Some(payee) => expected[payee] += payment.nanos,
                    None => external += payment.nanos,
                }
            }
        }
        let found: Vec<i128> = self.accounts.iter().map(|account| account.available(node)).collect();
        assert!(found.iter().all(|available| *available >= 0), "a balance is negative");
        assert_eq!(found, expected);
        let sums = system_sums(node);
        assert_eq!(sums.get("fees"), Some(&fees), "{sums:?}");
        assert_eq!(sums.get("external"), Some(&external), "{sums:?}");
        assert_eq!(sums.values().sum::<i128>(), 0, "the trial balance is not zero: {sums:?}");
    }
}

/// 40 basis points, half-up at 10^-9; written here again on purpose.
fn fee(nanos: i128) -> i128 {
    (nanos * 40 + 5_000) / 10_000
}

/// Ids of a payment or of the items of a batch.
fn ids_of(document: &Document) -> Vec<String> {
    match document.at("/results").as_array() {
        Some(items) => items.iter().filter_map(|item| item["id"].as_str().map(str::to_owned)).collect(),
        None => vec![document.text("/id").to_owned()],
    }
}

/// Sum per account of the operator's trial balance in USD.
pub(crate) fn system_sums(node: &Node) -> BTreeMap<String, i128> {
    // As text: an f64 could not hold the sums.
    let request = Request::get("/v1/ledger/trial-balance")
        .bearer(system_tests::ADMIN_TOKEN)
        .header("accept", "application/json; amounts=string");
    let answer = node.send(&request).expect(200);
    let rows =
        answer.document().at("/accounts").as_array().cloned().unwrap_or_else(|| panic!("{}", answer.text()));
    rows.iter()
        .filter(|row| row["currency"] == "USD")
        .map(|row| {
            let account = row["account"].as_str().unwrap_or_else(|| panic!("no account in {row}"));
            let sum = row["sum"].as_str().and_then(nanos).unwrap_or_else(|| panic!("no sum in {row}"));
            (account.to_owned(), sum)
        })
        .collect()
}
