//! Requests that two parties could read differently: each is refused, and nothing behind it is taken as a request.

use system_tests::http::{Connection, Request, ended};
use system_tests::{Account, Node};

/// The payment that must not happen, as it would be smuggled.
fn hidden(account: &Account) -> String {
    let body = format!(r#"{{"from_wallet_id":"{}","to_external":"thief","amount":1}}"#, account.wallet);
    let request = Request::post("/v1/payments", body).bearer(&account.api_key);
    String::from_utf8(request.bytes()).expect("ASCII")
}

/// Sends the bytes, then expects one refusal (or a closed connection) and nothing more.
fn refused(node: &Node, bytes: &[u8]) -> Result<(), String> {
    let mut connection = node.connect();
    connection.write(bytes).expect("sent");
    match connection.read(false) {
        Ok(response) if response.status != 400 => {
            Err(format!("answered {} {}", response.status, response.text()))
        }
        Ok(_) if !connection.is_closed_by_server() => {
            Err("the connection can be used any further".to_owned())
        }
        Ok(_) => Ok(()),
        Err(error) if ended(&error) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn ambiguous_requests_are_refused_and_nothing_follows_them() {
    let node = Node::start();
    let account = Account::funded(&node, "smuggling", "100");
    let hidden = hidden(&account);
    let start = format!(
        "POST /v1/payments HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
        account.api_key
    );
    let chunked = format!("0\r\n\r\n{hidden}");
    let length = hidden.len();
    let table = [
        (
            "TE and CL",
            format!("{start}transfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n{chunked}"),
        ),
        ("CL and TE", format!("{start}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n{chunked}")),
        ("two different CL", format!("{start}content-length: 0\r\ncontent-length: {length}\r\n\r\n{hidden}")),
        ("CL list", format!("{start}content-length: 0, {length}\r\n\r\n{hidden}")),
        ("CL with sign", format!("{start}content-length: +0\r\n\r\n{hidden}")),
        ("negative CL", format!("{start}content-length: -1\r\n\r\n{hidden}")),
        ("hex CL", format!("{start}content-length: 0x0\r\n\r\n{hidden}")),
        (
            "CL too large for any integer",
            format!("{start}content-length: 18446744073709551616\r\n\r\n{hidden}"),
        ),
        (
            "obs-fold",
            format!("{start}x-folded: a\r\n content-length: 0\r\ncontent-length: 0\r\n\r\n{hidden}"),
        ),
        ("space before colon", format!("{start}content-length : 0\r\n\r\n{hidden}")),
        ("space in name", format!("{start}content length: 0\r\n\r\n{hidden}")),
        ("unknown TE", format!("{start}transfer-encoding: gzip\r\n\r\n{chunked}")),
        ("TE not last chunked", format!("{start}transfer-encoding: chunked, identity\r\n\r\n{chunked}")),
        (
            "TE twice",
            format!("{start}transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n{chunked}"),
        ),
        ("TE with vertical tab", format!("{start}transfer-encoding: \x0bchunked\r\n\r\n{chunked}")),
        (
            "bare CR in a value",
            format!("{start}x: a\rcontent-length: 0\r\ncontent-length: 0\r\n\r\n{hidden}"),
        ),
        ("NUL in a value", format!("{start}x: a\0b\r\ncontent-length: 0\r\n\r\n{hidden}")),
        ("chunk size with sign", format!("{start}transfer-encoding: chunked\r\n\r\n+0\r\n\r\n{hidden}")),
        (
            "chunk size too large",
            format!("{start}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n\r\n{hidden}"),
        ),
        ("chunk without CRLF", format!("{start}transfer-encoding: chunked\r\n\r\n1\r\nxx0\r\n\r\n{hidden}")),
        ("no version", format!("POST /v1/payments\r\nhost: test\r\n\r\n{hidden}")),
        ("HTTP/3 in text", "GET /healthz HTTP/3.0\r\nhost: test\r\n\r\n".to_owned()),
        ("two host headers", "GET /healthz HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_owned()),
        ("no host", "GET /healthz HTTP/1.1\r\n\r\n".to_owned()),
        ("space in the target", "GET /health z HTTP/1.1\r\nhost: test\r\n\r\n".to_owned()),
        ("absolute nonsense", "\x16\x03\x01\x02\x00\x01\x00".to_owned()),
    ];
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|(what, bytes)| {
            refused(&node, bytes.as_bytes()).err().map(|found| format!("{what}: {found}"))
        })
        .collect();
    assert!(wrong.is_empty(), "not refused:\n{}", wrong.join("\n"));
    assert_eq!(account.balance(&node).raw(&["available"]), "100", "a hidden payment was taken");
}

/// A line that ends in LF alone is accepted by many servers. Either reading is fine, as long as it is only one.
#[test]
fn bare_line_feeds_are_read_one_way() {
    let node = Node::start();
    let account = Account::funded(&node, "line-feeds", "100");
    let mut connection: Connection = node.connect();
    let bytes = format!(
        "GET /healthz HTTP/1.1\nhost: test\nx: y\n\n{}",
        "GET /version HTTP/1.1\r\nhost: test\r\n\r\n"
    );
    connection.write(bytes.as_bytes()).expect("sent");
    match connection.read(false) {
        Ok(first) if first.status == 200 => {
            connection.read(false).expect("the second request's answer").expect(200);
        }
        Ok(first) => assert_eq!(first.status, 400, "{}", first.text()),
        Err(error) => assert!(ended(&error), "{error}"),
    }
    // In a request that moves money nothing hides behind a bare LF.
    let hidden = hidden(&account);
    let bytes = format!(
        "POST /v1/payments HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         x: y\ncontent-length: 0\r\ncontent-length: {}\r\n\r\n{hidden}",
        account.api_key,
        hidden.len()
    );
    assert_eq!(refused(&node, bytes.as_bytes()), Ok(()));
    assert_eq!(account.balance(&node).raw(&["available"]), "100");
}

/// Requests that follow each other on one connection are answered in order, one answer each.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let node = Node::start();
    let account = Account::funded(&node, "pipeline", "100");
    let mut connection = node.connect();
    let mut bytes = Vec::new();
    for n in 0..20 {
        let body = format!(r#"{{"from_wallet_id":"{}","to_external":"m-{n}","amount":1}}"#, account.wallet);
        bytes.extend(Request::post("/v1/payments", body).bearer(&account.api_key).bytes());
    }
    connection.write(&bytes).expect("sent");
    for n in 0..20 {
        let document = connection.read(false).expect("an answer").expect(201).document();
        assert_eq!(document.text("/to_external"), format!("m-{n}"));
    }
    assert_eq!(account.balance(&node).raw(&["available"]), "79.92");
}
