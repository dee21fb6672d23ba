//! Signatures of deliveries, after Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`, in base64 behind `v1,`.
//! During the overlap of a rotation there is one signature per secret, and a receiver is content with either.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::{Timestamp, Webhook, WebhookSecret};
use ring::hmac;

/// A secret as its owner sees it.
pub fn secret_text(secret: &WebhookSecret) -> String {
    format!("whsec_{}", STANDARD.encode(secret.bytes()))
}

/// Value of `webhook-signature` at `now`.
pub(crate) fn signatures(webhook: &Webhook, id: &str, now: Timestamp, body: &[u8]) -> String {
    let seconds = now.millis().div_euclid(1_000);
    let mut text = signature(&webhook.secret, id, seconds, body);
    if let Some((previous, until)) = &webhook.previous
        && now < *until
    {
        text.push(' ');
        text.push_str(&signature(previous, id, seconds, body));
    }
    text
}

fn signature(secret: &WebhookSecret, id: &str, seconds: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{id}.{seconds}.").as_bytes());
    context.update(body);
    format!("v1,{}", STANDARD.encode(context.sign().as_ref()))
}

#[cfg(test)]
mod tests {
    use ledger::{AgentId, Position, WEBHOOK_SECRET_BYTES, WebhookId};

    use super::*;

    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const NOW: Timestamp = Timestamp::from_millis(1_614_265_330_999);

    /// HMAC fills a short key up with zeros, so a shorter secret of somebody's example is one of ours with zeros behind.
    fn secret(text: &str) -> WebhookSecret {
        let bytes = STANDARD.decode(text).expect("base64");
        let mut whole = [0; WEBHOOK_SECRET_BYTES];
        whole[..bytes.len()].copy_from_slice(&bytes);
        WebhookSecret::new(whole)
    }

    fn webhook(previous: Option<(WebhookSecret, Timestamp)>) -> Webhook {
        Webhook {
            id: WebhookId::from_raw(1),
            agent: AgentId::from_raw(1),
            url: "https://a.example/".into(),
            events: vec!["payment.*".into()],
            description: None,
            secret: secret("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            previous,
            disabled: None,
            created_at: NOW,
            updated_at: NOW,
            listens_since: Position::new(1),
            decided: Position::new(1),
        }
    }

    #[test]
    fn the_example_of_the_standard_is_signed_as_it_says() {
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signatures(&webhook(None), ID, NOW, BODY), expected);
    }

    #[test]
    fn both_secrets_sign_until_the_overlap_ends() {
        let old = secret("AAAA");
        let until = Timestamp::from_millis(NOW.millis() + 1);
        let during = signatures(&webhook(Some((old.clone(), until))), ID, NOW, BODY);
        let [new_one, old_one] = during.split(' ').collect::<Vec<_>>()[..] else { panic!("{during}") };
        assert_eq!(new_one, signatures(&webhook(None), ID, NOW, BODY));
        assert!(old_one.starts_with("v1,") && old_one != new_one);
        let after = signatures(&webhook(Some((old, NOW))), ID, NOW, BODY);
        assert_eq!(after, new_one);
    }

    #[test]
    fn a_secret_is_shown_in_the_standards_form() {
        let secret = WebhookSecret::new([0xff; WEBHOOK_SECRET_BYTES]);
        assert_eq!(secret_text(&secret), "whsec_//////////////////////////////////////////8=");
    }
}
