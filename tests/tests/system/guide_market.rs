//! The public guide's marketplace and token sections, run as they stand there with a real shell and a real curl.
//!
//! The first blocks are the guide's own. Those below follow its table of the token's life, which names paths and actors
//! without writing the commands out.

use system_tests::{Account, Document, Node};

use crate::guide::{Terminal, check_id, check_time};

const LIST_SERVICES: &str = r#"curl "$AGENTPAY_BASE_URL/v1/services?category=data&verified=true" \
  -H "Authorization: Bearer $AGENTPAY_API_KEY""#;

const AUTHORIZE: &str = r#"curl -X POST "$AGENTPAY_BASE_URL/v1/services/$SERVICE_ID/authorize" \
  -H "Authorization: Bearer $AGENTPAY_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{"from_wallet_id": "'$WALLET_ID'"}'"#;

const REGISTER: &str = r#"curl -X POST "$AGENTPAY_BASE_URL/v1/services" \
  -H "Authorization: Bearer $AGENTPAY_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "name": "WeatherAPI",
    "description": "Real-time weather data per query",
    "price_per_call": 0.002,
    "currency": "USD",
    "category": "data",
    "endpoint_url": "https://api.example.com/weather"
  }'"#;

const VERIFY: &str = r#"curl -X POST "$AGENTPAY_BASE_URL/v1/x402/verify" \
  -H "Authorization: Bearer $AGENTPAY_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{"payment_token": "'$PAYMENT_TOKEN'"}'"#;

const REQUIREMENTS: &str = r#"curl "$AGENTPAY_BASE_URL/v1/x402/requirements?url=https://api.example.com/weather" \
  -H "Authorization: Bearer $AGENTPAY_API_KEY""#;

const CANCEL: &str = r#"curl -X DELETE "$AGENTPAY_BASE_URL/v1/x402/tokens/$TOKEN_ID" \
  -H "Authorization: Bearer $AGENTPAY_API_KEY""#;

fn report(step: &str) -> String {
    format!(
        r#"curl -X POST "$AGENTPAY_BASE_URL/v1/x402/tokens/$TOKEN_ID/{step}" \
  -H "Authorization: Bearer $AGENTPAY_API_KEY""#
    )
}

/// The members that the guide shows are there; further ones may be.
#[track_caller]
fn has(document: &Document, members: &[&str]) {
    let names = document.names("");
    for member in members {
        assert!(names.contains(member), "{member} is missing in {names:?}");
    }
}

#[test]
fn the_marketplace_and_the_life_of_a_token_work_as_written() {
    let node = Node::start();
    let provider = Account::create(&node, "provider");
    let consumer = Account::funded(&node, "consumer", "1");
    let mut seller = Terminal::open(&node);
    seller.export("AGENTPAY_API_KEY", &provider.api_key);
    let mut buyer = Terminal::open(&node);
    buyer.export("AGENTPAY_API_KEY", &consumer.api_key);
    buyer.export("WALLET_ID", &consumer.wallet);

    let (status, service) = seller.run(REGISTER);
    assert_eq!(status, 201);
    has(&service, &["id", "slug", "status", "trust_score"]);
    check_id(service.text("/id"), "svc_");
    assert_eq!((service.text("/slug"), service.text("/status")), ("weatherapi", "active"));
    assert_eq!(service.raw(&["trust_score"]), "50");
    buyer.export("SERVICE_ID", service.text("/id"));
    let mut operator = Terminal::open(&node);
    operator.export("AGENTPAY_API_KEY", system_tests::ADMIN_TOKEN);
    operator.export("SERVICE_ID", service.text("/id"));
    let (status, _) = operator.run(
        r#"curl -X POST "$AGENTPAY_BASE_URL/v1/ops/services/$SERVICE_ID/verify" -H "Authorization: Bearer $AGENTPAY_API_KEY""#,
    );
    assert_eq!(status, 200);

    let (status, listed) = buyer.run(LIST_SERVICES);
    assert_eq!(status, 200);
    has(&listed, &["services", "total"]);
    assert_eq!(listed.raw(&["total"]), "1");
    let shown = listed.names("/services/0");
    for member in
        ["id", "name", "slug", "price_per_call", "currency", "category", "trust_score", "verified", "status"]
    {
        assert!(shown.contains(&member), "{member} is missing in {shown:?}");
    }
    assert_eq!(listed.at("/services/0/verified"), true);

    let (status, requirements) = buyer.run(REQUIREMENTS);
    assert_eq!(status, 200);
    assert_eq!(requirements.text("/services/0/service_id"), service.text("/id"));

    let (status, authorized) = buyer.run(AUTHORIZE);
    assert_eq!(status, 201);
    has(&authorized, &["token", "token_id", "expires_at", "service_id", "reserved_amount"]);
    assert!(authorized.text("/token").starts_with("x402_tok_"));
    check_id(authorized.text("/token_id"), "tokid_");
    check_time(authorized.text("/expires_at"));
    assert_eq!(authorized.text("/service_id"), service.text("/id"));
    assert_eq!(authorized.raw(&["reserved_amount"]), "0.002");

    seller.export("PAYMENT_TOKEN", authorized.text("/token"));
    seller.export("TOKEN_ID", authorized.text("/token_id"));
    let (status, verified) = seller.run(VERIFY);
    assert_eq!(status, 200);
    has(&verified, &["valid", "token_id", "service", "amount", "currency", "payer_agent_id", "expires_at"]);
    for (step, expected) in
        [("call-started", "started"), ("call-accepted", "accepted"), ("call-completed", "settled")]
    {
        let (status, token) = seller.run(&report(step));
        assert_eq!((status, token.text("/status")), (200, expected));
    }
    assert_eq!(consumer.parts(&node), ("0.998".to_owned(), "0".to_owned()));
    assert_eq!(provider.parts(&node), ("0.002".to_owned(), "0".to_owned()));

    let (_, authorized) = buyer.run(AUTHORIZE);
    buyer.export("TOKEN_ID", authorized.text("/token_id"));
    let (status, cancelled) = buyer.run(CANCEL);
    assert_eq!((status, cancelled.text("/status")), (200, "cancelled"));
    assert_eq!(consumer.parts(&node), ("0.998".to_owned(), "0".to_owned()));
}
