//! `cargo xtask bench`: the release build of node and floor, measured side by side by the `bench` program.

use crate::run::{cargo, run, target};
use anyhow::Result;
use std::process::Command;

/// `options` go to the `bench` program as they are (`--quick`, `--only ROW`, `--node PROGRAM` for another build of it).
pub(crate) fn bench(options: &[String]) -> Result<()> {
    run(cargo(&["build", "--locked", "--release", "--package", "agentpay", "--package", "benches"]))?;
    let release = target().join("release");
    let mut command = Command::new(release.join("bench"));
    if !options.iter().any(|option| option == "--node" || option.starts_with("--node=")) {
        command.arg("--node").arg(release.join("agentpay"));
    }
    command.args(options);
    run(command)
}
