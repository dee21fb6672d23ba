//! Answers: what a handler returns, and how it becomes an HTTP response.
//!
//! Every response leaves through [`Reply::into_response`] or [`refusal`], which is where the headers that all answers
//! share are set. Headers are static values; a usual answer costs one header map and one body buffer.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};
use http_body_util::Full;

use crate::{
    errors::{Kind, Problem},
    json::write::{AmountStyle, Writer},
    metrics::Outcome,
};

/// The response type of the gateway.
pub(crate) type Answer = Response<Full<Bytes>>;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CSV: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const CLOSE: HeaderValue = HeaderValue::from_static("close");
const NO_CONTENT: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    None,
    Json,
    Csv,
    /// The exposition format of the metrics exporter.
    Metrics,
}

/// The result of a handler. Not `Debug`: a body may show a key.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) content: Content,
    pub(crate) body: Vec<u8>,
    /// An earlier answer, given again.
    pub(crate) replayed: bool,
    /// Headers of this answer only.
    pub(crate) extra: Vec<(HeaderName, HeaderValue)>,
}

impl Reply {
    /// A JSON answer.
    pub(crate) fn json(status: StatusCode, writer: Writer) -> Self {
        Self { status, content: Content::Json, body: writer.finish(), replayed: false, extra: Vec::new() }
    }

    /// An answer without body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, content: Content::None, body: Vec::new(), replayed: false, extra: Vec::new() }
    }

    /// Marks the repetition of an earlier answer.
    pub(crate) fn replayed(self, replayed: bool) -> Self {
        Self { replayed, ..self }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        if self.replayed { Outcome::Replayed } else { Outcome::Ok }
    }

    pub(crate) fn into_response(self, request_id: HeaderValue) -> Answer {
        let mut answer = Response::new(Full::new(Bytes::from(self.body)));
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        headers.reserve(6);
        match self.content {
            Content::None => {}
            Content::Json => drop(headers.insert(CONTENT_TYPE, JSON)),
            Content::Csv => drop(headers.insert(CONTENT_TYPE, CSV)),
            Content::Metrics => drop(headers.insert(CONTENT_TYPE, PLAIN)),
        }
        if self.replayed {
            headers.insert(REPLAYED, TRUE);
        }
        headers.extend(self.extra);
        // Only what is for everybody says otherwise.
        headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
        headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        headers.insert(REQUEST_ID, request_id);
        answer
    }
}

/// The answer for a problem.
pub(crate) fn refusal(problem: &Problem, amounts: AmountStyle, request_id: HeaderValue) -> Answer {
    let row = problem.kind.row();
    let mut writer = Writer::new(512, amounts);
    // Ids are either made here or were checked to be of harmless characters.
    problem.write(&mut writer, Some(request_id.to_str().unwrap_or("")));
    let mut answer = Reply::json(row.status, writer).into_response(request_id);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, NO_CONTENT);
    headers.extend(problem.headers.iter().cloned());
    // What is left of such a request on the connection cannot be told from the next one.
    if matches!(
        problem.kind,
        Kind::RequestTimeout
            | Kind::BodyTooLarge
            | Kind::MalformedHttp
            | Kind::HeadTooLarge
            | Kind::TargetTooLong
    ) {
        headers.insert(CONNECTION, CLOSE);
    }
    answer
}

/// Asks the client not to use the connection again.
pub(crate) fn close_after(answer: &mut Answer) {
    answer.headers_mut().insert(CONNECTION, CLOSE);
}

/// A refusal as raw bytes, for a connection that hyper no longer serves.
pub(crate) fn raw_refusal(problem: &Problem, request_id: HeaderValue) -> Vec<u8> {
    let mut writer = Writer::new(512, AmountStyle::Number);
    problem.write(&mut writer, Some(request_id.to_str().unwrap_or("")));
    let body = writer.finish();
    let answer = refusal(problem, AmountStyle::Number, request_id);
    let status = answer.status();
    let mut raw =
        format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("")).into_bytes();
    for (name, value) in answer.headers() {
        if name != CONNECTION {
            raw.extend_from_slice(name.as_str().as_bytes());
            raw.extend_from_slice(b": ");
            raw.extend_from_slice(value.as_bytes());
            raw.extend_from_slice(b"\r\n");
        }
    }
    raw.extend_from_slice(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
    raw.extend_from_slice(&body);
    raw
}

#[cfg(test)]
mod tests {
    use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};

    use super::*;

    #[test]
    fn refusals_carry_the_headers_of_their_kind() {
        let id = HeaderValue::from_static("req_1");
        for kind in Kind::ALL {
            let problem = Problem::new(kind);
            let answer = refusal(&problem, AmountStyle::Number, id.clone());
            let headers = answer.headers();
            assert_eq!(answer.status(), kind.row().status);
            assert_eq!(headers[REQUEST_ID], "req_1");
            assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert_eq!(headers[CACHE_CONTROL], "no-store");
            assert!(headers.contains_key(CONTENT_SECURITY_POLICY));
            let status = answer.status().as_u16();
            assert_eq!(headers.contains_key(RETRY_AFTER), matches!(status, 429 | 503), "{kind:?}");
            assert_eq!(headers.contains_key(WWW_AUTHENTICATE), status == 401, "{kind:?}");
        }
    }

    #[test]
    fn raw_refusals_are_whole_http_answers() {
        let raw = raw_refusal(&Problem::new(Kind::HeadTooLarge), HeaderValue::from_static("req_1"));
        let text = String::from_utf8(raw).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
        assert_eq!(head.matches("connection: ").count(), 1);
        assert!(head.contains("x-request-id: req_1"));
        let json: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(json["error"]["code"], "AP-2004");
    }
}
