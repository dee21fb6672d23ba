//! Refunds and disputes over HTTP: the guide's calls as they stand, every refusal's words, restarts, and webhooks.

use serde_json::{Value, json};
use system_tests::http::{Request, Response};
use system_tests::{ADMIN_TOKEN, Account, Authorized, Node, Receiver};

use crate::webhooks::listen;

/// A consumer with money and the merchant it has paid 10.
struct Scene {
    node: Node,
    consumer: Account,
    merchant: Account,
    payment: String,
}

impl Scene {
    fn new() -> Scene {
        let node = Node::start();
        let consumer = Account::funded(&node, "consumer", "100");
        let merchant = Account::create(&node, "merchant");
        let payment = pay(&node, &consumer, &merchant, "10");
        Scene { node, consumer, merchant, payment }
    }

    fn refund(&self, key: &str, body: &str) -> Response {
        let path = format!("/v1/payments/{}/refund", self.payment);
        self.node.send(&Request::post(path, body).bearer(key))
    }

    fn open(&self, key: &str) -> Response {
        let body = json!({
            "payment_id": self.payment,
            "reason": "service_not_delivered",
            "description": "Provider returned 503 after token was consumed",
        });
        self.node.send(&Request::post("/v1/disputes", body.to_string()).bearer(key))
    }

    fn operator(&self, path: &str, body: &str) -> Response {
        self.node.send(&Request::post(path, body).bearer(ADMIN_TOKEN))
    }

    #[track_caller]
    fn read(&self, key: &str, path: &str) -> Value {
        json(&self.node.send(&Request::get(path).bearer(key)).expect(200))
    }

    fn payment(&self, key: &str) -> Value {
        self.read(key, &format!("/v1/payments/{}", self.payment))
    }

    /// Available and disputed, as they are written.
    fn balance(&self, account: &Account) -> [String; 2] {
        let balance = account.balance(&self.node);
        ["available", "disputed"].map(|part| balance.raw(&[part]))
    }
}

fn json(response: &Response) -> Value {
    serde_json::from_str(&response.text()).expect("JSON")
}

fn pay(node: &Node, payer: &Account, payee: &Account, amount: &str) -> String {
    let body = format!(
        r#"{{"from_wallet_id":"{}","to_wallet_id":"{}","amount":{amount}}}"#,
        payer.wallet, payee.wallet
    );
    let request = Request::post("/v1/payments", body).bearer(&payer.api_key);
    node.send(&request).expect(201).document().text("/id").to_owned()
}

#[test]
fn the_guides_dispute_calls_work_as_written() {
    let scene = Scene::new();
    let (key, other) = (scene.consumer.api_key.clone(), scene.merchant.api_key.clone());
    let (key, other) = (key.as_str(), other.as_str());
    let opened = json(&scene.open(key).expect(201));
    let id = opened["id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("disp_") && id.len() == 31, "{id}");
    assert_eq!(opened["status"], "open");
    assert_eq!(opened["payment_id"], scene.payment);
    assert_eq!(opened["reason"], "service_not_delivered");
    assert!(opened["created_at"].as_str().expect("a time").ends_with('Z'));
    assert_eq!(scene.balance(&scene.merchant), ["0", "10"]);

    for (key, found) in [(key, 1), (other, 1)] {
        let list = scene.read(key, "/v1/disputes?status=open");
        assert_eq!(list["disputes"].as_array().map(Vec::len), Some(found));
        assert_eq!(list["disputes"][0]["id"], id);
    }
    let evidence = json!({
        "type": "log_excerpt",
        "content": "HTTP 503 at 2026-05-08T11:59:01Z — no response body",
    });
    let add = Request::post(format!("/v1/disputes/{id}/evidence"), evidence.to_string()).bearer(key);
    let added = json(&scene.node.send(&add).expect(201));
    assert_eq!((&added["dispute_id"], &added["number"]), (&json!(id), &json!(1)));

    let duplicate = json(&scene.open(other).expect(409));
    assert_eq!(duplicate["error"]["code"], "DUPLICATE_DISPUTE");
    assert_eq!(duplicate["error"]["details"]["dispute_id"], id);

    let shown = scene.read(other, &format!("/v1/disputes/{id}"));
    assert_eq!(shown["evidence"][0]["content"], evidence["content"]);
    assert_eq!(shown["evidence"][0]["submitted_by"], "payer");
    assert_eq!(shown["history"][0]["status"], "open");
    let payment = scene.payment(key);
    assert_eq!((&payment["dispute_id"], &payment["dispute_status"]), (&json!(id), &json!("open")));
    assert_eq!(payment["status"], "completed");

    let review = scene.operator(&format!("/v1/ops/disputes/{id}/review"), r#"{"note":"looking"}"#);
    assert_eq!(json(&review.expect(200))["status"], "under_review");
    let open = scene.read(ADMIN_TOKEN, "/v1/ops/disputes?status=under_review");
    assert_eq!(open["disputes"][0]["id"], id);
    let resolve = format!("/v1/ops/disputes/{id}/resolve");
    let body = r#"{"outcome":"refunded","note":"the log shows it"}"#;
    let resolved = json(&scene.operator(&resolve, body).expect(200));
    assert_eq!(resolved["status"], "resolved_refunded");
    assert_eq!((&resolved["resolution"]["refunded"], &resolved["disputed"]), (&json!(10), &json!(0)));
    let again = scene.operator(&resolve, body).expect(200);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(json(&again)["resolution"], resolved["resolution"]);
    assert_eq!(scene.balance(&scene.consumer), ["99.96", "0"]);
    assert_eq!(scene.balance(&scene.merchant), ["0", "0"]);
    let payment = scene.payment(other);
    assert_eq!((&payment["status"], &payment["refunded_amount"]), (&json!("refunded"), &json!(10)));

    let scene = Scene { node: scene.node.kill_and_restart(), ..scene };
    let shown = scene.read(key, &format!("/v1/disputes/{id}"));
    let steps: Vec<_> =
        shown["history"].as_array().expect("a list").iter().map(|s| s["status"].clone()).collect();
    assert_eq!(steps, ["open", "under_review", "resolved_refunded"]);
    assert_eq!(shown["history"][2]["note"], "the log shows it");
    assert_eq!(scene.payment(key)["status"], "refunded");
}

#[test]
fn a_payment_is_refunded_in_parts_and_shows_it() {
    let scene = Scene::new();
    let (payer, payee) = (&scene.consumer.api_key, &scene.merchant.api_key);
    let before = scene.payment(payer);
    let body = r#"{"amount":4,"idempotency_key":"r-1"}"#;
    let first = scene.refund(payee, body).expect(201);
    let told = json(&first);
    assert_eq!((&told["id"], &told["status"]), (&json!(scene.payment), &json!("partially_refunded")));
    assert_eq!(told["refund"]["amount"], 4);
    assert_eq!(told["refund"]["balance_after"], json!({"available": 6, "held": 0}));
    assert!(told.get("balance_after").is_none(), "the payer's balance is not the payee's business");
    let list = scene.read(payer, "/v1/payments?status=partially_refunded");
    assert_eq!(list["payments"][0]["refunded_amount"], 4);
    assert_eq!(scene.read(payer, "/v1/payments?status=completed")["payments"], json!([]));
    let rest = scene
        .node
        .send(&Request::post(format!("/v1/payments/{}/refund", scene.payment), "{}").bearer(ADMIN_TOKEN));
    assert_eq!(json(&rest.expect(201))["refund"]["refunded_by"], "operator");
    let again = scene.refund(payee, body).expect(201);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.text(), first.text(), "byte for byte");
    let mut after = scene.payment(payer);
    assert_eq!(after["refunded_amount"], 10);
    after.as_object_mut().expect("an object").remove("refunded_amount");
    after["status"] = json!("completed");
    assert_eq!(after, before, "nothing else has changed");
    let entries = scene.read(payer, &format!("/v1/wallets/{}/entries", scene.consumer.wallet));
    assert_eq!(
        (&entries["entries"][0]["kind"], &entries["entries"][0]["delta"]),
        (&json!("refund_received"), &json!(6))
    );
    assert_eq!(entries["entries"][0]["payment_id"], scene.payment);
    let balance = scene.read(ADMIN_TOKEN, "/v1/ledger/trial-balance");
    assert_eq!(balance["balanced"], true);
}

#[test]
fn every_refusal_says_what_to_do() {
    let scene = Scene::new();
    let (payer, payee) = (&scene.consumer.api_key, &scene.merchant.api_key);
    let stranger = Account::create(&scene.node, "stranger").api_key;
    let check = |response: Response, status: u16, code: &str, word: &str| {
        let error = json(&response.expect(status))["error"].clone();
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().expect("a message").contains(word), "{word}: {error}");
        assert!(!error["next_actions"].as_array().expect("a list").is_empty(), "{error}");
        error["details"].clone()
    };
    check(scene.refund(payer, "{}"), 403, "AP-1001", "open a dispute");
    check(scene.refund(&stranger, "{}"), 404, "AP-2002", "no such payment");
    check(scene.refund(payee, r#"{"amount":0}"#), 400, "AP-2001", "greater than zero");
    let details = check(scene.refund(payee, r#"{"amount":10.5}"#), 409, "AP-1006", "more than is left");
    assert_eq!((&details["refundable"], &details["status"]), (&json!(10), &json!("completed")));
    pay(&scene.node, &scene.merchant, &scene.consumer, "5");
    let details = check(scene.refund(payee, "{}"), 402, "AP-1001", "does not hold enough");
    assert_eq!((&details["available"], &details["needed"]), (&json!(4.98), &json!(10)));
    check(scene.open(&stranger), 404, "AP-2002", "no such payment");
    let id = json(&scene.open(payee).expect(201))["id"].as_str().expect("an id").to_owned();
    assert_eq!(scene.balance(&scene.merchant), ["0", "4.98"]);
    let details = check(scene.refund(payee, r#"{"amount":1}"#), 409, "AP-1006", "disputed");
    assert_eq!((&details["dispute_id"], &details["status"]), (&json!(id), &json!("open")));
    let post = |key: &str, rest: &str, body: &str| {
        scene.node.send(&Request::post(format!("/v1/disputes/{id}/{rest}"), body).bearer(key))
    };
    check(post(payer, "withdraw", "{}"), 403, "AP-1001", "who opened it");
    check(post(&stranger, "withdraw", "{}"), 404, "AP-2002", "no such dispute");
    check(post(payer, "evidence", r#"{"type":"t"}"#), 400, "AP-2001", "");
    let too_large = format!(r#"{{"type":"t","content":"{}"}}"#, "x".repeat((1 << 20) + 1));
    check(post(payer, "evidence", &too_large), 400, "AP-2001", "at most 1048576");
    let largest = format!(r#"{{"type":"screenshot","content":"{}"}}"#, "x".repeat(1 << 20));
    assert_eq!(json(&post(payer, "evidence", &largest).expect(201))["bytes"], 1 << 20);
    for _ in 1..20 {
        post(payee, "evidence", r#"{"type":"t","content":"c"}"#).expect(201);
    }
    let details =
        check(post(payee, "evidence", r#"{"type":"t","content":"c"}"#), 409, "AP-1006", "as much evidence");
    assert_eq!((&details["rule"], &details["limit"]), (&json!("too_much_evidence"), &json!(20)));
    let shown = scene.read(payer, &format!("/v1/disputes/{id}"));
    assert_eq!(shown["evidence"][0]["content"].as_str().map(str::len), Some(1 << 20));
    assert_eq!(json(&post(payee, "withdraw", "{}").expect(200))["status"], "withdrawn");
    let ops = |rest: &str, body: &str| scene.operator(&format!("/v1/ops/disputes/{id}/{rest}"), body);
    let details = check(ops("review", "{}"), 409, "AP-1006", "present state");
    assert_eq!(details["status"], "withdrawn");
    check(ops("resolve", r#"{"outcome":"denied"}"#), 409, "AP-1006", "present state");
    check(ops("resolve", r#"{"outcome":"maybe"}"#), 400, "AP-2001", "refunded, denied");
    check(post(payee, "evidence", r#"{"type":"t","content":"c"}"#), 409, "AP-1006", "present state");
    check(scene.open(payer), 409, "DUPLICATE_DISPUTE", "already exists");
    let unknown = scene.operator("/v1/ops/disputes/disp_00000000000000000000000000/review", "{}");
    check(unknown, 404, "AP-2002", "no such dispute");
    assert_eq!(scene.balance(&scene.merchant), ["4.98", "0"]);
}

/// A settled call is a payment like any other; what the provider cannot return it owes.
#[test]
fn a_settled_call_is_disputed_and_its_provider_owes() {
    let node = Node::start();
    let consumer = Account::funded(&node, "consumer", "100");
    let provider = Account::create(&node, "provider");
    let service = provider.register(&node, "Feed", "2", "").text("/id").to_owned();
    let Authorized { id, token, .. } = consumer.authorize(&node, &service, "");
    node.send(&provider.verify_request(&token)).expect(200);
    let step = |name: &str| {
        let path = format!("/v1/x402/tokens/{id}/{name}");
        json(&node.send(&Request::post(path, "{}").bearer(&provider.api_key)).expect(200))
    };
    step("call-started");
    step("call-accepted");
    let payment = step("call-completed")["payment_id"].as_str().expect("settled").to_owned();
    let spent = pay(&node, &provider, &consumer, "1.5");
    let body = format!(r#"{{"payment_id":"{payment}","reason":"service_not_delivered"}}"#);
    let opened = node.send(&Request::post("/v1/disputes", body).bearer(&consumer.api_key)).expect(201);
    let opened = json(&opened);
    assert_eq!((&opened["amount"], &opened["disputed"]), (&json!(2), &json!(0.494)));
    let path = format!("/v1/ops/disputes/{}/resolve", opened["id"].as_str().expect("an id"));
    node.send(&Request::post(path, r#"{"outcome":"refunded"}"#).bearer(ADMIN_TOKEN)).expect(200);
    let owed = provider.balance(&node);
    assert_eq!([owed.raw(&["available"]), owed.raw(&["disputed"])], ["-1.506", "0"]);
    let body = format!(
        r#"{{"from_wallet_id":"{}","to_wallet_id":"{}","amount":0.1}}"#,
        provider.wallet, consumer.wallet
    );
    let refused =
        json(&node.send(&Request::post("/v1/payments", body).bearer(&provider.api_key)).expect(402));
    assert_eq!(refused["error"]["details"]["available"], -1.506);
    let token = node.send(&Request::get(format!("/v1/x402/tokens/{id}")).bearer(&consumer.api_key));
    assert_eq!(json(&token.expect(200))["status"], "settled");
    let read = |payment: &str| {
        json(
            &node
                .send(&Request::get(format!("/v1/payments/{payment}")).bearer(&consumer.api_key))
                .expect(200),
        )
    };
    assert_eq!(
        (&read(&payment)["status"], &read(&spent)["status"]),
        (&json!("refunded"), &json!("completed"))
    );
}

/// Both parties hear of it, each as the REST answers show it to them.
#[test]
fn webhooks_tell_of_refunds_and_disputes() {
    let scene = Scene::new();
    let (receiver, other) = (Receiver::start(), Receiver::start());
    let events = r#"["payment.refunded","dispute.*"]"#;
    let hook = listen(&scene.node, &scene.consumer, &receiver.url("/"), events);
    listen(&scene.node, &scene.merchant, &other.url("/"), r#"["payment.refunded"]"#);
    let (payer, payee) = (&scene.consumer.api_key, &scene.merchant.api_key);
    scene.refund(payee, r#"{"amount":4}"#).expect(201);
    let opened = json(&scene.open(payer).expect(201));
    let id = opened["id"].as_str().expect("an id");
    let add = Request::post(format!("/v1/disputes/{id}/evidence"), r#"{"type":"note","content":"secret"}"#);
    scene.node.send(&add.bearer(payer)).expect(201);
    let resolve = format!("/v1/ops/disputes/{id}/resolve");
    scene.operator(&resolve, r#"{"outcome":"refunded","note":"seen"}"#).expect(200);
    let received = receiver.wait_for(5);
    assert!(received.iter().all(|one| one.signed_with(&hook.secret) == [true]));
    // Different objects may overtake each other.
    let of = |name: &str, number: usize| {
        let mut found = received.iter().map(|one| one.document()).filter(|told| told.text("/type") == name);
        found.nth(number).unwrap_or_else(|| panic!("{name} {number} is told of"))
    };
    let refund = of("payment.refunded", 0);
    assert_eq!(
        (refund.at("/data/status"), refund.at("/data/refund/amount")),
        (&json!("partially_refunded"), &json!(4))
    );
    assert!(refund.at("/data").get("balance_after").is_some(), "the payer's own");
    assert!(
        refund.at("/data/refund").get("balance_after").is_none(),
        "the payee's is not the payer's business"
    );
    let last = of("payment.refunded", 1);
    assert_eq!(
        (last.at("/data/status"), last.at("/data/refund/dispute_id")),
        (&json!("refunded"), &json!(id))
    );
    assert_eq!(of("dispute.opened", 0).at("/data/amount"), &json!(6));
    let evidence = of("dispute.evidence_added", 0);
    assert_eq!(evidence.at("/data/evidence/type"), &json!("note"));
    assert!(evidence.at("/data/evidence").get("content").is_none(), "evidence is read where it is asked for");
    assert_eq!(of("dispute.resolved", 0).at("/data/resolution/note"), &json!("seen"));
    let told = other.wait_for(2);
    let paid_back = told[0].document();
    assert_eq!(paid_back.at("/data/refund/balance_after/available"), &json!(6));
    assert!(paid_back.at("/data").get("balance_after").is_none(), "the payer's is not the payee's business");
}
