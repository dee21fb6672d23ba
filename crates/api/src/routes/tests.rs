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
        assert_eq!(route.rate == RateClass::Agent, needs_agent, "{}: agents pay from their bucket", label);
        assert_eq!(
            route.scope != Scopes::NONE,
            matches!(route.auth, Auth::Agent | Auth::AgentOrAdmin),
            "{}: runtime keys need a scope",
            label
        );
    }
}
