//! `agentpay routes`: the API's route table, for people and for tests that must not miss a route.

use crate::exit::Failure;
use crate::output::{Output, table};
use serde::Serialize;

#[derive(Serialize)]
struct Line {
    method: &'static str,
    path: &'static str,
    /// `none`, `runtime_or_owner`, `owner` or `admin`.
    auth: &'static str,
    /// Status of success.
    success: u16,
    summary: &'static str,
}

pub(crate) fn print(output: Output) -> Result<(), Failure> {
    let lines: Vec<Line> = api::routes()
        .iter()
        .map(|route| Line {
            method: route.verb.as_str(),
            path: route.path,
            auth: route.auth.as_str(),
            success: route.success,
            summary: route.summary,
        })
        .collect();
    output.answer(&lines, || {
        let rows: Vec<Vec<String>> = lines
            .iter()
            .map(|line| vec![line.method.into(), line.path.into(), line.auth.into(), line.summary.into()])
            .collect();
        table(&["method", "path", "key", "summary"], &rows)
    })
}
