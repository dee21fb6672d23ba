//! Programs that tests need and a fresh machine may lack.

use crate::run::{run, say};
use anyhow::{Result, bail};
use std::process::Command;

/// A program and the Debian package that brings it.
struct Tool {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

const NEEDED: [Tool; 3] = [
    Tool { program: "cc", package: "gcc libc6-dev", why: "links the binaries and builds the allocator" },
    Tool { program: "curl", package: "curl", why: "runs the guide's examples as written" },
    Tool { program: "strace", package: "strace", why: "proves that a sync precedes every acknowledgement" },
];

/// Installs what is missing; where that is not possible, says what to install.
pub(crate) fn provide() -> Result<()> {
    let missing: Vec<&Tool> = NEEDED.iter().filter(|tool| !is_installed(tool.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for tool in &missing {
        say(&format!("{} is missing: it {}", tool.program, tool.why));
    }
    let packages: Vec<&str> = missing.iter().flat_map(|tool| tool.package.split(' ')).collect();
    if !is_installed("apt-get") {
        bail!("install these programs first: {}", packages.join(" "));
    }
    // Package lists may be absent on a fresh image; a failed update matters only if the installation fails too.
    let _ = run(apt(&["update", "-q"]));
    let mut install = vec!["install", "-y", "-q", "--no-install-recommends"];
    install.extend(&packages);
    run(apt(&install))?;
    match missing.iter().find(|tool| !is_installed(tool.program)) {
        None => Ok(()),
        Some(tool) => bail!("{} is still missing after installing {}", tool.program, tool.package),
    }
}

/// True when `program` is on the search path.
pub(crate) fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|directory| directory.join(program).is_file())
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::is_installed;

    #[test]
    fn finds_what_is_there() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-program-anywhere"));
    }
}
