//! Webhooks that use every field and every variant.

use journal::Row;
use ledger::{
    AgentId, Fact, Position, Timestamp, WEBHOOK_EVENTS_MAX, Webhook, WebhookChange, WebhookChanged,
    WebhookDisabled, WebhookId, WebhookSecret,
};

use crate::samples::key;

const AT: Timestamp = Timestamp::from_millis(1_778_241_600_123);

pub(crate) fn changed(change: WebhookChange) -> WebhookChanged {
    WebhookChanged {
        webhook: WebhookId::new(1, 0x5555_5555_5555_5555_5555_5555_5555),
        change,
        agent: AgentId::new(1, 0x0011_2233_4455_6677_8899_aabb_ccdd),
        url: "https://example.com/agentpay/webhooks".into(),
        events: vec!["payment.completed".into(), "payment.refunded".into()],
        description: Some("receipts".into()),
        secret: WebhookSecret::new([0xa5; 32]),
        previous: Some((WebhookSecret::new([0x5a; 32]), Timestamp::from_millis(i64::MAX))),
        disabled: Some(WebhookDisabled::Gone),
        key: None,
        created_at: AT,
        at: Timestamp::from_millis(AT.millis() + 1),
    }
}

fn bare() -> WebhookChanged {
    WebhookChanged {
        url: "".into(),
        events: vec!["".into()],
        description: None,
        previous: None,
        disabled: None,
        ..changed(WebhookChange::Created)
    }
}

pub(crate) fn facts() -> Vec<(&'static str, Fact)> {
    let disabled = |disabled| WebhookChanged { disabled: Some(disabled), ..changed(WebhookChange::Disabled) };
    let created = WebhookChanged { key: key("create-1"), ..changed(WebhookChange::Created) };
    let rotated = WebhookChanged { key: key("rotate-1"), ..changed(WebhookChange::Rotated) };
    let many = vec!["token.*".into(); WEBHOOK_EVENTS_MAX];
    vec![
        ("webhook_changed_created", created.into()),
        ("webhook_changed_created_bare", bare().into()),
        (
            "webhook_changed_patched",
            WebhookChanged { events: many, ..changed(WebhookChange::Patched) }.into(),
        ),
        ("webhook_changed_rotated", rotated.into()),
        ("webhook_changed_deleted", changed(WebhookChange::Deleted).into()),
        ("webhook_changed_disabled_by_owner", disabled(WebhookDisabled::ByOwner).into()),
        ("webhook_changed_disabled_gone", disabled(WebhookDisabled::Gone).into()),
        ("webhook_changed_disabled_failing", disabled(WebhookDisabled::Failing).into()),
        ("webhook_changed_disabled_backlog", disabled(WebhookDisabled::Backlog).into()),
    ]
}

pub(crate) fn rows() -> Vec<(&'static str, Row)> {
    let mut full = Webhook::created(&changed(WebhookChange::Created), Position::new(4_096));
    full.decided = Position::new(u64::MAX);
    let bare = Webhook::created(&bare(), Position::new(1));
    vec![("row_webhook", Row::Webhook(Box::new(full))), ("row_webhook_bare", Row::Webhook(Box::new(bare)))]
}
