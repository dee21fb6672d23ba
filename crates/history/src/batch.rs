//! Adding records to the index.
//!
//! A batch gathers entries aside, so that readers see all of it or nothing, and takes the lock of the layers for the
//! appending alone. Where wallets stand is known to the batch alone, so one that is dropped has nothing to undo but to
//! forget that.

use std::sync::MutexGuard;

use ledger::WalletId;
use wal::Lsn;

use crate::balances::Balances;
use crate::entry::{EntryKey, Head, Line, encode_value};
use crate::lines::for_each_line;
use crate::recent::Number;
use crate::watermark::Watermark;
use crate::{Error, History};

/// What the one batch at a time works with; its memory is used again by the next one.
pub(crate) struct Writer {
    /// Where wallets stand behind what is staged.
    balances: Balances,
    staged: Vec<Staged>,
    values: Vec<u8>,
}

/// Entries whose wallets are looked up together before they are worked on: enough for the processor to wait for several
/// at a time, and few enough to find them in its cache.
const AT_ONCE: usize = 32;

/// An entry whose balance is not known yet.
struct Draft<'p> {
    wallet: WalletId,
    key: EntryKey,
    line: Line<'p>,
}

struct Staged {
    wallet: WalletId,
    key: EntryKey,
    number: Number,
    /// Where its value ends in `values`.
    end: usize,
}

impl Writer {
    pub(crate) fn new(balances: Balances) -> Writer {
        Writer { balances, staged: Vec::new(), values: Vec::new() }
    }
}

/// Records being added. Dropped without [`Batch::commit`], it leaves no trace.
pub struct Batch<'h> {
    history: &'h History,
    writer: MutexGuard<'h, Writer>,
    watermark: Watermark,
    records: usize,
    /// For the pace.
    done: u32,
    has_failed: bool,
}

impl<'h> Batch<'h> {
    pub(crate) fn begin(history: &'h History, mut writer: MutexGuard<'h, Writer>) -> Batch<'h> {
        writer.balances.begin();
        let watermark = history.layers().active.watermark();
        Batch { history, writer, watermark, records: 0, done: 0, has_failed: false }
    }

    /// Adds the record at `lsn`. Records come in log order; those below the cursor are in the index already and are
    /// skipped. After an error the batch is lost, and the same records may be offered to a new one.
    pub fn record(&mut self, lsn: Lsn, payload: &[u8]) -> Result<(), Error> {
        self.records([(lsn, payload)])
    }

    /// The same for many records, which costs less for each.
    pub fn records<'p>(&mut self, records: impl IntoIterator<Item = (Lsn, &'p [u8])>) -> Result<(), Error> {
        assert!(!self.has_failed, "a batch that failed takes nothing more");
        let added = self.add(records.into_iter()).inspect_err(|error| self.history.condemn_if_damaged(error));
        self.has_failed = added.is_err();
        added
    }

    /// Records added so far, without those that were skipped.
    pub fn len(&self) -> usize {
        self.records
    }

    /// True when nothing was added.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Makes the batch visible. `next` is where the log is read on: above every record that was offered, at or below the
    /// one that follows. The index is durable up to here after [`History::seal`]; until then the log is.
    pub fn commit(mut self, next: Lsn) {
        assert!(!self.has_failed, "a batch that failed is not committed");
        assert!(self.records == 0 || next > self.watermark.last, "the next record lies behind the last one");
        if next <= self.watermark.next {
            return;
        }
        self.watermark.next = next;
        let Writer { balances, staged, values } = &mut *self.writer;
        let mut layers = self.history.layers_mut();
        let mut begin = 0;
        for entries in staged.chunks(AT_ONCE) {
            layers.active.fetch(entries.iter().map(|entry| entry.number));
            for Staged { wallet, key, number, end } in entries {
                let mut number = *number;
                if !layers.active.knows(number) {
                    number = layers.active.number(*wallet);
                    balances.number(*wallet, number);
                }
                layers.active.push(number, *key, &values[begin..*end]);
                begin = *end;
            }
        }
        staged.clear();
        values.clear();
        layers.active.advance(self.watermark);
        drop(layers);
        self.history.publish(next);
    }

    fn add<'p>(&mut self, records: impl Iterator<Item = (Lsn, &'p [u8])>) -> Result<(), Error> {
        let mut drafts = Vec::with_capacity(AT_ONCE + 2);
        let mut last = None;
        for (lsn, payload) in records {
            if lsn < self.watermark.next {
                continue;
            }
            assert!(self.watermark.records == 0 || lsn > self.watermark.last, "records come in log order");
            let malformed = |source| Error::Record { lsn, source };
            let view = journal::view(payload).map_err(malformed)?;
            let mut entries = 0;
            for_each_line(view, malformed, |wallet, item, line| {
                entries += 1;
                drafts.push(Draft { wallet, key: EntryKey { lsn: lsn.get(), item }, line });
                if drafts.len() < AT_ONCE { Ok(()) } else { self.stage(&mut drafts) }
            })?;
            self.watermark.count(lsn, entries);
            self.records += 1;
            last = Some(payload);
        }
        self.stage(&mut drafts)?;
        if let Some(payload) = last {
            self.watermark.tell(payload);
        }
        Ok(())
    }

    /// Computes what the entries hold and puts them aside.
    fn stage(&mut self, drafts: &mut Vec<Draft<'_>>) -> Result<(), Error> {
        let Writer { balances, staged, values } = &mut *self.writer;
        balances.fetch(drafts.iter().map(|draft| draft.wallet));
        for Draft { wallet, key, line } in drafts.drain(..) {
            self.history.pace.step(&mut self.done, 1);
            let read = || Ok(self.history.head(wallet)?.unwrap_or(Head::EMPTY));
            let standing = balances.standing(wallet, read)?;
            standing.head = standing.head.advance(&line);
            encode_value(&line, standing.head, values);
            staged.push(Staged { wallet, key, number: standing.number, end: values.len() });
        }
        Ok(())
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let Writer { balances, staged, values } = &mut *self.writer;
        if !staged.is_empty() {
            balances.forget();
            staged.clear();
            values.clear();
        }
    }
}
