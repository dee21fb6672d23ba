//! Metric names: `agentpay_<part>_<what>_<unit>`, counters end in `_total`, and live in files named `metrics.rs`.

use std::collections::BTreeSet;

use crate::sources::rust;

/// Last words of a name. A number of things has the thing as its unit (`agentpay_engine_wallets`): the ending `_count`
/// belongs to histograms.
const UNITS: [&str; 24] = [
    "total",
    "seconds",
    "bytes",
    "lsn",
    "info",
    "ratio",
    "records",
    "wallets",
    "agents",
    "services",
    "tokens",
    "timers",
    "actors",
    "connections",
    "requests",
    "items",
    "permits",
    "segments",
    "generations",
    "payments",
    "entries",
    "files",
    "threads",
    "batches",
];

/// Every string literal that is a metric name, with the file it stands in.
fn names() -> BTreeSet<(String, String)> {
    let mut names = BTreeSet::new();
    let sources = rust();
    for source in sources.iter().filter(|source| !source.path.starts_with("tests/")) {
        for piece in source.text.split('"').skip(1).step_by(2) {
            let is_name = piece.starts_with("agentpay_")
                && piece
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            if is_name {
                names.insert((piece.to_owned(), source.path.clone()));
            }
        }
    }
    names
}

#[test]
fn metric_names_have_part_what_and_unit() {
    let names = names();
    assert!(!names.is_empty(), "no metrics were found: has their notation changed?");
    let wrong: Vec<&(String, String)> = names
        .iter()
        .filter(|(name, _)| {
            let words: Vec<&str> = name.split('_').collect();
            words.len() < 3 || !words.last().is_some_and(|last| UNITS.contains(last))
        })
        .collect();
    assert!(wrong.is_empty(), "these do not end in a unit: {wrong:#?}");
}

#[test]
fn metrics_live_in_metrics_files() {
    let elsewhere: Vec<(String, String)> =
        names().into_iter().filter(|(_, path)| !path.contains("metrics")).collect();
    assert!(elsewhere.is_empty(), "define these in a metrics.rs: {elsewhere:#?}");
}
