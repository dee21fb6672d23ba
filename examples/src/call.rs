//! One sold call: redeem the token, report the steps, work, deliver.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::agentpay::{AgentPay, Answer};
use crate::http::Message;

/// The provider's service as it stands in the marketplace.
pub(crate) struct Provider {
    agentpay: AgentPay,
    /// What `GET /v1/services/{id}` answered.
    service: Value,
    /// Accepts calls and never completes them.
    breach: bool,
    /// Makes this process's calls different from those of one before it.
    started: u128,
    calls: AtomicU64,
}

/// Status and body for the consumer.
type Told = (u16, Value);

impl Provider {
    /// Asks the node for the service that is to be sold.
    pub(crate) fn open(agentpay: AgentPay, service: String, breach: bool) -> Result<Provider, String> {
        let answer = agentpay.service(&service)?;
        if !answer.is_success() {
            return Err(format!("the node does not know the service {service}: {}", answer.body));
        }
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Ok(Provider { agentpay, service: answer.body, breach, started, calls: AtomicU64::new(0) })
    }

    /// Serves one request of a consumer.
    pub(crate) fn answer(&self, request: &Message) -> Told {
        let in_body = || {
            serde_json::from_slice::<Value>(&request.body).ok()?["payment_token"].as_str().map(str::to_owned)
        };
        match request.header("x-payment-token").map(str::to_owned).or_else(in_body) {
            None => self.terms(),
            Some(token) => self.sell(&token, request.target()).unwrap_or_else(|refused| refused),
        }
    }

    /// 402: what the call costs and how it is paid.
    fn terms(&self) -> Told {
        let id = self.service["id"].as_str().unwrap_or_default();
        let how = json!({
            "error": "payment required",
            "service_id": id,
            "price_per_call": self.service["price_per_call"],
            "currency": self.service["currency"],
            "authorize": format!("POST /v1/services/{id}/authorize"),
            "pay_with_header": "X-Payment-Token",
        });
        (402, how)
    }

    fn sell(&self, token: &str, target: &str) -> Result<Told, Told> {
        let redeemed = self.agentpay.verify(token, &self.call_key()).map_err(unreachable_node)?;
        if !redeemed.is_success() {
            return Err(refused(&redeemed));
        }
        // A token for another service of ours pays for that one only.
        if redeemed.body["service"]["id"] != self.service["id"] {
            return Err((402, json!({"error": "this token pays for another service"})));
        }
        let id = redeemed.body["token_id"].as_str().unwrap_or_default();
        for step in ["call-started", "call-accepted"] {
            self.report(id, step)?;
        }
        if self.breach {
            return Err((503, json!({"error": "this provider breaches its SLA", "token_id": id})));
        }
        let weather = weather(target);
        // Settled first, delivered then: an SLA that has run out has given the money back already.
        let settled = self.report(id, "call-completed")?;
        Ok((200, json!({"weather": weather, "token_id": id, "payment_id": settled.body["payment_id"]})))
    }

    fn report(&self, token_id: &str, step: &str) -> Result<Answer, Told> {
        let answer = self.agentpay.report(token_id, step).map_err(unreachable_node)?;
        if answer.is_success() { Ok(answer) } else { Err(refused(&answer)) }
    }

    /// A new key for every call that is sold, the same for every try to redeem its token.
    fn call_key(&self) -> String {
        format!("call-{}-{}", self.started, self.calls.fetch_add(1, Ordering::Relaxed))
    }
}

/// The node said no: the consumer hears why, and is not served.
fn refused(answer: &Answer) -> Told {
    (if answer.status < 500 { 402 } else { 502 }, answer.body.clone())
}

fn unreachable_node(why: String) -> Told {
    (502, json!({"error": why}))
}

/// The work. Always the same weather for a place, so that tests know it.
fn weather(target: &str) -> Value {
    let city = target.split_once("city=").map_or("nowhere", |(_, city)| city);
    json!({"city": city, "sky": "clear", "degrees": city.len()})
}
