//! One keep-alive connection: at most one request out, its bytes on the way, its answer so far.
//!
//! Readiness is edge-triggered: after a request is begun, [`Connection::flush`] writes until the socket takes no more,
//! and [`Connection::receive`] reads until an answer is whole or the socket has nothing left.

use std::cmp::Ordering;
use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::Target;
use crate::response::{Head, read_head};

/// A loopback connect takes microseconds; a machine that needs longer than this is not measurable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    sent: usize,
    /// An answer that came in pieces. Empty for the usual one, which is parsed where it was received.
    answer: Vec<u8>,
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
        Ok(Connection { stream, request: Vec::new(), sent: 0, answer: Vec::new(), head: None, since: None })
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
        self.answer.clear();
        self.head = None;
        self.since = Some(since);
        self.flush()
    }

    /// Part of the request that is out has not left yet.
    pub(crate) fn is_sending(&self) -> bool {
        self.since.is_some() && self.sent < self.request.len()
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
            let room = if self.answer.is_empty() { shared.len() } else { self.make_room(shared.len()) };
            let Some(count) = self.read(shared)? else { return Ok(Received::Partial) };
            if count == 0 {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            if self.since.is_none() {
                return Err(malformed("bytes came without a request"));
            }
            let bytes = if self.answer.is_empty() { &shared[..count] } else { &self.answer };
            if self.head.is_none() {
                self.head = read_head(bytes).map_err(malformed)?;
            }
            if let Some(head) = self.head {
                match bytes.len().cmp(&head.answer_bytes()) {
                    Ordering::Less => {}
                    Ordering::Equal => return Ok(Received::Whole(head)),
                    Ordering::Greater => return Err(malformed("more bytes came than the answer has")),
                }
            }
            if self.answer.is_empty() {
                self.make_room(count);
                self.answer.extend_from_slice(&shared[..count]);
            }
            if count < room {
                return Ok(Received::Partial);
            }
        }
    }

    /// Makes room behind what there is of the answer: for all of the rest, if its length is known, otherwise for so
    /// many bytes. Returns how many fit.
    fn make_room(&mut self, bytes: usize) -> usize {
        // One more than is missing: a byte too many must be seen.
        let missing = self.head.map_or(bytes, |head| head.answer_bytes() + 1 - self.answer.len());
        self.answer.reserve_exact(missing);
        self.answer.capacity() - self.answer.len()
    }

    /// Reads once, into `shared` at the begin of an answer and else behind what there is of it. `None`: the socket has
    /// nothing left.
    fn read(&mut self, shared: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            let result = if self.answer.is_empty() {
                rustix::io::read(&self.stream, &mut *shared)
            } else {
                rustix::io::read(&self.stream, rustix::buffer::spare_capacity(&mut self.answer))
            };
            match result {
                Ok(count) => return Ok(Some(count)),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// The body of the answer that `receive` has just called whole, with the same `shared`.
    pub(crate) fn body<'a>(&'a self, head: Head, shared: &'a [u8]) -> &'a [u8] {
        head.body_of(if self.answer.is_empty() { shared } else { &self.answer })
    }

    /// Gives the whole answer away for an old one, whose room is used again. It becomes empty if it lies in `shared`.
    pub(crate) fn swap_answer(&mut self, other: &mut Vec<u8>) {
        std::mem::swap(&mut self.answer, other);
    }

    /// The request is over.
    pub(crate) fn finish(&mut self) {
        assert!(self.since.take().is_some(), "only a request that is out can finish");
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
