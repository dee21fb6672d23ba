//! Policies as they are shown: every field, so that what was read can be sent again.

use ledger::{ActiveHours, Amount, Policy, PolicyFigures, Rail, Recipient, Remaining, Span};

use super::{optional_time, request::DAYS};
use crate::json::write::Writer;

/// An object with every field of a policy.
pub(super) fn policy(w: &mut Writer, policy: &Policy) {
    w.object(|w| {
        optional_amount(w.name("max_per_payment"), policy.max_per_payment);
        w.name("limits").array(|w| {
            for limit in &policy.limits {
                w.object(|w| {
                    w.name("amount").amount(limit.amount);
                    span(w, limit.span);
                });
            }
        });
        w.name("max_payments").array(|w| {
            for limit in &policy.max_payments {
                w.object(|w| {
                    w.name("count").integer(limit.count);
                    span(w, limit.span);
                });
            }
        });
        list(w.name("allowed_rails"), policy.allowed_rails.as_ref(), |w, rails| {
            let allowed = Rail::ALL.into_iter().filter(|rail| rails.contains(*rail));
            allowed.for_each(|rail| w.plain(rail.as_str()));
        });
        list(w.name("allowed_recipients"), policy.allowed_recipients.as_deref(), recipients);
        w.name("blocked_recipients").array(|w| recipients(w, &policy.blocked_recipients));
        list(w.name("allowed_categories"), policy.allowed_categories.as_deref(), |w, categories| {
            categories.iter().for_each(|category| w.string(category));
        });
        list(w.name("active_hours"), policy.active_hours.as_deref(), |w, spans| {
            spans.iter().for_each(|span| w.object(|w| hours(w, *span)));
        });
        optional_time(w.name("expires_at"), policy.expires_at);
    });
}

/// One object per window.
pub(super) fn remaining(w: &mut Writer, windows: &[Remaining]) {
    for window in windows {
        w.object(|w| {
            match window.figures {
                PolicyFigures::Amounts { limit, used, .. } => {
                    w.name("rule").plain("limits");
                    w.name("limit").amount(limit);
                    w.name("used").amount(used);
                    w.name("available").amount(limit.minus(used).max(Amount::ZERO));
                }
                PolicyFigures::Counts { limit, used, .. } => {
                    w.name("rule").plain("max_payments");
                    w.name("limit").integer(limit);
                    w.name("used").integer(used);
                    w.name("available").integer(limit.saturating_sub(used));
                }
                PolicyFigures::None => unreachable!("a window counts"),
            }
            span(w, window.span);
            optional_time(w.name("reset_at"), window.reset_at);
        });
    }
}

fn list<T: ?Sized>(w: &mut Writer, items: Option<&T>, write: impl FnOnce(&mut Writer, &T)) {
    match items {
        Some(items) => w.array(|w| write(w, items)),
        None => w.null(),
    }
}

fn recipients(w: &mut Writer, recipients: &[Recipient]) {
    recipients.iter().for_each(|recipient| w.string(&recipient.to_string()));
}

fn span(w: &mut Writer, span: Span) {
    w.name("window").plain(span.window);
    w.name("rolling").boolean(span.rolling);
}

fn hours(w: &mut Writer, hours: ActiveHours) {
    w.name("days").array(|w| {
        let named = DAYS.iter().enumerate().filter(|(day, _)| hours.days & (1 << day) != 0);
        named.for_each(|(_, name)| w.plain(name));
    });
    for (name, minute) in [("from", hours.from_minute), ("to", hours.to_minute)] {
        w.name(name).plain(format_args!("{:02}:{:02}", minute / 60, minute % 60));
    }
}

fn optional_amount(w: &mut Writer, amount: Option<Amount>) {
    match amount {
        Some(amount) => w.amount(amount),
        None => w.null(),
    }
}
