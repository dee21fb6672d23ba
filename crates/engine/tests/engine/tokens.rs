//! Calls of services from reservation to end, through the face.

use engine::{Authorize, Refusal, TokenFilter, TokenRole, Transaction};
use ledger::{Amount, Denial, PaymentId, Sla, TokenClaims, TokenId, TokenStatus, WalletStatus};
use wal::testing::MemoryStorage;

use crate::harness::{Market, Setup, amount, denial, eventually, key, page, pass, redeem, seen};

const SLA: Option<Sla> = Some(Sla { window_ms: 1_000, accept_within_ms: Some(400) });

fn setup() -> Setup {
    Setup::new(MemoryStorage::new()).with_history()
}

#[test]
fn a_call_is_reserved_redeemed_carried_out_and_paid() {
    let node = setup().tuned(|options| options.rules.platform_fee_basis_points = 1_000).start();
    let market = Market::open(&node, None);
    let reserved = market.reserve(&node);
    assert_eq!((reserved.status, reserved.amount), (TokenStatus::Reserved, amount("0.5")));
    assert_eq!(reserved.expires_at.millis() - reserved.reserved_at.millis(), 300_000);
    assert_eq!(market.books(&node), ["99.5", "0.5", "0"]);

    let steps = [
        (market.verify(&node, reserved.id), TokenStatus::Verified),
        (market.start(&node, reserved.id), TokenStatus::Started),
        (market.accept(&node, reserved.id), TokenStatus::Accepted),
    ];
    for (view, status) in steps {
        assert_eq!((view.status, view.payment_id), (status, None));
    }
    let settled = market.complete(&node, reserved.id);
    assert_eq!((settled.status, settled.fee, settled.deadline), (TokenStatus::Settled, amount("0.05"), None));
    assert_eq!(market.books(&node), ["99.5", "0", "0.45"]);
    assert_eq!(market.token(&node, reserved.id), settled);
    node.check_trial_balance();

    let payment = settled.payment_id.expect("a settled token is a payment");
    for party in [&market.consumer, &market.provider] {
        match node.run(node.engine.transaction(party.id(), payment)).expect("both parties see it") {
            Transaction::Settlement(receipt) => {
                assert_eq!((receipt.id, receipt.token), (payment, reserved.id));
                assert_eq!((receipt.amount, receipt.fee), (amount("0.5"), amount("0.05")));
            }
            other => panic!("{other:?}"),
        }
    }
    let stranger = node.party("stranger");
    assert_eq!(node.run(node.engine.transaction(stranger.id(), payment)), Err(Refusal::UnknownPayment));
    let (raw, reserved) = (settled.payment_id.map(PaymentId::raw), reserved.id.raw());
    let as_payment = PaymentId::from_raw(reserved);
    let foreign = node.run(node.engine.transaction(market.consumer.id(), as_payment));
    assert_eq!(foreign, Err(Refusal::UnknownPayment), "a token's id is no payment's");
    let as_token = TokenId::from_raw(raw.expect("settled"));
    assert_eq!(denial(node.run(node.engine.token(market.consumer.id(), as_token))), Denial::UnknownToken);
}

#[test]
fn a_reservation_is_refused_for_what_is_wrong_with_it() {
    let node = setup().start();
    let market = Market::open(&node, None);
    let ask = |change: &dyn Fn(&mut Authorize)| {
        let mut command = market.ask();
        change(&mut command);
        denial(node.run(node.engine.authorize(&market.consumer.caller, command)))
    };
    let unknown = ledger::ServiceId::from_raw(9);
    assert_eq!(ask(&|command| command.service = unknown), Denial::UnknownService);
    assert_eq!(ask(&|command| command.payer = market.provider.wallet), Denial::UnknownWallet);
    let max_amount = amount("0.499999999");
    let too_much = Denial::PriceAboveMaximum { price: amount("0.5"), max_amount };
    assert_eq!(ask(&|command| command.max_amount = Some(max_amount)), too_much);
    let own = Authorize { payer: market.provider.wallet, ..market.ask() };
    let own = node.run(node.engine.authorize(&market.provider.caller, own));
    assert_eq!(denial(own), Denial::SameWallet);
    let at = ledger::Timestamp::from_millis(1);
    let (caller, wallet) = (&market.consumer.caller, market.consumer.wallet);
    node.run(node.engine.set_status(caller, wallet, WalletStatus::Frozen, at)).expect("frozen");
    assert_eq!(ask(&|_| ()), Denial::WalletFrozen);
    node.run(node.engine.deactivate_service(&market.provider.caller, market.service, at)).expect("ended");
    assert_eq!(ask(&|_| ()), Denial::ServiceInactive);
    assert_eq!(market.books(&node), ["100", "0", "0"]);
}

#[test]
fn what_is_held_cannot_be_spent_and_a_cancelled_hold_comes_back() {
    let node = setup().start();
    let market = Market::open(&node, None);
    let tokens: Vec<_> = (0..200).map(|_| market.reserve(&node).id).collect();
    assert_eq!(market.books(&node), ["0", "100", "0"]);
    let more = node.run(node.engine.authorize(&market.consumer.caller, market.ask()));
    let (available, held, needed) = (Amount::ZERO, amount("100"), amount("0.5"));
    assert_eq!(denial(more), Denial::InsufficientBalance { available, held, needed });
    let cancelled =
        node.run(node.engine.cancel_token(&market.consumer.caller, tokens[0])).expect("cancelled");
    assert_eq!((cancelled.replayed, cancelled.value.status), (false, TokenStatus::Cancelled));
    let again =
        node.run(node.engine.cancel_token(&market.consumer.caller, tokens[0])).expect("the same answer");
    assert!(again.replayed);
    assert_eq!(again.value, cancelled.value);
    assert_eq!(market.books(&node), ["0.5", "99.5", "0"]);
    let late = node.run(node.engine.verify_token(&market.provider.caller, redeem(tokens[0], None)));
    assert_eq!(denial(late), Denial::WrongTokenStatus { status: TokenStatus::Cancelled });
    market.verify(&node, tokens[1]);
    let used = node.run(node.engine.cancel_token(&market.consumer.caller, tokens[1]));
    assert_eq!(denial(used), Denial::WrongTokenStatus { status: TokenStatus::Verified });
}

#[test]
fn keys_replay_reservations_and_redemptions() {
    let setup = setup();
    let node = setup.start();
    let market = Market::open(&node, None);
    let keyed = |fingerprint| Authorize { key: key("call-1", fingerprint), ..market.ask() };
    let first = node.run(node.engine.authorize(&market.consumer.caller, keyed(7))).expect("reserved");
    let again = node.run(node.engine.authorize(&market.consumer.caller, keyed(7))).expect("the same answer");
    assert_eq!((first.replayed, again.replayed, &again.value), (false, true, &first.value));
    let other = node.run(node.engine.authorize(&market.consumer.caller, keyed(8)));
    assert_eq!(denial(other), Denial::KeyConflict);
    let token = first.value.id;
    let verify = |node: &crate::harness::Node, key| {
        node.run(node.engine.verify_token(&market.provider.caller, redeem(token, key)))
    };
    let redeemed = verify(&node, key("r", 1)).expect("redeemed");
    assert_eq!(denial(verify(&node, None)), Denial::TokenUsed { status: TokenStatus::Verified });
    assert_eq!(denial(verify(&node, key("r", 2))), Denial::KeyConflict);
    let rename = engine::ServicePatch { name: Some("other".into()), ..engine::ServicePatch::default() };
    node.run(node.engine.patch_service(&market.provider.caller, market.service, rename)).expect("patched");
    market.start(&node, token);
    let repeated = verify(&node, key("r", 1)).expect("the same answer");
    assert!(repeated.replayed);
    assert_eq!(repeated.value, redeemed.value, "with the service as it stood at the reservation");
    node.kill();
    let node = setup.start();
    assert_eq!(verify(&node, key("r", 1)).expect("the same answer").value, redeemed.value);
    let again = node.run(node.engine.authorize(&market.consumer.caller, keyed(7))).expect("the same answer");
    assert_eq!((again.replayed, again.value), (true, first.value));
}

#[test]
fn a_token_is_told_to_its_parties_alone_and_only_if_its_claims_are_true() {
    let node = setup().start();
    let market = Market::open(&node, None);
    let token = market.reserve(&node);
    let stranger = node.party("stranger");
    for party in [&stranger, &market.consumer] {
        let asked = node.run(node.engine.verify_token(&party.caller, redeem(token.id, None)));
        assert_eq!(denial(asked), Denial::UnknownToken);
        assert_eq!(denial(node.run(node.engine.start_call(&party.caller, token.id))), Denial::UnknownToken);
    }
    let cancel = node.run(node.engine.cancel_token(&market.provider.caller, token.id));
    assert_eq!(denial(cancel), Denial::UnknownToken);
    assert_eq!(denial(node.run(node.engine.token(stranger.id(), token.id))), Denial::UnknownToken);
    let claims = TokenClaims {
        service: market.service,
        payer_agent: market.consumer.id(),
        amount: token.amount,
        currency: token.currency,
    };
    let claim = |claims| {
        let command = engine::VerifyToken { expects: Some(claims), ..redeem(token.id, None) };
        node.run(node.engine.verify_token(&market.provider.caller, command))
    };
    let wrong = TokenClaims { amount: amount("0.4"), ..claims };
    assert_eq!(denial(claim(wrong)), Denial::TokenMismatch);
    assert_eq!(claim(claims).expect("redeemed").value.token.status, TokenStatus::Verified);
}

#[test]
fn steps_come_in_order_and_repeat_their_own_answers() {
    let node = setup().start();
    let market = Market::open(&node, SLA);
    let token = market.reserve(&node).id;
    let provider = &market.provider.caller;
    let wrong = |status| Denial::WrongTokenStatus { status };
    assert_eq!(denial(node.run(node.engine.start_call(provider, token))), wrong(TokenStatus::Reserved));
    market.verify(&node, token);
    assert_eq!(denial(node.run(node.engine.accept_call(provider, token))), wrong(TokenStatus::Verified));
    assert_eq!(denial(node.run(node.engine.complete_call(provider, token))), wrong(TokenStatus::Verified));
    let started = market.start(&node, token);
    assert_eq!(denial(node.run(node.engine.complete_call(provider, token))), wrong(TokenStatus::Started));
    let accepted = market.accept(&node, token);
    let settled = market.complete(&node, token);
    let again = |answer: Result<engine::Answer<engine::TokenView>, Refusal>| {
        let answer = answer.expect("the same answer");
        assert!(answer.replayed);
        answer.value
    };
    assert_eq!(again(node.run(node.engine.start_call(provider, token))), started);
    assert_eq!(again(node.run(node.engine.accept_call(provider, token))), accepted);
    assert_eq!(again(node.run(node.engine.complete_call(provider, token))), settled);
    assert_eq!(market.books(&node), ["99.5", "0", "0.5"]);
}

#[test]
fn what_is_late_ends_by_itself_and_once() {
    let setup = setup().tuned(|options| {
        options.rules.token_ttl_default_ms = 2_000;
        options.rules.token_start_within_ms = 1_200;
        options.rules.token_complete_within_ms = 1_500;
    });
    let clock = setup.clock.clone();
    let node = setup.start();
    let (with_sla, plain) = (Market::open(&node, SLA), Market::open_named(&node, "plain", None));
    let unredeemed = with_sla.reserve(&node).id;
    let never_started = with_sla.reserve(&node).id;
    let never_accepted = with_sla.reserve(&node).id;
    let never_done = with_sla.reserve(&node).id;
    let plain_token = plain.reserve(&node).id;
    for token in [never_started, never_accepted, never_done] {
        with_sla.verify(&node, token);
    }
    with_sla.start(&node, never_accepted);
    with_sla.start(&node, never_done);
    with_sla.accept(&node, never_done);
    plain.verify(&node, plain_token);
    plain.start(&node, plain_token);

    let begun = clock.now().millis();
    let expected = [
        (never_accepted, &with_sla, TokenStatus::SlaBreached, 400),
        (never_done, &with_sla, TokenStatus::SlaBreached, 1_000),
        (never_started, &with_sla, TokenStatus::Refunded, 1_200),
        (plain_token, &plain, TokenStatus::Refunded, 1_500),
        (unredeemed, &with_sla, TokenStatus::Expired, 2_000),
    ];
    for (token, market, status, after) in expected {
        let open = market.token(&node, token);
        assert_eq!((open.ended_at, open.deadline.map(|at| at.millis())), (None, Some(begun + after)));
        pass(&node, &clock, begun + after - 1 - clock.now().millis());
        assert!(market.token(&node, token).ended_at.is_none(), "{status:?} comes too early");
        pass(&node, &clock, 5);
        eventually("the deadline is met", || market.token(&node, token).status == status);
    }
    assert_eq!(with_sla.books(&node), ["100", "0", "0"]);
    assert_eq!(plain.books(&node), ["100", "0", "0"]);
    let late = node.run(node.engine.verify_token(&with_sla.provider.caller, redeem(unredeemed, None)));
    assert!(matches!(denial(late), Denial::TokenExpired { .. }));
    let late = node.run(node.engine.complete_call(&with_sla.provider.caller, never_done));
    assert_eq!(denial(late), Denial::WrongTokenStatus { status: TokenStatus::SlaBreached });
    node.check_trial_balance();
    node.shutdown();
    assert_eq!(setup.audit().open_tokens, 0);
}

#[test]
fn a_deadline_that_has_passed_is_decided_by_whoever_comes_first() {
    let setup = setup();
    let (node, clock) = (setup.start(), setup.clock.clone());
    let market = Market::open(&node, None);
    let token = market.reserve(&node);
    clock.advance(300_000);
    let late = node.run(node.engine.verify_token(&market.provider.caller, redeem(token.id, None)));
    assert_eq!(denial(late), Denial::TokenExpired { expired_at: token.expires_at });
    seen(&node, &clock);
    assert_eq!(market.token(&node, token.id).status, TokenStatus::Expired);
    assert_eq!(market.books(&node), ["100", "0", "0"]);
}

#[test]
fn tokens_are_listed_for_both_roles_and_statements_add_up() {
    let setup = setup();
    let node = setup.start();
    let market = Market::open(&node, None);
    let tokens: Vec<_> = (0..5).map(|_| market.reserve(&node).id).collect();
    node.run(node.engine.cancel_token(&market.consumer.caller, tokens[1])).expect("cancelled");
    market.verify(&node, tokens[2]);
    market.start(&node, tokens[2]);
    market.accept(&node, tokens[2]);
    let settled = market.complete(&node, tokens[2]);
    let list = |caller, role, status, limit, cursor| {
        let filter = TokenFilter { role, status, range: engine::TimeRange::default() };
        let request = engine::PageRequest { cursor, limit };
        node.run(node.engine.tokens(caller, filter, request)).expect("listed")
    };
    let ids = |page: &engine::Page<engine::TokenView>| page.items.iter().map(|t| t.id).collect::<Vec<_>>();
    let newest: Vec<_> = tokens.iter().rev().copied().collect();
    let (consumer, provider) = (market.consumer.id(), market.provider.id());
    let all = list(consumer, TokenRole::Consumer, None, 20, None);
    assert_eq!((ids(&all), all.next), (newest.clone(), None));
    assert_eq!(ids(&list(provider, TokenRole::Provider, None, 20, None)), newest);
    assert!(list(provider, TokenRole::Consumer, None, 20, None).items.is_empty());
    let open = list(consumer, TokenRole::Consumer, Some(TokenStatus::Reserved), 20, None);
    assert_eq!(ids(&open), [tokens[4], tokens[3], tokens[0]]);
    let (mut paged, mut cursor) = (Vec::new(), None);
    loop {
        let part = list(consumer, TokenRole::Consumer, None, 2, cursor);
        paged.extend(ids(&part));
        cursor = part.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(paged, newest);

    let range = engine::TimeRange::default();
    let lines =
        node.run(node.engine.entries(consumer, market.consumer.wallet, range, page(20))).expect("lines");
    let sum = lines.items.iter().fold(Amount::ZERO, |sum, line| sum.plus(line.delta));
    assert_eq!(sum, node.available(&market.consumer));
    let kinds: Vec<_> = lines.items.iter().map(|line| line.kind).collect();
    assert_eq!(&kinds[..2], ["token_paid", "token_released"]);
    assert_eq!(kinds.iter().filter(|kind| **kind == "token_held").count(), 5);
    let filter = engine::PaymentFilter::default();
    let payments = node.run(node.engine.payments(provider, filter, page(20))).expect("payments").items;
    match payments.as_slice() {
        [Transaction::Settlement(receipt)] => assert_eq!(Some(receipt.id), settled.payment_id),
        other => panic!("{other:?}"),
    }
}

#[test]
fn open_tokens_are_bounded_for_one_agent_and_for_all() {
    let setup = setup().tuned(|options| {
        options.tokens_open_per_agent_max = 3;
        options.tokens_open_max = 5;
    });
    let node = setup.start();
    let market = Market::open(&node, None);
    let tokens: Vec<_> = (0..3).map(|_| market.reserve(&node).id).collect();
    let more = || node.run(node.engine.authorize(&market.consumer.caller, market.ask())).map(drop);
    let full = || Err(Refusal::Denied(Denial::TooManyOpenTokens { limit: 3 }));
    assert_eq!(more(), full());
    node.run(node.engine.cancel_token(&market.consumer.caller, tokens[0])).expect("cancelled");
    assert_eq!((more(), more()), (Ok(()), full()));
    let other = Market::open_named(&node, "other", None);
    other.reserve(&node);
    let last = other.reserve(&node).id;
    let refused = node.run(node.engine.authorize(&other.consumer.caller, other.ask())).map(drop);
    assert_eq!(refused, Err(Refusal::Denied(Denial::NoRoomForTokens)));
    node.kill();
    let node = setup.start();
    let refused = node.run(node.engine.authorize(&other.consumer.caller, other.ask())).map(drop);
    assert_eq!(refused, Err(Refusal::Denied(Denial::NoRoomForTokens)), "a restart forgets none");
    node.run(node.engine.cancel_token(&other.consumer.caller, last)).expect("cancelled");
    other.reserve(&node);
}

/// Whoever lost the answer to its last authorisation has to get it, or the token expires with its money held.
#[test]
fn a_repeated_reservation_is_answered_although_there_is_no_room_for_another() {
    let node = setup().tuned(|options| options.tokens_open_per_agent_max = 1).start();
    let market = Market::open(&node, None);
    let ask = |name: &str| {
        let command = Authorize { key: key(name, 7), ..market.ask() };
        node.run(node.engine.authorize(&market.consumer.caller, command))
    };
    let first = ask("call-1").expect("reserved").value;
    let again = ask("call-1").expect("the first answer");
    assert_eq!((again.replayed, again.value), (true, first));
    assert_eq!(denial(ask("call-2")), Denial::TooManyOpenTokens { limit: 1 });
    assert_eq!(market.books(&node), ["99.5", "0.5", "0"]);
}

/// Without an index a token that has left memory is known to have ended; nobody claims to know how, or that there was none.
#[test]
fn without_an_index_a_former_token_has_ended_and_nobody_says_how() {
    let setup = Setup::new(MemoryStorage::new());
    let node = setup.start();
    let market = Market::open(&node, None);
    let token = market.reserve(&node).id;
    let stranger = node.party("stranger").id();
    market.verify(&node, token);
    market.start(&node, token);
    market.accept(&node, token);
    let settled = market.complete(&node, token);
    node.kill();
    // What ended lately is there again after a crash: the answer to a last step is not lost.
    let node = setup.start();
    assert_eq!((market.token(&node, token), market.complete(&node, token)), (settled.clone(), settled));
    node.kill();
    let setup = setup.tuned(|options| options.ended_tokens_kept = 0);
    for in_order in [true, false] {
        let node = setup.start();
        eventually("it leaves memory", || node.engine.gauges().tokens == 0);
        let provider = &market.provider.caller;
        let (consumer, engine) = (market.consumer.id(), &node.engine);
        let unknown = Err(Refusal::Denied(Denial::UnknownToken));
        for (agent, expected) in [
            (consumer, Err(Refusal::EndNotIndexed)),
            (provider.agent, Err(Refusal::EndNotIndexed)),
            (stranger, unknown),
        ] {
            assert_eq!(node.run(engine.token(agent, token)).map(drop), expected);
        }
        assert_eq!(node.run(engine.complete_call(provider, token)).map(drop), Err(Refusal::EndNotIndexed));
        let again = node.run(engine.verify_token(provider, redeem(token, None)));
        assert_eq!(again.map(drop), Err(Refusal::EndNotIndexed));
        assert_eq!(market.books(&node), ["99.5", "0", "0.5"]);
        let filter =
            TokenFilter { role: TokenRole::Consumer, status: None, range: engine::TimeRange::default() };
        assert_eq!(node.run(engine.tokens(consumer, filter, page(20))).map(drop), Err(Refusal::NoIndex));
        if in_order { drop(node.shutdown()) } else { node.kill() }
    }
}

/// Pages of a filter that matches little lead on to every match and come to an end, whatever their size.
#[test]
fn a_filtered_list_finds_every_match_in_pages_of_any_size() {
    let node = setup().start();
    let market = Market::open(&node, None);
    let tokens: Vec<_> = (0..180).map(|_| market.reserve(&node).id).collect();
    // The first and the last of all, the two around the border of a piece, and one between.
    let mut cancelled = vec![tokens[0], tokens[40], tokens[79], tokens[80], tokens[179]];
    for token in &cancelled {
        node.run(node.engine.cancel_token(&market.consumer.caller, *token)).expect("cancelled");
    }
    cancelled.reverse();
    let filter = TokenFilter {
        role: TokenRole::Consumer,
        status: Some(TokenStatus::Cancelled),
        range: engine::TimeRange::default(),
    };
    for limit in [1, 2, 3, 5, 100] {
        let (mut found, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let request = engine::PageRequest { cursor, limit };
            let page = node.run(node.engine.tokens(market.consumer.id(), filter, request)).expect("listed");
            assert!(page.items.len() <= limit);
            found.extend(page.items.iter().map(|token| token.id));
            (cursor, pages) = (page.next, pages + 1);
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found, cancelled, "{limit} on a page");
        assert!(pages <= cancelled.len() + 1, "{pages} pages of {limit}");
    }
}
