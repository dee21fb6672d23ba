//! What the node has promised, kept outside of it: every acknowledged payment with its id, and what each wallet must hold
//! once all of them are applied exactly once.
//!
//! Invariant: `balances` changes only for an acknowledged payment, by the amount that was asked for and the fee that was
//! answered. Sums commute, so the order of answers does not matter.

use memchr::memmem::Finder;

use crate::Answer;
use crate::findings::{Finding, Findings};
use crate::kept::Kept;
use crate::money::{NANOS_PER_UNIT, decimal};
use crate::receipt::{Receipt, ReceiptReader};

/// In place of a payee: somebody outside of the ledger.
pub const EXTERNAL: u32 = u32::MAX;

/// Amounts of the load are in cents.
pub(crate) const NANOS_PER_CENT: i128 = NANOS_PER_UNIT / 100;

/// One payment that was asked for. The key makes it unique within the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pay {
    pub payer: u32,
    /// A wallet, or [`EXTERNAL`].
    pub payee: u32,
    pub cents: u32,
    pub key: u64,
}

impl Pay {
    pub fn nanos(&self) -> i128 {
        i128::from(self.cents) * NANOS_PER_CENT
    }
}

/// An id of the node, kept in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShortText {
    length: u8,
    bytes: [u8; ShortText::BYTES_MAX],
}

impl ShortText {
    /// Ids are a prefix and 26 characters; the longest prefix is `payout_`.
    const BYTES_MAX: usize = 39;

    pub(crate) fn new(text: &str) -> Option<ShortText> {
        let length = u8::try_from(text.len()).ok()?;
        let mut bytes = [0; ShortText::BYTES_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(ShortText { length, bytes })
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).expect("made from text")
    }
}

impl std::fmt::Debug for ShortText {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(out)
    }
}

/// An acknowledged payment.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    pub id: ShortText,
    pub pay: Pay,
}

/// A service call that was answered as completed.
#[derive(Debug, Clone, Copy)]
pub struct CallPromise {
    pub token_id: ShortText,
    pub consumer: u32,
    pub provider: u32,
    /// Price, paid by the consumer.
    pub nanos: i128,
    /// Taken from what the provider gets.
    pub provider_fee: i128,
}

/// How requests ended whose first answer never came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unknowns {
    /// Requests whose outcome was unknown at some time.
    pub requests: u64,
    /// The retry was answered with the first answer: it had been applied.
    pub applied_before: u64,
    /// The retry was applied.
    pub applied_by_retry: u64,
}

/// Names of members that every acknowledgement is looked at for.
struct Fields {
    /// Begin of an item of a batch.
    item: Finder<'static>,
    /// Mark of an item that was paid before.
    replayed: Finder<'static>,
    receipt: ReceiptReader,
}

/// The promises of one run.
pub struct Book {
    /// Faucet amount of every wallet.
    opening: i128,
    balances: Vec<i128>,
    promises: Kept<Promise>,
    calls: Kept<CallPromise>,
    fees: i128,
    external: i128,
    pub unknowns: Unknowns,
    /// Requests that were refused for good: nothing moved.
    pub refused: u64,
    pub findings: Findings,
    fields: Fields,
    /// Where the items of a batch begin, while one is taken.
    begins: Vec<usize>,
}

impl Book {
    /// `bound`: how many promises to keep; all if not given.
    pub(crate) fn new(wallets: u32, opening: i128, bound: Option<usize>, seed: u64) -> Book {
        Book {
            opening,
            balances: vec![opening; wallets as usize],
            promises: Kept::new(bound, seed),
            calls: Kept::new(bound, seed),
            fees: 0,
            external: 0,
            unknowns: Unknowns::default(),
            refused: 0,
            findings: Findings::default(),
            fields: Fields {
                item: Finder::new("{\"id\":\""),
                replayed: Finder::new("\"idempotent_replayed\":true"),
                receipt: ReceiptReader::new(),
            },
            begins: Vec::new(),
        }
    }

    /// What a wallet must hold.
    pub fn balance(&self, wallet: u32) -> i128 {
        self.balances[wallet as usize]
    }

    /// Whether a wallet's balance differs from its opening one.
    pub fn is_touched(&self, wallet: u32) -> bool {
        self.balances[wallet as usize] != self.opening
    }

    pub fn opening(&self) -> i128 {
        self.opening
    }

    pub fn promises(&self) -> &Kept<Promise> {
        &self.promises
    }

    pub fn calls(&self) -> &Kept<CallPromise> {
        &self.calls
    }

    pub fn fees(&self) -> i128 {
        self.fees
    }

    pub fn external(&self) -> i128 {
        self.external
    }

    /// Takes the success of one payment. `retried`: its outcome had been unknown.
    pub(crate) fn acknowledge(&mut self, pay: Pay, answer: Answer<'_>, retried: bool) {
        self.take(pay, answer.body);
        self.settle(answer.replayed, retried);
    }

    /// Takes the success of a batch; items that were denied count as refused.
    pub(crate) fn acknowledge_batch(&mut self, pays: &[Pay], answer: Answer<'_>, retried: bool) -> u64 {
        // A paid item begins with its id, a refused one with its error: equal numbers put items into order. An answer of
        // another form is read properly, which takes longer.
        let mut begins = std::mem::take(&mut self.begins);
        begins.clear();
        begins.extend(self.fields.item.find_iter(answer.body));
        let paid = if begins.len() == pays.len() {
            for (pay, begin) in pays.iter().zip(&begins) {
                self.take(*pay, &answer.body[*begin..]);
            }
            pays.len()
        } else {
            self.take_item_by_item(pays, answer.body)
        };
        self.begins = begins;
        // A repeated batch whose items have keys of their own says so at each item.
        let items_replayed = || self.fields.replayed.find(answer.body).is_some();
        self.settle(answer.replayed || items_replayed(), retried);
        self.refused += (pays.len() - paid) as u64;
        paid as u64
    }

    fn take_item_by_item(&mut self, pays: &[Pay], body: &[u8]) -> usize {
        #[derive(serde::Deserialize)]
        struct Results<'a> {
            #[serde(borrow)]
            results: Vec<&'a serde_json::value::RawValue>,
        }
        let items = match serde_json::from_slice::<Results<'_>>(body) {
            Ok(Results { results }) if results.len() == pays.len() => results,
            _ => {
                self.findings.add(Finding::WrongAnswer, || {
                    format!("a batch of {} payments has not as many results", pays.len())
                });
                return 0;
            }
        };
        let mut paid = 0;
        for (pay, item) in pays.iter().zip(items) {
            let item = item.get().as_bytes();
            if self.fields.receipt.has_id(item) {
                self.take(*pay, item);
                paid += 1;
            }
        }
        paid
    }

    /// The payment happened; `item` begins with or contains its members.
    fn take(&mut self, pay: Pay, item: &[u8]) {
        let Receipt { id, amount, fee, total } = self.fields.receipt.read(item);
        let id = id.and_then(ShortText::new);
        let charged = fee.unwrap_or_default();
        let is_right = amount == Some(pay.nanos()) && charged >= 0 && total == Some(pay.nanos() + charged);
        match id {
            Some(id) if is_right && fee.is_some() => self.promises.push(Promise { id, pay }),
            _ => self.findings.add(Finding::WrongAnswer, || {
                let sample = String::from_utf8_lossy(&item[..item.len().min(300)]).into_owned();
                format!("asked to pay {}, answered {sample}", decimal(pay.nanos()))
            }),
        }
        self.balances[pay.payer as usize] -= pay.nanos() + charged;
        self.fees += charged;
        match pay.payee {
            EXTERNAL => self.external += pay.nanos(),
            payee => self.balances[payee as usize] += pay.nanos(),
        }
    }

    fn settle(&mut self, replayed: bool, retried: bool) {
        if retried && replayed {
            self.unknowns.applied_before += 1;
        } else if retried {
            self.unknowns.applied_by_retry += 1;
        } else if replayed {
            self.findings.add(Finding::WrongAnswer, || {
                "a payment with a new key was answered as a repeated one".to_owned()
            });
        }
    }

    /// Takes the success of a whole service call: the consumer paid the price, the provider got it less the fee.
    pub(crate) fn complete_call(&mut self, call: CallPromise) {
        self.balances[call.consumer as usize] -= call.nanos;
        self.balances[call.provider as usize] += call.nanos - call.provider_fee;
        self.fees += call.provider_fee;
        self.calls.push(call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer<'_> {
        Answer { status: 201, body: body.as_bytes(), replayed: false }
    }

    fn paid(id: &str, amount: &str, fee: &str, total: &str) -> String {
        format!(
            r#"{{"id":"{id}","amount":{amount},"fee":{fee},"total_debited":{total},"status":"completed"}}"#
        )
    }

    fn pay(key: u64) -> Pay {
        Pay { payer: 0, payee: 1, cents: 500, key }
    }

    #[test]
    fn an_acknowledged_payment_moves_what_is_expected() {
        let mut book = Book::new(2, 100 * NANOS_PER_UNIT, None, 1);
        book.acknowledge(pay(1), answer(&paid("tx_1", "5", "0.02", "5.02")), false);
        assert_eq!((book.balance(0), book.balance(1)), (94_980_000_000, 105_000_000_000));
        let external = Pay { payee: EXTERNAL, ..pay(2) };
        book.acknowledge(external, answer(&paid("tx_2", "5.00", "0.02", "5.02")), false);
        assert_eq!((book.fees(), book.external()), (40_000_000, 5 * NANOS_PER_UNIT));
        assert_eq!(book.promises().len(), 2);
        assert_eq!(book.promises().get(1).id.as_str(), "tx_2");
        assert!(book.findings.is_empty());
    }

    #[test]
    fn answers_that_contradict_themselves_are_found() {
        let wrong = [
            paid("tx_1", "6", "0.02", "6.02"),
            paid("tx_1", "5", "0.02", "5.03"),
            paid("tx_1", "5", "-0.02", "4.98"),
            paid("tx_1", "5e0", "0.02", "5.02"),
            r#"{"amount":5,"fee":0.02,"total_debited":5.02}"#.to_owned(),
            r#"{"id":"tx_1","amount":5,"total_debited":5}"#.to_owned(),
        ];
        for body in wrong {
            let mut book = Book::new(2, 0, None, 1);
            book.acknowledge(pay(1), answer(&body), false);
            assert_eq!(book.findings.count(Finding::WrongAnswer), 1, "{body}");
        }
        let mut book = Book::new(2, 0, None, 1);
        let body = paid("tx_1", "5", "0.02", "5.02");
        book.acknowledge(pay(1), Answer { replayed: true, ..answer(&body) }, false);
        assert_eq!(book.findings.count(Finding::WrongAnswer), 1, "a new key cannot be a repeated one");
    }

    #[test]
    fn retries_tell_what_had_happened() {
        let mut book = Book::new(2, 0, None, 1);
        let body = paid("tx_1", "5", "0.02", "5.02");
        book.acknowledge(pay(1), Answer { replayed: true, ..answer(&body) }, true);
        book.acknowledge(pay(2), answer(&body), true);
        assert_eq!((book.unknowns.applied_before, book.unknowns.applied_by_retry), (1, 1));
        assert!(book.findings.is_empty());
    }

    #[test]
    fn batches_are_taken_item_by_item() {
        let (one, two) = (paid("tx_1", "5", "0.02", "5.02"), paid("tx_2", "5", "0.02", "5.02"));
        let mut book = Book::new(2, 0, None, 1);
        let body = format!(r#"{{"completed":2,"refused":0,"results":[{one},{two}]}}"#);
        assert_eq!(book.acknowledge_batch(&[pay(1), pay(2)], answer(&body), false), 2);
        let ids: Vec<&str> = book.promises().iter().map(|promise| promise.id.as_str()).collect();
        assert_eq!(ids, ["tx_1", "tx_2"]);

        let again = body.replace("completed\"}", "completed\",\"idempotent_replayed\":true}");
        let mut book = Book::new(2, 0, None, 1);
        book.acknowledge_batch(&[pay(1), pay(2)], answer(&again), true);
        assert_eq!((book.unknowns.applied_before, book.unknowns.applied_by_retry), (1, 0));

        let body = format!(r#"{{"results":[{{"error":{{"code":"AP-1001"}}}},{two}]}}"#);
        let mut book = Book::new(2, 0, None, 1);
        assert_eq!(book.acknowledge_batch(&[pay(7), pay(8)], answer(&body), false), 1);
        assert_eq!(book.promises().get(0).pay.key, 8);
        assert_eq!(book.refused, 1);

        let spaced = two.replace("{\"id\"", "{ \"id\"");
        let body = format!(r#"{{"results":[{spaced},{one}]}}"#);
        assert_eq!(book.acknowledge_batch(&[pay(9), pay(10)], answer(&body), false), 2);
        let last = book.promises().get(2);
        assert_eq!((last.id.as_str(), last.pay.key), ("tx_1", 10));

        let body = format!(r#"{{"results":[{two}]}}"#);
        assert_eq!(book.acknowledge_batch(&[pay(7), pay(8)], answer(&body), false), 0);
        assert_eq!(book.findings.count(Finding::WrongAnswer), 1);
    }
}
