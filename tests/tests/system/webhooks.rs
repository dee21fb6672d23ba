//! Webhooks over HTTP: who may register what, what is told, and how it is signed.

use std::collections::{BTreeMap, BTreeSet};

use system_tests::http::{Request, Response};
use system_tests::{Account, Document, Node, PaymentRequest, Received, Receiver, Say, eventually};

use crate::guide::{Terminal, check_id, check_time};

const REGISTER: &str = r#"curl -X POST "$AGENTPAY_BASE_URL/v1/webhooks" \
  -H "Authorization: Bearer $AGENTPAY_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "url": "https://example.com/agentpay/webhooks",
    "events": ["payment.completed", "payment.refunded"]
  }'"#;

/// A webhook of an agent, and its secret.
pub(crate) struct Hook {
    pub(crate) id: String,
    pub(crate) secret: String,
}

pub(crate) fn create_request(account: &Account, url: &str, events: &str) -> Request {
    let body = format!(r#"{{"url":"{url}","events":{events}}}"#);
    Request::post("/v1/webhooks", body).bearer(&account.api_key)
}

#[track_caller]
pub(crate) fn listen(node: &Node, account: &Account, url: &str, events: &str) -> Hook {
    let document = node.send(&create_request(account, url, events)).expect(201).document();
    Hook { id: document.text("/id").to_owned(), secret: document.text("/secret").to_owned() }
}

pub(crate) fn path(hook: &Hook, rest: &str) -> String {
    format!("/v1/webhooks/{}{rest}", hook.id)
}

#[track_caller]
pub(crate) fn shown(node: &Node, account: &Account, hook: &Hook) -> Document {
    node.send(&Request::get(path(hook, "")).bearer(&account.api_key)).expect(200).document()
}

#[track_caller]
pub(crate) fn patch(node: &Node, account: &Account, hook: &Hook, body: &str) -> Response {
    node.send(&Request::new("PATCH", path(hook, "")).json(body).bearer(&account.api_key))
}

#[track_caller]
pub(crate) fn deliveries(node: &Node, account: &Account, hook: &Hook, query: &str) -> Document {
    let request = Request::get(path(hook, &format!("/deliveries{query}"))).bearer(&account.api_key);
    node.send(&request).expect(200).document()
}

#[track_caller]
pub(crate) fn pay(node: &Node, payer: &Account, payee: &Account, amount: &str) -> Document {
    let payment =
        PaymentRequest { from: &payer.wallet, to: ("to_wallet_id", &payee.wallet), amount, key: None };
    payer.pay(node, &payment).expect(201).document()
}

fn of_kind(received: &[Received], kind: &str) -> Vec<Received> {
    received.iter().filter(|received| received.kind() == kind).cloned().collect()
}

#[test]
fn the_guides_registration_works_as_written() {
    let node = Node::builder().set("webhooks.loopback_allowed", "false").start();
    let account = Account::create(&node, "listener");
    let mut terminal = Terminal::open(&node);
    terminal.export("AGENTPAY_API_KEY", &account.api_key);
    let (status, webhook) = terminal.run(REGISTER);
    assert_eq!(status, 201);
    check_id(webhook.text("/id"), "wh_");
    check_time(webhook.text("/created_at"));
    assert!(webhook.text("/secret").starts_with("whsec_"), "shown once");
    assert_eq!(webhook.text("/url"), "https://example.com/agentpay/webhooks");
    assert_eq!(webhook.raw(&["events"]), r#"["payment.completed","payment.refunded"]"#);
    assert_eq!(webhook.text("/status"), "active");
    let read = |path: &str| node.send(&Request::get(path).bearer(&account.api_key)).expect(200);
    let one = read(&format!("/v1/webhooks/{}", webhook.text("/id")));
    let all = read("/v1/webhooks");
    for answer in [&one, &all] {
        assert!(
            !answer.text().contains("whsec_") && !answer.text().contains("secret\""),
            "{}",
            answer.text()
        );
    }
    assert_eq!(all.document().text("/webhooks/0/id"), webhook.text("/id"));
    assert_eq!(all.document().raw(&["total"]), "1");
}

#[test]
fn only_public_receivers_can_be_registered() {
    let node = Node::builder().set("webhooks.loopback_allowed", "false").start();
    let account = Account::create(&node, "listener");
    for url in [
        "http://example.com/",
        "https://localhost/",
        "https://127.0.0.1/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://2130706433/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[2002:7f00:1::]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://metadata.google.internal/",
        "https://10.0.0.1/",
        "https://example.com./",
        "https://user:password@example.com/",
        "https://router/",
        "example.com",
        "",
    ] {
        let answer = node.send(&create_request(&account, url, r#"["payment.*"]"#));
        let document = answer.expect_error(400, "AP-2001");
        assert_eq!(document.text("/error/details/path"), "$.url", "{url}");
    }
}

#[test]
fn a_payment_is_told_to_both_sides_as_they_would_read_it() {
    let node = Node::start();
    let receiver = Receiver::start();
    let (alice, bob) = (Account::funded(&node, "alice", "100"), Account::create(&node, "bob"));
    let payer = listen(&node, &alice, &receiver.url("/alice"), r#"["payment.completed"]"#);
    let payee = listen(&node, &bob, &receiver.url("/bob"), r#"["payment.*"]"#);
    let payment = pay(&node, &alice, &bob, "5");
    let received = receiver.wait_for(2);
    for (account, hook, path) in [(&alice, &payer, "/alice"), (&bob, &payee, "/bob")] {
        let [told] = &received.iter().filter(|one| one.path == path).collect::<Vec<_>>()[..] else {
            panic!("one delivery to {path}: {received:?}")
        };
        assert_eq!(told.signed_with(&hook.secret), [true], "{path}");
        assert_eq!((told.method.as_str(), told.header("content-type")), ("POST", "application/json"));
        let document = told.document();
        assert_eq!(document.text("/id"), told.header("webhook-id"));
        check_id(document.text("/id"), "evt_");
        assert_eq!(document.text("/type"), "payment.completed");
        check_time(document.text("/created_at"));
        let read = account.payment(&node, payment.text("/id")).expect(200);
        assert_eq!(document.raw(&["data"]), read.text(), "{path}");
    }
    let ids: BTreeSet<String> = received.iter().map(Received::id).collect();
    assert_eq!(ids.len(), 2, "every webhook has ids of its own");
    let listed = eventually("both are delivered", || {
        let listed = deliveries(&node, &alice, &payer, "?status=delivered");
        (listed.at("/deliveries").as_array().map(Vec::len) == Some(1)).then_some(listed)
    });
    assert_eq!(
        listed.text("/deliveries/0/id"),
        received.iter().find(|one| one.path == "/alice").expect("one").id()
    );
    assert_eq!(listed.at("/deliveries/0/response_status"), 204);
    assert_eq!(listed.at("/deliveries/0/attempts"), 1);
}

#[test]
fn wallets_and_services_are_told_of_and_filters_hold() {
    let node = Node::start();
    let receiver = Receiver::start();
    let account = Account::create(&node, "owner");
    listen(&node, &account, &receiver.url("/all"), r#"["wallet.*","service.*"]"#);
    listen(&node, &account, &receiver.url("/frozen"), r#"["wallet.frozen"]"#);
    account.fund(&node, "7");
    let service = account.register(&node, "Told", "1", "").text("/id").to_owned();
    let change = Request::new("PATCH", format!("/v1/services/{service}")).json(r#"{"description":"d"}"#);
    let changed = node.send(&change.bearer(&account.api_key)).expect(200);
    let freeze = Request::post(format!("/v1/wallets/{}/freeze", account.wallet), "{}");
    node.send(&freeze.bearer(&account.secret_key)).expect(200);
    let received = receiver.wait_for(4);
    let told: Vec<_> = received.iter().map(|one| (one.path.as_str(), one.kind())).collect();
    let expected = [
        ("/all", "wallet.funded"),
        ("/all", "service.updated"),
        ("/all", "wallet.frozen"),
        ("/frozen", "wallet.frozen"),
    ];
    let expected = expected.map(|(path, kind)| (path, kind.to_owned()));
    assert_eq!(told.iter().cloned().collect::<BTreeSet<_>>(), expected.into_iter().collect());
    let funded = of_kind(&received, "wallet.funded")[0].document();
    assert_eq!((funded.text("/data/type"), funded.raw(&["data", "amount"])), ("funding", "7".to_owned()));
    let updated = of_kind(&received, "service.updated")[0].document();
    assert_eq!(updated.raw(&["data"]), changed.text());
    let frozen = of_kind(&received, "wallet.frozen")[0].document();
    assert_eq!((frozen.text("/data/id"), frozen.text("/data/status")), (account.wallet.as_str(), "frozen"));
}

#[test]
fn all_eight_events_of_tokens_are_told_in_order_to_both_sides() {
    let node = Node::start();
    let receiver = Receiver::start();
    let (seller, buyer) = (Account::create(&node, "seller"), Account::funded(&node, "buyer", "100"));
    let relaxed = seller.register(&node, "Relaxed", "1", "").text("/id").to_owned();
    let strict =
        seller.register(&node, "Strict", "1", r#","sla":{"max_latency_ms":1}"#).text("/id").to_owned();
    listen(&node, &seller, &receiver.url("/seller"), r#"["token.*"]"#);
    listen(&node, &buyer, &receiver.url("/buyer"), r#"["token.*","payment.completed"]"#);
    let trust = Receiver::start();
    listen(&node, &seller, &trust.url("/"), r#"["service.trust_changed"]"#);
    let settled = buyer.authorize(&node, &relaxed, "");
    seller.verify(&node, &settled.token).expect(200);
    for step in ["call-started", "call-accepted", "call-completed"] {
        seller.step(&node, &settled.id, step).expect(200);
    }
    let cancelled = buyer.authorize(&node, &relaxed, "");
    buyer.cancel(&node, &cancelled.id).expect(200);
    let expired = buyer.authorize(&node, &relaxed, r#","ttl_seconds":1"#);
    let breached = buyer.authorize(&node, &strict, "");
    seller.verify(&node, &breached.token).expect(200);
    seller.step(&node, &breached.id, "call-started").expect(200);
    buyer.wait_for_status(&node, &expired.id, "expired");
    buyer.wait_for_status(&node, &breached.id, "sla_breached");
    let expected = BTreeMap::from([
        (settled.id.clone(), vec!["authorized", "verified", "started", "accepted", "completed"]),
        (cancelled.id.clone(), vec!["authorized", "cancelled"]),
        (expired.id, vec!["authorized", "expired"]),
        (breached.id, vec!["authorized", "verified", "started", "sla_breached"]),
    ]);
    let received = receiver.wait_for(2 * 13 + 1);
    for side in ["/seller", "/buyer"] {
        let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for one in received.iter().filter(|one| one.path == side && one.kind().starts_with("token.")) {
            let token = one.document().text("/data/token_id").to_owned();
            told.entry(token).or_default().push(one.kind().replace("token.", ""));
        }
        assert_eq!(told.len(), expected.len(), "{side}");
        for (token, kinds) in &expected {
            assert_eq!(&told[token], kinds, "{side} {token}");
        }
    }
    // Scores follow within a second or so; how many steps they take there depends on when that second ended.
    for service in [&relaxed, &strict] {
        eventually("a score that has moved", || {
            let mut told = trust.received().into_iter().map(|one| one.document());
            told.find(|document| document.text("/data/id") == service)
        });
    }
    // What is told of a token is what it reads like, and its settlement is a payment.
    let completed = of_kind(&received, "token.completed")[0].document();
    assert_eq!(completed.raw(&["data"]), buyer.token(&node, &settled.id).expect(200).text());
    let [paid] = &of_kind(&received, "payment.completed")[..] else { panic!("one payment") };
    let payment = completed.text("/data/payment_id");
    assert_eq!(paid.document().raw(&["data"]), buyer.payment(&node, payment).expect(200).text());
    let started = of_kind(&received, "token.started");
    assert!(started.iter().all(|one| one.document().text("/data/status") == "started"));
}

#[test]
fn rotation_signs_twice_for_its_overlap() {
    let node = Node::start();
    let receiver = Receiver::start();
    let account = Account::create(&node, "listener");
    let hook = listen(&node, &account, &receiver.url("/"), r#"["wallet.funded"]"#);
    let rotate = |body: &str| {
        let request = Request::post(path(&hook, "/rotate-secret"), body).bearer(&account.api_key);
        node.send(&request).expect(201)
    };
    let first = rotate(r#"{"overlap_seconds":3600,"idempotency_key":"r1"}"#);
    let again = rotate(r#"{"overlap_seconds":3600,"idempotency_key":"r1"}"#);
    assert_eq!((first.text(), again.header("idempotent-replayed")), (again.text(), Some("true")));
    let secret = first.document().text("/secret").to_owned();
    assert_ne!(secret, hook.secret);
    check_time(first.document().text("/previous_secret_expires_at"));
    account.fund(&node, "1");
    let [told] = &receiver.wait_for(1)[..] else { panic!("one delivery") };
    assert_eq!(
        (told.signed_with(&secret), told.signed_with(&hook.secret)),
        (vec![true, false], vec![false, true])
    );
    let last = rotate(r#"{"overlap_seconds":0}"#).document().text("/secret").to_owned();
    account.fund(&node, "1");
    let told = &receiver.wait_for(2)[1];
    assert_eq!((told.signed_with(&last), told.signed_with(&secret)), (vec![true], vec![false]));
}

#[test]
fn a_repeated_registration_is_answered_byte_for_byte_after_a_restart_too() {
    let node = Node::start();
    let account = Account::create(&node, "listener");
    let request =
        |url: &str| create_request(&account, url, r#"["payment.*"]"#).header("idempotency-key", "hook-1");
    let first = node.send(&request("https://example.com/a")).expect(201);
    let node = node.kill_and_restart();
    let again = node.send(&request("https://example.com/a")).expect(201);
    assert_eq!((again.text(), again.header("idempotent-replayed")), (first.text(), Some("true")));
    node.send(&request("https://example.com/b")).expect_error(422, "AP-1005");
    let all = node.send(&Request::get("/v1/webhooks").bearer(&account.api_key)).expect(200).document();
    assert_eq!(all.raw(&["total"]), "1");
}

#[test]
fn an_agent_has_so_many_webhooks_and_a_deleted_one_hears_nothing() {
    let node = Node::builder().set("webhooks.per_agent_max", "2").start();
    let receiver = Receiver::start();
    let account = Account::create(&node, "listener");
    let gone = listen(&node, &account, &receiver.url("/gone"), r#"["wallet.*"]"#);
    listen(&node, &account, &receiver.url("/stays"), r#"["wallet.*"]"#);
    let third = create_request(&account, &receiver.url("/"), r#"["wallet.*"]"#);
    let denied = node.send(&third).expect_error(409, "AP-1006");
    assert_eq!(denied.text("/error/details/rule"), "too_many_webhooks");
    node.send(&Request::new("DELETE", path(&gone, "")).bearer(&account.api_key)).expect(204);
    node.send(&Request::get(path(&gone, "")).bearer(&account.api_key)).expect_error(404, "AP-2002");
    account.fund(&node, "1");
    account.fund(&node, "1");
    let received = receiver.wait_for(2);
    assert!(received.iter().all(|one| one.path == "/stays"), "{received:?}");
}

#[test]
fn a_provider_verifies_its_service_by_a_line_under_its_own_host() {
    let node = Node::start();
    let host = Receiver::saying(|_| Say::status(404));
    let (seller, other) = (Account::create(&node, "seller"), Account::create(&node, "other"));
    let url = host.url("/weather");
    let register = |name: &str| {
        seller.register(&node, name, "1", &format!(r#","endpoint_url":"{url}""#)).text("/id").to_owned()
    };
    let (service, sibling) = (register("Weather"), register("Other weather"));
    let request = |id: &str| Request::post(format!("/v1/services/{id}/verify"), "{}");
    let verify = |id: &str| node.send(&request(id).bearer(&seller.api_key)).expect(200).document();
    let asked = verify(&service);
    assert_eq!((asked.at("/verified"), asked.text("/found")), (&false.into(), "http_status"));
    assert_eq!(asked.text("/challenge/url"), host.url("/.well-known/agentpay.txt"));
    let line = asked.text("/challenge/line").to_owned();
    assert_eq!(host.received()[0].path, "/.well-known/agentpay.txt");
    node.send(&request(&service).bearer(&other.api_key)).expect_error(404, "AP-2002");

    // Somebody else's line, or a piece of the right one, proves nothing.
    let wrong = format!("# mine\n{}\n x{line}\n", verify(&sibling).text("/challenge/line"));
    host.say(move |_| Say { body: wrong.clone(), ..Say::status(200) });
    assert_eq!(verify(&service).text("/found"), "no_line");
    host.say(|_| Say { headers: "location: /elsewhere\r\n".into(), ..Say::status(302) });
    assert_eq!(verify(&service).raw(&["http_status"]), "302", "redirects are not followed");

    let right = format!("# our services\r\n  {line}  \r\n");
    host.say(move |_| Say { body: right.clone(), ..Say::status(200) });
    let proved = verify(&service);
    assert_eq!((proved.at("/verified"), proved.text("/found")), (&true.into(), "line"));
    let node = node.kill_and_restart();
    let read = |id: &str| {
        node.send(&Request::get(format!("/v1/services/{id}")).bearer(&other.api_key)).expect(200).document()
    };
    assert_eq!(read(&service).at("/verified"), true);
    assert_eq!(read(&sibling).at("/verified"), false, "each service has its own line");
    // Another URL has to be proved anew.
    let moved = Request::new("PATCH", format!("/v1/services/{service}"))
        .json(format!(r#"{{"endpoint_url":"{}"}}"#, host.url("/moved")));
    let moved = node.send(&moved.bearer(&seller.api_key)).expect(200).document();
    assert_eq!(moved.at("/verified"), false);
}

#[test]
fn a_service_without_a_public_url_cannot_be_looked_at() {
    let node = Node::builder().set("webhooks.loopback_allowed", "false").start();
    let seller = Account::create(&node, "seller");
    let inside = r#","endpoint_url":"http://127.0.0.1:1/""#;
    for (name, more, status) in
        [("Nowhere", "", "no_endpoint_url"), ("Inside", inside, "endpoint_url_not_public")]
    {
        let service = seller.register(&node, name, "1", more).text("/id").to_owned();
        let request = Request::post(format!("/v1/services/{service}/verify"), "{}").bearer(&seller.api_key);
        let refused = node.send(&request).expect_error(409, "AP-1006");
        assert_eq!(refused.text("/error/details/status"), status);
    }
}

#[test]
fn what_a_policy_refuses_is_told() {
    let node = Node::start();
    let receiver = Receiver::start();
    let account = Account::funded(&node, "agent", "100");
    listen(&node, &account, &receiver.url("/denied"), r#"["policy.denied"]"#);
    let policy = Request::new("PUT", format!("/v1/wallets/{}/policy", account.wallet));
    let policy = policy.json(r#"{"max_per_payment":1}"#).bearer(&account.secret_key);
    node.send(&policy).expect(200);
    let payment =
        PaymentRequest { from: &account.wallet, to: ("to_external", "shop"), amount: "2", key: None };
    account.pay(&node, &payment).expect_error(403, "AP-1002");
    let told = receiver.wait_for(1)[0].document();
    assert_eq!((told.text("/type"), told.text("/data/wallet_id")), ("policy.denied", &*account.wallet));
    assert_eq!(told.text("/data/agent_id"), account.id);
    assert_eq!(told.text("/data/denial/error/details/rule"), "max_per_payment");
    assert_eq!(told.raw(&["data", "denial", "error", "details", "needed"]), "2.008");
}
