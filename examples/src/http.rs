//! Just enough HTTP/1.1: one request per connection, JSON bodies with a length, both as server and as client.
//!
//! Everything that comes from outside is bounded in size and time. A real provider uses its framework instead.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Bytes of a head or a body.
const BYTES_MAX: usize = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(30);

/// A request as it arrived, or an answer: they differ in the first line only.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) first_line: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The target of a request: the second word of its first line.
    pub(crate) fn target(&self) -> &str {
        self.first_line.split(' ').nth(1).unwrap_or("/")
    }

    /// The status of an answer: the same word.
    pub(crate) fn status(&self) -> Option<u16> {
        self.target().parse().ok()
    }
}

/// A connection for one exchange.
pub(crate) struct Connection {
    stream: TcpStream,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Connection> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream })
    }

    pub(crate) fn read_request(&mut self) -> io::Result<Message> {
        self.read()
    }

    pub(crate) fn write_answer(&mut self, status: u16, body: &str) -> io::Result<()> {
        let reason = if status < 400 { "OK" } else { "Refused" };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{body}"
        );
        self.stream.write_all(answer.as_bytes())
    }

    /// Sends a request and reads its answer.
    pub(crate) fn exchange(mut self, request: &str) -> io::Result<Message> {
        self.stream.write_all(request.as_bytes())?;
        self.read()
    }

    fn read(&mut self) -> io::Result<Message> {
        let mut bytes = Vec::new();
        let head_bytes = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            self.fill(&mut bytes)?;
        };
        let head = std::str::from_utf8(&bytes[..head_bytes]).map_err(|_| malformed())?;
        let mut lines = head.split("\r\n");
        let first_line = lines.next().unwrap_or_default().to_owned();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut message = Message { first_line, headers, body: bytes.split_off(head_bytes + 4) };
        let length = match message.header("content-length") {
            Some(text) => text.parse().ok().filter(|length| *length <= BYTES_MAX).ok_or_else(malformed)?,
            None => 0,
        };
        while message.body.len() < length {
            self.fill(&mut message.body)?;
        }
        message.body.truncate(length);
        Ok(message)
    }

    fn fill(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let mut buffer = [0; 4_096];
        let count = self.stream.read(&mut buffer)?;
        if count == 0 || bytes.len() + count > BYTES_MAX {
            return Err(malformed());
        }
        bytes.extend_from_slice(&buffer[..count]);
        Ok(())
    }
}

fn malformed() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "not understood as HTTP/1.1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// What the other side makes of these bytes.
    fn read(bytes: &[u8]) -> io::Result<Message> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut sender = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let (stream, _) = listener.accept().expect("accepted");
        sender.write_all(bytes).expect("written");
        drop(sender);
        Connection::new(stream)?.read_request()
    }

    #[test]
    fn a_request_is_read_with_its_body_and_no_more() {
        let text =
            b"POST /weather?city=Bern HTTP/1.1\r\nX-Payment-Token:  t \r\nContent-Length: 2\r\n\r\n{}rest";
        let message = read(text).expect("well-formed");
        assert_eq!((message.target(), message.header("x-payment-token")), ("/weather?city=Bern", Some("t")));
        assert_eq!(message.body, b"{}");
        assert_eq!(read(b"HTTP/1.1 410 Gone\r\n\r\n").expect("an answer").status(), Some(410));
    }

    #[test]
    fn what_is_not_http_or_too_large_is_an_error() {
        let endless = vec![b'x'; BYTES_MAX + 1];
        let large = format!("GET / HTTP/1.1\r\ncontent-length: {}\r\n\r\n", BYTES_MAX + 1);
        for bytes in [
            &b""[..],
            b"GET / HTTP/1.1\r\n",
            &endless,
            large.as_bytes(),
            b"G / H\r\ncontent-length: -1\r\n\r\n",
        ] {
            assert!(read(bytes).is_err());
        }
    }
}
