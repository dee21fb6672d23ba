//! Retries: the first answer again byte for byte, one effect whatever happens, conflicts refused.

use std::sync::Barrier;

use system_tests::http::{Connection, Request, Response};
use system_tests::{Account, Node, PaymentRequest};

fn payment<'a>(account: &'a Account, amount: &'a str, key: Option<&'a str>) -> PaymentRequest<'a> {
    PaymentRequest { from: &account.wallet, to: ("to_external", "merchant:again"), amount, key }
}

/// The same answer again, marked as such.
#[track_caller]
fn assert_replayed(first: &Response, again: &Response) {
    assert_eq!((again.status, again.text()), (first.status, first.text()));
    assert_eq!(first.header("idempotent-replayed"), None);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
}

#[test]
fn a_retried_payment_gets_the_first_answer_also_after_restarts() {
    let node = Node::start();
    let account = Account::funded(&node, "again", "100");
    let request = account.pay_request(&payment(&account, "5", Some("key-1")));
    let first = node.send(&request).expect(201);
    assert_replayed(&first, &node.send(&request));
    // What happens in between must not show in the old answer.
    account.pay(&node, &payment(&account, "7", None)).expect(201);
    assert_replayed(&first, &node.send(&request));

    let node = node.kill_and_restart();
    assert_replayed(&first, &node.send(&request));
    let node = node.stop().start();
    assert_replayed(&first, &node.send(&request));
    // 100 - 5.02 - 7.028
    assert_eq!(account.balance(&node).raw(&["available"]), "87.952");
}

#[test]
fn every_kind_of_request_that_creates_can_be_retried() {
    let node = Node::start();
    let account = Account::funded(&node, "kinds", "100");
    let pay = payment(&account, "1", None).body();
    let requests = [
        Request::post(
            format!("/v1/wallets/{}/fund", account.wallet),
            r#"{"amount":3,"source":"test_faucet"}"#,
        )
        .bearer(&account.api_key),
        Request::post("/v1/wallets", r#"{"currency":"USD","label":"second"}"#).bearer(&account.secret_key),
        Request::post("/v1/payments", pay.clone()).bearer(&account.api_key),
        Request::post("/v1/payments/batch", format!(r#"{{"payments":[{pay},{pay}],"atomic":true}}"#))
            .bearer(&account.api_key),
    ];
    let requests = requests.map(|request| request.header("idempotency-key", "one-key-many-routes"));
    let firsts: Vec<Response> = requests.iter().map(|request| node.send(request)).collect();
    for (request, first) in requests.iter().zip(&firsts) {
        assert!(matches!(first.status, 200 | 201), "{request:?}: {}", first.text());
        assert_replayed(first, &node.send(request));
    }
    let node = node.kill_and_restart();
    for (request, first) in requests.iter().zip(&firsts) {
        assert_replayed(first, &node.send(request));
    }
    // 100 + 3 - 3 x 1.004
    assert_eq!(account.balance(&node).raw(&["available"]), "99.988");
}

#[test]
fn the_key_may_come_in_the_body_or_the_header_but_not_differ() {
    let node = Node::start();
    let account = Account::funded(&node, "places", "100");
    let in_body = account.pay_request(&payment(&account, "5", Some("place")));
    let in_header = account.pay_request(&payment(&account, "5", None)).header("idempotency-key", "place");
    let in_both = in_body.clone().header("idempotency-key", "place");
    let first = node.send(&in_body).expect(201);
    assert_replayed(&first, &node.send(&in_header));
    assert_replayed(&first, &node.send(&in_both));

    let different = in_body.clone().header("idempotency-key", "other");
    node.send(&different).expect_error(400, "AP-2001");
    let twice = in_header.clone().header("idempotency-key", "place");
    node.send(&twice).expect_error(400, "AP-2001");
    assert_eq!(account.balance(&node).raw(&["available"]), "94.98");
}

#[test]
fn keys_have_1_to_255_printable_characters() {
    let node = Node::start();
    let account = Account::funded(&node, "lengths", "100");
    let longest = "k".repeat(255);
    for (key, status) in
        [("", 400), ("a", 201), (longest.as_str(), 201), (&format!("{longest}k"), 400), ("naïve", 400)]
    {
        let response = account.pay(&node, &payment(&account, "1", Some(key)));
        assert_eq!(response.status, status, "{key:?}: {}", response.text());
    }
}

#[test]
fn the_same_meaning_written_differently_is_a_retry() {
    let node = Node::start();
    let account = Account::funded(&node, "meaning", "100");
    let wallet = &account.wallet;
    let send = |body: String| node.send(&Request::post("/v1/payments", body).bearer(&account.api_key));
    let first = send(format!(
        r#"{{"from_wallet_id":"{wallet}","to_external":"m","amount":5,"idempotency_key":"same","metadata":{{"a":1}}}}"#
    ))
    .expect(201);
    let again = [
        format!(
            r#"{{"idempotency_key":"same","amount":5.00,"to_external":"m","from_wallet_id":"{wallet}","metadata":{{"a":1}}}}"#
        ),
        format!(
            r#" {{ "from_wallet_id" : "{wallet}", "to_external":"m", "amount":"5", "rail":"internal", "metadata": {{ "a" : 1 }}, "idempotency_key":"same" }} "#
        ),
    ];
    for body in again {
        assert_replayed(&first, &send(body));
    }
    let others = [
        format!(
            r#"{{"from_wallet_id":"{wallet}","to_external":"m","amount":6,"idempotency_key":"same","metadata":{{"a":1}}}}"#
        ),
        format!(
            r#"{{"from_wallet_id":"{wallet}","to_external":"n","amount":5,"idempotency_key":"same","metadata":{{"a":1}}}}"#
        ),
        format!(
            r#"{{"from_wallet_id":"{wallet}","to_external":"m","amount":5,"idempotency_key":"same","metadata":{{"a":2}}}}"#
        ),
        format!(r#"{{"from_wallet_id":"{wallet}","to_external":"m","amount":5,"idempotency_key":"same"}}"#),
    ];
    for body in others {
        send(body).expect_error(422, "AP-1005");
    }
    assert_eq!(account.balance(&node).raw(&["available"]), "94.98");
}

#[test]
fn keys_belong_to_a_wallet_and_denials_are_not_kept() {
    let node = Node::start();
    let rich = Account::funded(&node, "rich", "100");
    let poor = Account::create(&node, "poor");
    // The same key from another wallet is another payment.
    rich.pay(&node, &payment(&rich, "5", Some("shared"))).expect(201);
    poor.pay(&node, &payment(&poor, "5", Some("shared"))).expect_error(402, "AP-1001");
    // What was denied may succeed with the same key once it can.
    poor.fund(&node, "10");
    let first = poor.pay(&node, &payment(&poor, "5", Some("shared"))).expect(201);
    assert_eq!(first.header("idempotent-replayed"), None);
    assert_eq!(poor.balance(&node).raw(&["available"]), "4.98");
}

#[test]
fn a_batch_keeps_the_outcome_of_every_item() {
    let node = Node::start();
    let account = Account::funded(&node, "batch", "10");
    let items: Vec<String> =
        ["5", "7", "1"].iter().map(|amount| payment(&account, amount, None).body()).collect();
    let body = format!(r#"{{"payments":[{}],"atomic":false,"idempotency_key":"b-1"}}"#, items.join(","));
    let request = Request::post("/v1/payments/batch", body).bearer(&account.api_key);
    let first = node.send(&request).expect(200);
    assert_eq!(first.text().matches(r#""status":"completed""#).count(), 2, "{}", first.text());
    // The second item would pass now, but the batch was answered already.
    account.fund(&node, "100");
    assert_replayed(&first, &node.send(&request));
    let node = node.kill_and_restart();
    assert_replayed(&first, &node.send(&request));
    // 10 - 5.02 - 1.004 + 100
    assert_eq!(account.balance(&node).raw(&["available"]), "103.976");
}

/// T15: a thousand at once.
#[test]
fn a_thousand_concurrent_uses_of_one_key_have_one_effect_and_one_answer() {
    const THREADS: usize = 50;
    const USES_PER_THREAD: usize = 20;
    let node = Node::start();
    let account = Account::funded(&node, "at-once", "1000");
    let request = account.pay_request(&payment(&account, "5", Some("at-once")));
    let barrier = Barrier::new(THREADS);
    let answers: Vec<Response> = std::thread::scope(|scope| {
        let use_key = || {
            let mut connections: Vec<Connection> = (0..USES_PER_THREAD).map(|_| node.connect()).collect();
            barrier.wait();
            // All requests of a thread are on their way before the first answer is read.
            for connection in &mut connections {
                connection.write(&request.bytes()).expect("the node reads");
            }
            connections.iter_mut().map(|connection| connection.read(false).expect("an answer")).collect()
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(use_key)).collect();
        threads.into_iter().flat_map(|thread| -> Vec<Response> { thread.join().expect("no panic") }).collect()
    });
    assert_eq!(answers.len(), THREADS * USES_PER_THREAD);
    let first = answers.iter().find(|answer| answer.header("idempotent-replayed").is_none());
    let first = first.expect("one of them was the first");
    assert_eq!(first.status, 201, "{}", first.text());
    for answer in &answers {
        assert_eq!((answer.status, answer.text()), (201, first.text()));
    }
    let originals = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_none()).count();
    assert_eq!(originals, 1);
    assert_eq!(account.balance(&node).raw(&["available"]), "994.98");
}
