//! What is sent about webhooks.

use ledger::{EventKind, PatchWebhookCommand, Timestamp, WEBHOOK_EVENTS_MAX};
use webhooks::{Reach, Target};

use crate::{
    errors::Problem,
    idempotency::Fingerprint,
    json::read::{self, Reader, Slot},
    text,
};

/// Time for which the old secret signs too when nothing is said: a day, to change it on the other side.
const OVERLAP_SECONDS_DEFAULT: u64 = 24 * 3_600;
const OVERLAP_SECONDS_MAX: u64 = 7 * 24 * 3_600;

/// A webhook to create.
#[derive(Debug)]
pub(super) struct NewWebhook {
    pub(super) url: Box<str>,
    pub(super) events: Vec<Box<str>>,
    pub(super) description: Option<Box<str>>,
    pub(super) key: Option<String>,
}

impl NewWebhook {
    const FIELDS: &'static [&'static str] = &["url", "events", "description", "idempotency_key"];

    pub(super) fn parse(body: &[u8], reach: Reach) -> Result<Self, Problem> {
        let (mut url_slot, mut events_slot) = (Slot::Missing, Slot::Missing);
        let (mut description, mut key) = (Slot::Missing, Slot::Missing);
        Ok(Reader::document(body, |r| {
            r.object(|r, field| match field {
                "url" => url_slot.set(r, |r| url(r, reach)),
                "events" => events_slot.set(r, events),
                "description" => description.set(r, prose),
                "idempotency_key" => key.set(r, |r| r.string().map(String::from)),
                other => Err(r.unknown_field(other, Self::FIELDS)),
            })?;
            Ok(Self {
                url: url_slot.required(r, "url")?,
                events: events_slot.required(r, "events")?,
                description: description.optional(),
                key: key.optional(),
            })
        })?)
    }

    pub(super) fn fingerprint(&self) -> u64 {
        let mut fingerprint = Fingerprint::new();
        fingerprint.text(Some(&self.url)).text(self.description.as_deref()).number(self.events.len() as u64);
        for event in &self.events {
            fingerprint.text(Some(event));
        }
        fingerprint.finish()
    }
}

/// Reads a change. A member that is not there leaves the webhook as it is; null removes a description.
pub(super) fn patch(body: &[u8], reach: Reach, at: Timestamp) -> Result<PatchWebhookCommand, Problem> {
    const FIELDS: &[&str] = &["url", "events", "description", "status"];
    let (mut url_slot, mut events_slot) = (Slot::Missing, Slot::Missing);
    let (mut description, mut status) = (Slot::Missing, Slot::Missing);
    Ok(Reader::document(body, |r| {
        r.object(|r, field| match field {
            "url" => url_slot.set(r, |r| url(r, reach)),
            "events" => events_slot.set(r, events),
            "description" => description.set(r, prose),
            "status" => status.set(r, is_active),
            "secret" => Err(r.invalid("A secret is drawn by the node: POST …/rotate-secret.")),
            other => Err(r.unknown_field(other, FIELDS)),
        })?;
        Ok(PatchWebhookCommand {
            url: url_slot.never_null(r, "url")?,
            events: events_slot.never_null(r, "events")?,
            description: match description {
                Slot::Missing => None,
                Slot::Null => Some(None),
                Slot::Value(text) => Some(Some(text)),
            },
            enabled: status.never_null(r, "status")?,
            at,
        })
    })?)
}

/// Reads a rotation: overlap in seconds, and the idempotency key.
pub(super) fn rotation(body: &[u8]) -> Result<(u64, Option<String>), Problem> {
    let (mut overlap, mut key) = (Slot::Missing, Slot::Missing);
    Ok(Reader::document(body, |r| {
        r.object(|r, field| match field {
            "overlap_seconds" => overlap.set(r, |r| match r.whole_number()? {
                seconds if seconds <= OVERLAP_SECONDS_MAX => Ok(seconds),
                _ => Err(r.invalid(format!("Must be at most {OVERLAP_SECONDS_MAX} (7 days)."))),
            }),
            "idempotency_key" => key.set(r, |r| r.string().map(String::from)),
            other => Err(r.unknown_field(other, &["overlap_seconds", "idempotency_key"])),
        })?;
        Ok((overlap.optional().unwrap_or(OVERLAP_SECONDS_DEFAULT), key.optional()))
    })?)
}

fn url(reader: &mut Reader<'_>, reach: Reach) -> read::Result<Box<str>> {
    let text = reader.string()?;
    Target::parse(&text, reach).map(|target| target.url).map_err(|advice| reader.invalid(advice))
}

fn prose(reader: &mut Reader<'_>) -> read::Result<Box<str>> {
    let text = reader.string()?;
    text::prose(text, text::DESCRIPTION_CHARS_MAX).map_err(|advice| reader.invalid(advice))
}

fn events(reader: &mut Reader<'_>) -> read::Result<Vec<Box<str>>> {
    let mut events: Vec<Box<str>> = Vec::new();
    reader.array(|r, _| {
        let text = r.string()?;
        if !EventKind::is_filter(&text) {
            return Err(r.invalid(
                "There is no such event. Name one, such as payment.completed, or a family, such as payment.*.",
            ));
        }
        if events.iter().any(|event| **event == *text) {
            return Err(r.invalid("The event is there twice. Send it once."));
        }
        events.push(text.into());
        Ok(())
    })?;
    if events.is_empty() {
        return Err(reader.invalid("Must name at least one event."));
    }
    // Without repetitions there are never more than there are events and families.
    assert!(events.len() <= WEBHOOK_EVENTS_MAX, "more filters than events");
    Ok(events)
}

fn is_active(reader: &mut Reader<'_>) -> read::Result<bool> {
    match &*reader.string()? {
        "active" => Ok(true),
        "disabled" => Ok(false),
        _ => Err(reader.invalid("Must be \"active\" or \"disabled\".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Detail;

    const NOW: Timestamp = Timestamp::from_millis(1_778_241_600_000);

    fn path(problem: &Problem) -> Detail {
        problem.details[0].1.clone()
    }

    #[test]
    fn the_guides_registration_is_understood() {
        let body = br#"{"url": "https://example.com/agentpay/webhooks", "events": ["payment.completed", "payment.refunded"]}"#;
        let request = NewWebhook::parse(body, Reach::Global).expect("valid");
        assert_eq!(&*request.url, "https://example.com/agentpay/webhooks");
        assert_eq!(request.events, ["payment.completed".into(), "payment.refunded".into()]);
        assert_eq!((request.description, request.key), (None, None));
    }

    #[test]
    fn wrong_registrations_name_the_field() {
        let url = r#""url":"https://a.example.com/""#;
        for (members, expected) in [
            (r#""events":["payment.*"]"#.to_owned(), "$.url"),
            (url.to_owned(), "$.events"),
            (format!(r#"{url},"events":[]"#), "$.events"),
            (format!(r#"{url},"events":["payment.done"]"#), "$.events[0]"),
            (format!(r#"{url},"events":["payment.*","*"]"#), "$.events[1]"),
            (format!(r#"{url},"events":["token.*","token.*"]"#), "$.events[1]"),
            (format!(r#"{url},"events":["webhook.test"]"#), "$.events[0]"),
            (format!(r#"{url},"events":"payment.*""#), "$.events"),
            (format!(r#"{url},"events":["payment.*"],"description":"\u0000""#), "$.description"),
            (format!(r#"{url},"events":["payment.*"],"secret":"whsec_x""#), "$.secret"),
            (r#""url":"http://a.example.com/","events":["payment.*"]"#.to_owned(), "$.url"),
            (r#""url":"https://169.254.169.254/","events":["payment.*"]"#.to_owned(), "$.url"),
            (r#""url":"https://localhost/","events":["payment.*"]"#.to_owned(), "$.url"),
        ] {
            let body = format!("{{{members}}}");
            let problem = NewWebhook::parse(body.as_bytes(), Reach::Global).expect_err(&body);
            assert_eq!(path(&problem), Detail::Text(expected.into()), "{body}: {}", problem.message);
        }
    }

    #[test]
    fn every_filter_at_once_fits() {
        let names: Vec<String> =
            EventKind::ALL[1..].iter().map(|kind| format!("{:?}", kind.name())).collect();
        let families = ["payment", "wallet", "token", "dispute", "payout", "service", "policy"]
            .map(|f| format!("\"{f}.*\""));
        let body = format!(
            r#"{{"url":"https://a.example.com/","events":[{},{}]}}"#,
            names.join(","),
            families.join(",")
        );
        assert!(NewWebhook::parse(body.as_bytes(), Reach::Global).expect("valid").events.len() > 30);
    }

    #[test]
    fn a_change_says_only_what_changes() {
        let read = |body: &str| patch(body.as_bytes(), Reach::Global, NOW);
        assert_eq!(read("{}"), Ok(PatchWebhookCommand { at: NOW, ..Default::default() }));
        let change = read(r#"{"description":null,"status":"disabled","events":["token.*"]}"#).expect("valid");
        assert_eq!((change.description, change.enabled), (Some(None), Some(false)));
        assert_eq!(change.events, Some(vec!["token.*".into()]));
        for (body, expected) in [
            (r#"{"url":null}"#, "$.url"),
            (r#"{"events":null}"#, "$.events"),
            (r#"{"status":"paused"}"#, "$.status"),
            (r#"{"secret":"x"}"#, "$.secret"),
            (r#"{"idempotency_key":"k"}"#, "$.idempotency_key"),
        ] {
            assert_eq!(path(&read(body).expect_err(body)), Detail::Text(expected.into()), "{body}");
        }
    }

    #[test]
    fn overlap_is_a_day_or_what_is_said_within_a_week() {
        assert_eq!(rotation(b"{}"), Ok((86_400, None)));
        assert_eq!(
            rotation(br#"{"overlap_seconds":0,"idempotency_key":"k"}"#),
            Ok((0, Some("k".to_owned())))
        );
        for body in
            [r#"{"overlap_seconds":604801}"#, r#"{"overlap_seconds":-1}"#, r#"{"overlap_seconds":"1"}"#]
        {
            let problem = rotation(body.as_bytes()).expect_err(body);
            assert_eq!(path(&problem), Detail::Text("$.overlap_seconds".into()), "{body}");
        }
    }
}
