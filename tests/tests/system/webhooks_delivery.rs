//! Delivery that goes wrong: receivers that fail, are slow, or want nothing more, and nodes that die in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use system_tests::http::Request;
use system_tests::{Account, Node, Received, Receiver, Say, eventually};

use crate::webhooks::{deliveries, listen, patch, path, pay, shown};

const EVERYTHING: &str = r#"["payment.*","wallet.*"]"#;

#[test]
fn what_failed_is_sent_again_with_the_same_id_and_body() {
    let node = Node::start();
    let attempts = AtomicUsize::new(0);
    let receiver = Receiver::saying(move |_| match attempts.fetch_add(1, Ordering::SeqCst) {
        0 => Say::status(500),
        _ => Say::status(200),
    });
    let account = Account::create(&node, "listener");
    let hook = listen(&node, &account, &receiver.url("/"), EVERYTHING);
    account.fund(&node, "1");
    let [first, second] = &receiver.wait_for(2)[..] else { panic!("two attempts") };
    assert_eq!((first.id(), &first.body), (second.id(), &second.body));
    assert_eq!((first.signed_with(&hook.secret), second.signed_with(&hook.secret)), (vec![true], vec![true]));
    let seconds = |one: &Received| one.header("webhook-timestamp").parse::<i64>().expect("seconds");
    assert!(seconds(second) - seconds(first) >= 4, "five seconds, give or take a fifth");
    let delivered = eventually("it is delivered", || {
        let listed = deliveries(&node, &account, &hook, "?status=delivered");
        (listed.at("/deliveries/0/id") == &first.id()).then_some(listed)
    });
    assert_eq!(delivered.at("/deliveries/0/attempts"), 2);
}

#[test]
fn kill_9_between_event_and_delivery_loses_nothing() {
    const PAYMENTS: usize = 40;
    let node = Node::start();
    let receiver = Receiver::saying(|_| Say::status(500));
    let (alice, bob) = (Account::funded(&node, "alice", "100"), Account::create(&node, "bob"));
    listen(&node, &alice, &receiver.url("/"), r#"["payment.completed"]"#);
    let mut payments: BTreeSet<String> = BTreeSet::new();
    for _ in 0..PAYMENTS / 2 {
        payments.insert(pay(&node, &alice, &bob, "0.1").text("/id").to_owned());
    }
    // Some were tried and failed; the last ones are acknowledged and may not even have been looked at.
    receiver.wait_for(1);
    for _ in 0..PAYMENTS / 2 {
        payments.insert(pay(&node, &alice, &bob, "0.1").text("/id").to_owned());
    }
    let builder = node.kill();
    let failed: BTreeMap<String, String> = receiver.received().iter().map(of_payment).collect();
    receiver.say(|_| Say::status(200));
    let before = receiver.received().len();
    let node = builder.start();
    let delivered = eventually("every payment is told of after the restart", || {
        let told: BTreeMap<String, String> = receiver.received()[before..].iter().map(of_payment).collect();
        (told.len() >= payments.len()).then_some(told)
    });
    assert_eq!(delivered.keys().cloned().collect::<BTreeSet<_>>(), payments, "none lost, none made up");
    assert!(!failed.is_empty());
    for (payment, id) in failed {
        assert_eq!(delivered[&payment], id, "the same id before and after");
    }
    drop(node);
}

/// The payment that a delivery tells of, and the event's id.
fn of_payment(received: &Received) -> (String, String) {
    (received.document().text("/data/id").to_owned(), received.id())
}

#[test]
fn an_orderly_stop_keeps_what_waits() {
    let node = Node::start();
    let receiver = Receiver::start();
    receiver.close();
    let account = Account::funded(&node, "listener", "1");
    // Nobody listened so far, so what is in the log is passed over, also after a restart.
    let node = node.kill_and_restart();
    listen(&node, &account, &receiver.url("/"), EVERYTHING);
    account.fund(&node, "1");
    let first = receiver.wait_for(1)[0].id();
    let builder = node.stop();
    receiver.open();
    let _node = builder.start();
    assert_eq!(receiver.wait_for(2)[1].id(), first);
}

#[test]
fn a_receiver_that_never_answers_delays_no_other() {
    // Two places of four are for receivers that have not answered yet: the silent ones can take no more.
    let node = Node::builder()
        .set("webhooks.in_flight_max", "4")
        .set("webhooks.in_flight_per_webhook_max", "2")
        .set("webhooks.attempt_timeout_ms", "120000")
        .start();
    let (silent, quick) = (Receiver::start(), Receiver::start());
    let (alice, bob) = (Account::funded(&node, "alice", "100"), Account::create(&node, "bob"));
    let quick_hook = listen(&node, &alice, &quick.url("/quick"), r#"["payment.completed"]"#);
    pay(&node, &alice, &bob, "0.1");
    quick.wait_for(1);
    eventually("it has answered", || {
        let listed = deliveries(&node, &alice, &quick_hook, "?status=delivered");
        (listed.at("/deliveries").as_array().map(Vec::len) == Some(1)).then_some(())
    });
    silent.close();
    for name in ["/a", "/b", "/c", "/d", "/e", "/f"] {
        listen(&node, &alice, &silent.url(name), r#"["payment.completed"]"#);
    }
    for _ in 0..100 {
        pay(&node, &alice, &bob, "0.1");
    }
    let received = quick.wait_for(101);
    assert_eq!(received.iter().map(Received::id).collect::<BTreeSet<_>>().len(), 101);
    assert!(silent.received().len() <= 2, "nobody else got a place");
    silent.open();
}

#[test]
fn gone_disables_for_ever_and_until_the_owner_says_otherwise() {
    let node = Node::start();
    let receiver = Receiver::saying(|_| Say::status(410));
    let account = Account::create(&node, "listener");
    let hook = listen(&node, &account, &receiver.url("/"), EVERYTHING);
    account.fund(&node, "1");
    let disabled = eventually("it is disabled", || {
        let webhook = shown(&node, &account, &hook);
        (webhook.text("/status") == "disabled").then_some(webhook)
    });
    assert_eq!(disabled.text("/disabled_reason"), "gone");
    account.fund(&node, "1");
    let test = Request::post(path(&hook, "/test"), "{}").bearer(&account.api_key);
    node.send(&test).expect_error(409, "AP-1006");
    let node = node.kill_and_restart();
    assert_eq!(shown(&node, &account, &hook).text("/disabled_reason"), "gone");
    assert_eq!(receiver.received().len(), 1, "nothing more was sent");
    receiver.say(|_| Say::status(200));
    let active = patch(&node, &account, &hook, r#"{"status":"active"}"#).expect(200).document();
    assert_eq!((active.text("/status"), active.at("/disabled_reason").is_null()), ("active", true));
    account.fund(&node, "3");
    let received = receiver.wait_for(2);
    assert_eq!(received[1].document().raw(&["data", "amount"]), "3", "what came in between is not told");
    let off = patch(&node, &account, &hook, r#"{"status":"disabled"}"#).expect(200).document();
    assert_eq!(off.text("/disabled_reason"), "by_owner");
}

#[test]
fn too_much_waiting_disables_the_webhook_and_no_other() {
    let node = Node::builder().set("webhooks.pending_per_webhook_max", "10").start();
    let (silent, quick) = (Receiver::start(), Receiver::start());
    silent.close();
    let account = Account::create(&node, "listener");
    let stuck = listen(&node, &account, &silent.url("/"), EVERYTHING);
    let fine = listen(&node, &account, &quick.url("/"), EVERYTHING);
    for told in 1..=30 {
        account.fund(&node, "1");
        quick.wait_for(told);
    }
    let disabled = eventually("it is disabled", || {
        let webhook = shown(&node, &account, &stuck);
        (webhook.text("/status") == "disabled").then_some(webhook)
    });
    assert_eq!(disabled.text("/disabled_reason"), "backlog");
    assert_eq!(shown(&node, &account, &fine).text("/status"), "active");
    assert_eq!(quick.received().len(), 30);
    silent.open();
}

#[test]
fn tests_and_repetitions_are_deliveries_like_others() {
    let node = Node::start();
    let receiver = Receiver::start();
    let (account, other) = (Account::create(&node, "listener"), Account::create(&node, "other"));
    let hook = listen(&node, &account, &receiver.url("/"), r#"["wallet.funded"]"#);
    let test = Request::post(path(&hook, "/test"), "{}");
    let made = node.send(&test.clone().bearer(&account.api_key)).expect(201).document();
    assert_eq!((made.text("/type"), made.text("/status")), ("webhook.test", "pending"));
    node.send(&test.bearer(&other.api_key)).expect_error(404, "AP-2002");
    let [told] = &receiver.wait_for(1)[..] else { panic!("one delivery") };
    assert_eq!((told.id(), told.kind()), (made.text("/id").to_owned(), "webhook.test".to_owned()));
    assert_eq!(told.document().text("/data/webhook_id"), hook.id);
    assert_eq!(told.signed_with(&hook.secret), [true]);
    eventually("it is delivered", || {
        let listed = deliveries(&node, &account, &hook, "?status=delivered");
        (listed.at("/deliveries/0/id") == &told.id()).then_some(())
    });

    let again = Request::post(path(&hook, &format!("/deliveries/{}/redeliver", told.id())), "{}");
    let made = node.send(&again.clone().bearer(&account.api_key)).expect(200).document();
    assert_eq!((made.text("/id"), made.text("/status")), (told.id().as_str(), "pending"));
    let repeated = &receiver.wait_for(2)[1];
    assert_eq!((repeated.id(), &repeated.body), (told.id(), &told.body));
    node.send(&again.bearer(&other.api_key)).expect_error(404, "AP-2002");
    let unknown = "/deliveries/evt_00000000000000000000000000/redeliver";
    node.send(&Request::post(path(&hook, unknown), "{}").bearer(&account.api_key))
        .expect_error(404, "AP-2002");
}

#[test]
fn lists_of_deliveries_go_from_new_to_old_in_pages() {
    let node = Node::start();
    let receiver = Receiver::start();
    let account = Account::create(&node, "listener");
    let hook = listen(&node, &account, &receiver.url("/"), r#"["wallet.funded"]"#);
    for amount in 1..=7 {
        account.fund(&node, &amount.to_string());
    }
    let received = receiver.wait_for(7);
    let mut newest_first: Vec<(i128, String)> =
        received.iter().map(|one| (one.document().nanos(&["data", "amount"]), one.id())).collect();
    newest_first.sort_by_key(|(amount, _)| -amount);
    let (mut listed, mut query) = (Vec::new(), "?limit=3".to_owned());
    loop {
        let page = deliveries(&node, &account, &hook, &query);
        let ids = page.at("/deliveries").as_array().expect("a list");
        listed.extend(ids.iter().map(|one| one["id"].as_str().expect("an id").to_owned()));
        let Some(next) = page.at("/next_cursor").as_str() else { break };
        query = format!("?limit=3&cursor={next}");
    }
    assert_eq!(listed, newest_first.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
    for query in ["?status=lost", "?cursor=x", "?limit=0"] {
        let request = Request::get(path(&hook, &format!("/deliveries{query}"))).bearer(&account.api_key);
        node.send(&request).expect_error(400, "AP-2001");
    }
}
