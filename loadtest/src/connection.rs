//! One keep-alive connection: at most one request out, its bytes on the way, its answer so far.
//!
//! Readiness is edge-triggered: after a request is begun, [`Connection::flush`] writes until the socket takes no more,
//! and [`Connection::receive`] reads until an answer is whole or the socket has nothing left.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Target;
use crate::response::{Head, read_head};

/// A loopback connect takes microseconds; a machine that needs longer than this is not measurable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    sent: usize,
    /// An answer that came in pieces. Empty for the usual one, which is parsed where it was received.
    pieces: Vec<u8>,
    head: Option<Head>,
    /// Set while a request is out: the time its latency counts from.
    since: Option<Instant>,
}

/// What `receive` found.
pub(crate) enum Received {
    /// Not whole yet; the next readiness event continues.
    Partial,
    /// Read the body with [`Connection::body`] before the next request is begun.
    Whole(Head),
}

impl Connection {
    pub(crate) fn open(target: &Target) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&target.address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, request: Vec::new(), sent: 0, pieces: Vec::new(), head: None, since: None })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// When the request that is out began, if one is.
    pub(crate) fn in_flight_since(&self) -> Option<Instant> {
        self.since
    }

    /// The cleared buffer for the next request.
    pub(crate) fn request_buffer(&mut self) -> &mut Vec<u8> {
        assert!(self.since.is_none(), "a connection carries one request at a time");
        self.request.clear();
        &mut self.request
    }

    /// Starts sending what was put in the request buffer.
    pub(crate) fn begin(&mut self, since: Instant) -> io::Result<()> {
        assert!(!self.request.is_empty(), "a workload that sends must write a request");
        self.sent = 0;
        self.pieces.clear();
        self.head = None;
        self.since = Some(since);
        self.flush()
    }

    /// Writes what is left of the request; returns when it is out or the socket is full.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.request.len() {
            match self.stream.write(&self.request[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads towards the end of the answer. `shared` is scratch space of the driver; with [`Received::Whole`] it may
    /// hold the body.
    pub(crate) fn receive(&mut self, shared: &mut [u8]) -> io::Result<Received> {
        loop {
            let count = match self.stream.read(shared) {
                Ok(0) => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
                }
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::Partial),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if self.since.is_none() {
                return Err(malformed("bytes came without a request"));
            }
            if self.pieces.is_empty()
                && let Some(head) = whole(&shared[..count], None)?
            {
                return Ok(Received::Whole(head));
            }
            self.pieces.extend_from_slice(&shared[..count]);
            if self.head.is_none() {
                self.head = read_head(&self.pieces).map_err(malformed)?;
            }
            if let Some(head) = whole(&self.pieces, self.head)? {
                return Ok(Received::Whole(head));
            }
            if count < shared.len() {
                return Ok(Received::Partial);
            }
        }
    }

    /// The body of the answer that `receive` has just called whole, with the same `shared`.
    pub(crate) fn body<'a>(&'a self, head: Head, shared: &'a [u8]) -> &'a [u8] {
        let bytes = if self.pieces.is_empty() { shared } else { &self.pieces };
        &bytes[head.head_bytes..head.head_bytes + head.body_bytes]
    }

    /// The request is over.
    pub(crate) fn finish(&mut self) {
        assert!(self.since.take().is_some(), "only a request that is out can finish");
    }
}

/// The head, once `bytes` hold exactly one answer. `known`: the head if it was read before.
fn whole(bytes: &[u8], known: Option<Head>) -> io::Result<Option<Head>> {
    let head = match known {
        Some(head) => head,
        None => match read_head(bytes).map_err(malformed)? {
            Some(head) => head,
            None => return Ok(None),
        },
    };
    match bytes.len().cmp(&(head.head_bytes + head.body_bytes)) {
        std::cmp::Ordering::Less => Ok(None),
        std::cmp::Ordering::Equal => Ok(Some(head)),
        std::cmp::Ordering::Greater => Err(malformed("more bytes came than the answer has")),
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
