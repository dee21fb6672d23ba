//! `agentpay version`.

use crate::exit::Failure;
use crate::output::Output;
use serde::Serialize;

#[derive(Serialize)]
struct Answer {
    name: &'static str,
    version: &'static str,
}

pub(crate) fn print(output: Output) -> Result<(), Failure> {
    let answer = Answer { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") };
    output.answer(&answer, || format!("{} {}", answer.name, answer.version))
}
