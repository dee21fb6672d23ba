//! Errors as callers see them.
//!
//! A [`Problem`] is one outcome of the closed list in [`kind`], with what is particular about this case. Denials of the
//! ledger and refusals of the engine are turned into problems in [`refusals`], exhaustively: a new variant does not
//! compile until it has a row. Messages are written for people and models alike: they say what to do next.

mod kind;
mod refusals;
mod token_state;

use std::borrow::Cow;

use http::{
    HeaderName, HeaderValue,
    header::{RETRY_AFTER, WWW_AUTHENTICATE},
};
use ledger::{Amount, Timestamp};

pub(crate) use self::{kind::Kind, refusals::status_name};
use crate::{
    json::{read::Invalid, write::Writer},
    limits::Exhausted,
};

const RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RATELIMIT_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// One value of `details`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    Amount(Amount),
    Number(u64),
    Text(Cow<'static, str>),
    Time(Timestamp),
}

/// A request that did not get its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    pub(crate) message: Cow<'static, str>,
    pub(crate) details: Vec<(&'static str, Detail)>,
    /// Overrides the table where the same kind of case can differ.
    pub(crate) retryable: bool,
    /// What to do next; the table's unless something more exact is known.
    pub(crate) next_actions: &'static [&'static str],
    /// Headers of this answer, such as `Allow` or `Retry-After`.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem with the table's own message.
    pub(crate) fn new(kind: Kind) -> Self {
        let row = kind.row();
        let headers = match row.status.as_u16() {
            401 => vec![(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))],
            429 | 503 => vec![(RETRY_AFTER, HeaderValue::from_static("1"))],
            _ => Vec::new(),
        };
        Self {
            kind,
            message: Cow::Borrowed(row.message),
            details: Vec::new(),
            retryable: row.retryable,
            next_actions: row.next_actions,
            headers,
        }
    }

    /// An empty bucket, found at `now`.
    pub(crate) fn rate_limited(rate: Exhausted, now: Timestamp) -> Self {
        let reset_at = now.saturating_add_millis(rate.reset_after_ms);
        let mut problem = Self::new(Kind::RateLimited)
            .with("limit", Detail::Number(rate.limit.into()))
            .with("retry_after_ms", Detail::Number(rate.retry_after_ms))
            .with("reset_at", Detail::Time(reset_at));
        problem.headers = vec![
            (RETRY_AFTER, HeaderValue::from(rate.retry_after_ms.div_ceil(1_000).max(1))),
            (RATELIMIT_LIMIT, HeaderValue::from(rate.limit)),
            (RATELIMIT_REMAINING, HeaderValue::from(0)),
            (RATELIMIT_RESET, HeaderValue::from(rate.reset_after_ms.div_ceil(1_000))),
        ];
        problem
    }

    /// A request that is wrong at `path`.
    pub(crate) fn invalid(path: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::InvalidRequest).saying(message).with("path", Detail::Text(path.into()))
    }

    /// Replaces the message.
    pub(crate) fn saying(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = message.into();
        self
    }

    /// Replaces the next actions.
    pub(crate) fn advising(mut self, next_actions: &'static [&'static str]) -> Self {
        self.next_actions = next_actions;
        self
    }

    /// Adds a member of `details`.
    pub(crate) fn with(mut self, name: &'static str, detail: Detail) -> Self {
        self.details.push((name, detail));
        self
    }

    pub(crate) fn with_amount(self, name: &'static str, amount: Amount) -> Self {
        self.with(name, Detail::Amount(amount))
    }

    pub(crate) fn with_text(self, name: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        self.with(name, Detail::Text(text.into()))
    }

    /// Writes the members of the answer: `{"error":{…}}`, with the request's id when it stands alone.
    pub(crate) fn write(&self, writer: &mut Writer, request_id: Option<&str>) {
        let row = self.kind.row();
        writer.object(|w| {
            w.name("error").object(|w| {
                w.name("code").plain(row.code);
                w.name("message").string(&self.message);
                w.name("retryable").boolean(self.retryable);
                w.name("details").object(|w| {
                    if let Some(reason) = row.reason {
                        w.name("reason").plain(reason);
                    }
                    for (name, detail) in &self.details {
                        let w = w.name(name);
                        match detail {
                            Detail::Amount(amount) => w.amount(*amount),
                            Detail::Number(number) => w.integer(*number),
                            Detail::Text(text) => w.string(text),
                            Detail::Time(at) => w.timestamp(*at),
                        }
                    }
                });
                w.name("next_actions").array(|w| {
                    for action in self.next_actions {
                        w.string(action);
                    }
                });
            });
            if let Some(id) = request_id {
                w.name("request_id").plain(id);
            }
        });
    }
}

impl From<Box<Invalid>> for Problem {
    fn from(invalid: Box<Invalid>) -> Self {
        Self::invalid(invalid.path, invalid.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::write::AmountStyle;

    #[test]
    fn an_empty_bucket_says_when_to_come_back() {
        let exhausted = Exhausted { limit: 30, retry_after_ms: 1_500, reset_after_ms: 60_000 };
        let problem = Problem::rate_limited(exhausted, Timestamp::from_millis(0));
        let header = |name: &str| {
            problem.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        for (name, value) in [
            ("retry-after", "2"),
            ("ratelimit-limit", "30"),
            ("ratelimit-remaining", "0"),
            ("ratelimit-reset", "60"),
        ] {
            assert_eq!(header(name).expect(name), value, "{name}");
        }
        assert!(problem.details.contains(&("reset_at", Detail::Time(Timestamp::from_millis(60_000)))));
    }

    #[test]
    fn a_problem_has_the_shape_of_the_contract() {
        let problem = Problem::new(Kind::InsufficientBalance)
            .with_amount("available", Amount::parse("1.5").expect("an amount"))
            .with("item", Detail::Number(3))
            .with_text("path", "$.a[\"b\"]");
        let mut writer = Writer::new(64, AmountStyle::Number);
        problem.write(&mut writer, Some("req_1"));
        let json: serde_json::Value = serde_json::from_slice(&writer.finish()).expect("JSON");
        assert_eq!(json["request_id"], "req_1");
        let error = &json["error"];
        assert_eq!(error["code"], "AP-1001");
        assert_eq!(error["retryable"], true);
        assert_eq!(error["details"]["reason"], "insufficient_balance");
        assert_eq!(error["details"]["available"], 1.5);
        assert_eq!(error["details"]["item"], 3);
        assert_eq!(error["details"]["path"], "$.a[\"b\"]");
        assert_eq!(error["next_actions"].as_array().map(Vec::len), Some(2));
    }
}
