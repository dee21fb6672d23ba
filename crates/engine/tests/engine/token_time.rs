//! Time and tokens: outages, stuck and full disks, clocks that jump (T12, T19), and starts after deadlines have passed.

use std::{io::ErrorKind, sync::Arc};

use engine::Authorize;
use ledger::{Denial, Sla, TokenStatus};
use testkit::Random;
use wal::{
    Storage,
    testing::{Fault, FaultyStorage, MemoryStorage, On},
};

use crate::harness::{GatedStorage, Market, Setup, denial, eventually, fund, pass, pay, redeem, seen};

const HOUR_MS: i64 = 3_600_000;
const TEN_YEARS_MS: i64 = 10 * 365 * 86_400_000;
const SLA: Option<Sla> = Some(Sla { window_ms: 10_000, accept_within_ms: None });

#[test]
fn what_ran_out_while_the_node_was_down_is_decided_before_anybody_is_served() {
    let setup = Setup::new(MemoryStorage::new()).with_history();
    let node = setup.start();
    let market = Market::open(&node, SLA);
    let tokens: Vec<_> = (0..50).map(|_| market.reserve(&node).id).collect();
    node.kill();
    setup.clock.advance(HOUR_MS);
    let node = setup.start();
    assert_eq!(market.books(&node), ["100", "0", "0"], "at the first question");
    for token in tokens {
        assert_eq!(market.token(&node, token).status, TokenStatus::Expired);
    }
}

#[test]
fn a_provider_is_not_late_because_the_node_was_down() {
    let setup = Setup::new(MemoryStorage::new());
    let clock = setup.clock.clone();
    let node = setup.start();
    let market = Market::open(&node, SLA);
    let token = market.reserve(&node).id;
    market.verify(&node, token);
    market.start(&node, token);
    pass(&node, &clock, 4_000);
    let alive = clock.now().millis();
    // A sign of life at most a second old is in the log.
    eventually("a sign of life", || node.engine.gauges().durable_lsn == node.engine.gauges().appended_lsn);
    node.kill();
    clock.advance(HOUR_MS);
    for restart in 0..3 {
        let node = setup.start();
        let deadline = market.token(&node, token).deadline.expect("it is open").millis();
        let left = deadline - clock.now().millis();
        assert!((6_000..=7_000 + 50).contains(&left), "{left} ms are left after restart {restart}");
        assert!(deadline >= alive + 6_000 + HOUR_MS);
        if restart == 1 {
            node.shutdown();
        } else {
            node.kill();
        }
        setup.audit();
    }
    let node = setup.start();
    pass(&node, &clock, 5_900);
    market.accept(&node, token);
    assert_eq!(market.complete(&node, token).status, TokenStatus::Settled);
    assert_eq!(market.books(&node), ["99.5", "0", "0.5"]);
}

#[test]
fn a_stuck_disk_makes_nobody_late() {
    let disk = GatedStorage::new(Arc::new(MemoryStorage::new()));
    let setup = Setup::new(disk.clone());
    let clock = setup.clock.clone();
    let node = setup.start();
    let market = Market::open(&node, Some(Sla { window_ms: 1_000, accept_within_ms: None }));
    let token = market.reserve(&node).id;
    market.verify(&node, token);
    market.start(&node, token);
    let gate = disk.shut();
    let accept = {
        let (engine, caller) = (node.engine.clone(), market.provider.caller.clone());
        node.spawn(async move { engine.accept_call(&caller, token).await })
    };
    eventually("the disk is stuck", || disk.waiting() > 0);
    let before = node.engine.gauges().deadlines_fired;
    // In steps that are no outage by themselves: it is the silence of the disk that has to be noticed.
    for _ in 0..40 {
        clock.advance(50);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(node.engine.gauges().deadlines_fired, before, "nobody is late while nobody is answered");
    drop(gate);
    let accepted = node.run(accept).expect("no task panics").expect("it was in time");
    assert_eq!(accepted.value.status, TokenStatus::Accepted);
    seen(&node, &clock);
    assert_eq!(market.complete(&node, token).status, TokenStatus::Settled);
}

/// Deadlines of very many tokens at one moment write more than the log has room for before its next segment is made.
#[test]
fn a_burst_of_deadlines_leaves_the_log_open_to_payments() {
    const TOKENS: usize = 8_000;
    let disk = GatedStorage::new(Arc::new(MemoryStorage::new()));
    let setup = Setup::new(disk.clone()).tuned(|options| {
        options.wal.segment_bytes = 512 << 10;
        options.wal.record_bytes_max = 16 << 10;
        options.wal.segments_ahead = 1;
    });
    let (node, clock) = (setup.start(), setup.clock.clone());
    let market = Market::open(&node, None);
    node.run(node.engine.fund(&market.consumer.caller, fund(&market.consumer, "10000"))).expect("funded");
    let ask = Authorize { ttl_ms: Some(2_000), ..market.ask() };
    for _ in 0..TOKENS {
        node.run(node.engine.authorize(&market.consumer.caller, ask.clone())).expect("reserved");
    }
    let segments = || disk.list().expect("a list").len();
    let pay = || {
        let command = pay(&market.consumer, market.provider.wallet, "1");
        node.run(node.engine.pay(&market.consumer.caller, command)).map(drop)
    };
    eventually("a segment is ready", || setup.segments_ready() == Some(1));
    let gate = disk.shut_for_new_files();
    let fired = || node.engine.gauges().deadlines_fired;
    pass(&node, &clock, 2_000);
    eventually("the deadlines come", || fired() > 0);
    // They stop, or they are through: nobody makes a segment meanwhile.
    let (mut last, made) = (0, segments());
    eventually("the deadlines wait", || {
        std::thread::sleep(std::time::Duration::from_millis(150));
        std::mem::replace(&mut last, fired()) == fired()
    });
    assert!(fired() < TOKENS as u64, "the log has no room for all of them");
    assert_eq!(pay(), Ok(()), "with {} deadlines told", fired());
    assert_eq!(segments(), made);
    drop(gate);
    eventually("the others come", || fired() == TOKENS as u64);
    assert_eq!(pay(), Ok(()));
    assert_eq!(market.books(&node)[1], "0");
}

/// T12: a disk that takes its time with every sync. What a provider waits for our answers is not its own time, but for
/// waits so short that they are no outage.
#[test]
fn a_slow_disk_makes_nobody_late() {
    for (sync_ms, window_ms) in [(10, 100), (1_000, 1_500)] {
        let disk = GatedStorage::new(Arc::new(MemoryStorage::new()));
        let setup = Setup::new(disk.clone());
        let (node, clock) = (setup.start(), setup.clock.clone());
        let market = Market::open(&node, Some(Sla { window_ms, accept_within_ms: None }));
        let token = market.reserve(&node).id;
        market.verify(&node, token);
        let provider = market.provider.caller.clone();
        let slowly = |step: CallStep| {
            let gate = disk.shut();
            let (engine, provider) = (node.engine.clone(), provider.clone());
            let asked = node.spawn(async move {
                match step {
                    CallStep::Start => engine.start_call(&provider, token).await,
                    CallStep::Accept => engine.accept_call(&provider, token).await,
                    CallStep::Complete => engine.complete_call(&provider, token).await,
                }
            });
            eventually("the disk works", || disk.waiting() > 0);
            for _ in 0..sync_ms / 10 {
                clock.advance(10);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            drop(gate);
            let answer = node.run(asked).expect("no task panics").expect("it was in time").value;
            seen(&node, &clock);
            answer
        };
        slowly(CallStep::Start);
        slowly(CallStep::Accept);
        assert_eq!(slowly(CallStep::Complete).status, TokenStatus::Settled, "{sync_ms} ms for each sync");
        assert_eq!(market.books(&node), ["99.5", "0", "0.5"]);
        // Who does nothing is still late once the disk is itself again.
        let idle = market.reserve(&node).id;
        market.verify(&node, idle);
        market.start(&node, idle);
        pass(&node, &clock, i64::from(window_ms) + 50);
        eventually("it is breached", || market.token(&node, idle).status == TokenStatus::SlaBreached);
    }
}

enum CallStep {
    Start,
    Accept,
    Complete,
}

#[test]
fn absurd_clocks_freeze_expiry_and_others_move_nothing() {
    let setup = Setup::new(MemoryStorage::new()).tuned(|options| options.rules.token_ttl_default_ms = 60_000);
    let clock = setup.clock.clone();
    let node = setup.start();
    let market = Market::open(&node, None);
    let token = market.reserve(&node).id;
    for jump in [-HOUR_MS, HOUR_MS, TEN_YEARS_MS, -TEN_YEARS_MS] {
        let frozen = jump.abs() > 86_400_000;
        clock.jump(jump);
        let freezes = || (node.engine.gauges().clock_frozen == 1) == frozen;
        eventually("the clock is looked at", freezes);
        let before = node.engine.gauges().served_until_ms;
        clock.advance(1_000);
        if frozen {
            std::thread::sleep(crate::harness::WATCH);
            assert_eq!(node.engine.gauges().served_until_ms, before, "time stands still");
        }
        assert_eq!(market.token(&node, token).status, TokenStatus::Reserved, "after a jump of {jump} ms");
        clock.jump(-jump);
        eventually("the clock is believed", || node.engine.gauges().clock_frozen == 0);
        seen(&node, &clock);
    }
    clock.advance(57_000);
    seen(&node, &clock);
    eventually("it expires in its time", || market.token(&node, token).status == TokenStatus::Expired);
}

#[test]
fn a_start_with_an_absurd_clock_expires_nothing() {
    let setup = Setup::new(MemoryStorage::new());
    let clock = setup.clock.clone();
    let node = setup.start();
    let market = Market::open(&node, SLA);
    let token = market.reserve(&node).id;
    node.kill();
    for jump in [TEN_YEARS_MS, -TEN_YEARS_MS] {
        clock.jump(jump);
        let node = setup.start();
        assert_eq!(node.engine.gauges().clock_frozen, 1);
        assert_eq!(market.token(&node, token).status, TokenStatus::Reserved);
        node.kill();
        clock.jump(-jump);
    }
    clock.advance(301_000);
    let node = setup.start();
    assert_eq!(
        (node.engine.gauges().clock_frozen, market.books(&node)),
        (0, ["100", "0", "0"].map(String::from))
    );
}

/// Ten thousand timers among random jumps of the wall clock: each fires once, none early.
#[test]
fn timers_fire_once_and_not_early_whatever_the_clock_does() {
    const TIMERS: usize = 10_000;
    let mut random = Random::new(testkit::seed(
        "cargo test -p engine --test engine timers_fire_once_and_not_early_whatever_the_clock_does",
    ));
    let setup = Setup::new(MemoryStorage::new()).tuned(|options| options.wal.segment_bytes = 1 << 22);
    let clock = setup.clock.clone();
    let node = setup.start();
    let market = Market::open(&node, None);
    node.run(node.engine.fund(&market.consumer.caller, fund(&market.consumer, "10000"))).expect("funded");
    let tokens: Vec<_> = (0..TIMERS)
        .map(|_| {
            let ttl_ms = Some(1 + random.below(5_000));
            let command = Authorize { ttl_ms, ..market.ask() };
            node.run(node.engine.authorize(&market.consumer.caller, command)).expect("reserved").value
        })
        .collect();
    let mut off = 0;
    for _ in 0..110 {
        let jump = i64::try_from(random.below(7_200_000)).expect("small") - HOUR_MS - off;
        clock.jump(jump);
        off += jump;
        clock.advance(50);
        eventually("the node sees the time", || {
            node.engine.gauges().served_until_ms >= clock.now().millis() - off
        });
        assert_eq!(node.engine.gauges().clock_frozen, 0);
    }
    eventually("every hold has ended", || node.wallet(&market.consumer).held.is_zero());
    assert_eq!(node.engine.gauges().deadlines_fired, TIMERS as u64);
    for token in tokens {
        let view = market.token(&node, token.id);
        let ended_at = view.ended_at.expect("it has ended");
        assert_eq!(view.status, TokenStatus::Expired);
        assert!(ended_at >= token.expires_at, "{ended_at:?} is before {:?}", token.expires_at);
    }
    node.check_trial_balance();
}

#[test]
fn an_expired_token_cannot_be_redeemed_although_its_timer_is_late() {
    let disk = GatedStorage::new(Arc::new(MemoryStorage::new()));
    let setup = Setup::new(disk.clone());
    let node = setup.start();
    let market = Market::open(&node, None);
    let token = market.reserve(&node);
    let gate = disk.shut();
    setup.clock.advance(300_000);
    let verify = {
        let (engine, caller) = (node.engine.clone(), market.provider.caller.clone());
        node.spawn(async move { engine.verify_token(&caller, redeem(token.id, None)).await })
    };
    drop(gate);
    let outcome = node.run(verify).expect("no task panics");
    assert_eq!(denial(outcome), Denial::TokenExpired { expired_at: token.expires_at });
}

#[test]
fn a_full_disk_makes_nobody_late() {
    let disk = FaultyStorage::new();
    let setup = Setup::new(disk.clone()).tuned(|options| options.wal.segment_bytes = 1 << 16);
    let setup = setup.tuned(|options| {
        options.wal.record_bytes_max = 1 << 12;
        options.wal.batch_bytes_max = 1 << 12;
    });
    let clock = setup.clock.clone();
    let node = setup.start();
    let market = Market::open(&node, SLA);
    let token = market.reserve(&node).id;
    market.verify(&node, token);
    let started = market.start(&node, token);
    disk.fail(Fault { on: On::Space, nth: 1, kind: ErrorKind::StorageFull, lasting: true });
    let mut taken = 0;
    while node.run(node.engine.authorize(&market.consumer.caller, market.ask())).is_ok() {
        taken += 1;
        assert!(taken < 10_000, "the disk is full");
        node.run(node.engine.fund(&market.consumer.caller, fund(&market.consumer, "1"))).ok();
    }
    eventually("the phase follows", || node.status.phase() == engine::Phase::ReadOnly);
    let fired = node.engine.gauges().deadlines_fired;
    for _ in 0..20 {
        clock.advance(1_000);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(node.engine.gauges().deadlines_fired, fired, "nobody is late while nothing is taken");
    disk.heal();
    eventually("there is space again", || node.status.phase() == engine::Phase::Ready);
    seen(&node, &clock);
    let moved = market.token(&node, token).deadline.expect("it is open").millis()
        - started.deadline.expect("it was open").millis();
    assert!((20_000..20_200).contains(&moved), "the deadline moved by {moved} ms");
    market.accept(&node, token);
    assert_eq!(market.complete(&node, token).status, TokenStatus::Settled);
    node.kill();
    setup.audit();
}

/// Timers are not cancelled; whoever cancels calls must not fill the memory with them.
#[test]
fn timers_of_ended_tokens_do_not_pile_up_and_the_others_still_fire() {
    const ENDED: usize = 5_000;
    let setup = Setup::new(MemoryStorage::new()).tuned(|options| options.dead_timers_max = 100);
    let clock = setup.clock.clone();
    let node = setup.start();
    let market = Market::open(&node, None);
    let mut open = Vec::new();
    for number in 0..ENDED {
        let token = market.reserve(&node).id;
        if number % 100 == 0 {
            open.push(token);
        } else {
            node.run(node.engine.cancel_token(&market.consumer.caller, token)).expect("cancelled");
        }
    }
    let bound = 3 * open.len() as u64 + 100;
    eventually("dead timers are dropped", || node.engine.gauges().timers <= bound);
    clock.advance(300_000);
    seen(&node, &clock);
    for token in open {
        eventually("it expires", || market.token(&node, token).status == TokenStatus::Expired);
    }
    assert_eq!(market.books(&node), ["100", "0", "0"]);
}
