//! The driver against small servers that answer in awkward ways. No assertion depends on how long anything takes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use loadtest::{
    Answer, Error, Moment, Next, Pace, Plan, RequestTemplate, Target, Watch, Workload, run, run_watched,
};

const OK: &[u8] = b"HTTP/1.1 201 Created\r\ncontent-length: 4\r\n\r\nbody";

/// Accepts connections for ever and serves each on its own thread. The threads end with the test process.
fn server(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = Target::from(listener.local_addr().expect("a bound address"));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    target
}

/// Reads one request without a body; false at the end of the connection.
fn read_request(stream: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => seen.push(byte[0]),
            _ => return false,
        }
    }
    true
}

/// A fixed number of requests, and what came back.
#[derive(Default)]
struct Counted {
    left: usize,
    bodies: Vec<Vec<u8>>,
    statuses: Vec<u16>,
    lost: usize,
}

impl Workload for Counted {
    fn next(&mut self, _connection: usize, request: &mut Vec<u8>) -> Next {
        if self.left == 0 {
            return Next::Finished;
        }
        self.left -= 1;
        RequestTemplate::get("test", "/", None).write(b"", request);
        Next::Send
    }

    fn answered(&mut self, _connection: usize, answer: Answer<'_>) {
        self.bodies.push(answer.body.to_vec());
        self.statuses.push(answer.status);
    }

    fn lost(&mut self, _connection: usize) {
        self.lost += 1;
    }
}

fn counted(left: usize) -> Counted {
    Counted { left, ..Counted::default() }
}

#[test]
fn a_closed_loop_gets_every_answer() {
    let target = server(|mut stream| {
        while read_request(&mut stream) {
            stream.write_all(OK).expect("the client reads");
        }
    });
    let mut workload = counted(500);
    let outcome = run(&Plan::exhaust(target, 8), &mut workload).expect("the server answers");
    assert!(outcome.is_clean(), "{outcome}");
    assert_eq!((outcome.succeeded, outcome.latency.len()), (500, 500));
    assert_eq!(workload.bodies.len(), 500);
    assert!(workload.bodies.iter().all(|body| body == b"body"));
}

#[test]
fn an_answer_may_come_byte_by_byte_or_be_larger_than_the_buffer() {
    const LARGE: usize = 300_000;
    let target = server(|mut stream| {
        stream.set_nodelay(true).expect("a live socket");
        let mut large = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n").into_bytes();
        large.resize(large.len() + LARGE, b'x');
        while read_request(&mut stream) {
            OK.iter().for_each(|byte| stream.write_all(&[*byte]).expect("the client reads"));
            if !read_request(&mut stream) {
                return;
            }
            stream.write_all(&large).expect("the client reads");
        }
    });
    let mut workload = counted(6);
    let outcome = run(&Plan::exhaust(target, 1), &mut workload).expect("the server answers");
    assert!(outcome.is_clean(), "{outcome}");
    let sizes: Vec<usize> = workload.bodies.iter().map(Vec::len).collect();
    assert_eq!(sizes, [4, LARGE, 4, LARGE, 4, LARGE]);
}

#[test]
fn unexpected_statuses_are_counted_with_their_first_body() {
    let target = server(|mut stream| {
        let mut count = 0;
        while read_request(&mut stream) {
            count += 1;
            let answer = format!("HTTP/1.1 503 Busy\r\ncontent-length: 1\r\n\r\n{count}");
            stream.write_all(answer.as_bytes()).expect("the client reads");
        }
    });
    let outcome = run(&Plan::exhaust(target, 1), &mut counted(3)).expect("the server answers");
    assert!(!outcome.is_clean());
    assert_eq!(outcome.succeeded, 0);
    assert_eq!(outcome.statuses.get(&503), Some(&3));
    assert_eq!(outcome.surprises[&503].first_body, "1");
}

#[test]
fn closed_connections_are_opened_again_and_unanswered_requests_are_lost() {
    let target = server(|mut stream| {
        // One answer that announces the end, as a draining server sends it.
        if read_request(&mut stream) {
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).expect("the client reads");
        }
    });
    let mut workload = counted(10);
    let outcome = run(&Plan::exhaust(target, 2), &mut workload).expect("each connection can be opened again");
    assert_eq!((outcome.succeeded, outcome.lost, workload.lost), (10, 0, 0), "{outcome}");

    let target = server(|mut stream| {
        read_request(&mut stream);
    });
    let mut workload = counted(10);
    let outcome = run(&Plan::exhaust(target, 2), &mut workload).expect("each connection can be opened again");
    assert_eq!((outcome.succeeded, outcome.lost, workload.lost), (0, 10, 10), "{outcome}");
    assert!(outcome.lost_cause.is_some());
}

#[test]
fn an_open_loop_sends_what_was_intended_and_counts_waiting() {
    // One connection and 20 ms per answer: of 100 intended per second only 50 can be served, so requests wait longer
    // and longer for the connection, which must show in their latency and not in their number.
    let target = server(|mut stream| {
        while read_request(&mut stream) {
            thread::sleep(Duration::from_millis(20));
            stream.write_all(OK).expect("the client reads");
        }
    });
    let mut plan = Plan::open(target, 1, 100.0, Duration::ZERO, Duration::from_millis(500));
    plan.drain = Duration::from_secs(60);
    let outcome = run(&plan, &mut counted(usize::MAX)).expect("the server answers");
    assert!(outcome.is_clean(), "{outcome}");
    assert_eq!(outcome.succeeded, 50);
    assert!(outcome.completed < 50, "what came after the window was not served within it: {outcome}");
    assert!(outcome.overdue_max > 0);
    // Service time is at least 20 ms; the last one was intended at 490 ms and served after at least 50 x 20 ms.
    assert!(outcome.latency_at(1.0) >= Duration::from_millis(500), "{outcome}");
}

#[test]
fn requests_without_an_answer_are_reported() {
    let target = server(|mut stream| {
        while read_request(&mut stream) {}
        thread::park();
    });
    let mut plan = Plan::closed(target, 3, Duration::ZERO, Duration::from_millis(50));
    plan.drain = Duration::from_millis(50);
    let outcome = run(&plan, &mut counted(usize::MAX)).expect("the run ends by itself");
    assert_eq!((outcome.succeeded, outcome.unanswered), (0, 3));
}

#[test]
fn a_target_that_is_not_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = Target::from(listener.local_addr().expect("a bound address"));
    drop(listener);
    let result = run(&Plan::exhaust(target, 1), &mut counted(1));
    assert!(matches!(result, Err(Error::Connect { .. })), "{result:?}");
}

/// A server that answers each connection's first request, closes it, is away for a while, and comes back for good.
fn server_that_goes_away(connections: usize) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address: SocketAddr = listener.local_addr().expect("a bound address");
    thread::spawn(move || {
        let streams: Vec<TcpStream> =
            listener.incoming().take(connections).map(|stream| stream.expect("a connection")).collect();
        drop(listener);
        for mut stream in streams {
            read_request(&mut stream);
            stream.write_all(OK).expect("the client reads");
        }
        thread::sleep(Duration::from_millis(60));
        let listener = TcpListener::bind(address).expect("the port is still ours");
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                while read_request(&mut stream) {
                    stream.write_all(OK).expect("the client reads");
                }
            });
        }
    });
    Target::from(address)
}

/// Pauses after the first answer of each connection.
struct Pausing {
    inner: Counted,
    paused: [bool; 2],
}

impl Workload for Pausing {
    fn next(&mut self, connection: usize, request: &mut Vec<u8>) -> Next {
        if !self.inner.bodies.is_empty() && !std::mem::replace(&mut self.paused[connection], true) {
            return Next::Pause(Duration::from_millis(20));
        }
        self.inner.next(connection, request)
    }

    fn answered(&mut self, connection: usize, answer: Answer<'_>) {
        self.inner.answered(connection, answer);
    }

    fn lost(&mut self, connection: usize) {
        self.inner.lost(connection);
    }
}

#[test]
fn with_patience_a_run_goes_on_when_the_server_comes_back() {
    let plan = Plan { patience: Duration::from_secs(60), ..Plan::exhaust(server_that_goes_away(2), 2) };
    let mut workload = counted(40);
    let outcome = run(&plan, &mut workload).expect("the server comes back");
    assert_eq!(outcome.succeeded + outcome.lost, 40, "{outcome}");
    assert!(outcome.lost <= 2, "only what was out is lost: {outcome}");
}

#[test]
fn a_connection_that_is_lost_while_it_pauses_is_asked_once() {
    let plan = Plan { patience: Duration::from_secs(60), ..Plan::exhaust(server_that_goes_away(2), 2) };
    let mut workload = Pausing { inner: counted(40), paused: [false; 2] };
    let outcome = run(&plan, &mut workload).expect("the server comes back");
    assert_eq!(outcome.succeeded + outcome.lost, 40, "{outcome}");
}

#[test]
fn without_patience_a_server_that_stays_away_ends_the_run() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = Target::from(listener.local_addr().expect("a bound address"));
    thread::spawn(move || {
        let mut stream = listener.incoming().next().expect("a connection").expect("a connection");
        drop(listener);
        read_request(&mut stream);
    });
    let result = run(&Plan::exhaust(target, 1), &mut counted(5));
    assert!(matches!(result, Err(Error::AllConnectionsLost { .. })), "{result:?}");
}

#[test]
fn a_ramp_sends_what_was_intended() {
    let target = server(|mut stream| {
        while read_request(&mut stream) {
            stream.write_all(OK).expect("the client reads");
        }
    });
    let mut plan = Plan::closed(target, 2, Duration::from_millis(100), Duration::from_millis(400));
    plan.pace = Pace::Ramp { from_per_second: 100.0, to_per_second: 300.0 };
    plan.drain = Duration::from_secs(60);
    let outcome = run(&plan, &mut counted(usize::MAX)).expect("the server answers");
    assert!(outcome.is_clean(), "{outcome}");
    // Half a second at 200 per second on average; of these, those within the window are counted.
    let answers: u64 = outcome.statuses.values().sum();
    assert_eq!(answers, 100);
    let in_slices: u64 = outcome.timeline.iter().map(|slice| slice.succeeded).sum();
    assert!(in_slices <= answers && !outcome.timeline.is_empty(), "{:?}", outcome.timeline);
}

/// Remembers what it was told.
#[derive(Default)]
struct Told {
    moments: usize,
    phases: usize,
    fraction: f64,
}

impl Watch for Told {
    fn moment(&mut self, moment: &Moment<'_>) {
        self.moments += 1;
        self.fraction = moment.fraction.unwrap_or(-1.0);
    }

    fn phase_ends(&mut self) {
        self.phases += 1;
    }
}

#[test]
fn a_watcher_sees_how_far_it_is() {
    let target = server(|mut stream| {
        while read_request(&mut stream) {
            thread::sleep(Duration::from_millis(5));
            stream.write_all(OK).expect("the client reads");
        }
    });
    let mut told = Told::default();
    let plan = Plan { expected: Some(100), ..Plan::exhaust(target, 1) };
    run_watched(&plan, &mut counted(100), &mut told).expect("the server answers");
    assert!(told.moments > 0, "half a second has moments");
    assert_eq!(told.phases, 1);
    assert!((0.0..=1.0).contains(&told.fraction), "{}", told.fraction);
}
