//! What parties and operators send about disputes.

use http::HeaderMap;
use ledger::{DisputeMove, EVIDENCE_BYTES_MAX, PaymentId};

use super::super::payments::prose;
use crate::{
    errors::Problem,
    idempotency::{self, Fingerprint},
    json::read::{self, Reader, Slot},
    text,
};

/// Characters of a reason code or of a kind of evidence: tags, not texts.
const CODE_CHARS_MAX: usize = 64;

/// A dispute to open.
#[derive(Debug)]
pub(super) struct OpenRequest {
    pub(super) payment: PaymentId,
    pub(super) reason: Box<str>,
    pub(super) description: Option<Box<str>>,
    pub(super) key: Option<String>,
}

impl OpenRequest {
    const FIELDS: &'static [&'static str] = &["payment_id", "reason", "description", "idempotency_key"];

    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let (mut payment, mut reason) = (Slot::Missing, Slot::Missing);
        let (mut description, mut key) = (Slot::Missing, Slot::Missing);
        Ok(Reader::document(body, |r| {
            r.object(|r, field| match field {
                "payment_id" => payment.set(r, payment_id),
                "reason" => reason.set(r, code),
                "description" => description.set(r, prose),
                "idempotency_key" => key.set(r, |r| r.string().map(String::from)),
                other => Err(r.unknown_field(other, Self::FIELDS)),
            })?;
            Ok(Self {
                payment: payment.required(r, "payment_id")?,
                reason: reason.required(r, "reason")?,
                description: description.optional(),
                key: key.optional(),
            })
        })?)
    }

    pub(super) fn fingerprint(&self) -> u64 {
        let mut fingerprint = Fingerprint::new();
        fingerprint.text(Some(&self.reason)).text(self.description.as_deref()).finish()
    }
}

/// A piece of evidence.
#[derive(Debug)]
pub(super) struct EvidenceRequest {
    pub(super) category: Box<str>,
    pub(super) content: Box<str>,
    pub(super) key: Option<String>,
}

impl EvidenceRequest {
    const FIELDS: &'static [&'static str] = &["type", "content", "idempotency_key"];

    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let (mut category, mut content, mut key) = (Slot::Missing, Slot::Missing, Slot::Missing);
        Ok(Reader::document(body, |r| {
            r.object(|r, field| match field {
                "type" => category.set(r, code),
                "content" => content.set(r, evidence),
                "idempotency_key" => key.set(r, |r| r.string().map(String::from)),
                other => Err(r.unknown_field(other, Self::FIELDS)),
            })?;
            Ok(Self {
                category: category.required(r, "type")?,
                content: content.required(r, "content")?,
                key: key.optional(),
            })
        })?)
    }

    pub(super) fn fingerprint(&self) -> u64 {
        Fingerprint::new().text(Some(&self.category)).text(Some(&self.content)).finish()
    }
}

/// How an operator ends a dispute.
#[derive(Debug)]
pub(super) struct ResolveRequest {
    /// One of the two that resolve.
    pub(super) outcome: DisputeMove,
    pub(super) note: Option<Box<str>>,
}

impl ResolveRequest {
    const FIELDS: &'static [&'static str] = &["outcome", "note", "idempotency_key"];

    pub(super) fn parse(body: &[u8], headers: &HeaderMap) -> Result<Self, Problem> {
        let (mut outcome, mut note, mut key) = (Slot::Missing, Slot::Missing, Slot::Missing);
        let (request, key) = Reader::document(body, |r| {
            r.object(|r, field| match field {
                "outcome" => outcome.set(r, resolution),
                "note" => note.set(r, prose),
                "idempotency_key" => key.set(r, Reader::string),
                other => Err(r.unknown_field(other, Self::FIELDS)),
            })?;
            Ok((Self { outcome: outcome.required(r, "outcome")?, note: note.optional() }, key.optional()))
        })?;
        // A dispute ends once, so the key only has to be well-formed.
        idempotency::key(headers, key)?;
        Ok(request)
    }
}

/// The note that an operator may leave with a review.
pub(super) fn note(body: &[u8], headers: &HeaderMap) -> Result<Option<Box<str>>, Problem> {
    const FIELDS: &[&str] = &["note", "idempotency_key"];
    let (mut note, mut key) = (Slot::Missing, Slot::Missing);
    let (note, key) = Reader::document(body, |r| {
        r.object(|r, field| match field {
            "note" => note.set(r, prose),
            "idempotency_key" => key.set(r, Reader::string),
            other => Err(r.unknown_field(other, FIELDS)),
        })?;
        Ok((note.optional(), key.optional()))
    })?;
    // A dispute is taken up once, so the key only has to be well-formed.
    idempotency::key(headers, key)?;
    Ok(note)
}

fn payment_id(reader: &mut Reader<'_>) -> read::Result<PaymentId> {
    let text = reader.string()?;
    text.parse().map_err(|_| {
        reader.invalid("Must be a payment id: tx_ and 26 characters, as answered when the payment was made.")
    })
}

fn code(reader: &mut Reader<'_>) -> read::Result<Box<str>> {
    let text = reader.string()?;
    text::line(text, CODE_CHARS_MAX).map_err(|advice| reader.invalid(advice))
}

/// Evidence is kept as it was sent: it may be a log with anything in it.
fn evidence(reader: &mut Reader<'_>) -> read::Result<Box<str>> {
    let text = reader.string()?;
    if text.is_empty() {
        return Err(reader.invalid("Must not be empty. Send the text, or binary data in base64."));
    }
    if text.len() > EVIDENCE_BYTES_MAX {
        let message = format!(
            "Has {} bytes; at most {EVIDENCE_BYTES_MAX} are taken. Send the part that matters, or several pieces.",
            text.len()
        );
        return Err(reader.invalid(message));
    }
    Ok(text.into())
}

fn resolution(reader: &mut Reader<'_>) -> read::Result<DisputeMove> {
    let text = reader.string()?;
    match &*text {
        "refunded" => Ok(DisputeMove::Refund),
        "denied" => Ok(DisputeMove::Deny),
        _ => Err(reader.invalid("Must be one of: refunded, denied.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Detail;

    const PAYMENT: &str = "tx_00000000000000000000000009";

    #[track_caller]
    fn refused<T: std::fmt::Debug>(parsed: Result<T, Problem>, path: &str) {
        let problem = parsed.expect_err(path);
        assert_eq!(problem.details[0], ("path", Detail::Text(path.to_owned().into())), "{}", problem.message);
    }

    #[test]
    fn the_guides_dispute_is_understood() {
        let body = format!(
            r#"{{"payment_id": "{PAYMENT}", "reason": "service_not_delivered",
                "description": "Provider returned 503 after token was consumed"}}"#
        );
        let request = OpenRequest::parse(body.as_bytes()).expect("the guide is right");
        assert_eq!(request.payment.to_string(), PAYMENT);
        assert_eq!(&*request.reason, "service_not_delivered");
        assert!(request.description.is_some() && request.key.is_none());
        for (members, path) in [
            (r#""reason":"r""#.to_owned(), "$.payment_id"),
            (format!(r#""payment_id":"{PAYMENT}""#), "$.reason"),
            (format!(r#""payment_id":"{PAYMENT}","reason":"""#), "$.reason"),
            (format!(r#""payment_id":"{PAYMENT}","reason":"{}""#, "r".repeat(65)), "$.reason"),
            (r#""payment_id":"tx_1","reason":"r""#.to_owned(), "$.payment_id"),
            (format!(r#""payment_id":"{PAYMENT}","reason":"r","amount":1"#), "$.amount"),
        ] {
            refused(OpenRequest::parse(format!("{{{members}}}").as_bytes()), path);
        }
    }

    #[test]
    fn the_guides_evidence_is_understood_and_bounded() {
        let body =
            r#"{"type": "log_excerpt", "content": "HTTP 503 at 2026-05-08T11:59:01Z — no response body"}"#;
        let request = EvidenceRequest::parse(body.as_bytes()).expect("the guide is right");
        assert_eq!(&*request.category, "log_excerpt");
        assert!(request.content.starts_with("HTTP 503"));
        let sized = |bytes: usize| format!(r#"{{"type":"t","content":"{}"}}"#, "x".repeat(bytes));
        assert!(EvidenceRequest::parse(sized(EVIDENCE_BYTES_MAX).as_bytes()).is_ok());
        refused(EvidenceRequest::parse(sized(EVIDENCE_BYTES_MAX + 1).as_bytes()), "$.content");
        refused(EvidenceRequest::parse(sized(0).as_bytes()), "$.content");
        refused(EvidenceRequest::parse(br#"{"content":"x"}"#), "$.type");
        refused(EvidenceRequest::parse(br#"{"type":"t"}"#), "$.content");
    }

    #[test]
    fn operators_resolve_for_either_side() {
        let parse = |body: &str| ResolveRequest::parse(body.as_bytes(), &HeaderMap::new());
        let refunded = parse(r#"{"outcome":"refunded","note":"seen"}"#).expect("valid");
        assert_eq!((refunded.outcome, refunded.note.as_deref()), (DisputeMove::Refund, Some("seen")));
        assert_eq!(parse(r#"{"outcome":"denied"}"#).expect("valid").outcome, DisputeMove::Deny);
        refused(parse("{}"), "$.outcome");
        refused(parse(r#"{"outcome":"withdrawn"}"#), "$.outcome");
        refused(parse(r#"{"outcome":"denied","why":"x"}"#), "$.why");
        let headers = HeaderMap::new();
        assert_eq!(note(b"{}", &headers).expect("valid"), None);
        assert_eq!(note(br#"{"note":"mine"}"#, &headers).expect("valid").as_deref(), Some("mine"));
        refused(note(br#"{"notes":"x"}"#, &headers), "$.notes");
    }
}
