//! A provider with a service and a consumer with money, and time that passes in steps the node can follow.

use engine::{Authorize, RegisterService, TokenView, VerifyToken};
use ledger::{Currency, KeyUse, ServiceId, ServiceTerms, Sla, Timestamp, TokenId};
use testkit::ManualClock;

use super::{Node, Party, amount, eventually, fund};

const AT: Timestamp = Timestamp::from_millis(1_790_000_000_000);
/// Shorter than what the node would take for an outage.
const STEP_MS: i64 = 50;

pub(crate) fn terms(name: &str, price: &str, sla: Option<Sla>) -> ServiceTerms {
    ServiceTerms {
        name: name.into(),
        description: None,
        price: amount(price),
        currency: Currency::USD,
        category: Some("data".into()),
        endpoint_url: Some(format!("https://api.example.com/{name}").into()),
        sla,
        metadata: None,
    }
}

pub(crate) fn register(terms: ServiceTerms) -> RegisterService {
    RegisterService { terms, wallet: None, key: None, at: AT }
}

pub(crate) struct Market {
    pub(crate) consumer: Party,
    pub(crate) provider: Party,
    pub(crate) service: ServiceId,
}

impl Market {
    /// A service at 0.5, and a consumer with 100.
    pub(crate) fn open(node: &Node, sla: Option<Sla>) -> Market {
        Self::open_named(node, "feed", sla)
    }

    pub(crate) fn open_named(node: &Node, name: &str, sla: Option<Sla>) -> Market {
        let (consumer, provider) = (node.party("consumer"), node.party("provider"));
        node.run(node.engine.fund(&consumer.caller, fund(&consumer, "100"))).expect("funded");
        let registered =
            node.run(node.engine.register_service(&provider.caller, register(terms(name, "0.5", sla))));
        let service = registered.expect("registered").value.id;
        Market { consumer, provider, service }
    }

    pub(crate) fn ask(&self) -> Authorize {
        Authorize {
            payer: self.consumer.wallet,
            service: self.service,
            max_amount: None,
            ttl_ms: None,
            key: None,
        }
    }

    pub(crate) fn reserve(&self, node: &Node) -> TokenView {
        node.run(node.engine.authorize(&self.consumer.caller, self.ask())).expect("reserved").value
    }

    pub(crate) fn verify(&self, node: &Node, token: TokenId) -> TokenView {
        let verified = node.run(node.engine.verify_token(&self.provider.caller, redeem(token, None)));
        verified.expect("verified").value.token
    }

    pub(crate) fn start(&self, node: &Node, token: TokenId) -> TokenView {
        node.run(node.engine.start_call(&self.provider.caller, token)).expect("started").value
    }

    pub(crate) fn accept(&self, node: &Node, token: TokenId) -> TokenView {
        node.run(node.engine.accept_call(&self.provider.caller, token)).expect("accepted").value
    }

    pub(crate) fn complete(&self, node: &Node, token: TokenId) -> TokenView {
        node.run(node.engine.complete_call(&self.provider.caller, token)).expect("completed").value
    }

    /// As the consumer sees it.
    pub(crate) fn token(&self, node: &Node, token: TokenId) -> TokenView {
        node.run(node.engine.token(self.consumer.id(), token)).expect("one's own token can be read")
    }

    /// What the consumer has available and held, and what the provider has, in text.
    pub(crate) fn books(&self, node: &Node) -> [String; 3] {
        let (consumer, provider) = (node.wallet(&self.consumer), node.wallet(&self.provider));
        [consumer.available, consumer.held, provider.available].map(|amount| amount.to_string())
    }
}

pub(crate) fn redeem(token: TokenId, key: Option<KeyUse>) -> VerifyToken {
    VerifyToken { token, expects: None, key }
}

/// Lets time pass while the node serves: it has seen every step before the next one comes.
pub(crate) fn pass(node: &Node, clock: &ManualClock, millis: i64) {
    let end = clock.now().millis() + millis;
    while clock.now().millis() < end {
        clock.advance(STEP_MS.min(end - clock.now().millis()));
        seen(node, clock);
    }
}

/// Waits until the node judges deadlines by the present time.
pub(crate) fn seen(node: &Node, clock: &ManualClock) {
    eventually("the node sees the time", || node.engine.gauges().served_until_ms >= clock.now().millis());
}
