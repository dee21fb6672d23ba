//! Layering: defaults < file < environment < flags, with the source of every value kept.
//!
//! The known keys are the flattened default configuration, so that a key exists in exactly one place: its field in
//! `schema`. A layer can only replace the value of a known key by one of the same type; anything else is refused with
//! the name of the key and, when it was mistyped, the nearest known one. Nothing is repaired silently.

use super::nearest::nearest;
use super::schema::{Config, SECRETS};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Default,
    File(PathBuf),
    Environment(String),
    /// A secret read from the file that an environment variable names.
    EnvironmentFile(String),
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File(path) => write!(f, "file {}", path.display()),
            Source::Environment(name) => write!(f, "environment {name}"),
            Source::EnvironmentFile(name) => write!(f, "file named by {name}"),
            Source::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Why a configuration is refused. Every message names the key and where its value came from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// All keys with their present values and sources.
pub(crate) struct Layers {
    values: BTreeMap<String, (Value, Source)>,
}

/// Shows sources only: values may be secret.
impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.values.iter().map(|(key, (_, source))| (key, source))).finish()
    }
}

impl Layers {
    /// Every key at its default.
    pub(crate) fn defaults() -> Layers {
        let table = Table::try_from(Config::default()).expect("the default configuration is plain TOML");
        let mut values = BTreeMap::new();
        for (section, keys) in table {
            let Value::Table(keys) = keys else { unreachable!("section {section} is a table") };
            for (key, value) in keys {
                values.insert(format!("{section}.{key}"), (value, Source::Default));
            }
        }
        Layers { values }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Value, &Source)> {
        self.values.iter().map(|(key, (value, source))| (key.as_str(), value, source))
    }

    /// Source of a known key.
    pub(crate) fn source(&self, key: &str) -> &Source {
        &self.values.get(key).expect("a known key").1
    }

    /// Takes the text of a TOML file.
    pub(crate) fn apply_file(&mut self, path: &Path, text: &str) -> Result<(), Refused> {
        let table: Table =
            text.parse().map_err(|error| Refused(format!("{}: not valid TOML: {error}", path.display())))?;
        for (section, keys) in table {
            let Value::Table(keys) = keys else {
                return Err(Refused(format!(
                    "{}: `{section}` stands outside a section; write it as [section] key = value",
                    path.display()
                )));
            };
            for (key, value) in keys {
                self.set(&format!("{section}.{key}"), value, Source::File(path.to_owned()))?;
            }
        }
        Ok(())
    }

    /// Takes a value given as text (environment or flag), read as the type of the key's default. Lists are
    /// separated by commas.
    pub(crate) fn apply_text(&mut self, key: &str, text: &str, source: Source) -> Result<(), Refused> {
        let known = self.known(key, &source)?;
        let value = match known {
            Value::String(_) => Value::String(text.to_owned()),
            Value::Integer(_) => Value::Integer(
                text.trim()
                    .parse()
                    .map_err(|_| refused(key, &source, &format!("{text:?} is not a whole number")))?,
            ),
            Value::Boolean(_) => Value::Boolean(match text.trim() {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(refused(key, &source, &format!("{text:?} is neither true nor false"))),
            }),
            Value::Array(_) => Value::Array(
                text.split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(|item| Value::String(item.to_owned()))
                    .collect(),
            ),
            Value::Float(_) | Value::Datetime(_) | Value::Table(_) => unreachable!("no key has this type"),
        };
        self.set(key, value, source)
    }

    /// The typed configuration.
    pub(crate) fn build(&self) -> Result<Config, Refused> {
        let table = table_of(self.values.iter().map(|(key, (value, _))| (key.as_str(), value.clone())));
        match table.try_into::<Config>() {
            Ok(config) => Ok(config),
            Err(error) => Err(self.culprit().unwrap_or_else(|| Refused(error.to_string()))),
        }
    }

    /// Names the key whose value does not fit its type's range, by trying each changed key alone.
    fn culprit(&self) -> Option<Refused> {
        let defaults = Layers::defaults();
        self.values.iter().filter(|(_, (_, source))| *source != Source::Default).find_map(
            |(key, (value, source))| {
                let alone = defaults.values.iter().map(|(other, (default, _))| {
                    (other.as_str(), if other == key { value.clone() } else { default.clone() })
                });
                let error = table_of(alone).try_into::<Config>().err()?;
                let shown =
                    if SECRETS.contains(&key.as_str()) { "the value".to_owned() } else { value.to_string() };
                Some(refused(key, source, &format!("{shown} does not fit: {}", error.message())))
            },
        )
    }

    fn set(&mut self, key: &str, value: Value, source: Source) -> Result<(), Refused> {
        let known = self.known(key, &source)?;
        if known.type_str() != value.type_str() {
            let wanted = known.type_str();
            return Err(refused(
                key,
                &source,
                &format!("is of type {}, {wanted} is needed", value.type_str()),
            ));
        }
        let slot = self.values.get_mut(key).expect("known keys have a slot");
        *slot = (value, source);
        Ok(())
    }

    fn known(&self, key: &str, source: &Source) -> Result<&Value, Refused> {
        if let Some((value, _)) = self.values.get(key) {
            return Ok(value);
        }
        let advice = match nearest(key, self.keys()) {
            Some(candidate) => format!("; did you mean `{candidate}`?"),
            None => "; `agentpay config print` lists every key".to_owned(),
        };
        Err(Refused(format!("unknown key `{key}` ({source}){advice}")))
    }
}

fn refused(key: &str, source: &Source, why: &str) -> Refused {
    Refused(format!("key `{key}` ({source}): {why}"))
}

fn table_of<'a>(values: impl Iterator<Item = (&'a str, Value)>) -> Table {
    let mut table = Table::new();
    for (key, value) in values {
        let (section, key) = key.split_once('.').expect("keys are section.key");
        let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        section.as_table_mut().expect("sections are tables").insert(key.to_owned(), value);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<(), Refused>) -> String {
        result.expect_err("must be refused").0
    }

    #[test]
    fn defaults_survive_the_round_trip() {
        assert_eq!(Layers::defaults().build(), Ok(Config::default()));
    }

    #[test]
    fn every_secret_is_a_key() {
        let layers = Layers::defaults();
        for secret in SECRETS {
            assert!(layers.keys().any(|key| key == secret), "{secret}");
        }
    }

    #[test]
    fn later_layers_win_and_the_source_is_kept() {
        let mut layers = Layers::defaults();
        let file = Path::new("some.toml");
        layers.apply_file(file, "[log]\nsegment_bytes = 1048576\n[snapshot]\nkeep = 3\n").expect("valid");
        layers
            .apply_text(
                "log.segment_bytes",
                "2097152",
                Source::Environment("AGENTPAY__LOG__SEGMENT_BYTES".to_owned()),
            )
            .expect("valid");
        let config = layers.build().expect("valid");
        assert_eq!(config.log.segment_bytes, 2_097_152);
        assert_eq!(config.snapshot.keep, 3);
        assert_eq!(*layers.source("snapshot.keep"), Source::File(file.to_owned()));
        assert_eq!(
            layers.source("log.segment_bytes").to_string(),
            "environment AGENTPAY__LOG__SEGMENT_BYTES"
        );
        assert_eq!(*layers.source("server.listen"), Source::Default);
    }

    #[test]
    fn refusals_name_the_key() {
        let file = |text: &str| message(Layers::defaults().apply_file(Path::new("a.toml"), text));
        let text = |key: &str, text: &str| {
            message(Layers::defaults().apply_text(key, text, Source::Environment("NAME".to_owned())))
        };
        let cases = [
            (
                file("[server]\nlisten = 3100"),
                "key `server.listen` (file a.toml): is of type integer, string is needed",
            ),
            (
                file("[servr]\nlisten = \"x\""),
                "unknown key `servr.listen` (file a.toml); did you mean `server.listen`?",
            ),
            (file("listen = \"x\""), "`listen` stands outside a section"),
            (file("[server"), "not valid TOML"),
            (
                file("[server.listen]\nport = 1"),
                "key `server.listen` (file a.toml): is of type table, string is needed",
            ),
            (
                text("log.segment_bytes", "64M"),
                "key `log.segment_bytes` (environment NAME): \"64M\" is not a whole number",
            ),
            (text("demo.enabled", "yes"), "neither true nor false"),
            (text("nothing.like.this.key", "1"), "`agentpay config print` lists every key"),
        ];
        for (found, expected) in cases {
            assert!(found.contains(expected), "{found}\n  lacks: {expected}");
        }
    }

    #[test]
    fn out_of_range_values_name_the_key() {
        for (key, value) in
            [("ledger.partition", "70000"), ("snapshot.keep", "-1"), ("process.environment", "staging")]
        {
            let mut layers = Layers::defaults();
            layers.apply_text(key, value, Source::Flag("--set")).expect("the type is right");
            let why = layers.build().expect_err("out of range").0;
            assert!(why.contains(&format!("key `{key}` (flag --set)")), "{why}");
        }
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let mut layers = Layers::defaults();
        layers.apply_text("ledger.currencies", "USD, EUR ,,GBP", Source::Flag("x")).expect("valid");
        assert_eq!(layers.build().expect("valid").ledger.currencies, ["USD", "EUR", "GBP"]);
    }
}
