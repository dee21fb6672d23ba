//! Black-box HTTP/1.1 load generator for an AgentPay node.
//!
//! Role: make as many well-formed requests as a plan asks for, over keep-alive connections, and say exactly
//! what came back and how long it took. It shares its cores with the server it measures, so it is built to cost
//! little: one thread, epoll, one `read` and one `write` per request, no allocation per request. Large requests of a
//! closed loop are written, and their answers looked at, while another one is out.
//!
//! - [`Plan`] says how many connections, how long, and whether the loop is closed (a connection asks again as soon
//!   as it was answered) or open (requests have intended start times, and latency counts from those).
//! - A [`Workload`] writes the requests and looks at the answers; [`run`] drives both and returns an [`Outcome`].
//! - [`Population`] creates agents and wallets through the public API; a [`Roster`] numbers them.
//! - [`Traffic`] is the load that remembers: its [`Book`] holds every promise, and [`verify()`] compares them with what
//!   the node says afterwards. [`Payments`] and [`Batches`] are loads without a memory, for benches.
//! - [`NodeProcess`] and [`kill_during`] start, kill and restart a node under load.
//! - [`main`] is the program: command line, runs, searches, comparisons, curves, and their [`report`].
//!
//! State: everything belongs to the thread that calls [`run`]; nothing is shared. Only the killing of a node has a thread
//! of its own.
//!
//! Non-goals: TLS, HTTP/2, chunked answers, pipelining. It depends on no crate of the server, so that it can only
//! use what every client can use.

#[cfg(not(target_os = "linux"))]
compile_error!("loadtest drives epoll directly and runs on Linux only");

mod book;
mod chaos;
mod command;
mod connection;
mod driver;
mod error;
mod fetch;
mod field;
mod findings;
mod kept;
mod money;
mod node;
mod outcome;
mod payments;
mod plan;
mod population;
mod progress;
mod receipt;
pub mod report;
mod request;
mod response;
mod roster;
mod shape;
mod steps;
mod timeline;
mod traffic;
mod verify;
mod workload;

pub use book::{Book, CallPromise, EXTERNAL, Pay, Promise, ShortText, Unknowns};
pub use chaos::{Chaos, Kill, kill_during};
pub use command::main;
pub use driver::{run, run_watched};
pub use error::Error;
pub use fetch::{Fetched, fetch};
pub use findings::{Finding, Findings};
pub use kept::Kept;
pub use money::{NANOS_PER_UNIT, decimal, nanos};
pub use node::{NodeProcess, NodeSpec, OPERATOR_TOKEN};
pub use outcome::{Outcome, Surprise};
pub use payments::{Batches, Payer, Payments};
pub use plan::{Pace, Plan, Target};
pub use population::{Account, Population, PopulationSpec};
pub use progress::{Moment, Unwatched, Watch};
pub use request::RequestTemplate;
pub use roster::{Agent, Roster};
pub use shape::Shape;
pub use timeline::Slice;
pub use traffic::{Market, Mix, Traffic, TrafficSpec, Weights};
pub use verify::{Verification, VerifySpec, verify};
pub use workload::{Answer, Next, Workload};
