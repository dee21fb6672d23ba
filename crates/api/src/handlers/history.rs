//! Lists that come from the derived index: payments of an agent, statement lines of a wallet.

use engine::{EntryView, Page, PageRequest, PaymentFilter, TimeRange, Transaction};
use http::{HeaderName, HeaderValue, StatusCode, header::ACCEPT};
use ledger::Rail;

use super::payments;
use crate::{
    csv, cursor,
    dispatch::Call,
    errors::Problem,
    json::write::Writer,
    request::Query,
    respond::{Content, Reply},
    time,
};

const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 100;
/// Where a CSV page says how to go on.
pub(crate) const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");

/// States that a payment can be in, as the `status` filter names them.
const STATES: [&str; 11] = [
    "pending_approval",
    "initiated",
    "authorized",
    "submitted",
    "settling",
    "completed",
    "failed",
    "refunded",
    "partially_refunded",
    "expired",
    "rejected",
];

/// The `limit` of a list.
pub(super) fn limit(query: &Query) -> Result<usize, Problem> {
    let read = |text: &str| text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    Ok(query.parsed("limit", "a whole number from 1 to 100", read)?.unwrap_or(LIMIT_DEFAULT))
}

pub(super) fn page(call: &Call<'_>, query: &Query) -> Result<PageRequest, Problem> {
    let partition = call.engine.options().partition;
    let cursor = query.parsed("cursor", "the next_cursor of an earlier page", |text| {
        cursor::open(call.sealer, partition, text)
    })?;
    Ok(PageRequest { cursor, limit: limit(query)? })
}

pub(super) fn range(query: &Query) -> Result<TimeRange, Problem> {
    const WANTED: &str = "an RFC 3339 time, such as 2026-05-08T12:00:00Z";
    Ok(TimeRange {
        after: query.parsed("created_after", WANTED, time::parse)?,
        before: query.parsed("created_before", WANTED, time::parse)?,
    })
}

pub(super) fn next_cursor<T>(call: &Call<'_>, page: &Page<T>) -> Option<String> {
    let partition = call.engine.options().partition;
    page.next.map(|next| cursor::seal(call.sealer, partition, next))
}

/// `GET /v1/payments`.
pub(crate) async fn payments(call: &Call<'_>) -> Result<Reply, Problem> {
    let query = &call.query;
    let filter = PaymentFilter {
        wallet: query.parsed("wallet_id", "a wallet id", |text| text.parse().ok())?,
        counterparty: query.get("counterparty").map(str::to_owned),
        rail: query.parsed("rail", "one of: internal, ach, card, crypto, stripe", Rail::parse)?,
        status: query.parsed("status", "a payment state, such as completed", |text| {
            STATES.iter().find(|state| **state == text).copied()
        })?,
        range: range(query)?,
    };
    let caller = call.caller()?;
    let page = call.engine.payments(caller.agent, filter, page(call, query)?).await?;
    // Most pages are of one payer; it is asked about once.
    let mut known = None;
    let mut audiences = Vec::with_capacity(page.items.len());
    for item in &page.items {
        let payer = match item {
            Transaction::Payment(receipt) => receipt.payment.payer,
            Transaction::Funding(receipt) => receipt.funding.wallet,
            Transaction::Settlement(receipt) => receipt.payer,
        };
        let audience = match known {
            Some((same, audience)) if same == payer => audience,
            _ => payments::audience(call, caller, item),
        };
        known = Some((payer, audience));
        let claim = call.engine.claim(payments::id_of(item)).await?;
        audiences.push((audience, claim));
    }
    let mut writer = Writer::new(480 * page.items.len() + 96, call.amounts);
    writer.object(|w| {
        w.name("payments").array(|w| {
            for (item, (audience, claim)) in page.items.iter().zip(&audiences) {
                w.object(|w| payments::transaction(w, item, *audience, claim.as_ref()));
            }
        });
        w.name("next_cursor").optional_string(next_cursor(call, &page).as_deref());
    });
    Ok(Reply::json(StatusCode::OK, writer))
}

/// `GET /v1/wallets/{wallet_id}/entries`.
pub(crate) async fn entries(call: &Call<'_>) -> Result<Reply, Problem> {
    let wallet = call.wallet_id()?;
    let query = &call.query;
    let as_csv = query.parsed("format", "json or csv", |text| match text {
        "csv" => Some(true),
        "json" => Some(false),
        _ => None,
    })?;
    let as_csv =
        as_csv.unwrap_or_else(|| call.headers.get(ACCEPT).is_some_and(|accept| accept == "text/csv"));
    let page = call.engine.entries(call.caller()?.agent, wallet, range(query)?, page(call, query)?).await?;
    let next = next_cursor(call, &page);
    if as_csv {
        let mut reply = Reply::empty(StatusCode::OK);
        reply.content = Content::Csv;
        reply.body = entries_csv(&page.items);
        if let Some(next) = next.and_then(|next| HeaderValue::try_from(next).ok()) {
            reply.extra.push((NEXT_CURSOR, next));
        }
        return Ok(reply);
    }
    let mut writer = Writer::new(240 * page.items.len() + 96, call.amounts);
    writer.object(|w| {
        w.name("entries")
            .array(|w| page.items.iter().for_each(|entry| w.object(|w| entry_members(w, entry))));
        w.name("next_cursor").optional_string(next.as_deref());
    });
    Ok(Reply::json(StatusCode::OK, writer))
}

fn entry_members(w: &mut Writer, entry: &EntryView) {
    // Lines of a hold belong to a token that may never become a payment.
    match entry.payment_id {
        Some(payment) => w.name("payment_id").plain(payment),
        None => w.name("payment_id").null(),
    }
    w.name("kind").plain(entry.kind);
    w.name("delta").amount(entry.delta);
    w.name("balance_after").amount(entry.balance_after);
    w.name("counterparty").optional_string(entry.counterparty.as_deref());
    w.name("created_at").timestamp(entry.at);
}

fn entries_csv(entries: &[EntryView]) -> Vec<u8> {
    let mut out = b"payment_id,kind,delta,balance_after,counterparty,created_at\r\n".to_vec();
    for entry in entries {
        csv::text(&mut out, &entry.payment_id.map_or_else(String::new, |payment| payment.to_string()));
        out.push(b',');
        csv::text(&mut out, entry.kind);
        out.push(b',');
        entry.delta.write(&mut out);
        out.push(b',');
        entry.balance_after.write(&mut out);
        out.push(b',');
        csv::text(&mut out, entry.counterparty.as_deref().unwrap_or(""));
        out.push(b',');
        time::write(&mut out, entry.at);
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use ledger::{Amount, PaymentId, Timestamp};

    use super::*;

    #[test]
    fn limits_are_bounded() {
        let of = |text: &'static str| limit(&Query::parse(Some(text), &["limit"]).expect("a query"));
        assert_eq!(of("").expect("the default"), 20);
        assert_eq!(of("limit=100").expect("the most"), 100);
        for text in ["limit=0", "limit=101", "limit=-1", "limit=ten", "limit="] {
            assert!(of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn statements_in_csv_are_defused() {
        let entry = EntryView {
            payment_id: Some(PaymentId::from_raw(1)),
            kind: "payment_sent",
            delta: Amount::from_nanos(-5_020_000_000),
            balance_after: Amount::from_nanos(94_980_000_000),
            counterparty: Some("=HYPERLINK(\"http://x\"),a".to_owned()),
            at: Timestamp::from_millis(1_778_241_600_000),
        };
        let text = String::from_utf8(entries_csv(&[entry])).expect("UTF-8");
        assert_eq!(
            text.lines().nth(1),
            Some(
                "tx_00000000000000000000000001,payment_sent,-5.02,94.98,\
                 \"'=HYPERLINK(\"\"http://x\"\"),a\",2026-05-08T12:00:00.000Z"
            )
        );
    }
}
