//! Lists: newest first, filtered, in pages of bounded work.
//!
//! A query goes through the layers one after the other, because positions fall from one to the next, and within a layer
//! merges the wallets it was asked for by position. It looks at no more than [`SCANNED_MAX`] entries: a filter that
//! matches nothing in a long statement gives short pages, down to empty ones, whose `next` goes on where they ended.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ledger::{Rail, Timestamp, WalletId};

use crate::entry::{Counterparty, Entry, EntryKey, PaymentStatus, Value, decode_value};
use crate::recent::Recent;
use crate::{Error, History};

/// Entries that one query looks at.
pub const SCANNED_MAX: usize = 10_000;

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Give this as `before` for the next page; `None` when nothing older matches.
    pub next: Option<EntryKey>,
}

/// Bounds on the time of arrival. Neither bound is in the range.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    pub after: Option<Timestamp>,
    pub before: Option<Timestamp>,
}

/// Conditions on payments; `None` means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PaymentFilter {
    pub status: Option<PaymentStatus>,
    pub rail: Option<Rail>,
    /// The other side as seen from one of the wallets asked for.
    pub counterparty: Option<Counterparty>,
    pub range: TimeRange,
}

/// A payment in a list: one of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentLine {
    /// Whose line it is: the payer's when both sides were asked for and match.
    pub wallet: WalletId,
    pub entry: Entry,
}

impl History {
    /// Statement lines of a wallet older than `before`, at most `limit`. Blocks the calling thread on disk reads.
    pub fn entries(
        &self,
        wallet: WalletId,
        before: Option<EntryKey>,
        range: TimeRange,
        limit: usize,
    ) -> Result<Page<Entry>, Error> {
        self.merged(&[wallet], before, range, limit)
    }

    /// The same for several lists at once; what is in two of them comes once.
    pub(crate) fn merged(
        &self,
        keys: &[WalletId],
        before: Option<EntryKey>,
        range: TimeRange,
        limit: usize,
    ) -> Result<Page<Entry>, Error> {
        let page = self.list(keys, before, limit, |value| range.judge(value));
        let page = page.inspect_err(|error| self.condemn_if_damaged(error))?;
        let items = page.items.into_iter().map(|line| line.entry).collect();
        Ok(Page { items, next: page.next })
    }

    /// Payments of any of `wallets` older than `before`, at most `limit`, each once even when both of its sides are among
    /// them. Blocks the calling thread on disk reads.
    pub fn payments(
        &self,
        wallets: &[WalletId],
        filter: &PaymentFilter,
        before: Option<EntryKey>,
        limit: usize,
    ) -> Result<Page<PaymentLine>, Error> {
        self.list(wallets, before, limit, |value| filter.judge(value))
            .inspect_err(|error| self.condemn_if_damaged(error))
    }

    fn list(
        &self,
        wallets: &[WalletId],
        before: Option<EntryKey>,
        limit: usize,
        judge: impl Fn(&Value<'_>) -> Verdict,
    ) -> Result<Page<PaymentLine>, Error> {
        assert!(limit > 0, "a page holds something");
        let mut wallets = wallets.to_vec();
        wallets.sort_unstable();
        wallets.dedup();
        let mut list = List::new(wallets, before.unwrap_or(EntryKey::MAX), limit, judge);

        let layers = self.layers();
        list.scan_recent(&layers.active)?;
        let frozen = layers.frozen.clone();
        // Not held while the disk is read: the follower waits for it.
        drop(layers);
        if let Some(frozen) = frozen {
            list.scan_recent(&frozen)?;
        }
        // A part that is written out meanwhile is not met again: what was in it lies above what is asked for by now.
        list.scan(|wallet, before| self.table.scan(wallet, before))?;
        Ok(list.finish())
    }
}

/// What becomes of an entry.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Take,
    Skip,
    /// Nor does anything older of this wallet match.
    End,
}

impl TimeRange {
    fn judge(&self, value: &Value<'_>) -> Verdict {
        if self.after.is_some_and(|after| value.head.latest_at <= after) {
            return Verdict::End;
        }
        let at = value.line.at;
        let is_inside =
            self.after.is_none_or(|after| at > after) && self.before.is_none_or(|before| at < before);
        if is_inside { Verdict::Take } else { Verdict::Skip }
    }
}

impl PaymentFilter {
    fn judge(&self, value: &Value<'_>) -> Verdict {
        let line = &value.line;
        let matches = line.kind.is_payment()
            && self.status.is_none_or(|status| line.status == Some(status))
            && self.rail.is_none_or(|rail| line.rail == Some(rail))
            && self.counterparty.as_ref().is_none_or(|counterparty| line.party.is(counterparty));
        match self.range.judge(value) {
            Verdict::Take if !matches => Verdict::Skip,
            verdict => verdict,
        }
    }
}

/// A list while it is gathered.
struct List<J> {
    /// Those that may still have something, sorted.
    wallets: Vec<WalletId>,
    /// Everything at or above this was looked at.
    before: EntryKey,
    judge: J,
    limit: usize,
    scanned: usize,
    items: Vec<PaymentLine>,
    end: Option<End>,
}

/// Why the gathering ended before the layers did.
#[derive(Copy, Clone, PartialEq, Eq)]
enum End {
    /// One more than fits was found.
    Full,
    /// Too many were looked at; everything at or above the key was.
    Tired(EntryKey),
}

impl<J: Fn(&Value<'_>) -> Verdict> List<J> {
    fn new(wallets: Vec<WalletId>, before: EntryKey, limit: usize, judge: J) -> List<J> {
        List { wallets, before, judge, limit, scanned: 0, items: Vec::new(), end: None }
    }

    fn finish(self) -> Page<PaymentLine> {
        let next = match self.end {
            None => None,
            Some(End::Full) => self.items.last().map(|line| line.entry.key()),
            Some(End::Tired(key)) => Some(key),
        };
        Page { items: self.items, next }
    }

    /// A deep page walks past every newer row of a part, a few nanoseconds each.
    fn scan_recent(&mut self, recent: &Recent) -> Result<(), Error> {
        self.scan(|wallet, before| recent.of(wallet, before))
    }

    /// Goes through one layer: `open` gives the entries of a wallet older than a key, newest first.
    fn scan<I, B>(&mut self, mut open: impl FnMut(WalletId, EntryKey) -> I) -> Result<(), Error>
    where
        I: Iterator<Item = Result<(EntryKey, B), Error>>,
        B: AsRef<[u8]>,
    {
        if self.end.is_some() {
            return Ok(());
        }
        let before = self.before;
        let mut streams: Vec<I> = self.wallets.iter().map(|wallet| open(*wallet, before)).collect();
        let mut ended = vec![false; streams.len()];
        // The newest unseen entry of each wallet. A tie is a payment between two of them, and goes by wallet.
        let mut fronts = BinaryHeap::new();
        let mut values: Vec<Option<B>> = Vec::new();
        for (index, stream) in streams.iter_mut().enumerate() {
            values.push(pull(stream, index, &mut fronts)?);
        }
        while let Some((key, Reverse(index))) = fronts.pop() {
            let value = values[index].take().expect("a front has a value");
            match self.look(key, self.wallets[index], value.as_ref())? {
                Look::On => values[index] = pull(&mut streams[index], index, &mut fronts)?,
                Look::WalletEnds => ended[index] = true,
                Look::ListEnds => return Ok(()),
            }
        }
        let mut ended = ended.into_iter();
        self.wallets.retain(|_| !ended.next().expect("there is one for each wallet"));
        Ok(())
    }

    /// Judges the next entry in falling order of keys.
    fn look(&mut self, key: EntryKey, wallet: WalletId, bytes: &[u8]) -> Result<Look, Error> {
        assert!(key <= self.before, "keys fall");
        let is_other_side = key == self.before;
        // Both sides of a payment are looked at together, or a page that ends between them would lose one.
        if self.scanned >= SCANNED_MAX && !is_other_side {
            self.end = Some(End::Tired(self.before));
            return Ok(Look::ListEnds);
        }
        let value = decode_value(bytes)?;
        let verdict = (self.judge)(&value);
        if verdict == Verdict::Take {
            let line = PaymentLine { wallet, entry: value.to_entry(key) };
            let is_repeated = self.items.last().is_some_and(|last| last.entry.key() == key);
            if is_repeated && line.entry.kind.is_of_payer() {
                self.items.pop();
                self.items.push(line);
            } else if !is_repeated && self.items.len() == self.limit {
                self.end = Some(End::Full);
                return Ok(Look::ListEnds);
            } else if !is_repeated {
                self.items.push(line);
            }
        }
        self.before = key;
        self.scanned += 1;
        Ok(if verdict == Verdict::End { Look::WalletEnds } else { Look::On })
    }
}

enum Look {
    On,
    WalletEnds,
    ListEnds,
}

/// Puts the key of the stream's next entry among the fronts and returns its value.
fn pull<B>(
    stream: &mut impl Iterator<Item = Result<(EntryKey, B), Error>>,
    index: usize,
    fronts: &mut BinaryHeap<(EntryKey, Reverse<usize>)>,
) -> Result<Option<B>, Error> {
    let Some((key, value)) = stream.next().transpose()? else { return Ok(None) };
    fronts.push((key, Reverse(index)));
    Ok(Some(value))
}
