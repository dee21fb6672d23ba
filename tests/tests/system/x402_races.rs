//! Payment tokens under contention and crashes: money moves exactly once, whatever races and whenever the node dies.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use system_tests::http::{Connection, Request, Response};
use system_tests::{Account, Authorized, Node, agentpay};

const THREADS: usize = 50;
const USES_PER_THREAD: usize = 20;

fn two_sides(node: &Node, more: &str) -> (Account, Account, String) {
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

/// What became of a token, as its holder was told. The present state may be one further, if the answer was lost.
#[derive(Debug, Clone)]
struct Told {
    token: Authorized,
    /// Steps that were acknowledged: 0 authorised, 1 verified, 2 started, 3 accepted, 4 settled.
    acknowledged: usize,
    /// Steps that were sent.
    sent: usize,
}

const STATES: [&str; 5] = ["reserved", "verified", "started", "accepted", "settled"];

/// Takes a token as far as chance wants, until the node goes away.
fn live_a_while(
    node: &Node,
    consumer: &Account,
    provider: &Account,
    service: &str,
    rng: &mut Rng,
) -> Option<Told> {
    let answer = node.try_send(&consumer.authorize_request(service, r#","ttl_seconds":3600"#)).ok()?;
    let token = Authorized::of(answer);
    let mut told = Told { acknowledged: 0, sent: 0, token };
    for step in 1..=rng.usize(0..=4) {
        told.sent = step;
        let request = match step {
            1 => provider.verify_request(&told.token.token),
            2 => provider.step_request(&told.token.id, "call-started"),
            3 => provider.step_request(&told.token.id, "call-accepted"),
            _ => provider.step_request(&told.token.id, "call-completed"),
        };
        let Ok(answer) = node.try_send(&request) else { break };
        answer.expect(200);
        told.acknowledged = step;
    }
    Some(told)
}

/// Thousands of tokens in every state when the node is killed: none is lost, none goes back, none is paid twice.
#[test]
fn thousands_of_live_tokens_survive_kill_9() {
    const TOKENS: usize = 3_000;
    const CLIENTS: usize = 16;
    let seed = std::env::var("AGENTPAY_X402_SEED")
        .map_or_else(|_| fastrand::u64(..), |text| text.parse().expect("a number"));
    println!(
        "seed {seed}; again: AGENTPAY_X402_SEED={seed} cargo test -p system-tests --test system live_tokens"
    );
    // A snapshot now and then, so that recovery has both a snapshot and records behind it.
    let node = Node::builder().set("snapshot.every_seconds", "1").start();
    let (consumer, provider, service) = two_sides(&node, r#","sla":{"window_seconds":3600}"#);
    let made = AtomicUsize::new(0);
    let mut told: Vec<Told> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (node, consumer, provider, service, made) =
                    (&node, &consumer, &provider, &service, &made);
                scope.spawn(move || {
                    let mut rng = Rng::with_seed(seed.wrapping_add(client as u64));
                    let mut told = Vec::new();
                    while made.load(Ordering::Relaxed) < TOKENS {
                        let Some(one) = live_a_while(node, consumer, provider, service, &mut rng) else {
                            break;
                        };
                        made.fetch_add(1, Ordering::Relaxed);
                        told.push(one);
                    }
                    told
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
    });
    assert!(told.len() >= TOKENS);
    let node = node.kill_and_restart();
    verify_all(&node, &consumer, &provider, &told);

    // Killed again in the middle of more steps, and once more while it recovers.
    let mut rng = Rng::with_seed(seed);
    rng.shuffle(&mut told);
    let node = kill_amid_steps(node, &provider, &mut told, &mut rng);
    verify_all(&node, &consumer, &provider, &told);
    finish_all(&node, &consumer, &provider, &told);
    let builder = node.stop();
    let proof = agentpay(&["check", "--json", "--data-dir", &builder.data_dir().text()]);
    assert_eq!(proof.code, Some(0), "{}{}", proof.stdout, proof.stderr);
}

/// Every token is where its holder was told or one step further, and the held and earned sums say the same.
fn verify_all(node: &Node, consumer: &Account, provider: &Account, told: &[Told]) {
    let mut connection = node.connect();
    let mut count: BTreeMap<String, i128> = BTreeMap::new();
    for one in told {
        let request = Request::get(format!("/v1/x402/tokens/{}", one.token.id)).bearer(&consumer.api_key);
        let document = connection.send(&request).expect("the node answers").expect(200).document();
        let status = document.text("/status");
        let place =
            STATES.iter().position(|state| *state == status).unwrap_or_else(|| panic!("{status}: {one:?}"));
        assert!((one.acknowledged..=one.sent).contains(&place), "{status}: {one:?}");
        *count.entry(status.to_owned()).or_default() += 1;
    }
    println!("{count:?}");
    let price = 250_000_000;
    let settled = count.get("settled").copied().unwrap_or(0);
    let open = i128::try_from(told.len()).expect("thousands") - settled;
    let balance = consumer.balance(node);
    assert_eq!(balance.nanos(&["held"]), open * price);
    assert_eq!(balance.nanos(&["available"]), 100_000_000_000_000 - (open + settled) * price);
    assert_eq!(provider.balance(node).nanos(&["available"]), settled * price);
}

fn next_request(provider: &Account, one: &Told, place: usize) -> Request {
    match place {
        0 => provider.verify_request(&one.token.token).header("idempotency-key", &one.token.id),
        1 => provider.step_request(&one.token.id, "call-started"),
        2 => provider.step_request(&one.token.id, "call-accepted"),
        _ => provider.step_request(&one.token.id, "call-completed"),
    }
}

fn kill_amid_steps(node: Node, provider: &Account, told: &mut [Told], rng: &mut Rng) -> Node {
    let before_kill = Duration::from_millis(rng.u64(5..120));
    let address = node.address();
    let builder = std::thread::scope(|scope| {
        for part in told.chunks_mut(256) {
            scope.spawn(move || {
                let Ok(mut connection) = Connection::open(address) else { return };
                for one in
                    part.iter_mut().filter(|one| one.acknowledged == one.sent && one.sent > 0 && one.sent < 4)
                {
                    let request = next_request(provider, one, one.sent);
                    one.sent += 1;
                    let Ok(answer) = connection.send(&request) else { return };
                    answer.expect(200);
                    one.acknowledged += 1;
                }
            });
        }
        std::thread::sleep(before_kill);
        node.kill()
    });
    let recovering = builder.clone().without_waiting().start();
    std::thread::sleep(Duration::from_micros(rng.u64(0..20_000)));
    drop(recovering);
    builder.start()
}

/// Settles or cancels everything that is open; what is left is what was never held.
fn finish_all(node: &Node, consumer: &Account, provider: &Account, told: &[Told]) {
    let mut connection = node.connect();
    for one in told {
        let request = Request::get(format!("/v1/x402/tokens/{}", one.token.id)).bearer(&provider.api_key);
        let status =
            connection.send(&request).expect("an answer").expect(200).document().text("/status").to_owned();
        let place = STATES.iter().position(|state| *state == status).expect("a state");
        if place == 0 {
            consumer.cancel(node, &one.token.id).expect(200);
            continue;
        }
        for place in place..4 {
            connection.send(&next_request(provider, one, place)).expect("an answer").expect(200);
        }
    }
    let balance = consumer.balance(node);
    assert_eq!(balance.raw(&["held"]), "0");
    let paid = 100_000_000_000_000 - balance.nanos(&["available"]);
    assert_eq!(provider.balance(node).nanos(&["available"]), paid);
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
