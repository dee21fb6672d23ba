//! Every payment that the node lists, by its idempotency key: each acknowledged one once, and no others.

use std::cell::RefCell;

use serde_json::Value;

use super::inquiry::{Inquiry, Look};
use super::{Run, sample};
use crate::payments::KeySeries;
use crate::request::write_get;
use crate::{Answer, Error, Finding};

/// Largest page of the contract.
const PAGE: &str = "100";

impl Run<'_> {
    /// Reads the list of payments of each wallet and counts keys on the payer's side.
    pub(super) fn read_lists(&mut self, series: &KeySeries) -> Result<(), Error> {
        let (roster, authority) = (self.roster, &self.target.authority);
        let wallets = roster.wallets() as usize;
        let findings = &mut self.report.findings;
        let cursors: RefCell<Vec<Option<String>>> = RefCell::new(vec![None; wallets]);
        let mut seen = Seen::default();
        let write = |index: usize, out: &mut Vec<u8>| {
            let wallet = number(index);
            let key = &roster.owner(wallet).api_key;
            let id = roster.wallet(wallet);
            match &cursors.borrow()[index] {
                None => write_get(authority, key, &["/v1/payments?limit=", PAGE, "&wallet_id=", id], out),
                Some(cursor) => {
                    let path = ["/v1/payments?limit=", PAGE, "&wallet_id=", id, "&cursor=", cursor];
                    write_get(authority, key, &path, out);
                }
            }
        };
        let read = |index: usize, answer: Answer<'_>| {
            let page = serde_json::from_slice::<Value>(answer.body).ok().filter(|_| answer.is_success());
            let Some(payments) = page.as_ref().and_then(|page| page["payments"].as_array()) else {
                findings.add(Finding::WrongAnswer, || {
                    let wallet = roster.wallet(number(index));
                    format!("payments of {wallet}: status {}, {}", answer.status, sample(answer.body))
                });
                return Look::Done;
            };
            let wallet = roster.wallet(number(index));
            let of_payer = payments.iter().filter(|payment| payment["from_wallet_id"] == wallet);
            of_payer
                .filter_map(|payment| series.number(payment["idempotency_key"].as_str()?))
                .for_each(|key| seen.count(key));
            let cursor = match page.as_ref().map(|page| &page["next_cursor"]) {
                Some(Value::String(cursor)) => Some(cursor.clone()),
                Some(Value::Number(cursor)) => Some(cursor.to_string()),
                _ => None,
            };
            let look = if cursor.is_some() { Look::More } else { Look::Done };
            cursors.borrow_mut()[index] = cursor;
            look
        };
        let connections = self.spec.connections;
        let missing =
            Inquiry::carry_out("read lists", self.target, connections, wallets, (write, read), self.watch)?;
        self.unanswered(missing, "lists");
        self.report.listed = Some(seen.total);
        self.compare_keys(&mut seen);
        Ok(())
    }

    fn compare_keys(&mut self, seen: &mut Seen) {
        let promises = self.book.promises();
        for promise in promises.iter() {
            let times = seen.take(promise.pay.key);
            let describe = || format!("{}, key number {}", promise.id.as_str(), promise.pay.key);
            match times {
                0 => self.add(Finding::Lost, || format!("{} is in no list", describe())),
                1 => {}
                _ => self.add(Finding::Doubled, || format!("{} is listed {times} times", describe())),
            }
        }
        // Of a sample nobody can say which of the others were promised.
        if promises.len() as u64 == promises.seen() {
            for (key, times) in seen.left() {
                self.add(Finding::Unasked, || {
                    format!("key number {key} is listed {times} times and was never acknowledged")
                });
            }
        }
    }
}

/// How often each key was seen. Keys are small numbers without gaps.
#[derive(Default)]
struct Seen {
    times: Vec<u8>,
    total: u64,
}

impl Seen {
    fn count(&mut self, key: u64) {
        let Ok(index) = usize::try_from(key) else { return };
        // Far beyond what a run sends; a made-up key must not take the memory.
        if index > 1 << 32 {
            return;
        }
        if self.times.len() <= index {
            self.times.resize(index + 1, 0);
        }
        self.times[index] = self.times[index].saturating_add(1);
        self.total += 1;
    }

    fn take(&mut self, key: u64) -> u8 {
        usize::try_from(key).ok().and_then(|index| self.times.get_mut(index)).map_or(0, std::mem::take)
    }

    fn left(&self) -> Vec<(usize, u8)> {
        let counted = self.times.iter().copied().enumerate();
        counted.filter(|(_, times)| *times > 0).collect()
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("below the number of wallets")
}
