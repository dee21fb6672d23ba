//! `loadtest`: loads a node over HTTP, measures, and verifies that it kept its promises. See `docs/loadtest.md`.

use std::process::ExitCode;

fn main() -> ExitCode {
    loadtest::main()
}
