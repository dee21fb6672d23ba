//! Harness of the black-box tests: the node as a process, and what its clients use.
//!
//! Role: start, kill, stop and restart nodes on ports the system chooses ([`Node`]), speak HTTP/1.1 with them down to the
//! byte ([`http`]), and the few calls that nearly every test needs ([`Account`]).
//!
//! State: each [`Node`] owns its process and ends it, by its own id, when dropped; a [`DataDir`] lives as long as
//! somebody holds it and is removed afterwards.
//!
//! Non-goals: no crate of the node is used, so that a test can only do what a client or an operator can do. A failure of
//! the harness panics with the node's output: it is a failed test.

mod account;
mod document;
pub mod http;
mod market;
mod node;
mod program;
mod provider;
mod receiver;

pub use account::{Account, PaymentRequest};
pub use document::{Document, nanos};
pub use market::{Authorized, eventually};
pub use node::{ADMIN_TOKEN, DataDir, Exited, Node, NodeBuilder};
pub use program::{CommandOutput, agentpay, program};
pub use provider::Provider;
pub use receiver::{Received, Receiver, Say};
