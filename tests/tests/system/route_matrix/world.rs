//! What the rows of the matrix are tried on: agents with objects of every kind, and their credentials.

use std::sync::atomic::{AtomicUsize, Ordering};

use system_tests::http::Request;
use system_tests::{ADMIN_TOKEN, Account, Authorized, Node, PaymentRequest};

use super::Credential;

/// A receiver that is not there.
pub(super) const NOWHERE: &str = "http://127.0.0.1:9/matrix";

pub(super) fn new_webhook(node: &Node, agent: &Account) -> String {
    let body = format!(r#"{{"url":"{NOWHERE}","events":["token.*"]}}"#);
    let request = Request::post("/v1/webhooks", body).bearer(&agent.api_key);
    node.send(&request).expect(201).document().text("/id").to_owned()
}

/// The redemption, among the steps of a call.
pub(super) const VERIFY: &str = "verify";

/// Everything one row is tried on: an agent with objects, its partner in trade, and somebody else.
pub(super) struct World {
    pub(super) agent: Account,
    pub(super) other: Account,
    pub(super) partner: Account,
    /// The agent's service.
    pub(super) service: String,
    pub(super) partner_service: String,
    pub(super) webhook: String,
    /// Id of a token that the agent holds, for the partner's service.
    pub(super) bought: String,
    names: AtomicUsize,
    pub(super) payment_id: String,
    /// A wallet of the agent that nobody's sums are taken of.
    pub(super) second_wallet: String,
    pub(super) revoked_key: String,
    pub(super) expired_key: String,
    pub(super) read_key: String,
}

impl World {
    pub(super) fn create(node: &Node) -> World {
        let agent = Account::funded(node, "matrix", "100");
        let other = Account::funded(node, "matrix-other", "100");
        let partner = Account::funded(node, "matrix-partner", "100");
        let payment_id = agent.pay_external(node, "1");
        let register = |account: &Account, name: &str| {
            account
                .register(
                    node,
                    &format!("{name} {}", account.id),
                    "0.5",
                    &format!(r#","endpoint_url":"{NOWHERE}""#),
                )
                .text("/id")
                .to_owned()
        };
        let service = register(&agent, "service");
        let partner_service = register(&partner, "partner");
        let webhook = new_webhook(node, &agent);
        let bought = agent.authorize(node, &partner_service, "").id;
        let second_wallet = agent.open_wallet(node);
        let mut world = World {
            agent,
            other,
            partner,
            service,
            partner_service,
            webhook,
            bought,
            names: AtomicUsize::new(0),
            payment_id,
            second_wallet,
            revoked_key: String::new(),
            expired_key: String::new(),
            read_key: String::new(),
        };
        let (revoked_key, id) = world.new_key(node, "{}");
        let revoke = Request::new("DELETE", world.agent_path(&format!("/keys/{id}")));
        node.send(&revoke.bearer(&world.agent.secret_key)).expect(204);
        world.revoked_key = revoked_key;
        world.expired_key = world.new_key(node, &format!(r#"{{"expires_at":"{}"}}"#, in_two_seconds())).0;
        world.read_key = world.new_key(node, r#"{"scopes":["read"]}"#).0;
        world
    }

    pub(super) fn agent_path(&self, rest: &str) -> String {
        format!("/v1/agents/{}{rest}", self.agent.id)
    }

    pub(super) fn wallet_path(&self, rest: &str) -> String {
        format!("/v1/wallets/{}{rest}", self.agent.wallet)
    }

    pub(super) fn service_path(&self, rest: &str) -> String {
        format!("/v1/services/{}{rest}", self.service)
    }

    pub(super) fn webhook_path(&self, rest: &str) -> String {
        format!("/v1/webhooks/{}{rest}", self.webhook)
    }

    /// A payment that the agent has received.
    pub(super) fn received(&self, node: &Node) -> String {
        let to = ("to_wallet_id", self.second_wallet.as_str());
        let payment = PaymentRequest { from: &self.partner.wallet, to, amount: "1", key: None };
        self.partner.pay(node, &payment).expect(201).document().text("/id").to_owned()
    }

    /// A dispute that the agent has opened.
    pub(super) fn dispute(&self, node: &Node) -> String {
        let body = format!(r#"{{"payment_id":"{}","reason":"matrix"}}"#, self.received(node));
        let request = Request::post("/v1/disputes", body).bearer(&self.agent.api_key);
        node.send(&request).expect(201).document().text("/id").to_owned()
    }

    pub(super) fn dispute_path(&self, node: &Node, rest: &str) -> String {
        format!("/v1/disputes/{}{rest}", self.dispute(node))
    }

    /// A delivery of the agent's webhook.
    pub(super) fn delivery(&self, node: &Node) -> String {
        let request = Request::post(self.webhook_path("/test"), "{}").bearer(&self.agent.api_key);
        node.send(&request).expect(201).document().text("/id").to_owned()
    }

    /// A name that no service has.
    pub(super) fn new_name(&self) -> String {
        format!("{} {}", self.agent.id, self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// A token that the partner holds for the agent's service, after these steps by the agent.
    pub(super) fn sold(&self, node: &Node, steps: &[&str]) -> Authorized {
        let authorized = self.partner.authorize(node, &self.service, "");
        for step in steps {
            match *step {
                VERIFY => self.agent.verify(node, &authorized.token).expect(200),
                step => self.agent.step(node, &authorized.id, step).expect(200),
            };
        }
        authorized
    }

    /// A step of a call that is ready for it.
    pub(super) fn step(&self, node: &Node, before: &[&str], step: &str) -> Request {
        self.agent.step_request(&self.sold(node, before).id, step).without("authorization")
    }

    pub(super) fn payment(&self) -> String {
        let to = ("to_external", "merchant:matrix");
        PaymentRequest { from: &self.agent.wallet, to, amount: "1", key: None }.body()
    }

    /// A further runtime key of the agent, and its id.
    pub(super) fn new_key(&self, node: &Node, body: &str) -> (String, String) {
        let request = Request::post(self.agent_path("/keys"), body).bearer(&self.agent.secret_key);
        let document = node.send(&request).expect(201).document();
        (document.text("/api_key").to_owned(), document.text("/id").to_owned())
    }

    pub(super) fn authorise(&self, request: Request, credential: Credential, strangers_key: &str) -> Request {
        let key = match credential {
            Credential::Nothing => return request,
            Credential::WrongScheme => {
                return request.header("authorization", &format!("Basic {}", self.agent.api_key));
            }
            Credential::Garbage => "garbage".to_owned(),
            Credential::Misspelt => misspelt(&self.agent.api_key),
            Credential::Unknown => strangers_key.to_owned(),
            Credential::Revoked => self.revoked_key.clone(),
            Credential::Expired => self.expired_key.clone(),
            Credential::OtherRuntime => self.other.api_key.clone(),
            Credential::OtherOwner => self.other.secret_key.clone(),
            Credential::Admin => ADMIN_TOKEN.to_owned(),
            Credential::ReadOnly => self.read_key.clone(),
            Credential::Runtime => self.agent.api_key.clone(),
            Credential::Owner => self.agent.secret_key.clone(),
        };
        request.bearer(&key)
    }
}

/// Another letter of the same alphabet at the end.
fn misspelt(key: &str) -> String {
    let (rest, last) = key.split_at(key.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}

/// RFC 3339, so that the key is valid when made and expires while the test waits.
fn in_two_seconds() -> String {
    let output = std::process::Command::new("date")
        .args(["-u", "-d", "+2 seconds", "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .expect("date is installed");
    String::from_utf8(output.stdout).expect("ASCII").trim().to_owned()
}
