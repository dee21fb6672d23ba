//! The seam between the driver and what is sent.

/// Writes requests and looks at answers. Called on the driver's thread; it must not block.
pub trait Workload {
    /// Appends one complete HTTP/1.1 request to `request` (which is empty) and returns [`Next::Send`], or leaves it
    /// empty and returns [`Next::Finished`]: this connection is not asked again.
    fn next(&mut self, connection: usize, request: &mut Vec<u8>) -> Next;

    /// The answer to the last request of that connection.
    fn answered(&mut self, _connection: usize, _answer: Answer<'_>) {}

    /// The connection ended before the last request was answered: its outcome is unknown.
    fn lost(&mut self, _connection: usize) {}
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Send,
    Finished,
}

/// One answer; the body is borrowed from the receive buffer.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}
