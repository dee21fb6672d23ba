//! The socket as hyper sees it.
//!
//! Role: passes bytes through, lets the [`guard`] look at what arrives and keeps the [`pulse`] of the connection. When a
//! head must be refused, hyper is shown the end of the stream instead of it; the connection's task then writes the
//! refusal itself (see `connection`).
//!
//! Invariant: hyper learns of the end of the stream only when every answer before it has left. hyper would otherwise
//! drop a request that is being served, and even an answer that it has not flushed yet; a client may well stop sending
//! before it has read its answer.
//!
//! Bare answers that hyper writes for a head it cannot parse are held back, so that they too become answers with a
//! request id and a body. Thread: the connection's task.

pub(crate) mod guard;
pub(crate) mod pulse;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use self::{
    guard::{Guard, HeadLimits, Violation},
    pulse::Pulse,
};
use crate::errors::Kind;

/// A guarded socket.
pub(crate) struct Wire {
    socket: TcpStream,
    guard: Guard,
    pulse: Arc<Pulse>,
    refused: Option<Refused>,
    /// Nothing more will be read.
    at_end: bool,
    /// hyper asked for more while the end was kept from it.
    end_wanted: bool,
}

/// A head that will not be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) kind: Kind,
    pub(crate) message: Option<&'static str>,
}

impl Wire {
    pub(crate) fn new(socket: TcpStream, limits: HeadLimits, pulse: Arc<Pulse>) -> Self {
        Self { socket, guard: Guard::new(limits), pulse, refused: None, at_end: false, end_wanted: false }
    }

    /// The socket, and what its last head was refused for.
    pub(crate) fn into_parts(self) -> (TcpStream, Option<Refused>) {
        (self.socket, self.refused)
    }

    /// The end of the stream, as soon as no answer is owed any more; [`Self::poll_flush`] wakes for that.
    fn end(&mut self) -> Poll<io::Result<()>> {
        self.at_end = true;
        self.end_wanted = self.pulse.owes_answer();
        if self.end_wanted { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl From<Violation> for Refused {
    fn from(violation: Violation) -> Self {
        let malformed = |message| Self { kind: Kind::MalformedHttp, message: Some(message) };
        match violation {
            Violation::LineEnding => malformed("A line of the request head does not end in CR LF."),
            Violation::Folded => {
                malformed("A header line begins with white space. Folded headers are not accepted.")
            }
            Violation::AmbiguousLength => {
                malformed("The request states its length more than once. Send one Content-Length, or chunks.")
            }
            Violation::BadLength => malformed("The Content-Length is not a decimal number."),
            Violation::BadEncoding => malformed("The only Transfer-Encoding accepted is chunked."),
            Violation::Host => malformed("The request must have exactly one Host header."),
            Violation::TargetTooLong => Self { kind: Kind::TargetTooLong, message: None },
            Violation::HeadTooLarge => Self { kind: Kind::HeadTooLarge, message: None },
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.at_end {
            return wire.end();
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut wire.socket).poll_read(cx, buf))?;
        let arrived = &buf.filled()[before..];
        if arrived.is_empty() {
            // A request whose body breaks off is over; one that is complete gets its answer.
            return if wire.guard.between_requests() { wire.end() } else { Poll::Ready(Ok(())) };
        }
        match wire.guard.inspect(arrived) {
            Ok(()) => wire.pulse.received(wire.guard.in_head()),
            Err((violation, good)) => {
                wire.refused = Some(violation.into());
                wire.at_end = true;
                buf.set_filled(before + good);
                if good == 0 {
                    return wire.end();
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        if let Some(refused) = bare_refusal(buf) {
            wire.refused.get_or_insert(refused);
            return Poll::Ready(Ok(buf.len()));
        }
        let polled = Pin::new(&mut wire.socket).poll_write(cx, buf);
        if polled.is_pending() {
            wire.pulse.write_blocked();
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP socket has nothing to flush; hyper calls this once its own buffer is empty.
        let wire = self.get_mut();
        wire.pulse.flushed();
        if wire.end_wanted && !wire.pulse.owes_answer() {
            wire.end_wanted = false;
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut wire.socket).poll_shutdown(cx)
    }
}

/// Whether this is an answer that hyper wrote by itself: ours always have a request id.
fn bare_refusal(buf: &[u8]) -> Option<Refused> {
    let status = buf.strip_prefix(b"HTTP/1.1 4")?.get(..2)?;
    let ours = buf.windows(b"x-request-id".len()).any(|window| window == b"x-request-id");
    let kind = match status {
        _ if ours => return None,
        b"14" => Kind::TargetTooLong,
        b"31" => Kind::HeadTooLarge,
        _ => Kind::MalformedHttp,
    };
    Some(Refused { kind, message: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_without_our_id_are_held_back() {
        for (answer, kind) in [
            (
                "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
                Some(Kind::MalformedHttp),
            ),
            (
                "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n",
                Some(Kind::HeadTooLarge),
            ),
            ("HTTP/1.1 414 URI Too Long\r\ncontent-length: 0\r\n\r\n", Some(Kind::TargetTooLong)),
            ("HTTP/1.1 400 Bad Request\r\nx-request-id: a\r\n\r\n{}", None),
            ("HTTP/1.1 200 OK\r\n\r\n", None),
            ("HTTP/1.1 100 Continue\r\n\r\n", None),
            ("HTTP", None),
        ] {
            assert_eq!(bare_refusal(answer.as_bytes()).map(|refused| refused.kind), kind, "{answer:?}");
        }
    }
}
