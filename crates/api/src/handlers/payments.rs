//! Single payments: the hot path. One parse, one engine call, one buffer.

use std::borrow::Cow;

use engine::{Caller, ClaimView, PaymentReceipt, Transaction};
use http::StatusCode;
use ledger::{
    AgentId, Amount, BatchItem, Currency, PayCommand, Payee, Payment, PaymentId, PaymentState, Rail,
    Timestamp, WalletId,
};

use super::{currency, name, refunds::payment_id, tokens, wallet_id, wallets};
use crate::{
    dispatch::Call,
    errors::Problem,
    idempotency::{self, Fingerprint},
    json::{
        raw::RawObject,
        read::{self, Reader, Slot},
        write::Writer,
    },
    respond::Reply,
    text,
};

/// A payment as asked for, alone or in a batch.
#[derive(Debug)]
pub(super) struct PaymentRequest<'b> {
    pub(super) payer: WalletId,
    payee: Payee,
    amount: Amount,
    currency: Option<Currency>,
    rail: Rail,
    description: Option<Box<str>>,
    metadata: Option<RawObject>,
    pub(super) key: Option<Cow<'b, str>>,
}

impl<'b> PaymentRequest<'b> {
    const FIELDS: &'static [&'static str] = &[
        "from_wallet_id",
        "to_wallet_id",
        "to_external",
        "amount",
        "currency",
        "rail",
        "description",
        "metadata",
        "idempotency_key",
    ];

    pub(super) fn read(r: &mut Reader<'b>, metadata_bytes_max: usize) -> read::Result<Self> {
        let (mut payer, mut to_wallet, mut to_external) = (Slot::Missing, Slot::Missing, Slot::Missing);
        let (mut amount, mut currency_slot, mut rail_slot) = (Slot::Missing, Slot::Missing, Slot::Missing);
        let (mut description, mut metadata, mut key) = (Slot::Missing, Slot::Missing, Slot::Missing);
        r.object(|r, field| match field {
            "from_wallet_id" => payer.set(r, wallet_id),
            "to_wallet_id" => to_wallet.set(r, wallet_id),
            "to_external" => to_external.set(r, name),
            "amount" => amount.set(r, Reader::amount),
            "currency" => currency_slot.set(r, currency),
            "rail" => rail_slot.set(r, rail),
            "description" => description.set(r, prose),
            "metadata" => metadata.set(r, |r| RawObject::read(r, metadata_bytes_max)),
            "idempotency_key" => key.set(r, Reader::string),
            other => Err(r.unknown_field(other, Self::FIELDS)),
        })?;
        let payee = match (to_wallet.optional(), to_external.optional()) {
            (Some(wallet), None) => Payee::Wallet(wallet),
            (None, Some(label)) => Payee::External(label),
            (None, None) => return Err(r.invalid("Say whom to pay: to_wallet_id or to_external.")),
            (Some(_), Some(_)) => {
                return Err(r.invalid("Pay one payee: send to_wallet_id or to_external, not both."));
            }
        };
        Ok(Self {
            payer: payer.required(r, "from_wallet_id")?,
            payee,
            amount: amount.required(r, "amount")?,
            currency: currency_slot.optional(),
            rail: rail_slot.optional().unwrap_or(Rail::Internal),
            description: description.optional(),
            metadata: metadata.optional(),
            key: key.optional(),
        })
    }

    /// Collects what the payment means. The same for a single payment and an item of a batch, because they share the
    /// scope of their keys.
    pub(super) fn fingerprint(&self, fingerprint: &mut Fingerprint) -> u64 {
        fingerprint.id(self.payer.raw()).amount(self.amount);
        match &self.payee {
            Payee::Wallet(wallet) => fingerprint.number(1).id(wallet.raw()),
            Payee::External(label) => fingerprint.number(2).text(Some(label)),
        };
        fingerprint
            .text(self.currency.as_ref().map(Currency::as_str))
            .number(self.rail as u64)
            .text(self.description.as_deref());
        match &self.metadata {
            None => fingerprint.number(0),
            Some(metadata) => fingerprint.number(1).number(metadata.meaning),
        };
        fingerprint.finish()
    }

    /// The command, without a key.
    pub(super) fn command(self, caller: AgentId, at: Timestamp) -> PayCommand {
        PayCommand {
            caller,
            payer: self.payer,
            payee: self.payee,
            // Found by the engine.
            payee_agent: None,
            amount: self.amount,
            currency: self.currency,
            rail: self.rail,
            description: self.description,
            metadata: self.metadata.map(|metadata| metadata.text),
            key: None,
            agent_terms: None,
            at,
        }
    }

    /// The item of a batch.
    pub(super) fn into_item(self, key: Option<ledger::KeyUse>) -> (WalletId, BatchItem) {
        let item = BatchItem {
            payee: self.payee,
            payee_agent: None,
            amount: self.amount,
            currency: self.currency,
            rail: self.rail,
            description: self.description,
            metadata: self.metadata.map(|metadata| metadata.text),
            key,
            refused: None,
        };
        (self.payer, item)
    }
}

pub(super) fn rail(reader: &mut Reader<'_>) -> read::Result<Rail> {
    let text = reader.string()?;
    Rail::parse(&text).ok_or_else(|| {
        let known: Vec<&str> = Rail::ALL.iter().map(|rail| rail.as_str()).collect();
        reader.invalid(format!("Must be one of: {}.", known.join(", ")))
    })
}

pub(super) fn prose(reader: &mut Reader<'_>) -> read::Result<Box<str>> {
    let text = reader.string()?;
    text::prose(text, text::DESCRIPTION_CHARS_MAX).map_err(|advice| reader.invalid(advice))
}

/// `POST /v1/payments`, with `?dry_run=true` for an answer without effect.
pub(crate) async fn pay(call: &Call<'_>) -> Result<Reply, Problem> {
    let dry_run = call.query.parsed("dry_run", "true or false", boolean)?.unwrap_or(false);
    let metadata_bytes_max = call.gateway.settings.metadata_bytes_max;
    let mut request = Reader::document(call.json(), |r| PaymentRequest::read(r, metadata_bytes_max))?;
    let key = idempotency::key(call.headers, request.key.take())?;
    let key =
        key.map(|text| ledger::KeyUse { text, fingerprint: request.fingerprint(&mut Fingerprint::new()) });
    let caller = call.caller()?;
    let command = PayCommand { key, ..request.command(caller.agent, call.at) };
    if dry_run {
        let payment = call.engine.dry_run(caller, command).await?;
        let mut writer = Writer::new(640, call.amounts);
        writer.object(|w| {
            w.name("dry_run").boolean(true);
            members(w, None, &payment, "would_complete", Audience::Payer);
        });
        return Ok(Reply::json(StatusCode::OK, writer));
    }
    let answer = call.engine.pay_undelivered(caller, command).await?;
    // Written while the disk works, shown when it is done.
    let reply = answer.map(|answer| {
        let mut writer = Writer::new(640, call.amounts);
        writer.object(|w| receipt(w, &answer.value, Audience::Payer));
        Reply::json(StatusCode::CREATED, writer).replayed(answer.replayed)
    });
    Ok(reply.delivered().await?)
}

pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// `GET /v1/payments/{payment_id}`.
pub(crate) async fn read(call: &Call<'_>) -> Result<Reply, Problem> {
    let id = payment_id(call)?;
    let caller = call.caller()?;
    let found = call.engine.transaction(caller.agent, id).await?;
    let claim = call.engine.claim(id).await?;
    let audience = audience(call, caller, &found);
    let mut writer = Writer::new(640, call.amounts);
    writer.object(|w| transaction(w, &found, audience, claim.as_ref()));
    Ok(Reply::json(StatusCode::OK, writer))
}

/// Who looks at a payment. What concerns the payer alone (its balance, its idempotency key) is not for the payee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Payer,
    Payee,
}

/// As whom the caller sees a transaction.
pub(super) fn audience(call: &Call<'_>, caller: &Caller, found: &Transaction) -> Audience {
    match found {
        Transaction::Funding(_) => Audience::Payer,
        Transaction::Payment(receipt) if call.engine.owns(caller.agent, receipt.payment.payer) => {
            Audience::Payer
        }
        Transaction::Settlement(receipt) if call.engine.owns(caller.agent, receipt.payer) => Audience::Payer,
        Transaction::Payment(_) | Transaction::Settlement(_) => Audience::Payee,
    }
}

/// Members of whatever a `tx_` id names, and of what has become of it since.
pub(super) fn transaction(
    w: &mut Writer,
    transaction: &Transaction,
    audience: Audience,
    claim: Option<&ClaimView>,
) {
    let status = claim.map_or(PaymentState::Completed, |claim| claim.state).as_str();
    match transaction {
        Transaction::Payment(payment) => members(w, Some(payment.id), &payment.payment, status, audience),
        Transaction::Funding(funding) => wallets::funding(w, funding),
        Transaction::Settlement(settlement) => tokens::settlement(w, settlement, status, audience),
    }
    if let Some(claim) = claim {
        w.name("refunded_amount").amount(claim.refunded);
        if let Some((dispute, status)) = claim.dispute {
            w.name("dispute_id").plain(dispute);
            w.name("dispute_status").plain(status.as_str());
        }
    }
}

/// The id of a transaction.
pub(super) fn id_of(transaction: &Transaction) -> PaymentId {
    match transaction {
        Transaction::Payment(receipt) => receipt.id,
        Transaction::Funding(receipt) => receipt.id,
        Transaction::Settlement(receipt) => receipt.id,
    }
}

/// Members of a payment as it was made. A first answer, a repeated one and a read go through here, from the same type, so
/// that they are the same bytes until something is claimed back.
pub(crate) fn receipt(w: &mut Writer, receipt: &PaymentReceipt, audience: Audience) {
    members(w, Some(receipt.id), &receipt.payment, PaymentState::Completed.as_str(), audience);
}

fn members(
    w: &mut Writer,
    id: Option<PaymentId>,
    payment: &Payment,
    status: &'static str,
    audience: Audience,
) {
    if let Some(id) = id {
        w.name("id").word(id.text().as_str());
    }
    w.name("amount").amount(payment.amount);
    w.name("fee").amount(payment.fee);
    w.name("total_debited").amount(payment.total_debited());
    w.name("currency").word(payment.currency.as_str());
    w.name("rail").word(payment.rail.as_str());
    w.name("status").word(status);
    w.name("from_wallet_id").word(payment.payer.text().as_str());
    match &payment.payee {
        Payee::Wallet(wallet) => w.name("to_wallet_id").word(wallet.text().as_str()),
        Payee::External(label) => w.name("to_external").string(label),
    }
    w.name("description").optional_string(payment.description.as_deref());
    w.name("metadata").raw(payment.metadata.as_deref());
    if audience == Audience::Payer {
        w.name("idempotency_key").optional_string(payment.key.as_ref().map(|key| &*key.text));
    }
    w.name("created_at").timestamp(payment.at);
    if audience == Audience::Payer {
        w.name("balance_after").object(|w| {
            w.name("available").amount(payment.balance_after.available);
            w.name("held").amount(payment.balance_after.held);
        });
    }
}

#[cfg(test)]
mod tests {
    use ledger::{KeyUse, Parts};

    use super::*;
    use crate::{
        errors::{Detail, Kind},
        json::write::AmountStyle,
    };

    const PAYER: &str = "wallet_00000000000000000000000001";
    const PAYEE: &str = "wallet_00000000000000000000000002";

    fn parse(body: &str) -> Result<PaymentRequest<'_>, Problem> {
        Ok(Reader::document(body.as_bytes(), |r| PaymentRequest::read(r, 1_024))?)
    }

    fn with(members: &str) -> String {
        format!(r#"{{"from_wallet_id":"{PAYER}",{members}}}"#)
    }

    #[test]
    fn the_guides_payment_is_understood() {
        let body = with(
            r#""to_external": "merchant:demo", "amount": 5, "currency": "USD", "rail": "internal",
               "description": "Agent tool purchase", "idempotency_key": "tool-call-001""#,
        );
        let request = parse(&body).expect("the guide is right");
        assert_eq!(request.payer.to_string(), PAYER);
        assert_eq!(request.payee, Payee::External("merchant:demo".into()));
        assert_eq!(request.amount, Amount::from_nanos(5_000_000_000));
        assert_eq!((request.currency, request.rail), (Some(Currency::USD), Rail::Internal));
        assert_eq!(request.description.as_deref(), Some("Agent tool purchase"));
        assert_eq!(request.key.as_deref(), Some("tool-call-001"));
    }

    #[test]
    fn wrong_payments_name_the_field() {
        for (members, path) in [
            (r#""amount":5"#.to_owned(), "$"),
            (format!(r#""to_external":"m","to_wallet_id":"{PAYEE}","amount":5"#), "$"),
            (r#""to_external":"m""#.to_owned(), "$.amount"),
            (r#""to_external":"m","amount":"5.""#.to_owned(), "$.amount"),
            (r#""to_external":"m\u200b","amount":5"#.to_owned(), "$.to_external"),
            (r#""to_external":"","amount":5"#.to_owned(), "$.to_external"),
            (r#""to_wallet_id":"wallet_1","amount":5"#.to_owned(), "$.to_wallet_id"),
            (r#""to_external":"m","amount":5,"currency":"usd""#.to_owned(), "$.currency"),
            (r#""to_external":"m","amount":5,"rail":"wire""#.to_owned(), "$.rail"),
            (r#""to_external":"m","amount":5,"description":7"#.to_owned(), "$.description"),
            (r#""to_external":"m","amount":5,"metadata":{"a":{"b":1,"b":2}}"#.to_owned(), "$.metadata.a.b"),
            (r#""to_external":"m","amount":5,"memo":"x""#.to_owned(), "$.memo"),
            (r#""to_external":"m","amount":5,"amount":6"#.to_owned(), "$.amount"),
        ] {
            let problem = parse(&with(&members)).expect_err(&members);
            assert_eq!(problem.kind, Kind::InvalidRequest);
            assert_eq!(
                problem.details[0],
                ("path", Detail::Text(path.into())),
                "{members}: {}",
                problem.message
            );
        }
        let problem = parse(r#"{"to_external":"m","amount":5}"#).expect_err("no payer");
        assert_eq!(problem.details[0], ("path", Detail::Text("$.from_wallet_id".into())));
    }

    #[test]
    fn the_fingerprint_follows_meaning_not_spelling() {
        let of = |members: &str| {
            let body = with(members);
            let request = parse(&body).unwrap_or_else(|problem| panic!("{members}: {}", problem.message));
            request.fingerprint(&mut Fingerprint::new())
        };
        let base = of(r#""to_external":"m","amount":5"#);
        for same in [
            r#""amount":5,"to_external":"m""#,
            r#""amount":5.0,"to_external":"m""#,
            r#""amount":"5","to_external":"m""#,
            r#""amount":"5.000","to_external":"\u006d""#,
            r#""amount":5,"to_external":"m","rail":"internal""#,
            r#""amount":5,"to_external":"m","rail":null,"description":null,"metadata":null"#,
            r#""amount":5,"to_external":"m","idempotency_key":"any""#,
        ] {
            assert_eq!(of(same), base, "{same}");
        }
        assert_eq!(
            of(r#""to_external":"m","amount":5,"metadata":{"a":1,"b":[2]}"#),
            of(r#""metadata":{ "b" : [2.0], "a":1 },"to_external":"m","amount":5"#)
        );
        let payee = format!(r#""to_wallet_id":"{PAYEE}","amount":5"#);
        let different = [
            r#""to_external":"m","amount":5"#,
            r#""to_external":"n","amount":5"#,
            r#""to_external":"m","amount":5.000000001"#,
            r#""to_external":"m","amount":5,"currency":"USD""#,
            r#""to_external":"m","amount":5,"currency":"EUR""#,
            r#""to_external":"m","amount":5,"rail":"ach""#,
            r#""to_external":"m","amount":5,"description":"""#,
            r#""to_external":"m","amount":5,"description":"d""#,
            r#""to_external":"m","amount":5,"metadata":{}"#,
            r#""to_external":"m","amount":5,"metadata":{"a":1}"#,
            payee.as_str(),
        ];
        let hashes: Vec<u64> = different.iter().map(|members| of(members)).collect();
        for (at, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..at].contains(hash), "{}", different[at]);
        }
    }

    fn payment() -> Payment {
        let nanos = Amount::from_nanos;
        Payment {
            payer: PAYER.parse().expect("an id"),
            payee: Payee::External("merchant:demo".into()),
            amount: nanos(5_000_000_000),
            fee: nanos(20_000_000),
            currency: Currency::USD,
            rail: Rail::Internal,
            description: Some("a \"tool\"".into()),
            metadata: Some(r#"{"a":1}"#.into()),
            key: Some(KeyUse { text: "k\\1".into(), fingerprint: 7 }),
            at: Timestamp::from_millis(1_778_241_600_000),
            balance_after: Parts { available: nanos(94_980_000_000), held: Amount::ZERO },
        }
    }

    fn shown(id: Option<PaymentId>, audience: Audience, amounts: AmountStyle) -> String {
        let mut writer = Writer::new(640, amounts);
        let status = if id.is_some() { "completed" } else { "would_complete" };
        writer.object(|w| members(w, id, &payment(), status, audience));
        String::from_utf8(writer.finish()).expect("UTF-8")
    }

    #[test]
    fn an_answer_has_the_contracts_members_in_order() {
        let text = shown(Some(PaymentId::from_raw(9)), Audience::Payer, AmountStyle::Number);
        let expected = concat!(
            r#"{"id":"tx_00000000000000000000000009","amount":5,"fee":0.02,"total_debited":5.02,"currency":"USD","#,
            r#""rail":"internal","status":"completed","from_wallet_id":"wallet_00000000000000000000000001","#,
            r#""to_external":"merchant:demo","description":"a \"tool\"","metadata":{"a":1},"idempotency_key":"k\\1","#,
            r#""created_at":"2026-05-08T12:00:00.000Z","balance_after":{"available":94.98,"held":0}}"#
        );
        assert_eq!(text, expected);
        let strings = shown(Some(PaymentId::from_raw(9)), Audience::Payer, AmountStyle::String);
        assert!(strings.contains(r#""total_debited":"5.02""#), "{strings}");
    }

    #[test]
    fn what_was_claimed_back_stands_behind_the_payment() {
        let receipt =
            Transaction::Payment(PaymentReceipt { id: PaymentId::from_raw(9), payment: payment().into() });
        let shown = |claim: Option<&ClaimView>| {
            let mut writer = Writer::new(640, AmountStyle::Number);
            writer.object(|w| transaction(w, &receipt, Audience::Payer, claim));
            String::from_utf8(writer.finish()).expect("UTF-8")
        };
        let before = shown(None);
        let mut claim = ClaimView {
            state: PaymentState::PartiallyRefunded,
            refunded: Amount::from_nanos(1_500_000_000),
            dispute: None,
        };
        let expected = before.replace(r#""status":"completed""#, r#""status":"partially_refunded""#);
        let expected = format!(r#"{},"refunded_amount":1.5}}"#, &expected[..expected.len() - 1]);
        assert_eq!(shown(Some(&claim)), expected);
        claim.dispute = Some((ledger::DisputeId::from_raw(1), ledger::DisputeStatus::Open));
        let disputed = r#","dispute_id":"disp_00000000000000000000000001","dispute_status":"open"}"#;
        assert!(shown(Some(&claim)).ends_with(disputed));
    }

    #[test]
    fn a_payee_does_not_see_the_payers_balance_or_key() {
        let text = shown(Some(PaymentId::from_raw(9)), Audience::Payee, AmountStyle::Number);
        assert!(!text.contains("balance_after") && !text.contains("idempotency_key"), "{text}");
        assert!(text.contains(r#""amount":5,"#));
    }

    #[test]
    fn a_preview_has_no_id_and_no_finished_state() {
        let text = shown(None, Audience::Payer, AmountStyle::Number);
        assert!(
            text.starts_with(r#"{"amount":5,"#) && text.contains(r#""status":"would_complete""#),
            "{text}"
        );
    }
}
