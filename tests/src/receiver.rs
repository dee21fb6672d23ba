//! A receiver of webhooks on this machine: answers as the test says, and keeps what it got.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::{Document, eventually};

/// One request that came in.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Received {
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or_else(|| panic!("no {name} in {self:?}"), |(_, value)| value.as_str())
    }

    pub fn document(&self) -> Document {
        Document::parse(&self.body)
    }

    /// The event's name.
    pub fn kind(&self) -> String {
        self.document().text("/type").to_owned()
    }

    pub fn id(&self) -> String {
        self.document().text("/id").to_owned()
    }

    /// Which of its signatures were made with this secret, after Standard Webhooks.
    pub fn signed_with(&self, secret: &str) -> Vec<bool> {
        let secret = secret.strip_prefix("whsec_").expect("a secret begins with whsec_");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(secret).expect("base64"));
        let mut content =
            format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp")).into_bytes();
        content.extend_from_slice(&self.body);
        let is_ours = |signature: &str| {
            let signature = signature.strip_prefix("v1,").expect("version 1");
            hmac::verify(&key, &content, &STANDARD.decode(signature).expect("base64")).is_ok()
        };
        self.header("webhook-signature").split(' ').map(is_ours).collect()
    }
}

/// What to say to a request: a status, further header lines, and a body.
#[derive(Debug, Clone)]
pub struct Say {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

impl Say {
    pub fn status(status: u16) -> Say {
        Say { status, headers: String::new(), body: String::new() }
    }
}

type Script = Box<dyn Fn(&Received) -> Say + Send + Sync>;

/// Listens until it is dropped.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    received: Mutex<Vec<Received>>,
    script: Mutex<Arc<Script>>,
    gate: Mutex<bool>,
    opened: Condvar,
    is_over: AtomicBool,
}

impl Receiver {
    /// Takes everything.
    pub fn start() -> Receiver {
        Receiver::saying(|_| Say::status(204))
    }

    pub fn saying(script: impl Fn(&Received) -> Say + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let script: Script = Box::new(script);
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            script: Mutex::new(Arc::new(script)),
            gate: Mutex::new(true),
            opened: Condvar::new(),
            is_over: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = accepting.clone();
                thread::spawn(move || serve(&shared, &stream));
            }
        });
        Receiver { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on it says something else.
    pub fn say(&self, script: impl Fn(&Received) -> Say + Send + Sync + 'static) {
        let script: Script = Box::new(script);
        *lock(&self.shared.script) = Arc::new(script);
    }

    /// From now on requests are read and not answered, until [`Self::open`].
    pub fn close(&self) {
        *lock(&self.shared.gate) = false;
    }

    pub fn open(&self) {
        *lock(&self.shared.gate) = true;
        self.shared.opened.notify_all();
    }

    /// Everything that came in, in that order.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// Waits until so many requests came in.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually("requests at the receiver", || {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.open();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(shared: &Shared, stream: &TcpStream) {
    // A client that went away, as a killed node does, is no failure of the test.
    let Some(received) = read(stream) else { return };
    lock(&shared.received).push(received.clone());
    let gate = lock(&shared.gate);
    drop(shared.opened.wait_while(gate, |open| !*open));
    let script = lock(&shared.script).clone();
    let Say { status, headers, body } = script(&received);
    let answer = format!("HTTP/1.1 {status} Said\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
    let mut stream = stream;
    let _ = stream.write_all(answer.as_bytes());
}

fn read(stream: &TcpStream) -> Option<Received> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(Some(0), |(_, value)| value.parse().ok())?];
    reader.read_exact(&mut body).ok()?;
    Some(Received { method, path, headers, body })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
