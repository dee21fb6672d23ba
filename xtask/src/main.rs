//! The project's one gate and its errands: `cargo xtask <task>`.
//!
//! Everything here starts other programs (cargo, the benchmark, a package manager) and judges their exit codes. It
//! reads no standard input, so it runs the same on a terminal and in CI. Non-goal: being a build system.

mod bench;
mod campaign;
#[cfg(test)]
mod documents;
mod pgo;
mod run;
mod test;
mod tools;
mod verify;

use anyhow::{Result, bail};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask <task>

  verify                        format, lints, lock file, docs, architecture rules, dependency policy; writes nothing
  fix                           format the code and apply the lints' own suggestions
  test                          build and run every test (installs curl and strace if they are missing)
  bench [--quick] [--only ROW]  measure node and floor side by side, print the table
  pgo                           build target/pgo/agentpay by a profile of its own work (needs llvm-profdata)
  crash [--cycles N]            kill -9 under load, N times (default 1000)
  wal-campaign [--runs N]       cut the log's power at every moment of N random runs (default 400)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::say(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((task, rest)) = arguments.split_first() else { bail!("no task named\n\n{USAGE}") };
    match (task.as_str(), rest) {
        ("verify", []) => verify::verify(),
        ("fix", []) => verify::fix(),
        ("test", []) => test::test(),
        ("bench", options) => bench::bench(options),
        ("pgo", []) => pgo::pgo(),
        ("crash", options) => campaign::crash(options),
        ("wal-campaign", options) => campaign::wal(options),
        ("help" | "--help" | "-h", []) => {
            run::say(USAGE);
            Ok(())
        }
        _ => bail!("`{}` is not understood\n\n{USAGE}", arguments.join(" ")),
    }
}
