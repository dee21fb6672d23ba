//! The calls of the AgentPay API that a provider needs.
//!
//! An answer that was lost, or a node that is busy, is met by sending the same request again: every one of these may be
//! sent twice. For redeeming a token that takes an idempotency key, which must be new for every call that is sold: under
//! one key per token, a consumer who presents a token twice would be served twice.

use std::fmt::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::http::Connection;

const TRIES_MAX: u32 = 5;

/// A node, and the provider's key for it.
pub(crate) struct AgentPay {
    /// `host:port`
    host: String,
    key: String,
}

/// Status and body of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl AgentPay {
    pub(crate) fn new(node: &str, key: String) -> Result<AgentPay, String> {
        let host = node.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        match host {
            Some(host) if host.contains(':') && !host.contains('/') => {
                Ok(AgentPay { host: host.to_owned(), key })
            }
            _ => Err(format!("{node:?} is not an address such as http://127.0.0.1:3100")),
        }
    }

    /// `GET /v1/services/{id}`
    pub(crate) fn service(&self, id: &str) -> Result<Answer, String> {
        self.send("GET", &format!("/v1/services/{id}"), &[])
    }

    /// `POST /v1/x402/verify`: redeems a token.
    pub(crate) fn verify(&self, token: &str, idempotency_key: &str) -> Result<Answer, String> {
        let headers = [("x-payment-token", token), ("idempotency-key", idempotency_key)];
        self.send("POST", "/v1/x402/verify", &headers)
    }

    /// `POST /v1/x402/tokens/{id}/call-…`: reports a step.
    pub(crate) fn report(&self, token_id: &str, step: &str) -> Result<Answer, String> {
        self.send("POST", &format!("/v1/x402/tokens/{token_id}/{step}"), &[])
    }

    /// Sends until there is an answer that another try would not change.
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
        let mut failure = String::new();
        for attempt in 0..TRIES_MAX {
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(50 << attempt));
            }
            match self.try_send(method, path, headers) {
                Ok(answer) if !matches!(answer.status, 429 | 503) => return Ok(answer),
                Ok(answer) => failure = format!("{method} {path}: {}", answer.status),
                Err(error) => failure = format!("{method} {path}: {error}"),
            }
        }
        Err(failure)
    }

    fn try_send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Answer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.host);
        let mut header = |name: &str, value: &str| {
            // What a caller sent must not become a line of our own request.
            let value: String = value.chars().filter(|character| !character.is_control()).collect();
            let _ = write!(request, "{name}: {value}\r\n");
        };
        header("authorization", &format!("Bearer {}", self.key));
        headers.iter().for_each(|(name, value)| header(name, value));
        if method == "POST" {
            header("content-type", "application/json");
            header("content-length", "2");
        }
        request.push_str("\r\n");
        if method == "POST" {
            request.push_str("{}");
        }
        let answer = Connection::new(TcpStream::connect(&self.host)?)?.exchange(&request)?;
        let status = answer.status().unwrap_or(0);
        Ok(Answer { status, body: serde_json::from_slice(&answer.body).unwrap_or(Value::Null) })
    }
}
