//! The programs that tests start, built once per test process, and the node's command line.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Overrides the node's program, for example with a release build.
const PROGRAM_VARIABLE: &str = "AGENTPAY_BIN";
/// Overrides the example provider's.
const PROVIDER_VARIABLE: &str = "AGENTPAY_PROVIDER_BIN";

/// Path of the node's program, built with the test's own profile unless `AGENTPAY_BIN` names one.
pub fn program() -> &'static Path {
    // A failed build is remembered too: it would fail again for every test, each after a while.
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = PROGRAM.get_or_init(|| named_or_built(PROGRAM_VARIABLE, "agentpay", "agentpay"));
    built.as_deref().unwrap_or_else(|reason| panic!("{reason}"))
}

/// Path of the example provider's program, built like the node's unless `AGENTPAY_PROVIDER_BIN` names one.
pub(crate) fn provider_program() -> &'static Path {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = PROGRAM.get_or_init(|| named_or_built(PROVIDER_VARIABLE, "examples", "provider"));
    built.as_deref().unwrap_or_else(|reason| panic!("{reason}"))
}

fn named_or_built(variable: &str, package: &str, program: &str) -> Result<PathBuf, String> {
    match std::env::var_os(variable) {
        Some(path) => Ok(PathBuf::from(path)),
        None => build(package, program),
    }
}

/// The programs are of other packages than their tests, so cargo does not build them for these.
fn build(package: &str, program: &str) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--package", package])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("cargo cannot be started: {error}"))?;
    if !status.success() {
        return Err(format!("{program} does not build: run `cargo build -p {package}` and see"));
    }
    let tests = std::env::current_exe().map_err(|error| format!("a test does not know its path: {error}"))?;
    // target/<profile>/deps/<test> -> target/<profile>/<program>
    let path = tests.ancestors().nth(2).map(|profile| profile.join(program));
    match path {
        Some(path) if path.exists() => Ok(path),
        _ => Err(format!("{program} was built, but it is not beside {}", tests.display())),
    }
}

/// What a command of the node printed, and how it ended.
#[derive(Debug)]
pub struct CommandOutput {
    /// `None`: ended by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `agentpay <arguments>` to its end, away from any configuration file of the checkout.
pub fn agentpay(arguments: &[&str]) -> CommandOutput {
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new(program())
        .args(arguments)
        .current_dir(elsewhere.path())
        .stdin(Stdio::null())
        .output()
        .expect("the node's program can be started");
    CommandOutput {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
