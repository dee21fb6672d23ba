//! Edges between our crates, and features of others that must stay off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand};

/// Every crate of the workspace with those of ours that it may depend on outside of tests.
const ALLOWED: [(&str, &[&str]); 17] = [
    ("spread", &[]),
    ("ledger", &[]),
    ("wal", &[]),
    ("journal", &["ledger"]),
    ("snapshot", &["spread", "ledger", "journal"]),
    ("history", &["spread", "ledger", "journal", "wal"]),
    ("idempotency", &["spread", "ledger"]),
    ("engine", &["spread", "ledger", "journal", "wal", "snapshot", "history", "idempotency"]),
    ("webhooks", &["engine", "ledger", "spread"]),
    ("api", &["engine", "ledger", "webhooks"]),
    ("agentpay", &["api", "engine", "webhooks", "ledger", "journal", "wal", "snapshot", "history"]),
    ("testkit", &["ledger", "journal"]),
    ("loadtest", &[]),
    ("examples", &[]),
    ("benches", &["loadtest", "engine", "ledger", "journal", "wal", "snapshot", "history", "idempotency"]),
    ("system-tests", &[]),
    ("xtask", &[]),
];

/// Crates from elsewhere that a crate of ours must not reach, however far away.
const FORBIDDEN: [(&str, &[&str]); 6] = [
    // Pure rules: no runtime, no serialisation, no time, no chance.
    ("ledger", &["tokio", "serde", "ractor", "rand", "getrandom", "jiff", "chrono", "rkyv"]),
    // Opaque records on plain threads.
    ("wal", &["tokio", "ractor", "serde", "hyper", "rkyv"]),
    ("journal", &["tokio", "ractor", "hyper", "serde_json"]),
    ("engine", &["hyper", "serde_json", "tokio-postgres"]),
    // A black box: it may not know how the node is made.
    ("loadtest", &["tokio", "hyper", "ractor"]),
    // Shows what the public API alone is enough for.
    ("examples", &["tokio", "hyper", "ractor"]),
];

/// The dependency graph with default features, as the node is built.
fn metadata() -> &'static Metadata {
    static METADATA: OnceLock<Metadata> = OnceLock::new();
    METADATA.get_or_init(|| {
        MetadataCommand::new()
            .manifest_path(crate::sources::root().join("Cargo.toml"))
            .features(CargoOpt::SomeFeatures(Vec::new()))
            .other_options(vec!["--locked".to_owned(), "--offline".to_owned()])
            .exec()
            .expect("cargo metadata works offline once the workspace is built")
    })
}

/// Direct dependencies of each member by kind, ours only.
fn edges(kinds: &[DependencyKind]) -> BTreeMap<String, BTreeSet<String>> {
    let members: BTreeSet<String> =
        metadata().workspace_packages().iter().map(|package| package.name.to_string()).collect();
    metadata()
        .workspace_packages()
        .iter()
        .map(|package| {
            let ours = package
                .dependencies
                .iter()
                .filter(|dependency| kinds.contains(&dependency.kind) && members.contains(&dependency.name));
            (package.name.to_string(), ours.map(|dependency| dependency.name.clone()).collect())
        })
        .collect()
}

#[test]
fn every_crate_depends_only_on_those_it_may() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    let mut wrong = Vec::new();
    for (package, dependencies) in edges(&[DependencyKind::Normal, DependencyKind::Build]) {
        match allowed.get(package.as_str()) {
            None => wrong.push(format!("{package} is new: say here what it may depend on")),
            Some(allowed) => wrong.extend(
                dependencies
                    .iter()
                    .filter(|dependency| !allowed.contains(&dependency.as_str()))
                    .map(|dependency| format!("{package} must not depend on {dependency}")),
            ),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_testkit_is_for_tests_only() {
    let users: Vec<String> = edges(&[DependencyKind::Normal, DependencyKind::Build])
        .into_iter()
        .filter(|(_, dependencies)| dependencies.contains("testkit"))
        .map(|(package, _)| package)
        .collect();
    assert!(users.is_empty(), "outside of tests, testkit is used by {users:?}");
}

#[test]
fn pure_and_black_box_crates_reach_nothing_they_must_not_know() {
    let mut wrong = Vec::new();
    for (package, forbidden) in FORBIDDEN {
        let reached = reach(package);
        wrong.extend(
            forbidden
                .iter()
                .filter(|name| reached.contains(**name))
                .map(|name| format!("{package} reaches {name}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Names of all packages that a member is built with, over normal edges.
fn reach(member: &str) -> BTreeSet<String> {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("metadata has the resolved graph");
    let names: BTreeMap<_, _> =
        metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let start = metadata
        .workspace_packages()
        .into_iter()
        .find(|package| package.name.as_str() == member)
        .unwrap_or_else(|| panic!("no crate {member}"));
    let mut reached = BTreeSet::new();
    let mut open = vec![&start.id];
    while let Some(id) = open.pop() {
        let normal = nodes[id]
            .deps
            .iter()
            .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal));
        for dependency in normal {
            if reached.insert(names[&dependency.pkg].to_owned()) {
                open.push(&dependency.pkg);
            }
        }
    }
    reached
}

/// It changes how every crate of the build reads numbers, and spreads by feature unification.
#[test]
fn serde_json_never_has_arbitrary_precision() {
    let features = features_of("serde_json");
    assert!(!features.is_empty(), "serde_json is no longer used: remove this test");
    for (package, features) in features {
        assert!(!features.iter().any(|feature| feature == "arbitrary_precision"), "{package}: {features:?}");
        assert!(!features.iter().any(|feature| feature == "float_roundtrip"), "{package}: {features:?}");
    }
}

#[test]
fn ractor_stays_without_its_cluster() {
    for (package, features) in features_of("ractor") {
        for banned in ["cluster", "message_span_propogation"] {
            assert!(!features.iter().any(|feature| feature == banned), "{package}: {features:?}");
        }
    }
}

/// Records on disk have one layout on every machine.
#[test]
fn rkyv_has_an_explicit_format() {
    let features = features_of("rkyv");
    assert!(!features.is_empty(), "rkyv is no longer used: remove this test");
    for (package, features) in features {
        for needed in ["little_endian", "pointer_width_32", "unaligned", "bytecheck"] {
            assert!(
                features.iter().any(|feature| feature == needed),
                "{package} lacks {needed}: {features:?}"
            );
        }
    }
}

/// Each resolved version of a package with the features it is built with.
fn features_of(name: &str) -> Vec<(String, Vec<String>)> {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("metadata has the resolved graph");
    let wanted = metadata.packages.iter().filter(|package| package.name.as_str() == name);
    wanted
        .filter_map(|package| {
            let node = resolve.nodes.iter().find(|node| node.id == package.id)?;
            let features = node.features.iter().map(ToString::to_string).collect();
            Some((format!("{name} {}", package.version), features))
        })
        .collect()
}
