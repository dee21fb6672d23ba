//! What a request may be: amounts, bodies, fields, methods, types, sizes, rates. Every refusal says what to do.

use system_tests::http::Request;
use system_tests::{Account, Node};

fn pay(node: &Node, account: &Account, amount: &str) -> system_tests::http::Response {
    let wallet = &account.wallet;
    let body = format!(r#"{{"from_wallet_id":"{wallet}","to_external":"m","amount":{amount}}}"#);
    node.send(&Request::post("/v1/payments", body).bearer(&account.api_key))
}

/// Security list 3: exact or refused, never something else.
#[test]
fn amounts_are_exact_or_refused() {
    let node = Node::builder().set("ledger.faucet_cap", "1000000000000000").start();
    let account = Account::funded(&node, "amounts", "1000000000000");
    let refused = [
        "1e1000000",
        "1E-28",
        "1e2",
        "1E2",
        "1.0000000000",
        "0.00000000000000000000000000001",
        "1_000",
        "+1",
        "-1",
        "-0",
        "-0.0",
        "١٢",
        "\"١٢\"",
        "NaN",
        "\"NaN\"",
        "Infinity",
        "79228162514264337593543950335",
        "1000000000000000000",
        ".5",
        "5.",
        "\"\"",
        "\" 5\"",
        "\"5 \"",
        "\"+5\"",
        "\"-5\"",
        "\".5\"",
        "\"5.\"",
        "\"1e2\"",
        "\"1_000\"",
        "007",
        "\"007\"",
        "0",
        "0.0",
        "\"0\"",
        "null",
        "true",
        "[]",
        "{}",
        "[5]",
        "\"0x10\"",
        "\"5,00\"",
        "\"\\u00355x\"",
    ];
    for amount in refused {
        let response = pay(&node, &account, amount);
        assert_eq!(response.status, 400, "{amount}: {}", response.text());
        response.expect_error(400, "AP-2001");
    }
    assert_eq!(account.balance(&node).raw(&["available"]), "1000000000000");

    // What is accepted is written back in its shortest form, with the exact fee (0.4 %, half-up at 10^-9).
    let exact = [
        ("5", "5", "0.02"),
        ("5.0", "5", "0.02"),
        ("\"5\"", "5", "0.02"),
        ("5.00", "5", "0.02"),
        ("0.000000001", "0.000000001", "0"),
        ("0.000000125", "0.000000125", "0.000000001"),
        ("0.000000124", "0.000000124", "0"),
        ("0.1", "0.1", "0.0004"),
        ("123456789.123456789", "123456789.123456789", "493827.156493827"),
    ];
    for (amount, shown, fee) in exact {
        let document = pay(&node, &account, amount).expect(201).document();
        assert_eq!(
            (document.raw(&["amount"]).as_str(), document.raw(&["fee"]).as_str()),
            (shown, fee),
            "{amount}"
        );
    }
    // Larger than any balance, but a number that can be booked: a denial, not a mistake.
    pay(&node, &account, "999999999999999999").expect_error(402, "AP-1001");
}

#[test]
fn amounts_are_strings_when_asked_for() {
    let node = Node::start();
    let account = Account::funded(&node, "strings", "100");
    let body = format!(r#"{{"from_wallet_id":"{}","to_external":"m","amount":"5"}}"#, account.wallet);
    let request = Request::post("/v1/payments", body)
        .bearer(&account.api_key)
        .header("accept", "application/json; amounts=string");
    let document = node.send(&request).expect(201).document();
    assert_eq!(document.raw(&["amount"]), "\"5\"");
    assert_eq!(document.raw(&["fee"]), "\"0.02\"");
    assert_eq!(document.raw(&["balance_after", "available"]), "\"94.98\"");
}

#[test]
fn bodies_that_are_not_what_was_asked_for_are_refused_with_their_path() {
    let node = Node::start();
    let account = Account::funded(&node, "bodies", "100");
    let wallet = &account.wallet;
    let rest = format!(r#""from_wallet_id":"{wallet}","to_external":"m""#);
    let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let table: Vec<(String, &str)> = vec![
        (format!(r#"{{{rest},"amount":5,"amuont":5}}"#), "$.amuont"),
        (format!(r#"{{{rest},"amount":5,"amount":5}}"#), "$.amount"),
        (format!(r#"{{{rest},"amount":5,"metadata":{{"a":1,"a":2}}}}"#), "$.metadata.a"),
        (format!(r#"{{{rest},"amount":5,"metadata":[1]}}"#), "$.metadata"),
        (format!(r#"{{{rest},"amount":5,"description":7}}"#), "$.description"),
        (format!(r#"{{{rest},"amount":5,"rail":"teleport"}}"#), "$.rail"),
        (format!(r#"{{{rest},"amount":5,"currency":"usd"}}"#), "$.currency"),
        (format!(r#"{{{rest},"amount":5,"metadata":{}}}"#, nested(16)), ""),
        (format!(r#"{{{rest}}}"#), "$.amount"),
        (format!(r#"{{"from_wallet_id":"{wallet}","amount":5}}"#), ""),
        (format!(r#"{{{rest},"to_wallet_id":"{wallet}","amount":5}}"#), ""),
        (r#"{"from_wallet_id":"wallet_x","to_external":"m","amount":5}"#.to_owned(), "$.from_wallet_id"),
        (format!(r#"{{{rest},"amount":5}} x"#), ""),
        (format!(r#"{{{rest},"amount":5"#), ""),
        (format!(r#"{{{rest},"amount":5,}}"#), ""),
        ("[]".to_owned(), ""),
        ("null".to_owned(), ""),
        (String::new(), ""),
        ("\u{feff}{}".to_owned(), ""),
    ];
    for (body, path) in table {
        let response = node.send(&Request::post("/v1/payments", body.clone()).bearer(&account.api_key));
        assert_eq!(response.status, 400, "{body}: {}", response.text());
        let error = response.expect_error(400, "AP-2001");
        if !path.is_empty() {
            assert_eq!(error.text("/error/details/path"), path, "{body}");
        }
    }
    let mut not_utf8 = Request::post("/v1/payments", "").bearer(&account.api_key);
    not_utf8.body = Some(b"{\"description\":\"\xff\"}".to_vec());
    node.send(&not_utf8).expect_error(400, "AP-2001");
    assert_eq!(account.balance(&node).raw(&["available"]), "100");
}

#[test]
fn depth_16_is_the_deepest_that_is_read() {
    let node = Node::start();
    let account = Account::funded(&node, "depth", "100");
    // The body itself and `metadata` are two levels.
    for (levels, status) in [(16, 201), (17, 400)] {
        let inner = levels - 1;
        let metadata = format!("{}1{}", r#"{"a":"#.repeat(inner), "}".repeat(inner));
        let body = format!(
            r#"{{"from_wallet_id":"{}","to_external":"m","amount":1,"metadata":{metadata}}}"#,
            account.wallet
        );
        let response = node.send(&Request::post("/v1/payments", body).bearer(&account.api_key));
        assert_eq!(response.status, status, "{levels} levels: {}", response.text());
    }
    // Deep enough to overflow a stack that recursed over it.
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    node.send(&Request::post("/v1/payments", deep).bearer(&account.api_key)).expect_error(400, "AP-2001");
    node.send(&Request::get("/healthz")).expect(200);
}

#[test]
fn bodies_have_a_largest_size() {
    let node = Node::start();
    let account = Account::funded(&node, "sizes", "100");
    let body = |bytes: usize| {
        let head = format!(r#"{{"from_wallet_id":"{}","to_external":"m","amount":1"#, account.wallet);
        format!("{head}{}}}", " ".repeat(bytes - head.len() - 1))
    };
    const LIMIT: usize = 64 * 1024;
    node.send(&Request::post("/v1/payments", body(LIMIT)).bearer(&account.api_key)).expect(201);
    let mut connection = node.connect();
    let too_large = Request::post("/v1/payments", body(LIMIT + 1)).bearer(&account.api_key);
    connection.send(&too_large).expect("an answer").expect_error(413, "AP-2004");

    // The announced size is enough to refuse: nothing has to be sent.
    let mut connection = node.connect();
    let head = format!(
        "POST /v1/payments HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: 1000000000\r\n\r\n",
        account.api_key
    );
    connection.write(head.as_bytes()).expect("sent");
    connection.read(false).expect("an answer without a body").expect_error(413, "AP-2004");

    // Chunks are counted as they come.
    let mut connection = node.connect();
    let head = format!(
        "POST /v1/payments HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n",
        account.api_key
    );
    connection.write(head.as_bytes()).expect("sent");
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    // The node may close before it has seen everything; then the rest cannot be written, which is fine.
    for _ in 0..5 {
        if connection.write(chunk.as_bytes()).is_err() {
            break;
        }
    }
    connection.read(false).expect("an answer").expect_error(413, "AP-2004");
    assert_eq!(account.balance(&node).raw(&["available"]), "98.996");
}

#[test]
fn unknown_paths_and_methods_say_so() {
    let node = Node::start();
    let account = Account::create(&node, "paths");
    for path in
        ["/", "/v1", "/v1/nothing", "/v1/payments/", "//v1/payments", "/v1/wallets/x/y/z", "/V1/payments"]
    {
        let response = node.send(&Request::get(path).bearer(&account.api_key));
        assert_eq!(response.status, 404, "{path}: {}", response.text());
        response.expect_error(404, "AP-2002");
    }
    let table = [
        ("DELETE", "/v1/payments", "GET, HEAD, OPTIONS, POST"),
        ("PUT", "/v1/agents", "OPTIONS, POST"),
        ("PATCH", "/v1/wallets", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/healthz", "GET, HEAD, OPTIONS"),
        ("TRACE", "/healthz", "GET, HEAD, OPTIONS"),
        ("BREW", "/healthz", "GET, HEAD, OPTIONS"),
    ];
    for (method, path, allowed) in table {
        let response = node.send(&Request::new(method, path).bearer(&account.api_key));
        assert_eq!(sorted_list(response.header("allow")), allowed, "{method} {path}");
        response.expect_error(405, "AP-2004");
    }
}

/// A header's list in alphabetical order.
fn sorted_list(header: Option<&str>) -> String {
    let mut names: Vec<&str> = header.unwrap_or_default().split(',').map(str::trim).collect();
    names.sort_unstable();
    names.join(", ")
}

#[test]
fn head_is_get_without_its_body() {
    let node = Node::start();
    let account = Account::create(&node, "head");
    let path = format!("/v1/wallets/{}", account.wallet);
    let get = node.send(&Request::get(path.clone()).bearer(&account.api_key)).expect(200);
    let mut connection = node.connect();
    for _ in 0..2 {
        // Twice on one connection: a body that was sent after all would be read as the next answer.
        let head =
            connection.send(&Request::new("HEAD", path.clone()).bearer(&account.api_key)).expect("an answer");
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-type"), get.header("content-type"));
        assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()));
    }
    node.send(&Request::new("HEAD", path)).expect(401);
}

#[test]
fn options_answers_only_configured_origins() {
    let node = Node::builder().set("http.allowed_origins", "https://demo.example").start();
    let preflight = |origin: &str| {
        let request = Request::new("OPTIONS", "/v1/payments")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization, content-type");
        node.send(&request)
    };
    let allowed = preflight("https://demo.example");
    assert!(matches!(allowed.status, 200 | 204), "{allowed:?}");
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://demo.example"));
    assert!(allowed.header("access-control-allow-methods").is_some_and(|methods| methods.contains("POST")));
    for origin in ["https://evil.example", "https://demo.example.evil.example", "http://demo.example", "null"]
    {
        assert_eq!(preflight(origin).header("access-control-allow-origin"), None, "{origin}");
    }
    let plain = node.send(&Request::new("OPTIONS", "/v1/payments"));
    assert!(matches!(plain.status, 200 | 204), "{plain:?}");
    assert_eq!(sorted_list(plain.header("allow")), "GET, HEAD, OPTIONS, POST");
}

#[test]
fn other_types_than_json_are_refused() {
    let node = Node::start();
    let account = Account::funded(&node, "types", "100");
    let body = format!(r#"{{"from_wallet_id":"{}","to_external":"m","amount":1}}"#, account.wallet);
    let table = [
        ("content-type", "text/plain", 415),
        ("content-type", "application/x-www-form-urlencoded", 415),
        ("content-type", "application/json; charset=latin1", 415),
        ("content-type", "application/json", 201),
        ("content-type", "application/json; charset=utf-8", 201),
        ("content-type", "Application/JSON", 201),
    ];
    for (name, value, status) in table {
        let mut request = Request::new("POST", "/v1/payments").bearer(&account.api_key).header(name, value);
        request.body = Some(body.clone().into_bytes());
        let response = node.send(&request);
        assert_eq!(response.status, status, "{name}: {value}: {}", response.text());
    }
    let encoded =
        Request::post("/v1/payments", body).bearer(&account.api_key).header("content-encoding", "gzip");
    node.send(&encoded).expect_error(415, "AP-2004");
}

#[test]
fn heads_have_a_largest_size() {
    let node = Node::start();
    let long = Request::get("/healthz").header("x-long", &"x".repeat(60_000));
    assert_eq!(node.send(&long).status, 431);
    let many = (0..200).fold(Request::get("/healthz"), |request, n| request.header(&format!("x-{n}"), "y"));
    assert_eq!(node.send(&many).status, 431);
    let target = node.send(&Request::get(format!("/healthz?{}", "q".repeat(10_000))));
    assert_eq!(target.status, 414, "{}", target.text());
    node.send(&Request::get("/healthz")).expect(200);
}

#[test]
fn request_ids_are_taken_over_only_when_sane() {
    let node = Node::start();
    let sane = node.send(&Request::get("/v1/nothing").header("x-request-id", "trace-1.A_b"));
    assert_eq!(sane.header("x-request-id"), Some("trace-1.A_b"));
    let long = "x".repeat(129);
    for insane in ["", "a b", "a\"b", "ä", long.as_str()] {
        let response = node.send(&Request::get("/v1/nothing").header("x-request-id", insane));
        let given = response.header("x-request-id").expect("every answer has one").to_owned();
        assert!(!given.is_empty() && given != insane, "{insane:?} -> {given:?}");
    }
}

#[test]
fn rates_are_limited_and_say_when_to_come_back() {
    let node = Node::builder().set("rates.anonymous_per_minute", "3").start();
    let create = || node.send(&Request::post("/v1/agents", r#"{"name":"rate"}"#));
    let answers: Vec<u16> = (0..4).map(|_| create().status).collect();
    assert_eq!(answers, [201, 201, 201, 429]);
    let refused = create();
    for name in ["retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"] {
        assert!(
            refused.header(name).is_some_and(|value| value.parse::<u64>().is_ok()),
            "{name}: {refused:?}"
        );
    }
    assert_eq!(refused.expect_error(429, "AP-3002").at("/error/retryable"), true);

    let node = Node::builder().set("rates.agent_per_second", "5").start();
    let [busy, calm] = ["busy", "calm"].map(|name| Account::create(&node, name));
    let read = |account: &Account| node.send(&Request::get("/v1/agents/me").bearer(&account.api_key)).status;
    let statuses: Vec<u16> = (0..200).map(|_| read(&busy)).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(statuses[..5].iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(read(&calm), 200, "one agent's limit is not another's");
}
