//! Scores of agents, and the telling of many scores: no second is so full that deadlines wait for it.

use std::collections::HashMap;

use ledger::{Fact, ServiceId};
use wal::testing::MemoryStorage;

use crate::harness::{Books, Market, Node, Setup, eventually, fund, pass, register, seen, terms};

fn whole_call(market: &Market, node: &Node) {
    let token = market.reserve(node).id;
    market.verify(node, token);
    market.start(node, token);
    market.accept(node, token);
    market.complete(node, token);
}

#[test]
fn an_agents_score_is_the_mean_of_its_services_by_calls_and_comes_back() {
    let setup = Setup::new(MemoryStorage::new()).tuned(|options| options.rules.token_start_within_ms = 1_000);
    let clock = setup.clock.clone();
    let node = setup.start();
    let good = Market::open_named(&node, "good", None);
    let provider = good.provider.clone();
    assert_eq!(node.engine.trust_score(provider.id()), 50, "nobody has called");
    let registered = node.engine.register_service(&provider.caller, register(terms("bad", "0.5", None)));
    let service = node.run(registered).expect("registered").value.id;
    let bad = Market { consumer: good.consumer.clone(), provider: provider.clone(), service };
    (0..6).for_each(|_| whole_call(&good, &node));
    // (80 x 50 + 6 calls x 8 x 100) / (80 + 48), at once: only services have their scores told in turns.
    assert_eq!(node.engine.trust_score(provider.id()), 68);
    let abandoned = bad.reserve(&node).id;
    bad.verify(&node, abandoned);
    pass(&node, &clock, 1_100);
    eventually("it is given back", || bad.token(&node, abandoned).ended_at.is_some());
    // Six calls at 68 and one at 41: 449 / 7.
    let expected = 64;
    assert_eq!(node.engine.trust_score(provider.id()), expected);
    assert_eq!(node.engine.trust_score(good.consumer.id()), 50, "a consumer sells nothing");
    // What calls have earned a provider stays when it ends the service.
    let at = ledger::Timestamp::from_millis(1);
    node.run(node.engine.deactivate_service(&provider.caller, service, at)).expect("ended");
    assert_eq!(node.engine.trust_score(provider.id()), expected);
    node.kill();
    let node = setup.start();
    assert_eq!(node.engine.trust_score(provider.id()), expected, "replayed");
    node.shutdown();
    let node = setup.start();
    assert_eq!(node.engine.trust_score(provider.id()), expected, "from a snapshot");
    whole_call(&good, &node);
    // Seven calls at 70 and one at 41: 531 / 8.
    assert_eq!(node.engine.trust_score(provider.id()), 66);
}

/// More services than the timer thread tells of in one round.
#[test]
fn many_scores_that_move_at_once_are_each_told_once() {
    const SERVICES: usize = 1_500;
    let disk = MemoryStorage::new();
    let setup = Setup::new(disk.clone()).tuned(|options| {
        options.rules.services_per_agent_max = u32::MAX;
        options.wal.segment_bytes = 1 << 22;
    });
    let clock = setup.clock.clone();
    let node = setup.start();
    let market = Market::open(&node, None);
    node.run(node.engine.fund(&market.consumer.caller, fund(&market.consumer, "10000"))).expect("funded");
    let mut services: Vec<ServiceId> = vec![market.service];
    for number in 1..SERVICES {
        let command = register(terms(&format!("service {number}"), "0.5", None));
        let registered = node.run(node.engine.register_service(&market.provider.caller, command));
        services.push(registered.expect("registered").value.id);
    }
    let of =
        |service| Market { consumer: market.consumer.clone(), provider: market.provider.clone(), service };
    services.iter().for_each(|service| whole_call(&of(*service), &node));
    // A cancelled call counts in the middle: nothing changes by it, and nothing is told.
    let quiet = Market::open_named(&node, "quiet", None);
    let token = quiet.reserve(&node).id;
    node.run(node.engine.cancel_token(&quiet.consumer.caller, token)).expect("cancelled");
    let counted = node.engine.service(services[0]).expect("registered");
    assert_eq!((counted.settled_calls, counted.trust_score), (1, 50), "counted at once, scored in time");
    clock.advance(1_100);
    seen(&node, &clock);
    let told = || {
        let mut told: HashMap<ServiceId, usize> = HashMap::new();
        for (_, fact) in Books::of_image(&disk, &setup.options.wal).facts {
            if let Fact::TrustChanged(changed) = fact {
                *told.entry(changed.service).or_default() += 1;
            }
        }
        told
    };
    eventually("every score is told", || told().len() >= SERVICES);
    assert!(!told().contains_key(&quiet.service));
    assert!(told().values().all(|times| *times == 1), "time stands still, so none is told twice");
}
