//! Clients that are slow on purpose: their connections end within the configured bounds, and nobody else is harmed.

use std::io;
use std::thread;
use std::time::Duration;

use system_tests::http::{Connection, Request, ended};
use system_tests::{Account, Node, NodeBuilder};

/// Bounds that a test can wait for.
fn impatient() -> NodeBuilder {
    Node::builder()
        .set("http.head_timeout_ms", "500")
        .set("http.body_timeout_ms", "500")
        .set("http.idle_timeout_ms", "500")
        .set("http.write_timeout_ms", "500")
}

/// The node ends the connection, perhaps after saying why; it must not wait for ever.
fn expect_end(what: &str, connection: &mut Connection) {
    match connection.read(false) {
        Ok(response) => {
            assert_eq!(response.status, 408, "{what}: {}", response.text());
            assert!(connection.is_closed_by_server(), "{what}: open after 408");
        }
        Err(error) => assert!(ended(&error), "{what}: {error}"),
    }
}

/// One byte at a time, slowly, until the node has had enough.
fn drip(connection: &mut Connection, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes.iter().cycle() {
        connection.write(&[*byte])?;
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn silent_and_dripping_connections_are_closed() {
    let node = impatient().start();
    let account = Account::funded(&node, "slow", "100");
    let body_head = format!(
        "POST /v1/payments HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
        account.api_key
    );

    let mut silent = node.connect();
    expect_end("silent from the start", &mut silent);

    let mut half = node.connect();
    half.write(b"GET /healthz HTTP/1.1\r\nhost: te").expect("sent");
    expect_end("half a head", &mut half);

    let mut head = node.connect();
    head.write(b"GET /healthz HTTP/1.1\r\nhost: test\r\nx-slow: ").expect("sent");
    assert!(drip(&mut head, b"y").is_err(), "a head that never ends is cut off");

    let mut body = node.connect();
    body.write(format!("{body_head}content-length: 1000\r\n\r\n").as_bytes()).expect("sent");
    assert!(drip(&mut body, b" ").is_err(), "a body that never ends is cut off");

    let mut chunks = node.connect();
    chunks.write(format!("{body_head}transfer-encoding: chunked\r\n\r\n").as_bytes()).expect("sent");
    assert!(drip(&mut chunks, b"1\r\n \r\n").is_err(), "chunks that never end are cut off");

    let mut stopped = node.connect();
    stopped.write(format!("{body_head}content-length: 1000\r\n\r\n{{").as_bytes()).expect("sent");
    expect_end("a body that stops", &mut stopped);

    let mut idle = node.connect();
    idle.send(&Request::get("/healthz")).expect("an answer").expect(200);
    assert!(idle.is_closed_by_server(), "idle keep-alive ends");
    assert_eq!(account.balance(&node).raw(&["available"]), "100");
}

/// A thousand silent connections of each kind, while a payment client goes on as if they were not there.
#[test]
fn good_traffic_is_unharmed_by_many_slow_connections() {
    const SLOW: usize = 1_000;
    let node = impatient().start();
    let account = Account::funded(&node, "good", "1000");
    let mut slow: Vec<Connection> = (0..SLOW).map(|_| node.connect()).collect();
    for (n, connection) in slow.iter_mut().enumerate() {
        let start: &[u8] = match n % 3 {
            0 => b"",
            1 => b"POST /v1/payments HTTP/1.1\r\nhost: test\r\n",
            _ => b"POST /v1/agents HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
        };
        connection.write(start).expect("sent");
    }
    let mut good = node.connect();
    for n in 0..100 {
        let body = format!(r#"{{"from_wallet_id":"{}","to_external":"m-{n}","amount":1}}"#, account.wallet);
        let request = Request::post("/v1/payments", body).bearer(&account.api_key);
        good.send(&request).expect("an answer").expect(201);
    }
    for (n, connection) in slow.iter_mut().enumerate() {
        expect_end(&format!("slow connection {n}"), connection);
    }
    // 1000 - 100 x 1.004
    assert_eq!(account.balance(&node).raw(&["available"]), "899.6");
}

/// A client that asks and never reads its answers cannot hold the node's memory.
#[test]
fn clients_that_do_not_read_are_cut_off() {
    let node = impatient().start();
    let mut deaf = node.connect();
    let request = Request::get("/v1/nothing").header("x-padding", &"x".repeat(1_000)).bytes();
    // A hundred megabytes, far more than socket buffers hold. The node must stop reading when its answers are not taken,
    // and end the connection; a write that waits for longer than the client's own timeout fails with another error.
    let result = (0..100_000).try_for_each(|_| deaf.write(&request));
    let error = result.expect_err("the node takes requests without end and keeps the answers in memory");
    assert!(ended(&error), "{error}");
    node.send(&Request::get("/healthz")).expect(200);
}
