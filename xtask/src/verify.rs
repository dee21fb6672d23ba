//! `cargo xtask verify`, the gate that never writes a tracked file, and `cargo xtask fix`, which does.

use crate::run::{cargo, run, say};
use crate::tools;
use anyhow::Result;

pub(crate) fn verify() -> Result<()> {
    // `--locked` makes a stale lock file an error instead of mending it.
    run(quiet_metadata())?;
    run(cargo(&["fmt", "--all", "--check"]))?;
    run(cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // A build of its own, see `test`.
    let model_checked = ["--package", "wal", "--features", "shuttle", "--test", "shuttle"];
    run(cargo(&[&["clippy", "--locked"], &model_checked[..], &["--", "-D", "warnings"]].concat()))?;
    let mut documentation =
        cargo(&["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"]);
    documentation.env("RUSTDOCFLAGS", "-D warnings");
    run(documentation)?;
    run(cargo(&["test", "--locked", "--package", "system-tests", "--test", "architecture"]))?;
    dependency_policy()?;
    say("\nverify: everything holds");
    Ok(())
}

pub(crate) fn fix() -> Result<()> {
    let everything = ["--workspace", "--all-targets", "--allow-dirty", "--allow-staged"];
    let mut clippy = vec!["clippy", "--fix"];
    clippy.extend(everything);
    run(cargo(&clippy))?;
    run(cargo(&["fmt", "--all"]))
}

fn quiet_metadata() -> std::process::Command {
    let mut command = cargo(&["metadata", "--locked", "--format-version", "1"]);
    command.stdout(std::process::Stdio::null());
    command
}

/// Licences, bans and sources by `deny.toml`. The advisory database lies on a host that not every machine reaches, so
/// advisories are a command of their own: `cargo deny check advisories`.
fn dependency_policy() -> Result<()> {
    if !tools::is_installed("cargo-deny") {
        say(
            "note: cargo-deny is not installed, deny.toml was not checked; `cargo install --locked cargo-deny`",
        );
        return Ok(());
    }
    run(cargo(&["deny", "--locked", "--offline", "check", "licenses", "bans", "sources"]))
}
