use super::*;
use crate::{
    errors::Detail,
    handlers::policies::write,
    json::write::{AmountStyle, Writer},
};

const NOW: Timestamp = Timestamp::from_millis(1_778_241_600_000);

const FULL: &str = concat!(
    r#"{"max_per_payment":5,"limits":[{"amount":100,"window":"day","rolling":true},"#,
    r#"{"amount":0.5,"window":"90s","rolling":false}],"#,
    r#""max_payments":[{"count":10,"window":"hour","rolling":true}],"allowed_rails":["internal","card"],"#,
    r#""allowed_recipients":["wallet_00000000000000000000000001","agent_00000000000000000000000002","#,
    r#""svc_00000000000000000000000003","merchant:*"],"blocked_recipients":["merchant:bad"],"#,
    r#""allowed_categories":["data"],"active_hours":[{"days":["mon","fri"],"from":"08:00","to":"24:00"}],"#,
    r#""expires_at":"2027-01-01T00:00:00.000Z"}"#
);

fn written(policy: &Policy) -> String {
    let mut writer = Writer::new(64, AmountStyle::Number);
    write::policy(&mut writer, policy);
    String::from_utf8(writer.finish()).expect("UTF-8")
}

#[test]
fn what_is_shown_can_be_sent_again() {
    let full = PolicyRequest::parse(FULL.as_bytes(), NOW).expect("valid").policy;
    assert_eq!(written(&full), FULL);
    let none = PolicyRequest::parse(b"{}", NOW).expect("valid").policy;
    assert!(none.is_empty());
    let shown = written(&none);
    assert_eq!(PolicyRequest::parse(shown.as_bytes(), NOW).expect(&shown).policy, none);
}

#[test]
fn a_window_rolls_and_hours_are_every_days_unless_said() {
    let body =
        r#"{"limits":[{"amount":"1","window":"week"}],"active_hours":[{"from":"00:00","to":"00:01"}]}"#;
    let policy = PolicyRequest::parse(body.as_bytes(), NOW).expect("valid").policy;
    assert_eq!(policy.limits[0].span, Span { window: Window::Week, rolling: true });
    let hours = ActiveHours { days: 0b111_1111, from_minute: 0, to_minute: 1 };
    assert_eq!(policy.active_hours, Some(vec![hours]));
}

#[test]
fn wrong_policies_name_the_field() {
    for (body, path) in [
        (r#"{"max_per_payment":0}"#, "$.max_per_payment"),
        (r#"{"max_per_payment":-1}"#, "$.max_per_payment"),
        (r#"{"limits":{}}"#, "$.limits"),
        (r#"{"limits":[{"amount":1}]}"#, "$.limits[0].window"),
        (r#"{"limits":[{"window":"day"}]}"#, "$.limits[0].amount"),
        (r#"{"limits":[{"amount":1,"window":"year"}]}"#, "$.limits[0].window"),
        (r#"{"limits":[{"amount":1,"window":"0s"}]}"#, "$.limits[0].window"),
        (r#"{"limits":[{"amount":1,"window":"day","rolls":true}]}"#, "$.limits[0].rolls"),
        (r#"{"limits":[{"amount":0,"window":"day"}]}"#, "$.limits"),
        (r#"{"limits":[{"amount":1,"window":"day"},{"amount":2,"window":"day"}]}"#, "$.limits"),
        (r#"{"max_payments":[{"count":0,"window":"day"}]}"#, "$.max_payments"),
        (r#"{"max_payments":[{"count":1.5,"window":"day"}]}"#, "$.max_payments[0].count"),
        (r#"{"max_payments":[{"count":4294967296,"window":"day"}]}"#, "$.max_payments[0].count"),
        (r#"{"allowed_rails":["wire"]}"#, "$.allowed_rails[0]"),
        (r#"{"allowed_rails":[]}"#, "$.allowed_rails"),
        (r#"{"allowed_recipients":[]}"#, "$.allowed_recipients"),
        (r#"{"allowed_recipients":["wallet_1"]}"#, "$.allowed_recipients[0]"),
        (r#"{"blocked_recipients":["a*b"]}"#, "$.blocked_recipients"),
        (r#"{"allowed_categories":[""]}"#, "$.allowed_categories[0]"),
        (r#"{"active_hours":[{"from":"8:00","to":"09:00"}]}"#, "$.active_hours[0].from"),
        (r#"{"active_hours":[{"from":"08:60","to":"09:00"}]}"#, "$.active_hours[0].from"),
        (r#"{"active_hours":[{"from":"08:00","to":"24:01"}]}"#, "$.active_hours[0].to"),
        (r#"{"active_hours":[{"from":"22:00","to":"06:00"}]}"#, "$.active_hours[0]"),
        (
            r#"{"active_hours":[{"days":["monday"],"from":"08:00","to":"09:00"}]}"#,
            "$.active_hours[0].days[0]",
        ),
        (r#"{"active_hours":[{"days":[],"from":"08:00","to":"09:00"}]}"#, "$.active_hours"),
        (r#"{"expires_at":"2026-05-08T12:00:00Z"}"#, "$.expires_at"),
        (r#"{"require_approval_above":5}"#, "$.require_approval_above"),
        (r#"{"daily_limit":5}"#, "$.daily_limit"),
    ] {
        let problem = PolicyRequest::parse(body.as_bytes(), NOW).expect_err(body);
        assert_eq!(problem.details[0], ("path", Detail::Text(path.into())), "{body}: {}", problem.message);
    }
}
