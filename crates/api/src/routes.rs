//! The one table of routes. The router, authentication, body limits, metric labels, `OPTIONS` and `Allow`, and the
//! node's `agentpay routes` all read it; there is no second list.

use std::fmt;

use Operation::*;
use http::{HeaderValue, Method};
use ledger::Scopes;
use matchit::{Match, Params};

/// Methods that routes are written for. `HEAD` and `OPTIONS` come with every path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    const COUNT: usize = 5;

    /// The method's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Anybody.
    None,
    /// A runtime key with the route's scope, or an owner key.
    Agent,
    /// The same, or the operator token.
    AgentOrAdmin,
    /// An owner key.
    Owner,
    /// The operator token.
    Admin,
}

impl Auth {
    /// Name in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Agent => "runtime_or_owner",
            Self::AgentOrAdmin => "runtime_owner_or_admin",
            Self::Owner => "owner",
            Self::Admin => "admin",
        }
    }
}

/// Which bucket a call is taken from, besides its address's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateClass {
    /// None: health and the like.
    Free,
    /// The address's bucket for anonymous calls.
    Anonymous,
    /// The agent's bucket.
    Agent,
}

/// What body a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyClass {
    /// None; one that is sent is ignored.
    None,
    /// JSON up to the usual limit. An empty body counts as `{}` where every field is optional.
    Json,
    /// JSON up to the batch limit.
    Large,
}

/// One route.
#[derive(Debug)]
pub struct Route {
    pub verb: Verb,
    /// Path with `{parameters}`.
    pub path: &'static str,
    pub auth: Auth,
    pub rate: RateClass,
    pub body: BodyClass,
    /// Status of success.
    pub success: u16,
    pub summary: &'static str,
    /// Query parameters; any other is refused.
    pub parameters: &'static [&'static str],
    /// What a runtime key must be allowed to do.
    pub(crate) scope: Scopes,
    pub(crate) operation: Operation,
}

/// What a route does; one handler each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    CreateAgent,
    ReadAgent,
    CreateKey,
    ListKeys,
    RevokeKey,
    RotateKeys,
    ListWallets,
    OpenWallet,
    ReadWallet,
    ReadBalance,
    Fund,
    Freeze,
    Unfreeze,
    SetWalletPolicy,
    ReadWalletPolicy,
    CheckPolicy,
    SetAgentPolicy,
    ReadAgentPolicy,
    Entries,
    Pay,
    PayBatch,
    ListPayments,
    ReadPayment,
    RefundPayment,
    OpenDispute,
    ListDisputes,
    ReadDispute,
    AddEvidence,
    WithdrawDispute,
    ListAllDisputes,
    ReviewDispute,
    ResolveDispute,
    RegisterService,
    ListServices,
    ReadService,
    ChangeService,
    DeactivateService,
    VerifyService,
    Authorize,
    VerifyToken,
    CallStarted,
    CallAccepted,
    CallCompleted,
    CancelToken,
    ReadToken,
    ListTokens,
    Requirements,
    ProveService,
    CreateWebhook,
    ListWebhooks,
    ReadWebhook,
    ChangeWebhook,
    DeleteWebhook,
    RotateWebhookSecret,
    TestWebhook,
    ListDeliveries,
    Redeliver,
    PublishedKeys,
    TrialBalance,
    Health,
    Readiness,
    Version,
    Metrics,
}

/// Every route, in the order of the API description.
pub fn routes() -> &'static [Route] {
    &ROUTES
}

static ROUTES: [Route; 64] = [
    post(
        "/v1/agents",
        CreateAgent,
        "Creates an agent with its keys and a first wallet; the keys are shown once",
    )
    .anonymous()
    .success(201),
    get("/v1/agents/me", ReadAgent, "The agent that the key belongs to").agent(Scopes::READ),
    get("/v1/agents/{agent_id}", ReadAgent, "One's own agent by id").agent(Scopes::READ),
    post("/v1/agents/{agent_id}/keys", CreateKey, "Adds a runtime key; it is shown once")
        .owner()
        .success(201),
    get("/v1/agents/{agent_id}/keys", ListKeys, "Ids, scopes and state of the agent's keys").owner(),
    post(
        "/v1/agents/{agent_id}/keys/rotate",
        RotateKeys,
        "Replaces all runtime keys by a new one, with an overlap",
    )
    .owner()
    .success(201),
    put(
        "/v1/agents/{agent_id}/policy",
        SetAgentPolicy,
        "Replaces what all wallets of the agent may spend together",
    )
    .owner(),
    get(
        "/v1/agents/{agent_id}/policy",
        ReadAgentPolicy,
        "What all wallets of the agent may spend together, and what is left",
    )
    .agent(Scopes::READ),
    delete("/v1/agents/{agent_id}/keys/{key_id}", RevokeKey, "Revokes a key at once").owner().success(204),
    get("/v1/wallets", ListWallets, "The agent's wallets with balances")
        .agent(Scopes::READ)
        .parameters(&["limit", "cursor"]),
    post("/v1/wallets", OpenWallet, "Opens a wallet").owner().success(201),
    get("/v1/wallets/{wallet_id}", ReadWallet, "One wallet").agent(Scopes::READ),
    get("/v1/wallets/{wallet_id}/balance", ReadBalance, "The wallet's present balance").agent(Scopes::READ),
    post("/v1/wallets/{wallet_id}/fund", Fund, "Adds sandbox funds from the test faucet")
        .agent(Scopes::PAY)
        .success(201),
    post("/v1/wallets/{wallet_id}/freeze", Freeze, "Stops the wallet's own payments").owner(),
    post("/v1/wallets/{wallet_id}/unfreeze", Unfreeze, "Lets the wallet pay again").owner(),
    put("/v1/wallets/{wallet_id}/policy", SetWalletPolicy, "Replaces what the wallet may spend").owner(),
    get(
        "/v1/wallets/{wallet_id}/policy",
        ReadWalletPolicy,
        "What the wallet may spend, and what is left of it",
    )
    .agent(Scopes::READ),
    post("/v1/policy/check", CheckPolicy, "Whether a payment would pass, and what is left of each limit")
        .agent(Scopes::READ),
    get("/v1/wallets/{wallet_id}/entries", Entries, "Statement lines in log order, as JSON or CSV")
        .agent(Scopes::READ)
        .parameters(&["created_after", "created_before", "limit", "cursor", "format"]),
    post("/v1/payments", Pay, "Makes a payment").agent(Scopes::PAY).success(201).parameters(&["dry_run"]),
    post("/v1/payments/batch", PayBatch, "Makes up to 10 000 payments in one request")
        .agent(Scopes::PAY)
        .large_body(),
    get("/v1/payments", ListPayments, "Payments of the agent, newest first").agent(Scopes::READ).parameters(
        &[
            "wallet_id",
            "status",
            "rail",
            "counterparty",
            "created_after",
            "created_before",
            "limit",
            "cursor",
        ],
    ),
    get("/v1/payments/{payment_id}", ReadPayment, "One payment or funding, for its payer or payee")
        .agent(Scopes::READ),
    post(
        "/v1/payments/{payment_id}/refund",
        RefundPayment,
        "Gives a payment back, wholly or in part; the fee stays",
    )
    .agent_or_admin(Scopes::PAY)
    .success(201),
    post("/v1/disputes", OpenDispute, "Opens a dispute about a payment, once")
        .agent(Scopes::PAY)
        .success(201),
    get("/v1/disputes", ListDisputes, "Disputes of the agent on either side, newest first")
        .agent(Scopes::READ)
        .parameters(&["status", "role", "created_after", "created_before", "limit", "cursor"]),
    get(
        "/v1/disputes/{dispute_id}",
        ReadDispute,
        "One dispute with its evidence and history, for its parties",
    )
    .agent_or_admin(Scopes::READ),
    post(
        "/v1/disputes/{dispute_id}/evidence",
        AddEvidence,
        "Adds evidence to a dispute that is not resolved",
    )
    .agent_or_admin(Scopes::PAY)
    .large_body()
    .success(201),
    post("/v1/disputes/{dispute_id}/withdraw", WithdrawDispute, "Drops a dispute before it is reviewed")
        .agent(Scopes::PAY),
    get("/v1/ops/disputes", ListAllDisputes, "All disputes, newest first").admin().parameters(&[
        "status",
        "created_after",
        "created_before",
        "limit",
        "cursor",
    ]),
    post("/v1/ops/disputes/{dispute_id}/review", ReviewDispute, "Takes a dispute up").admin(),
    post(
        "/v1/ops/disputes/{dispute_id}/resolve",
        ResolveDispute,
        "Ends a dispute: refunds the payer or denies the claim",
    )
    .admin(),
    post("/v1/services", RegisterService, "Registers a callable service with its price")
        .agent(Scopes::PROVIDE)
        .success(201),
    get("/v1/services", ListServices, "Active services; at most five seconds old")
        .agent(Scopes::READ)
        .parameters(&[
            "category",
            "verified",
            "q",
            "provider",
            "sort",
            "created_after",
            "created_before",
            "limit",
            "offset",
            "cursor",
        ]),
    get("/v1/services/{service_id}", ReadService, "One service, by id or slug").agent(Scopes::READ),
    patch("/v1/services/{service_id}", ChangeService, "Changes what is sent about one's own service")
        .agent(Scopes::PROVIDE),
    delete(
        "/v1/services/{service_id}",
        DeactivateService,
        "Takes no new authorisations; open tokens live on",
    )
    .agent(Scopes::PROVIDE)
    .success(204),
    post(
        "/v1/services/{service_id}/authorize",
        Authorize,
        "Holds the price and answers with a payment token",
    )
    .agent(Scopes::PAY)
    .success(201),
    post("/v1/ops/services/{service_id}/verify", VerifyService, "Marks a service as verified, or no longer")
        .admin(),
    post(
        "/v1/services/{service_id}/verify",
        ProveService,
        "Hands out a challenge for one's own service, and verifies it once it is answered",
    )
    .agent(Scopes::PROVIDE),
    post("/v1/x402/verify", VerifyToken, "Redeems a payment token, once").agent(Scopes::PROVIDE),
    get("/v1/x402/tokens", ListTokens, "Tokens of the agent as consumer or provider, newest first")
        .agent(Scopes::READ)
        .parameters(&["role", "status", "created_after", "created_before", "limit", "cursor"]),
    get("/v1/x402/tokens/{token_id}", ReadToken, "One token, for its consumer or provider")
        .agent(Scopes::READ),
    delete(
        "/v1/x402/tokens/{token_id}",
        CancelToken,
        "Cancels a token that was not redeemed; the hold goes back",
    )
    .agent(Scopes::PAY),
    post(
        "/v1/x402/tokens/{token_id}/call-started",
        CallStarted,
        "The call is under way: starts the SLA clock",
    )
    .agent(Scopes::PROVIDE),
    post(
        "/v1/x402/tokens/{token_id}/call-accepted",
        CallAccepted,
        "The request is accepted and being worked on",
    )
    .agent(Scopes::PROVIDE),
    post("/v1/x402/tokens/{token_id}/call-completed", CallCompleted, "The call is done: settles the price")
        .agent(Scopes::PROVIDE),
    get("/v1/x402/requirements", Requirements, "What a call of a protected URL costs, and how it is paid")
        .agent(Scopes::READ)
        .parameters(&["url"]),
    post("/v1/webhooks", CreateWebhook, "Registers a receiver of events; its secret is shown once")
        .agent(Scopes::WEBHOOKS)
        .success(201),
    get("/v1/webhooks", ListWebhooks, "The agent's webhooks, newest first").agent(Scopes::READ),
    get("/v1/webhooks/{webhook_id}", ReadWebhook, "One webhook").agent(Scopes::READ),
    patch("/v1/webhooks/{webhook_id}", ChangeWebhook, "Changes a webhook, or turns it off or on")
        .agent(Scopes::WEBHOOKS),
    delete("/v1/webhooks/{webhook_id}", DeleteWebhook, "Ends a webhook").agent(Scopes::WEBHOOKS).success(204),
    post(
        "/v1/webhooks/{webhook_id}/rotate-secret",
        RotateWebhookSecret,
        "Replaces the secret, with an overlap in which both sign",
    )
    .agent(Scopes::WEBHOOKS)
    .success(201),
    post("/v1/webhooks/{webhook_id}/test", TestWebhook, "Sends a test event")
        .agent(Scopes::WEBHOOKS)
        .success(201),
    get("/v1/webhooks/{webhook_id}/deliveries", ListDeliveries, "Deliveries of a webhook, newest first")
        .agent(Scopes::READ)
        .parameters(&["status", "limit", "cursor"]),
    post(
        "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver",
        Redeliver,
        "Sends a delivery again, under the same id",
    )
    .agent(Scopes::WEBHOOKS),
    get("/.well-known/jwks.json", PublishedKeys, "Public keys of payment tokens"),
    get("/v1/ledger/trial-balance", TrialBalance, "Sum of every account per currency, zero in total").admin(),
    get("/healthz", Health, "Whether the process works"),
    get("/readyz", Readiness, "Whether requests are served, and progress"),
    get("/version", Version, "What is running"),
    get("/metrics", Metrics, "Figures for Prometheus, when served on this listener").admin(),
];

const fn get(path: &'static str, operation: Operation, summary: &'static str) -> Route {
    Route {
        verb: Verb::Get,
        path,
        auth: Auth::None,
        rate: RateClass::Free,
        body: BodyClass::None,
        success: 200,
        summary,
        parameters: &[],
        scope: Scopes::NONE,
        operation,
    }
}

const fn post(path: &'static str, operation: Operation, summary: &'static str) -> Route {
    Route { verb: Verb::Post, body: BodyClass::Json, ..get(path, operation, summary) }
}

const fn put(path: &'static str, operation: Operation, summary: &'static str) -> Route {
    Route { verb: Verb::Put, ..post(path, operation, summary) }
}

const fn patch(path: &'static str, operation: Operation, summary: &'static str) -> Route {
    Route { verb: Verb::Patch, ..post(path, operation, summary) }
}

const fn delete(path: &'static str, operation: Operation, summary: &'static str) -> Route {
    Route { verb: Verb::Delete, ..get(path, operation, summary) }
}

impl Route {
    /// Value of the `route` label of metrics.
    pub(crate) fn label(&self) -> String {
        format!("{} {}", self.verb, self.path)
    }

    const fn anonymous(self) -> Self {
        Self { rate: RateClass::Anonymous, ..self }
    }

    const fn agent(self, scope: Scopes) -> Self {
        Self { auth: Auth::Agent, rate: RateClass::Agent, scope, ..self }
    }

    const fn agent_or_admin(self, scope: Scopes) -> Self {
        Self { auth: Auth::AgentOrAdmin, rate: RateClass::Agent, scope, ..self }
    }

    const fn owner(self) -> Self {
        Self { auth: Auth::Owner, rate: RateClass::Agent, ..self }
    }

    const fn admin(self) -> Self {
        Self { auth: Auth::Admin, ..self }
    }

    const fn success(self, status: u16) -> Self {
        Self { success: status, ..self }
    }

    const fn large_body(self) -> Self {
        Self { body: BodyClass::Large, ..self }
    }

    const fn parameters(self, parameters: &'static [&'static str]) -> Self {
        Self { parameters, ..self }
    }
}

/// What a path leads to.
pub(crate) enum Found<'t, 'p> {
    /// The route and its place in the table.
    Route(&'static Route, usize, Params<'t, 'p>),
    /// The path exists; these are its methods.
    OtherMethods(&'t HeaderValue),
    Nothing,
}

/// The routes by path.
pub(crate) struct Table {
    router: matchit::Router<Path>,
}

struct Path {
    by_verb: [Option<usize>; Verb::COUNT],
    allow: HeaderValue,
}

impl Table {
    pub(crate) fn new() -> Self {
        let mut router = matchit::Router::new();
        for (place, route) in ROUTES.iter().enumerate() {
            if ROUTES[..place].iter().all(|earlier| earlier.path != route.path) {
                router.insert(route.path, Path::of(route.path)).expect("the table has no conflicting paths");
            }
        }
        Self { router }
    }

    /// Finds the route of a request; `HEAD` counts as `GET`.
    pub(crate) fn find<'t, 'p>(&'t self, method: &Method, path: &'p str) -> Found<'t, 'p> {
        let Ok(Match { value, params }) = self.router.at(path) else { return Found::Nothing };
        let verb = match *method {
            Method::GET | Method::HEAD => Verb::Get,
            Method::POST => Verb::Post,
            Method::PUT => Verb::Put,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            _ => return Found::OtherMethods(&value.allow),
        };
        match value.by_verb[verb as usize] {
            Some(place) => Found::Route(&ROUTES[place], place, params),
            None => Found::OtherMethods(&value.allow),
        }
    }
}

impl Path {
    fn of(path: &str) -> Self {
        let mut by_verb = [None; Verb::COUNT];
        for (place, route) in ROUTES.iter().enumerate().filter(|(_, route)| route.path == path) {
            let earlier = by_verb[route.verb as usize].replace(place);
            assert!(earlier.is_none(), "{} {path} is in the table twice", route.verb);
        }
        let mut methods: Vec<&str> =
            by_verb.iter().flatten().map(|place| ROUTES[*place].verb.as_str()).collect();
        if by_verb[Verb::Get as usize].is_some() {
            methods.push("HEAD");
        }
        methods.push("OPTIONS");
        let allow = HeaderValue::try_from(methods.join(", ")).expect("method names are header values");
        Self { by_verb, allow }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str) -> String {
        let table = Table::new();
        match table.find(&method, path) {
            Found::Route(route, _, _) => route.label(),
            Found::OtherMethods(allow) => format!("allow {}", allow.to_str().expect("ASCII")),
            Found::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn paths_lead_to_their_routes() {
        for (method, path, expected) in [
            (Method::POST, "/v1/agents", "POST /v1/agents"),
            (Method::GET, "/v1/agents", "allow POST, OPTIONS"),
            (Method::GET, "/v1/agents/me", "GET /v1/agents/me"),
            (Method::HEAD, "/v1/agents/agent_1", "GET /v1/agents/{agent_id}"),
            (Method::POST, "/v1/agents/a/keys/rotate", "POST /v1/agents/{agent_id}/keys/rotate"),
            (Method::DELETE, "/v1/agents/a/keys/k", "DELETE /v1/agents/{agent_id}/keys/{key_id}"),
            (Method::POST, "/v1/payments/batch", "POST /v1/payments/batch"),
            (Method::GET, "/v1/payments/tx_1", "GET /v1/payments/{payment_id}"),
            (Method::PATCH, "/v1/services/weather", "PATCH /v1/services/{service_id}"),
            (Method::PUT, "/v1/services/weather", "allow GET, PATCH, DELETE, HEAD, OPTIONS"),
            (Method::POST, "/v1/services/a/authorize", "POST /v1/services/{service_id}/authorize"),
            (Method::GET, "/.well-known/jwks.json", "GET /.well-known/jwks.json"),
            (Method::PUT, "/v1/payments", "allow GET, POST, HEAD, OPTIONS"),
            (Method::GET, "/v1/payments/", "nothing"),
            (Method::GET, "/v1/payments/tx_1/x", "nothing"),
            (Method::GET, "/", "nothing"),
            (Method::GET, "", "nothing"),
            (Method::GET, "/v1/../v1/agents/me", "nothing"),
        ] {
            assert_eq!(found(method.clone(), path), expected, "{method} {path}");
        }
    }

    #[test]
    fn the_table_is_complete_and_consistent() {
        let mut labels = std::collections::BTreeSet::new();
        for route in routes() {
            let label = route.label();
            assert!(labels.insert(label.clone()), "{label} is there once");
            assert!((200..=204).contains(&route.success), "{}", label);
            assert!(!route.summary.is_empty() && !route.summary.ends_with('.'), "{}", label);
            assert!(
                matches!(route.verb, Verb::Post | Verb::Put | Verb::Patch) || route.body == BodyClass::None,
                "{}: only POST, PUT and PATCH have a body",
                label
            );
            let needs_agent = matches!(route.auth, Auth::Agent | Auth::AgentOrAdmin | Auth::Owner);
            assert_eq!(
                route.rate == RateClass::Agent,
                needs_agent,
                "{}: agents pay from their bucket",
                label
            );
            assert_eq!(
                route.scope != Scopes::NONE,
                matches!(route.auth, Auth::Agent | Auth::AgentOrAdmin),
                "{}: runtime keys need a scope",
                label
            );
        }
    }
}
