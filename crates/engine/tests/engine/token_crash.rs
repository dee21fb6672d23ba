//! Power cuts in the middle of calls (T7): a busy run is recorded call by call, then the power goes at many of its
//! moments, and whatever a party had been told about a token is still true, with the money where it says.
//!
//! `ENGINE_CRASH_POINTS` sets how many moments are tried.

use std::sync::{Arc, Mutex, PoisonError};

use engine::{Engine, TokenView, Transaction};
use ledger::{Sla, TokenId, TokenStatus};
use testkit::Random;
use wal::testing::{Disk, FaultyStorage, Loss};

use crate::harness::{Market, Setup, eventually, for_each_power_cut, pass, redeem};

const CLIENTS: usize = 6;
const CALLS: usize = 30;
const POINTS: usize = 300;
const PRICE_NANOS: i128 = 500_000_000;

type Notes = Arc<Mutex<Vec<(usize, TokenView)>>>;

/// Carries calls to random ends and notes every answer with how many calls the disk had seen by then.
async fn client(engine: Engine, market: Arc<Market>, disk: FaultyStorage, notes: Notes, mut random: Random) {
    let note = |view: TokenView| {
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        // Counted under the lock, so that the counts grow.
        let calls = disk.call_count();
        notes.push((calls, view));
    };
    let provider = &market.provider.caller;
    for call in 0..CALLS {
        let reserved = engine.authorize(&market.consumer.caller, market.ask()).await.expect("reserved").value;
        let token = reserved.id;
        note(reserved);
        let depth = random.below(7);
        if depth == 0 {
            note(engine.cancel_token(&market.consumer.caller, token).await.expect("cancelled").value);
            continue;
        }
        if depth > 1 {
            let verified = engine.verify_token(provider, redeem(token, None)).await.expect("verified");
            note(verified.value.token);
        }
        if depth > 2 {
            note(engine.start_call(provider, token).await.expect("started").value);
        }
        if depth > 3 {
            note(engine.accept_call(provider, token).await.expect("accepted").value);
        }
        if depth > 4 {
            note(engine.complete_call(provider, token).await.expect("completed").value);
        }
        if call % 12 == 11 {
            engine.snapshot_now().await.expect("a snapshot");
        }
    }
}

/// How far a token has come; ends are above every open state.
fn rank(status: TokenStatus) -> usize {
    match status {
        TokenStatus::Reserved => 0,
        TokenStatus::Verified => 1,
        TokenStatus::Started => 2,
        TokenStatus::Accepted => 3,
        _ => 4,
    }
}

#[test]
fn nothing_that_a_party_was_told_of_a_call_is_lost() {
    const REPLAY: &str = "cargo test -p engine --test engine nothing_that_a_party_was_told_of_a_call_is_lost";
    let mut random = Random::new(testkit::seed(REPLAY));
    let points =
        std::env::var("ENGINE_CRASH_POINTS").ok().and_then(|text| text.parse().ok()).unwrap_or(POINTS);
    let disk = FaultyStorage::new();
    let setup = Setup::new(disk.clone()).with_many_segments();
    let node = setup.start();
    let market = Arc::new(Market::open(&node, None));
    let opened = disk.call_count();
    let notes = Notes::default();
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (engine, market) = (node.engine.clone(), market.clone());
            let random = Random::new(random.next_u64());
            node.spawn(client(engine, market, disk.clone(), notes.clone(), random))
        })
        .collect();
    node.run(async move {
        for task in tasks {
            task.await.expect("no task panics");
        }
    });
    node.kill();
    let (calls, told) =
        (disk.calls(), std::mem::take(&mut *notes.lock().unwrap_or_else(PoisonError::into_inner)));
    assert!(calls.len() > opened + 200 && told.len() > 400, "a run worth cutting");
    for_each_power_cut(&calls, opened, points, &mut random, |moment, image| {
        let told = &told[..told.partition_point(|(calls, _)| *calls <= moment)];
        check(&setup, &market, image, told);
    });
}

/// The power goes at every call of the disk while calls come to each of their five ends, with everything, nothing and
/// some of what was not synced: no moment of the life of a token is special.
#[test]
fn the_power_may_go_at_every_step_of_every_kind_of_call() {
    const REPLAY: &str =
        "cargo test -p engine --test engine the_power_may_go_at_every_step_of_every_kind_of_call";
    let mut random = Random::new(testkit::seed(REPLAY));
    let disk = FaultyStorage::new();
    let setup = Setup::new(disk.clone()).tuned(|options| {
        options.rules.token_ttl_default_ms = 1_000;
        options.rules.token_start_within_ms = 1_000;
    });
    let node = setup.start();
    let market = Market::open(&node, Some(Sla { window_ms: 400, accept_within_ms: None }));
    let opened = disk.call_count();
    let mut told: Vec<(usize, TokenView)> = Vec::new();
    for (steps, end) in [
        (4, TokenStatus::Settled),
        (0, TokenStatus::Cancelled),
        (0, TokenStatus::Expired),
        (1, TokenStatus::Refunded),
        (2, TokenStatus::SlaBreached),
        (3, TokenStatus::SlaBreached),
    ] {
        let mut note = |view: TokenView| {
            told.push((disk.call_count(), view));
        };
        let reserved = market.reserve(&node);
        let token = reserved.id;
        note(reserved);
        let all = [Market::verify, Market::start, Market::accept, Market::complete];
        all.iter().take(steps).for_each(|step| note(step(&market, &node, token)));
        match end {
            TokenStatus::Settled => {}
            TokenStatus::Cancelled => {
                let cancelled = node.run(node.engine.cancel_token(&market.consumer.caller, token));
                note(cancelled.expect("cancelled").value);
            }
            _ => {
                pass(&node, &setup.clock, 1_100);
                eventually("it ends by itself", || !market.token(&node, token).status.is_open());
                note(market.token(&node, token));
            }
        }
        assert_eq!(told.last().map(|(_, view)| view.status), Some(end));
    }
    node.kill();
    let calls = disk.calls();
    let mut image = Disk::new();
    calls[..opened].iter().for_each(|call| image.apply(call));
    for moment in opened..=calls.len() {
        let told = &told[..told.partition_point(|(calls, _)| *calls <= moment)];
        for loss in [Loss::Dropped, Loss::Kept, Loss::Random(random.next_u64())] {
            check(&setup, &market, image.image(loss), told);
        }
        calls.get(moment).into_iter().for_each(|call| image.apply(call));
    }
}

fn check(setup: &Setup, market: &Market, image: wal::testing::MemoryStorage, told: &[(usize, TokenView)]) {
    // Snapshots are taken away: that they agree with the log is another test's matter.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let setup = setup.on(image).with_snapshots(directory.path());
    let node = setup.start();
    let mut latest: std::collections::HashMap<TokenId, &TokenView> = std::collections::HashMap::new();
    for (_, view) in told {
        let known = latest.entry(view.id).or_insert(view);
        if rank(view.status) > rank(known.status) {
            *known = view;
        }
    }
    let mut settled = 0;
    for view in latest.values() {
        // Also of those that have ended: few enough for memory, so no index is needed to know how.
        let found = market.token(&node, view.id);
        assert!(rank(found.status) >= rank(view.status), "told {view:?}, found {found:?}");
        assert_eq!((found.amount, found.reserved_at), (view.amount, view.reserved_at));
        if !view.status.is_open() {
            assert_eq!(&found, *view, "an end is told once and for all");
        }
        if let Some(payment) = view.payment_id {
            settled += 1;
            match node.run(node.engine.transaction(market.provider.id(), payment)).expect("it was settled") {
                Transaction::Settlement(receipt) => assert_eq!(receipt.token, view.id),
                other => panic!("{other:?}"),
            }
        }
    }
    let earned = node.available(&market.provider).nanos();
    assert!(earned % PRICE_NANOS == 0 && earned / PRICE_NANOS >= settled, "{earned} for {settled} told");
    let consumer = node.wallet(&market.consumer);
    assert_eq!(consumer.available.nanos() + consumer.held.nanos() + earned, 100_000_000_000);
    let open = i128::from(node.engine.gauges().open_tokens);
    assert_eq!(consumer.held.nanos(), open * PRICE_NANOS, "what is held is what open tokens hold");
    node.check_trial_balance();
    // Every hold that is left comes back by itself.
    setup.clock.advance(7_200_000);
    node.kill();
    let node = setup.start();
    let started = latest.values().filter(|view| rank(view.status) >= 1).count();
    let left = node.wallet(&market.consumer).held.nanos() / PRICE_NANOS;
    assert!(
        left <= i128::try_from(started + CLIENTS).expect("few"),
        "unredeemed tokens have expired: {left}"
    );
    node.kill();
    setup.clock.advance(-7_200_000);
    setup.audit();
}
