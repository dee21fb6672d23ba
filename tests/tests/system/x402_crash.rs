//! Ten thousand payment tokens in every state, and a node that is killed again and again.
//!
//! `AGENTPAY_X402_SEED` repeats a run's choices; the moments of the kills themselves are the machine's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use system_tests::http::{Connection, Request};
use system_tests::{Account, Authorized, Node, agentpay};

use crate::x402_races::two_sides;

const CLIENTS: usize = 16;

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

/// Ten thousand tokens in every state when the node is killed: none is lost, none goes back, none is paid twice.
#[test]
fn ten_thousand_live_tokens_survive_kill_9() {
    const TOKENS: usize = 10_000;
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

/// Where a token stands, on a connection that is kept.
fn place_of(connection: &mut Connection, party: &Account, one: &Told) -> usize {
    let request = Request::get(format!("/v1/x402/tokens/{}", one.token.id)).bearer(&party.api_key);
    let document = connection.send(&request).expect("the node answers").expect(200).document();
    let status = document.text("/status");
    STATES.iter().position(|state| *state == status).unwrap_or_else(|| panic!("{status}: {one:?}"))
}

/// Does something with every token, from several clients at once.
fn with_each(node: &Node, told: &[Told], each: impl Fn(&mut Connection, &Told) + Sync) {
    std::thread::scope(|scope| {
        for part in told.chunks(told.len().div_ceil(CLIENTS)) {
            let each = &each;
            scope.spawn(move || {
                let mut connection = node.connect();
                part.iter().for_each(|one| each(&mut connection, one));
            });
        }
    });
}

/// Every token is where its holder was told or one step further, and the held and earned sums say the same.
fn verify_all(node: &Node, consumer: &Account, provider: &Account, told: &[Told]) {
    let counts: [AtomicUsize; STATES.len()] = Default::default();
    with_each(node, told, |connection, one| {
        let place = place_of(connection, consumer, one);
        assert!((one.acknowledged..=one.sent).contains(&place), "{}: {one:?}", STATES[place]);
        counts[place].fetch_add(1, Ordering::Relaxed);
    });
    println!("{:?}", STATES.iter().zip(&counts).collect::<Vec<_>>());
    let price = 250_000_000;
    let settled = i128::try_from(counts[4].load(Ordering::Relaxed)).expect("thousands");
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
    with_each(node, told, |connection, one| {
        let place = place_of(connection, provider, one);
        if place == 0 {
            let cancel = Request::new("DELETE", format!("/v1/x402/tokens/{}", one.token.id));
            connection.send(&cancel.bearer(&consumer.api_key)).expect("an answer").expect(200);
            return;
        }
        for place in place..4 {
            connection.send(&next_request(provider, one, place)).expect("an answer").expect(200);
        }
    });
    let balance = consumer.balance(node);
    assert_eq!(balance.raw(&["held"]), "0");
    let paid = 100_000_000_000_000 - balance.nanos(&["available"]);
    assert_eq!(provider.balance(node).nanos(&["available"]), paid);
}
