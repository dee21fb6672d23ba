//! Strict framing of what arrives, ahead of hyper's parser.
//!
//! hyper accepts some heads that two parsers may read differently: bare line feeds, `Transfer-Encoding` together with
//! `Content-Length`, a repeated length. Behind a proxy each of them is a way to smuggle one request inside another. The
//! guard follows the byte stream just closely enough to know where each head begins and ends, and refuses such a head
//! before hyper has seen all of it. It also counts lines and bytes, so that an oversized head is answered like every
//! other error.
//!
//! It is a pure state machine over byte slices: no I/O, no clock. A chunked request ends what it follows: the gateway
//! closes the connection after answering one, so its framing need not be understood here.
//!
//! Invariant: a head that hyper completes was accepted here. Non-goal: checking tokens and values; hyper does that.

/// Bounds of a request head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    pub(crate) bytes_max: usize,
    pub(crate) lines_max: usize,
    pub(crate) target_bytes_max: usize,
}

/// Why a head is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A line ends in a bare line feed, or contains a bare carriage return.
    LineEnding,
    /// A header line begins with white space (a folded one).
    Folded,
    /// Two lengths, or a length next to a transfer encoding.
    AmbiguousLength,
    /// A length that is not a plain decimal number.
    BadLength,
    /// A transfer encoding other than exactly `chunked`.
    BadEncoding,
    /// No `Host` in HTTP/1.1, or several: proxies would disagree about whom the request is for.
    Host,
    TargetTooLong,
    HeadTooLarge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between the start of a head and its empty line.
    Head,
    /// So many bytes of a body are still to come.
    Body(u64),
    /// Behind a chunked request; nothing is looked at any more.
    Chunked,
}

/// The machine of one connection.
pub(crate) struct Guard {
    limits: HeadLimits,
    state: State,
    head: Head,
    /// The beginning of a line whose end has not arrived.
    partial_line: Vec<u8>,
}

/// What is known about the head under way.
#[derive(Clone, Copy, Default)]
struct Head {
    bytes: usize,
    lines: usize,
    length: Option<u64>,
    chunked: bool,
    has_host: bool,
    needs_host: bool,
}

impl Guard {
    pub(crate) fn new(limits: HeadLimits) -> Self {
        Self { limits, state: State::Head, head: Head::default(), partial_line: Vec::new() }
    }

    /// Whether a head has begun and not ended.
    pub(crate) fn in_head(&self) -> bool {
        self.head.bytes > 0
    }

    /// Whether everything that began has ended.
    pub(crate) fn between_requests(&self) -> bool {
        self.state == State::Head && !self.in_head()
    }

    /// Looks at the next bytes of the stream.
    ///
    /// # Errors
    /// The violation, and how many of the bytes come before the head it is in. The guard must not be used again.
    pub(crate) fn inspect(&mut self, bytes: &[u8]) -> Result<(), (Violation, usize)> {
        let mut head_start = 0;
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::Chunked => return Ok(()),
                State::Body(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += here;
                    let left = left - here as u64;
                    self.state = if left == 0 { State::Head } else { State::Body(left) };
                    head_start = at;
                }
                State::Head => {
                    let rest = &bytes[at..];
                    let line_end = rest.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
                    at += line_end.unwrap_or(rest.len());
                    let ended = self.take_line(&rest[..line_end.unwrap_or(rest.len())], line_end.is_some());
                    match ended.map_err(|violation| (violation, head_start))? {
                        None => {}
                        Some(next) => {
                            self.state = next;
                            head_start = at;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes one line of a head, or the beginning of one. Returns the state behind the head if that was its end.
    fn take_line(&mut self, piece: &[u8], complete: bool) -> Result<Option<State>, Violation> {
        self.head.bytes += piece.len();
        if self.head.bytes > self.limits.bytes_max {
            let in_target = self.head.lines == 0;
            return Err(if in_target { Violation::TargetTooLong } else { Violation::HeadTooLarge });
        }
        if !complete {
            self.partial_line.extend_from_slice(piece);
            return Ok(None);
        }
        if self.partial_line.is_empty() {
            return self.whole_line(piece);
        }
        let mut line = std::mem::take(&mut self.partial_line);
        line.extend_from_slice(piece);
        let ended = self.whole_line(&line);
        line.clear();
        self.partial_line = line;
        ended
    }

    fn whole_line(&mut self, line: &[u8]) -> Result<Option<State>, Violation> {
        let Some(line) = line.strip_suffix(b"\r\n").filter(|line| !line.contains(&b'\r')) else {
            return Err(Violation::LineEnding);
        };
        if line.is_empty() {
            // Empty lines before a request line are skipped, as RFC 9112 asks; they count against the head's bytes.
            return if self.head.lines == 0 { Ok(None) } else { self.end_of_head().map(Some) };
        }
        self.head.lines += 1;
        if self.head.lines == 1 {
            self.head.needs_host = !line.ends_with(b" HTTP/1.0");
            return if line.len() > self.limits.target_bytes_max {
                Err(Violation::TargetTooLong)
            } else {
                Ok(None)
            };
        }
        if self.head.lines > self.limits.lines_max {
            return Err(Violation::HeadTooLarge);
        }
        if matches!(line[0], b' ' | b'\t') {
            return Err(Violation::Folded);
        }
        self.framing_header(line)?;
        Ok(None)
    }

    fn framing_header(&mut self, line: &[u8]) -> Result<(), Violation> {
        if let Some(value) = value_of(line, b"content-length") {
            if self.head.length.is_some() || self.head.chunked {
                return Err(Violation::AmbiguousLength);
            }
            self.head.length = Some(decimal(value).ok_or(Violation::BadLength)?);
        } else if let Some(value) = value_of(line, b"transfer-encoding") {
            if self.head.length.is_some() || self.head.chunked {
                return Err(Violation::AmbiguousLength);
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Violation::BadEncoding);
            }
            self.head.chunked = true;
        } else if value_of(line, b"host").is_some() && std::mem::replace(&mut self.head.has_host, true) {
            return Err(Violation::Host);
        }
        Ok(())
    }

    fn end_of_head(&mut self) -> Result<State, Violation> {
        let head = std::mem::take(&mut self.head);
        if head.needs_host && !head.has_host {
            return Err(Violation::Host);
        }
        Ok(match (head.chunked, head.length) {
            (true, _) => State::Chunked,
            (false, None | Some(0)) => State::Head,
            (false, Some(length)) => State::Body(length),
        })
    }
}

/// The value of a header line if it has this name, without the white space around it. A name with white space before
/// the colon is matched too: hyper refuses such a line, and until then it must not be overlooked here.
fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    // Looking at the length first spares most lines the comparison.
    if line.len() <= name.len() || !line[..name.len()].eq_ignore_ascii_case(name) {
        return None;
    }
    let value = line[name.len()..].trim_ascii_start().strip_prefix(b":")?;
    Some(value.trim_ascii())
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes_max: 512, lines_max: 8, target_bytes_max: 64 };

    /// Feeds the text in one piece, then byte by byte, and expects the same end.
    fn check(text: &str, expected: Result<bool, Violation>) {
        let mut whole = Guard::new(LIMITS);
        let outcome =
            whole.inspect(text.as_bytes()).map(|()| whole.in_head()).map_err(|(violation, _)| violation);
        assert_eq!(outcome, expected, "{text:?} in one piece");
        let mut single = Guard::new(LIMITS);
        let bytewise = text.as_bytes().chunks(1).try_for_each(|byte| single.inspect(byte));
        let outcome = bytewise.map(|()| single.in_head()).map_err(|(violation, _)| violation);
        assert_eq!(outcome, expected, "{text:?} byte by byte");
    }

    #[test]
    fn well_formed_streams_pass() {
        for (text, in_head) in [
            ("", false),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false),
            ("\r\nGET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a", true),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na\nb\r\nGET / HTTP/1.0\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na\nb\r\nGET / HTTP/1.1\r\n", true),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\na\nb\nGET / HTTP/1.0\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.0\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nhost:a\r\ncontent-length:3\r\n\r\n\n\n\n", false),
            ("POST / HTTP/1.1\r\nHost:\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length-Hint: x\r\nX: content-length: 1\r\n\r\n", false),
        ] {
            check(text, Ok(in_head));
        }
    }

    #[test]
    fn the_smuggling_table_is_refused() {
        for (headers, violation) in [
            ("Host: a\n", Violation::LineEnding),
            ("Host: a\rb\r\n", Violation::LineEnding),
            ("Host: a\r\r\n", Violation::LineEnding),
            ("Host: a\r\n folded\r\n", Violation::Folded),
            ("\tHost: a\r\n", Violation::Folded),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Violation::AmbiguousLength),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", Violation::AmbiguousLength),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Violation::AmbiguousLength),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Violation::AmbiguousLength),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Violation::AmbiguousLength),
            ("Transfer-Encoding : chunked\r\nContent-Length : 5\r\n", Violation::AmbiguousLength),
            ("Transfer-Encoding: gzip, chunked\r\n", Violation::BadEncoding),
            ("Transfer-Encoding: chunked, identity\r\n", Violation::BadEncoding),
            ("Transfer-Encoding: xchunked\r\n", Violation::BadEncoding),
            ("Transfer-Encoding:\u{b}chunked\r\n", Violation::BadEncoding),
            ("Content-Length: +5\r\n", Violation::BadLength),
            ("Content-Length: -1\r\n", Violation::BadLength),
            ("Content-Length: 5,5\r\n", Violation::BadLength),
            ("Content-Length: 0x5\r\n", Violation::BadLength),
            ("Content-Length:\r\n", Violation::BadLength),
            ("Content-Length: 99999999999999999999\r\n", Violation::BadLength),
            ("Accept: */*\r\n", Violation::Host),
            ("Host: a\r\nHost: a\r\n", Violation::Host),
            ("Host: a\r\nhost : b\r\n", Violation::Host),
        ] {
            check(&format!("POST / HTTP/1.1\r\n{headers}\r\n"), Err(violation));
        }
        check("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", Err(Violation::Host));
        check("GET / HTTP/1.1\n\n", Err(Violation::LineEnding));
        check("\nGET / HTTP/1.1\r\n\r\n", Err(Violation::LineEnding));
    }

    #[test]
    fn heads_are_bounded() {
        check(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(64)), Err(Violation::TargetTooLong));
        check(&"x".repeat(600), Err(Violation::TargetTooLong));
        check(&format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(512)), Err(Violation::HeadTooLarge));
        check(&format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(8)), Err(Violation::HeadTooLarge));
        check(&format!("GET / HTTP/1.0\r\n{}\r\n", "X: y\r\n".repeat(7)), Ok(false));
        check(&"\r\n".repeat(300), Err(Violation::TargetTooLong));
    }

    #[test]
    fn what_comes_before_the_bad_head_is_kept() {
        let good = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
        let mut guard = Guard::new(LIMITS);
        let stream = format!("{good}GET / HTTP/1.1\n\n");
        assert_eq!(guard.inspect(stream.as_bytes()), Err((Violation::LineEnding, good.len())));
        let mut guard = Guard::new(LIMITS);
        guard.inspect(b"GET / HTTP/1.1\r\nHo").expect("a good beginning");
        assert_eq!(guard.inspect(b"st: a\n\r\n"), Err((Violation::LineEnding, 0)));
    }
}
