//! The environment as a layer: `AGENTPAY__SECTION__KEY` for every key, `…_FILE` for secrets, and the variables of
//! the public guide as written there.

use super::layers::{Layers, Refused, Source};
use super::nearest::nearest;
use super::schema::SECRETS;
use std::collections::BTreeMap;

/// A variable of the guide and the key it sets.
struct GuideVariable {
    name: &'static str,
    key: &'static str,
}

const GUIDE: [GuideVariable; 8] = [
    GuideVariable { name: "NODE_ENV", key: "process.environment" },
    GuideVariable { name: "JWT_SECRET", key: "auth.jwt_secret" },
    GuideVariable { name: "DATABASE_URL", key: "database.url" },
    GuideVariable { name: "TRUST_PROXY_HOPS", key: "http.trust_proxy_hops" },
    GuideVariable { name: "PUBLIC_DEMO_MODE", key: "demo.enabled" },
    GuideVariable { name: "PUBLIC_DEMO_SANDBOX_ONLY", key: "demo.sandbox_only" },
    GuideVariable { name: "PUBLIC_DEMO_ALLOWED_ORIGINS", key: "http.allowed_origins" },
    GuideVariable { name: "PUBLIC_DEMO_ADMIN_TOKEN", key: "admin.token" },
];

const PREFIX: &str = "AGENTPAY__";
const FILE_SUFFIX: &str = "_FILE";
/// A secret's file holds one line; anything longer is the wrong file.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Applies every variable that concerns the node; others are none of its business.
pub(crate) fn apply(
    layers: &mut Layers,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<(), Refused> {
    let mut given: BTreeMap<String, (String, Source)> = BTreeMap::new();
    for (name, text) in variables {
        let Some((key, text, source)) = read(layers, &name, text)? else { continue };
        if let Some((other_text, other)) = given.get(&key)
            && *other_text != text
        {
            return Err(Refused(format!(
                "key `{key}` has two different values: from {other} and from {source}"
            )));
        }
        given.insert(key, (text, source));
    }
    for (key, (text, source)) in given {
        layers.apply_text(&key, &text, source)?;
    }
    Ok(())
}

/// Whether a variable of this name is read here.
pub(super) fn is_ours(name: &str) -> bool {
    let stem = name.strip_suffix(FILE_SUFFIX).unwrap_or(name);
    name.starts_with(PREFIX) || GUIDE.iter().any(|variable| variable.name == stem)
}

/// The variable as (key, value text, source); `None` when it is not ours.
fn read(layers: &Layers, name: &str, text: String) -> Result<Option<(String, String, Source)>, Refused> {
    if let Some(variable) = GUIDE.iter().find(|variable| variable.name == name) {
        let text = if name == "NODE_ENV" { node_environment(&text)? } else { text };
        return Ok(Some((variable.key.to_owned(), text, Source::Environment(name.to_owned()))));
    }
    if let Some(stem) = name.strip_suffix(FILE_SUFFIX)
        && let Some(key) = secret_key(stem)
    {
        return Ok(Some((key, read_secret(name, &text)?, Source::EnvironmentFile(name.to_owned()))));
    }
    let Some(rest) = name.strip_prefix(PREFIX) else { return Ok(None) };
    let key = rest.to_ascii_lowercase().replacen("__", ".", 1);
    if !layers.keys().any(|known| known == key) {
        let names: Vec<String> = layers.keys().map(variable_of).collect();
        let advice = match nearest(name, names.iter().map(String::as_str)) {
            Some(candidate) => format!("; did you mean {candidate}?"),
            None => "; `agentpay config print` lists every key".to_owned(),
        };
        return Err(Refused(format!("unknown environment variable {name}{advice}")));
    }
    Ok(Some((key, text, Source::Environment(name.to_owned()))))
}

/// The variable name of a key.
pub(crate) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replacen('.', "__", 1).to_ascii_uppercase())
}

/// The secret that `stem` (a variable name without `_FILE`) stands for.
fn secret_key(stem: &str) -> Option<String> {
    let by_guide =
        GUIDE.iter().find(|variable| variable.name == stem).map(|variable| variable.key.to_owned());
    let key =
        by_guide.or_else(|| Some(stem.strip_prefix(PREFIX)?.to_ascii_lowercase().replacen("__", ".", 1)))?;
    SECRETS.contains(&key.as_str()).then_some(key)
}

fn node_environment(text: &str) -> Result<String, Refused> {
    match text {
        "production" => Ok("production".to_owned()),
        "development" | "test" | "" => Ok("development".to_owned()),
        _ => Err(Refused(format!("NODE_ENV is {text:?}; `production`, `development` or `test` is needed"))),
    }
}

fn read_secret(name: &str, path: &str) -> Result<String, Refused> {
    let refused = |why: String| Refused(format!("{name} names the file {path}: {why}"));
    let size = std::fs::metadata(path).map_err(|error| refused(error.to_string()))?.len();
    if size > SECRET_FILE_BYTES_MAX {
        return Err(refused(format!("it has {size} bytes, at most {SECRET_FILE_BYTES_MAX} make sense")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(variables: &[(&str, &str)]) -> Result<Layers, Refused> {
        let mut layers = Layers::defaults();
        let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        apply(&mut layers, variables).map(|()| layers)
    }

    #[test]
    fn the_guides_variables_work_as_written() {
        let layers = applied(&[
            ("NODE_ENV", "production"),
            ("JWT_SECRET", "a"),
            ("DATABASE_URL", "postgresql://user:pass@db-host:5432/agentpay"),
            ("TRUST_PROXY_HOPS", "1"),
            ("PUBLIC_DEMO_MODE", "true"),
            ("PUBLIC_DEMO_SANDBOX_ONLY", "true"),
            ("PUBLIC_DEMO_ALLOWED_ORIGINS", "https://your-demo-host.example"),
            ("PUBLIC_DEMO_ADMIN_TOKEN", "b"),
            ("PATH", "/usr/bin"),
        ])
        .expect("all known");
        let config = layers.build().expect("valid");
        assert_eq!(config.process.environment, super::super::schema::Environment::Production);
        assert_eq!(config.auth.jwt_secret.reveal(), "a");
        assert_eq!(config.database.url.reveal(), "postgresql://user:pass@db-host:5432/agentpay");
        assert_eq!(config.http.trust_proxy_hops, 1);
        assert!(config.demo.enabled && config.demo.sandbox_only);
        assert_eq!(config.http.allowed_origins, ["https://your-demo-host.example"]);
        assert_eq!(config.admin.token.reveal(), "b");
    }

    #[test]
    fn every_key_has_a_variable() {
        let keys: Vec<String> = Layers::defaults().keys().map(str::to_owned).collect();
        for key in keys {
            let default = Layers::defaults();
            let (_, value, _) = default.iter().find(|(name, _, _)| *name == key).expect("known");
            let text = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Array(_) => String::new(),
                other => other.to_string(),
            };
            let name = variable_of(&key);
            let layers = applied(&[(&name, &text)]).unwrap_or_else(|refused| panic!("{name}: {refused}"));
            assert_eq!(layers.source(&key).to_string(), format!("environment {name}"));
        }
    }

    #[test]
    fn refusals() {
        let cases: [(&[(&str, &str)], &str); 5] = [
            (&[("AGENTPAY__SERVER__LISTN", "x")], "did you mean AGENTPAY__SERVER__LISTEN?"),
            (&[("AGENTPAY__NOTHING_LIKE_IT", "x")], "unknown environment variable AGENTPAY__NOTHING_LIKE_IT"),
            (&[("NODE_ENV", "prod")], "NODE_ENV is \"prod\""),
            (&[("AGENTPAY__ADMIN__TOKEN", "a"), ("PUBLIC_DEMO_ADMIN_TOKEN", "b")], "two different values"),
            (
                &[("JWT_SECRET_FILE", "/nonexistent/secret")],
                "JWT_SECRET_FILE names the file /nonexistent/secret",
            ),
        ];
        for (variables, expected) in cases {
            let why = applied(variables).expect_err("must be refused").0;
            assert!(why.contains(expected), "{why}\n  lacks: {expected}");
        }
    }

    #[test]
    fn other_programs_variables_are_none_of_ours() {
        for (name, expected) in [
            ("AGENTPAY__ANYTHING", true),
            ("NODE_ENV", true),
            ("JWT_SECRET_FILE", true),
            ("PATH", false),
            ("AGENTPAY_BASE_URL", false),
        ] {
            assert_eq!(is_ours(name), expected, "{name}");
        }
    }

    #[test]
    fn equal_values_from_two_names_agree() {
        let layers =
            applied(&[("AGENTPAY__ADMIN__TOKEN", "a"), ("PUBLIC_DEMO_ADMIN_TOKEN", "a")]).expect("equal");
        assert_eq!(layers.build().expect("valid").admin.token.reveal(), "a");
    }

    #[test]
    fn secrets_come_from_files() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("token");
        std::fs::write(&path, "from-a-file\n").expect("written");
        let path = path.to_str().expect("UTF-8");
        for name in ["AGENTPAY__ADMIN__TOKEN_FILE", "PUBLIC_DEMO_ADMIN_TOKEN_FILE"] {
            let layers = applied(&[(name, path)]).expect("known");
            assert_eq!(layers.build().expect("valid").admin.token.reveal(), "from-a-file");
            assert_eq!(layers.source("admin.token").to_string(), format!("file named by {name}"));
        }
    }
}
