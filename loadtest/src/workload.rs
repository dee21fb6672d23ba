//! The seam between the driver and what is sent.

use std::time::Duration;

use crate::response::Head;

/// Writes requests and looks at answers. Called on the driver's thread; it must not block.
pub trait Workload {
    /// Appends one complete HTTP/1.1 request to `request` (which is empty) and returns [`Next::Send`], or leaves it
    /// empty and returns one of the others.
    fn next(&mut self, connection: usize, request: &mut Vec<u8>) -> Next;

    /// The answer to the last request of that connection.
    fn answered(&mut self, _connection: usize, _answer: Answer<'_>) {}

    /// The connection ended before the last request was answered: its outcome is unknown.
    fn lost(&mut self, _connection: usize) {}

    /// Whether requests are so large that, in a closed loop, each is to be written while the one before it is out, and
    /// each answer looked at while the next one is awaited. Asked once, at the begin of a run.
    fn works_ahead(&self) -> bool {
        false
    }

    /// Appends to `request` (which is empty) the one that is to follow the request that is out, and returns true, or
    /// returns false if that is not known yet. Until it is released, it must count as nothing: it may never be sent.
    /// It is forgotten with the next call of `next` or `lost` for its connection.
    fn prepare(&mut self, _connection: usize, _request: &mut Vec<u8>) -> bool {
        false
    }

    /// The request that is out was answered with success. True: the prepared one is sent now, and only then `answered`
    /// is told of that answer. False: the prepared one is forgotten, `answered` follows, and `next` is asked.
    fn release(&mut self, _connection: usize) -> bool {
        false
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Send,
    /// Nothing to send now; ask again after this long.
    Pause(Duration),
    /// This connection is not asked again.
    Finished,
}

/// One answer; the body is borrowed from the receive buffer.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
    /// The server says that this is the first answer again: `idempotent-replayed: true`.
    pub replayed: bool,
}

impl<'a> Answer<'a> {
    pub(crate) fn new(head: Head, body: &'a [u8]) -> Answer<'a> {
        Answer { status: head.status, body, replayed: head.replayed }
    }

    /// 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Refused for now or ended with an unknown outcome: the same request may be sent again.
    pub fn asks_for_patience(&self) -> bool {
        matches!(self.status, 408 | 429 | 500 | 502 | 503 | 504)
    }

    /// The refusal's code says that nothing happened: a rate limit, overload, or read-only.
    pub fn moved_nothing(&self) -> bool {
        let says = |code: &str| memchr::memmem::find(self.body, code.as_bytes()).is_some();
        self.status == 429 || (self.status == 503 && (says("\"AP-3001\"") || says("\"AP-3004\"")))
    }
}
