//! The node's configuration: read once at start, checked completely, then immutable.
//!
//! Owner of the environment variables and of the configuration file: nothing else in the program reads either.
//! Order: defaults < `config/agentpay.toml` in the working directory (or `--config`) < environment < flags.

mod environment;
mod layers;
mod nearest;
mod production;
mod schema;
mod secret;

pub(crate) use layers::{Refused, Source};
pub(crate) use schema::{Config, Environment, LogFormat};
pub(crate) use secret::Secret;

use layers::Layers;
use std::path::{Path, PathBuf};

/// File that is read from the working directory when no `--config` is given and it exists.
const DEFAULT_FILE: &str = "config/agentpay.toml";

/// Values given as flags of the command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    pub config: Option<PathBuf>,
    pub data_dir: Option<String>,
    pub listen: Option<String>,
    pub metrics_listen: Option<String>,
}

/// The effective configuration with the source of every value.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub config: Config,
    layers: Layers,
}

/// One line of `agentpay config print`.
pub(crate) struct Line {
    pub key: String,
    /// TOML text; secrets are masked.
    pub value: String,
    pub source: String,
    /// The environment variable that sets this key.
    pub variable: String,
}

impl Loaded {
    /// Reads and checks everything; refuses rather than repairs.
    pub(crate) fn load(flags: &Flags) -> Result<Loaded, Refused> {
        let mut variables = Vec::new();
        for (name, value) in std::env::vars_os() {
            // A name that is not text is not one of ours.
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => variables.push((name, value)),
                Err(_) if environment::is_ours(&name) => {
                    return Err(Refused(format!("the value of environment variable {name} is not UTF-8")));
                }
                Err(_) => {}
            }
        }
        Loaded::from(flags, Path::new(DEFAULT_FILE), variables.into_iter())
    }

    fn from(
        flags: &Flags,
        default_file: &Path,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Loaded, Refused> {
        let mut layers = Layers::defaults();
        match &flags.config {
            Some(path) => layers.apply_file(path, &read_file(path)?)?,
            None if default_file.exists() => layers.apply_file(default_file, &read_file(default_file)?)?,
            None => {}
        }
        environment::apply(&mut layers, variables)?;
        let given = [
            ("data.dir", "--data-dir", &flags.data_dir),
            ("server.listen", "--listen", &flags.listen),
            ("metrics.listen", "--metrics-listen", &flags.metrics_listen),
        ];
        for (key, flag, value) in given {
            if let Some(value) = value {
                layers.apply_text(key, value, Source::Flag(flag))?;
            }
        }
        let config = layers.build()?;
        production::check(&config, &layers)?;
        Ok(Loaded { config, layers })
    }

    /// Every key with its value and source, in order of the keys.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.layers
            .iter()
            .map(|(key, value, source)| Line {
                key: key.to_owned(),
                value: if schema::SECRETS.contains(&key) { masked(value) } else { value.to_string() },
                source: source.to_string(),
                variable: environment::variable_of(key),
            })
            .collect()
    }

    /// What is accepted because the guide names it, but has no effect in this version: said once, at start.
    pub(crate) fn without_effect(&self) -> Vec<&'static str> {
        let mut notes = Vec::new();
        if self.config.database.url.is_set() {
            notes.push(
                "DATABASE_URL is set, but this version does not connect to a database: log, snapshots and index are \
                 files in the data directory",
            );
        }
        if self.config.auth.jwt_secret.is_set() {
            notes.push(
                "JWT_SECRET is set, but this version signs no tokens with it: agents authenticate by API key",
            );
        }
        if self.config.demo.enabled {
            notes.push("PUBLIC_DEMO_MODE is set, but this version has no explorer sessions or invites");
        }
        notes
    }
}

fn masked(value: &toml::Value) -> String {
    let is_set = value.as_str().is_some_and(|text| !text.is_empty());
    if is_set { "\"***\"".to_owned() } else { "\"\"".to_owned() }
}

fn read_file(path: &Path) -> Result<String, Refused> {
    std::fs::read_to_string(path).map_err(|error| Refused(format!("cannot read {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file that is delivered with the sources.
    const DELIVERED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/agentpay.toml");

    fn load(file: Option<&Path>, variables: &[(&str, &str)], flags: Flags) -> Result<Loaded, Refused> {
        let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Loaded::from(&flags, file.unwrap_or(Path::new("/nonexistent/agentpay.toml")), variables)
    }

    #[test]
    fn the_delivered_file_has_every_key_at_its_default() {
        let text = std::fs::read_to_string(DELIVERED).expect("the delivered configuration file");
        let mut layers = Layers::defaults();
        layers.apply_file(Path::new(DELIVERED), &text).expect("every key in the file is known");
        for (key, value, source) in layers.iter() {
            assert_ne!(*source, Source::Default, "`{key}` is missing in config/agentpay.toml");
            let defaults = Layers::defaults();
            let (_, default, _) = defaults.iter().find(|(name, _, _)| *name == key).expect("known");
            assert_eq!(value, default, "`{key}` in config/agentpay.toml differs from the code's default");
        }
    }

    #[test]
    fn every_delivered_key_has_a_comment() {
        let text = std::fs::read_to_string(DELIVERED).expect("the delivered configuration file");
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            if line.contains('=') && !line.starts_with('#') {
                let above = number.checked_sub(1).map(|above| lines[above]).unwrap_or_default();
                assert!(
                    above.starts_with("# "),
                    "line {} of config/agentpay.toml has no comment above",
                    number + 1
                );
            }
        }
    }

    #[test]
    fn flags_beat_environment_beats_file_beats_default() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("agentpay.toml");
        std::fs::write(&file, "[server]\nlisten = \"127.0.0.1:1\"\n").expect("written");
        let environment = [("AGENTPAY__SERVER__LISTEN", "127.0.0.1:2")];
        let flag = Flags { listen: Some("127.0.0.1:3".to_owned()), ..Flags::default() };
        let cases = [
            (None, &environment[..0], Flags::default(), "127.0.0.1:3100"),
            (Some(file.as_path()), &environment[..0], Flags::default(), "127.0.0.1:1"),
            (Some(file.as_path()), &environment[..], Flags::default(), "127.0.0.1:2"),
            (Some(file.as_path()), &environment[..], flag, "127.0.0.1:3"),
        ];
        for (file, variables, flags, expected) in cases {
            let loaded = load(file, variables, flags).expect("valid");
            assert_eq!(loaded.config.server.listen, expected);
        }
    }

    #[test]
    fn a_named_file_must_exist() {
        let flags = Flags { config: Some(PathBuf::from("/nonexistent/named.toml")), ..Flags::default() };
        let why = load(None, &[], flags).expect_err("must be refused").0;
        assert!(why.contains("cannot read /nonexistent/named.toml"), "{why}");
    }

    #[test]
    fn printed_lines_mask_secrets() {
        let canary = "canary-6d1f7c";
        let loaded = load(
            None,
            &[("JWT_SECRET", canary), ("DATABASE_URL", canary), ("PUBLIC_DEMO_ADMIN_TOKEN", canary)],
            Flags::default(),
        )
        .expect("valid");
        let lines = loaded.lines();
        assert_eq!(lines.iter().filter(|line| line.value == "\"***\"").count(), 3);
        for line in &lines {
            assert!(!line.value.contains(canary), "{} shows a secret", line.key);
        }
        assert!(!format!("{loaded:?}").contains(canary), "the configuration itself shows a secret");
        assert_eq!(loaded.without_effect().len(), 2);
    }
}
