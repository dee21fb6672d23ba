//! What providers send about their services: registration and changes.

use engine::{RegisterService, ServicePatch};
use ledger::{Amount, Currency, ServiceStatus, ServiceTerms, Sla, Timestamp, WalletId};

use super::super::{currency, name, payments::prose, wallet_id};
use crate::{
    errors::Problem,
    idempotency::Fingerprint,
    json::{
        raw::RawObject,
        read::{self, Reader, Slot},
    },
    text,
    x402::endpoint,
};

/// Characters of a category: a tag, not a text.
const CATEGORY_CHARS_MAX: usize = 64;

/// A service to register.
#[derive(Debug)]
pub(super) struct NewService {
    name: Box<str>,
    price: Amount,
    fields: Fields,
    currency: Option<Currency>,
    wallet: Option<WalletId>,
    pub(super) key: Option<String>,
}

/// What registration and change have in common. `Some(None)` was sent as null.
#[derive(Debug, Default)]
struct Fields {
    description: Option<Option<Box<str>>>,
    category: Option<Option<Box<str>>>,
    endpoint_url: Option<Option<Box<str>>>,
    sla: Option<Option<Sla>>,
    metadata: Option<Option<RawObject>>,
}

impl NewService {
    const FIELDS: &'static [&'static str] = &[
        "name",
        "description",
        "price_per_call",
        "currency",
        "category",
        "endpoint_url",
        "sla",
        "metadata",
        "wallet_id",
        "idempotency_key",
    ];

    pub(super) fn parse(body: &[u8], metadata_bytes_max: usize) -> Result<Self, Problem> {
        let (mut name_slot, mut price, mut currency_slot) = (Slot::Missing, Slot::Missing, Slot::Missing);
        let (mut wallet, mut key) = (Slot::Missing, Slot::Missing);
        let mut slots = FieldSlots::default();
        Ok(Reader::document(body, |r| {
            r.object(|r, field| match field {
                "name" => name_slot.set(r, name),
                "price_per_call" => price.set(r, Reader::amount),
                "currency" => currency_slot.set(r, currency),
                "wallet_id" => wallet.set(r, wallet_id),
                "idempotency_key" => key.set(r, |r| r.string().map(String::from)),
                other => slots.set(r, other, metadata_bytes_max, Self::FIELDS),
            })?;
            Ok(Self {
                name: name_slot.required(r, "name")?,
                price: price.required(r, "price_per_call")?,
                fields: slots.fields(),
                currency: currency_slot.optional(),
                wallet: wallet.optional(),
                key: key.optional(),
            })
        })?)
    }

    pub(super) fn fingerprint(&self, default_currency: Currency) -> u64 {
        let fields = &self.fields;
        let mut fingerprint = Fingerprint::new();
        fingerprint
            .text(Some(&self.name))
            .amount(self.price)
            .text(Some(self.currency.unwrap_or(default_currency).as_str()))
            .number(u64::from(self.wallet.is_some()))
            .id(self.wallet.map_or(0, WalletId::raw));
        for text in [&fields.description, &fields.category, &fields.endpoint_url] {
            fingerprint.text(text.as_ref().and_then(Option::as_deref));
        }
        let sla = fields.sla.flatten();
        fingerprint.number(sla.map_or(0, |sla| sla.window_ms).into());
        fingerprint.number(sla.and_then(|sla| sla.accept_within_ms).unwrap_or(0).into());
        match &fields.metadata {
            Some(Some(metadata)) => fingerprint.number(1).number(metadata.meaning),
            Some(None) | None => fingerprint.number(0),
        };
        fingerprint.finish()
    }

    pub(super) fn command(
        self,
        default_currency: Currency,
        key: Option<ledger::KeyUse>,
        at: Timestamp,
    ) -> RegisterService {
        let fields = self.fields;
        let terms = ServiceTerms {
            name: self.name,
            description: fields.description.flatten(),
            price: self.price,
            currency: self.currency.unwrap_or(default_currency),
            category: fields.category.flatten(),
            endpoint_url: fields.endpoint_url.flatten(),
            sla: fields.sla.flatten(),
            metadata: fields.metadata.flatten().map(|metadata| metadata.text),
        };
        RegisterService { terms, wallet: self.wallet, key, at }
    }
}

/// Reads a change of a service. A member that is not there leaves the service as it is; null removes what may be absent.
pub(super) fn patch(body: &[u8], metadata_bytes_max: usize, at: Timestamp) -> Result<ServicePatch, Problem> {
    const FIELDS: &[&str] =
        &["name", "description", "price_per_call", "category", "endpoint_url", "sla", "metadata", "status"];
    let (mut name_slot, mut price, mut status) = (Slot::Missing, Slot::Missing, Slot::Missing);
    let mut slots = FieldSlots::default();
    Ok(Reader::document(body, |r| {
        r.object(|r, field| match field {
            "name" => name_slot.set(r, name),
            "price_per_call" => price.set(r, Reader::amount),
            "status" => status.set(r, service_status),
            "currency" | "wallet_id" => {
                Err(r.invalid("Never changes. Register another service, and deactivate this one."))
            }
            other => slots.set(r, other, metadata_bytes_max, FIELDS),
        })?;
        let fields = slots.fields();
        Ok(ServicePatch {
            name: name_slot.never_null(r, "name")?,
            description: fields.description,
            price: price.never_null(r, "price_per_call")?,
            category: fields.category,
            endpoint_url: fields.endpoint_url,
            sla: fields.sla,
            metadata: fields.metadata.map(|metadata| metadata.map(|metadata| metadata.text)),
            status: status.never_null(r, "status")?,
            at,
        })
    })?)
}

/// Reads whether an operator vouches for a service; without a word, it does.
pub(super) fn judgement(body: &[u8], headers: &http::HeaderMap) -> Result<bool, Problem> {
    let (mut verified, mut key) = (Slot::Missing, Slot::Missing);
    let (verified, key) = Reader::document(body, |r| {
        r.object(|r, field| match field {
            "verified" => verified.set(r, Reader::boolean),
            "idempotency_key" => key.set(r, Reader::string),
            other => Err(r.unknown_field(other, &["verified", "idempotency_key"])),
        })?;
        Ok((verified.never_null(r, "verified")?, key.optional()))
    })?;
    // Setting a state twice is setting it once, so the key only has to be well-formed.
    crate::idempotency::key(headers, key)?;
    Ok(verified.unwrap_or(true))
}

struct FieldSlots {
    description: Slot<Box<str>>,
    category: Slot<Box<str>>,
    endpoint_url: Slot<Box<str>>,
    sla: Slot<Sla>,
    metadata: Slot<RawObject>,
}

impl Default for FieldSlots {
    fn default() -> Self {
        Self {
            description: Slot::Missing,
            category: Slot::Missing,
            endpoint_url: Slot::Missing,
            sla: Slot::Missing,
            metadata: Slot::Missing,
        }
    }
}

impl FieldSlots {
    fn set(
        &mut self,
        r: &mut Reader<'_>,
        field: &str,
        metadata_bytes_max: usize,
        known: &[&str],
    ) -> read::Result<()> {
        match field {
            "description" => self.description.set(r, prose),
            "category" => self.category.set(r, category),
            "endpoint_url" => self.endpoint_url.set(r, url),
            "sla" => self.sla.set(r, sla),
            "metadata" => self.metadata.set(r, |r| RawObject::read(r, metadata_bytes_max)),
            other => Err(r.unknown_field(other, known)),
        }
    }

    fn fields(self) -> Fields {
        Fields {
            description: sent(self.description),
            category: sent(self.category),
            endpoint_url: sent(self.endpoint_url),
            sla: sent(self.sla),
            metadata: sent(self.metadata),
        }
    }
}

fn sent<T>(slot: Slot<T>) -> Option<Option<T>> {
    match slot {
        Slot::Missing => None,
        Slot::Null => Some(None),
        Slot::Value(value) => Some(Some(value)),
    }
}

fn category(reader: &mut Reader<'_>) -> read::Result<Box<str>> {
    let text = reader.string()?;
    text::line(text, CATEGORY_CHARS_MAX).map_err(|advice| reader.invalid(advice))
}

fn url(reader: &mut Reader<'_>) -> read::Result<Box<str>> {
    let text = reader.string()?;
    endpoint::canonical(&text).map_err(|advice| reader.invalid(advice))
}

fn service_status(reader: &mut Reader<'_>) -> read::Result<ServiceStatus> {
    match &*reader.string()? {
        "active" => Ok(ServiceStatus::Active),
        "inactive" => Ok(ServiceStatus::Inactive),
        _ => Err(reader.invalid("Must be \"active\" or \"inactive\".")),
    }
}

/// `{max_latency_ms | window_seconds, accept_within_seconds?}`.
fn sla(reader: &mut Reader<'_>) -> read::Result<Sla> {
    const FIELDS: &[&str] = &["max_latency_ms", "window_seconds", "accept_within_seconds"];
    let (mut latency, mut window, mut accept) = (Slot::Missing, Slot::Missing, Slot::Missing);
    reader.object(|r, field| match field {
        "max_latency_ms" => latency.set(r, |r| fitting(r, 1)),
        "window_seconds" => window.set(r, |r| fitting(r, 1_000)),
        "accept_within_seconds" => accept.set(r, |r| fitting(r, 1_000)),
        other => Err(r.unknown_field(other, FIELDS)),
    })?;
    let window_ms = match (latency.optional(), window.optional()) {
        (Some(window_ms), None) | (None, Some(window_ms)) => window_ms,
        (None, None) => {
            return Err(reader.invalid("Say how long a call may take: max_latency_ms or window_seconds."));
        }
        (Some(_), Some(_)) => {
            return Err(reader.invalid("Say it once: send max_latency_ms or window_seconds, not both."));
        }
    };
    let sla = Sla { window_ms, accept_within_ms: accept.optional() };
    if !sla.check() {
        return Err(reader.invalid(
            "A call may take from one millisecond to 30 days, and accept_within_seconds must be within that time.",
        ));
    }
    Ok(sla)
}

/// A number of units of so many milliseconds each, in milliseconds.
fn fitting(reader: &mut Reader<'_>, unit_ms: u64) -> read::Result<u32> {
    let ms = reader.whole_number()?.checked_mul(unit_ms).and_then(|ms| u32::try_from(ms).ok());
    ms.ok_or_else(|| reader.invalid("Too long: at most 30 days."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Detail;

    const NOW: Timestamp = Timestamp::from_millis(1_778_241_600_000);

    fn terms(body: &str) -> ServiceTerms {
        let request = NewService::parse(body.as_bytes(), 64)
            .unwrap_or_else(|problem| panic!("{body}: {}", problem.message));
        request.command(Currency::USD, None, NOW).terms
    }

    #[test]
    fn the_guides_registration_is_understood() {
        let terms = terms(
            r#"{"name": "WeatherAPI", "description": "Real-time weather data per query", "price_per_call": 0.002,
                "currency": "USD", "category": "data", "endpoint_url": "https://api.example.com/weather"}"#,
        );
        assert_eq!((&*terms.name, terms.price), ("WeatherAPI", Amount::from_nanos(2_000_000)));
        assert_eq!(terms.description.as_deref(), Some("Real-time weather data per query"));
        assert_eq!((terms.currency, terms.category.as_deref()), (Currency::USD, Some("data")));
        assert_eq!(terms.endpoint_url.as_deref(), Some("https://api.example.com/weather"));
        assert_eq!((terms.sla, terms.metadata), (None, None));
    }

    #[test]
    fn sla_terms_are_one_window_in_milliseconds() {
        let sla = |sla: &str| terms(&format!(r#"{{"name":"a","price_per_call":1,"sla":{sla}}}"#)).sla;
        for (text, window_ms, accept_within_ms) in [
            (r#"{"max_latency_ms":250}"#, 250, None),
            (r#"{"window_seconds":2}"#, 2_000, None),
            (r#"{"window_seconds":2,"accept_within_seconds":1}"#, 2_000, Some(1_000)),
            (
                r#"{"max_latency_ms":2500,"accept_within_seconds":2,"window_seconds":null}"#,
                2_500,
                Some(2_000),
            ),
        ] {
            assert_eq!(sla(text), Some(Sla { window_ms, accept_within_ms }), "{text}");
        }
        assert_eq!(sla("null"), None);
    }

    #[test]
    fn wrong_registrations_name_the_field() {
        for (members, path) in [
            (r#""price_per_call":1"#, "$.name"),
            (r#""name":"a""#, "$.price_per_call"),
            (r#""name":"","price_per_call":1"#, "$.name"),
            (r#""name":"a\u202e","price_per_call":1"#, "$.name"),
            (r#""name":"a","price_per_call":-1"#, "$.price_per_call"),
            (r#""name":"a","price_per_call":1,"currency":"usd""#, "$.currency"),
            (r#""name":"a","price_per_call":1,"category":"a\nb""#, "$.category"),
            (r#""name":"a","price_per_call":1,"description":"\u0000""#, "$.description"),
            (r#""name":"a","price_per_call":1,"endpoint_url":"weather""#, "$.endpoint_url"),
            (r#""name":"a","price_per_call":1,"endpoint_url":"javascript:alert(1)""#, "$.endpoint_url"),
            (r#""name":"a","price_per_call":1,"sla":{}"#, "$.sla"),
            (r#""name":"a","price_per_call":1,"sla":[]"#, "$.sla"),
            (r#""name":"a","price_per_call":1,"sla":{"max_latency_ms":0}"#, "$.sla"),
            (r#""name":"a","price_per_call":1,"sla":{"max_latency_ms":1,"window_seconds":1}"#, "$.sla"),
            (
                r#""name":"a","price_per_call":1,"sla":{"window_seconds":1,"accept_within_seconds":2}"#,
                "$.sla",
            ),
            (r#""name":"a","price_per_call":1,"sla":{"window_seconds":2592001}"#, "$.sla"),
            (
                r#""name":"a","price_per_call":1,"sla":{"window_seconds":18446744073709551615}"#,
                "$.sla.window_seconds",
            ),
            (r#""name":"a","price_per_call":1,"sla":{"latency":1}"#, "$.sla.latency"),
            (r#""name":"a","price_per_call":1,"metadata":[]"#, "$.metadata"),
            (r#""name":"a","price_per_call":1,"wallet_id":"w""#, "$.wallet_id"),
            (r#""name":"a","price_per_call":1,"slug":"b""#, "$.slug"),
            (r#""name":"a","price_per_call":1,"name":"b""#, "$.name"),
            (r#""name":"a","price_per_call":1,"trust_score":100"#, "$.trust_score"),
        ] {
            let problem = NewService::parse(format!("{{{members}}}").as_bytes(), 64).expect_err(members);
            assert_eq!(
                problem.details[0],
                ("path", Detail::Text(path.into())),
                "{members}: {}",
                problem.message
            );
        }
    }

    #[test]
    fn the_fingerprint_follows_meaning() {
        let of = |members: &str| {
            let body = format!(r#"{{"name":"a","price_per_call":1{members}}}"#);
            NewService::parse(body.as_bytes(), 64).expect(members).fingerprint(Currency::USD)
        };
        let base = of("");
        for same in [
            r#","currency":"USD""#,
            r#","description":null,"sla":null,"metadata":null,"endpoint_url":null"#,
            r#","idempotency_key":"k""#,
        ] {
            assert_eq!(of(same), base, "{same}");
        }
        assert_eq!(of(r#","sla":{"max_latency_ms":2000}"#), of(r#","sla":{"window_seconds":2}"#));
        assert_eq!(
            of(r#","endpoint_url":"https://a.example""#),
            of(r#","endpoint_url":"HTTPS://a.example:443/""#)
        );
        let different = [
            "",
            r#","currency":"EUR""#,
            r#","description":"x""#,
            r#","category":"x""#,
            r#","endpoint_url":"https://a.example""#,
            r#","sla":{"window_seconds":2}"#,
            r#","sla":{"window_seconds":2,"accept_within_seconds":1}"#,
            r#","metadata":{}"#,
            r#","metadata":{"a":1}"#,
            r#","wallet_id":"wallet_00000000000000000000000000""#,
        ];
        let hashes: Vec<u64> = different.iter().map(|members| of(members)).collect();
        for (at, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..at].contains(hash), "{}", different[at]);
        }
    }

    #[test]
    fn an_operator_vouches_unless_it_says_otherwise() {
        let read = |body: &str| judgement(body.as_bytes(), &http::HeaderMap::new());
        for (body, expected) in
            [("{}", true), (r#"{"verified":true}"#, true), (r#"{"verified":false}"#, false)]
        {
            assert_eq!(read(body).ok(), Some(expected), "{body}");
        }
        for body in [r#"{"verified":null}"#, r#"{"verified":"false"}"#, r#"{"verify":false}"#] {
            assert!(read(body).is_err(), "{body}");
        }
    }

    #[test]
    fn a_change_says_only_what_changes() {
        let read = |body: &str| patch(body.as_bytes(), 64, NOW).expect(body);
        let nothing = read("{}");
        assert!(nothing.name.is_none() && nothing.description.is_none() && nothing.sla.is_none());
        let change = read(
            r#"{"price_per_call":"0.5","description":null,"sla":{"window_seconds":1},"status":"inactive","metadata":{"a": 1}}"#,
        );
        assert_eq!(change.price, Some(Amount::from_nanos(500_000_000)));
        assert_eq!(change.description, Some(None));
        assert_eq!(change.sla, Some(Some(Sla { window_ms: 1_000, accept_within_ms: None })));
        assert_eq!(change.status, Some(ServiceStatus::Inactive));
        assert_eq!(change.metadata, Some(Some(r#"{"a":1}"#.into())));
        assert_eq!(change.category, None);
        let null = patch(br#"{"price_per_call":null}"#, 64, NOW).expect_err("a service has a price");
        assert!(null.message.contains("Leave the field out"), "{}", null.message);
        for (body, path) in [
            (r#"{"name":null}"#, "$.name"),
            (r#"{"price_per_call":null}"#, "$.price_per_call"),
            (r#"{"status":null}"#, "$.status"),
            (r#"{"status":"paused"}"#, "$.status"),
            (r#"{"currency":"EUR"}"#, "$.currency"),
            (r#"{"wallet_id":"wallet_00000000000000000000000000"}"#, "$.wallet_id"),
            (r#"{"slug":"x"}"#, "$.slug"),
            (r#"{"verified":true}"#, "$.verified"),
        ] {
            let problem = patch(body.as_bytes(), 64, NOW).expect_err(body);
            assert_eq!(
                problem.details[0],
                ("path", Detail::Text(path.into())),
                "{body}: {}",
                problem.message
            );
        }
    }
}
