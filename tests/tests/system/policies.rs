//! Spending policies over HTTP: who may set them, what each rule answers, and that they hold after a crash.

use system_tests::http::{Request, Response};
use system_tests::{Account, Document, Node, PaymentRequest};

fn path(account: &Account) -> String {
    format!("/v1/wallets/{}/policy", account.wallet)
}

fn put(node: &Node, account: &Account, key: &str, body: &str) -> Response {
    node.send(&Request::new("PUT", path(account)).json(body).bearer(key))
}

/// The owner's key sets a policy.
#[track_caller]
fn set(node: &Node, account: &Account, body: &str) -> Document {
    put(node, account, &account.secret_key, body).expect(200).document()
}

fn read(node: &Node, account: &Account) -> Document {
    node.send(&Request::get(path(account)).bearer(&account.api_key)).expect(200).document()
}

fn to<'a>(account: &'a Account, label: &'a str, amount: &'a str) -> PaymentRequest<'a> {
    PaymentRequest { from: &account.wallet, to: ("to_external", label), amount, key: None }
}

#[test]
fn an_owner_sets_what_the_runtime_may_spend() {
    let node = Node::start();
    let account = Account::funded(&node, "agent", "100");
    let none = read(&node, &account);
    assert_eq!((none.text("/wallet_id"), none.text("/currency")), (&*account.wallet, "USD"));
    assert!(none.at("/changed_at").is_null() && none.at("/policy/max_per_payment").is_null());
    let body = r#"{"max_per_payment":20,"limits":[{"amount":50,"window":"day"}],"idempotency_key":"p-1"}"#;
    let denied = put(&node, &account, &account.api_key, body).expect_error(403, "AP-1001");
    assert_eq!(denied.text("/error/details/reason"), "forbidden");
    let stranger = Account::create(&node, "stranger");
    put(&node, &account, &stranger.secret_key, body).expect_error(404, "AP-1001");
    put(&node, &account, &account.secret_key, r#"{"max":1}"#).expect_error(400, "AP-2001");
    let later = put(&node, &account, &account.secret_key, r#"{"require_approval_above":5}"#);
    let later = later.expect_error(400, "AP-2001");
    assert!(later.text("/error/message").contains("not offered"), "{}", later.text("/error/message"));

    let shown = set(&node, &account, body);
    assert_eq!(shown.raw(&["policy", "max_per_payment"]), "20");
    account.pay_external(&node, "10");
    let usage = read(&node, &account);
    assert_eq!(usage.text("/usage/0/rule"), "limits");
    assert_eq!((usage.text("/usage/0/window"), usage.at("/usage/0/rolling") == true), ("day", true));
    let list = usage.raw(&["usage"]);
    assert!(list.contains(r#""limit":50,"used":10.04,"available":39.96"#), "{list}");

    let before = (usage.raw(&["policy"]), list);
    let node = node.kill_and_restart();
    let after = read(&node, &account);
    assert_eq!((after.raw(&["policy"]), after.raw(&["usage"])), before);
    // What is shown can be sent again; nothing is a policy too.
    assert_eq!(set(&node, &account, &before.0).raw(&["policy"]), before.0);
    assert!(set(&node, &account, "{}").at("/changed_at").is_null());
    account.pay_external(&node, "30");
}

/// Every rule: what it is set to, whom it refuses to pay how much, and the reason that it gives.
#[test]
fn every_denial_says_what_to_do() {
    let node = Node::start();
    let account = Account::funded(&node, "agent", "1000");
    let provider = Account::create(&node, "provider");
    let service = provider.register(&node, "Feed", "1", r#","category":"data""#);
    let service = service.text("/id");
    let blocked = format!(r#"{{"blocked_recipients":["{}"]}}"#, provider.id);
    let table = [
        (
            r#"{"active_hours":[{"days":["DAY"],"from":"00:00","to":"00:01"}]}"#,
            "active_hours",
            "outside_active_hours",
        ),
        (r#"{"allowed_rails":["card"]}"#, "allowed_rails", "rail_not_allowed"),
        (&blocked, "blocked_recipients", "recipient_blocked"),
        (r#"{"allowed_recipients":["merchant:*"]}"#, "allowed_recipients", "recipient_not_allowed"),
        (r#"{"allowed_categories":["llm"]}"#, "allowed_categories", "category_not_allowed"),
        (r#"{"max_per_payment":0.999}"#, "max_per_payment", "above_max_per_payment"),
        (r#"{"limits":[{"amount":0.5,"window":"week"}]}"#, "limits", "spending_limit_reached"),
    ];
    for (policy, rule, reason) in table {
        // Three days from now it is none of the hours around the test.
        let policy = policy.replace("DAY", &day_after_tomorrow());
        set(&node, &account, &policy);
        let denied = node.send(&account.authorize_request(service, "")).expect_error(403, "AP-1002");
        check(&denied, rule, reason);
        assert_eq!(account.balance(&node).raw(&["held"]), "0");
    }
    set(&node, &account, r#"{"max_payments":[{"count":1,"window":"hour","rolling":false}]}"#);
    account.pay_external(&node, "1");
    let denied = account.pay(&node, &to(&account, "shop", "1")).expect_error(403, "AP-1002");
    check(&denied, "max_payments", "payment_count_reached");
    let details = &["error", "details"];
    for (name, value) in [("limit", "1"), ("used", "1"), ("needed", "1"), ("available", "0")] {
        assert_eq!(denied.raw(&[details[0], details[1], name]), value, "{name}");
    }
    assert_eq!(denied.text("/error/details/window_kind"), "calendar");
    assert!(denied.text("/error/details/reset_at").ends_with(":00:00.000Z"), "the end of the hour");
    assert_eq!(denied.at("/error/retryable"), true);
    assert_eq!(denied.text("/error/details/policy"), "wallet");
}

#[track_caller]
fn check(denied: &Document, rule: &str, reason: &str) {
    assert_eq!(denied.text("/error/details/rule"), rule);
    assert_eq!(denied.text("/error/details/reason"), reason);
    assert!(denied.text("/error/message").ends_with('.'), "{reason}");
    let actions = denied.at("/error/next_actions").as_array().expect("a list");
    assert!(!actions.is_empty() && actions.iter().all(|action| action.as_str().is_some()), "{reason}");
}

fn day_after_tomorrow() -> String {
    let mut date = std::process::Command::new("date");
    let output =
        date.args(["-u", "-d", "+2 days", "+%a"]).env("LC_ALL", "C").output().expect("date is installed");
    String::from_utf8(output.stdout).expect("ASCII").trim().to_lowercase()
}

#[test]
fn a_batch_keeps_its_denials_and_an_atomic_one_moves_nothing() {
    let node = Node::start();
    let account = Account::funded(&node, "agent", "100");
    set(&node, &account, r#"{"limits":[{"amount":2.01,"window":"month"}]}"#);
    let payments: Vec<String> = ["1", "1", "1"].map(|amount| to(&account, "shop", amount).body()).into();
    let body = |atomic| {
        format!(r#"{{"payments":[{}],"atomic":{atomic},"idempotency_key":"b-{atomic}"}}"#, payments.join(","))
    };
    let send = |body: String| node.send(&Request::post("/v1/payments/batch", body).bearer(&account.api_key));
    let whole = send(body(true)).expect_error(403, "AP-1002");
    assert_eq!(whole.raw(&["error", "details", "item"]), "2");
    assert_eq!(account.balance(&node).raw(&["available"]), "100");
    let first = send(body(false)).expect(200);
    let document = first.document();
    assert_eq!((document.raw(&["completed"]), document.raw(&["refused"])), ("2".into(), "1".into()));
    assert_eq!(document.text("/results/2/error/details/reason"), "spending_limit_reached");
    let again = send(body(false)).expect(200);
    assert_eq!(again.text(), first.text(), "the outcome of every item is kept");
}

#[test]
fn a_payment_can_be_checked_without_effect() {
    let node = Node::start();
    let account = Account::funded(&node, "agent", "100");
    set(&node, &account, r#"{"limits":[{"amount":10,"window":"90s"}]}"#);
    let check = |payment: &PaymentRequest<'_>| {
        node.send(&Request::post("/v1/policy/check", payment.body()).bearer(&account.api_key))
    };
    let fits = check(&to(&account, "shop", "5")).expect(200).document();
    assert_eq!(fits.at("/would_pass"), true);
    assert_eq!((fits.raw(&["total_debited"]), fits.raw(&["denial"])), ("5.02".into(), "null".into()));
    let over = check(&to(&account, "shop", "11")).expect(200).document();
    assert_eq!(over.at("/would_pass"), false);
    assert_eq!(over.text("/denial/error/details/rule"), "limits");
    assert!(over.raw(&["usage"]).contains(r#""limit":10,"used":0,"available":10"#), "nothing was counted");
    set(&node, &account, "{}");
    let poor = check(&to(&account, "shop", "1000")).expect(200).document();
    assert_eq!(poor.text("/denial/error/details/reason"), "insufficient_balance");
    let nobodys = Account::create(&Node::start(), "elsewhere");
    check(&to(&nobodys, "shop", "1")).expect_error(404, "AP-1001");
}

#[test]
fn an_agents_policy_holds_for_all_its_wallets_together() {
    let node = Node::start();
    let account = Account::funded(&node, "agent", "100");
    let second = Account { wallet: account.open_wallet(&node), ..account.clone() };
    second.fund(&node, "100");
    let path = format!("/v1/agents/{}/policy", account.id);
    let put = |key: &str, body: &str| node.send(&Request::new("PUT", &path).json(body).bearer(key));
    let body = r#"{"limits":[{"amount":10,"window":"day"}]}"#;
    put(&account.api_key, body).expect_error(403, "AP-1001");
    let shown = put(&account.secret_key, body).expect(200).document();
    assert_eq!((shown.text("/agent_id"), shown.at("/currency").is_null()), (&*account.id, true));
    account.pay_external(&node, "5");
    let denied = second.pay(&node, &to(&second, "shop", "5")).expect_error(403, "AP-1002");
    check(&denied, "limits", "spending_limit_reached");
    assert_eq!(denied.text("/error/details/policy"), "agent");
    let tried = Request::post("/v1/policy/check", to(&second, "shop", "4").body()).bearer(&account.api_key);
    let tried = node.send(&tried).expect(200).document();
    assert_eq!(tried.at("/would_pass"), true);
    assert!(
        tried.raw(&["agent_usage"]).contains(r#""used":5.02,"available":4.98"#),
        "{}",
        tried.raw(&["agent_usage"])
    );
    let read = |node: &Node| {
        node.send(&Request::get(&path).bearer(&account.api_key)).expect(200).document().raw(&["usage"])
    };
    let before = read(&node);
    let node = node.kill_and_restart();
    assert_eq!(read(&node), before);
}
