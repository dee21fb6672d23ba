//! `agentpay config print`.

use crate::config::Loaded;
use crate::exit::Failure;
use crate::output::{Output, table};
use serde::Serialize;

#[derive(Serialize)]
struct Answer {
    key: String,
    value: String,
    source: String,
    variable: String,
}

pub(crate) fn print(loaded: &Loaded, output: Output) -> Result<(), Failure> {
    let lines: Vec<Answer> = loaded
        .lines()
        .into_iter()
        .map(|line| Answer { key: line.key, value: line.value, source: line.source, variable: line.variable })
        .collect();
    output.answer(&lines, || {
        let rows: Vec<Vec<String>> = lines
            .iter()
            .map(|line| vec![line.key.clone(), line.value.clone(), line.source.clone()])
            .collect();
        table(&["key", "value", "source"], &rows)
    })
}
