//! Refunds: a payment given back by who was paid, or by an operator.

use engine::{RefundPayment, RefundReceipt, Transaction};
use http::StatusCode;
use ledger::{Amount, PaymentId};

use super::payments::{self, Audience};
use crate::{
    dispatch::Call,
    errors::{Kind, Problem},
    idempotency::{self, Fingerprint},
    json::{
        read::{Reader, Slot},
        write::Writer,
    },
    respond::Reply,
};

#[derive(Debug)]
struct RefundRequest {
    /// `None` means all that is left.
    amount: Option<Amount>,
    key: Option<String>,
}

impl RefundRequest {
    const FIELDS: &'static [&'static str] = &["amount", "idempotency_key"];

    fn parse(body: &[u8]) -> Result<Self, Problem> {
        let (mut amount, mut key) = (Slot::Missing, Slot::Missing);
        Ok(Reader::document(body, |r| {
            r.object(|r, field| match field {
                "amount" => amount.set(r, Reader::amount),
                "idempotency_key" => key.set(r, |r| r.string().map(String::from)),
                other => Err(r.unknown_field(other, Self::FIELDS)),
            })?;
            Ok(Self { amount: amount.optional(), key: key.optional() })
        })?)
    }

    /// All that is left is another request than the same amount written out: it means something else next time.
    fn fingerprint(&self) -> u64 {
        let mut fingerprint = Fingerprint::new();
        match self.amount {
            None => fingerprint.number(0).finish(),
            Some(amount) => fingerprint.number(1).amount(amount).finish(),
        }
    }
}

/// `POST /v1/payments/{payment_id}/refund`.
pub(crate) async fn refund(call: &Call<'_>) -> Result<Reply, Problem> {
    let payment = payment_id(call)?;
    let request = RefundRequest::parse(call.json())?;
    let key = idempotency::key(call.headers, request.key.as_deref().map(Into::into))?;
    let key = idempotency::key_use(key, request.fingerprint());
    let command = RefundPayment { payment, amount: request.amount, key, at: call.at };
    let answer = call.engine.refund(call.asker()?, command).await?;
    let mut writer = Writer::new(768, call.amounts);
    writer.object(|w| members(w, &answer.value, Audience::Payee));
    Ok(Reply::json(StatusCode::CREATED, writer).replayed(answer.replayed))
}

/// The payment in the path. What is no id at all is no payment either.
pub(super) fn payment_id(call: &Call<'_>) -> Result<PaymentId, Problem> {
    let id = call.param("payment_id").and_then(|text| text.parse().ok());
    id.ok_or_else(|| Problem::new(Kind::NotFound).saying("There is no such payment that this key may see."))
}

/// Members of a refund: the payment as the refund left it, and what was given back.
pub(crate) fn members(w: &mut Writer, receipt: &RefundReceipt, audience: Audience) {
    let claim = engine::ClaimView { state: receipt.state, refunded: receipt.refunded, dispute: None };
    payments::transaction(w, &receipt.payment, audience, Some(&claim));
    w.name("refund").object(|w| {
        w.name("amount").amount(receipt.amount);
        w.name("refunded_by").plain(receipt.by.as_str());
        match receipt.dispute {
            Some(dispute) => w.name("dispute_id").plain(dispute),
            None => w.name("dispute_id").null(),
        }
        w.name("created_at").timestamp(receipt.at);
        if let Some(balance) = receipt.balance_after.filter(|_| audience == Audience::Payee) {
            w.name("balance_after").object(|w| {
                w.name("available").amount(balance.available);
                w.name("held").amount(balance.held);
            });
        }
    });
}

/// Whose wallet was paid from.
pub(crate) fn payer_of(receipt: &RefundReceipt) -> ledger::WalletId {
    match &receipt.payment {
        Transaction::Payment(receipt) => receipt.payment.payer,
        Transaction::Settlement(receipt) => receipt.payer,
        Transaction::Funding(receipt) => receipt.funding.wallet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Detail;

    #[test]
    fn an_amount_may_be_left_out() {
        let parse = |body: &str| RefundRequest::parse(body.as_bytes()).expect(body);
        assert_eq!(parse("{}").amount, None);
        assert_eq!(parse(r#"{"amount":null}"#).amount, None);
        let part = parse(r#"{"amount":"2.50","idempotency_key":"r-1"}"#);
        assert_eq!((part.amount, part.key.as_deref()), (Amount::parse("2.5").ok(), Some("r-1")));
        assert_eq!(part.fingerprint(), parse(r#"{"amount":2.5}"#).fingerprint());
        assert_ne!(part.fingerprint(), parse("{}").fingerprint());
        for (body, path) in [
            (r#"{"amount":"1e3"}"#, "$.amount"),
            (r#"{"amounts":1}"#, "$.amounts"),
            (r#"{"amount":1,"amount":1}"#, "$.amount"),
            (r#"{"idempotency_key":7}"#, "$.idempotency_key"),
        ] {
            let problem = RefundRequest::parse(body.as_bytes()).expect_err(body);
            assert_eq!(problem.details[0], ("path", Detail::Text(path.into())), "{body}");
        }
    }
}
