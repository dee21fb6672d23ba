//! `agentpay routes`: the API's route table, for people and for tests that must not miss a route.

use crate::exit::Failure;
use crate::output::{Output, table};

pub(crate) fn print(output: Output) -> Result<(), Failure> {
    let routes = api::routes();
    output.answer(&routes, || {
        let rows: Vec<Vec<String>> = routes
            .iter()
            .map(|route| vec![route.method.to_string(), route.path.to_string(), route.auth.to_string()])
            .collect();
        table(&["method", "path", "auth"], &rows)
    })
}
