//! What a request says besides its body's content: media types, query, and the body's bytes.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap,
    header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, EXPECT},
};
use hyper::body::{Body, Incoming};

use crate::{
    errors::{Kind, Problem},
    json::{read::nearest, write::AmountStyle},
    wire::pulse::{Pulse, Ticks},
};

/// A refused body is read and thrown away up to this size, because a client that is still sending may lose the answer
/// when the connection is closed under it.
const DISCARD_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads a body of at most `bytes_max` bytes.
///
/// # Errors
/// 413 when it is larger, 408 when it is too slow, 400 when the connection breaks off.
pub(crate) async fn read_body(
    headers: &HeaderMap,
    mut body: Incoming,
    bytes_max: usize,
    pulse: &Pulse,
    ticks: &Ticks,
) -> Result<Bytes, Problem> {
    let too_large = || {
        let message = format!("The body is larger than the {bytes_max} bytes that this path takes.");
        Problem::new(Kind::BodyTooLarge).saying(message)
    };
    let declared = body.size_hint().lower();
    if declared > bytes_max as u64 {
        discard(headers, body, pulse, ticks).await;
        return Err(too_large());
    }
    let pace = pulse.body();
    let mut whole = Bytes::new();
    let mut parts = BytesMut::new();
    let mut received = 0_usize;
    loop {
        let frame = poll_fn(|cx| {
            if pace.too_slow(pulse, ticks, received as u64) {
                return Poll::Ready(Err(Problem::new(Kind::RequestTimeout)));
            }
            Poll::Ready(Ok(ready!(Pin::new(&mut body).poll_frame(cx))))
        });
        let Some(frame) = frame.await? else { break };
        let frame = frame
            .map_err(|_| Problem::new(Kind::MalformedHttp).saying("The body broke off or is malformed."))?;
        let Ok(data) = frame.into_data() else { continue };
        received += data.len();
        if received > bytes_max {
            discard(headers, body, pulse, ticks).await;
            return Err(too_large());
        }
        // The usual body arrives in one piece, which is then used as it is.
        if whole.is_empty() && parts.is_empty() {
            whole = data;
        } else {
            if parts.is_empty() {
                parts.reserve(usize::try_from(declared).unwrap_or(0).max(received).min(bytes_max));
                parts.extend_from_slice(&whole);
            }
            parts.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(if parts.is_empty() { whole } else { parts.freeze() })
}

/// Reads what is left of a body that nobody wants, within limits.
pub(crate) async fn discard(headers: &HeaderMap, mut body: Incoming, pulse: &Pulse, ticks: &Ticks) {
    // A client that waits for "100 Continue" has not sent its body and will not.
    if body.is_end_stream() || headers.contains_key(EXPECT) || body.size_hint().lower() > DISCARD_BYTES_MAX {
        return;
    }
    let pace = pulse.body();
    let mut received = 0_u64;
    poll_fn(|cx| {
        while received <= DISCARD_BYTES_MAX && !pace.too_slow(pulse, ticks, received) {
            match ready!(Pin::new(&mut body).poll_frame(cx)) {
                Some(Ok(frame)) => received += frame.data_ref().map_or(0, Bytes::len) as u64,
                Some(Err(_)) | None => break,
            }
        }
        Poll::Ready(())
    })
    .await;
}

/// Checks that a body is JSON.
///
/// # Errors
/// 415.
pub(crate) fn check_content_type(headers: &HeaderMap, body_is_empty: bool) -> Result<(), Problem> {
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Problem::new(Kind::UnsupportedMediaType).saying("The body must not be compressed."));
    }
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return if body_is_empty { Ok(()) } else { Err(Problem::new(Kind::UnsupportedMediaType)) };
    };
    // The usual value, without looking closer.
    if value == "application/json" || (body_is_empty && value.is_empty()) {
        return Ok(());
    }
    let text = value.to_str().unwrap_or("");
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let essence = essence.trim();
    let json = essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 17
            && essence.as_bytes()[..12].eq_ignore_ascii_case(b"application/")
            && essence.as_bytes()[essence.len() - 5..].eq_ignore_ascii_case(b"+json"));
    let utf8 = parameters.split(';').all(|parameter| match parameter.split_once('=') {
        Some((name, charset)) if name.trim().eq_ignore_ascii_case("charset") => {
            charset.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    if json && utf8 { Ok(()) } else { Err(Problem::new(Kind::UnsupportedMediaType)) }
}

/// Reads the `Accept` header: how amounts are written, and whether JSON (or CSV, where `csv` is offered) is welcome.
///
/// # Errors
/// 406.
pub(crate) fn accepted(headers: &HeaderMap, csv: bool) -> Result<AmountStyle, Problem> {
    let mut lines = headers.get_all(ACCEPT).iter().peekable();
    if lines.peek().is_none() {
        return Ok(AmountStyle::Number);
    }
    let mut style = None;
    for line in lines {
        // The usual values, without looking closer.
        if line == "*/*" || line == "application/json" {
            style.get_or_insert(AmountStyle::Number);
            continue;
        }
        for range in line.to_str().unwrap_or("").split(',') {
            let mut parts = range.split(';').map(str::trim);
            let essence = parts.next().unwrap_or("").to_ascii_lowercase();
            let offered = matches!(essence.as_str(), "*/*" | "application/*" | "application/json")
                || (csv && matches!(essence.as_str(), "text/*" | "text/csv"));
            let mut refused = false;
            let mut strings = false;
            for parameter in parts {
                let parameter = parameter.to_ascii_lowercase();
                refused |= matches!(parameter.as_str(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
                strings |= parameter == "amounts=string";
            }
            if offered && !refused {
                let wanted = if strings { AmountStyle::String } else { AmountStyle::Number };
                style = Some(if style == Some(AmountStyle::String) { AmountStyle::String } else { wanted });
            }
        }
    }
    style.ok_or_else(|| Problem::new(Kind::NotAcceptable))
}

/// The parameters of a query, each at most once and all of them known.
#[derive(Debug, Default)]
pub(crate) struct Query {
    values: Vec<(&'static str, String)>,
}

impl Query {
    /// Reads a query whose parameters are among `known`.
    ///
    /// # Errors
    /// An unknown or repeated parameter, or bad percent-encoding.
    pub(crate) fn parse(query: Option<&str>, known: &'static [&'static str]) -> Result<Self, Problem> {
        let mut values: Vec<(&'static str, String)> = Vec::new();
        let Some(query) = query else { return Ok(Self { values }) };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let bad_encoding = || {
                let shown: String = name.chars().take(64).collect();
                Problem::invalid(format!("?{shown}"), "The query is not valid percent-encoded UTF-8.")
            };
            let name = percent_decoded(name).ok_or_else(bad_encoding)?;
            let value = percent_decoded(value).ok_or_else(bad_encoding)?;
            let Some(name) = known.iter().find(|candidate| **candidate == name) else {
                return Err(unknown_parameter(&name, known));
            };
            if values.iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::invalid(
                    format!("?{name}"),
                    "The parameter is there twice. Send it once.",
                ));
            }
            values.push((name, value));
        }
        Ok(Self { values })
    }

    pub(crate) fn get(&self, name: &'static str) -> Option<&str> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter read by `read`; `wanted` says what it must be.
    ///
    /// # Errors
    /// The parameter is there and `read` does not understand it.
    pub(crate) fn parsed<T>(
        &self,
        name: &'static str,
        wanted: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some(text) => match read(text) {
                Some(value) => Ok(Some(value)),
                None => Err(Problem::invalid(format!("?{name}"), format!("Must be {wanted}."))),
            },
        }
    }
}

fn unknown_parameter(name: &str, known: &[&str]) -> Problem {
    let shown: String = name.chars().take(64).flat_map(char::escape_default).collect();
    let message = match (nearest(name, known), known) {
        (Some(candidate), _) => format!("Unknown parameter. Did you mean \"{candidate}\"?"),
        (None, []) => "This path takes no parameters.".to_owned(),
        (None, known) => format!("Unknown parameter. Known parameters: {}.", known.join(", ")),
    };
    Problem::invalid(format!("?{shown}"), message)
}

fn percent_decoded(text: &str) -> Option<String> {
    if !text.contains(['%', '+']) {
        return Some(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let high = char::from(*bytes.get(at + 1)?).to_digit(16)?;
                let low = char::from(*bytes.get(at + 2)?).to_digit(16)?;
                out.push(u8::try_from(high << 4 | low).ok()?);
                at += 3;
            }
            b'+' => {
                out.push(b' ');
                at += 1;
            }
            byte => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(name: http::HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_json_bodies_are_read() {
        for (value, ok) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("Application/JSON;charset=\"UTF-8\"", true),
            ("application/problem+json", true),
            ("application/json; charset=latin1", false),
            ("text/plain", false),
            ("text/json", false),
            ("application/x-www-form-urlencoded", false),
            ("application/", false),
            ("", false),
        ] {
            assert_eq!(check_content_type(&with(CONTENT_TYPE, &[value]), false).is_ok(), ok, "{value}");
        }
        assert!(check_content_type(&HeaderMap::new(), false).is_err());
        assert!(check_content_type(&HeaderMap::new(), true).is_ok());
        assert!(check_content_type(&with(CONTENT_ENCODING, &["gzip"]), true).is_err());
    }

    #[test]
    fn accept_chooses_the_style_of_amounts() {
        let cases: &[(&[&'static str], Option<AmountStyle>)] = &[
            (&[], Some(AmountStyle::Number)),
            (&["*/*"], Some(AmountStyle::Number)),
            (&["application/json"], Some(AmountStyle::Number)),
            (&["application/json; amounts=string"], Some(AmountStyle::String)),
            (&["application/json;q=0.9;amounts=string, */*"], Some(AmountStyle::String)),
            (&["text/html,application/xhtml+xml,*/*;q=0.8"], Some(AmountStyle::Number)),
            (&["text/html"], None),
            (&["text/csv"], None),
            (&["application/json;q=0"], None),
            (&["text/html", "application/*"], Some(AmountStyle::Number)),
            (&[""], None),
        ];
        for (lines, expected) in cases {
            assert_eq!(accepted(&with(ACCEPT, lines), false).ok(), *expected, "{lines:?}");
        }
        assert!(accepted(&with(ACCEPT, &["text/csv"]), true).is_ok());
    }

    #[test]
    fn queries_are_decoded_and_checked() {
        let known: &[&str] = &["limit", "counterparty"];
        let query = Query::parse(Some("limit=5&counterparty=merchant%3Ademo+1"), known).expect("valid");
        assert_eq!(query.get("counterparty"), Some("merchant:demo 1"));
        assert_eq!(query.parsed("limit", "a number", |text| text.parse().ok()).expect("a number"), Some(5));
        assert_eq!(query.get("other"), None);
        for (text, path) in [
            ("limit=1&limit=2", "?limit"),
            ("limits=1", "?limits"),
            ("limit=%zz", "?limit"),
            ("limit=%ff", "?limit"),
            ("limit=%4", "?limit"),
            ("%00=1", "?\\u{0}"),
        ] {
            let problem = Query::parse(Some(text), known).expect_err(text);
            assert_eq!(problem.details[0].1, crate::errors::Detail::Text(path.into()), "{text}");
        }
        assert!(Query::parse(None, &[]).is_ok());
        assert!(Query::parse(Some("&&"), &[]).is_ok());
    }
}
