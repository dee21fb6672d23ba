//! The marketplace as providers fill it and consumers browse it.

use std::sync::Barrier;

use system_tests::http::{Request, Response};
use system_tests::{ADMIN_TOKEN, Account, Document, Node, eventually};

fn list(node: &Node, reader: &Account, query: &str) -> Document {
    node.send(&Request::get(format!("/v1/services{query}")).bearer(&reader.api_key)).expect(200).document()
}

fn names(document: &Document) -> Vec<String> {
    let services = document.at("/services").as_array().expect("a list");
    services.iter().map(|service| service["name"].as_str().expect("a name").to_owned()).collect()
}

fn change(node: &Node, provider: &Account, service: &str, body: &str) -> Response {
    node.send(&Request::new("PATCH", format!("/v1/services/{service}")).json(body).bearer(&provider.api_key))
}

fn verify_as_operator(node: &Node, service: &str) -> Response {
    node.send(&Request::post(format!("/v1/ops/services/{service}/verify"), "{}").bearer(ADMIN_TOKEN))
}

#[test]
fn a_service_is_registered_read_changed_and_deactivated() {
    let node = Node::start();
    let provider = Account::create(&node, "provider");
    let reader = Account::create(&node, "reader");
    let registered = provider.register(
        &node,
        "Market Data, Inc.",
        "0.005",
        r#","category":"data","endpoint_url":"HTTPS://API.example.com:443/feed","sla":{"max_latency_ms":1500,"accept_within_seconds":1},"metadata":{"region": "eu"}"#,
    );
    for (pointer, text) in [
        ("/slug", "market-data-inc"),
        ("/status", "active"),
        ("/category", "data"),
        ("/endpoint_url", "https://api.example.com/feed"),
        ("/provider_agent_id", provider.id.as_str()),
        ("/wallet_id", provider.wallet.as_str()),
        ("/metadata/region", "eu"),
        ("/currency", "USD"),
    ] {
        assert_eq!(registered.text(pointer), text, "{pointer}");
    }
    assert_eq!(registered.raw(&["trust_score"]), "50");
    assert_eq!(registered.raw(&["verified"]), "false");
    assert_eq!(registered.raw(&["sla"]), r#"{"max_latency_ms":1500,"accept_within_seconds":1}"#);
    let id = registered.text("/id");
    let read = |name: &str| node.send(&Request::get(format!("/v1/services/{name}")).bearer(&reader.api_key));
    assert_eq!(read(id).expect(200).text(), read("market-data-inc").expect(200).text());
    for nothing in ["svc_00000000000000000000000000", "no-such-service", "MARKET-DATA-INC", "%00"] {
        read(nothing).expect_error(404, "AP-2002");
    }

    let changed = change(
        &node,
        &provider,
        id,
        r#"{"price_per_call":"0.01","category":null,"sla":{"window_seconds":2}}"#,
    );
    let changed = changed.expect(200).document();
    assert_eq!(changed.raw(&["price_per_call"]), "0.01");
    assert!(changed.at("/category").is_null());
    assert_eq!(changed.raw(&["sla"]), r#"{"max_latency_ms":2000,"window_seconds":2}"#);
    assert_eq!(changed.text("/endpoint_url"), "https://api.example.com/feed");
    change(&node, &reader, id, r#"{"price_per_call":9}"#).expect_error(404, "AP-2002");
    let error = change(&node, &provider, id, r#"{"price_per_call":0}"#).expect_error(400, "AP-2001");
    assert_eq!(error.text("/error/details/path"), "$.price_per_call");
    change(&node, &provider, id, r#"{"currency":"EUR"}"#).expect_error(400, "AP-2001");

    let delete = |account: &Account| {
        node.send(&Request::new("DELETE", format!("/v1/services/{id}")).bearer(&account.api_key))
    };
    delete(&reader).expect_error(404, "AP-2002");
    let open = {
        reader.fund(&node, "1");
        reader.authorize(&node, id, "")
    };
    delete(&provider).expect(204);
    delete(&provider).expect(204);
    assert_eq!(read(id).expect(200).document().text("/status"), "inactive");
    let error = node.send(&reader.authorize_request(id, "")).expect_error(409, "AP-1006");
    assert_eq!(error.text("/error/details/status"), "inactive");
    // Open tokens live on.
    provider.verify(&node, &open.token).expect(200);
    provider.step(&node, &open.id, "call-started").expect(200);
    change(&node, &provider, id, r#"{"status":"active"}"#).expect(200);
    reader.authorize(&node, id, "");
}

#[test]
fn lists_are_filtered_sorted_and_paged() {
    let node = Node::start();
    let (data, other) = (Account::create(&node, "data"), Account::create(&node, "other"));
    for (provider, name, price, category) in [
        (&data, "Alpha Feed", "0.3", "data"),
        (&data, "Beta Feed", "0.1", "data"),
        (&other, "Gamma Model", "0.2", "llm"),
    ] {
        let service = provider.register(&node, name, price, &format!(r#","category":"{category}""#));
        if name == "Beta Feed" {
            verify_as_operator(&node, service.text("/id")).expect(200);
        }
    }
    let hidden = other.register(&node, "Hidden", "1", "");
    node.send(
        &Request::new("DELETE", format!("/v1/services/{}", hidden.text("/slug"))).bearer(&other.api_key),
    )
    .expect(204);
    // The list may be five seconds old.
    eventually("the list", || {
        let names = names(&list(&node, &data, ""));
        (names == ["Gamma Model", "Beta Feed", "Alpha Feed"]).then_some(())
    });
    let by_provider = format!("?provider={}", other.id);
    for (query, expected) in [
        ("?sort=new", &["Gamma Model", "Beta Feed", "Alpha Feed"][..]),
        ("?sort=price", &["Beta Feed", "Gamma Model", "Alpha Feed"]),
        ("?category=data", &["Beta Feed", "Alpha Feed"]),
        ("?category=data&verified=true", &["Beta Feed"]),
        ("?verified=false", &["Gamma Model", "Beta Feed", "Alpha Feed"]),
        ("?q=FEED", &["Beta Feed", "Alpha Feed"]),
        ("?q=gamma%20m", &["Gamma Model"]),
        (&by_provider, &["Gamma Model"]),
        ("?category=none", &[]),
        ("?limit=1&offset=1", &["Beta Feed"]),
        ("?offset=99", &[]),
    ] {
        assert_eq!(names(&list(&node, &data, query)), expected, "{query}");
    }
    assert_eq!(list(&node, &data, "?limit=1").raw(&["total"]), "3");
    // By cursor as every other list.
    let (mut paged, mut query) = (Vec::new(), "?sort=price&limit=2".to_owned());
    loop {
        let page = list(&node, &data, &query);
        paged.extend(names(&page));
        match page.at("/next_cursor").as_str() {
            Some(cursor) => query = format!("?sort=price&limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(paged, ["Beta Feed", "Gamma Model", "Alpha Feed"]);
    assert!(list(&node, &data, "?offset=99").at("/next_cursor").is_null());
    assert_eq!(names(&list(&node, &data, "?created_after=2020-01-01T00:00:00Z")).len(), 3);
    assert_eq!(names(&list(&node, &data, "?created_before=2020-01-01T00:00:00Z")).len(), 0);
    assert_eq!(list(&node, &data, "?category=data&limit=1").raw(&["total"]), "2");
    for wrong in [
        "?limit=0",
        "?limit=101",
        "?sort=best",
        "?verified=maybe",
        "?offset=-1",
        "?provider=x",
        "?q=",
        "?cursor=x",
        "?cursor=svcs_1&offset=1",
        "?created_after=yesterday",
        "?page=1",
    ] {
        let request = Request::get(format!("/v1/services{wrong}")).bearer(&data.api_key);
        node.send(&request).expect_error(400, "AP-2001");
    }
    let strings =
        Request::get("/v1/services?sort=price&limit=1").header("accept", "application/json; amounts=string");
    let strings = node.send(&strings.bearer(&data.api_key)).expect(200).document();
    assert_eq!(strings.text("/services/0/price_per_call"), "0.1");
}

#[test]
fn what_a_url_costs_is_told_with_unverified_services_marked() {
    let node = Node::start();
    let (honest, squatter) = (Account::create(&node, "honest"), Account::create(&node, "squatter"));
    let url = |url: &str| format!(r#","endpoint_url":"{url}""#);
    let first = honest.register(&node, "Weather", "0.2", &url("https://api.example.com/weather"));
    squatter.register(&node, "Cheap Weather", "0.1", &url("https://API.example.com/weather"));
    let ask = |asked: &str| -> Document {
        let request = Request::get(format!("/v1/x402/requirements?url={asked}")).bearer(&honest.api_key);
        node.send(&request).expect(200).document()
    };
    let both = ask("https://api.example.com/weather");
    assert_eq!(both.at("/services").as_array().map(Vec::len), Some(2));
    for place in 0..2 {
        assert_eq!(both.at(&format!("/services/{place}/verified")), false);
        assert!(both.text(&format!("/services/{place}/warning")).contains("Unverified"));
    }
    verify_as_operator(&node, first.text("/id")).expect(200);
    let sorted = ask("https%3A%2F%2Fapi.example.com%3A443%2Fweather%3Fcity%3DBern");
    assert_eq!(sorted.text("/services/0/service_id"), first.text("/id"));
    assert_eq!(sorted.at("/services/0/verified"), true);
    assert!(sorted.at("/services/0/warning").is_null());
    assert_eq!(sorted.at("/services/1/verified"), false);
    // An operator that was deceived takes its word back.
    let path = format!("/v1/ops/services/{}/verify", first.text("/id"));
    let taken_back = node.send(&Request::post(path, r#"{"verified":false}"#).bearer(ADMIN_TOKEN)).expect(200);
    assert_eq!(taken_back.document().at("/verified"), false);
    verify_as_operator(&node, first.text("/id")).expect(200);
    assert_eq!(
        sorted.text("/services/0/authorize/path"),
        format!("/v1/services/{}/authorize", first.text("/id"))
    );
    let free = ask("https://api.example.com/free");
    assert_eq!((free.raw(&["payment_required"]), free.raw(&["total"])), ("false".to_owned(), "0".to_owned()));
    // Another address needs another look by the operator.
    let moved =
        change(&node, &honest, first.text("/id"), r#"{"endpoint_url":"https://api.example.com/moved"}"#);
    assert_eq!(moved.expect(200).document().raw(&["verified"]), "false");
    assert_eq!(ask("https://api.example.com/weather").at("/services").as_array().map(Vec::len), Some(1));
    for wrong in ["", "?url=", "?url=weather", "?url=javascript:alert(1)", "?url=a&url=b", "?uri=x"] {
        let request = Request::get(format!("/v1/x402/requirements{wrong}")).bearer(&honest.api_key);
        node.send(&request).expect_error(400, "AP-2001");
    }
}

/// Names decide slugs, under concurrency and after a restart.
#[test]
fn one_name_is_one_service() {
    const PROVIDERS: usize = 8;
    let node = Node::start();
    let providers: Vec<Account> =
        (0..PROVIDERS).map(|at| Account::create(&node, &format!("p{at}"))).collect();
    for round in 0..10 {
        let barrier = Barrier::new(PROVIDERS);
        let spellings = ["Name {}", "name {}", "NAME-{}", "name_{}"];
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let threads: Vec<_> = providers
                .iter()
                .enumerate()
                .map(|(at, provider)| {
                    let name = spellings[at % spellings.len()].replace("{}", &round.to_string());
                    let (node, barrier) = (&node, &barrier);
                    scope.spawn(move || {
                        let body = format!(r#"{{"name":"{name}","price_per_call":1}}"#);
                        barrier.wait();
                        node.send(&Request::post("/v1/services", body).bearer(&provider.api_key)).status
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let created = statuses.iter().filter(|status| **status == 201).count();
        assert_eq!(created, 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 201 | 409)), "{statuses:?}");
    }
    let node = node.kill_and_restart();
    let body = r#"{"name":"Name 3","price_per_call":1}"#;
    let taken = node
        .send(&Request::post("/v1/services", body).bearer(&providers[0].api_key))
        .expect_error(409, "AP-2003");
    assert_eq!(taken.text("/error/details/slug"), "name-3");
}

#[test]
fn a_registration_is_answered_again_as_it_was() {
    let node = Node::start();
    let provider = Account::create(&node, "provider");
    let body = r#"{"name":"Weather","price_per_call":1,"endpoint_url":"https://a.example/"}"#;
    let register =
        Request::post("/v1/services", body).bearer(&provider.api_key).header("idempotency-key", "reg");
    let first = node.send(&register).expect(201);
    let id = first.document().text("/id").to_owned();
    change(&node, &provider, &id, r#"{"name":"Climate","price_per_call":2}"#).expect(200);
    verify_as_operator(&node, &id).expect(200);
    let check = |node: &Node| {
        let again = node.send(&register).expect(201);
        assert_eq!(again.text(), first.text());
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
    };
    check(&node);
    let node = node.kill_and_restart();
    check(&node);
    let node = node.stop().start();
    check(&node);
    let other = Request::post("/v1/services", body.replace('1', "3")).bearer(&provider.api_key);
    node.send(&other.header("idempotency-key", "reg")).expect_error(422, "AP-1005");
}

/// Security list 7 and 8: text of providers is shown to everybody.
#[test]
fn texts_that_deceive_are_refused() {
    let node = Node::start();
    let provider = Account::create(&node, "provider");
    for member in [
        r#""name":"Wea\u200bther""#,
        r#""name":"Weather\u202e""#,
        r#""name":" ""#,
        r#""name":"a\nb""#,
        r#""name":"W","description":"\u2066x""#,
        r#""name":"W","category":"da\u00adta""#,
        r#""name":"W","endpoint_url":"javascript:alert(1)""#,
        r#""name":"W","endpoint_url":"https://bank.example@evil.example/""#,
        r#""name":"W","endpoint_url":"https://a.example/\u202e""#,
        r#""name":"W","endpoint_url":"//a.example/""#,
    ] {
        let body = format!(r#"{{{member},"price_per_call":1}}"#);
        let error = node
            .send(&Request::post("/v1/services", body).bearer(&provider.api_key))
            .expect_error(400, "AP-2001");
        assert!(error.text("/error/details/path").starts_with("$."), "{member}");
    }
    // Decomposed and composed spellings of a name are one name.
    provider.register(&node, "Caf\\u00e9", "1", "");
    let decomposed = r#"{"name":"Cafe\u0301","price_per_call":1}"#;
    node.send(&Request::post("/v1/services", decomposed).bearer(&provider.api_key))
        .expect_error(409, "AP-2003");
}

#[test]
fn a_service_is_paid_into_a_wallet_of_its_currency() {
    let node = Node::start();
    let provider = Account::create(&node, "provider");
    let other = Account::create(&node, "other");
    let send = |more: &str| {
        let body = format!(r#"{{"name":"Euro","price_per_call":1{more}}}"#);
        node.send(&Request::post("/v1/services", body).bearer(&provider.api_key))
    };
    let error = send(r#","currency":"EUR""#).expect_error(404, "AP-1001");
    assert!(error.text("/error/message").contains("EUR"));
    send(r#","currency":"ZZZ""#).expect_error(400, "AP-2001");
    send(&format!(r#","wallet_id":"{}""#, other.wallet)).expect_error(404, "AP-1001");
    send(&format!(r#","currency":"EUR","wallet_id":"{}""#, provider.wallet)).expect_error(400, "AP-2001");
    let open = Request::post("/v1/wallets", r#"{"currency":"EUR"}"#).bearer(&provider.secret_key);
    let wallet = node.send(&open).expect(201).document().text("/id").to_owned();
    assert_eq!(send(r#","currency":"EUR""#).expect(201).document().text("/wallet_id"), wallet);
    // A consumer pays in the service's currency.
    other.fund(&node, "5");
    let error = node.send(&other.authorize_request("euro", "")).expect_error(400, "AP-2001");
    assert_eq!(error.text("/error/details/path"), "$.from_wallet_id");
}

/// An agent of an operator of its own.
fn agent_of(node: &Node, operator: &str, funds: &str) -> Account {
    let body = format!(r#"{{"name":"{operator}","operator":"{operator}"}}"#);
    let document = node.send(&Request::post("/v1/agents", body)).expect(201).document();
    let text = |pointer: &str| document.text(pointer).to_owned();
    let account = Account {
        id: text("/id"),
        api_key: text("/api_key"),
        secret_key: text("/secret_key"),
        wallet: text("/wallet_id"),
    };
    account.fund(node, funds);
    account
}

#[test]
fn trust_follows_settled_and_breached_calls_and_survives_restarts() {
    let node = Node::start();
    let provider = agent_of(&node, "provider", "1");
    let consumers = [agent_of(&node, "first", "10"), agent_of(&node, "second", "10")];
    let service = provider.register(&node, "Trusted", "0.1", r#","sla":{"max_latency_ms":200}"#);
    let service = service.text("/id").to_owned();
    let read = |node: &Node| {
        let request = Request::get(format!("/v1/services/{service}")).bearer(&provider.api_key);
        node.send(&request).expect(200).document()
    };
    let score = |document: &Document| document.at("/trust_score").as_u64().expect("a score");
    let call = |consumer: &Account, steps: &[&str]| {
        let authorized = consumer.authorize(&node, &service, "");
        provider.verify(&node, &authorized.token).expect(200);
        steps.iter().for_each(|step| drop(provider.step(&node, &authorized.id, step).expect(200)));
        authorized.id
    };
    let whole = ["call-started", "call-accepted", "call-completed"];
    // Calls inside one operator say nothing.
    let colleague = agent_of(&node, "provider", "10");
    call(&colleague, &whole);
    for consumer in &consumers {
        for _ in 0..4 {
            call(consumer, &whole);
        }
    }
    let praised = eventually("praise", || {
        let document = read(&node);
        (document.at("/settled_calls") == 9 && score(&document) > 50).then(|| score(&document))
    });
    // (80 x 50 + 8 calls x 8 x 100) / (80 + 64)
    assert_eq!(praised, 72);
    for consumer in &consumers {
        let token = call(consumer, &whole[..1]);
        consumer.wait_for_status(&node, &token, "sla_breached");
    }
    let blamed = eventually("blame", || {
        let document = read(&node);
        (document.at("/breached_calls") == 2 && score(&document) < praised).then(|| score(&document))
    });
    // (80 x 50 + 64 x 100) / (80 + 64 + 2 calls x 16)
    assert_eq!(blamed, 59);
    let before = read(&node).at("/trust_score").clone();
    // One service, so its score is the provider's; who only buys stays in the middle.
    let standing = |node: &Node, agent: &Account| {
        let profile = node.send(&Request::get("/v1/agents/me").bearer(&agent.api_key)).expect(200);
        profile.document().at("/trust_score").clone()
    };
    assert_eq!((standing(&node, &provider), standing(&node, &colleague)), (before.clone(), 50.into()));
    let node = node.kill_and_restart();
    assert_eq!((read(&node).at("/trust_score"), &standing(&node, &provider)), (&before, &before));
    let node = node.stop().start();
    assert_eq!((read(&node).at("/trust_score"), &standing(&node, &provider)), (&before, &before));
    eventually("the list to be sorted by trust", || {
        let listed = list(&node, &provider, "?sort=trust");
        (listed.at("/services/0/trust_score") == &before).then_some(())
    });
}
