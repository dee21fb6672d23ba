//! Every route with every kind of credential. The list of routes comes from the node itself, so a new route without a
//! row here fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use system_tests::http::{Request, Response};
use system_tests::{ADMIN_TOKEN, Account, Authorized, Node, PaymentRequest, agentpay};

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

/// A receiver that is not there.
const NOWHERE: &str = "http://127.0.0.1:9/matrix";

fn new_webhook(node: &Node, agent: &Account) -> String {
    let body = format!(r#"{{"url":"{NOWHERE}","events":["token.*"]}}"#);
    let request = Request::post("/v1/webhooks", body).bearer(&agent.api_key);
    node.send(&request).expect(201).document().text("/id").to_owned()
}

/// The redemption, among the steps of a call.
const VERIFY: &str = "verify";

/// Everything one row is tried on: an agent with objects, its partner in trade, and somebody else.
struct World {
    agent: Account,
    other: Account,
    partner: Account,
    /// The agent's service.
    service: String,
    partner_service: String,
    webhook: String,
    /// Id of a token that the agent holds, for the partner's service.
    bought: String,
    names: AtomicUsize,
    payment_id: String,
    revoked_key: String,
    expired_key: String,
    read_key: String,
}

impl World {
    fn create(node: &Node) -> World {
        let agent = Account::funded(node, "matrix", "100");
        let other = Account::funded(node, "matrix-other", "100");
        let partner = Account::funded(node, "matrix-partner", "100");
        let payment_id = agent.pay_external(node, "1");
        let register = |account: &Account, name: &str| {
            account
                .register(
                    node,
                    &format!("{name} {}", account.id),
                    "0.5",
                    &format!(r#","endpoint_url":"{NOWHERE}""#),
                )
                .text("/id")
                .to_owned()
        };
        let service = register(&agent, "service");
        let partner_service = register(&partner, "partner");
        let webhook = new_webhook(node, &agent);
        let bought = agent.authorize(node, &partner_service, "").id;
        let mut world = World {
            agent,
            other,
            partner,
            service,
            partner_service,
            webhook,
            bought,
            names: AtomicUsize::new(0),
            payment_id,
            revoked_key: String::new(),
            expired_key: String::new(),
            read_key: String::new(),
        };
        let (revoked_key, id) = world.new_key(node, "{}");
        let revoke = Request::new("DELETE", world.agent_path(&format!("/keys/{id}")));
        node.send(&revoke.bearer(&world.agent.secret_key)).expect(204);
        world.revoked_key = revoked_key;
        world.expired_key = world.new_key(node, &format!(r#"{{"expires_at":"{}"}}"#, in_two_seconds())).0;
        world.read_key = world.new_key(node, r#"{"scopes":["read"]}"#).0;
        world
    }

    fn agent_path(&self, rest: &str) -> String {
        format!("/v1/agents/{}{rest}", self.agent.id)
    }

    fn wallet_path(&self, rest: &str) -> String {
        format!("/v1/wallets/{}{rest}", self.agent.wallet)
    }

    fn service_path(&self, rest: &str) -> String {
        format!("/v1/services/{}{rest}", self.service)
    }

    fn webhook_path(&self, rest: &str) -> String {
        format!("/v1/webhooks/{}{rest}", self.webhook)
    }

    /// A delivery of the agent's webhook.
    fn delivery(&self, node: &Node) -> String {
        let request = Request::post(self.webhook_path("/test"), "{}").bearer(&self.agent.api_key);
        node.send(&request).expect(201).document().text("/id").to_owned()
    }

    /// A name that no service has.
    fn new_name(&self) -> String {
        format!("{} {}", self.agent.id, self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// A token that the partner holds for the agent's service, after these steps by the agent.
    fn sold(&self, node: &Node, steps: &[&str]) -> Authorized {
        let authorized = self.partner.authorize(node, &self.service, "");
        for step in steps {
            match *step {
                VERIFY => self.agent.verify(node, &authorized.token).expect(200),
                step => self.agent.step(node, &authorized.id, step).expect(200),
            };
        }
        authorized
    }

    /// A step of a call that is ready for it.
    fn step(&self, node: &Node, before: &[&str], step: &str) -> Request {
        self.agent.step_request(&self.sold(node, before).id, step).without("authorization")
    }

    fn payment(&self) -> String {
        let to = ("to_external", "merchant:matrix");
        PaymentRequest { from: &self.agent.wallet, to, amount: "1", key: None }.body()
    }

    /// A further runtime key of the agent, and its id.
    fn new_key(&self, node: &Node, body: &str) -> (String, String) {
        let request = Request::post(self.agent_path("/keys"), body).bearer(&self.agent.secret_key);
        let document = node.send(&request).expect(201).document();
        (document.text("/api_key").to_owned(), document.text("/id").to_owned())
    }

    fn authorise(&self, request: Request, credential: Credential, strangers_key: &str) -> Request {
        let key = match credential {
            Credential::Nothing => return request,
            Credential::WrongScheme => {
                return request.header("authorization", &format!("Basic {}", self.agent.api_key));
            }
            Credential::Garbage => "garbage".to_owned(),
            Credential::Misspelt => misspelt(&self.agent.api_key),
            Credential::Unknown => strangers_key.to_owned(),
            Credential::Revoked => self.revoked_key.clone(),
            Credential::Expired => self.expired_key.clone(),
            Credential::OtherRuntime => self.other.api_key.clone(),
            Credential::OtherOwner => self.other.secret_key.clone(),
            Credential::Admin => ADMIN_TOKEN.to_owned(),
            Credential::ReadOnly => self.read_key.clone(),
            Credential::Runtime => self.agent.api_key.clone(),
            Credential::Owner => self.agent.secret_key.clone(),
        };
        request.bearer(&key)
    }
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
    match (auth, credential) {
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

/// Another letter of the same alphabet at the end.
fn misspelt(key: &str) -> String {
    let (rest, last) = key.split_at(key.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
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

/// RFC 3339, so that the key is valid when made and expires while the test waits.
fn in_two_seconds() -> String {
    let output = std::process::Command::new("date")
        .args(["-u", "-d", "+2 seconds", "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .expect("date is installed");
    String::from_utf8(output.stdout).expect("ASCII").trim().to_owned()
}
