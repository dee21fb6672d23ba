//! Money from wallet to wallet, and every way to read about it afterwards.

use std::collections::BTreeSet;

use system_tests::http::Request;
use system_tests::{ADMIN_TOKEN, Account, Node, PaymentRequest, nanos};

fn to_wallet<'a>(from: &'a Account, to: &'a Account, amount: &'a str) -> PaymentRequest<'a> {
    PaymentRequest { from: &from.wallet, to: ("to_wallet_id", &to.wallet), amount, key: None }
}

#[test]
fn a_payment_moves_its_amount_and_the_payer_bears_the_fee() {
    let node = Node::start();
    let [payer, payee] = ["payer", "payee"].map(|name| Account::funded(&node, name, "100"));
    let payment = payer.pay(&node, &to_wallet(&payer, &payee, "10")).expect(201).document();
    assert_eq!(payment.raw(&["fee"]), "0.04");
    assert_eq!(payment.raw(&["total_debited"]), "10.04");
    assert_eq!(payment.text("/to_wallet_id"), payee.wallet);
    // Both sides see the same payment, at once.
    assert_eq!(payee.balance(&node).raw(&["available"]), "110");
    assert_eq!(payer.balance(&node).raw(&["available"]), "89.96");
    let id = payment.text("/id");
    assert_eq!(payee.payment(&node, id).expect(200).document().raw(&["amount"]), "10");
    let stranger = Account::create(&node, "stranger");
    stranger.payment(&node, id).expect_error(404, "AP-2002");
}

#[test]
fn what_is_not_there_cannot_be_spent() {
    let node = Node::start();
    let [payer, payee] = ["payer", "payee"].map(|name| Account::funded(&node, name, "100"));
    // 99.61 + 0.39844 = 100.00844
    let denied = payer.pay(&node, &to_wallet(&payer, &payee, "99.61")).expect_error(402, "AP-1001");
    assert_eq!(denied.text("/error/details/reason"), "insufficient_balance");
    assert_eq!(denied.raw(&["error", "details", "available"]), "100");
    assert_eq!(denied.raw(&["error", "details", "held"]), "0");
    assert_eq!(denied.raw(&["error", "details", "needed"]), "100.00844");
    assert!(denied.at("/error/next_actions").as_array().is_some_and(|actions| !actions.is_empty()));
    // All of it, to the last 10^-9: 99.601593625 + 0.398406375 (rounded half-up) = 100
    payer.pay(&node, &to_wallet(&payer, &payee, "99.601593625")).expect(201);
    assert_eq!(payer.balance(&node).raw(&["available"]), "0");
    payer.pay(&node, &to_wallet(&payer, &payee, "0.000000001")).expect_error(402, "AP-1001");
}

#[test]
fn other_refusals_have_their_codes() {
    let node = Node::start();
    let payer = Account::funded(&node, "payer", "100");
    let wallet = &payer.wallet;
    let nobody = Account::create(&Node::start(), "elsewhere").wallet;
    let table = [
        (format!(r#""to_wallet_id":"{wallet}","amount":1"#), 400, "AP-2001"),
        (format!(r#""to_wallet_id":"{nobody}","amount":1"#), 404, "AP-1001"),
        (r#""to_external":"m","amount":1,"currency":"EUR""#.to_owned(), 400, "AP-2001"),
        (r#""to_external":"m","amount":1,"rail":"ach""#.to_owned(), 422, "SETTLEMENT_NOT_CONFIGURED"),
        (r#""to_external":"m","amount":1,"rail":"card""#.to_owned(), 422, "SETTLEMENT_NOT_CONFIGURED"),
    ];
    for (rest, status, code) in table {
        let body = format!(r#"{{"from_wallet_id":"{wallet}",{rest}}}"#);
        let response = node.send(&Request::post("/v1/payments", body).bearer(&payer.api_key));
        assert_eq!(response.status, status, "{rest}: {}", response.text());
        response.expect_error(status, code);
    }
    assert_eq!(payer.balance(&node).raw(&["available"]), "100");
}

#[test]
fn a_frozen_wallet_receives_but_does_not_pay() {
    let node = Node::start();
    let [frozen, other] = ["frozen", "other"].map(|name| Account::funded(&node, name, "100"));
    let order = |what: &str| {
        let request = Request::post(format!("/v1/wallets/{}/{what}", frozen.wallet), "{}");
        node.send(&request.bearer(&frozen.secret_key)).expect(200);
    };
    let keyed = PaymentRequest { key: Some("before"), ..to_wallet(&frozen, &other, "1") };
    let before = frozen.pay(&node, &keyed).expect(201);
    order("freeze");
    order("freeze");
    let denied = frozen.pay(&node, &to_wallet(&frozen, &other, "1")).expect_error(409, "AP-1001");
    assert_eq!(denied.text("/error/details/reason"), "wallet_frozen");
    // A retry of what was paid before still gets its answer.
    assert_eq!(frozen.pay(&node, &keyed).text(), before.text());
    other.pay(&node, &to_wallet(&other, &frozen, "1")).expect(201);
    order("unfreeze");
    frozen.pay(&node, &to_wallet(&frozen, &other, "1")).expect(201);
    // 100 - 1.004 + 1 - 1.004
    assert_eq!(frozen.balance(&node).raw(&["available"]), "98.992");
}

#[test]
fn a_dry_run_tells_what_would_happen_and_changes_nothing() {
    let node = Node::start();
    let account = Account::funded(&node, "dry", "100");
    let run = |amount: &str| {
        let body =
            format!(r#"{{"from_wallet_id":"{}","to_external":"m","amount":{amount}}}"#, account.wallet);
        node.send(&Request::post("/v1/payments?dry_run=true", body).bearer(&account.api_key))
    };
    let would = run("5");
    assert!(matches!(would.status, 200 | 201), "{}", would.text());
    assert_eq!(would.document().raw(&["total_debited"]), "5.02");
    run("1000").expect_error(402, "AP-1001");
    assert_eq!(account.balance(&node).raw(&["available"]), "100");
}

#[test]
fn batches_pay_item_by_item_or_all_or_nothing() {
    let node = Node::start();
    let [payer, payee] = ["payer", "payee"].map(|name| Account::funded(&node, name, "10"));
    let batch = |amounts: &[&str], atomic: bool| {
        let items: Vec<String> =
            amounts.iter().map(|amount| to_wallet(&payer, &payee, amount).body()).collect();
        let body = format!(r#"{{"payments":[{}],"atomic":{atomic}}}"#, items.join(","));
        node.send(&Request::post("/v1/payments/batch", body).bearer(&payer.api_key))
    };
    // Order of items does not matter for what leaks: nothing does.
    for amounts in [["5", "7", "1"], ["7", "5", "1"], ["1", "5", "7"]] {
        let denied = batch(&amounts, true).expect_error(402, "AP-1001");
        assert!(denied.at("/error/details/item").is_number());
        assert_eq!(payer.balance(&node).raw(&["available"]), "10");
    }
    let mixed = batch(&["5", "7", "1"], false).expect(200);
    assert_eq!(mixed.text().matches(r#""status":"completed""#).count(), 2, "{}", mixed.text());
    assert_eq!(mixed.text().matches(r#""code":"AP-1001""#).count(), 1, "{}", mixed.text());
    assert_eq!(payer.balance(&node).raw(&["available"]), "3.976");
    assert_eq!(payee.balance(&node).raw(&["available"]), "16");
    let all = batch(&["1", "1"], true).expect(200);
    let document = all.document();
    for item in ["/results/0/id", "/results/1/id"] {
        payee.payment(&node, document.text(item)).expect(200);
    }
    assert_eq!(payer.balance(&node).raw(&["available"]), "1.968");
}

#[test]
fn a_batch_may_have_10_000_payments_and_no_more() {
    let node = Node::start();
    let payer = Account::funded(&node, "many", "1000000");
    let batch = |items: usize| {
        let item = format!(r#"{{"from_wallet_id":"{}","to_external":"m","amount":1}}"#, payer.wallet);
        let body = format!(r#"{{"payments":[{}]}}"#, vec![item; items].join(","));
        node.send(&Request::post("/v1/payments/batch", body).bearer(&payer.api_key))
    };
    let paid = batch(10_000).expect(200);
    assert_eq!(paid.text().matches(r#""status":"completed""#).count(), 10_000);
    let ids: BTreeSet<String> = paid
        .document()
        .at("/results")
        .as_array()
        .expect("results")
        .iter()
        .map(|item| item["id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(ids.len(), 10_000, "every payment has an id of its own");
    assert_eq!(payer.balance(&node).raw(&["available"]), "989960");
    batch(10_001).expect_error(400, "AP-2001");
    batch(0).expect_error(400, "AP-2001");
    assert_eq!(payer.balance(&node).raw(&["available"]), "989960");
}

#[test]
fn lists_are_complete_newest_first_and_page_without_gaps() {
    let node = Node::start();
    let [payer, payee] = ["payer", "payee"].map(|name| Account::funded(&node, name, "1000"));
    let ids: Vec<String> = (1..=25)
        .map(|n| {
            let amount = n.to_string();
            let payment = payer.pay(&node, &to_wallet(&payer, &payee, &amount)).expect(201).document();
            payment.text("/id").to_owned()
        })
        .collect();
    let newest_first: Vec<&str> = ids.iter().rev().map(String::as_str).collect();
    for account in [&payer, &payee] {
        let mut found = Vec::new();
        let mut cursor = None;
        loop {
            let from = cursor.as_ref().map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
            let request = Request::get(format!("/v1/payments?limit=10{from}")).bearer(&account.api_key);
            let page = node.send(&request).expect(200).document();
            let items = page.at("/payments").as_array().expect("payments").clone();
            found.extend(items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()));
            match page.at("/next_cursor").as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        assert_eq!(found, newest_first);
    }
    let list = |query: &str| {
        let request = Request::get(format!("/v1/payments?{query}")).bearer(&payer.api_key);
        node.send(&request)
    };
    let count = |query: &str| {
        list(query).expect(200).document().at("/payments").as_array().map(Vec::len).expect("payments")
    };
    assert_eq!(count(""), 20, "the default page");
    assert_eq!(count(&format!("wallet_id={}&limit=100", payer.wallet)), 25);
    assert_eq!(count(&format!("counterparty={}&limit=100", payee.wallet)), 25);
    assert_eq!(count("counterparty=somebody-else"), 0);
    assert_eq!(count("rail=internal&status=completed&limit=100"), 25);
    assert_eq!(count("created_after=2999-01-01T00:00:00Z"), 0);
    for query in
        ["limit=0", "limit=101", "limit=x", "cursor=nonsense", "no_such_filter=1", "created_after=yesterday"]
    {
        let response = list(query);
        assert_eq!(response.status, 400, "{query}: {}", response.text());
    }
}

#[test]
fn statement_lines_add_up_to_the_balance() {
    let node = Node::start();
    let [one, two] = ["one", "two"].map(|name| Account::funded(&node, name, "100"));
    for amount in ["1", "2.5", "0.000000001"] {
        one.pay(&node, &to_wallet(&one, &two, amount)).expect(201);
        two.pay(&node, &to_wallet(&two, &one, amount)).expect(201);
    }
    one.pay_external(&node, "3");
    let path = format!("/v1/wallets/{}/entries", one.wallet);
    let request = Request::get(format!("{path}?limit=100"))
        .bearer(&one.api_key)
        .header("accept", "application/json; amounts=string");
    let entries =
        node.send(&request).expect(200).document().at("/entries").as_array().expect("entries").clone();
    assert_eq!(entries.len(), 8);
    let exact = |entry: &serde_json::Value, name: &str| {
        nanos(entry[name].as_str().expect("an amount as text")).expect("a plain decimal")
    };
    let sum: i128 = entries.iter().map(|entry| exact(entry, "delta")).sum();
    assert_eq!(sum, one.available(&node));
    assert_eq!(exact(&entries[0], "balance_after"), sum, "newest first");
    for pair in entries.windows(2) {
        assert_eq!(
            exact(&pair[0], "balance_after"),
            exact(&pair[1], "balance_after") + exact(&pair[0], "delta")
        );
    }
}

#[test]
fn statements_as_csv_cannot_carry_formulas() {
    let node = Node::start();
    let account = Account::funded(&node, "csv", "100");
    for label in ["=1+1", "+1", "-1", "@cmd", "plain, with comma", "quote \\\" inside"] {
        let body = format!(r#"{{"from_wallet_id":"{}","to_external":"{label}","amount":1}}"#, account.wallet);
        node.send(&Request::post("/v1/payments", body).bearer(&account.api_key)).expect(201);
    }
    let path = format!("/v1/wallets/{}/entries?format=csv", account.wallet);
    let response = node.send(&Request::get(path).bearer(&account.api_key)).expect(200);
    assert!(response.header("content-type").is_some_and(|kind| kind.starts_with("text/csv")), "{response:?}");
    let text = response.text();
    for label in ["=1+1", "+1", "@cmd"] {
        assert!(text.contains(&format!("'{label}")), "{label} is not defused: {text}");
        assert!(!text.contains(&format!(",{label}")), "{label} begins a cell: {text}");
    }
    assert!(text.contains(r#""plain, with comma""#) && text.contains(r#""quote "" inside""#), "{text}");
}

#[test]
fn the_trial_balance_is_zero_and_every_account_is_in_it() {
    let node = Node::start();
    let [one, two] = ["one", "two"].map(|name| Account::funded(&node, name, "100"));
    one.pay(&node, &to_wallet(&one, &two, "10")).expect(201);
    two.pay_external(&node, "5");
    let sums = crate::journal::system_sums(&node);
    let expected = [("faucet", "-200"), ("fees", "0.06"), ("external", "5"), ("wallets", "194.94")];
    for (account, sum) in expected {
        assert_eq!(sums.get(account).copied(), nanos(sum), "{account}: {sums:?}");
    }
    assert_eq!(sums.values().sum::<i128>(), 0, "{sums:?}");
    let request = Request::get("/v1/ledger/trial-balance").bearer(ADMIN_TOKEN);
    assert!(node.send(&request).expect(200).document().at("/lsn").is_number());
}

#[test]
fn faucet_funds_have_a_cap_per_wallet() {
    let node = Node::builder().set("ledger.faucet_cap", "100").start();
    let account = Account::funded(&node, "cap", "60");
    let path = format!("/v1/wallets/{}/fund", account.wallet);
    let request = Request::post(path, r#"{"amount":41,"source":"test_faucet"}"#).bearer(&account.api_key);
    let denied = node.send(&request).expect_error(403, "AP-1002");
    for (name, figure) in [("limit", "100"), ("used", "60"), ("needed", "41")] {
        assert_eq!(denied.raw(&["error", "details", name]), figure, "{name}");
    }
    account.fund(&node, "40");
    assert_eq!(account.balance(&node).raw(&["available"]), "100");
}
