//! An agent as its own client: keys, wallet, and the calls nearly every test makes.

use crate::http::{Request, Response};
use crate::{Document, Node};

/// An agent that was created through the API.
#[derive(Debug, Clone)]
pub struct Account {
    pub id: String,
    /// Runtime key.
    pub api_key: String,
    /// Owner key.
    pub secret_key: String,
    /// Default wallet.
    pub wallet: String,
}

/// A payment as a test writes it; amounts are the text that goes into the body.
#[derive(Debug, Clone)]
pub struct PaymentRequest<'a> {
    pub from: &'a str,
    /// `"to_wallet_id"` or `"to_external"`, and the payee.
    pub to: (&'static str, &'a str),
    pub amount: &'a str,
    pub key: Option<&'a str>,
}

impl PaymentRequest<'_> {
    /// The JSON body.
    pub fn body(&self) -> String {
        let (member, payee) = self.to;
        let key = self.key.map_or_else(String::new, |key| format!(r#","idempotency_key":"{key}""#));
        format!(r#"{{"from_wallet_id":"{}","{member}":"{payee}","amount":{}{key}}}"#, self.from, self.amount)
    }
}

impl Account {
    /// Creates an agent.
    #[track_caller]
    pub fn create(node: &Node, name: &str) -> Account {
        let request = Request::post("/v1/agents", format!(r#"{{"name":"{name}"}}"#));
        let document = node.send(&request).expect(201).document();
        Account {
            id: document.text("/id").to_owned(),
            api_key: document.text("/api_key").to_owned(),
            secret_key: document.text("/secret_key").to_owned(),
            wallet: document.text("/wallet_id").to_owned(),
        }
    }

    /// Creates an agent whose wallet holds `amount`.
    #[track_caller]
    pub fn funded(node: &Node, name: &str, amount: &str) -> Account {
        let account = Account::create(node, name);
        account.fund(node, amount);
        account
    }

    /// Opens one more wallet and returns its id.
    #[track_caller]
    pub fn open_wallet(&self, node: &Node) -> String {
        let request = Request::post("/v1/wallets", r#"{"currency":"USD"}"#).bearer(&self.secret_key);
        node.send(&request).expect(201).document().text("/id").to_owned()
    }

    #[track_caller]
    pub fn fund(&self, node: &Node, amount: &str) {
        let body = format!(r#"{{"amount":{amount},"source":"test_faucet"}}"#);
        let path = format!("/v1/wallets/{}/fund", self.wallet);
        node.send(&Request::post(path, body).bearer(&self.api_key)).expect(201);
    }

    /// A payment with this agent's runtime key.
    #[track_caller]
    pub fn pay(&self, node: &Node, payment: &PaymentRequest<'_>) -> Response {
        node.send(&self.pay_request(payment))
    }

    pub fn pay_request(&self, payment: &PaymentRequest<'_>) -> Request {
        Request::post("/v1/payments", payment.body()).bearer(&self.api_key)
    }

    /// Pays an external label from the default wallet and returns the payment's id.
    #[track_caller]
    pub fn pay_external(&self, node: &Node, amount: &str) -> String {
        let payment =
            PaymentRequest { from: &self.wallet, to: ("to_external", "merchant:test"), amount, key: None };
        self.pay(node, &payment).expect(201).document().text("/id").to_owned()
    }

    /// The balance document of the default wallet.
    #[track_caller]
    pub fn balance(&self, node: &Node) -> Document {
        let path = format!("/v1/wallets/{}/balance", self.wallet);
        node.send(&Request::get(path).bearer(&self.api_key)).expect(200).document()
    }

    /// `available` of the default wallet as a count of 10^-9.
    #[track_caller]
    pub fn available(&self, node: &Node) -> i128 {
        self.balance(node).nanos(&["available"])
    }

    /// A payment or funding by id.
    #[track_caller]
    pub fn payment(&self, node: &Node, id: &str) -> Response {
        node.send(&Request::get(format!("/v1/payments/{id}")).bearer(&self.api_key))
    }
}
