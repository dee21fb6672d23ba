use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::Shape;
use crate::money::NANOS_PER_UNIT;
use crate::roster::tests::roster;

fn target() -> Target {
    Target::parse("http://127.0.0.1:1").expect("a plain address")
}

fn spec(mix: Mix) -> TrafficSpec {
    TrafficSpec {
        mix,
        seed: 5,
        connections: 4,
        opening_nanos: 100 * NANOS_PER_UNIT,
        keep: None,
        may_pause: false,
    }
}

fn market() -> Market {
    let service = |n: u32| market::Service { id: format!("svc_{n}"), provider: 4 + n };
    Market { services: (0..2).map(service).collect() }
}

/// Head and body of the request that a connection sends next.
fn next(traffic: &mut Traffic<'_>, connection: usize) -> (String, Value) {
    let mut request = Vec::new();
    assert_eq!(traffic.next(connection, &mut request), Next::Send);
    let text = String::from_utf8(request).expect("requests are text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).expect("JSON") };
    (head.to_owned(), body)
}

fn answer(traffic: &mut Traffic<'_>, connection: usize, status: u16, replayed: bool, body: &str) {
    traffic.answered(connection, Answer { status, body: body.as_bytes(), replayed });
}

fn receipt(asked: &Value, id: &str) -> String {
    let amount = asked["amount"].as_f64().expect("a number");
    format!(r#"{{"id":"{id}","amount":{amount},"fee":0,"total_debited":{amount}}}"#)
}

#[test]
fn a_lost_payment_is_sent_again_with_the_same_key_and_body() {
    let roster = roster(6, 2);
    let mut traffic =
        Traffic::new(&target(), &roster, Market::default(), spec(Mix::payments(Shape::Uniform)));
    let (head, body) = next(&mut traffic, 0);
    traffic.lost(0);
    assert_eq!(traffic.open_orders(), 1);
    let (again_head, again) = next(&mut traffic, 3);
    assert_eq!((again_head, &again), (head, &body), "another connection repeats it");
    answer(&mut traffic, 3, 201, true, &receipt(&body, "tx_1"));
    assert_eq!((traffic.open_orders(), traffic.units()), (0, 1));
    assert_eq!((traffic.book.unknowns.requests, traffic.book.unknowns.applied_before), (1, 1));
}

#[test]
fn refusals_for_now_are_repeated_and_refusals_for_good_are_not() {
    let roster = roster(6, 2);
    let mut traffic =
        Traffic::new(&target(), &roster, Market::default(), spec(Mix::payments(Shape::Uniform)));
    let (_, first) = next(&mut traffic, 0);
    answer(&mut traffic, 0, 503, false, "{}");
    let (_, second) = next(&mut traffic, 0);
    assert_eq!(first, second);
    answer(&mut traffic, 0, 402, false, "{}");
    let (_, third) = next(&mut traffic, 0);
    assert_ne!(third["idempotency_key"], first["idempotency_key"]);
    assert_eq!((traffic.book.refused, traffic.book.promises().len()), (1, 0));
}

#[test]
fn after_a_run_only_what_is_open_is_asked_again() {
    let roster = roster(6, 2);
    let mut traffic =
        Traffic::new(&target(), &roster, Market::default(), spec(Mix::payments(Shape::Uniform)));
    let keys: BTreeSet<String> =
        (0..3).map(|connection| next(&mut traffic, connection).1["idempotency_key"].to_string()).collect();
    assert_eq!(traffic.settle_only(), 3);
    let mut again = BTreeSet::new();
    for connection in [2, 1, 0] {
        let (_, body) = next(&mut traffic, connection);
        again.insert(body["idempotency_key"].to_string());
        answer(&mut traffic, connection, 201, false, &receipt(&body, "tx_1"));
        assert_eq!(
            traffic.next(3, &mut Vec::new()),
            if again.len() < 3 { Next::Send } else { Next::Finished }
        );
        traffic.lost(3);
    }
    assert_eq!(again, keys);
}

#[test]
fn a_pause_follows_a_refusal_where_pauses_are_allowed() {
    let roster = roster(6, 2);
    let mix = Mix::payments(Shape::Uniform);
    let spec = TrafficSpec { may_pause: true, ..spec(mix) };
    let mut traffic = Traffic::new(&target(), &roster, Market::default(), spec);
    next(&mut traffic, 0);
    answer(&mut traffic, 0, 503, false, "{}");
    // Asked at once, it waits; the pause is a bound and not a promise, so nothing is said about its length.
    let mut request = Vec::new();
    match traffic.next(0, &mut request) {
        Next::Pause(left) => assert!(left <= RETRY_AFTER && request.is_empty()),
        Next::Send => {}
        Next::Finished => panic!("the payment is open"),
    }
}

#[test]
fn batches_pay_from_one_agents_wallets() {
    let roster = roster(6, 3);
    let mix = Mix {
        batch_items: 50,
        weights: Weights { batches: 1, ..Weights::default() },
        ..Mix::payments(Shape::Uniform)
    };
    let mut traffic = Traffic::new(&target(), &roster, Market::default(), spec(mix));
    let (head, body) = next(&mut traffic, 1);
    assert!(head.contains("Bearer pk_1\r\n"), "{head}");
    let items = body["payments"].as_array().expect("a list");
    assert_eq!(items.len(), 50);
    for item in items {
        assert!(item["from_wallet_id"].as_str().is_some_and(|id| id.starts_with("wallet_1_")), "{item}");
        assert_ne!(item["from_wallet_id"], item["to_wallet_id"]);
    }
    let results: Vec<String> =
        items.iter().enumerate().map(|(n, item)| receipt(item, &format!("tx_{n}"))).collect();
    answer(&mut traffic, 1, 200, false, &format!(r#"{{"results":[{}]}}"#, results.join(",")));
    assert_eq!((traffic.units(), traffic.book.promises().len()), (50, 50));
    let sum: i128 = (0..roster.wallets()).map(|wallet| traffic.book.balance(wallet)).sum();
    assert_eq!(sum, 18 * 100 * NANOS_PER_UNIT);
}

#[test]
fn a_service_call_goes_through_its_five_steps() {
    let roster = roster(6, 2);
    let weights = Weights { calls: 1, ..Weights::default() };
    let mix = Mix { weights, ..Mix::payments(Shape::Uniform) };
    let mut traffic = Traffic::new(&target(), &roster, market(), spec(mix));
    let (head, authorize) = next(&mut traffic, 0);
    let service: u32 = if head.starts_with("POST /v1/services/svc_0/authorize ") { 0 } else { 1 };
    assert!(head.starts_with(&format!("POST /v1/services/svc_{service}/authorize ")), "{head}");
    let reserved = r#"{"token":"x402_tok_a.b.c","token_id":"tokid_1","reserved_amount":0.01}"#;
    // The first answer is lost; the repeated request has the same key.
    traffic.lost(0);
    assert_eq!(next(&mut traffic, 0).1, authorize);
    answer(&mut traffic, 0, 201, true, reserved);
    let (head, verify) = next(&mut traffic, 0);
    let provider = format!("Bearer pk_{}\r\n", 4 + service);
    assert!(head.starts_with("POST /v1/x402/verify ") && head.contains(&provider), "{head}");
    assert_eq!(verify["payment_token"], "x402_tok_a.b.c");
    answer(&mut traffic, 0, 200, false, r#"{"valid":true,"token_id":"tokid_1"}"#);
    for step in ["call-started", "call-accepted", "call-completed"] {
        let (head, _) = next(&mut traffic, 0);
        assert!(head.starts_with(&format!("POST /v1/x402/tokens/tokid_1/{step} ")), "{head}");
        assert_eq!(traffic.units(), 0);
        answer(&mut traffic, 0, 200, false, r#"{"provider_fee":0.001}"#);
    }
    assert_eq!(traffic.units(), 1);
    let call = *traffic.book.calls().get(0);
    assert_eq!((call.token_id.as_str(), call.provider), ("tokid_1", (4 + service) * 2));
    assert_eq!(traffic.book.balance(call.consumer), 100 * NANOS_PER_UNIT - 10_000_000);
    assert_eq!(traffic.book.balance(call.provider), 100 * NANOS_PER_UNIT + 9_000_000);
    assert_eq!((traffic.book.fees(), traffic.book.unknowns.applied_before), (1_000_000, 1));
    assert!(traffic.book.findings.is_empty());
}

#[test]
fn quiet_reads_are_compared_with_the_book() {
    let roster = roster(6, 2);
    let weights = Weights { reads: 1, ..Weights::default() };
    let mix = Mix { weights, ..Mix::payments(Shape::Uniform) };
    let mut traffic = Traffic::new(&target(), &roster, Market::default(), spec(mix));
    let mut balances = 0;
    while balances < 2 {
        let (head, _) = next(&mut traffic, 0);
        let is_balance = head.split(' ').nth(1).is_some_and(|path| path.ends_with("/balance"));
        let body = match (is_balance, balances) {
            (true, 0) => r#"{"available":100}"#,
            (true, _) => r#"{"available":99.99}"#,
            (false, _) => "{}",
        };
        answer(&mut traffic, 0, 200, false, body);
        balances += u32::from(is_balance);
        assert_eq!(traffic.book.findings.count(Finding::WrongAnswer), u64::from(balances == 2));
    }
}

fn batches(items: usize) -> Mix {
    let weights = Weights { batches: 1, ..Weights::default() };
    Mix { batch_items: items, weights, ..Mix::payments(Shape::Uniform) }
}

/// The body that a connection has prepared.
fn prepared(traffic: &mut Traffic<'_>, connection: usize) -> Option<Value> {
    let mut request = Vec::new();
    if !traffic.prepare(connection, &mut request) {
        assert!(request.is_empty());
        return None;
    }
    let text = String::from_utf8(request).expect("requests are text");
    let (_, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    Some(serde_json::from_str(body).expect("JSON"))
}

fn receipts(body: &Value) -> String {
    let items = body["payments"].as_array().expect("a list").iter().enumerate();
    let results: Vec<String> = items.map(|(n, item)| receipt(item, &format!("tx_{n}"))).collect();
    format!(r#"{{"results":[{}]}}"#, results.join(","))
}

#[test]
fn only_loads_of_large_batches_work_ahead() {
    let roster = roster(6, 3);
    let works_ahead = |mix| Traffic::new(&target(), &roster, Market::default(), spec(mix)).works_ahead();
    assert!(works_ahead(batches(100)));
    assert!(!works_ahead(batches(99)));
    assert!(!works_ahead(Mix::payments(Shape::Uniform)));
    let weights = Weights { payments: 1, batches: 99, ..Weights::default() };
    assert!(!works_ahead(Mix { weights, ..batches(1_000) }));
}

#[test]
fn a_prepared_batch_that_is_not_sent_counts_as_nothing() {
    let roster = roster(6, 3);
    let mut traffic = Traffic::new(&target(), &roster, Market::default(), spec(batches(100)));
    traffic.limit(2);
    let (_, first) = next(&mut traffic, 0);
    assert!(prepared(&mut traffic, 0).is_some());
    assert_eq!(traffic.open_orders(), 1);
    answer(&mut traffic, 0, 200, false, &receipts(&first));
    assert_eq!((traffic.open_orders(), traffic.units(), traffic.book.promises().len()), (0, 100, 100));
    // The limit still has room for one, which is a new one.
    let (_, second) = next(&mut traffic, 0);
    assert!(prepared(&mut traffic, 0).is_none(), "nothing new may follow");
    assert_eq!(traffic.settle_only(), 1);
    assert_eq!(next(&mut traffic, 3).1, second);
    answer(&mut traffic, 3, 200, false, &receipts(&second));
    assert_eq!(traffic.next(0, &mut Vec::new()), Next::Finished);
    assert_eq!((traffic.units(), traffic.book.promises().len()), (200, 200));
    assert!(traffic.book.findings.is_empty());
}

#[test]
fn a_released_batch_is_out_while_the_one_before_is_looked_at() {
    let roster = roster(6, 3);
    let mut traffic = Traffic::new(&target(), &roster, Market::default(), spec(batches(100)));
    let (_, first) = next(&mut traffic, 0);
    let second = prepared(&mut traffic, 0).expect("nothing stands in the way");
    assert!(traffic.release(0));
    answer(&mut traffic, 0, 200, false, &receipts(&first));
    assert_eq!((traffic.open_orders(), traffic.units()), (1, 100));
    // The second is lost, and is what is asked again.
    traffic.lost(0);
    assert!(prepared(&mut traffic, 1).is_none(), "what is open goes first");
    assert_eq!(next(&mut traffic, 1).1, second);
    answer(&mut traffic, 1, 200, false, &receipts(&second));
    assert_eq!((traffic.units(), traffic.book.promises().len()), (200, 200));
    let sum: i128 = (0..roster.wallets()).map(|wallet| traffic.book.balance(wallet)).sum();
    assert_eq!(sum, 18 * 100 * NANOS_PER_UNIT);
    assert!(traffic.book.findings.is_empty());
}

#[test]
fn nothing_is_released_after_a_refusal_or_beyond_the_limit() {
    let roster = roster(6, 3);
    let mut traffic = Traffic::new(&target(), &roster, Market::default(), spec(batches(100)));
    let (_, first) = next(&mut traffic, 0);
    next(&mut traffic, 1);
    assert!(prepared(&mut traffic, 0).is_some() && prepared(&mut traffic, 1).is_some());
    answer(&mut traffic, 1, 429, false, "{}");
    assert!(!traffic.release(0), "another connection was told to wait");
    answer(&mut traffic, 0, 200, false, &receipts(&first));

    let mut traffic = Traffic::new(&target(), &roster, Market::default(), spec(batches(100)));
    traffic.limit(3);
    next(&mut traffic, 0);
    next(&mut traffic, 1);
    assert!(prepared(&mut traffic, 0).is_some() && prepared(&mut traffic, 1).is_some());
    assert!(traffic.release(0));
    assert!(!traffic.release(1), "the last one was taken by another connection");
}

#[test]
fn payers_that_take_turns_are_different_ones() {
    let roster = roster(1, 150);
    let mix = Mix { payers_take_turns: true, ..batches(120) };
    let mut traffic = Traffic::new(&target(), &roster, Market::default(), spec(mix));
    for _ in 0..3 {
        let body = prepared(&mut traffic, 0).expect("nothing stands in the way");
        let items = body["payments"].as_array().expect("a list");
        let payers: BTreeSet<&str> =
            items.iter().filter_map(|item| item["from_wallet_id"].as_str()).collect();
        assert_eq!(payers.len(), 120);
    }
}
