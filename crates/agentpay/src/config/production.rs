//! What production refuses. All reasons are collected, so that an operator mends them in one go.

use super::layers::{Layers, Refused, Source};
use super::schema::{Config, Environment};

/// In production: strong secrets, a stated proxy depth, `https` origins, and the sandbox only.
pub(crate) fn check(config: &Config, layers: &Layers) -> Result<(), Refused> {
    if config.process.environment != Environment::Production {
        return Ok(());
    }
    let mut reasons = Vec::new();
    let secrets = [
        ("JWT_SECRET (key `auth.jwt_secret`)", &config.auth.jwt_secret),
        ("PUBLIC_DEMO_ADMIN_TOKEN (key `admin.token`)", &config.admin.token),
    ];
    for (name, secret) in secrets {
        if let Some(weakness) = secret.weakness() {
            reasons.push(format!("{name} {weakness}"));
        }
    }
    if *layers.source("http.trust_proxy_hops") == Source::Default {
        reasons.push(
            "TRUST_PROXY_HOPS (key `http.trust_proxy_hops`) is not set; say 0 when clients connect directly"
                .to_owned(),
        );
    }
    for origin in &config.http.allowed_origins {
        if !origin.starts_with("https://") {
            reasons.push(format!(
                "PUBLIC_DEMO_ALLOWED_ORIGINS (key `http.allowed_origins`) holds {origin:?}; only https:// is allowed"
            ));
        }
    }
    if config.webhooks.loopback_allowed {
        reasons.push(
            "key `webhooks.loopback_allowed` is true; it lets agents make the node call addresses of its own machine"
                .to_owned(),
        );
    }
    if config.demo.enabled && config.http.allowed_origins.is_empty() {
        reasons.push(
            "PUBLIC_DEMO_ALLOWED_ORIGINS (key `http.allowed_origins`) is not set, but PUBLIC_DEMO_MODE is on"
                .to_owned(),
        );
    }
    if !config.demo.sandbox_only {
        reasons.push(
            "PUBLIC_DEMO_SANDBOX_ONLY (key `demo.sandbox_only`) is false; this version moves sandbox money only"
                .to_owned(),
        );
    }
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Refused(format!("refusing to start in production:\n  - {}", reasons.join("\n  - "))))
}

#[cfg(test)]
mod tests {
    use super::super::environment;
    use super::*;

    const STRONG: &str = "k3Jx9vQ2mN8pL5rT7wY1zB4cD6fG0hSa";

    /// The guide's hosted environment with its placeholders replaced.
    fn hosted() -> Vec<(&'static str, &'static str)> {
        vec![
            ("NODE_ENV", "production"),
            ("JWT_SECRET", STRONG),
            ("DATABASE_URL", "postgresql://user:pass@db-host:5432/agentpay"),
            ("TRUST_PROXY_HOPS", "1"),
            ("PUBLIC_DEMO_MODE", "true"),
            ("PUBLIC_DEMO_SANDBOX_ONLY", "true"),
            ("PUBLIC_DEMO_ALLOWED_ORIGINS", "https://your-demo-host.example"),
            ("PUBLIC_DEMO_ADMIN_TOKEN", STRONG),
        ]
    }

    fn checked(variables: &[(&str, &str)]) -> Result<(), Refused> {
        let mut layers = Layers::defaults();
        let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        environment::apply(&mut layers, variables)?;
        check(&layers.build()?, &layers)
    }

    #[test]
    fn a_complete_hosted_environment_is_accepted() {
        assert_eq!(checked(&hosted()), Ok(()));
    }

    #[test]
    fn each_fault_is_named() {
        let cases: [(&str, Option<&str>, &str); 10] = [
            ("AGENTPAY__WEBHOOKS__LOOPBACK_ALLOWED", Some("true"), "key `webhooks.loopback_allowed` is true"),
            ("JWT_SECRET", None, "JWT_SECRET (key `auth.jwt_secret`) is not set"),
            ("JWT_SECRET", Some("short"), "JWT_SECRET (key `auth.jwt_secret`) has 5 characters"),
            (
                "JWT_SECRET",
                Some("replace-with-at-least-32-random-characters"),
                "JWT_SECRET (key `auth.jwt_secret`) still holds the placeholder",
            ),
            ("PUBLIC_DEMO_ADMIN_TOKEN", None, "PUBLIC_DEMO_ADMIN_TOKEN (key `admin.token`) is not set"),
            ("TRUST_PROXY_HOPS", None, "TRUST_PROXY_HOPS (key `http.trust_proxy_hops`) is not set"),
            (
                "PUBLIC_DEMO_ALLOWED_ORIGINS",
                None,
                "PUBLIC_DEMO_ALLOWED_ORIGINS (key `http.allowed_origins`) is not set",
            ),
            ("PUBLIC_DEMO_ALLOWED_ORIGINS", Some("http://demo.example"), "\"http://demo.example\""),
            (
                "PUBLIC_DEMO_ALLOWED_ORIGINS",
                Some("https://a.example,http://b.example"),
                "\"http://b.example\"",
            ),
            (
                "PUBLIC_DEMO_SANDBOX_ONLY",
                Some("false"),
                "PUBLIC_DEMO_SANDBOX_ONLY (key `demo.sandbox_only`) is false",
            ),
        ];
        for (name, value, expected) in cases {
            let mut variables = hosted();
            variables.retain(|(other, _)| *other != name);
            variables.extend(value.map(|value| (name, value)));
            let why = checked(&variables).expect_err(name).0;
            assert!(why.contains(expected), "{why}\n  lacks: {expected}");
        }
    }

    #[test]
    fn every_fault_is_listed_at_once() {
        let why = checked(&[("NODE_ENV", "production")]).expect_err("nothing is set").0;
        assert_eq!(why.lines().count(), 4, "{why}");
    }

    #[test]
    fn development_needs_nothing() {
        assert_eq!(checked(&[]), Ok(()));
        assert_eq!(checked(&[("NODE_ENV", "development"), ("JWT_SECRET", "x")]), Ok(()));
    }
}
