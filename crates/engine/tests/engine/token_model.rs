//! The engine against the naive model of calls (T13): the same steps one after the other, with time, restarts, crashes
//! and snapshots in between. Every answer, every token and every balance is compared.

use engine::{Authorize, Refusal, TokenView};
use ledger::{ClockFact, Fact, ServiceId, Sla, TokenId};
use testkit::{CallOutcome, CallRules, CallStep, Calls, Promise, Random};
use wal::testing::{FaultyStorage, Loss};

use crate::harness::{
    Books, Node, Party, Setup, amount, eventually, fund, key, pass, redeem, register, terms, usd,
};

const EPISODES: usize = 3;
const STEPS: usize = 350;
const PARTIES: usize = 4;
/// Steps of time are multiples of 50, so no deadline is within a few ticks of one.
const TTL_MS: i64 = 2_025;
const RULES: CallRules = CallRules { start_within_ms: 1_025, complete_within_ms: 1_525 };
const PROMISES: [Option<Promise>; PARTIES] = [
    None,
    Some(Promise { window_ms: 825, accept_within_ms: None }),
    Some(Promise { window_ms: 1_225, accept_within_ms: Some(325) }),
    None,
];
const PRICES: [i128; PARTIES] = [1, 250_000_000, 3_000_000_000, 700_000_000];

struct Story {
    disk: FaultyStorage,
    setup: Setup,
    node: Option<Node>,
    parties: Vec<Party>,
    /// One of each party.
    services: Vec<ServiceId>,
    tokens: Vec<TokenId>,
    model: Calls,
    random: Random,
}

impl Story {
    fn begin(seed: u64) -> Self {
        let disk = FaultyStorage::new();
        let setup = Setup::new(disk.clone()).with_history().tuned(|options| {
            options.rules.token_start_within_ms = 1_025;
            options.rules.token_complete_within_ms = 1_525;
        });
        let node = setup.start();
        let parties: Vec<_> = (0..PARTIES).map(|index| node.party(&format!("party {index}"))).collect();
        let mut model = Calls::new(PARTIES, RULES);
        let mut services = Vec::new();
        for (index, party) in parties.iter().enumerate() {
            node.run(node.engine.fund(&party.caller, fund(party, "40"))).expect("funded");
            model.fund(index, amount("40").nanos());
            let sla = PROMISES[index].map(|promise| Sla {
                window_ms: promise.window_ms.try_into().expect("small"),
                accept_within_ms: promise.accept_within_ms.map(|within| within.try_into().expect("small")),
            });
            let mut terms = terms(&format!("service {index}"), "1", sla);
            terms.price = usd(PRICES[index]);
            let registered = node.run(node.engine.register_service(&party.caller, register(terms)));
            services.push(registered.expect("registered").value.id);
        }
        let (tokens, random) = (Vec::new(), Random::new(seed));
        Self { disk, setup, node: Some(node), parties, services, tokens, model, random }
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("alive")
    }

    fn now(&self) -> i64 {
        self.setup.clock.now().millis()
    }

    fn act(&mut self) {
        match self.random.below(100) {
            0..25 => self.reserve(),
            25..82 => self.step(),
            82..94 => {
                let millis = 50 * (1 + i64::try_from(self.random.below(8)).expect("small"));
                pass(self.node(), &self.setup.clock, millis);
                self.model.pass(self.now());
            }
            94..96 => drop(self.node().run(self.node().engine.snapshot_now()).expect("a snapshot")),
            96..98 => self.restart(false),
            _ => self.restart(true),
        }
        self.compare();
    }

    fn reserve(&mut self) {
        let (payer, payee) = (self.random.index(PARTIES), self.random.index(PARTIES));
        let expected =
            self.model.reserve((payer, payee), PRICES[payee], PROMISES[payee], (self.now(), TTL_MS));
        let command = Authorize {
            payer: self.parties[payer].wallet,
            service: self.services[payee],
            max_amount: None,
            ttl_ms: Some(u64::try_from(TTL_MS).expect("positive")),
            key: None,
        };
        let answer = self.node().run(self.node().engine.authorize(&self.parties[payer].caller, command));
        match answer {
            Ok(answer) => {
                assert_eq!(expected, Ok(self.tokens.len()));
                self.tokens.push(answer.value.id);
            }
            Err(Refusal::Denied(denial)) => assert_eq!(expected, Err(denial.name())),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn step(&mut self) {
        if self.tokens.is_empty() {
            return;
        }
        // Most often a young one, which is likely to be open.
        let back = self.random.index(self.tokens.len().min(12));
        let index = if self.random.chance(85) {
            self.tokens.len() - 1 - back
        } else {
            self.random.index(self.tokens.len())
        };
        let step = *self.random.pick(&CallStep::ALL);
        let text = format!("key {}", self.random.below(2));
        let print = self.random.below(2);
        let keyed = step == CallStep::Verify && self.random.chance(70);
        let expected = self.model.step(index, step, keyed.then_some((&*text, print)), self.now());
        let found = self.ask(index, step, keyed.then_some((&*text, print)));
        assert_eq!(found, expected, "{step:?} of token {index}");
    }

    fn ask(&self, index: usize, step: CallStep, with: Option<(&str, u64)>) -> CallOutcome {
        let (node, token) = (self.node(), self.tokens[index]);
        let known = &self.model.tokens[index];
        let (consumer, provider) = (&self.parties[known.payer].caller, &self.parties[known.payee].caller);
        let engine = &node.engine;
        let answer = match step {
            CallStep::Verify => {
                let with = with.and_then(|(text, print)| key(text, print));
                let verified = node.run(engine.verify_token(provider, redeem(token, with)));
                verified.map(|answer| (answer.value.token, answer.replayed))
            }
            CallStep::Start => told(node.run(engine.start_call(provider, token))),
            CallStep::Accept => told(node.run(engine.accept_call(provider, token))),
            CallStep::Complete => told(node.run(engine.complete_call(provider, token))),
            CallStep::Cancel => told(node.run(engine.cancel_token(consumer, token))),
        };
        match answer {
            Ok((view, replayed)) => Ok((view.status.as_str(), replayed)),
            Err(Refusal::Denied(denial)) => Err(denial.name()),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Down for a while, or for no time at all.
    fn restart(&mut self, in_order: bool) {
        let node = self.node.take().expect("alive");
        if in_order {
            node.shutdown();
        } else {
            node.kill();
            let image = self.disk.crash_image(Loss::Random(self.random.next_u64()));
            self.disk = FaultyStorage::with_image(&image);
            self.setup = self.setup.on(self.disk.clone());
        }
        self.setup.audit();
        self.setup.clock.advance(50 * i64::try_from(self.random.below(100)).expect("small"));
        self.node = Some(self.setup.start());
        // What the node says about its absence is part of the history from here on.
        let image = self.disk.crash_image(Loss::Kept);
        let books = Books::of_image(&image, &self.setup.options.wal);
        self.model.outages = books
            .facts
            .iter()
            .filter_map(|(_, fact)| match fact {
                Fact::Clock(ClockFact::Outage { from, at, .. }) => Some((from.millis(), at.millis())),
                _ => None,
            })
            .collect();
        self.model.pass(self.now());
    }

    fn compare(&self) {
        let node = self.node();
        let agree = || {
            self.tokens.iter().zip(&self.model.tokens).all(|(token, known)| {
                let caller = self.parties[known.payer].id();
                let view = node.run(node.engine.token(caller, *token)).expect("one's own token can be read");
                view.status.as_str() == known.status
            })
        };
        eventually("the tokens are as the model has them", agree);
        for (index, token) in self.tokens.iter().enumerate().rev().take(20) {
            let caller = self.parties[self.model.tokens[index].payee].id();
            let view = node.run(node.engine.token(caller, *token)).expect("the provider's can be read");
            assert_eq!(view.deadline.map(|at| at.millis()), self.model.deadline(index), "token {index}");
        }
        for (party, purse) in self.parties.iter().zip(&self.model.wallets) {
            let wallet = node.wallet(party);
            assert_eq!((wallet.available.nanos(), wallet.held.nanos()), (purse.available, purse.held));
        }
        node.check_trial_balance();
    }
}

fn told(answer: Result<engine::Answer<TokenView>, Refusal>) -> Result<(TokenView, bool), Refusal> {
    answer.map(|answer| (answer.value, answer.replayed))
}

#[test]
fn calls_agree_with_the_naive_model() {
    const REPLAY: &str = "cargo test -p engine --test engine calls_agree_with_the_naive_model";
    let mut random = Random::new(testkit::seed(REPLAY));
    for _ in 0..EPISODES {
        let mut story = Story::begin(random.next_u64());
        for _ in 0..STEPS {
            story.act();
        }
        story.node.take().expect("alive").shutdown();
        story.setup.audit();
    }
}
