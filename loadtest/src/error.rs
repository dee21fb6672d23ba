//! What can end a run early. Answers that were not hoped for are no errors: they are part of the outcome.

use std::io;

/// Why a run or a population could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{url}` is not an http://host:port address: {reason}")]
    Target { url: String, reason: &'static str },
    #[error("the plan is not usable: {0}")]
    Plan(&'static str),
    #[error("cannot connect to {authority}")]
    Connect { authority: String, source: io::Error },
    #[error("cannot {what}")]
    Poll { what: &'static str, source: io::Error },
    #[error("every connection to {authority} was lost and none could be opened again; last cause: {cause}")]
    AllConnectionsLost { authority: String, cause: String },
    #[error("{step}: status {status}, body {body}")]
    Refused { step: &'static str, status: u16, body: String },
    #[error("{step}: the answer has no text field `{field}`: {body}")]
    Shape { step: &'static str, field: &'static str, body: String },
    #[error("{step}: {missing} of {wanted} requests were never answered")]
    Incomplete { step: &'static str, missing: usize, wanted: usize },
}
