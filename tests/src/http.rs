//! A blocking HTTP/1.1 client that sends exactly the bytes it is told to, and reads answers strictly.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use memchr::memmem;

use crate::Document;

/// A test that waits longer than this for bytes has failed.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A request that is put together by the client.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

impl Request {
    pub fn new(method: &str, path: impl Into<String>) -> Request {
        Request { method: method.to_owned(), path: path.into(), headers: Vec::new(), body: None }
    }

    pub fn get(path: impl Into<String>) -> Request {
        Request::new("GET", path)
    }

    pub fn post(path: impl Into<String>, body: impl Into<String>) -> Request {
        Request::new("POST", path).json(body)
    }

    /// A JSON body and its content type.
    pub fn json(mut self, body: impl Into<String>) -> Request {
        self.body = Some(body.into().into_bytes());
        self.header("content-type", "application/json")
    }

    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The request without headers of that name.
    pub fn without(mut self, name: &str) -> Request {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    pub fn bearer(self, key: &str) -> Request {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// The bytes on the wire, with `content-length` when there is a body.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\nhost: test\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = self.body.as_deref().unwrap_or_default();
        if self.body.is_some() {
            out.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        out.push_str("\r\n");
        let mut bytes = out.into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }
}

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The only header of that name; panics if there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values =
            self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let first = values.next();
        assert!(values.next().is_none(), "several {name} headers in {self:?}");
        first
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn document(&self) -> Document {
        Document::parse(&self.body)
    }

    /// Panics, showing the body, unless the status is the expected one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Panics unless this is the documented error shape with that status and code; returns it for a closer look.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Document {
        assert_eq!(self.status, status, "{}", self.text());
        let document = self.document();
        assert_eq!(document.text("/error/code"), code, "{}", self.text());
        assert!(!document.text("/error/message").is_empty());
        assert!(document.at("/error/retryable").is_boolean(), "{}", self.text());
        assert!(document.at("/error/details").is_object(), "{}", self.text());
        assert!(document.at("/error/next_actions").is_array(), "{}", self.text());
        assert_eq!(Some(document.text("/request_id")), self.header("x-request-id"), "{}", self.text());
        document
    }
}

/// One connection.
pub struct Connection {
    stream: TcpStream,
    /// Bytes that came after the last answer.
    rest: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Connection { stream, rest: Vec::new() })
    }

    /// Sends a request and reads its answer.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        self.write(&request.bytes())?;
        self.read(request.method == "HEAD")
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads one answer; `bodiless`: the request was `HEAD`.
    pub fn read(&mut self, bodiless: bool) -> io::Result<Response> {
        let head_bytes = loop {
            if let Some(at) = memmem::find(&self.rest, b"\r\n\r\n") {
                break at + 4;
            }
            self.fill()?;
        };
        let head = String::from_utf8(self.rest[..head_bytes - 4].to_vec()).map_err(|_| malformed("head"))?;
        let mut lines = head.split("\r\n");
        let status = read_status(lines.next().unwrap_or_default())?;
        let headers: Vec<(String, String)> = lines.map(read_header).collect::<io::Result<_>>()?;
        let length = body_length(&headers)?;
        let body_bytes = if bodiless || matches!(status, 204 | 304) { 0 } else { length };
        while self.rest.len() < head_bytes + body_bytes {
            self.fill()?;
        }
        let body = self.rest[head_bytes..head_bytes + body_bytes].to_vec();
        self.rest.drain(..head_bytes + body_bytes);
        Ok(Response { status, headers, body })
    }

    /// Waits until the server ends the connection; false if it sends more bytes instead.
    pub fn is_closed_by_server(&mut self) -> bool {
        self.rest.is_empty() && matches!(self.fill(), Err(error) if ended(&error))
    }

    /// Ends the sending half only.
    pub fn finish_sending(&self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")),
            count => {
                self.rest.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}

/// The server went away, as opposed to: it was silent for too long.
pub fn ended(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

fn read_status(line: &str) -> io::Result<u16> {
    let rest = line.strip_prefix("HTTP/1.1 ").ok_or_else(|| malformed(line))?;
    rest.get(..3).and_then(|digits| digits.parse().ok()).ok_or_else(|| malformed(line))
}

fn read_header(line: &str) -> io::Result<(String, String)> {
    let (name, value) = line.split_once(':').ok_or_else(|| malformed(line))?;
    Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
}

fn body_length(headers: &[(String, String)]) -> io::Result<usize> {
    let value = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
    if let Some(coding) = value("transfer-encoding") {
        return Err(malformed(&format!("transfer-encoding: {coding}")));
    }
    match value("content-length") {
        Some(text) => text.parse().map_err(|_| malformed(text)),
        None => Ok(0),
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("not understood in an answer: {what}"))
}
