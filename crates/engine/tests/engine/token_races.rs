//! Everything that can race for a token: redemptions with redemptions, completions with breaches (T15). Money moves once.

use engine::{Answer, Refusal, VerifiedToken};
use ledger::{Denial, Sla, TokenStatus};
use testkit::Random;
use wal::testing::MemoryStorage;

use crate::harness::{Market, Node, Setup, denial, eventually, fund, key, pass, redeem};

const REDEMPTIONS: usize = 1_000;
const RACES: usize = 10_000;
const WINDOW_MS: u32 = 1_000;
/// Deadlines in each millisecond.
const PER_MS: usize = RACES / 200;

fn redeem_all(
    node: &Node,
    market: &Market,
    token: ledger::TokenId,
    with: Option<ledger::KeyUse>,
) -> Vec<Result<Answer<VerifiedToken>, Refusal>> {
    let ask = |_| {
        let (engine, caller, key) = (node.engine.clone(), market.provider.caller.clone(), with.clone());
        node.spawn(async move { engine.verify_token(&caller, redeem(token, key)).await })
    };
    let tasks: Vec<_> = (0..REDEMPTIONS).map(ask).collect();
    node.run(async move {
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.expect("no task panics"));
        }
        outcomes
    })
}

#[test]
fn a_thousand_redemptions_are_one() {
    let node = Setup::new(MemoryStorage::new()).start();
    let market = Market::open(&node, None);
    let token = market.reserve(&node).id;
    let mut won = 0;
    for outcome in redeem_all(&node, &market, token, None) {
        match outcome {
            Ok(answer) => {
                assert!(!answer.replayed);
                won += 1;
            }
            lost => assert_eq!(denial(lost), Denial::TokenUsed { status: TokenStatus::Verified }),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(market.books(&node), ["99.5", "0.5", "0"]);
}

#[test]
fn a_thousand_redemptions_under_one_key_get_one_answer() {
    let node = Setup::new(MemoryStorage::new()).start();
    let market = Market::open(&node, None);
    let token = market.reserve(&node).id;
    let outcomes = redeem_all(&node, &market, token, key("once", 3));
    let answers: Vec<_> = outcomes.into_iter().map(|outcome| outcome.expect("the same answer")).collect();
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert!(answers.iter().all(|answer| answer.value == answers[0].value));
}

/// Deadlines come while completions do, ten thousand times: each token ends once, as its party was told, and the sums
/// follow from the ends.
#[test]
fn completions_race_breaches_and_money_moves_once() {
    let mut random = Random::new(testkit::seed(
        "cargo test -p engine --test engine completions_race_breaches_and_money_moves_once",
    ));
    let setup = Setup::new(MemoryStorage::new()).tuned(|options| options.wal.segment_bytes = 1 << 22);
    let (node, clock) = (setup.start(), setup.clock.clone());
    let market = Market::open(&node, Some(Sla { window_ms: WINDOW_MS, accept_within_ms: None }));
    node.run(node.engine.fund(&market.consumer.caller, fund(&market.consumer, "10000"))).expect("funded");
    let tokens: Vec<_> = (0..RACES).map(|_| market.reserve(&node).id).collect();
    for (index, token) in tokens.iter().enumerate() {
        market.verify(&node, *token);
        market.start(&node, *token);
        market.accept(&node, *token);
        // Deadlines are spread over a fifth of the window.
        if index % PER_MS == PER_MS - 1 {
            pass(&node, &clock, 1);
        }
    }
    // Each is completed within ten milliseconds of its deadline, before or after.
    let mut order: Vec<_> =
        (0..RACES).map(|index| (index + random.index(20 * PER_MS), tokens[index])).collect();
    order.sort_unstable();
    let order: Vec<_> = order.into_iter().map(|(_, token)| token).collect();
    pass(&node, &clock, i64::from(WINDOW_MS) - 200);
    let mut racing = Vec::new();
    for part in order.chunks(PER_MS) {
        for token in part.iter().copied() {
            let (engine, caller) = (node.engine.clone(), market.provider.caller.clone());
            racing.push((token, node.spawn(async move { engine.complete_call(&caller, token).await })));
        }
        pass(&node, &clock, 1);
    }
    pass(&node, &clock, 40);
    let told: Vec<_> = node.run(async move {
        let mut told = Vec::new();
        for (token, task) in racing {
            told.push((token, task.await.expect("no task panics")));
        }
        told
    });
    eventually("every hold has ended", || node.wallet(&market.consumer).held.is_zero());
    let mut settled = 0;
    for (token, outcome) in told {
        let status = market.token(&node, token).status;
        match outcome {
            Ok(answer) => {
                assert_eq!((answer.value.status, status), (TokenStatus::Settled, TokenStatus::Settled));
                settled += 1;
            }
            Err(refusal) => {
                let breached = Denial::WrongTokenStatus { status: TokenStatus::SlaBreached };
                assert_eq!((refusal, status), (Refusal::Denied(breached), TokenStatus::SlaBreached));
            }
        }
    }
    assert!(settled > RACES / 20 && settled < RACES - RACES / 20, "a race has two sides: {settled}");
    let settled = i128::try_from(settled).expect("a count");
    let earned = node.available(&market.provider);
    assert_eq!(earned.nanos(), settled * 500_000_000);
    assert_eq!(node.available(&market.consumer).nanos(), 10_100_000_000_000 - earned.nanos());
    node.check_trial_balance();
    node.shutdown();
    assert_eq!(setup.audit().open_tokens, 0);
}
