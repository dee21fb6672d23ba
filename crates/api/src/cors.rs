//! Cross-origin answers, for configured origins only; never for all, never with credentials.

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, ORIGIN,
        VARY,
    },
};

use crate::respond::{Answer, Reply};

const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, x-payment-token, x-request-id, accept",
);
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, idempotent-replayed, retry-after, ratelimit-limit, ratelimit-remaining, ratelimit-reset",
);
const ONE_HOUR: HeaderValue = HeaderValue::from_static("3600");
const VARY_ORIGIN: HeaderValue = HeaderValue::from_static("origin");

/// The origins that browsers may call from.
pub(crate) struct Cors {
    origins: Vec<HeaderValue>,
}

impl Cors {
    /// Takes validated origins.
    pub(crate) fn new(origins: &[String]) -> Self {
        let origins =
            origins.iter().map(|origin| HeaderValue::from_str(origin).expect("validated with the settings"));
        Self { origins: origins.collect() }
    }

    fn allowed(&self, origin: Option<&HeaderValue>) -> Option<&HeaderValue> {
        self.origins.iter().find(|known| Some(*known) == origin)
    }

    /// Adds what a browser needs to see the answer. Costs one lookup when no origin is configured.
    pub(crate) fn decorate(&self, origin: Option<&HeaderValue>, answer: &mut Answer) {
        if self.origins.is_empty() {
            return;
        }
        let headers = answer.headers_mut();
        headers.insert(VARY, VARY_ORIGIN);
        if let Some(origin) = self.allowed(origin) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }

    /// The answer to `OPTIONS` on a path with these methods.
    pub(crate) fn options(&self, request: &HeaderMap, allow: &HeaderValue) -> Reply {
        let mut reply = Reply::empty(StatusCode::NO_CONTENT);
        reply.extra.push((ALLOW, allow.clone()));
        if request.contains_key(ACCESS_CONTROL_REQUEST_METHOD) && self.allowed(request.get(ORIGIN)).is_some()
        {
            reply.extra.extend([
                (ACCESS_CONTROL_ALLOW_METHODS, allow.clone()),
                (ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
                (ACCESS_CONTROL_MAX_AGE, ONE_HOUR),
            ]);
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(origin: &'static str) -> HeaderMap {
        HeaderMap::from_iter([
            (ORIGIN, HeaderValue::from_static(origin)),
            (ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST")),
        ])
    }

    #[test]
    fn only_configured_origins_are_answered() {
        let cors = Cors::new(&["https://demo.example".to_owned()]);
        let allow = HeaderValue::from_static("POST, OPTIONS");
        for (origin, allowed) in [
            ("https://demo.example", true),
            ("https://demo.example.evil.example", false),
            ("http://demo.example", false),
            ("null", false),
        ] {
            let headers = request(origin);
            let mut answer = cors.options(&headers, &allow).into_response(HeaderValue::from_static("r"));
            cors.decorate(headers.get(ORIGIN), &mut answer);
            assert_eq!(answer.headers()[ALLOW], "POST, OPTIONS");
            assert_eq!(answer.headers()[VARY], "origin");
            let origin_header = answer.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(origin_header.is_some_and(|value| value == origin), allowed, "{origin}");
            assert_eq!(answer.headers().contains_key(ACCESS_CONTROL_ALLOW_METHODS), allowed, "{origin}");
            assert!(!answer.headers().contains_key("access-control-allow-credentials"));
        }
        let closed = Cors::new(&[]);
        let mut answer = closed
            .options(&request("https://demo.example"), &allow)
            .into_response(HeaderValue::from_static("r"));
        closed.decorate(None, &mut answer);
        assert!(!answer.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    }
}
