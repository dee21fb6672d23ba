//! Payments between the wallets of a population: one per request, or in batches.
//!
//! Every payment has an amount and an idempotency key of its own, both from a seed, so that a run can be repeated and
//! no two runs with different seeds share a key.

use fastrand::Rng;
use memchr::memmem;

use crate::{Answer, Next, Population, RequestTemplate, Target, Workload};

/// A wallet that pays, with the key that may spend from it.
#[derive(Debug, Clone)]
pub struct Payer {
    pub wallet: String,
    pub api_key: String,
}

impl Payer {
    /// Every wallet of the population, in the order of creation.
    pub fn all(population: &Population) -> Vec<Payer> {
        let wallets_of = |account: &crate::Account| {
            let api_key = account.api_key.clone();
            account.wallets.clone().into_iter().map(move |wallet| Payer { wallet, api_key: api_key.clone() })
        };
        population.accounts.iter().flat_map(wallets_of).collect()
    }
}

/// Closed or open loop of single payments over random pairs of wallets; never finishes by itself.
pub struct Payments {
    templates: Vec<RequestTemplate>,
    /// The constant beginning of each payer's body.
    body_heads: Vec<Vec<u8>>,
    wallets: Vec<String>,
    rng: Rng,
    keys: KeySeries,
    body: Vec<u8>,
}

impl Payments {
    /// `payers` also are the payees; at least two.
    pub fn new(target: &Target, payers: &[Payer], seed: u64) -> Payments {
        assert!(payers.len() >= 2, "a payment needs two wallets");
        let template =
            |payer: &Payer| RequestTemplate::post(&target.authority, "/v1/payments", Some(&payer.api_key));
        let body_head = |payer: &Payer| {
            format!(r#"{{"from_wallet_id":"{}","currency":"USD","to_wallet_id":""#, payer.wallet).into_bytes()
        };
        Payments {
            templates: payers.iter().map(template).collect(),
            body_heads: payers.iter().map(body_head).collect(),
            wallets: payers.iter().map(|payer| payer.wallet.clone()).collect(),
            rng: Rng::with_seed(seed),
            keys: KeySeries::new(seed),
            body: Vec::new(),
        }
    }
}

impl Workload for Payments {
    fn next(&mut self, _connection: usize, request: &mut Vec<u8>) -> Next {
        let (payer, payee) = pair(&mut self.rng, self.wallets.len());
        self.body.clear();
        self.body.extend_from_slice(&self.body_heads[payer]);
        self.body.extend_from_slice(self.wallets[payee].as_bytes());
        self.body.extend_from_slice(br#"","amount":"#);
        write_cents(self.rng.u64(1..=100), &mut self.body);
        self.body.extend_from_slice(br#","idempotency_key":""#);
        self.keys.write_next(&mut self.body);
        self.body.extend_from_slice(br#""}"#);
        self.templates[payer].write(&self.body, request);
        Next::Send
    }
}

/// Closed loop of `POST /v1/payments/batch`; connection `i` pays from payer `i` to all the payees in turn.
pub struct Batches {
    templates: Vec<RequestTemplate>,
    payers: Vec<Payer>,
    payees: Vec<String>,
    items: usize,
    rng: Rng,
    keys: KeySeries,
    body: Vec<u8>,
    /// Items of 2xx answers that were not paid, whole run.
    unpaid: u64,
}

impl Batches {
    /// One payer per connection, `items` payments per request.
    pub fn new(target: &Target, payers: &[Payer], payees: &[String], items: usize, seed: u64) -> Batches {
        assert!(
            !payers.is_empty() && !payees.is_empty() && items > 0,
            "a batch needs payers, payees and items"
        );
        let template = |payer: &Payer| {
            RequestTemplate::post(&target.authority, "/v1/payments/batch", Some(&payer.api_key))
        };
        Batches {
            templates: payers.iter().map(template).collect(),
            payers: payers.to_vec(),
            payees: payees.to_vec(),
            items,
            rng: Rng::with_seed(seed),
            keys: KeySeries::new(seed),
            body: Vec::new(),
            unpaid: 0,
        }
    }

    /// Items that were answered but not paid; a batch is 200 even if all its items are denied.
    pub fn unpaid(&self) -> u64 {
        self.unpaid
    }

    fn write_next(&mut self, connection: usize, request: &mut Vec<u8>) {
        let payer = &self.payers[connection % self.payers.len()].wallet;
        let first_payee = self.rng.usize(0..self.payees.len());
        self.body.clear();
        self.body.extend_from_slice(br#"{"payments":["#);
        for item in 0..self.items {
            let payee = &self.payees[(first_payee + item) % self.payees.len()];
            self.body.extend_from_slice(if item == 0 { b"{" } else { b",{" });
            self.body.extend_from_slice(br#""from_wallet_id":""#);
            self.body.extend_from_slice(payer.as_bytes());
            self.body.extend_from_slice(br#"","to_wallet_id":""#);
            self.body.extend_from_slice(payee.as_bytes());
            self.body.extend_from_slice(br#"","amount":"#);
            write_cents(self.rng.u64(1..=100), &mut self.body);
            self.body.extend_from_slice(br#","idempotency_key":""#);
            self.keys.write_next(&mut self.body);
            self.body.extend_from_slice(br#""}"#);
        }
        self.body.extend_from_slice(b"]}");
        self.templates[connection % self.payers.len()].write(&self.body, request);
    }
}

impl Workload for Batches {
    fn next(&mut self, connection: usize, request: &mut Vec<u8>) -> Next {
        self.write_next(connection, request);
        Next::Send
    }

    fn answered(&mut self, _connection: usize, answer: Answer<'_>) {
        if answer.is_success() {
            let paid = memmem::find_iter(answer.body, br#""completed""#).count();
            self.unpaid += self.items.saturating_sub(paid) as u64;
        }
    }

    fn works_ahead(&self) -> bool {
        true
    }

    fn prepare(&mut self, connection: usize, request: &mut Vec<u8>) -> bool {
        self.write_next(connection, request);
        true
    }

    /// Nothing is remembered of a request, so nothing is to be entered for one that is sent.
    fn release(&mut self, _connection: usize) -> bool {
        true
    }
}

/// Idempotency keys `lt-<seed>-<n>`: about twenty characters, unique within a run.
#[derive(Clone)]
pub(crate) struct KeySeries {
    prefix: String,
    next: u64,
}

impl KeySeries {
    pub(crate) fn new(seed: u64) -> KeySeries {
        // Eight digits tell runs apart; more would only make the body longer.
        KeySeries { prefix: format!("lt-{:08x}-", seed & 0xffff_ffff), next: 0 }
    }

    fn write_next(&mut self, out: &mut Vec<u8>) {
        self.write(self.next, out);
        self.next += 1;
    }

    /// The key with this number.
    pub(crate) fn write(&self, number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// The number of a key of this series.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        key.strip_prefix(&self.prefix)?.parse().ok()
    }
}

/// Two different indices below `count`.
fn pair(rng: &mut Rng, count: usize) -> (usize, usize) {
    let first = rng.usize(0..count);
    let second = rng.usize(0..count - 1);
    (first, if second >= first { second + 1 } else { second })
}

pub(crate) fn write_cents(cents: u64, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    out.extend_from_slice(buffer.format(cents / 100).as_bytes());
    out.push(b'.');
    out.push(b'0' + u8::try_from(cents / 10 % 10).expect("a digit"));
    out.push(b'0' + u8::try_from(cents % 10).expect("a digit"));
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn target() -> Target {
        Target::parse("http://127.0.0.1:1").expect("a plain address")
    }

    fn payers(count: usize) -> Vec<Payer> {
        (0..count).map(|n| Payer { wallet: format!("wallet_{n}"), api_key: format!("pk_{n}") }).collect()
    }

    fn body_of(request: &[u8]) -> Value {
        let text = std::str::from_utf8(request).expect("requests are ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        serde_json::from_str(body).expect("the body is JSON")
    }

    #[test]
    fn payments_are_between_two_wallets_and_have_their_own_keys() {
        let mut payments = Payments::new(&target(), &payers(3), 7);
        let mut keys = std::collections::BTreeSet::new();
        for _ in 0..300 {
            let mut request = Vec::new();
            assert_eq!(payments.next(0, &mut request), Next::Send);
            let body = body_of(&request);
            assert_ne!(body["from_wallet_id"], body["to_wallet_id"]);
            let from = body["from_wallet_id"].as_str().expect("text").replace("wallet_", "pk_");
            assert!(String::from_utf8_lossy(&request).contains(&format!("authorization: Bearer {from}\r\n")));
            let amount = body["amount"].as_f64().expect("a number");
            assert!((0.01..=1.0).contains(&amount), "{amount}");
            keys.insert(body["idempotency_key"].as_str().expect("text").to_owned());
        }
        assert_eq!(keys.len(), 300);
    }

    #[test]
    fn the_same_seed_makes_the_same_requests() {
        let series = |seed| {
            let mut payments = Payments::new(&target(), &payers(50), seed);
            let mut requests = Vec::new();
            for _ in 0..20 {
                payments.next(0, &mut requests);
            }
            requests
        };
        assert_eq!(series(1), series(1));
        assert_ne!(series(1), series(2));
    }

    #[test]
    fn a_batch_pays_different_wallets_from_one() {
        let payees: Vec<String> = (0..10).map(|n| format!("wallet_to_{n}")).collect();
        let mut batches = Batches::new(&target(), &payers(2), &payees, 10, 7);
        let mut request = Vec::new();
        assert_eq!(batches.next(3, &mut request), Next::Send);
        let body = body_of(&request);
        let items = body["payments"].as_array().expect("a list");
        let mut seen: Vec<&str> =
            items.iter().map(|item| item["to_wallet_id"].as_str().expect("text")).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 10);
        assert!(items.iter().all(|item| item["from_wallet_id"] == "wallet_1"));
    }

    #[test]
    fn denied_items_of_an_accepted_batch_are_counted() {
        let payees: Vec<String> = (0..3).map(|n| format!("wallet_to_{n}")).collect();
        let mut batches = Batches::new(&target(), &payers(1), &payees, 3, 7);
        let body = br#"{"results":[{"status":"completed"},{"error":{}},{"status":"completed"}]}"#;
        batches.answered(0, Answer { status: 200, body, replayed: false });
        assert_eq!(batches.unpaid(), 1);
    }

    #[test]
    fn cents_are_plain_decimals() {
        let table = [(1, "0.01"), (10, "0.10"), (99, "0.99"), (100, "1.00"), (12_345, "123.45")];
        for (cents, text) in table {
            let mut out = Vec::new();
            write_cents(cents, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }
}
