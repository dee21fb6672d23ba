use super::*;
use crate::{AgentCreated, Currency, IdempotencyKeys, KeyPlace, WalletId};

const AT: Timestamp = Timestamp::from_millis(1_000);
const LATER: Timestamp = Timestamp::from_millis(2_000);

fn agent() -> Agent {
    let created = AgentCreated {
        agent: AgentId::from_raw(1),
        name: "a".into(),
        operator: "self".into(),
        metadata: None,
        public_key: [0; 32],
        keys: Vec::new(),
        wallet: WalletId::from_raw(2),
        currency: Currency::USD,
        at: AT,
    };
    Agent::created(&created, Position::new(1))
}

fn secret(byte: u8) -> WebhookSecret {
    WebhookSecret::new([byte; WEBHOOK_SECRET_BYTES])
}

fn command() -> CreateWebhookCommand {
    CreateWebhookCommand {
        webhook: WebhookId::from_raw(7),
        url: "https://a.example/".into(),
        events: vec!["payment.*".into()],
        description: None,
        secret: secret(1),
        key: Some(KeyUse { text: "k".into(), fingerprint: 5 }),
        at: AT,
    }
}

#[track_caller]
fn fact(decision: Decision<WebhookChanged>) -> WebhookChanged {
    match decision {
        Decision::Fact(fact) => fact,
        other => panic!("not a fact: {other:?}"),
    }
}

fn webhook() -> Webhook {
    let created = fact(decide_create_webhook(&agent(), 0, command(), &Rules::default()));
    Webhook::created(&created, Position::new(10))
}

#[test]
fn filters_name_events_or_families() {
    for (filter, event, expected) in [
        ("payment.completed", "payment.completed", true),
        ("payment.completed", "payment.completed2", false),
        ("payment.*", "payment.completed", true),
        ("payment.*", "payments.completed", false),
        ("payment*", "payment.completed", false),
        ("*", "payment.completed", false),
        ("token.*", "payment.completed", false),
    ] {
        assert_eq!(filter_matches(filter, event), expected, "{filter} {event}");
    }
    assert!(webhook().wants("payment.refunded") && !webhook().wants("token.started"));
}

#[test]
fn creation_is_bounded_and_repeats_under_its_key() {
    let rules = Rules { webhooks_per_agent_max: 2, ..Rules::default() };
    assert_eq!(fact(decide_create_webhook(&agent(), 1, command(), &rules)).change, WebhookChange::Created);
    let denied = decide_create_webhook(&agent(), 2, command(), &rules);
    assert_eq!(denied, Decision::Denied(Denial::TooManyWebhooks { limit: 2 }));

    let mut known = agent();
    let place = KeyPlace { lsn: 10, item: 0 };
    let mut keys = IdempotencyKeys::default();
    fact(decide_create_webhook(&agent(), 0, command(), &rules))
        .for_each_key(|hash, fingerprint, _| keys.remember(hash, place, fingerprint, AT, 1_000));
    known.idempotency = keys;
    // The limit is looked at after the key.
    assert_eq!(decide_create_webhook(&known, 2, command(), &rules), Decision::Replay(place));
    let other = CreateWebhookCommand { key: Some(KeyUse { text: "k".into(), fingerprint: 6 }), ..command() };
    assert_eq!(decide_create_webhook(&known, 0, other, &rules), Decision::Denied(Denial::KeyConflict));
}

#[test]
fn a_rotation_keeps_one_old_secret_for_its_overlap() {
    let rotate = |webhook: &Webhook, byte, until| {
        let command = RotateWebhookCommand { secret: secret(byte), overlap_until: until, key: None, at: AT };
        fact(decide_rotate_webhook(&agent(), Some(webhook), command))
    };
    let first = rotate(&webhook(), 2, LATER);
    assert_eq!((&first.secret, &first.previous), (&secret(2), &Some((secret(1), LATER))));
    let mut rotated = webhook();
    assert!(rotated.apply(&first, Position::new(20)));
    assert_eq!((rotated.listens_since, rotated.decided), (Position::new(10), Position::new(20)));
    let second = rotate(&rotated, 3, LATER);
    assert_eq!(second.previous, Some((secret(2), LATER)), "the first one ends");
    assert_eq!(rotate(&rotated, 3, AT).previous, None, "no overlap");
    let unknown = RotateWebhookCommand { secret: secret(9), overlap_until: AT, key: None, at: AT };
    let decision = decide_rotate_webhook(&agent(), None, unknown);
    assert_eq!(decision, Decision::Denied(Denial::UnknownWebhook));
}

#[test]
fn a_webhook_that_listens_again_hears_of_nothing_before() {
    let mut webhook = webhook();
    let patched = |webhook: &Webhook, patch: PatchWebhookCommand| {
        decide_patch_webhook(webhook, PatchWebhookCommand { at: AT, ..patch }).expect("something changes")
    };
    let steps = [
        (PatchWebhookCommand { events: Some(vec!["token.*".into()]), ..Default::default() }, 10),
        (PatchWebhookCommand { enabled: Some(false), ..Default::default() }, 10),
        (PatchWebhookCommand { enabled: Some(true), ..Default::default() }, 40),
        (PatchWebhookCommand { events: Some(vec!["payment.*".into()]), ..Default::default() }, 40),
    ];
    for (position, (patch, listens_since)) in (20..).step_by(10).zip(steps) {
        let fact = patched(&webhook, patch);
        assert!(webhook.apply(&fact, Position::new(position)));
        assert_eq!(webhook.listens_since, Position::new(listens_since), "behind {position}");
    }
}

#[test]
fn changes_say_what_changes_and_nothing_else() {
    let webhook = webhook();
    let patch = |patch: PatchWebhookCommand| decide_patch_webhook(&webhook, patch);
    assert_eq!(patch(PatchWebhookCommand::default()), None);
    assert_eq!(patch(PatchWebhookCommand { enabled: Some(true), ..Default::default() }), None);
    let off = patch(PatchWebhookCommand { enabled: Some(false), at: LATER, ..Default::default() });
    let off = off.expect("a change");
    assert_eq!((off.disabled, off.at), (Some(WebhookDisabled::ByOwner), LATER));
    assert_eq!((&off.url, &off.secret), (&webhook.url, &webhook.secret));

    let mut disabled = webhook.clone();
    let fact = decide_disable_webhook(&webhook, WebhookDisabled::Gone, LATER).expect("a change");
    assert!(disabled.apply(&fact, Position::new(30)));
    assert!(!disabled.apply(&fact, Position::new(30)), "known already");
    assert_eq!(decide_disable_webhook(&disabled, WebhookDisabled::Failing, LATER), None);
    let off = PatchWebhookCommand { enabled: Some(false), ..Default::default() };
    assert_eq!(decide_patch_webhook(&disabled, off), None, "what the node said stays");
    let on = PatchWebhookCommand { enabled: Some(true), ..Default::default() };
    assert_eq!(decide_patch_webhook(&disabled, on).expect("a change").disabled, None);
    assert_eq!(decide_delete_webhook(&disabled, LATER).change, WebhookChange::Deleted);
}

#[test]
fn an_old_secret_is_dropped_by_the_next_change_after_its_overlap() {
    let mut old = webhook();
    old.previous = Some((secret(9), LATER));
    let change = |at| {
        let patch = PatchWebhookCommand { url: Some("https://b.example/".into()), at, ..Default::default() };
        decide_patch_webhook(&old, patch).expect("a change").previous
    };
    assert_eq!(change(AT), Some((secret(9), LATER)));
    assert_eq!(change(LATER), None);
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let text = format!("{:?}", webhook());
    assert!(text.contains("WebhookSecret(..)") && !text.contains("1, 1, 1"), "{text}");
}
