//! Deliveries that lag behind decisions: the mixture of a wallet's two streams must not matter.

use ledger::{Change, Wallet};
use testkit::{Action, Command, Config, Model, ModelOutcome, Random, Workload, differences};

use crate::node::{Node, Streams};

const STORIES: u64 = 12;
const COMMANDS: usize = 400;

/// Runs a story in which the commit stream falls behind at random, rows are taken in between, and power is cut now and
/// then. Returns the node with everything delivered, and the model of what was kept.
fn story(seed: u64) -> (Node, Model) {
    let config = Config { faucet_cap: 1_000_000_000_000, ..Config::default() };
    let mut random = Random::new(seed);
    let mut workload = Workload::new(random.next_u64(), config.clone());
    let mut node = Node::new(&config);
    // What took effect, one list per record, so that lost records can be taken back.
    let mut effects: Vec<Vec<Command>> = Vec::new();
    for number in 0..COMMANDS {
        let command = workload.next();
        let before = node.undelivered();
        let outcome = node.submit(number, &command);
        if node.undelivered() > before {
            effects.push(effect(&command, &outcome));
        }
        if random.chance(40) {
            node.deliver(random.index(6));
        }
        if random.chance(10) {
            node.take_rows(1 + random.index(6));
        }
        if random.chance(2) {
            let lost = random.index(node.undelivered() + 1);
            node.crash(lost);
            effects.truncate(effects.len() - lost);
        }
    }
    node.deliver_all();
    let mut model = Model::new(&config);
    for command in effects.iter().flatten() {
        let outcome = model.apply(command);
        let took_effect = matches!(
            outcome,
            ModelOutcome::Funded { .. } | ModelOutcome::Paid { .. } | ModelOutcome::StatusChanged
        );
        assert!(took_effect, "the node carried out {command:?}, the model says {outcome:?}");
    }
    (node, model)
}

/// The commands that a model has to carry out for what the node did: a batch counts as its paid items, because the
/// node may refuse items for money that is still on its way.
fn effect(command: &Command, outcome: &ModelOutcome) -> Vec<Command> {
    let (Action::Batch { items, .. }, ModelOutcome::Batch(results)) = (&command.action, outcome) else {
        return vec![command.clone()];
    };
    let paid =
        items.iter().zip(results).filter(|(_, result)| matches!(result, testkit::ItemResult::Paid { .. }));
    paid.map(|(item, _)| Command { action: Action::Pay(item.clone()), ..command.clone() }).collect()
}

#[test]
fn late_deliveries_end_where_prompt_ones_do() {
    let seed = testkit::seed("cargo test -p testkit --test ledger late_deliveries");
    let mut random = Random::new(seed);
    for _ in 0..STORIES {
        let (node, model) = story(random.next_u64());
        let found = differences(&model, &node.readings(), node.totals());
        assert!(found.is_empty(), "{found:#?}");
        assert_eq!(*node.state(), node.replayed(), "replay in log order ends where the live node did");
    }
}

#[test]
fn any_mixture_of_the_two_streams_ends_in_the_same_wallet() {
    let seed = testkit::seed("cargo test -p testkit --test ledger any_mixture");
    let mut random = Random::new(seed);
    let (node, _) = story(random.next_u64());
    let mut mixtures = 0;
    for (id, streams) in node.streams() {
        let expected = node.state().wallet(id);
        for _ in 0..20 {
            let mixed = mix(expected, &streams, &mut random);
            let end = |wallet: &Wallet| (wallet.parts(), wallet.status, wallet.faucet_drawn);
            assert_eq!(end(&mixed), end(expected), "{id}");
            mixtures += 1;
        }
    }
    assert!(mixtures >= 100, "a story involves most wallets");
}

/// Folds both streams into a new wallet in a random mixture, restricted only by what a wallet decides itself: it does
/// not spend what has not arrived.
fn mix(like: &Wallet, streams: &Streams, random: &mut Random) -> Wallet {
    let position = ledger::Position::ZERO;
    let mut wallet = Wallet::open(like.agent, like.currency, None, like.created_at, position);
    let (mut own, mut credits) = (streams.own.iter().peekable(), streams.credits.iter().peekable());
    loop {
        let affordable = |change: &Change| !wallet.available.plus(change.available).is_negative();
        let can_decide = own.peek().is_some_and(|(change, _)| affordable(change));
        if can_decide && (credits.peek().is_none() || random.chance(50)) {
            let (change, position) = own.next().expect("peeked");
            wallet.apply(change, *position);
        } else if let Some((delta, position)) = credits.next() {
            wallet.credit(*delta, *position);
        } else {
            assert!(own.next().is_none(), "with all credits in, every own decision is affordable");
            return wallet;
        }
    }
}
