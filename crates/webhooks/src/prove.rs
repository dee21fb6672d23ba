//! Proving that a service belongs to whoever registered it: the provider puts a line into `/.well-known/agentpay.txt` of
//! the host that the service's URL names, and the node fetches it with the client that also delivers.
//!
//! The line follows from ledger, service, provider and origin, so nothing about an open challenge is kept, and a line
//! that was made for one service or origin proves nothing about another.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use ledger::{AgentId, ServiceId};
use ring::hmac;

use crate::{Failure, Target, Webhooks};

/// Bytes of the file that are looked at: a few hundred services of one provider.
const FILE_BYTES_MAX: usize = 64 << 10;
/// Looks under way in the whole node.
const LOOKS_MAX: usize = 32;
const PATH: &str = "/.well-known/agentpay.txt";

/// What a provider has to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Where.
    pub url: Box<str>,
    /// A line of the file there.
    pub line: String,
}

/// What was found there.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    Found,
    /// The file is there, without the line.
    Missing,
    /// Another status than 200.
    Status(u16),
    Unreachable(Failure),
}

impl Webhooks {
    /// The challenge for a service at `endpoint`.
    ///
    /// # Errors
    /// What is wrong with the URL, as a sentence: a service somewhere inside cannot be verified from outside.
    pub fn challenge(
        &self,
        service: ServiceId,
        provider: AgentId,
        endpoint: &str,
    ) -> Result<Challenge, String> {
        let target = Target::parse(endpoint, self.client().reach())?.at(PATH);
        let mut context = hmac::Context::with_key(self.key());
        context.update(b"webhooks: service");
        context.update(&service.raw().to_be_bytes());
        context.update(&provider.raw().to_be_bytes());
        context.update(target.url.as_bytes());
        let digest: String = context.sign().as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Challenge { url: target.url, line: format!("agentpay-service={service} {digest}") })
    }

    /// Looks whether a challenge is answered, for `agent`. `None` when it has a look under way already, or too many have:
    /// whoever asks decides where the node calls, and may not make it call in numbers.
    pub async fn look_for(&self, agent: AgentId, challenge: &Challenge) -> Option<Proof> {
        let _place = Looking::begin(&self.inner().looking, agent)?;
        Some(self.look(challenge).await)
    }

    async fn look(&self, challenge: &Challenge) -> Proof {
        let Ok(target) = Target::parse(&challenge.url, self.client().reach()) else {
            return Proof::Unreachable(Failure::Refused);
        };
        let answer = match self.client().get(&target, FILE_BYTES_MAX).await {
            Ok(answer) => answer,
            Err(failure) => return Proof::Unreachable(failure),
        };
        if answer.status != http::StatusCode::OK {
            return Proof::Status(answer.status.as_u16());
        }
        let is_line = |line: &[u8]| line.trim_ascii() == challenge.line.as_bytes();
        if answer.body.split(|byte| *byte == b'\n').any(is_line) { Proof::Found } else { Proof::Missing }
    }
}

/// Agents with a look under way.
pub(crate) type Lookers = Mutex<HashSet<AgentId>>;

/// A place among them.
struct Looking<'l> {
    lookers: &'l Lookers,
    agent: AgentId,
}

impl<'l> Looking<'l> {
    fn begin(lookers: &'l Lookers, agent: AgentId) -> Option<Looking<'l>> {
        let mut held = lookers.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = held.len() < LOOKS_MAX && held.insert(agent);
        // Made only when the place is ours: its end gives the place back.
        begins.then(|| Looking { lookers, agent })
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.lookers.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.agent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_looks_once_at_a_time_and_all_together_so_often() {
        let lookers = Lookers::default();
        let agent = |raw| AgentId::from_raw(raw);
        let first = Looking::begin(&lookers, agent(1)).expect("a place");
        assert!(Looking::begin(&lookers, agent(1)).is_none());
        let others: Vec<_> = (2..100).filter_map(|raw| Looking::begin(&lookers, agent(raw))).collect();
        assert_eq!(others.len(), LOOKS_MAX - 1);
        drop(first);
        assert!(Looking::begin(&lookers, agent(1)).is_some());
    }
}
