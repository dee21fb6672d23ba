//! Every route with every kind of credential. The list of routes comes from the node itself, so a new route without a
//! row here fails.

mod world;

use std::collections::BTreeMap;

use serde_json::Value;
use system_tests::http::{Request, Response};
use system_tests::{Account, Node, agentpay};

use world::{NOWHERE, VERIFY, World, new_webhook};

/// What a call is authorised with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credential {
    Nothing,
    Garbage,
    /// The right key with its last character changed.
    Misspelt,
    /// A well-formed key of nobody: another node's.
    Unknown,
    /// The right key under `Basic`.
    WrongScheme,
    Revoked,
    Expired,
    OtherRuntime,
    OtherOwner,
    Admin,
    /// A runtime key of the object's agent with scope `read` only.
    ReadOnly,
    Runtime,
    Owner,
}

/// Those that must not change anything come first, so that the state is still as it was made.
const CREDENTIALS: [Credential; 13] = [
    Credential::Nothing,
    Credential::Garbage,
    Credential::Misspelt,
    Credential::Unknown,
    Credential::WrongScheme,
    Credential::Revoked,
    Credential::Expired,
    Credential::OtherRuntime,
    Credential::OtherOwner,
    Credential::Admin,
    Credential::ReadOnly,
    Credential::Runtime,
    Credential::Owner,
];

/// What another agent's valid key finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Foreign {
    /// The route is about the caller: it gets its own.
    Own,
    /// The route names somebody else's object, which it must not see.
    NotFound(&'static str),
}

/// How a route is called.
struct Row {
    route: &'static str,
    request: fn(&Node, &World) -> Request,
    foreign: Foreign,
}

const ROWS: &[Row] = &[
    row("POST /v1/agents", |_, _| Request::post("/v1/agents", r#"{"name":"matrix"}"#), Foreign::Own),
    row("GET /v1/agents/me", |_, _| Request::get("/v1/agents/me"), Foreign::Own),
    row("GET /v1/agents/{agent_id}", |_, w| Request::get(w.agent_path("")), Foreign::NotFound("AP-2002")),
    row(
        "POST /v1/agents/{agent_id}/keys",
        |_, w| Request::post(w.agent_path("/keys"), "{}"),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "GET /v1/agents/{agent_id}/keys",
        |_, w| Request::get(w.agent_path("/keys")),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "POST /v1/agents/{agent_id}/keys/rotate",
        |_, w| Request::post(w.agent_path("/keys/rotate"), r#"{"overlap_seconds":3600}"#),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "PUT /v1/agents/{agent_id}/policy",
        |_, w| Request::new("PUT", w.agent_path("/policy")).json(r#"{"max_per_payment":1000}"#),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "GET /v1/agents/{agent_id}/policy",
        |_, w| Request::get(w.agent_path("/policy")),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "DELETE /v1/agents/{agent_id}/keys/{key_id}",
        |node, w| Request::new("DELETE", w.agent_path(&format!("/keys/{}", w.new_key(node, "{}").1))),
        Foreign::NotFound("AP-2002"),
    ),
    row("GET /v1/wallets", |_, _| Request::get("/v1/wallets"), Foreign::Own),
    row("POST /v1/wallets", |_, _| Request::post("/v1/wallets", r#"{"currency":"USD"}"#), Foreign::Own),
    row("GET /v1/wallets/{wallet_id}", |_, w| Request::get(w.wallet_path("")), Foreign::NotFound("AP-1001")),
    row(
        "GET /v1/wallets/{wallet_id}/balance",
        |_, w| Request::get(w.wallet_path("/balance")),
        Foreign::NotFound("AP-1001"),
    ),
    row(
        "POST /v1/wallets/{wallet_id}/fund",
        |_, w| Request::post(w.wallet_path("/fund"), r#"{"amount":1,"source":"test_faucet"}"#),
        Foreign::NotFound("AP-1001"),
    ),
    row(
        "POST /v1/wallets/{wallet_id}/freeze",
        |_, w| Request::post(w.wallet_path("/freeze"), "{}"),
        Foreign::NotFound("AP-1001"),
    ),
    row(
        "POST /v1/wallets/{wallet_id}/unfreeze",
        |_, w| Request::post(w.wallet_path("/unfreeze"), "{}"),
        Foreign::NotFound("AP-1001"),
    ),
    row(
        "PUT /v1/wallets/{wallet_id}/policy",
        |_, w| Request::new("PUT", w.wallet_path("/policy")).json(r#"{"max_per_payment":1000}"#),
        Foreign::NotFound("AP-1001"),
    ),
    row(
        "GET /v1/wallets/{wallet_id}/policy",
        |_, w| Request::get(w.wallet_path("/policy")),
        Foreign::NotFound("AP-1001"),
    ),
    row(
        "POST /v1/policy/check",
        |_, w| Request::post("/v1/policy/check", w.payment()),
        Foreign::NotFound("AP-1001"),
    ),
    row(
        "GET /v1/wallets/{wallet_id}/entries",
        |_, w| Request::get(w.wallet_path("/entries")),
        Foreign::NotFound("AP-1001"),
    ),
    row("POST /v1/payments", |_, w| Request::post("/v1/payments", w.payment()), Foreign::NotFound("AP-1001")),
    row(
        "POST /v1/payments/batch",
        |_, w| {
            Request::post("/v1/payments/batch", format!(r#"{{"payments":[{}],"atomic":false}}"#, w.payment()))
        },
        Foreign::NotFound("AP-1001"),
    ),
    row("GET /v1/payments", |_, _| Request::get("/v1/payments"), Foreign::Own),
    row(
        "GET /v1/payments/{payment_id}",
        |_, w| Request::get(format!("/v1/payments/{}", w.payment_id)),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "POST /v1/payments/{payment_id}/refund",
        |node, w| Request::post(format!("/v1/payments/{}/refund", w.received(node)), "{}"),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "POST /v1/disputes",
        |node, w| {
            let payment = w.received(node);
            Request::post("/v1/disputes", format!(r#"{{"payment_id":"{payment}","reason":"matrix"}}"#))
        },
        Foreign::NotFound("AP-2002"),
    ),
    row("GET /v1/disputes", |_, _| Request::get("/v1/disputes"), Foreign::Own),
    row(
        "GET /v1/disputes/{dispute_id}",
        |node, w| Request::get(w.dispute_path(node, "")),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "POST /v1/disputes/{dispute_id}/evidence",
        |node, w| Request::post(w.dispute_path(node, "/evidence"), r#"{"type":"matrix","content":"c"}"#),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "POST /v1/disputes/{dispute_id}/withdraw",
        |node, w| Request::post(w.dispute_path(node, "/withdraw"), "{}"),
        Foreign::NotFound("AP-2002"),
    ),
    row("GET /v1/ops/disputes", |_, _| Request::get("/v1/ops/disputes"), Foreign::Own),
    row(
        "POST /v1/ops/disputes/{dispute_id}/review",
        |node, w| Request::post(format!("/v1/ops/disputes/{}/review", w.dispute(node)), "{}"),
        Foreign::Own,
    ),
    row(
        "POST /v1/ops/disputes/{dispute_id}/resolve",
        |node, w| {
            let path = format!("/v1/ops/disputes/{}/resolve", w.dispute(node));
            Request::post(path, r#"{"outcome":"denied"}"#)
        },
        Foreign::Own,
    ),
    row(
        "POST /v1/services",
        |_, w| Request::post("/v1/services", format!(r#"{{"name":"{}","price_per_call":1}}"#, w.new_name())),
        Foreign::Own,
    ),
    row("GET /v1/services", |_, _| Request::get("/v1/services"), Foreign::Own),
    row("GET /v1/services/{service_id}", |_, w| Request::get(w.service_path("")), Foreign::Own),
    row(
        "PATCH /v1/services/{service_id}",
        |_, w| Request::new("PATCH", w.service_path("")).json(r#"{"description":"matrix"}"#),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "DELETE /v1/services/{service_id}",
        |_, w| Request::new("DELETE", w.service_path("")),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "POST /v1/services/{service_id}/authorize",
        |_, w| w.agent.authorize_request(&w.partner_service, "").without("authorization"),
        Foreign::NotFound("AP-1001"),
    ),
    row(
        "POST /v1/ops/services/{service_id}/verify",
        |_, w| Request::post(format!("/v1/ops/services/{}/verify", w.service), "{}"),
        Foreign::Own,
    ),
    row(
        "POST /v1/x402/verify",
        |node, w| w.agent.verify_request(&w.sold(node, &[]).token).without("authorization"),
        Foreign::NotFound("AP-2002"),
    ),
    row("GET /v1/x402/tokens", |_, _| Request::get("/v1/x402/tokens"), Foreign::Own),
    row(
        "GET /v1/x402/tokens/{token_id}",
        |_, w| Request::get(format!("/v1/x402/tokens/{}", w.bought)),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "DELETE /v1/x402/tokens/{token_id}",
        |_, w| Request::new("DELETE", format!("/v1/x402/tokens/{}", w.bought)),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "POST /v1/x402/tokens/{token_id}/call-started",
        |node, w| w.step(node, &[VERIFY], "call-started"),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "POST /v1/x402/tokens/{token_id}/call-accepted",
        |node, w| w.step(node, &[VERIFY, "call-started"], "call-accepted"),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "POST /v1/x402/tokens/{token_id}/call-completed",
        |node, w| w.step(node, &[VERIFY, "call-started", "call-accepted"], "call-completed"),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "GET /v1/x402/requirements",
        |_, _| Request::get("/v1/x402/requirements?url=https://a.example/"),
        Foreign::Own,
    ),
    row(
        "POST /v1/services/{service_id}/verify",
        |_, w| Request::post(w.service_path("/verify"), "{}"),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "POST /v1/webhooks",
        |_, _| Request::post("/v1/webhooks", format!(r#"{{"url":"{NOWHERE}","events":["token.*"]}}"#)),
        Foreign::Own,
    ),
    row("GET /v1/webhooks", |_, _| Request::get("/v1/webhooks"), Foreign::Own),
    row(
        "GET /v1/webhooks/{webhook_id}",
        |_, w| Request::get(w.webhook_path("")),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "PATCH /v1/webhooks/{webhook_id}",
        |_, w| Request::new("PATCH", w.webhook_path("")).json(r#"{"description":"matrix"}"#),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "DELETE /v1/webhooks/{webhook_id}",
        |node, w| Request::new("DELETE", format!("/v1/webhooks/{}", new_webhook(node, &w.agent))),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "POST /v1/webhooks/{webhook_id}/rotate-secret",
        |_, w| Request::post(w.webhook_path("/rotate-secret"), "{}"),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "POST /v1/webhooks/{webhook_id}/test",
        |_, w| Request::post(w.webhook_path("/test"), "{}"),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "GET /v1/webhooks/{webhook_id}/deliveries",
        |_, w| Request::get(w.webhook_path("/deliveries")),
        Foreign::NotFound("AP-2002"),
    ),
    row(
        "POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver",
        |node, w| Request::post(w.webhook_path(&format!("/deliveries/{}/redeliver", w.delivery(node))), "{}"),
        Foreign::NotFound("AP-2002"),
    ),
    row("GET /.well-known/jwks.json", |_, _| Request::get("/.well-known/jwks.json"), Foreign::Own),
    row("GET /v1/ledger/trial-balance", |_, _| Request::get("/v1/ledger/trial-balance"), Foreign::Own),
    row("GET /healthz", |_, _| Request::get("/healthz"), Foreign::Own),
    row("GET /readyz", |_, _| Request::get("/readyz"), Foreign::Own),
    row("GET /version", |_, _| Request::get("/version"), Foreign::Own),
    row("GET /metrics", |_, _| Request::get("/metrics"), Foreign::Own),
];

const fn row(route: &'static str, request: fn(&Node, &World) -> Request, foreign: Foreign) -> Row {
    Row { route, request, foreign }
}

/// What must come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Success,
    Error(u16, &'static str, Option<&'static str>),
}

const UNAUTHENTICATED: Expected = Expected::Error(401, "AP-1001", Some("unauthenticated"));
const FORBIDDEN: Expected = Expected::Error(403, "AP-1001", Some("forbidden"));

fn expected(auth: &str, is_read: bool, foreign: Foreign, credential: Credential) -> Expected {
    use Credential::{Admin, OtherOwner, OtherRuntime, Owner, ReadOnly, Runtime};
    let of_foreign = match foreign {
        Foreign::Own => Expected::Success,
        Foreign::NotFound(code) => Expected::Error(404, code, None),
    };
    let (auth, admits_operators) = match auth {
        "runtime_owner_or_admin" => ("runtime_or_owner", true),
        auth => (auth, false),
    };
    match (auth, credential) {
        (_, Admin) if admits_operators => Expected::Success,
        ("none", _) | ("runtime_or_owner" | "owner", Owner) | ("runtime_or_owner", Runtime) => {
            Expected::Success
        }
        ("admin", Admin) => Expected::Success,
        ("admin", OtherRuntime | OtherOwner | ReadOnly | Runtime | Owner) => FORBIDDEN,
        ("runtime_or_owner", ReadOnly) => {
            if is_read {
                Expected::Success
            } else {
                FORBIDDEN
            }
        }
        ("runtime_or_owner", OtherRuntime | OtherOwner) | ("owner", OtherOwner) => of_foreign,
        // The operator is known, but acts for no agent.
        ("runtime_or_owner" | "owner", Admin) => FORBIDDEN,
        // The kind of key is judged before the object, so this says nothing about the object.
        ("owner", Runtime | ReadOnly | OtherRuntime) => FORBIDDEN,
        ("runtime_or_owner" | "owner" | "admin", _) => UNAUTHENTICATED,
        (unknown, _) => panic!("the node prints an auth class that this test does not know: {unknown}"),
    }
}

/// One line of `agentpay routes --json`.
struct Listed {
    route: String,
    auth: String,
    success: u16,
}

fn listed_routes() -> Vec<Listed> {
    let output = agentpay(&["routes", "--json"]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let routes: Value = serde_json::from_str(&output.stdout).expect("`agentpay routes --json` prints JSON");
    let text = |route: &Value, name: &str| {
        route[name].as_str().unwrap_or_else(|| panic!("no text `{name}` in {route}")).to_owned()
    };
    let list = routes.as_array().expect("a list of routes");
    assert!(!list.is_empty());
    list.iter()
        .map(|route| Listed {
            route: format!("{} {}", text(route, "method"), text(route, "path")),
            auth: text(route, "auth"),
            success: u16::try_from(route["success"].as_u64().expect("a status")).expect("a status"),
        })
        .collect()
}

#[test]
fn every_route_has_a_row_and_every_row_a_route() {
    let routes: Vec<String> = listed_routes().into_iter().map(|listed| listed.route).collect();
    let without_row: Vec<&String> =
        routes.iter().filter(|route| !ROWS.iter().any(|row| row.route == **route)).collect();
    assert!(without_row.is_empty(), "add these routes to the matrix: {without_row:?}");
    let without_route: Vec<&str> =
        ROWS.iter().map(|row| row.route).filter(|row| !routes.iter().any(|route| route == row)).collect();
    assert!(without_route.is_empty(), "these rows belong to no route: {without_route:?}");
}

#[test]
fn every_route_answers_every_credential_as_documented() {
    let node = Node::start();
    let strangers_key = Account::create(&Node::start(), "stranger").api_key;
    let listed: BTreeMap<String, Listed> =
        listed_routes().into_iter().map(|listed| (listed.route.clone(), listed)).collect();
    let worlds: Vec<World> = ROWS.iter().map(|_| World::create(&node)).collect();
    for world in &worlds {
        wait_until_expired(&node, world);
    }
    let mut failures = Vec::new();
    for (row, world) in ROWS.iter().zip(&worlds) {
        let listed = &listed[row.route];
        // Checking a payment moves nothing: it takes no more than reading.
        let is_read = row.route.starts_with("GET ") || row.route == "POST /v1/policy/check";
        let before = world.agent.available(&node);
        for credential in CREDENTIALS {
            let request = world.authorise((row.request)(&node, world), credential, &strangers_key);
            let response = node.send(&request);
            let expected = expected(&listed.auth, is_read, row.foreign, credential);
            if let Err(found) = check(row, listed, &response, expected) {
                failures.push(format!("{} with {credential:?}: expected {expected:?}, {found}", row.route));
            }
            if credential == Credential::ReadOnly && world.agent.available(&node) != before {
                failures.push(format!("{}: money moved without permission", row.route));
            }
        }
    }
    assert!(failures.is_empty(), "{} wrong answers:\n{}", failures.len(), failures.join("\n"));
}

fn check(row: &Row, listed: &Listed, response: &Response, expected: Expected) -> Result<(), String> {
    let found = || format!("found {} {}", response.status, response.text());
    match expected {
        // Served on this listener only when configured so; the operator then learns that it is not.
        Expected::Success if row.route == "GET /metrics" => {
            (response.status == 404).then_some(()).ok_or_else(found)
        }
        Expected::Success => (response.status == listed.success).then_some(()).ok_or_else(found),
        Expected::Error(status, code, reason) => {
            if response.status != status {
                return Err(found());
            }
            let document = response.clone().expect_error(status, code);
            match reason {
                Some(reason) if document.at("/error/details/reason") != reason => Err(found()),
                _ => Ok(()),
            }
        }
    }
}

fn wait_until_expired(node: &Node, world: &World) {
    for _ in 0..1_000 {
        let answer = node.send(&Request::get("/v1/agents/me").bearer(&world.expired_key));
        if answer.status == 401 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("a key still works long after its time");
}
