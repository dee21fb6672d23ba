//! `cargo xtask bench`: the release build of node and floor, measured side by side by the `bench` program.

use crate::run::{cargo, run, target};
use anyhow::Result;
use std::process::Command;

/// `options` go to the `bench` program as they are (`--quick`, `--only ROW`).
pub(crate) fn bench(options: &[String]) -> Result<()> {
    run(cargo(&["build", "--locked", "--release", "--package", "agentpay", "--package", "benches"]))?;
    let release = target().join("release");
    let mut command = Command::new(release.join("bench"));
    command.arg("--node").arg(release.join("agentpay")).args(options);
    run(command)
}
