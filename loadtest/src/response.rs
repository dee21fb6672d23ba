//! Where a response ends: status line, `content-length`, `connection`. Pure; works on whatever bytes have come so far.
//!
//! Non-goals: chunked answers and interim (1xx) answers; the node sends neither, and both are refused loudly.

use memchr::{memchr, memmem};

/// The longest head that is waited for. A node's head has about 200 bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The longest body that is waited for, and that room is made for. A full batch is answered with 5 MB.
const BODY_BYTES_MAX: usize = 256 << 20;

/// The facts of a response's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Bytes up to and with the empty line.
    pub(crate) head_bytes: usize,
    pub(crate) body_bytes: usize,
    /// The server ends the connection after this answer.
    pub(crate) close: bool,
    /// `idempotent-replayed: true`.
    pub(crate) replayed: bool,
}

impl Head {
    /// Bytes of the whole answer.
    pub(crate) fn answer_bytes(&self) -> usize {
        self.head_bytes + self.body_bytes
    }

    /// The body within the whole answer.
    pub(crate) fn body_of<'a>(&self, answer: &'a [u8]) -> &'a [u8] {
        &answer[self.head_bytes..self.answer_bytes()]
    }

    /// 2xx.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// `None`: the head is not complete yet.
pub(crate) fn read_head(bytes: &[u8]) -> Result<Option<Head>, &'static str> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX { Err("the response head has no end") } else { Ok(None) };
    };
    // The last header line keeps its CRLF, so that every line ends the same way.
    let mut lines = &bytes[..end + 2];
    let status = read_status(take_line(&mut lines))?;
    if status < 200 {
        return Err("interim responses are not understood");
    }
    let mut head = Head { status, head_bytes: end + 4, body_bytes: 0, close: false, replayed: false };
    let mut length_seen = matches!(status, 204 | 304);
    while !lines.is_empty() {
        let line = take_line(&mut lines);
        let colon = memchr(b':', line).ok_or("a response header has no colon")?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // Looking at the length first keeps the comparison away from most headers.
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                head.body_bytes = read_decimal(value)?;
                if head.body_bytes > BODY_BYTES_MAX {
                    return Err("the response is longer than is understood");
                }
                length_seen = true;
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                head.close = value.eq_ignore_ascii_case(b"close");
            }
            19 if name.eq_ignore_ascii_case(b"idempotent-replayed") => {
                head.replayed = value.eq_ignore_ascii_case(b"true");
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                return Err("chunked responses are not understood");
            }
            _ => {}
        }
    }
    if length_seen { Ok(Some(head)) } else { Err("the response has no content-length") }
}

/// Cuts the next line, without its CRLF, off the front.
fn take_line<'a>(lines: &mut &'a [u8]) -> &'a [u8] {
    let (line, rest) = match memchr(b'\n', lines) {
        Some(at) => (&lines[..at], &lines[at + 1..]),
        None => (*lines, &[][..]),
    };
    *lines = rest;
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn read_status(line: &[u8]) -> Result<u16, &'static str> {
    let rest = line.strip_prefix(b"HTTP/1.1 ").ok_or("the status line does not begin with HTTP/1.1")?;
    match rest {
        [a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', tail @ ..]
            if tail.is_empty() || tail[0] == b' ' =>
        {
            Ok(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
        }
        _ => Err("the status line has no status"),
    }
}

fn read_decimal(text: &[u8]) -> Result<usize, &'static str> {
    const REFUSED: &str = "content-length is not a number";
    if text.is_empty() || text.len() > 12 {
        return Err(REFUSED);
    }
    text.iter().try_fold(0_usize, |total, &digit| {
        if digit.is_ascii_digit() { Ok(total * 10 + usize::from(digit - b'0')) } else { Err(REFUSED) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_found_only_once_it_is_complete() {
        let whole = b"HTTP/1.1 201 Created\r\nContent-Length: 12\r\nx-request-id: a\r\n\r\n{\"a\":\"b\"}xyz";
        let head_bytes = whole.len() - 12;
        for cut in 0..head_bytes {
            assert_eq!(read_head(&whole[..cut]), Ok(None), "cut at {cut}");
        }
        let expected = Head { status: 201, head_bytes, body_bytes: 12, close: false, replayed: false };
        for cut in head_bytes..=whole.len() {
            assert_eq!(read_head(&whole[..cut]), Ok(Some(expected)), "cut at {cut}");
        }
    }

    #[test]
    fn connection_close_and_bodiless_answers_are_seen() {
        let bytes = b"HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length:0\r\n\r\n";
        let head = read_head(bytes);
        let expected =
            Head { status: 503, head_bytes: bytes.len(), body_bytes: 0, close: true, replayed: false };
        assert_eq!(head, Ok(Some(expected)));
        let head =
            read_head(b"HTTP/1.1 201 Created\r\nIdempotent-Replayed: true\r\ncontent-length: 0\r\n\r\n");
        assert!(head.is_ok_and(|head| head.is_some_and(|head| head.replayed)));
        let head = read_head(b"HTTP/1.1 204 No Content\r\n\r\n").expect("no length needed");
        assert_eq!(head.map(|head| (head.status, head.body_bytes)), Some((204, 0)));
        assert!(read_head(b"HTTP/1.1 200\r\ncontent-length: 1\r\n\r\n").is_ok_and(|head| head.is_some()));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let table: [&[u8]; 10] = [
            b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 xyz OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 9999999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 268435457\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n",
        ];
        for bytes in table {
            assert!(read_head(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        assert!(read_head(&vec![b'x'; HEAD_BYTES_MAX + 1]).is_err());
    }
}
