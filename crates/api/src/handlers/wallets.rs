//! Wallets: opening, reading, sandbox funding, freezing.

use engine::{FundReceipt, OpenWallet, Refusal, WalletView};
use http::StatusCode;
use ledger::{Amount, Currency, Denial, FundCommand, WalletStatus};

use super::{agents, currency, name, nothing};
use crate::{
    dispatch::Call,
    errors::{Kind, Problem, status_name},
    idempotency::{self, Fingerprint},
    json::{
        read::{Reader, Slot},
        write::Writer,
    },
    respond::Reply,
};

/// The only source of sandbox funds.
const FAUCET: &str = "test_faucet";

#[derive(Debug)]
struct OpenRequest {
    label: Option<Box<str>>,
    currency: Option<Currency>,
    key: Option<String>,
}

impl OpenRequest {
    const FIELDS: &'static [&'static str] = &["label", "currency", "idempotency_key"];

    fn parse(body: &[u8]) -> Result<Self, Problem> {
        let (mut label, mut currency_slot, mut key) = (Slot::Missing, Slot::Missing, Slot::Missing);
        Ok(Reader::document(body, |r| {
            r.object(|r, field| match field {
                "label" => label.set(r, name),
                "currency" => currency_slot.set(r, currency),
                "idempotency_key" => key.set(r, |r| r.string().map(String::from)),
                other => Err(r.unknown_field(other, Self::FIELDS)),
            })?;
            Ok(Self { label: label.optional(), currency: currency_slot.optional(), key: key.optional() })
        })?)
    }

    fn fingerprint(&self, default_currency: Currency) -> u64 {
        let currency = self.currency.unwrap_or(default_currency);
        Fingerprint::new().text(self.label.as_deref()).text(Some(currency.as_str())).finish()
    }
}

/// `POST /v1/wallets`.
pub(crate) async fn open(call: &Call<'_>) -> Result<Reply, Problem> {
    let request = OpenRequest::parse(call.json())?;
    let fingerprint = request.fingerprint(call.engine.options().default_currency);
    let key = idempotency::key(call.headers, request.key.map(Into::into))?;
    let command = OpenWallet {
        label: request.label,
        currency: request.currency,
        key: idempotency::key_use(key, fingerprint),
        at: call.at,
    };
    let answer = call.engine.open_wallet(call.caller()?, command).await?;
    Ok(Reply::json(StatusCode::CREATED, wallet(call, &answer.value)).replayed(answer.replayed))
}

/// `GET /v1/wallets/{wallet_id}`.
pub(crate) async fn read(call: &Call<'_>) -> Result<Reply, Problem> {
    let view = call.engine.wallet(call.caller()?, call.wallet_id()?).await?;
    Ok(Reply::json(StatusCode::OK, wallet(call, &view)))
}

/// `GET /v1/wallets/{wallet_id}/balance`.
pub(crate) async fn balance(call: &Call<'_>) -> Result<Reply, Problem> {
    let view = call.engine.wallet(call.caller()?, call.wallet_id()?).await?;
    let mut writer = Writer::new(256, call.amounts);
    writer.object(|w| {
        w.name("wallet_id").plain(view.id);
        w.name("currency").plain(view.currency);
        parts(w, &view);
        w.name("as_of").timestamp(view.as_of);
    });
    Ok(Reply::json(StatusCode::OK, writer))
}

/// `GET /v1/wallets`: newest first. The cursor counts the wallets that are older than the page, which never changes,
/// because wallets are only ever added.
pub(crate) async fn list(call: &Call<'_>) -> Result<Reply, Problem> {
    let limit = super::history::limit(&call.query)?;
    let cursor = call
        .query
        .parsed("cursor", "the next_cursor of an earlier page", |text| text.parse::<usize>().ok())?;
    let agent = agents::own(call).await?;
    let total = agent.wallets.len();
    let end = cursor.unwrap_or(total).min(total);
    let start = end.saturating_sub(limit);
    let mut views = Vec::with_capacity(end - start);
    for id in agent.wallets[start..end].iter().rev() {
        views.push(call.engine.wallet(call.caller()?, *id).await?);
    }
    let mut writer = Writer::new(320 * views.len() + 64, call.amounts);
    writer.object(|w| {
        w.name("wallets").array(|w| views.iter().for_each(|view| w.object(|w| members(w, view))));
        match start {
            0 => w.name("next_cursor").null(),
            start => w.name("next_cursor").plain(start),
        }
        w.name("total").integer(total);
    });
    Ok(Reply::json(StatusCode::OK, writer))
}

fn wallet(call: &Call<'_>, view: &WalletView) -> Writer {
    let mut writer = Writer::new(384, call.amounts);
    writer.object(|w| members(w, view));
    writer
}

fn members(w: &mut Writer, view: &WalletView) {
    w.name("id").plain(view.id);
    w.name("agent_id").plain(view.agent);
    w.name("label").optional_string(view.label.as_deref());
    w.name("currency").plain(view.currency);
    w.name("status").plain(status_name(view.status));
    parts(w, view);
    w.name("created_at").timestamp(view.created_at);
    w.name("as_of").timestamp(view.as_of);
}

fn parts(w: &mut Writer, view: &WalletView) {
    w.name("available").amount(view.available);
    w.name("held").amount(view.held);
    w.name("disputed").amount(view.disputed);
    w.name("total").amount(view.available.plus(view.held).plus(view.disputed));
}

#[derive(Debug)]
struct FundRequest {
    amount: Amount,
    key: Option<String>,
}

impl FundRequest {
    const FIELDS: &'static [&'static str] = &["amount", "source", "idempotency_key"];

    fn parse(body: &[u8]) -> Result<Self, Problem> {
        let (mut amount, mut source, mut key) = (Slot::Missing, Slot::Missing, Slot::Missing);
        Ok(Reader::document(body, |r| {
            r.object(|r, field| match field {
                "amount" => amount.set(r, Reader::amount),
                "source" => source.set(r, |r| match &*r.string()? {
                    FAUCET => Ok(()),
                    _ => Err(r.invalid("Must be \"test_faucet\", the only source of sandbox funds.")),
                }),
                "idempotency_key" => key.set(r, |r| r.string().map(String::from)),
                other => Err(r.unknown_field(other, Self::FIELDS)),
            })?;
            Ok(Self { amount: amount.required(r, "amount")?, key: key.optional() })
        })?)
    }
}

/// `POST /v1/wallets/{wallet_id}/fund`.
pub(crate) async fn fund(call: &Call<'_>) -> Result<Reply, Problem> {
    if call.gateway.settings.production {
        return Err(Problem::new(Kind::Forbidden)
            .saying("The test faucet is closed on this node. It is for sandboxes."));
    }
    let wallet = call.wallet_id()?;
    let request = FundRequest::parse(call.json())?;
    let fingerprint = Fingerprint::new().id(wallet.raw()).amount(request.amount).finish();
    let key = idempotency::key(call.headers, request.key.map(Into::into))?;
    let caller = call.caller()?;
    let command = FundCommand {
        caller: caller.agent,
        wallet,
        amount: request.amount,
        key: idempotency::key_use(key, fingerprint),
        at: call.at,
    };
    let answer = call.engine.fund(caller, command).await?;
    let mut writer = Writer::new(384, call.amounts);
    writer.object(|w| funding(w, &answer.value));
    Ok(Reply::json(StatusCode::CREATED, writer).replayed(answer.replayed))
}

/// Members of a funding, whether it is new, repeated or read.
pub(crate) fn funding(w: &mut Writer, receipt: &FundReceipt) {
    let funding = &receipt.funding;
    w.name("id").plain(receipt.id);
    w.name("type").plain("funding");
    w.name("wallet_id").plain(funding.wallet);
    w.name("amount").amount(funding.amount);
    w.name("currency").plain(funding.currency);
    w.name("source").plain(FAUCET);
    w.name("status").plain("completed");
    w.name("idempotency_key").optional_string(funding.key.as_ref().map(|key| &*key.text));
    w.name("created_at").timestamp(funding.at);
    w.name("balance").amount(funding.balance_after.available);
    w.name("balance_after").object(|w| {
        w.name("available").amount(funding.balance_after.available);
        w.name("held").amount(funding.balance_after.held);
    });
}

/// `POST /v1/wallets/{wallet_id}/freeze` and `…/unfreeze`. Asking for the present status is no error.
pub(crate) async fn set_status(call: &Call<'_>, wanted: WalletStatus) -> Result<Reply, Problem> {
    let id = call.wallet_id()?;
    nothing(call.json(), call.headers)?;
    let caller = call.caller()?;
    let view = match call.engine.set_status(caller, id, wanted, call.at).await {
        Err(Refusal::Denied(Denial::WrongStatus { status })) if status == wanted => {
            call.engine.wallet(caller, id).await?
        }
        changed => changed?,
    };
    Ok(Reply::json(StatusCode::OK, wallet(call, &view)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Detail;

    #[test]
    fn funding_requests_are_exact() {
        for (body, nanos) in [
            (r#"{"amount": 100, "source": "test_faucet"}"#, 100_000_000_000),
            (r#"{"amount": "0.000000001"}"#, 1),
        ] {
            let request = FundRequest::parse(body.as_bytes()).expect(body);
            assert_eq!(request.amount, Amount::from_nanos(nanos));
        }
        for (body, path) in [
            (r#"{"source":"test_faucet"}"#, "$.amount"),
            (r#"{"amount":1,"source":"bank"}"#, "$.source"),
            (r#"{"amount":1e2}"#, "$.amount"),
            (r#"{"amount":-1}"#, "$.amount"),
            (r#"{"amount":[1]}"#, "$.amount"),
            (r#"{"amount":1,"currency":"USD"}"#, "$.currency"),
        ] {
            let problem = FundRequest::parse(body.as_bytes()).expect_err(body);
            assert_eq!(problem.details[0], ("path", Detail::Text(path.into())), "{body}");
        }
    }

    #[test]
    fn the_default_currency_means_the_same_written_or_not() {
        let fingerprint =
            |body: &str| OpenRequest::parse(body.as_bytes()).expect(body).fingerprint(Currency::USD);
        assert_eq!(fingerprint("{}"), fingerprint(r#"{"currency":"USD","label":null}"#));
        assert_ne!(fingerprint("{}"), fingerprint(r#"{"currency":"EUR"}"#));
        assert_ne!(fingerprint(r#"{"label":"a"}"#), fingerprint(r#"{"label":"b"}"#));
        assert!(OpenRequest::parse(br#"{"currency":"usd"}"#).is_err());
    }
}
