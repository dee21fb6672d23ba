//! Records and rows of webhooks, schema version 1.
//!
//! A record holds the secret that deliveries are signed with: whoever can read the log can sign in the node's name.

use ledger::{
    AgentId, Position, Timestamp, WEBHOOK_EVENTS_MAX, WEBHOOK_SECRET_BYTES, Webhook, WebhookChange,
    WebhookChanged, WebhookDisabled, WebhookId, WebhookSecret,
};
use rkyv::option::ArchivedOption;
use rkyv::with::InlineAsBox;
use rkyv::{Archive, Serialize};

use crate::archive::OptionalText;
use crate::records::KeyUseRecord;
use crate::{Encode, Error, Kind, Scratch, check, decode, encode};

#[derive(Archive, Serialize)]
struct FilterRecord<'a> {
    #[rkyv(with = InlineAsBox)]
    text: &'a str,
}

#[derive(Archive, Serialize)]
struct OldSecretRecord {
    secret: [u8; WEBHOOK_SECRET_BYTES],
    until: i64,
}

#[derive(Archive, Serialize)]
enum DisabledRecord {
    ByOwner,
    Gone,
    Failing,
    Backlog,
}

#[derive(Archive, Serialize)]
pub(crate) enum WebhookChangeRecord {
    Created,
    Patched,
    Rotated,
    Disabled,
    Deleted,
}

#[derive(Archive, Serialize)]
pub(crate) struct WebhookChangedRecord<'a> {
    webhook: u128,
    pub(crate) change: WebhookChangeRecord,
    pub(crate) agent: u128,
    #[rkyv(with = InlineAsBox)]
    url: &'a str,
    events: Vec<FilterRecord<'a>>,
    #[rkyv(with = OptionalText)]
    description: Option<&'a str>,
    secret: [u8; WEBHOOK_SECRET_BYTES],
    previous: Option<OldSecretRecord>,
    disabled: Option<DisabledRecord>,
    pub(crate) key: KeyUseRecord<'a>,
    created_at: i64,
    pub(crate) at: i64,
}

#[derive(Archive, Serialize)]
pub(crate) struct WebhookRow<'a> {
    id: u128,
    agent: u128,
    #[rkyv(with = InlineAsBox)]
    url: &'a str,
    events: Vec<FilterRecord<'a>>,
    #[rkyv(with = OptionalText)]
    description: Option<&'a str>,
    secret: [u8; WEBHOOK_SECRET_BYTES],
    previous: Option<OldSecretRecord>,
    disabled: Option<DisabledRecord>,
    created_at: i64,
    updated_at: i64,
    listens_since: u64,
    decided: u64,
}

impl Encode for WebhookChanged {
    fn encode(&self, out: &mut Scratch) {
        let record = WebhookChangedRecord {
            webhook: self.webhook.raw(),
            change: match self.change {
                WebhookChange::Created => WebhookChangeRecord::Created,
                WebhookChange::Patched => WebhookChangeRecord::Patched,
                WebhookChange::Rotated => WebhookChangeRecord::Rotated,
                WebhookChange::Disabled => WebhookChangeRecord::Disabled,
                WebhookChange::Deleted => WebhookChangeRecord::Deleted,
            },
            agent: self.agent.raw(),
            url: &self.url,
            events: filters_record(&self.events),
            description: self.description.as_deref(),
            secret: *self.secret.bytes(),
            previous: previous_record(self.previous.as_ref()),
            disabled: self.disabled.map(disabled_record),
            key: encode::key_use(self.key.as_ref()),
            created_at: self.created_at.millis(),
            at: self.at.millis(),
        };
        out.archive(Kind::WebhookChanged as u8, &record);
    }
}

pub(crate) fn check_changed(record: &ArchivedWebhookChangedRecord<'_>) -> Result<(), Error> {
    let kind = Kind::WebhookChanged;
    check::key_use(kind, &record.key)?;
    let may_have_key = change(&record.change).key_scope().is_some();
    check::ensure_kind(kind as u8, may_have_key || record.key.text.is_none(), "idempotency key")?;
    check_filters(kind as u8, record.events.len())
}

pub(crate) fn changed(record: &ArchivedWebhookChangedRecord<'_>) -> WebhookChanged {
    WebhookChanged {
        webhook: WebhookId::from_raw(record.webhook.to_native()),
        change: change(&record.change),
        agent: AgentId::from_raw(record.agent.to_native()),
        url: Box::from(&*record.url),
        events: record.events.iter().map(|filter| Box::from(&*filter.text)).collect(),
        description: decode::text(&record.description),
        secret: WebhookSecret::new(record.secret),
        previous: previous(&record.previous),
        disabled: record.disabled.as_ref().map(disabled),
        key: decode::key_use(&record.key),
        created_at: Timestamp::from_millis(record.created_at.to_native()),
        at: Timestamp::from_millis(record.at.to_native()),
    }
}

pub(crate) fn webhook_row(webhook: &Webhook) -> WebhookRow<'_> {
    WebhookRow {
        id: webhook.id.raw(),
        agent: webhook.agent.raw(),
        url: &webhook.url,
        events: filters_record(&webhook.events),
        description: webhook.description.as_deref(),
        secret: *webhook.secret.bytes(),
        previous: previous_record(webhook.previous.as_ref()),
        disabled: webhook.disabled.map(disabled_record),
        created_at: webhook.created_at.millis(),
        updated_at: webhook.updated_at.millis(),
        listens_since: webhook.listens_since.get(),
        decided: webhook.decided.get(),
    }
}

pub(crate) fn webhook(kind: u8, row: &ArchivedWebhookRow<'_>) -> Result<Webhook, Error> {
    check_filters(kind, row.events.len())?;
    Ok(Webhook {
        id: WebhookId::from_raw(row.id.to_native()),
        agent: AgentId::from_raw(row.agent.to_native()),
        url: Box::from(&*row.url),
        events: row.events.iter().map(|filter| Box::from(&*filter.text)).collect(),
        description: decode::text(&row.description),
        secret: WebhookSecret::new(row.secret),
        previous: previous(&row.previous),
        disabled: row.disabled.as_ref().map(disabled),
        created_at: Timestamp::from_millis(row.created_at.to_native()),
        updated_at: Timestamp::from_millis(row.updated_at.to_native()),
        listens_since: Position::new(row.listens_since.to_native()),
        decided: Position::new(row.decided.to_native()),
    })
}

fn check_filters(kind: u8, count: usize) -> Result<(), Error> {
    check::ensure_kind(kind, (1..=WEBHOOK_EVENTS_MAX).contains(&count), "number of filters")
}

pub(crate) fn change(record: &ArchivedWebhookChangeRecord) -> WebhookChange {
    match record {
        ArchivedWebhookChangeRecord::Created => WebhookChange::Created,
        ArchivedWebhookChangeRecord::Patched => WebhookChange::Patched,
        ArchivedWebhookChangeRecord::Rotated => WebhookChange::Rotated,
        ArchivedWebhookChangeRecord::Disabled => WebhookChange::Disabled,
        ArchivedWebhookChangeRecord::Deleted => WebhookChange::Deleted,
    }
}

fn filters_record(events: &[Box<str>]) -> Vec<FilterRecord<'_>> {
    events.iter().map(|text| FilterRecord { text }).collect()
}

fn previous_record(previous: Option<&(WebhookSecret, Timestamp)>) -> Option<OldSecretRecord> {
    previous.map(|(secret, until)| OldSecretRecord { secret: *secret.bytes(), until: until.millis() })
}

fn previous(record: &ArchivedOption<ArchivedOldSecretRecord>) -> Option<(WebhookSecret, Timestamp)> {
    record.as_ref().map(|old| (WebhookSecret::new(old.secret), Timestamp::from_millis(old.until.to_native())))
}

fn disabled_record(disabled: WebhookDisabled) -> DisabledRecord {
    match disabled {
        WebhookDisabled::ByOwner => DisabledRecord::ByOwner,
        WebhookDisabled::Gone => DisabledRecord::Gone,
        WebhookDisabled::Failing => DisabledRecord::Failing,
        WebhookDisabled::Backlog => DisabledRecord::Backlog,
    }
}

fn disabled(record: &ArchivedDisabledRecord) -> WebhookDisabled {
    match record {
        ArchivedDisabledRecord::ByOwner => WebhookDisabled::ByOwner,
        ArchivedDisabledRecord::Gone => WebhookDisabled::Gone,
        ArchivedDisabledRecord::Failing => WebhookDisabled::Failing,
        ArchivedDisabledRecord::Backlog => WebhookDisabled::Backlog,
    }
}
