//! Policies as owners send them.

use ledger::{
    ActiveHours, CountLimit, DAY_MINUTES, Policy, PolicyError, RailSet, Recipient, Span, SpendLimit,
    Timestamp, Window,
};

use super::super::{keys::future_time, name, payments::rail};
use crate::{
    errors::Problem,
    json::read::{self, Reader, Slot},
};

/// Days of the week, Monday first.
pub(super) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Entries of any list: a bound on the work, far above what validation lets pass.
const ITEMS_MAX: usize = 1_024;

#[derive(Debug)]
pub(super) struct PolicyRequest {
    pub(super) policy: Policy,
    pub(super) key: Option<String>,
}

impl PolicyRequest {
    const FIELDS: &'static [&'static str] = &[
        "max_per_payment",
        "limits",
        "max_payments",
        "allowed_rails",
        "allowed_recipients",
        "blocked_recipients",
        "allowed_categories",
        "active_hours",
        "expires_at",
        "idempotency_key",
    ];

    pub(super) fn parse(body: &[u8], now: Timestamp) -> Result<Self, Problem> {
        let mut slots = Slots::default();
        let mut key = Slot::Missing;
        let policy = Reader::document(body, |r| {
            r.object(|r, field| match field {
                "idempotency_key" => key.set(r, |r| r.string().map(String::from)),
                other => slots.set(r, other, now, Self::FIELDS),
            })?;
            Ok(slots.policy())
        })?;
        policy.validate().map_err(invalid)?;
        Ok(Self { policy, key: key.optional() })
    }
}

/// A rule that cannot be, at its field.
fn invalid(error: PolicyError) -> Problem {
    Problem::invalid(format!("$.{}", error.field), error.advice)
}

#[derive(Debug)]
struct Slots {
    max_per_payment: Slot<ledger::Amount>,
    limits: Slot<Vec<SpendLimit>>,
    max_payments: Slot<Vec<CountLimit>>,
    allowed_rails: Slot<RailSet>,
    allowed_recipients: Slot<Vec<Recipient>>,
    blocked_recipients: Slot<Vec<Recipient>>,
    allowed_categories: Slot<Vec<Box<str>>>,
    active_hours: Slot<Vec<ActiveHours>>,
    expires_at: Slot<Timestamp>,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            max_per_payment: Slot::Missing,
            limits: Slot::Missing,
            max_payments: Slot::Missing,
            allowed_rails: Slot::Missing,
            allowed_recipients: Slot::Missing,
            blocked_recipients: Slot::Missing,
            allowed_categories: Slot::Missing,
            active_hours: Slot::Missing,
            expires_at: Slot::Missing,
        }
    }
}

impl Slots {
    fn set(
        &mut self,
        r: &mut Reader<'_>,
        field: &str,
        now: Timestamp,
        known: &'static [&'static str],
    ) -> read::Result<()> {
        match field {
            "max_per_payment" => self.max_per_payment.set(r, Reader::amount),
            "limits" => self.limits.set(r, |r| list(r, limit)),
            "max_payments" => self.max_payments.set(r, |r| list(r, count)),
            "allowed_rails" => self.allowed_rails.set(r, rails),
            "allowed_recipients" => self.allowed_recipients.set(r, |r| list(r, recipient)),
            "blocked_recipients" => self.blocked_recipients.set(r, |r| list(r, recipient)),
            "allowed_categories" => self.allowed_categories.set(r, |r| list(r, name)),
            "active_hours" => self.active_hours.set(r, |r| list(r, hours)),
            "expires_at" => self.expires_at.set(r, |r| future_time(r, now)),
            "require_approval_above" => Err(r.invalid(
                "Payments that wait for an approval are not offered by this version. Leave the field out, and use \
                 max_per_payment to refuse what is too large.",
            )),
            other => Err(r.unknown_field(other, known)),
        }
    }

    fn policy(self) -> Policy {
        Policy {
            max_per_payment: self.max_per_payment.optional(),
            limits: self.limits.optional().unwrap_or_default(),
            max_payments: self.max_payments.optional().unwrap_or_default(),
            allowed_rails: self.allowed_rails.optional(),
            allowed_recipients: self.allowed_recipients.optional(),
            blocked_recipients: self.blocked_recipients.optional().unwrap_or_default(),
            allowed_categories: self.allowed_categories.optional(),
            active_hours: self.active_hours.optional(),
            expires_at: self.expires_at.optional(),
        }
    }
}

fn list<'b, T>(
    reader: &mut Reader<'b>,
    mut item: impl FnMut(&mut Reader<'b>) -> read::Result<T>,
) -> read::Result<Vec<T>> {
    let mut items = Vec::new();
    reader.array(|r, index| {
        if index >= ITEMS_MAX {
            return Err(r.invalid(format!("A list has at most {ITEMS_MAX} entries.")));
        }
        items.push(item(r)?);
        Ok(())
    })?;
    Ok(items)
}

fn limit(reader: &mut Reader<'_>) -> read::Result<SpendLimit> {
    let (mut amount, mut span) = (Slot::Missing, SpanSlots::default());
    reader.object(|r, field| match field {
        "amount" => amount.set(r, Reader::amount),
        other => span.set(r, other, &["amount", "window", "rolling"]),
    })?;
    Ok(SpendLimit { amount: amount.required(reader, "amount")?, span: span.required(reader)? })
}

fn count(reader: &mut Reader<'_>) -> read::Result<CountLimit> {
    let (mut count, mut span) = (Slot::Missing, SpanSlots::default());
    reader.object(|r, field| match field {
        "count" => count.set(r, |r| {
            let number = r.whole_number()?;
            u32::try_from(number).map_err(|_| r.invalid(format!("Must be at most {}.", u32::MAX)))
        }),
        other => span.set(r, other, &["count", "window", "rolling"]),
    })?;
    Ok(CountLimit { count: count.required(reader, "count")?, span: span.required(reader)? })
}

/// A window within another object. It rolls unless it says otherwise.
#[derive(Debug)]
struct SpanSlots {
    window: Slot<Window>,
    rolling: Slot<bool>,
}

impl Default for SpanSlots {
    fn default() -> Self {
        Self { window: Slot::Missing, rolling: Slot::Missing }
    }
}

impl SpanSlots {
    fn set(&mut self, r: &mut Reader<'_>, field: &str, known: &[&str]) -> read::Result<()> {
        match field {
            "window" => self.window.set(r, |r| {
                let text = r.string()?;
                Window::parse(&text).ok_or_else(|| {
                    r.invalid("Must be hour, day, week, month, or a number of seconds such as 90s.")
                })
            }),
            "rolling" => self.rolling.set(r, Reader::boolean),
            other => Err(r.unknown_field(other, known)),
        }
    }

    fn required(self, reader: &Reader<'_>) -> read::Result<Span> {
        let window = self.window.required(reader, "window")?;
        Ok(Span { window, rolling: self.rolling.optional().unwrap_or(true) })
    }
}

fn rails(reader: &mut Reader<'_>) -> read::Result<RailSet> {
    Ok(list(reader, rail)?.into_iter().fold(RailSet::EMPTY, RailSet::with))
}

fn recipient(reader: &mut Reader<'_>) -> read::Result<Recipient> {
    let text = name(reader)?;
    Recipient::parse(&text).ok_or_else(|| {
        reader.invalid(
            "Must be a wallet, agent or service id as it was answered, or the label of an outside payee, which may \
             end in *.",
        )
    })
}

fn hours(reader: &mut Reader<'_>) -> read::Result<ActiveHours> {
    let (mut days, mut from, mut to) = (Slot::Missing, Slot::Missing, Slot::Missing);
    reader.object(|r, field| match field {
        "days" => days.set(r, |r| Ok(list(r, day)?.into_iter().fold(0, |all, day| all | day))),
        "from" => from.set(r, minute),
        "to" => to.set(r, minute),
        other => Err(r.unknown_field(other, &["days", "from", "to"])),
    })?;
    let (from_minute, to_minute) = (from.required(reader, "from")?, to.required(reader, "to")?);
    if from_minute >= to_minute {
        return Err(reader.invalid(
            "A span ends after it begins, at 24:00 at most. Send two spans for one that passes midnight.",
        ));
    }
    Ok(ActiveHours { days: days.optional().unwrap_or(0b111_1111), from_minute, to_minute })
}

fn day(reader: &mut Reader<'_>) -> read::Result<u8> {
    let text = reader.string()?;
    match DAYS.iter().position(|day| *day == text) {
        Some(day) => Ok(1 << day),
        None => Err(reader.invalid("Must be one of: mon, tue, wed, thu, fri, sat, sun.")),
    }
}

/// A time of day in UTC.
fn minute(reader: &mut Reader<'_>) -> read::Result<u16> {
    let text = reader.string()?;
    let parsed = match text.as_bytes() {
        [a, b, b':', c, d] if [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()) => {
            let number = |tens: &u8, ones: &u8| u16::from(tens - b'0') * 10 + u16::from(ones - b'0');
            Some((number(a, b), number(c, d)))
        }
        _ => None,
    };
    let minute = parsed.filter(|(_, minutes)| *minutes < 60).map(|(hours, minutes)| hours * 60 + minutes);
    let minute = minute.filter(|minute| *minute <= DAY_MINUTES);
    minute.ok_or_else(|| reader.invalid("Must be a time of day in UTC, from 00:00 to 24:00, such as 08:30."))
}

#[cfg(test)]
mod tests;
