//! The driver when it works ahead, against servers that watch what is out. No assertion depends on how long anything
//! takes.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use loadtest::{Answer, Next, Plan, RequestTemplate, Target, Workload, run};

/// Larger than what a socket takes at once, so that requests leave in pieces.
const LARGE: usize = 6_000_000;
/// How long a server waits for a client that never does what it should.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a server saw.
#[derive(Default)]
struct Seen {
    requests: AtomicUsize,
    /// Requests that began before the one ahead of them was answered.
    too_early: AtomicUsize,
    /// The last request that the workload has prepared.
    prepared: AtomicUsize,
}

/// How the request with a number is answered: status, and bytes of the body. `None`: the connection ends.
type Reply = fn(usize) -> Option<(u16, usize)>;

/// Answers each request with its own body, cut or filled up to the size of the reply, once the next one is prepared, up
/// to the one with the number `last`.
fn server(reply: Reply, last: usize) -> (Target, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = Target::from(listener.local_addr().expect("a bound address"));
    let seen = Arc::new(Seen::default());
    let shared = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = Arc::clone(&shared);
            thread::spawn(move || serve(stream, reply, last, &seen));
        }
    });
    (target, seen)
}

fn serve(mut stream: TcpStream, reply: Reply, last: usize, seen: &Seen) {
    while let Some(mut body) = read_request(&mut stream) {
        seen.requests.fetch_add(1, Ordering::SeqCst);
        let number = number_of(&body);
        let begun = Instant::now();
        while seen.prepared.load(Ordering::SeqCst) < last.min(number + 1) {
            assert!(begun.elapsed() < PATIENCE, "nothing was prepared beside request {number}");
            thread::sleep(Duration::from_micros(100));
        }
        let Some((status, size)) = reply(number) else { return };
        if has_more(&mut stream) {
            seen.too_early.fetch_add(1, Ordering::SeqCst);
        }
        body.resize(size, b'.');
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {size}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("the client reads");
        let (most, end) = body.split_at(size - 1);
        stream.write_all(most).expect("the client reads");
        // The answer is not whole yet. A client that does not wait for its end has time to show it here.
        thread::sleep(Duration::from_millis(2));
        if has_more(&mut stream) {
            seen.too_early.fetch_add(1, Ordering::SeqCst);
        }
        stream.write_all(end).expect("the client reads");
    }
}

/// Reads head and body; `None` at the end of the connection.
fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head is text");
    let (_, length) = head.split_once("content-length: ").expect("a length");
    let length = length.split("\r\n").next().and_then(|length| length.parse().ok()).expect("a number");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

/// Requests begin with their number, and so do their answers.
fn number_of(body: &[u8]) -> usize {
    std::str::from_utf8(&body[..10]).expect("digits").parse().expect("a number")
}

fn has_more(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a live socket");
    let more = match stream.peek(&mut [0]) {
        Ok(count) => count > 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false).expect("a live socket");
    more
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Next(usize),
    Prepared(usize),
    Released(usize),
    NotReleased(usize),
    Answered { number: usize, status: u16, bytes: usize },
    Lost,
}

/// Numbered requests, and everything the driver said of one connection.
struct Numbered {
    limit: usize,
    bytes: usize,
    last: usize,
    prepared: Option<usize>,
    /// Prepared requests that are not released.
    holds_back: fn(usize) -> bool,
    seen: Arc<Seen>,
    told: Vec<Told>,
}

impl Numbered {
    fn new(limit: usize, bytes: usize, seen: &Arc<Seen>) -> Numbered {
        let seen = Arc::clone(seen);
        Numbered { limit, bytes, last: 0, prepared: None, holds_back: |_| false, seen, told: Vec::new() }
    }

    fn write(&self, number: usize, request: &mut Vec<u8>) {
        assert!(request.is_empty(), "a request is written into an empty buffer");
        let mut body = format!("{number:010}").into_bytes();
        body.resize(self.bytes, b'x');
        RequestTemplate::post("test", "/", None).write(&body, request);
    }

    /// Numbers of the requests that were sent, in order.
    fn sent(&self) -> Vec<usize> {
        let number = |told: &Told| match told {
            Told::Next(number) | Told::Released(number) => Some(*number),
            _ => None,
        };
        self.told.iter().filter_map(number).collect()
    }

    fn answered(&self) -> Vec<usize> {
        let number = |told: &Told| match told {
            Told::Answered { number, .. } => Some(*number),
            _ => None,
        };
        self.told.iter().filter_map(number).collect()
    }
}

impl Workload for Numbered {
    fn next(&mut self, _connection: usize, request: &mut Vec<u8>) -> Next {
        self.prepared = None;
        if self.last == self.limit {
            return Next::Finished;
        }
        self.last += 1;
        self.write(self.last, request);
        self.told.push(Told::Next(self.last));
        Next::Send
    }

    fn answered(&mut self, _connection: usize, answer: Answer<'_>) {
        let number = number_of(answer.body);
        self.told.push(Told::Answered { number, status: answer.status, bytes: answer.body.len() });
    }

    fn lost(&mut self, _connection: usize) {
        self.told.push(Told::Lost);
    }

    fn works_ahead(&self) -> bool {
        true
    }

    fn prepare(&mut self, _connection: usize, request: &mut Vec<u8>) -> bool {
        if self.last == self.limit {
            return false;
        }
        self.write(self.last + 1, request);
        self.prepared = Some(self.last + 1);
        self.told.push(Told::Prepared(self.last + 1));
        self.seen.prepared.store(self.last + 1, Ordering::SeqCst);
        true
    }

    fn release(&mut self, _connection: usize) -> bool {
        let number = self.prepared.take().expect("only a prepared request is released");
        if (self.holds_back)(number) {
            self.told.push(Told::NotReleased(number));
            return false;
        }
        self.last = number;
        self.told.push(Told::Released(number));
        true
    }
}

#[test]
fn one_request_is_out_at_a_time_and_answers_come_in_order() {
    // Small and large answers in turn: they are kept in different places.
    let bytes = |number: usize| if number.is_multiple_of(2) { 20 } else { 400_000 };
    let (target, seen) =
        server(|number| Some((200, if number.is_multiple_of(2) { 20 } else { 400_000 })), 12);
    let mut workload = Numbered::new(12, LARGE, &seen);
    let outcome = run(&Plan::exhaust(target, 1), &mut workload).expect("the server answers");
    assert!(outcome.is_clean(), "{outcome}");
    assert_eq!((outcome.succeeded, outcome.latency.len()), (12, 12));
    assert_eq!(seen.requests.load(Ordering::SeqCst), 12);
    assert_eq!(seen.too_early.load(Ordering::SeqCst), 0);
    let mut expected = vec![Told::Next(1), Told::Prepared(2)];
    for number in 1..12 {
        expected.push(Told::Released(number + 1));
        expected.push(Told::Answered { number, status: 200, bytes: bytes(number) });
        if number + 2 <= 12 {
            expected.push(Told::Prepared(number + 2));
        }
    }
    expected.push(Told::Answered { number: 12, status: 200, bytes: bytes(12) });
    assert_eq!(workload.told, expected);
}

#[test]
fn the_end_of_the_window_sends_nothing_more() {
    let (target, seen) = server(|_| Some((200, 100_000)), usize::MAX);
    let mut workload = Numbered::new(usize::MAX, 100_000, &seen);
    let plan = Plan::closed(target, 1, Duration::ZERO, Duration::from_millis(100));
    // The server answers nothing before the next request is prepared, which ends with the window.
    let plan = Plan { drain: Duration::ZERO, ..plan };
    let outcome = run(&plan, &mut workload).expect("the server answers");
    let answers: u64 = outcome.statuses.values().sum();
    let out = outcome.unanswered;
    assert_eq!(workload.sent().len() as u64, answers + out);
    assert_eq!(workload.answered(), workload.sent()[..workload.answered().len()]);
    assert_eq!(workload.answered().len() as u64, answers, "every answer is looked at, the last one too");
    assert!(seen.requests.load(Ordering::SeqCst) as u64 <= answers + out);
    assert_eq!(seen.too_early.load(Ordering::SeqCst), 0);
}

#[test]
fn nothing_prepared_follows_a_refusal() {
    let (target, seen) = server(|number| Some((if number == 3 { 503 } else { 200 }, 100_000)), 4);
    let mut workload = Numbered::new(4, 100_000, &seen);
    let outcome = run(&Plan::exhaust(target, 1), &mut workload).expect("the server answers");
    assert_eq!(outcome.statuses.get(&503), Some(&1));
    let refusal = Told::Answered { number: 3, status: 503, bytes: 100_000 };
    let third = workload.told.iter().position(|told| *told == refusal).expect("the refusal was told");
    assert_eq!(workload.told[third - 1], Told::Prepared(4));
    assert_eq!(workload.told[third + 1], Told::Next(4), "the workload decides anew");
    assert_eq!(seen.requests.load(Ordering::SeqCst), 4);
}

#[test]
fn what_the_workload_holds_back_is_not_sent() {
    let (target, seen) = server(|_| Some((200, 100_000)), 5);
    let mut workload = Numbered::new(5, 100_000, &seen);
    workload.holds_back = |number| number == 3;
    let outcome = run(&Plan::exhaust(target, 1), &mut workload).expect("the server answers");
    assert!(outcome.is_clean(), "{outcome}");
    assert_eq!(workload.sent(), [1, 2, 3, 4, 5]);
    assert_eq!(seen.requests.load(Ordering::SeqCst), 5);
    let held = workload.told.iter().position(|told| *told == Told::NotReleased(3)).expect("it was prepared");
    let answered = Told::Answered { number: 2, status: 200, bytes: 100_000 };
    assert_eq!(workload.told[held + 1..held + 3], [answered, Told::Next(3)]);
}

#[test]
fn an_answer_is_looked_at_before_the_loss_of_the_next_request_is_told() {
    let (target, seen) = server(|number| (number != 2).then_some((200, 400_000)), 2);
    let mut workload = Numbered::new(3, LARGE, &seen);
    let outcome = run(&Plan::exhaust(target, 1), &mut workload).expect("the connection can be opened again");
    assert_eq!((outcome.succeeded, outcome.lost), (2, 1), "{outcome}");
    assert_eq!(workload.sent(), [1, 2, 3]);
    assert_eq!(workload.answered(), [1, 3]);
    let told = |wanted: &Told| workload.told.iter().position(|told| told == wanted).expect("it was told");
    assert!(told(&Told::Answered { number: 1, status: 200, bytes: 400_000 }) < told(&Told::Lost));
    assert!(told(&Told::Lost) < told(&Told::Next(3)), "what was prepared went with the connection");
}
