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
    #[error("{step}: status {status}, body {body}{advice}")]
    Refused { step: &'static str, status: u16, body: String, advice: &'static str },
    #[error("the node has no {route}: this version offers no services and x402 tokens; it answered {body}")]
    NoSuchRoute { route: &'static str, body: String },
    #[error("cannot {what}")]
    Node { what: String, source: io::Error },
    #[error("the node {what}; it wrote: {written}")]
    NodeEnded { what: String, written: String },
    #[error("{step}: the answer has no text field `{field}`: {body}")]
    Shape { step: &'static str, field: &'static str, body: String },
    #[error("{step}: {missing} of {wanted} requests were never answered")]
    Incomplete { step: &'static str, missing: usize, wanted: usize },
}

impl Error {
    pub(crate) fn refused(step: &'static str, status: u16, body: &[u8]) -> Error {
        let body = String::from_utf8_lossy(body).into_owned();
        let advice = advice(step, status, &body);
        Error::Refused { step, status, body, advice }
    }
}

/// What to do about a refusal that a node with its default settings gives to a load test.
fn advice(step: &str, status: u16, body: &str) -> &'static str {
    if status == 429 && step == "create an agent" {
        return "\n\nA node lets one address create 30 agents per minute unless told otherwise. Start it with \
                AGENTPAY__RATES__ANONYMOUS_PER_MINUTE=1000000, let loadtest start it (--start-node), or ask for \
                fewer --agents and more --wallets-per-agent.";
    }
    if status == 429 {
        return "\n\nRates are limited per agent and per address. Start the node with \
                AGENTPAY__RATES__AGENT_PER_SECOND and AGENTPAY__RATES__ADDRESS_PER_SECOND above the load, or let \
                loadtest start it (--start-node).";
    }
    if body.contains("faucet") {
        return "\n\nThe faucet gives a wallet 1000000 over its life unless told otherwise: ask for less with --fund, \
                or start the node with a higher AGENTPAY__LEDGER__FAUCET_CAP.";
    }
    if body.contains("wallets") && step == "open a wallet" {
        return "\n\nAn agent has at most 1000 wallets unless told otherwise: ask for more --agents, or start the node \
                with a higher AGENTPAY__LEDGER__WALLETS_PER_AGENT_MAX.";
    }
    ""
}
