//! Black-box tests of a node: started as a process, spoken to over HTTP, killed and restarted.
//!
//! One binary with a module per question. Nothing here asserts how long anything takes; waiting ends with patience, far
//! above any real need.

#![expect(clippy::print_stdout, reason = "seeds are printed, so that a failure can be repeated")]

mod crash;
mod disputes;
mod disputes_crash;
mod guide;
mod guide_market;
mod idempotency;
mod journal;
mod limits;
mod operations;
mod payments;
mod policies;
mod route_matrix;
mod secrets;
mod services;
mod slow_clients;
mod smuggling;
mod webhooks;
mod webhooks_delivery;
mod x402_crash;
mod x402_flow;
mod x402_races;
mod x402_tokens;
