//! Services and tokens of the small server.

use loadtest::decimal;
use serde_json::{Value, json};

use super::{Answer, BEFORE_THE_LIE, Books, Lie, answer, not_found};

/// Price of every service, and the fee that its provider is charged.
const PRICE: i128 = 10_000_000;
const PROVIDER_FEE: i128 = 1_000_000;

/// A token; its number is its id.
pub(super) struct Token {
    payer: String,
    provider: String,
    /// The settling payment.
    payment: Option<usize>,
    is_settled: bool,
}

fn number(nanos: i128) -> Value {
    serde_json::from_str(&decimal(nanos)).expect("a number")
}

/// A service is named after the wallet that it is paid into.
pub(super) fn register(books: &mut Books, key: &str) -> Answer {
    match books.wallets.get(key) {
        Some(wallet) => answer(201, &json!({ "id": format!("svc_{wallet}") })),
        None => answer(401, &json!({ "error": {} })),
    }
}

pub(super) fn authorize(books: &mut Books, service: &str, body: &Value) -> Answer {
    let provider = service.trim_start_matches("svc_").to_owned();
    let Some(payer) = body["from_wallet_id"].as_str() else { return not_found() };
    let id = format!("tokid_{}", books.tokens.len());
    books.tokens.push(Token { payer: payer.to_owned(), provider, payment: None, is_settled: false });
    let token = format!("x402_tok_{id}");
    answer(201, &json!({ "token": token, "token_id": id, "reserved_amount": number(PRICE) }))
}

pub(super) fn redeem(body: &Value) -> Answer {
    let token = body["payment_token"].as_str().unwrap_or_default();
    answer(200, &json!({ "valid": true, "token_id": token.trim_start_matches("x402_tok_") }))
}

pub(super) fn step(books: &mut Books, lie: Lie, id: &str, step: &str) -> Option<Answer> {
    let index: usize = id.strip_prefix("tokid_")?.parse().ok()?;
    if step != "call-completed" {
        return Some(answer(200, &json!({ "token_id": id })));
    }
    let lies = books.chosen.is_none() && books.payments.len() >= BEFORE_THE_LIE;
    if lies {
        books.chosen = Some(books.payments.len());
    }
    books.tokens[index].payment = Some(settle(books, index, lies && lie == Lie::PaysNoProvider));
    books.tokens[index].is_settled = !(lies && lie == Lie::ForgetsToSettle);
    if lies && lie == Lie::SettlesTwice {
        settle(books, index, false);
    }
    Some(answer(200, &json!({ "token_id": id, "status": "settled", "provider_fee": number(PROVIDER_FEE) })))
}

fn settle(books: &mut Books, index: usize, keeps: bool) -> usize {
    let (payer, provider) = (books.tokens[index].payer.clone(), books.tokens[index].provider.clone());
    *books.balances.get_mut(&payer).expect("a wallet") -= PRICE;
    if !keeps {
        *books.balances.get_mut(&provider).expect("a wallet") += PRICE - PROVIDER_FEE;
    }
    books.fees += PROVIDER_FEE;
    books.payments.push(json!({
        "id": format!("tx_{}", books.payments.len()), "amount": number(PRICE), "fee": 0,
        "total_debited": number(PRICE), "status": "completed", "from_wallet_id": payer,
        "to_wallet_id": provider, "token_id": format!("tokid_{index}"),
    }));
    books.payments.len() - 1
}

pub(super) fn read(books: &Books, id: &str) -> Answer {
    let token = id.strip_prefix("tokid_").and_then(|n| n.parse::<usize>().ok());
    let Some(token) = token.and_then(|index| books.tokens.get(index)) else { return not_found() };
    let status = if token.is_settled { "settled" } else { "accepted" };
    let payment = token.payment.filter(|_| token.is_settled).map(|index| format!("tx_{index}"));
    answer(200, &json!({ "token_id": id, "status": status, "payment_id": payment }))
}
