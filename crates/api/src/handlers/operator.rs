//! What only operators may see: the trial balance, and metrics where they are served here.

use std::collections::BTreeMap;

use http::StatusCode;
use ledger::Amount;

use crate::{
    dispatch::Call,
    errors::{Kind, Problem},
    json::write::Writer,
    respond::{Content, Reply},
};

/// `GET /v1/ledger/trial-balance`: every account's sum at one position, and the total per currency, which is zero.
pub(crate) fn trial_balance(call: &Call<'_>) -> Result<Reply, Problem> {
    let balance = call.engine.trial_balance();
    let mut totals = BTreeMap::new();
    for row in &balance.rows {
        let total: &mut Amount = totals.entry(row.currency).or_default();
        *total = total.plus(row.sum);
    }
    let mut writer = Writer::new(1_024, call.amounts);
    writer.object(|w| {
        w.name("lsn").integer(balance.lsn);
        w.name("balanced").boolean(totals.values().all(|total| total.is_zero()));
        w.name("accounts").array(|w| {
            for row in &balance.rows {
                w.object(|w| {
                    w.name("currency").plain(row.currency);
                    w.name("account").plain(row.account);
                    w.name("sum").amount(row.sum);
                });
            }
        });
        w.name("totals").array(|w| {
            for (currency, total) in &totals {
                w.object(|w| {
                    w.name("currency").plain(currency);
                    w.name("sum").amount(*total);
                });
            }
        });
    });
    Ok(Reply::json(StatusCode::OK, writer))
}

/// `GET /metrics`, where the node serves them on this listener.
pub(crate) fn metrics(call: &Call<'_>) -> Result<Reply, Problem> {
    let Some(render) = &call.gateway.render_metrics else {
        return Err(Problem::new(Kind::NotFound).saying("Metrics are served on a listener of their own."));
    };
    let mut reply = Reply::empty(StatusCode::OK);
    reply.content = Content::Metrics;
    reply.body = render().into_bytes();
    Ok(reply)
}
