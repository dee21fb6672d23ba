//! `cargo xtask test`: every test of the workspace, then one closing line with the sums.

use crate::run::{cargo, run, run_watched, say};
use crate::tools;
use anyhow::{Result, bail};

/// Sums over every test binary that ran.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// What is tested, one run of cargo each. The commit path's model checker replaces its locks and threads, so it cannot
/// share a build with the other tests.
const SELECTIONS: [&[&str]; 3] = [
    &["--workspace", "--lib", "--bins", "--tests"],
    &["--package", "wal", "--features", "shuttle", "--test", "shuttle"],
    &["--workspace", "--doc"],
];

pub(crate) fn test() -> Result<()> {
    tools::provide()?;
    // The system tests start the node and the example provider as processes of their own.
    run(cargo(&["build", "--locked", "--package", "agentpay", "--package", "examples"]))?;
    let mut tally = Tally::default();
    let mut succeeded = true;
    for selection in SELECTIONS {
        let mut arguments = vec!["test", "--locked", "--no-fail-fast"];
        arguments.extend(selection);
        succeeded &= run_watched(cargo(&arguments), |line| tally.add(line))?;
    }
    say(&format!("\n{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.ignored));
    if tally.passed == 0 {
        bail!("no test ran");
    }
    if !succeeded || tally.failed > 0 {
        bail!("tests failed");
    }
    Ok(())
}

impl Tally {
    /// Takes a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`; other lines change nothing.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        let counts = counts.split_once(". ").map_or(counts, |(_, counts)| counts);
        for part in counts.split(';') {
            let Some((count, what)) = part.trim().split_once(' ') else { continue };
            let Ok(count) = count.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn sums_the_lines_of_the_test_runner() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ] {
            tally.add(line);
        }
        assert_eq!(tally, Tally { passed: 13, failed: 2, ignored: 1 });
    }
}
