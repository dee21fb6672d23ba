use http::HeaderMap;

use super::*;
use crate::{errors::Detail, json::write::AmountStyle};

const WALLET: &str = "wallet_00000000000000000000000001";

#[test]
fn the_guides_authorisation_is_understood() {
    let body = format!(r#"{{"from_wallet_id": "{WALLET}"}}"#);
    let request = AuthorizeRequest::parse(body.as_bytes(), 3_600_000).expect("the guide is right");
    assert_eq!(request.payer.to_string(), WALLET);
    assert_eq!((request.max_amount, request.ttl_ms, request.key), (None, None, None));
    let body = format!(
        r#"{{"from_wallet_id":"{WALLET}","max_amount":0.01,"ttl_seconds":3600,"idempotency_key":"k"}}"#
    );
    let request = AuthorizeRequest::parse(body.as_bytes(), 3_600_000).expect("valid");
    assert_eq!(request.max_amount, Some(Amount::from_nanos(10_000_000)));
    assert_eq!((request.ttl_ms, request.key.as_deref()), (Some(3_600_000), Some("k")));
}

#[test]
fn wrong_authorisations_name_the_field() {
    let with = |members: &str| format!(r#"{{"from_wallet_id":"{WALLET}",{members}}}"#);
    for (body, path) in [
        ("{}".to_owned(), "$.from_wallet_id"),
        (r#"{"from_wallet_id":"w"}"#.to_owned(), "$.from_wallet_id"),
        (with(r#""max_amount":-1"#), "$.max_amount"),
        (with(r#""max_amount":1e3"#), "$.max_amount"),
        (with(r#""ttl_seconds":0"#), "$.ttl_seconds"),
        (with(r#""ttl_seconds":3601"#), "$.ttl_seconds"),
        (with(r#""ttl_seconds":1.5"#), "$.ttl_seconds"),
        (with(r#""ttl_seconds":18446744073709551615"#), "$.ttl_seconds"),
        (with(r#""amount":1"#), "$.amount"),
        (with(r#""from_wallet_id":"x""#), "$.from_wallet_id"),
    ] {
        let problem = AuthorizeRequest::parse(body.as_bytes(), 3_600_000).expect_err(&body);
        assert_eq!(problem.details[0], ("path", Detail::Text(path.into())), "{body}: {}", problem.message);
    }
}

#[test]
fn the_token_may_come_in_the_body_or_the_header_but_not_differ() {
    type Case = (&'static [&'static str], &'static str, Result<&'static str, &'static str>);
    let cases: [Case; 8] = [
        (&[], r#"{"payment_token":"t"}"#, Ok("t")),
        (&["t"], "{}", Ok("t")),
        (&["t"], r#"{"payment_token":"t"}"#, Ok("t")),
        (&["t"], r#"{"payment_token":"u"}"#, Err("different tokens")),
        (&["t", "t"], "{}", Err("twice")),
        (&[], "{}", Err("Send the token")),
        (&[], r#"{"payment_token":null}"#, Err("Send the token")),
        (&[""], "{}", Ok("")),
    ];
    for (lines, body, expected) in cases {
        let headers: HeaderMap =
            lines.iter().map(|line| (PAYMENT_TOKEN, HeaderValue::from_static(line))).collect();
        let request = VerifyRequest::parse(body.as_bytes()).expect(body);
        match (request.token(&headers), expected) {
            (Ok(found), Ok(wanted)) => assert_eq!(found, wanted, "{lines:?} {body}"),
            (Err(problem), Err(word)) => assert!(problem.message.contains(word), "{}", problem.message),
            (found, _) => panic!("{lines:?} {body}: {found:?}"),
        }
    }
    let unknown = VerifyRequest::parse(br#"{"token":"t"}"#).expect_err("another field");
    assert_eq!(unknown.details[0], ("path", Detail::Text("$.token".into())));
}

#[test]
fn a_settled_call_reads_like_a_payment() {
    let receipt = SettlementReceipt {
        id: ledger::PaymentId::from_raw(9),
        token: TokenId::from_raw(8),
        service: ledger::ServiceId::from_raw(7),
        payer: WALLET.parse().expect("an id"),
        payee: WalletId::from_raw(2),
        amount: Amount::from_nanos(5_000_000),
        fee: Amount::from_nanos(50_000),
        currency: ledger::Currency::USD,
        at: Timestamp::from_millis(1_778_241_600_000),
    };
    let text = |audience| {
        let mut writer = Writer::new(640, AmountStyle::Number);
        writer.object(|w| settlement(w, &receipt, "completed", audience));
        String::from_utf8(writer.finish()).expect("UTF-8")
    };
    let payer = text(Audience::Payer);
    let expected = concat!(
        r#"{"id":"tx_00000000000000000000000009","amount":0.005,"fee":0,"total_debited":0.005,"currency":"USD","#,
        r#""rail":"internal","status":"completed","from_wallet_id":"wallet_00000000000000000000000001","#,
        r#""to_wallet_id":"wallet_00000000000000000000000002","description":null,"metadata":null,"#,
        r#""created_at":"2026-05-08T12:00:00.000Z","token_id":"tokid_00000000000000000000000008","#,
        r#""service_id":"svc_00000000000000000000000007"}"#
    );
    assert_eq!(payer, expected);
    assert_eq!(text(Audience::Payee), expected.replace("\"}", "\",\"provider_fee\":0.00005}"));
}
