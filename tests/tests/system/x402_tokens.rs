//! Payment tokens over HTTP: forged ones (security list 9), answers given again byte for byte, keys and their rotation.

use serde_json::Value;
use system_tests::http::{Request, Response};
use system_tests::{Account, Authorized, Node, agentpay, eventually};

fn two_sides(node: &Node) -> (Account, Account, String) {
    let consumer = Account::funded(node, "consumer", "10");
    let provider = Account::create(node, "provider");
    let service = provider.register(node, "Weather", "0.25", r#","sla":{"window_seconds":600}"#);
    let service = service.text("/id").to_owned();
    (consumer, provider, service)
}

/// The same answer again, marked as such.
#[track_caller]
fn assert_replayed(first: &Response, again: &Response) {
    assert_eq!((again.status, again.text()), (first.status, first.text()));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
}

/// Parts of tokens put together anew, tokens of another node, and texts that are none.
#[test]
fn forged_and_foreign_tokens_are_refused() {
    let node = Node::start();
    let (consumer, provider, service) = two_sides(&node);
    let token = consumer.authorize(&node, &service, "").token;
    let second = consumer.authorize(&node, &service, "").token;
    let foreign = {
        let node = Node::start();
        let (consumer, _, service) = two_sides(&node);
        consumer.authorize(&node, &service, "").token
    };
    let parts =
        |token: &str| -> Vec<String> { token["x402_tok_".len()..].split('.').map(str::to_owned).collect() };
    let (own, other, stranger) = (parts(&token), parts(&second), parts(&foreign));
    let joined =
        |header: &str, payload: &str, signature: &str| format!("x402_tok_{header}.{payload}.{signature}");
    // {"alg":"none"}
    let none = "eyJhbGciOiJub25lIn0";
    let forged = [
        joined(&own[0], &own[1], &other[2]),
        joined(&own[0], &other[1], &own[2]),
        joined(&own[0], &stranger[1], &stranger[2]),
        joined(&stranger[0], &own[1], &own[2]),
        joined(none, &own[1], ""),
        joined(none, &own[1], &own[2]),
        joined(&own[0], &own[1], ""),
        joined(&own[0], "", &own[2]),
        joined("", &own[1], &own[2]),
        foreign.clone(),
        token[..token.len() - 1].to_owned(),
        format!("{token}A"),
        format!("{token}="),
        token["x402_tok_".len()..].to_owned(),
        "x402_tok_".to_owned(),
        "x402_tok_..".to_owned(),
        "null".to_owned(),
        "0".repeat(4_000),
        "😀".to_owned(),
        "'; drop table tokens; --".to_owned(),
    ];
    for text in &forged {
        let error = provider.verify(&node, text).expect_error(400, "TOKEN_INVALID");
        assert!(!error.text("/error/details/reason").is_empty(), "{text}");
    }
    // Texts of tokens are no ids.
    provider.token(&node, &token).expect_error(404, "AP-2002");
    for body in [r#"{"payment_token":7}"#, r#"{"payment_token":["t"]}"#, r#"{"token":"t"}"#, "{}", "[]"] {
        node.send(&Request::post("/v1/x402/verify", body).bearer(&provider.api_key))
            .expect_error(400, "AP-2001");
    }
    // None of this touched the genuine one.
    provider.verify(&node, &token).expect(200);
}

#[test]
fn the_token_may_come_in_the_header() {
    let node = Node::start();
    let (consumer, provider, service) = two_sides(&node);
    let token = consumer.authorize(&node, &service, "").token;
    let verify = |body: &str| Request::post("/v1/x402/verify", body).bearer(&provider.api_key);
    let differ = verify(r#"{"payment_token":"x402_tok_a.b.c"}"#).header("x-payment-token", &token);
    node.send(&differ).expect_error(400, "AP-2001");
    let twice = verify("{}").header("x-payment-token", &token).header("x-payment-token", &token);
    node.send(&twice).expect_error(400, "AP-2001");
    let bodiless =
        Request::new("POST", "/v1/x402/verify").bearer(&provider.api_key).header("x-payment-token", &token);
    let verified = node.send(&bodiless).expect(200).document();
    assert!(verified.at("/valid").as_bool().expect("a flag"));
}

#[test]
fn verification_tells_the_provider_what_was_paid_for() {
    let node = Node::start();
    let (consumer, provider, service) = two_sides(&node);
    let authorized = consumer.authorize(&node, &service, "");
    let verified = provider.verify(&node, &authorized.token).expect(200).document();
    assert_eq!(verified.text("/token_id"), authorized.id);
    assert_eq!(verified.text("/service/id"), service);
    assert_eq!(verified.text("/service/slug"), "weather");
    assert_eq!(verified.text("/service/name"), "Weather");
    assert_eq!(verified.raw(&["amount"]), "0.25");
    assert_eq!(verified.text("/currency"), "USD");
    assert_eq!(verified.text("/payer_agent_id"), consumer.id);
    assert_eq!(verified.text("/expires_at"), authorized.answer.document().text("/expires_at"));
}

/// Authorisation, redemption and steps: the first answer again, whatever happened since, after restarts too.
#[test]
fn answers_are_given_again_byte_for_byte_after_restarts() {
    let node = Node::start();
    let (consumer, provider, service) = two_sides(&node);
    let authorize = consumer.authorize_request(&service, r#","idempotency_key":"call-1""#);
    let first = node.send(&authorize).expect(201);
    let authorized = Authorized::of(first.clone());
    assert_replayed(&first, &node.send(&authorize));
    let verify = provider.verify_request(&authorized.token).header("idempotency-key", "redeem-1");
    let verified = node.send(&verify).expect(200);
    assert_replayed(&verified, &node.send(&verify));
    // Another key, and none, redeem a second time: refused.
    let other_key = provider.verify_request(&authorized.token).header("idempotency-key", "redeem-2");
    node.send(&other_key).expect_error(409, "TOKEN_ALREADY_USED");
    provider.verify(&node, &authorized.token).expect_error(409, "TOKEN_ALREADY_USED");
    // What changes later must not show in old answers.
    let change = Request::new("PATCH", format!("/v1/services/{service}"))
        .json(r#"{"name":"Climate","description":"changed","price_per_call":9,"sla":null}"#)
        .bearer(&provider.api_key);
    node.send(&change).expect(200);
    let steps: Vec<(Request, Response)> = ["call-started", "call-accepted", "call-completed"]
        .into_iter()
        .map(|step| {
            (
                provider.step_request(&authorized.id, step),
                provider.step(&node, &authorized.id, step).expect(200),
            )
        })
        .collect();

    let check = |node: &Node| {
        assert_replayed(&first, &node.send(&authorize));
        assert_replayed(&verified, &node.send(&verify));
        for (request, first) in &steps {
            assert_eq!(node.send(request).expect(200).text(), first.text(), "{request:?}");
        }
        assert_eq!(consumer.parts(node), ("9.75".to_owned(), "0".to_owned()));
    };
    check(&node);
    let node = node.kill_and_restart();
    check(&node);
    let node = node.stop().start();
    check(&node);
    let conflicts = [
        consumer.authorize_request(&service, r#","idempotency_key":"call-1","max_amount":20"#),
        consumer.authorize_request(&service, r#","idempotency_key":"call-1","ttl_seconds":20"#),
    ];
    for conflict in conflicts {
        node.send(&conflict).expect_error(422, "AP-1005");
    }
    // The default written out means the same.
    let same = consumer.authorize_request(&service, r#","idempotency_key":"call-1","ttl_seconds":300"#);
    assert_replayed(&first, &node.send(&same));
}

fn published(node: &Node) -> (Vec<String>, Response) {
    let answer = node.send(&Request::get("/.well-known/jwks.json")).expect(200);
    let keys = answer.document().at("/keys").as_array().expect("keys").clone();
    let kids = keys.iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect();
    (kids, answer)
}

#[test]
fn the_public_keys_are_for_everybody_and_for_caches() {
    let node = Node::start();
    let (kids, answer) = published(&node);
    assert_eq!(kids.len(), 1);
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    let key = answer.document().at("/keys/0").clone();
    for (name, value) in [("kty", "OKP"), ("crv", "Ed25519"), ("alg", "EdDSA"), ("use", "sig")] {
        assert_eq!(key[name], value);
    }
    assert_eq!(key["x"].as_str().map(str::len), Some(43));
    assert!(key.get("d").is_none(), "the secret half is not published");
    let node = node.kill_and_restart();
    assert_eq!(published(&node).0, kids, "keys outlive the process");
}

/// A rotation under way changes neither tokens that are out nor answers that are given again.
#[test]
fn keys_are_rotated_with_an_overlap_while_the_node_runs() {
    let node = Node::start();
    let (consumer, provider, service) = two_sides(&node);
    let before = consumer.authorize_request(&service, r#","idempotency_key":"before""#);
    let first = node.send(&before).expect(201);
    let data = node.data().text();
    let rotated = agentpay(&["keys", "rotate", "--active-in", "5", "--json", "--data-dir", &data]);
    assert_eq!(rotated.code, Some(0), "{}", rotated.stderr);
    let states = |output: &str| -> Vec<String> {
        let lines: Value = serde_json::from_str(output).expect("JSON");
        lines
            .as_array()
            .expect("lines")
            .iter()
            .map(|line| line["state"].as_str().expect("a state").to_owned())
            .collect()
    };
    assert_eq!(states(&rotated.stdout), ["signing", "waiting"]);
    let (kids, _) = published(&node);
    assert_eq!(kids.len(), 2, "the new key is published before it signs");
    let second = agentpay(&["keys", "rotate", "--active-in", "5", "--data-dir", &data]);
    assert_eq!(second.code, Some(1), "one rotation at a time: {}", second.stdout);

    let header = |token: &str| token.split('.').next().expect("a header").to_owned();
    let old = Authorized::of(first.clone()).token;
    let new = eventually("the new key to sign", || {
        let tried = consumer.authorize(&node, &service, "");
        if header(&tried.token) == header(&old) {
            consumer.cancel(&node, &tried.id).expect(200);
            return None;
        }
        Some(tried.token)
    });
    assert_replayed(&first, &node.send(&before));
    provider.verify(&node, &old).expect(200);
    provider.verify(&node, &new).expect(200);

    let node = node.kill_and_restart();
    assert_replayed(&first, &node.send(&before));
    assert_eq!(published(&node).0, kids);
    let listed = agentpay(&["keys", "list", "--json", "--data-dir", &data]);
    assert_eq!(states(&listed.stdout), ["retired", "signing"]);
    for secret in ["token.keys", "seed"] {
        assert!(!node.output().contains(secret), "{}", node.output());
    }
}

#[test]
fn damaged_keys_stop_the_start_and_lost_ones_are_made_anew() {
    let node = Node::start();
    let (consumer, provider, service) = two_sides(&node);
    let token = consumer.authorize(&node, &service, r#","ttl_seconds":3"#);
    let builder = node.kill();
    let path = builder.data_dir().path().join("token.keys");
    let good = std::fs::read(&path).expect("the file of keys");
    let mut bad = good.clone();
    bad[30] ^= 1;
    std::fs::write(&path, bad).expect("written");
    let exited = builder.clone().try_start().map(drop).expect_err("damaged keys");
    assert_eq!(exited.code, Some(9), "{}", exited.output);
    std::fs::remove_file(&path).expect("removed");
    let node = builder.start();
    assert!(node.output().contains("new ones were made"), "{}", node.output());
    provider.verify(&node, &token.token).expect_error(400, "TOKEN_INVALID");
    consumer.wait_for_status(&node, &token.id, "expired");
    assert_eq!(consumer.parts(&node), ("10".to_owned(), "0".to_owned()));
}
