//! Whether the node kept its promises, through its public API only.
//!
//! After a run: what is unknown is asked again with its key until it is known; then every acknowledged payment is read by
//! its id, every balance is compared with what the acknowledgements add up to, and the sum of balances with what was
//! funded less what left to external parties and as fees. Where doubles are likely (after kills) or balances differ,
//! the lists of payments are read too, and each idempotency key must be there exactly once.
//!
//! The load disputes nothing, so a balance below zero is a finding: only a dispute that ends with a refund leaves a debt.
//!
//! Non-goals: it does not look into the node's files; `agentpay check` does.

mod inquiry;
mod lists;
mod settle;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::inquiry::{Inquiry, Look};
use crate::field::Field;
use crate::request::write_get;
use crate::{
    Answer, Book, EXTERNAL, Error, Fetched, Finding, Findings, Promise, RequestTemplate, Roster, Target,
    Traffic, Unknowns, Watch, decimal, fetch, nanos,
};

/// How much is verified.
#[derive(Debug, Clone, Default)]
pub struct VerifySpec {
    pub connections: usize,
    /// Read only this many payments, and of the wallets that no payment touched only this many.
    pub sample: Option<usize>,
    /// Read every wallet's list of payments even if all balances are right.
    pub read_lists: bool,
    /// Token of the operator's routes, for the trial balance.
    pub operator_token: Option<String>,
    /// The ledger was empty before the load, so that its system accounts can be compared exactly.
    pub is_alone: bool,
}

/// What was looked at, and what was wrong.
#[derive(Debug, Clone, Default)]
pub struct Verification {
    /// Acknowledged payments, and how many of them were read.
    pub payments: u64,
    pub payments_read: u64,
    /// The same for completed service calls.
    pub calls: u64,
    pub calls_read: u64,
    pub wallets: u64,
    pub wallets_read: u64,
    /// Of the wallets that were read, in 10⁻⁹: what they were given, what left them, what they hold.
    pub funded: i128,
    pub external: i128,
    pub fees: i128,
    pub balances: i128,
    /// Payments found in lists, when those were read.
    pub listed: Option<u64>,
    /// Whether the operator's trial balance was compared.
    pub books_compared: bool,
    pub unknowns: Unknowns,
    pub refused: u64,
    pub findings: Findings,
}

impl Verification {
    /// Nothing was wrong.
    pub fn holds(&self) -> bool {
        self.findings.is_empty()
    }

    /// The whole was looked at, not a sample.
    pub fn is_complete(&self) -> bool {
        self.payments_read == self.payments
            && self.wallets_read == self.wallets
            && self.calls_read == self.calls
    }

    pub fn to_json(&self) -> Value {
        let findings: BTreeMap<&str, Value> = self
            .findings
            .iter()
            .map(|(finding, count, examples)| {
                (finding.name(), json!({ "count": count, "examples": examples }))
            })
            .collect();
        json!({
            "holds": self.holds(), "complete": self.is_complete(),
            "payments": self.payments, "payments_read": self.payments_read,
            "calls": self.calls, "calls_read": self.calls_read,
            "wallets": self.wallets, "wallets_read": self.wallets_read,
            "funded": decimal(self.funded), "external": decimal(self.external), "fees": decimal(self.fees),
            "balances": decimal(self.balances), "listed": self.listed, "books_compared": self.books_compared,
            "unknown": self.unknowns.requests, "unknown_applied_before": self.unknowns.applied_before,
            "unknown_applied_by_retry": self.unknowns.applied_by_retry,
            "refused": self.refused,
            "lost": self.findings.count(Finding::Lost), "doubled": self.findings.count(Finding::Doubled),
            "findings": findings,
        })
    }
}

/// Settles and verifies everything the traffic was promised.
///
/// # Errors
/// The node cannot be reached at all. Everything else is a finding.
pub fn verify(
    traffic: &mut Traffic<'_>,
    roster: &Roster,
    target: &Target,
    spec: &VerifySpec,
    watch: &mut dyn Watch,
) -> Result<Verification, Error> {
    settle::settle(traffic, target, watch)?;
    let series = traffic.key_series();
    let book = &mut traffic.book;
    let mut report = Verification {
        payments: book.promises().seen(),
        calls: book.calls().seen(),
        wallets: u64::from(roster.wallets()),
        external: book.external(),
        fees: book.fees(),
        unknowns: book.unknowns,
        refused: book.refused,
        findings: std::mem::take(&mut book.findings),
        ..Verification::default()
    };
    let mut run = Run { book, roster, target, spec, report: &mut report, watch };
    run.read_payments()?;
    run.read_calls()?;
    run.read_balances()?;
    if spec.read_lists || run.report.findings.count(Finding::WrongBalance) > 0 {
        run.read_lists(&series)?;
    }
    run.compare_books()?;
    Ok(report)
}

struct Run<'a> {
    book: &'a Book,
    roster: &'a Roster,
    target: &'a Target,
    spec: &'a VerifySpec,
    report: &'a mut Verification,
    watch: &'a mut dyn Watch,
}

impl Run<'_> {
    fn add(&mut self, finding: Finding, describe: impl FnOnce() -> String) {
        self.report.findings.add(finding, describe);
    }

    fn unanswered(&mut self, count: usize, what: &str) {
        if count > 0 {
            self.add(Finding::Unsettled, || format!("{count} reads of {what} were never answered"));
        }
    }

    fn read_payments(&mut self) -> Result<(), Error> {
        let (book, roster, authority) = (self.book, self.roster, &self.target.authority);
        let promises = book.promises();
        let expected = ExpectedPayment::new();
        let findings = &mut self.report.findings;
        let write = |index: usize, out: &mut Vec<u8>| {
            let promise = promises.get(index);
            let key = &roster.owner(promise.pay.payer).api_key;
            write_get(authority, key, &["/v1/payments/", promise.id.as_str()], out);
        };
        let read = |index: usize, answer: Answer<'_>| {
            let promise = promises.get(index);
            if answer.status == 404 {
                findings.add(Finding::Lost, || {
                    format!("{} was acknowledged and is not there", promise.id.as_str())
                });
            } else if !answer.is_success() || !expected.is_met(roster, promise, answer.body) {
                findings.add(Finding::WrongPayment, || {
                    format!(
                        "{} over {}: status {}, {}",
                        promise.id.as_str(),
                        decimal(promise.pay.nanos()),
                        answer.status,
                        sample(answer.body)
                    )
                });
            }
            Look::Done
        };
        let missing = Inquiry::carry_out(
            "read payments",
            self.target,
            self.spec.connections,
            promises.len(),
            (write, read),
            self.watch,
        )?;
        self.report.payments_read = (promises.len() - missing) as u64;
        self.unanswered(missing, "payments");
        Ok(())
    }

    /// Every completed call's token is settled and names a payment over its price.
    fn read_calls(&mut self) -> Result<(), Error> {
        let (book, roster, authority) = (self.book, self.roster, &self.target.authority);
        let calls = book.calls();
        let (status, payment) = (Field::new("\"status\""), Field::new("\"payment_id\""));
        let amount = Field::new("\"amount\"");
        let findings = &mut self.report.findings;
        let mut payments: Vec<Option<String>> = vec![None; calls.len()];
        let payments_found = std::cell::RefCell::new(&mut payments);
        let write = |index: usize, out: &mut Vec<u8>| {
            let call = calls.get(index);
            let key = &roster.owner(call.consumer).api_key;
            match &payments_found.borrow()[index] {
                None => write_get(authority, key, &["/v1/x402/tokens/", call.token_id.as_str()], out),
                Some(payment) => write_get(authority, key, &["/v1/payments/", payment], out),
            }
        };
        let read = |index: usize, answer: Answer<'_>| {
            let call = calls.get(index);
            let known = &mut payments_found.borrow_mut()[index];
            let is_right = match known {
                None => answer.is_success() && status.text(answer.body) == Some("settled"),
                Some(_) => answer.is_success() && amount.nanos(answer.body) == Some(call.nanos),
            };
            if !is_right {
                let finding = if answer.status == 404 { Finding::Lost } else { Finding::WrongToken };
                findings.add(finding, || {
                    format!("{}: status {}, {}", call.token_id.as_str(), answer.status, sample(answer.body))
                });
                return Look::Done;
            }
            match (known.is_some(), payment.text(answer.body)) {
                (true, _) => Look::Done,
                (false, Some(id)) => {
                    *known = Some(id.to_owned());
                    Look::More
                }
                (false, None) => {
                    findings.add(Finding::WrongToken, || {
                        format!("{} is settled and names no payment", call.token_id.as_str())
                    });
                    Look::Done
                }
            }
        };
        let missing = Inquiry::carry_out(
            "read service calls",
            self.target,
            self.spec.connections,
            calls.len(),
            (write, read),
            self.watch,
        )?;
        self.report.calls_read = (calls.len() - missing) as u64;
        self.unanswered(missing, "service calls");
        Ok(())
    }

    /// Wallets whose balance is read: all, or those that took part and a sample of the others.
    fn wallets_to_read(&self) -> Vec<u32> {
        let all = 0..self.roster.wallets();
        let Some(sample) = self.spec.sample else { return all.collect() };
        let (mut chosen, others): (Vec<u32>, Vec<u32>) =
            all.partition(|wallet| self.book.is_touched(*wallet));
        let step = others.len().div_ceil(sample.max(1)).max(1);
        chosen.extend(others.into_iter().step_by(step).take(sample));
        chosen
    }

    fn read_balances(&mut self) -> Result<(), Error> {
        let wallets = self.wallets_to_read();
        let (book, roster, authority) = (self.book, self.roster, &self.target.authority);
        let parts = ["\"available\"", "\"held\"", "\"disputed\""].map(Field::new);
        let findings = &mut self.report.findings;
        let mut sum = 0_i128;
        let write = |index: usize, out: &mut Vec<u8>| {
            let wallet = wallets[index];
            let path = ["/v1/wallets/", roster.wallet(wallet), "/balance"];
            write_get(authority, &roster.owner(wallet).api_key, &path, out);
        };
        let read = |index: usize, answer: Answer<'_>| {
            let (wallet, expected) = (wallets[index], book.balance(wallets[index]));
            let [available, held, disputed] = parts.each_ref().map(|part| part.nanos(answer.body));
            let Some(available) = available.filter(|_| answer.is_success()) else {
                findings.add(Finding::WrongBalance, || {
                    format!("{}: status {}, {}", roster.wallet(wallet), answer.status, sample(answer.body))
                });
                return Look::Done;
            };
            let rest = held.unwrap_or_default() + disputed.unwrap_or_default();
            sum += available + rest;
            if available != expected || rest != 0 {
                findings.add(Finding::WrongBalance, || {
                    let (found, wanted) = (decimal(available), decimal(expected));
                    format!(
                        "{}: {found} available and {} held instead of {wanted}",
                        roster.wallet(wallet),
                        decimal(rest)
                    )
                });
            }
            if available < 0 {
                findings.add(Finding::NegativeBalance, || {
                    format!("{}: {}", roster.wallet(wallet), decimal(available))
                });
            }
            Look::Done
        };
        let connections = self.spec.connections;
        let count = wallets.len();
        let missing =
            Inquiry::carry_out("read balances", self.target, connections, count, (write, read), self.watch)?;
        self.report.wallets_read = (count - missing) as u64;
        self.report.balances = sum;
        self.report.funded = book.opening() * count as i128;
        self.unanswered(missing, "balances");
        let expected = self.report.funded - book.external() - book.fees();
        if sum != expected {
            self.add(Finding::WrongSum, || {
                format!(
                    "{} in {count} wallets instead of funded - external - fees = {}",
                    decimal(sum),
                    decimal(expected)
                )
            });
        }
        Ok(())
    }

    /// The operator's view: all accounts sum to zero, and fees and external payments are what was answered.
    fn compare_books(&mut self) -> Result<(), Error> {
        let Some(token) = &self.spec.operator_token else { return Ok(()) };
        let mut request = Vec::new();
        RequestTemplate::get(&self.target.authority, "/v1/ledger/trial-balance", Some(token))
            .write(b"", &mut request);
        let Fetched { status, body } = fetch(self.target, request)?;
        let Some(sums) = books(&body).filter(|_| status == 200) else {
            self.add(Finding::WrongBooks, || format!("trial balance: status {status}, {}", sample(&body)));
            return Ok(());
        };
        self.report.books_compared = true;
        let total: i128 = sums.values().sum();
        if total != 0 {
            self.add(Finding::WrongBooks, || format!("all accounts sum to {}", decimal(total)));
        }
        if !self.spec.is_alone {
            return Ok(());
        }
        for (account, expected) in [("fees", self.book.fees()), ("external", self.book.external())] {
            let found = sums.get(account).copied().unwrap_or_default();
            if found != expected {
                self.add(Finding::WrongBooks, || {
                    format!("account {account} holds {} instead of {}", decimal(found), decimal(expected))
                });
            }
        }
        Ok(())
    }
}

/// Sum of each account in USD.
fn books(body: &[u8]) -> Option<BTreeMap<String, i128>> {
    #[derive(Deserialize)]
    struct Books<'a> {
        #[serde(borrow)]
        accounts: Vec<Account<'a>>,
    }
    #[derive(Deserialize)]
    struct Account<'a> {
        currency: String,
        account: String,
        /// As text: an f64 could not hold it.
        #[serde(borrow)]
        sum: &'a RawValue,
    }
    let books: Books<'_> = serde_json::from_slice(body).ok()?;
    let mut sums = BTreeMap::new();
    for Account { currency, account, sum } in books.accounts {
        if currency == "USD" {
            sums.insert(account, nanos(sum.get().trim_matches('"').as_bytes())?);
        }
    }
    Some(sums)
}

/// A payment as it must be read.
struct ExpectedPayment {
    id: Field,
    amount: Field,
    from: Field,
    to: Field,
    status: Field,
}

impl ExpectedPayment {
    fn new() -> ExpectedPayment {
        ExpectedPayment {
            id: Field::new("\"id\""),
            amount: Field::new("\"amount\""),
            from: Field::new("\"from_wallet_id\""),
            to: Field::new("\"to_wallet_id\""),
            status: Field::new("\"status\""),
        }
    }

    fn is_met(&self, roster: &Roster, promise: &Promise, body: &[u8]) -> bool {
        let pay = promise.pay;
        let to = match pay.payee {
            EXTERNAL => None,
            payee => Some(roster.wallet(payee)),
        };
        self.id.text(body) == Some(promise.id.as_str())
            && self.amount.nanos(body) == Some(pay.nanos())
            && self.from.text(body) == Some(roster.wallet(pay.payer))
            && self.to.text(body) == to
            && self.status.text(body) == Some("completed")
    }
}

fn sample(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned()
}
