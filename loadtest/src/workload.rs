//! The seam between the driver and what is sent.

use std::time::Duration;

/// Writes requests and looks at answers. Called on the driver's thread; it must not block.
pub trait Workload {
    /// Appends one complete HTTP/1.1 request to `request` (which is empty) and returns [`Next::Send`], or leaves it
    /// empty and returns one of the others.
    fn next(&mut self, connection: usize, request: &mut Vec<u8>) -> Next;

    /// The answer to the last request of that connection.
    fn answered(&mut self, _connection: usize, _answer: Answer<'_>) {}

    /// The connection ended before the last request was answered: its outcome is unknown.
    fn lost(&mut self, _connection: usize) {}
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

impl Answer<'_> {
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
