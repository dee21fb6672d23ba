//! `cargo xtask pgo`: a node that was compiled with a profile of its own work.
//!
//! Three builds' worth of minutes: a node that counts, a load that makes it count (single payments, full batches, reads),
//! and a node that is laid out by what was counted. It behaves as any other node. Nothing of it is needed for `cargo build`.

use crate::run::{cargo, output, root, run, say, target};
use crate::tools::is_installed;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the node does while it counts; each with a node of its own. Few wallets and seconds: shapes matter, not sizes.
const LOADS: [&[&str]; 4] = [
    &["payments", "--connections", "256", "--seconds", "8"],
    &["payments", "--connections", "64", "--seconds", "8"],
    &["batch", "--connections", "1", "--items", "8189", "--agents", "1", "--seconds", "6"],
    &["mixed", "--connections", "32", "--seconds", "6"],
];

pub(crate) fn pgo() -> Result<()> {
    let rustc = RustC::ask()?;
    let merge = rustc.profdata()?;
    let directory = target().join("pgo");
    let counts = directory.join("counts");
    // Of an earlier run, and of other code.
    if counts.exists() {
        fs::remove_dir_all(&counts).with_context(|| format!("cannot remove {}", counts.display()))?;
    }
    fs::create_dir_all(&counts).with_context(|| format!("cannot create {}", counts.display()))?;

    run(cargo(&["build", "--locked", "--release", "--package", "loadtest"]))?;
    let counting = build(&rustc, &directory, &format!("-Cprofile-generate={}", counts.display()))?;
    for load in LOADS {
        let mut command = Command::new(target().join("release/loadtest"));
        // Reading everything back, as a load test does, would make the profile one of reads.
        command.args(load).args(["--verify-sample", "1000", "--quiet", "--start-node"]).arg(&counting);
        run(command)?;
    }
    let profile = directory.join("node.profdata");
    let mut command = Command::new(merge);
    command.args(["merge", "--output"]).arg(&profile).arg(&counts);
    run(command)?;

    let built = build(&rustc, &directory, &format!("-Cprofile-use={}", profile.display()))?;
    let node = directory.join("agentpay");
    fs::copy(&built, &node).with_context(|| format!("cannot copy {}", built.display()))?;
    say(&format!("\nThe node is {}. To see what it gained:", node.display()));
    say(&format!("cargo xtask bench --only singles --node {}", node.display()));
    Ok(())
}

/// The node built with one more flag for everything in it. The flag is not for build scripts, hence the target.
fn build(rustc: &RustC, directory: &Path, flag: &str) -> Result<PathBuf> {
    let mut flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    flags.push(' ');
    flags.push_str(flag);
    let mut command =
        cargo(&["build", "--locked", "--release", "--package", "agentpay", "--target", &rustc.host]);
    command.env("RUSTFLAGS", flags.trim()).env("CARGO_TARGET_DIR", directory);
    run(command)?;
    Ok(directory.join(&rustc.host).join("release/agentpay"))
}

/// What has to be known of the compiler.
#[derive(Debug, PartialEq, Eq)]
struct RustC {
    host: String,
    /// Profiles are read by tools of the same major version.
    llvm: String,
}

impl RustC {
    fn ask() -> Result<Self> {
        let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        command.arg("-vV").current_dir(root());
        Self::parse(&output(command)?).context("`rustc -vV` tells no host or no version of LLVM")
    }

    fn parse(text: &str) -> Option<Self> {
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let llvm = line("LLVM version: ")?.split('.').next()?;
        Some(Self { host: line("host: ")?.to_owned(), llvm: llvm.to_owned() })
    }

    /// The program that merges profiles, of a version that reads what this compiler's nodes write.
    fn profdata(&self) -> Result<OsString> {
        let mut sysroot = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        sysroot.args(["--print", "sysroot"]).current_dir(root());
        let tools = Path::new(output(sysroot)?.trim()).join("lib/rustlib").join(&self.host).join("bin");
        let versioned = format!("llvm-profdata-{}", self.llvm);
        let found = std::env::var_os("LLVM_PROFDATA")
            .or_else(|| Some(tools.join("llvm-profdata")).filter(|path| path.is_file()).map(OsString::from))
            .or_else(|| is_installed(&versioned).then(|| versioned.clone().into()))
            .or_else(|| is_installed("llvm-profdata").then(|| "llvm-profdata".into()));
        let advice = format!(
            "install it with `rustup component add llvm-tools`, or Debian's package llvm-{}, or name it in LLVM_PROFDATA",
            self.llvm
        );
        let Some(found) = found else { bail!("llvm-profdata is missing: {advice}") };
        let mut version = Command::new(&found);
        version.arg("--version");
        let version = output(version)?;
        if !is_of(&version, &self.llvm) {
            bail!("llvm-profdata is not of LLVM {}, as the compiler is: {advice}", self.llvm);
        }
        Ok(found)
    }
}

/// Whether a tool of LLVM that says this of itself has that major version.
fn is_of(version: &str, major: &str) -> bool {
    let numbers =
        version.lines().filter_map(|line| line.split_once("LLVM version ")).map(|(_, number)| number);
    numbers.into_iter().any(|number| number.split('.').next() == Some(major))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_version_are_found() {
        let text = "rustc 1.95.0 (0 2026-04-14)\nhost: x86_64-unknown-linux-gnu\nrelease: 1.95.0\nLLVM version: 22.1.2\n";
        let expected = RustC { host: "x86_64-unknown-linux-gnu".to_owned(), llvm: "22".to_owned() };
        assert_eq!(RustC::parse(text), Some(expected));
        assert_eq!(RustC::parse("rustc 1.95.0"), None);
        RustC::ask().expect("the compiler of this workspace says both");
    }

    #[test]
    fn tools_of_another_version_are_refused() {
        for (text, expected) in [
            ("Debian LLVM version 22.1.8\n  Optimized build.", true),
            ("LLVM (http://llvm.org/):\n  LLVM version 22.1.2-rust-1.95.0-stable", true),
            ("LLVM version 2.2", false),
            ("LLVM version 14.0.6", false),
            ("something else", false),
        ] {
            assert_eq!(is_of(text, "22"), expected, "{text}");
        }
    }
}
