//! Connections over real sockets, hostile ones included, against a gateway whose engine has not come yet.
//!
//! What is checked is how each connection ends and what was answered, never how long it took; timeouts are short only
//! so that the tests are.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use api::{Gateway, Settings};
use engine::{Clock, Entropy, Status};
use ledger::Timestamp;
use tokio::{runtime::Runtime, sync::oneshot, task::JoinHandle};

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_778_241_600_000)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

struct Zeros;

impl Entropy for Zeros {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

struct Server {
    address: SocketAddr,
    runtime: Runtime,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), api::ServeError>>,
}

impl Server {
    fn start(settings: Settings) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel();
        let serving = runtime.spawn(async move {
            let gateway = Gateway::new(settings, Arc::new(StoppedClock), Arc::new(Zeros), Status::new());
            Arc::new(gateway).serve(listener, async move { drop(stopped.await) }).await
        });
        Self { address, runtime, stop, serving }
    }

    fn connect(&self) -> Client {
        let socket = TcpStream::connect(self.address).expect("the server listens");
        // Far above anything that is waited for; it only keeps a broken test from hanging.
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        Client(socket)
    }

    /// One connection: sends the text, reads until the server closes.
    fn exchange(&self, text: &str) -> String {
        let mut client = self.connect();
        client.send(text);
        client.read_to_end()
    }

    /// Stops the server and waits for its end.
    fn stop(self) {
        self.stop.send(()).expect("the server waits for this");
        self.runtime.block_on(self.serving).expect("no panic").expect("an orderly end");
    }
}

struct Client(TcpStream);

impl Client {
    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("the server reads");
    }

    /// Everything until the end of the stream; a reset counts as an end.
    fn read_to_end(&mut self) -> String {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => {
                panic!("the server did not close: {error}; it had said {:?}", String::from_utf8_lossy(&bytes))
            }
        }
        String::from_utf8(bytes).expect("answers are UTF-8")
    }

    /// One answer, by its length.
    fn read_answer(&mut self) -> String {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte).expect("a head");
            bytes.push(byte[0]);
        }
        let head = String::from_utf8(bytes).expect("answers are UTF-8");
        let length = header(&head, "content-length").map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("a body");
        head + std::str::from_utf8(&body).expect("answers are UTF-8")
    }
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next().expect("a head");
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn status(answer: &str) -> u16 {
    let code = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    code.and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("not an answer: {answer:?}"))
}

/// An error of the contract's shape, with its id in header and body.
fn assert_error(answer: &str, expected_status: u16, code: &str) {
    assert_eq!(status(answer), expected_status, "{answer}");
    let id = header(answer, "x-request-id").expect("every answer has an id");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let json: serde_json::Value =
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    assert_eq!(json["error"]["code"], code, "{answer}");
    assert_eq!(json["request_id"], id, "{answer}");
    assert_eq!(header(answer, "x-content-type-options"), Some("nosniff"), "{answer}");
}

fn quick() -> Settings {
    Settings {
        head_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(300),
        body_timeout: Duration::from_millis(300),
        body_grace: Duration::from_millis(100),
        drain_timeout: Duration::from_millis(500),
        ..Settings::default()
    }
}

#[test]
fn health_is_answered_while_everything_else_waits_for_the_engine() {
    let server = Server::start(Settings::default());
    let get = |path: &str| {
        let mut client = server.connect();
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine-1\r\n\r\n"));
        client.read_answer()
    };
    for (path, expected) in [("/healthz", 200), ("/version", 200), ("/readyz", 503)] {
        let answer = get(path);
        assert_eq!(status(&answer), expected, "{answer}");
        assert_eq!(header(&answer, "x-request-id"), Some("mine-1"));
    }
    assert!(get("/readyz").contains(r#""ready":false,"status":"recovering","replayed_bytes":0"#));
    let answer = get("/v1/wallets");
    assert_error(&answer, 503, "AP-3001");
    assert_eq!(header(&answer, "retry-after"), Some("1"));
    assert_eq!(header(&answer, "x-request-id"), Some("mine-1"));
    server.stop();
}

#[test]
fn unknown_paths_methods_head_and_options_are_answered_properly() {
    let server = Server::start(Settings::default());
    let mut client = server.connect();
    client.send("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_error(&client.read_answer(), 404, "AP-2002");
    client.send("PATCH /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}");
    let answer = client.read_answer();
    assert_error(&answer, 405, "AP-2004");
    assert_eq!(header(&answer, "allow"), Some("GET, POST, HEAD, OPTIONS"));
    client.send("OPTIONS /v1/payments HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\n\r\n");
    let answer = client.read_answer();
    assert_eq!((status(&answer), header(&answer, "allow")), (204, Some("GET, POST, HEAD, OPTIONS")));
    assert_eq!(header(&answer, "access-control-allow-origin"), None);
    client.send("HEAD /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = client.read_to_end();
    assert_eq!(status(&answer), 200);
    assert_eq!(header(&answer, "content-length"), Some("15"), "the length of what GET would answer");
    assert!(answer.ends_with("\r\n\r\n"), "and no body: {answer}");
    server.stop();
}

#[test]
fn the_smuggling_table_is_refused_with_a_whole_answer() {
    let server = Server::start(Settings::default());
    for head in [
        "GET /healthz HTTP/1.1\nHost: a\n\n",
        "GET /healthz HTTP/1.1\r\nHost: a\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
        "POST /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        "POST /v1/payments HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
        "POST /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        "POST /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "POST /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\n{}",
        "POST /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}",
        "POST /v1/payments HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/payments HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        // What follows is refused by the parser behind the guard; it must not answer in its own words.
        "G@T /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /healthz HTTP/9.9\r\nHost: a\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHo st: a\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nX: a\0b\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET\r\n\r\n",
    ] {
        let answer = server.exchange(head);
        assert_error(&answer, 400, "AP-2001");
        assert_eq!(header(&answer, "connection"), Some("close"), "{head:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head:?}: {answer}");
    }
    server.stop();
}

#[test]
fn oversized_heads_are_refused_by_name() {
    let server = Server::start(Settings::default());
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(5_000));
    assert_error(&server.exchange(&long_target), 414, "AP-2004");
    let long_header = format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert_error(&server.exchange(&long_header), 431, "AP-2004");
    let many_headers = format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(80));
    assert_error(&server.exchange(&many_headers), 431, "AP-2004");
    server.stop();
}

#[test]
fn pipelined_requests_are_answered_in_order_before_a_bad_one() {
    let server = Server::start(Settings::default());
    let good = "GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-Id: ";
    let answers =
        server.exchange(&format!("{good}1\r\n\r\n{good}2\r\n\r\nGET /version HTTP/1.1\n\n{good}4\r\n\r\n"));
    let statuses: Vec<&str> =
        answers.matches("HTTP/1.1 200").chain(answers.matches("HTTP/1.1 400")).collect();
    assert_eq!(statuses, ["HTTP/1.1 200", "HTTP/1.1 200", "HTTP/1.1 400"], "{answers}");
    let place = |text: &str| answers.find(text).unwrap_or_else(|| panic!("{text}: {answers}"));
    assert!(place("x-request-id: 1") < place("x-request-id: 2"), "{answers}");
    assert!(place("x-request-id: 2") < place("HTTP/1.1 400"), "{answers}");
    assert!(!answers.contains("x-request-id: 4"), "nothing behind a bad head is served");
    server.stop();
}

#[test]
fn a_client_that_stops_sending_still_gets_its_answers() {
    let server = Server::start(Settings::default());
    let mut client = server.connect();
    client.send(&"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3));
    client.0.shutdown(std::net::Shutdown::Write).expect("a socket");
    let answers = client.read_to_end();
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 3, "{answers}");
    server.stop();
}

#[test]
fn slow_and_silent_connections_are_ended() {
    let server = Server::start(quick());
    assert_error(&server.exchange(""), 408, "AP-2004");
    assert_error(&server.exchange("GET /healthz HTTP/1.1\r\nHo"), 408, "AP-2004");
    let mut idle = server.connect();
    idle.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status(&idle.read_answer()), 200);
    assert_eq!(idle.read_to_end(), "", "an idle connection is closed without a word");
    let stuck_body = "POST /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{";
    assert_error(&server.exchange(stuck_body), 503, "AP-3001");
    server.stop();
}

#[test]
fn a_dripping_head_does_not_live_on_its_drops() {
    let server = Server::start(quick());
    let mut client = server.connect();
    client.send("GET /healthz HTTP/1.1\r\nX: ");
    // Drips until the server has had enough; the write fails some time after it closed.
    let mut dripped = 0;
    while dripped < 400 && client.0.write_all(b"x").is_ok() {
        dripped += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(dripped < 400, "400 drops were taken");
    server.stop();
}

#[test]
fn a_chunked_request_is_the_last_of_its_connection() {
    let server = Server::start(Settings::default());
    let chunked =
        "POST /v1/payments HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let answers = server.exchange(&format!("{chunked}GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_error(&answers, 503, "AP-3001");
    assert_eq!(header(&answers, "connection"), Some("close"));
    server.stop();
}

#[test]
fn an_address_has_its_rate() {
    let server = Server::start(Settings { address_requests_per_second: 2, ..Settings::default() });
    let mut client = server.connect();
    let mut limited = 0;
    for _ in 0..20 {
        client.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.read_answer();
        if status(&answer) == 429 {
            limited += 1;
            assert_error(&answer, 429, "AP-3002");
            assert_eq!(header(&answer, "ratelimit-limit"), Some("2"));
            assert_eq!(header(&answer, "ratelimit-remaining"), Some("0"));
            assert!(header(&answer, "retry-after").is_some() && header(&answer, "ratelimit-reset").is_some());
        }
    }
    assert!(limited > 0, "20 requests at 2 per second");
    server.stop();
}

#[test]
fn connections_beyond_the_most_wait_for_their_turn() {
    let server = Server::start(Settings { connections_max: 1, ..Settings::default() });
    let mut first = server.connect();
    first.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status(&first.read_answer()), 200);
    let mut second = server.connect();
    second.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    second.0.set_nonblocking(true).expect("a socket");
    let waiting = second.0.read(&mut [0; 1]).expect_err("no answer while the first is open");
    assert_eq!(waiting.kind(), ErrorKind::WouldBlock);
    second.0.set_nonblocking(false).expect("a socket");
    drop(first);
    assert_eq!(status(&second.read_answer()), 200);
    drop(second);
    server.stop();
}

#[test]
fn shutdown_ends_idle_and_stuck_connections() {
    let server = Server::start(Settings { drain_timeout: Duration::from_millis(300), ..Settings::default() });
    let mut idle = server.connect();
    idle.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status(&idle.read_answer()), 200);
    let mut stuck = server.connect();
    stuck.send("POST /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{");
    let mut silent = server.connect();
    // The server must have seen them before it stops accepting.
    let mut last = server.connect();
    last.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status(&last.read_answer()), 200);
    server.stop();
    assert_eq!(idle.read_to_end(), "");
    assert_eq!(silent.read_to_end(), "");
    let cut = stuck.read_to_end();
    assert!(cut.is_empty() || status(&cut) == 503, "{cut}");
}
