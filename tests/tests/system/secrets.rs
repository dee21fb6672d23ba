//! Security list 2: secrets are shown once. They are sent through every input here, and then looked for everywhere the
//! node writes: its output at the most talkative level, its files, its answers.

use std::fs;
use std::path::Path;

use memchr::memmem;
use system_tests::http::Request;
use system_tests::{ADMIN_TOKEN, Account, Node};

#[test]
fn secrets_are_found_in_no_output_file_or_answer() {
    let node = Node::builder().set("logging.level", "trace").start();
    let account = Account::funded(&node, "secrets", "100");
    // A payment token is as good as money until it is redeemed.
    let service = Account::create(&node, "seller").register(&node, "Secrets", "1", "");
    let token = account.authorize(&node, service.text("/id"), "").token;
    // What webhooks are signed with, in use while the node writes everything down that it ever does.
    let hook = format!(r#"{{"url":"http://127.0.0.1:9/{}","events":["payment.*","wallet.*"]}}"#, account.id);
    let hook =
        node.send(&Request::post("/v1/webhooks", hook).bearer(&account.api_key)).expect(201).document();
    let signing = hook.text("/secret").to_owned();
    account.fund(&node, "1");
    let secrets = [
        account.api_key.as_str(),
        account.secret_key.as_str(),
        token.as_str(),
        signing.as_str(),
        signing.trim_start_matches("whsec_"),
        ADMIN_TOKEN,
    ];
    let mut answers = Vec::new();
    for secret in secrets {
        for request in requests_with(&account, secret) {
            let response = node.send(&request);
            answers.push((format!("{request:?}"), format!("{:?} {}", response.headers, response.text())));
        }
    }
    for (request, answer) in &answers {
        for secret in secrets {
            assert!(!answer.contains(secret), "{request}: a secret in the answer: {answer}");
        }
    }
    for secret in secrets {
        assert!(!node.output().contains(secret), "a secret in the output");
    }
    let builder = node.stop();
    search(&builder.data_dir().path(), &secrets);
}

/// Places where a careless client puts a secret.
fn requests_with(account: &Account, secret: &str) -> Vec<Request> {
    let wallet = &account.wallet;
    vec![
        Request::get("/v1/agents/me").bearer(secret),
        Request::get("/v1/agents/me").header("authorization", &format!("Basic {secret}")),
        Request::get("/v1/agents/me").bearer(&format!("{secret}x")),
        Request::get("/v1/agents/me").header("x-api-key", secret),
        Request::get(format!("/v1/payments?wallet_id={secret}")).bearer(&account.api_key),
        Request::get(format!("/v1/payments?api_key={secret}")).bearer(&account.api_key),
        Request::get(format!("/v1/wallets/{secret}")).bearer(&account.api_key),
        Request::post("/v1/payments", format!(r#"{{"from_wallet_id":"{secret}","amount":1}}"#))
            .bearer(&account.api_key),
        Request::post(
            "/v1/payments",
            format!(r#"{{"from_wallet_id":"{wallet}","to_external":"m","amount":"{secret}"}}"#),
        )
        .bearer(&account.api_key),
        Request::get(format!("/v1/x402/tokens/{secret}")).bearer(&account.api_key),
        Request::post("/v1/x402/verify", format!(r#"{{"payment_token":"{secret}"}}"#))
            .bearer(&account.api_key),
        Request::post("/v1/x402/verify", "{}").bearer(&account.api_key).header("x-payment-token", secret),
        Request::post(
            "/v1/services",
            format!(r#"{{"name":"x","price_per_call":1,"endpoint_url":"{secret}"}}"#),
        )
        .bearer(&account.api_key),
        Request::post(format!("/v1/wallets/{wallet}/fund"), format!(r#"{{"amount":1,"source":"{secret}"}}"#))
            .bearer(&account.api_key),
    ]
}

/// Panics if a file below the directory holds one of the secrets.
fn search(dir: &Path, secrets: &[&str]) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            search(&path, secrets);
        } else {
            let bytes = fs::read(&path).expect("readable");
            for secret in secrets {
                assert!(memmem::find(&bytes, secret.as_bytes()).is_none(), "a secret in {}", path.display());
            }
        }
    }
}
