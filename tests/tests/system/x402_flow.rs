//! The x402 flow between a consumer, a provider that is a process of its own, and the node: money, states, endings.

use system_tests::http::{Request, Response};
use system_tests::{Account, Document, Node, Provider};

/// A consumer with 10, a provider with nothing, and the provider's service at 0.25 a call.
struct Market {
    node: Node,
    consumer: Account,
    provider: Account,
    service: String,
}

impl Market {
    /// `more` are further members of the registration.
    fn open(node: Node, more: &str) -> Market {
        let consumer = Account::funded(&node, "consumer", "10");
        let provider = Account::create(&node, "provider");
        let service = provider.register(&node, "Weather", "0.25", more).text("/id").to_owned();
        Market { node, consumer, provider, service }
    }

    fn assert_parts(&self, available: &str, held: &str, earned: &str) {
        assert_eq!(self.consumer.parts(&self.node), (available.to_owned(), held.to_owned()), "consumer");
        assert_eq!(self.provider.parts(&self.node), (earned.to_owned(), "0".to_owned()), "provider");
    }
}

fn call(token: &str) -> Request {
    Request::get("/weather?city=Bern").header("x-payment-token", token)
}

#[test]
fn a_call_is_offered_paid_delivered_and_settled() {
    let market = Market::open(Node::start(), r#","sla":{"window_seconds":600}"#);
    let (node, consumer) = (&market.node, &market.consumer);
    let seller = Provider::start(node, &market.provider, &market.service, false);

    let offer = seller.call(&Request::get("/weather?city=Bern")).expect(402).document();
    assert_eq!(offer.text("/service_id"), market.service);
    assert_eq!(offer.raw(&["price_per_call"]), "0.25");

    let authorized = consumer.authorize(node, &market.service, "");
    market.assert_parts("9.75", "0.25", "0");

    let delivered = seller.call(&call(&authorized.token)).expect(200).document();
    assert_eq!(delivered.text("/weather/city"), "Bern");
    assert_eq!(delivered.text("/token_id"), authorized.id);
    market.assert_parts("9.75", "0", "0.25");

    let token = consumer.token(node, &authorized.id).expect(200).document();
    assert_eq!(token.text("/status"), "settled");
    let payment_id = delivered.text("/payment_id");
    assert_eq!(token.text("/payment_id"), payment_id);
    for times in [["created_at", "verified_at"], ["verified_at", "started_at"], ["started_at", "accepted_at"]]
    {
        let [earlier, later] = times.map(|name| token.text(&format!("/{name}")).to_owned());
        assert!(earlier <= later, "{times:?}: {earlier} {later}");
    }

    // The settlement is a payment like any other, for both sides.
    for party in [consumer, &market.provider] {
        let payment = party.payment(node, payment_id).expect(200).document();
        assert_eq!((payment.text("/id"), payment.text("/status")), (payment_id, "completed"));
        assert_eq!(payment.raw(&["amount"]), "0.25");
        assert_eq!(payment.raw(&["total_debited"]), "0.25");
        assert_eq!(payment.text("/from_wallet_id"), consumer.wallet);
        assert_eq!(payment.text("/to_wallet_id"), market.provider.wallet);
        assert_eq!(payment.text("/token_id"), authorized.id);
        let listed = node.send(&Request::get("/v1/payments").bearer(&party.api_key)).expect(200);
        assert!(listed.text().contains(payment_id), "{}", listed.text());
    }

    // The same token again buys nothing.
    let again = seller.call(&call(&authorized.token)).expect(402).document();
    assert_eq!(again.text("/error/code"), "TOKEN_ALREADY_USED");
    market.assert_parts("9.75", "0", "0.25");
}

#[test]
fn a_breached_sla_gives_the_money_back_by_itself() {
    let market = Market::open(Node::start(), r#","sla":{"max_latency_ms":300}"#);
    let (node, consumer) = (&market.node, &market.consumer);
    let seller = Provider::start(node, &market.provider, &market.service, true);
    let authorized = consumer.authorize(node, &market.service, "");
    let answer = seller.call(&call(&authorized.token)).expect(503).document();
    assert_eq!(answer.text("/token_id"), authorized.id);

    let token = consumer.wait_for_status(node, &authorized.id, "sla_breached");
    assert!(token.at("/payment_id").is_null());
    market.assert_parts("10", "0", "0");

    // Too late is too late, whatever is tried.
    for step in ["call-started", "call-accepted", "call-completed"] {
        let error = market.provider.step(node, &authorized.id, step).expect_error(409, "AP-1006");
        assert_eq!(error.text("/error/details/status"), "sla_breached", "{step}");
    }
    market.assert_parts("10", "0", "0");
}

#[test]
fn what_is_not_redeemed_in_time_goes_back_by_itself() {
    let market = Market::open(Node::start(), "");
    let (node, consumer) = (&market.node, &market.consumer);
    let authorized = consumer.authorize(node, &market.service, r#","ttl_seconds":1"#);
    market.assert_parts("9.75", "0.25", "0");
    consumer.wait_for_status(node, &authorized.id, "expired");
    market.assert_parts("10", "0", "0");
    let error = market.provider.verify(node, &authorized.token).expect_error(410, "TOKEN_EXPIRED");
    assert!(error.text("/error/details/expired_at").ends_with('Z'));
    consumer.cancel(node, &authorized.id).expect_error(409, "AP-1006");
    market.assert_parts("10", "0", "0");
}

#[test]
fn what_is_redeemed_and_abandoned_goes_back_by_itself() {
    let node = Node::builder()
        .set("x402.token_start_within_seconds", "1")
        .set("x402.token_complete_within_seconds", "1")
        .start();
    let market = Market::open(node, "");
    let (node, consumer, provider) = (&market.node, &market.consumer, &market.provider);
    let never_started = consumer.authorize(node, &market.service, "");
    provider.verify(node, &never_started.token).expect(200);
    let never_completed = consumer.authorize(node, &market.service, "");
    provider.verify(node, &never_completed.token).expect(200);
    provider.step(node, &never_completed.id, "call-started").expect(200);
    for token in [&never_started, &never_completed] {
        consumer.wait_for_status(node, &token.id, "refunded");
    }
    market.assert_parts("10", "0", "0");
    provider.step(node, &never_started.id, "call-started").expect_error(409, "AP-1006");
}

#[test]
fn a_consumer_takes_back_what_nobody_redeemed() {
    let market = Market::open(Node::start(), "");
    let (node, consumer, provider) = (&market.node, &market.consumer, &market.provider);
    let authorized = consumer.authorize(node, &market.service, "");
    // Neither the provider nor anybody else may.
    provider.cancel(node, &authorized.id).expect_error(404, "AP-2002");
    let first = consumer.cancel(node, &authorized.id).expect(200);
    assert_eq!(first.document().text("/status"), "cancelled");
    assert_eq!(consumer.cancel(node, &authorized.id).expect(200).text(), first.text());
    market.assert_parts("10", "0", "0");
    let error = provider.verify(node, &authorized.token).expect_error(409, "AP-1006");
    assert_eq!(error.text("/error/details/status"), "cancelled");

    let redeemed = consumer.authorize(node, &market.service, "");
    provider.verify(node, &redeemed.token).expect(200);
    let error = consumer.cancel(node, &redeemed.id).expect_error(409, "AP-1006");
    assert_eq!(error.text("/error/details/status"), "verified");
    market.assert_parts("9.75", "0.25", "0");
}

#[test]
fn steps_have_an_order_and_are_answered_again() {
    let market = Market::open(Node::start(), r#","sla":{"window_seconds":600}"#);
    let (node, consumer, provider) = (&market.node, &market.consumer, &market.provider);
    let authorized = consumer.authorize(node, &market.service, "");
    let steps = ["call-started", "call-accepted", "call-completed"];
    for step in steps {
        let error = provider.step(node, &authorized.id, step).expect_error(409, "AP-1006");
        assert_eq!(error.text("/error/details/status"), "reserved");
    }
    provider.verify(node, &authorized.token).expect(200);
    provider.verify(node, &authorized.token).expect_error(409, "TOKEN_ALREADY_USED");
    for later in &steps[1..] {
        provider.step(node, &authorized.id, later).expect_error(409, "AP-1006");
    }
    let mut firsts = Vec::new();
    for (step, status) in steps.into_iter().zip(["started", "accepted", "settled"]) {
        // The consumer cannot report for the provider, and a stranger sees no token at all.
        consumer.step(node, &authorized.id, step).expect_error(404, "AP-2002");
        let first = provider.step(node, &authorized.id, step).expect(200);
        assert_eq!(first.document().text("/status"), status);
        firsts.push((step, first));
        for (earlier, first) in &firsts {
            let again = provider.step(node, &authorized.id, earlier).expect(200);
            assert_eq!(again.text(), first.text(), "{earlier} after {step}");
        }
    }
    market.assert_parts("9.75", "0", "0.25");
    // No step is left out.
    let short = consumer.authorize(node, &market.service, "");
    provider.verify(node, &short.token).expect(200);
    provider.step(node, &short.id, "call-started").expect(200);
    let error = provider.step(node, &short.id, "call-completed").expect_error(409, "AP-1006");
    assert_eq!(error.text("/error/details/status"), "started");
}

#[test]
fn a_token_is_for_its_own_provider_and_consumer() {
    let market = Market::open(Node::start(), "");
    let (node, consumer, provider) = (&market.node, &market.consumer, &market.provider);
    let stranger = Account::funded(node, "stranger", "5");
    let other_service = stranger.register(node, "Other", "0.25", "").text("/id").to_owned();
    let authorized = consumer.authorize(node, &market.service, "");
    stranger.verify(node, &authorized.token).expect_error(404, "AP-2002");
    stranger.token(node, &authorized.id).expect_error(404, "AP-2002");
    stranger.cancel(node, &authorized.id).expect_error(404, "AP-2002");
    for step in ["call-started", "call-accepted", "call-completed"] {
        stranger.step(node, &authorized.id, step).expect_error(404, "AP-2002");
    }
    // Whoever can read the token hears that the step is the other side's, not that there is no token.
    let told = |answer: Response, words: &str| {
        let message = answer.expect_error(404, "AP-2002").text("/error/message").to_owned();
        assert!(message.contains(words), "{message}");
    };
    told(consumer.verify(node, &authorized.token), "service of another agent");
    told(consumer.step(node, &authorized.id, "call-started"), "provider alone");
    told(provider.cancel(node, &authorized.id), "consumer alone");
    // Nobody pays from somebody else's wallet.
    let body = format!(r#"{{"from_wallet_id":"{}"}}"#, consumer.wallet);
    let path = format!("/v1/services/{other_service}/authorize");
    node.send(&Request::post(path, body).bearer(&stranger.api_key)).expect_error(404, "AP-1001");
    for party in [consumer, provider] {
        party.token(node, &authorized.id).expect(200);
    }
    let listed = |account: &Account, query: &str| -> Document {
        node.send(&Request::get(format!("/v1/x402/tokens{query}")).bearer(&account.api_key))
            .expect(200)
            .document()
    };
    let count = |document: &Document| document.at("/tokens").as_array().expect("a list").len();
    assert_eq!(count(&listed(consumer, "")), 1);
    assert_eq!(count(&listed(consumer, "?role=provider")), 0);
    assert_eq!(count(&listed(provider, "?role=provider&status=reserved")), 1);
    assert_eq!(count(&listed(provider, "?role=provider&status=settled")), 0);
    assert_eq!(count(&listed(&stranger, "?role=provider")), 0);
    assert_eq!(listed(provider, "?role=provider").text("/tokens/0/token_id"), authorized.id);
}

#[test]
fn denials_of_an_authorisation_say_why_and_hold_nothing() {
    let market = Market::open(Node::start(), "");
    let (node, consumer) = (&market.node, &market.consumer);
    let send = |service: &str, more: &str| node.send(&consumer.authorize_request(service, more));
    let error = send(&market.service, r#","max_amount":0.2"#).expect_error(402, "AP-1001");
    assert_eq!(error.text("/error/details/reason"), "price_above_maximum");
    assert_eq!(error.raw(&["error", "details", "price"]), "0.25");
    send("svc_00000000000000000000000000", "").expect_error(404, "AP-2002");
    send("no-such-slug", "").expect_error(404, "AP-2002");
    send(&market.service, r#","ttl_seconds":3601"#).expect_error(400, "AP-2001");
    send(&market.service, r#","max_amount":"1e3""#).expect_error(400, "AP-2001");

    let dear = market.provider.register(node, "Dear", "10.01", "").text("/id").to_owned();
    let error = send(&dear, "").expect_error(402, "AP-1001");
    assert_eq!(error.text("/error/details/reason"), "insufficient_balance");
    assert_eq!(error.raw(&["error", "details", "needed"]), "10.01");
    // A call has no fee on top, and a smaller amount cannot be asked for.
    assert!(error.text("/error/message").contains("price of the call"));
    assert!(!error.text("/error/next_actions/0").contains("fee"));
    market.assert_parts("10", "0", "0");

    let freeze = format!("/v1/wallets/{}/freeze", consumer.wallet);
    node.send(&Request::post(freeze, "{}").bearer(&consumer.secret_key)).expect(200);
    let error = send(&market.service, "").expect_error(409, "AP-1001");
    assert_eq!(error.text("/error/details/reason"), "wallet_frozen");

    // One's own service from one's own wallet moves nothing.
    market.provider.fund(node, "1");
    node.send(&market.provider.authorize_request(&market.service, "")).expect_error(400, "AP-2001");
    // By slug it is the same service.
    let other = Account::funded(node, "other", "1");
    other.authorize(node, "weather", "");
}

/// A node without an index says that it has no lists; what it sells, and the ends of its tokens after a crash, need none.
#[test]
fn without_an_index_calls_are_sold_and_lists_are_refused() {
    let market = Market::open(Node::builder().set("history.enabled", "false").start(), "");
    let Market { node, consumer, provider, service } = market;
    let authorized = consumer.authorize(&node, &service, "");
    provider.verify(&node, &authorized.token).expect(200);
    for step in ["call-started", "call-accepted"] {
        provider.step(&node, &authorized.id, step).expect(200);
    }
    let completed = provider.step(&node, &authorized.id, "call-completed").expect(200);
    for path in [
        "/v1/x402/tokens".to_owned(),
        "/v1/payments".to_owned(),
        format!("/v1/wallets/{}/entries", consumer.wallet),
    ] {
        let error = node.send(&Request::get(path).bearer(&consumer.api_key)).expect_error(409, "AP-1006");
        assert_eq!(error.text("/error/details/status"), "no_history_index");
        assert_eq!(error.at("/error/retryable"), false);
    }
    let node = node.kill_and_restart();
    let again = provider.step(&node, &authorized.id, "call-completed").expect(200);
    assert_eq!(again.text(), completed.text());
    assert_eq!(consumer.token(&node, &authorized.id).expect(200).document().text("/status"), "settled");
}
