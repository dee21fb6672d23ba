//! Payment tokens under contention and over downtime: money moves exactly once, whatever races.

use std::sync::Barrier;
use std::time::Duration;

use system_tests::http::{Connection, Request, Response};
use system_tests::{Account, Authorized, Node};

const THREADS: usize = 50;
const USES_PER_THREAD: usize = 20;

pub(crate) fn two_sides(node: &Node, more: &str) -> (Account, Account, String) {
    let consumer = Account::funded(node, "consumer", "100000");
    let provider = Account::create(node, "provider");
    let service = provider.register(node, "Weather", "0.25", more).text("/id").to_owned();
    (consumer, provider, service)
}

/// Sends a request a thousand times at once, each on a connection of its own.
fn a_thousand(node: &Node, request: &Request) -> Vec<Response> {
    let barrier = Barrier::new(THREADS);
    let bytes = request.bytes();
    std::thread::scope(|scope| {
        let send_all = || {
            let mut connections: Vec<Connection> = (0..USES_PER_THREAD).map(|_| node.connect()).collect();
            barrier.wait();
            for connection in &mut connections {
                connection.write(&bytes).expect("the node reads");
            }
            connections.iter_mut().map(|connection| connection.read(false).expect("an answer")).collect()
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(send_all)).collect();
        threads.into_iter().flat_map(|thread| -> Vec<Response> { thread.join().expect("no panic") }).collect()
    })
}

/// T15 for tokens.
#[test]
fn a_thousand_concurrent_redemptions_of_one_token_redeem_it_once() {
    let node = Node::start();
    let (consumer, provider, service) = two_sides(&node, "");
    let authorized = consumer.authorize(&node, &service, "");
    let answers = a_thousand(&node, &provider.verify_request(&authorized.token));
    assert_eq!(answers.len(), THREADS * USES_PER_THREAD);
    let redeemed = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(redeemed, 1);
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        answer.expect_error(409, "TOKEN_ALREADY_USED");
    }
    assert_eq!(consumer.parts(&node), ("99999.75".to_owned(), "0.25".to_owned()));
}

#[test]
fn a_thousand_redemptions_under_one_key_are_one_with_one_answer() {
    let node = Node::start();
    let (consumer, provider, service) = two_sides(&node, "");
    let authorized = consumer.authorize(&node, &service, "");
    let request = provider.verify_request(&authorized.token).header("idempotency-key", "one-call");
    let answers = a_thousand(&node, &request);
    let first = answers[0].text();
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.text() == first));
    let originals = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_none()).count();
    assert_eq!(originals, 1);
}

#[test]
fn a_thousand_authorisations_under_one_key_hold_the_price_once() {
    let node = Node::start();
    let (consumer, _, service) = two_sides(&node, "");
    let answers = a_thousand(&node, &consumer.authorize_request(&service, r#","idempotency_key":"one""#));
    let first = answers[0].text();
    assert!(answers.iter().all(|answer| answer.status == 201 && answer.text() == first), "{first}");
    assert_eq!(consumer.parts(&node), ("99999.75".to_owned(), "0.25".to_owned()));
}

#[test]
fn a_thousand_completions_settle_once() {
    let node = Node::start();
    let (consumer, provider, service) = two_sides(&node, "");
    let authorized = consumer.authorize(&node, &service, "");
    provider.verify(&node, &authorized.token).expect(200);
    provider.step(&node, &authorized.id, "call-started").expect(200);
    provider.step(&node, &authorized.id, "call-accepted").expect(200);
    let answers = a_thousand(&node, &provider.step_request(&authorized.id, "call-completed"));
    let first = answers[0].text();
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.text() == first), "{first}");
    assert_eq!(consumer.parts(&node), ("99999.75".to_owned(), "0".to_owned()));
    assert_eq!(provider.parts(&node), ("0.25".to_owned(), "0".to_owned()));
}

/// Redemption by the provider against cancellation by the consumer: one of them happens.
#[test]
fn redemption_and_cancellation_exclude_each_other() {
    const TOKENS: usize = 200;
    let node = Node::start();
    let (consumer, provider, service) = two_sides(&node, "");
    let mut redeemed = 0;
    for _ in 0..TOKENS {
        let authorized = consumer.authorize(&node, &service, "");
        let barrier = Barrier::new(2);
        let (verify, cancel) = std::thread::scope(|scope| {
            let verify = scope.spawn(|| {
                barrier.wait();
                provider.verify(&node, &authorized.token).status
            });
            let cancel = scope.spawn(|| {
                barrier.wait();
                consumer.cancel(&node, &authorized.id).status
            });
            (verify.join().expect("no panic"), cancel.join().expect("no panic"))
        });
        assert!(matches!((verify, cancel), (200, 409) | (409, 200)), "{verify} {cancel}");
        redeemed += usize::from(verify == 200);
    }
    let cents = 10_000_000 - 25 * redeemed;
    let available = format!("{}.{:02}", cents / 100, cents % 100);
    let available = available.trim_end_matches('0').trim_end_matches('.');
    assert_eq!(consumer.balance(&node).raw(&["available"]), available, "{redeemed} of {TOKENS} redeemed");
}

/// Completion against the deadline of the SLA: each token is settled or breached, and the money is where it says.
#[test]
fn completion_and_breach_exclude_each_other() {
    const TOKENS: usize = 320;
    const CLIENTS: usize = 16;
    let node = Node::start();
    let (consumer, provider, service) = two_sides(&node, r#","sla":{"max_latency_ms":60}"#);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let complete_late = || {
            let mut statuses = Vec::new();
            for _ in 0..TOKENS / CLIENTS {
                let authorized = consumer.authorize(&node, &service, "");
                provider.verify(&node, &authorized.token).expect(200);
                provider.step(&node, &authorized.id, "call-started").expect(200);
                // On a busy machine this may come too late already.
                let accepted = provider.step(&node, &authorized.id, "call-accepted").status;
                assert!(matches!(accepted, 200 | 409), "{accepted}");
                std::thread::sleep(Duration::from_millis(fastrand::u64(40..65)));
                statuses.push(provider.step(&node, &authorized.id, "call-completed").status);
            }
            statuses
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(complete_late)).collect();
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
    });
    let settled = statuses.iter().filter(|status| **status == 200).count();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 409)), "{statuses:?}");
    println!("{settled} of {TOKENS} settled in time");
    let price = 250_000_000;
    let earned = i128::try_from(settled).expect("hundreds") * price;
    let balance = consumer.balance(&node);
    assert_eq!(balance.raw(&["held"]), "0");
    assert_eq!(balance.nanos(&["available"]), 100_000_000_000_000 - earned);
    assert_eq!(provider.balance(&node).nanos(&["available"]), earned);
    let query = "/v1/x402/tokens?role=provider&status=sla_breached&limit=100";
    let breached = node.send(&Request::get(query).bearer(&provider.api_key)).expect(200).document();
    let shown = breached.at("/tokens").as_array().expect("a list").len();
    assert_eq!(shown, (TOKENS - settled).min(100));
}

/// Deadlines that passed while the node was down take effect when it comes back, before anything else can happen.
#[test]
fn deadlines_that_pass_while_the_node_is_down_take_effect_on_start() {
    let node = Node::start();
    let (consumer, provider, service) = two_sides(&node, "");
    let tokens: Vec<Authorized> =
        (0..200).map(|_| consumer.authorize(&node, &service, r#","ttl_seconds":2"#)).collect();
    assert_eq!(consumer.balance(&node).raw(&["held"]), "50");
    let builder = node.kill();
    std::thread::sleep(Duration::from_secs(3));
    let node = builder.start();
    for token in &tokens {
        provider.verify(&node, &token.token).expect_error(410, "TOKEN_EXPIRED");
        consumer.wait_for_status(&node, &token.id, "expired");
    }
    assert_eq!(consumer.parts(&node), ("100000".to_owned(), "0".to_owned()));
}

/// A provider never pays for our downtime: the clock of a started call stands still while the node is down.
#[test]
fn an_outage_extends_the_sla_of_started_calls() {
    let node = Node::start();
    let (consumer, provider, service) = two_sides(&node, r#","sla":{"window_seconds":4}"#);
    let authorized = consumer.authorize(&node, &service, "");
    provider.verify(&node, &authorized.token).expect(200);
    provider.step(&node, &authorized.id, "call-started").expect(200);
    provider.step(&node, &authorized.id, "call-accepted").expect(200);
    let builder = node.kill();
    std::thread::sleep(Duration::from_secs(5));
    let node = builder.start();
    provider.step(&node, &authorized.id, "call-completed").expect(200);
    assert_eq!(provider.parts(&node), ("0.25".to_owned(), "0".to_owned()));
}
