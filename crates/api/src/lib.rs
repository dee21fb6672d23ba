//! The HTTP front end: one route table, typed requests, the engine behind them, exact answers.
//!
//! Role: turns HTTP/1.1 into commands of the engine and its results into JSON. Owner of state: none that matters; what
//! it keeps (rate limits, counters) may be lost with the process. Threads: tokio tasks, one per connection.
//!
//! Invariants: hostile input costs bounded memory and time, and ends in an answer with a code; amounts never pass through
//! a float; secrets are shown once and logged never; an answer and its repetition are the same bytes.
//! Non-goals, and absent on purpose: rules of money, the log, files, environment, the system clock, TLS.
//!
//! A request's way: `gateway` accepts → `connection` drives hyper over the guarded `wire` → `dispatch` finds the route,
//! checks rates and credentials, reads the body → `handlers` → `respond`.

mod address;
mod auth;
mod base32;
mod base64url;
mod bodies;
mod connection;
mod cors;
mod csv;
mod cursor;
mod dispatch;
mod errors;
mod gateway;
mod handlers;
mod idempotency;
mod json;
mod keys;
mod limits;
mod metrics;
mod request;
mod request_id;
mod respond;
mod routes;
mod settings;
mod text;
mod time;
mod wire;
mod x402;

pub use bodies::Bodies;
pub use gateway::{Gateway, RenderMetrics, ServeError};
pub use routes::{Auth, BodyClass, RateClass, Route, Verb, routes};
pub use settings::{Settings, SettingsError};
pub use x402::keys::{TOKEN_LIFETIME_MAX_SECONDS, TokenKey, TokenKeys, TokenKeysError};
