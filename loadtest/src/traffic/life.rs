//! One service call of the x402 protocol, as the two agents make it: authorize, verify, call-started, call-accepted,
//! call-completed.
//!
//! A step whose answer was lost is sent again with the same key, so that a call comes to its end whatever happens.

use super::Traffic;
use crate::book::{CallPromise, ShortText};
use crate::findings::Finding;
use crate::request::write_post;
use crate::traffic::market::PRICE_NANOS;
use crate::{Answer, Roster};

/// Where a call stands: the step that is to be sent or is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Authorize,
    Verify,
    Started,
    Accepted,
    Completed,
}

/// A call under way on one connection.
#[derive(Debug)]
pub(super) struct Life {
    stage: Stage,
    consumer: u32,
    /// Number of the service in the market.
    service: usize,
    key: u64,
    token: String,
    token_id: String,
    /// The step that is out was sent before.
    retried: bool,
}

/// What an answer means for the call.
pub(super) enum Step {
    GoesOn,
    Over,
}

impl Life {
    pub(super) fn new(consumer: u32, service: usize, key: u64) -> Life {
        Life {
            stage: Stage::Authorize,
            consumer,
            service,
            key,
            token: String::new(),
            token_id: String::new(),
            retried: false,
        }
    }

    /// The step that is out has an unknown outcome. Returns whether it had one before.
    pub(super) fn is_unknown(&mut self) -> bool {
        std::mem::replace(&mut self.retried, true)
    }

    /// In words, for findings.
    pub(super) fn describe(&self) -> String {
        format!("{:?} of token {}", self.stage, self.token_id)
    }
}

impl Traffic<'_> {
    pub(super) fn write_step(&mut self, life: &Life, request: &mut Vec<u8>) {
        let service = &self.market.services[life.service];
        let provider = &self.roster.agents()[service.provider as usize].api_key;
        let authority = &self.authority;
        self.body.clear();
        let step = match life.stage {
            Stage::Authorize => {
                let consumer = self.roster.owner(life.consumer);
                self.body.extend_from_slice(br#"{"from_wallet_id":""#);
                self.body.extend_from_slice(self.roster.wallet(life.consumer).as_bytes());
                self.body.extend_from_slice(br#"","idempotency_key":""#);
                self.keys.write(life.key, &mut self.body);
                self.body.extend_from_slice(br#""}"#);
                let path = ["/v1/services/", &service.id, "/authorize"];
                return write_post(authority, &consumer.api_key, &path, &self.body, request);
            }
            Stage::Verify => {
                self.body.extend_from_slice(br#"{"payment_token":""#);
                self.body.extend_from_slice(life.token.as_bytes());
                self.body.extend_from_slice(br#"","idempotency_key":""#);
                self.keys.write(life.key, &mut self.body);
                self.body.extend_from_slice(br#""}"#);
                return write_post(authority, provider, &["/v1/x402/verify"], &self.body, request);
            }
            Stage::Started => "/call-started",
            Stage::Accepted => "/call-accepted",
            Stage::Completed => "/call-completed",
        };
        write_post(authority, provider, &["/v1/x402/tokens/", &life.token_id, step], b"{}", request);
    }

    /// Takes a 2xx answer to the step that was out.
    pub(super) fn take_step(&mut self, life: &mut Life, answer: Answer<'_>) -> Step {
        if std::mem::take(&mut life.retried) {
            if answer.replayed {
                self.book.unknowns.applied_before += 1;
            } else {
                self.book.unknowns.applied_by_retry += 1;
            }
        }
        match life.stage {
            Stage::Authorize => {
                let (token, id) =
                    (self.fields.token.text(answer.body), self.fields.token_id.text(answer.body));
                let (Some(token), Some(id)) = (token, id) else {
                    return self.contradicts(life, answer.body, "no token and token_id");
                };
                if self.fields.reserved.nanos(answer.body) != Some(PRICE_NANOS) {
                    return self.contradicts(life, answer.body, "another reserved_amount than the price");
                }
                life.token.push_str(token);
                life.token_id.push_str(id);
                life.stage = Stage::Verify;
            }
            Stage::Verify => {
                if self.fields.token_id.text(answer.body) != Some(life.token_id.as_str()) {
                    return self.contradicts(life, answer.body, "another token_id than the token's");
                }
                life.stage = Stage::Started;
            }
            Stage::Started => life.stage = Stage::Accepted,
            Stage::Accepted => life.stage = Stage::Completed,
            Stage::Completed => {
                self.complete(life);
                return Step::Over;
            }
        }
        Step::GoesOn
    }

    fn complete(&mut self, life: &Life) {
        let provider = self.market.services[life.service].provider;
        let Some(token_id) = ShortText::new(&life.token_id) else {
            let id = life.token_id.clone();
            return self.book.findings.add(Finding::WrongAnswer, || format!("{id} is too long for an id"));
        };
        self.book.complete_call(CallPromise {
            token_id,
            consumer: life.consumer,
            // A service without a wallet of its own is paid into the first one of its provider.
            provider: self.roster.agents()[provider as usize].first_wallet,
            nanos: PRICE_NANOS,
        });
    }

    /// The call cannot go on. Its hold is in no promise, so balances will show it too.
    fn contradicts(&mut self, life: &Life, body: &[u8], what: &str) -> Step {
        self.book.findings.add(Finding::WrongAnswer, || {
            let sample = String::from_utf8_lossy(&body[..body.len().min(300)]);
            format!("{}: {what}: {sample}", life.describe())
        });
        Step::Over
    }
}

/// A wallet that may pay the service: any of an agent that does not offer it.
pub(super) fn consumer(roster: &Roster, providers: usize, rng: &mut fastrand::Rng) -> u32 {
    let agents = roster.agents();
    let agent = &agents[rng.usize(0..agents.len() - providers)];
    agent.first_wallet + rng.u32(0..agent.wallets)
}
