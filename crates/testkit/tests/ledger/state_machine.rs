//! Random commands, crashes and snapshots, shrunk to the shortest story that goes wrong.

use proptest::prelude::*;
use proptest::strategy::Union;
use proptest::test_runner::{Config as RunnerConfig, RngSeed};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use testkit::{Action, Command, Config, Item, Model, ModelOutcome, Money, Payee, differences};

use crate::node::Node;

const REPLAY: &str = "cargo test -p testkit --test ledger node_and_model_agree";
const WALLETS: usize = 8;
/// Few keys and few amounts, so that stories meet the same ones again.
const KEYS: usize = 5;

fn config() -> Config {
    Config { wallets: WALLETS, agents: 3, faucet_cap: 1_000_000, ..Config::default() }
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Submit(Command),
    /// Rows that a snapshot takes.
    TakeRows(usize),
    /// Power is cut before the last records were synced; nobody was told of them.
    Crash {
        lost: usize,
    },
}

/// What must be true: the model, and how it came to be.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    model: Model,
    /// Commands so far, each with whether it left a record.
    history: Vec<(Command, bool)>,
    expected: Option<ModelOutcome>,
}

impl Reference {
    fn submit(&mut self, command: &Command) {
        let outcome = self.model.apply(command);
        self.history.push((command.clone(), leaves_record(command, &outcome)));
        self.expected = Some(outcome);
    }

    /// Goes back to before the last `lost` records.
    fn crash(&mut self, lost: usize) {
        let records = self.history.iter().filter(|(_, recorded)| *recorded).count();
        let mut kept = records.saturating_sub(lost);
        let commands = std::mem::take(&mut self.history);
        self.model = Model::new(&config());
        for (command, recorded) in commands {
            if recorded && kept == 0 {
                break;
            }
            kept -= usize::from(recorded);
            self.submit(&command);
        }
        self.expected = None;
    }
}

fn leaves_record(command: &Command, outcome: &ModelOutcome) -> bool {
    match outcome {
        ModelOutcome::Funded { .. } | ModelOutcome::Paid { .. } | ModelOutcome::StatusChanged => true,
        ModelOutcome::Batch(items) => {
            let keyed = matches!(&command.action, Action::Batch { key: Some(_), .. });
            keyed || items.iter().any(|item| matches!(item, testkit::ItemResult::Paid { .. }))
        }
        ModelOutcome::Denied(_)
        | ModelOutcome::AtomicDenied { .. }
        | ModelOutcome::Replayed { .. }
        | ModelOutcome::ReplayedItem { .. } => false,
    }
}

impl ReferenceStateMachine for Reference {
    type State = Reference;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Reference> {
        Just(Reference { model: Model::new(&config()), history: Vec::new(), expected: None }).boxed()
    }

    fn transitions(state: &Reference) -> BoxedStrategy<Step> {
        prop_oneof![
            20 => command(state).prop_map(Step::Submit),
            5 => repetition(state).prop_map(Step::Submit),
            3 => (1..=WALLETS).prop_map(Step::TakeRows),
            1 => (0..4usize).prop_map(|lost| Step::Crash { lost }),
        ]
        .boxed()
    }

    fn apply(mut state: Reference, step: &Step) -> Reference {
        match step {
            Step::Submit(command) => state.submit(command),
            Step::TakeRows(_) => state.expected = None,
            Step::Crash { lost } => state.crash(*lost),
        }
        state
    }
}

fn command(state: &Reference) -> impl Strategy<Value = Command> + use<> {
    let balances = state.model.balances();
    let edges: Vec<Money> = balances.iter().map(|available| affordable(&state.model, *available)).collect();
    (0..WALLETS).prop_flat_map(move |wallet| {
        let owner = config().agent_of(wallet);
        let caller = prop_oneof![30 => Just(owner), 1 => Just((owner + 1) % config().agents)];
        (caller, action(wallet, edges[wallet])).prop_map(move |(caller, mut action)| {
            let mut caller = caller;
            if arrives_refused(wallet, &action) {
                // Such a request never reaches the wallet, so it meets no other refusal that may apply too.
                caller = owner;
                if let Action::Pay(item) = &mut action {
                    item.key = None;
                }
            }
            Command { caller, wallet, action, at: config().start }
        })
    })
}

/// An earlier command again, or an item of an earlier batch as a payment of its own.
fn repetition(state: &Reference) -> impl Strategy<Value = Command> + use<> {
    let mut earlier: Vec<Command> = Vec::new();
    for (command, recorded) in &state.history {
        if let (Action::Batch { items, .. }, true) = (&command.action, recorded) {
            let payments = items.iter().map(|item| Action::Pay(item.clone()));
            earlier.extend(payments.map(|action| Command { action, ..command.clone() }));
        }
        earlier.push(command.clone());
    }
    earlier.retain(|command| !arrives_refused(command.wallet, &command.action));
    if earlier.is_empty() {
        let unfreeze = Command { caller: 0, wallet: 0, action: Action::Unfreeze, at: config().start };
        earlier.push(unfreeze);
    }
    prop::sample::select(earlier)
}

fn arrives_refused(wallet: usize, action: &Action) -> bool {
    let currency = |wallet| config().currency_of(wallet);
    match action {
        Action::Pay(Item { payee: Payee::Nobody, .. }) => true,
        Action::Pay(Item { payee: Payee::Wallet(payee), .. }) => currency(*payee) != currency(wallet),
        _ => false,
    }
}

/// The largest amount that can be paid with its fee out of `available`.
fn affordable(model: &Model, available: Money) -> Money {
    let mut amount = available * 10_000 / 10_040;
    while amount + 1 + model.fee(amount + 1) <= available {
        amount += 1;
    }
    while amount > 0 && amount + model.fee(amount) > available {
        amount -= 1;
    }
    amount
}

fn action(wallet: usize, edge: Money) -> impl Strategy<Value = Action> + use<> {
    let items = prop::collection::vec(item(wallet, edge), 1..6);
    prop_oneof![
        6 => (amount(400_000), key()).prop_map(|(amount, key)| Action::Fund { amount, key }),
        12 => item(wallet, edge).prop_map(Action::Pay),
        6 => (items, any::<bool>(), key())
            .prop_map(|(items, atomic, key)| Action::Batch { items, atomic, key }),
        1 => Just(Action::Freeze),
        2 => Just(Action::Unfreeze),
    ]
}

fn item(wallet: usize, edge: Money) -> impl Strategy<Value = Item> + use<> {
    let friend = (wallet + 4) % WALLETS;
    let payee = prop_oneof![
        10 => Just(Payee::Wallet(friend)),
        3 => (0..WALLETS).prop_map(Payee::Wallet),
        1 => Just(Payee::Nobody),
        2 => Just(Payee::External("shop".to_owned())),
    ];
    let currency = prop_oneof![8 => Just(None), 1 => Just(Some("USD")), 1 => Just(Some("EUR"))];
    let rail = prop_oneof![20 => Just("internal"), 1 => Just("card")];
    let description =
        prop_oneof![4 => Just(None), 1 => Just(Some(String::new())), 1 => "[a-zé]{1,40}".prop_map(Some)];
    (payee, amount(edge), currency, rail, description, key()).prop_map(
        |(payee, amount, currency, rail, description, key)| Item {
            payee,
            amount,
            currency,
            rail,
            description,
            key,
        },
    )
}

fn amount(edge: Money) -> impl Strategy<Value = Money> + use<> {
    prop_oneof![
        6 => 1..2_000 as Money,
        3 => Just(edge.max(1)),
        2 => Just(edge + 1),
        1 => Union::new([Just(0), Just(-1), Just(Money::MAX), Just(Money::MIN)]),
    ]
}

fn key() -> impl Strategy<Value = Option<String>> + use<> {
    prop_oneof![2 => Just(None), 3 => (0..KEYS).prop_map(|number| Some(format!("key-{number}")))]
}

struct System;

impl StateMachineTest for System {
    type SystemUnderTest = Node;
    type Reference = Reference;

    fn init_test(_: &Reference) -> Node {
        Node::new(&config())
    }

    fn apply(mut node: Node, state: &Reference, step: Step) -> Node {
        match step {
            Step::Submit(command) => {
                let outcome = node.submit(state.model.commands() - 1, &command);
                assert_eq!(Some(&outcome), state.expected.as_ref(), "{command:?}");
                node.deliver_all();
            }
            Step::TakeRows(rows) => node.take_rows(rows),
            Step::Crash { lost } => node.crash(lost),
        }
        node
    }

    fn check_invariants(node: &Node, state: &Reference) {
        let found = differences(&state.model, &node.readings(), node.totals());
        assert!(found.is_empty(), "{found:#?}");
        assert_eq!(*node.state(), node.replayed(), "memory is what the log says");
    }
}

#[test]
fn node_and_model_agree() {
    let seed = testkit::seed(REPLAY);
    let config = RunnerConfig {
        cases: 256,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..RunnerConfig::default()
    };
    let stories = Reference::sequential_strategy(1..100);
    proptest!(config, |((initial, steps, seen) in stories)| {
        System::test_sequential(RunnerConfig::default(), initial, steps, seen);
    });
}
