//! Batches: read item by item, one engine call, written item by item.

use engine::{PayBatch, PaymentReceipt, Refusal};
use http::StatusCode;
use ledger::{BatchItem, WalletId};

use super::payments::{self, Audience, PaymentRequest};
use crate::{
    dispatch::Call,
    errors::Problem,
    idempotency::{self, Fingerprint},
    json::{
        read::{self, Reader, Slot},
        write::{AmountStyle, Writer},
    },
    respond::Reply,
};

/// Bytes an item's answer usually takes.
const ITEM_BYTES: usize = 480;

#[derive(Debug)]
struct BatchRequest {
    items: Vec<(WalletId, BatchItem)>,
    atomic: bool,
    key: Option<String>,
    fingerprint: u64,
}

impl BatchRequest {
    const FIELDS: &'static [&'static str] = &["payments", "atomic", "idempotency_key"];

    fn parse(body: &[u8], items_max: usize, metadata_bytes_max: usize) -> Result<Self, Problem> {
        let (mut payments, mut atomic, mut key) = (Slot::Missing, Slot::Missing, Slot::Missing);
        Ok(Reader::document(body, |r| {
            r.object(|r, field| match field {
                "payments" => payments.set(r, |r| items(r, items_max, metadata_bytes_max)),
                "atomic" => atomic.set(r, Reader::boolean),
                "idempotency_key" => key.set(r, |r| r.string().map(String::from)),
                other => Err(r.unknown_field(other, Self::FIELDS)),
            })?;
            let (items, meanings) = payments.required(r, "payments")?;
            let atomic = atomic.optional().unwrap_or(false);
            let mut fingerprint = Fingerprint::new();
            fingerprint.number(u64::from(atomic));
            for (meaning, (_, item)) in meanings.iter().zip(&items) {
                fingerprint.number(*meaning).text(item.key.as_ref().map(|key| &*key.text));
            }
            Ok(Self { items, atomic, key: key.optional(), fingerprint: fingerprint.finish() })
        })?)
    }
}

type Items = (Vec<(WalletId, BatchItem)>, Vec<u64>);

/// The payments and what each of them means.
fn items(reader: &mut Reader<'_>, items_max: usize, metadata_bytes_max: usize) -> read::Result<Items> {
    let (mut items, mut meanings) = (Vec::new(), Vec::new());
    let mut fingerprint = Fingerprint::new();
    reader.array(|r, index| {
        if index >= items_max {
            return Err(r.invalid(format!(
                "A batch has at most {items_max} payments. Send the rest in another one."
            )));
        }
        let mut request = PaymentRequest::read(r, metadata_bytes_max)?;
        let meaning = request.fingerprint(&mut fingerprint);
        let key = match request.key.take() {
            None => None,
            Some(text) => Some(idempotency::field_key(&text).map_err(|advice| r.invalid(advice))?),
        };
        items.push(request.into_item(idempotency::key_use(key, meaning)));
        meanings.push(meaning);
        Ok(())
    })?;
    if items.is_empty() {
        return Err(reader.invalid("A batch has at least one payment."));
    }
    Ok((items, meanings))
}

/// `POST /v1/payments/batch`.
pub(crate) async fn pay(call: &Call<'_>) -> Result<Reply, Problem> {
    let settings = &call.gateway.settings;
    let request = BatchRequest::parse(call.json(), settings.batch_items_max, settings.metadata_bytes_max)?;
    call.gateway.metrics.batch(request.items.len());
    let key = idempotency::key(call.headers, request.key.map(Into::into))?;
    let command = PayBatch {
        items: request.items,
        atomic: request.atomic,
        key: idempotency::key_use(key, request.fingerprint),
        at: call.at,
    };
    let answer = call.engine.pay_batch_undelivered(call.caller()?, command).await?;
    // Written while the disk works, shown when it is done.
    let reply = answer.map(|answer| {
        Reply::json(StatusCode::OK, results(answer.value, call.amounts)).replayed(answer.replayed)
    });
    Ok(reply.delivered().await?)
}

type ItemResult = Result<engine::Answer<PaymentReceipt>, Refusal>;

/// The result of each payment, in order: a payment, or an error of the usual shape.
fn results(results: Vec<ItemResult>, amounts: AmountStyle) -> Writer {
    let completed = results.iter().filter(|result| result.is_ok()).count();
    let mut writer = Writer::new(ITEM_BYTES * results.len() + 64, amounts);
    writer.object(|w| {
        w.name("completed").integer(completed);
        w.name("refused").integer(results.len() - completed);
        w.name("results").array(|w| {
            for result in results {
                match result {
                    Ok(answer) => w.object(|w| {
                        payments::receipt(w, &answer.value, Audience::Payer);
                        if answer.replayed {
                            w.name("idempotent_replayed").boolean(true);
                        }
                    }),
                    Err(refusal) => Problem::from(refusal).write(w, None),
                }
            }
        });
    });
    writer
}

#[cfg(test)]
mod tests {
    use ledger::Denial;

    use super::*;
    use crate::errors::Detail;

    const ITEM: &str =
        r#"{"from_wallet_id":"wallet_00000000000000000000000001","to_external":"m","amount":5}"#;

    fn parse(body: &str) -> Result<BatchRequest, Problem> {
        BatchRequest::parse(body.as_bytes(), 3, 1_024)
    }

    #[test]
    fn batches_are_read_in_order() {
        let body = format!(r#"{{"atomic":true,"idempotency_key":"b","payments":[{ITEM},{ITEM}]}}"#);
        let request = parse(&body).expect("valid");
        assert_eq!(request.items.len(), 2);
        assert!(request.atomic);
        assert_eq!(request.key.as_deref(), Some("b"));
    }

    #[test]
    fn the_fingerprint_covers_items_order_and_mode() {
        let with_key = ITEM.replace("\"amount\":5", "\"amount\":5,\"idempotency_key\":\"k\"");
        let other = ITEM.replace("\"amount\":5", "\"amount\":6");
        let of = |items: &[&str], atomic: &str| {
            parse(&format!(r#"{{"payments":[{}]{atomic}}}"#, items.join(","))).expect("valid").fingerprint
        };
        let all = [
            of(&[ITEM], ""),
            of(&[ITEM], r#","atomic":true"#),
            of(&[ITEM, ITEM], ""),
            of(&[ITEM, &other], ""),
            of(&[&other, ITEM], ""),
            of(&[&with_key], ""),
        ];
        for (at, hash) in all.iter().enumerate() {
            assert!(!all[..at].contains(hash), "{at}");
        }
        let spelled = ITEM.replace("\"amount\":5", "\"rail\":\"internal\",\"amount\" : \"5.00\"");
        assert_eq!(of(&[&spelled], r#","atomic":false"#), all[0]);
    }

    #[test]
    fn wrong_batches_name_the_item() {
        for (body, path) in [
            ("{}".to_owned(), "$.payments"),
            (r#"{"payments":[]}"#.to_owned(), "$.payments"),
            (format!(r#"{{"payments":[{ITEM},{{}}]}}"#), "$.payments[1]"),
            (format!(r#"{{"payments":[{ITEM},{ITEM},{ITEM},{ITEM}]}}"#), "$.payments[3]"),
            (format!(r#"{{"payments":[{}]}}"#, ITEM.replace('5', "[5]")), "$.payments[0].amount"),
            (
                format!(r#"{{"payments":[{}]}}"#, ITEM.replace("\"amount\"", "\"amout\"")),
                "$.payments[0].amout",
            ),
            (format!(r#"{{"payments":[{ITEM}],"atomic":1}}"#), "$.atomic"),
        ] {
            let problem = parse(&body).expect_err(&body);
            assert_eq!(
                problem.details[0],
                ("path", Detail::Text(path.into())),
                "{body}: {}",
                problem.message
            );
        }
    }

    #[test]
    fn refused_items_have_the_shape_of_errors() {
        let refused = vec![Err(Refusal::Denied(Denial::WalletFrozen)), Err(Refusal::Overloaded)];
        let json: serde_json::Value =
            serde_json::from_slice(&results(refused, AmountStyle::Number).finish()).expect("JSON");
        assert_eq!(json["completed"], 0);
        assert_eq!(json["refused"], 2);
        assert_eq!(json["results"][0]["error"]["code"], "AP-1001");
        assert_eq!(json["results"][1]["error"]["code"], "AP-3001");
        assert!(json["results"][0].get("request_id").is_none());
    }
}
