//! The service marketplace as its two sides call it.

use std::time::{Duration, Instant};

use crate::http::{Request, Response};
use crate::{Account, Document, Node};

/// Deadlines are the node's; nothing here needs this long, and reaching it fails the test.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL_EVERY: Duration = Duration::from_millis(10);

/// Asks again and again until there is an answer; panics with `what` when patience ends.
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(POLL_EVERY);
    }
}

/// A token in the hands of its consumer.
#[derive(Debug, Clone)]
pub struct Authorized {
    /// What the provider is given.
    pub token: String,
    pub id: String,
    pub answer: Response,
}

impl Authorized {
    #[track_caller]
    pub fn of(answer: Response) -> Authorized {
        let answer = answer.expect(201);
        let document = answer.document();
        Authorized {
            token: document.text("/token").to_owned(),
            id: document.text("/token_id").to_owned(),
            answer,
        }
    }
}

impl Account {
    /// Registers a service; `more` are further members of the body, each with a comma before it.
    #[track_caller]
    pub fn register(&self, node: &Node, name: &str, price: &str, more: &str) -> Document {
        let body = format!(r#"{{"name":"{name}","price_per_call":{price}{more}}}"#);
        node.send(&Request::post("/v1/services", body).bearer(&self.api_key)).expect(201).document()
    }

    pub fn authorize_request(&self, service: &str, more: &str) -> Request {
        let body = format!(r#"{{"from_wallet_id":"{}"{more}}}"#, self.wallet);
        Request::post(format!("/v1/services/{service}/authorize"), body).bearer(&self.api_key)
    }

    /// Authorises a call from the default wallet.
    #[track_caller]
    pub fn authorize(&self, node: &Node, service: &str, more: &str) -> Authorized {
        Authorized::of(node.send(&self.authorize_request(service, more)))
    }

    pub fn verify_request(&self, token: &str) -> Request {
        Request::post("/v1/x402/verify", format!(r#"{{"payment_token":"{token}"}}"#)).bearer(&self.api_key)
    }

    /// Redeems a token as its provider.
    #[track_caller]
    pub fn verify(&self, node: &Node, token: &str) -> Response {
        node.send(&self.verify_request(token))
    }

    pub fn step_request(&self, token_id: &str, step: &str) -> Request {
        Request::post(format!("/v1/x402/tokens/{token_id}/{step}"), "{}").bearer(&self.api_key)
    }

    /// Reports a step of a call: `call-started`, `call-accepted`, `call-completed`.
    #[track_caller]
    pub fn step(&self, node: &Node, token_id: &str, step: &str) -> Response {
        node.send(&self.step_request(token_id, step))
    }

    /// Takes a token back as its consumer.
    #[track_caller]
    pub fn cancel(&self, node: &Node, token_id: &str) -> Response {
        node.send(&Request::new("DELETE", format!("/v1/x402/tokens/{token_id}")).bearer(&self.api_key))
    }

    /// A token as this agent sees it.
    #[track_caller]
    pub fn token(&self, node: &Node, token_id: &str) -> Response {
        node.send(&Request::get(format!("/v1/x402/tokens/{token_id}")).bearer(&self.api_key))
    }

    /// Waits until a token has the status, and returns it.
    #[track_caller]
    pub fn wait_for_status(&self, node: &Node, token_id: &str, status: &str) -> Document {
        eventually(status, || {
            let document = self.token(node, token_id).expect(200).document();
            (document.text("/status") == status).then_some(document)
        })
    }

    /// `available` and `held` of the default wallet, as text.
    #[track_caller]
    pub fn parts(&self, node: &Node) -> (String, String) {
        let balance = self.balance(node);
        (balance.raw(&["available"]), balance.raw(&["held"]))
    }
}
