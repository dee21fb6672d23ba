//! A small server that speaks the part of the contract that a load uses, in memory, and can be told to lie.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use loadtest::{Target, decimal};
use serde_json::{Value, json};

/// What the server does wrong. Each lie is told about one payment only, so that finding it needs a complete look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    /// Acknowledges a payment and has no record of it.
    Forgets,
    /// Reads back another amount than it acknowledged.
    ReadsAnotherAmount,
    /// Reads back another payee.
    ReadsAnotherPayee,
    /// Acknowledges another amount than it was asked for.
    AcknowledgesAnotherAmount,
    /// Debits the payer and never credits the payee.
    KeepsTheMoney,
    /// Applies a payment twice under one key, and lists it twice.
    PaysTwice,
    /// Lists a payment under a key that was refused.
    PaysWhatItRefused,
    /// Answers a balance below zero.
    GoesNegative,
    /// Closes the connection instead of the answer, having applied the payment. No lie: a crash.
    LosesTheAnswer,
    /// The same, and then applies the repeated request again.
    LosesTheAnswerAndPaysTwice,
    /// Says the trial balance is not zero.
    CooksTheBooks,
}

/// The first payment to a wallet after so many others is the one that is lied about.
const BEFORE_THE_LIE: usize = 9;
pub(crate) const OPERATOR_TOKEN: &str = "operator";

#[derive(Default)]
struct Books {
    /// Wallet of each key; an agent has one.
    wallets: HashMap<String, String>,
    balances: HashMap<String, i128>,
    payments: Vec<Value>,
    by_key: HashMap<String, usize>,
    fees: i128,
    external: i128,
    funded: i128,
    /// Number of the payment that is lied about.
    chosen: Option<usize>,
    trouble: bool,
}

struct Server {
    lie: Lie,
    books: Mutex<Books>,
}

/// Serves for as long as the test process lives.
pub(crate) fn serve(lie: Lie) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = Target::from(listener.local_addr().expect("a bound address"));
    let server = Arc::new(Server { lie, books: Mutex::default() });
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let server = Arc::clone(&server);
            thread::spawn(move || server.connection(stream));
        }
    });
    target
}

struct Request {
    method: String,
    path: String,
    key: String,
    body: Value,
}

struct Answer {
    status: u16,
    replayed: bool,
    body: String,
}

fn answer(status: u16, body: &Value) -> Answer {
    Answer { status, replayed: false, body: body.to_string() }
}

fn not_found() -> Answer {
    answer(404, &json!({ "error": { "code": "AP-2002" } }))
}

impl Server {
    fn connection(&self, mut stream: TcpStream) {
        while let Some(request) = read_request(&mut stream) {
            let Some(Answer { status, replayed, body }) = self.respond(&request) else { return };
            let replayed = if replayed { "idempotent-replayed: true\r\n" } else { "" };
            let head = format!("HTTP/1.1 {status} X\r\n{replayed}content-length: {}\r\n\r\n", body.len());
            if stream.write_all((head + &body).as_bytes()).is_err() {
                return;
            }
        }
    }

    /// `None`: the connection ends instead.
    fn respond(&self, request: &Request) -> Option<Answer> {
        let mut books = self.books.lock().expect("no handler panicked");
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let parts: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
        Some(match (request.method.as_str(), parts.as_slice()) {
            ("POST", ["agents"]) => create_agent(&mut books),
            ("POST", ["wallets", wallet, "fund"]) => {
                let nanos = nanos_of(&request.body["amount"]);
                *books.balances.get_mut(*wallet)? += nanos;
                books.funded += nanos;
                answer(201, &json!({ "id": "tx_fund" }))
            }
            ("POST", ["payments"]) => return self.pay(&mut books, request),
            ("GET", ["payments"]) => list(&books, query),
            ("GET", ["payments", id]) => self.read(&books, id),
            ("GET", ["wallets", wallet, "balance"]) => self.balance(&books, wallet),
            ("GET", ["wallets", _, "entries"]) => answer(200, &json!({ "entries": [] })),
            ("GET", ["ledger", "trial-balance"]) if request.key == OPERATOR_TOKEN => self.books(&books),
            _ => not_found(),
        })
    }

    fn pay(&self, books: &mut Books, request: &Request) -> Option<Answer> {
        let body = &request.body;
        let key = body["idempotency_key"].as_str()?.to_owned();
        let pays_twice = self.lie == Lie::LosesTheAnswerAndPaysTwice && books.trouble;
        if let Some(index) = books.by_key.get(&key).filter(|_| !pays_twice) {
            let body = books.payments[*index].to_string();
            return Some(Answer { status: 201, replayed: true, body });
        }
        let is_chosen = books.chosen.is_none()
            && books.payments.len() >= BEFORE_THE_LIE
            && body["to_wallet_id"].is_string();
        if is_chosen {
            books.chosen = Some(books.payments.len());
        }
        let index = apply(books, body, self.lie == Lie::KeepsTheMoney && is_chosen)?;
        books.by_key.insert(key, index);
        let mut paid = books.payments[index].clone();
        if is_chosen {
            match self.lie {
                Lie::PaysTwice => {
                    apply(books, body, false)?;
                }
                Lie::LosesTheAnswer | Lie::LosesTheAnswerAndPaysTwice => {
                    books.trouble = true;
                    return None;
                }
                Lie::PaysWhatItRefused => return Some(answer(402, &json!({ "error": {} }))),
                Lie::AcknowledgesAnotherAmount => paid["amount"] = json!(7),
                _ => {}
            }
        }
        Some(answer(201, &paid))
    }

    fn read(&self, books: &Books, id: &str) -> Answer {
        let Some(index) = id.strip_prefix("tx_").and_then(|n| n.parse::<usize>().ok()) else {
            return not_found();
        };
        let Some(payment) = books.payments.get(index) else { return not_found() };
        let mut payment = payment.clone();
        match self.lie {
            Lie::Forgets if books.chosen == Some(index) => return not_found(),
            Lie::ReadsAnotherAmount if books.chosen == Some(index) => payment["amount"] = json!(7),
            Lie::ReadsAnotherPayee if books.chosen == Some(index) => {
                payment["to_wallet_id"] = json!("wallet_x")
            }
            _ => {}
        }
        answer(200, &payment)
    }

    fn balance(&self, books: &Books, wallet: &str) -> Answer {
        let Some(balance) = books.balances.get(wallet) else { return not_found() };
        let balance = if self.lie == Lie::GoesNegative && wallet == "wallet_1" { -1 } else { *balance };
        let text = decimal(balance);
        let body = format!(r#"{{"wallet_id":"{wallet}","available":{text},"held":0,"disputed":0}}"#);
        Answer { status: 200, replayed: false, body }
    }

    fn books(&self, books: &Books) -> Answer {
        let wallets: i128 = books.balances.values().sum();
        let cooked = i128::from(self.lie == Lie::CooksTheBooks);
        let rows = [
            ("faucet", -books.funded),
            ("wallets", wallets + cooked),
            ("fees", books.fees),
            ("external", books.external),
        ];
        let rows: Vec<String> = rows
            .into_iter()
            .map(|(account, sum)| {
                format!(r#"{{"currency":"USD","account":"{account}","sum":{}}}"#, decimal(sum))
            })
            .collect();
        Answer { status: 200, replayed: false, body: format!(r#"{{"accounts":[{}]}}"#, rows.join(",")) }
    }
}

fn create_agent(books: &mut Books) -> Answer {
    let number = books.wallets.len();
    let wallet = format!("wallet_{number}");
    books.wallets.insert(format!("pk_{number}"), wallet.clone());
    books.balances.insert(wallet.clone(), 0);
    let [id, api_key, secret_key] = ["agent_", "pk_", "sk_"].map(|prefix| format!("{prefix}{number}"));
    answer(201, &json!({ "id": id, "api_key": api_key, "secret_key": secret_key, "wallet_id": wallet }))
}

/// Moves the money and records the payment. Returns its number.
fn apply(books: &mut Books, body: &Value, keeps: bool) -> Option<usize> {
    let nanos = nanos_of(&body["amount"]);
    let fee = (nanos * 40 + 5_000) / 10_000;
    *books.balances.get_mut(body["from_wallet_id"].as_str()?)? -= nanos + fee;
    books.fees += fee;
    match body["to_wallet_id"].as_str() {
        Some(_) if keeps => {}
        Some(payee) => *books.balances.get_mut(payee)? += nanos,
        None => books.external += nanos,
    }
    let number = |nanos: i128| serde_json::from_str::<Value>(&decimal(nanos)).expect("a number");
    let mut payment = json!({
        "id": format!("tx_{}", books.payments.len()), "amount": number(nanos), "fee": number(fee),
        "total_debited": number(nanos + fee), "status": "completed",
        "from_wallet_id": body["from_wallet_id"], "idempotency_key": body["idempotency_key"],
    });
    if let Some(payee) = body["to_wallet_id"].as_str() {
        payment["to_wallet_id"] = json!(payee);
    }
    books.payments.push(payment);
    Some(books.payments.len() - 1)
}

/// Pages of two, so that cursors are used.
fn list(books: &Books, query: &str) -> Answer {
    let parameter = |name: &str| {
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, v)| v)
    };
    let wallet = parameter("wallet_id").unwrap_or_default();
    let skip: usize = parameter("cursor").map_or(0, |cursor| cursor.parse().expect("our own cursor"));
    let is_of = |payment: &&Value| payment["from_wallet_id"] == wallet || payment["to_wallet_id"] == wallet;
    let all: Vec<&Value> = books.payments.iter().filter(is_of).collect();
    let page: Vec<&Value> = all.iter().skip(skip).take(2).copied().collect();
    let next = if skip + 2 < all.len() { json!((skip + 2).to_string()) } else { Value::Null };
    answer(200, &json!({ "payments": page, "next_cursor": next }))
}

/// Amounts of a load are whole cents.
#[expect(clippy::cast_possible_truncation, reason = "cents of a test are small")]
fn nanos_of(amount: &Value) -> i128 {
    (amount.as_f64().expect("a number") * 100.0).round() as i128 * 10_000_000
}

fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8(head).expect("requests are text");
    let mut words = head.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let header = |name: &str| {
        head.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| *key == name).map(|(_, v)| v)
    };
    let length: usize = header("content-length").map_or(0, |text| text.parse().expect("a length"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let key = header("authorization").and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Some(Request { method, path, key: key.to_owned(), body })
}
