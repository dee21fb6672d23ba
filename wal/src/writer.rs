//! The log thread: group commit.
//!
//! Takes everything that is ready, writes once, syncs once, hands all companions back. Sole owner of the tip
//! (number and chain of the last batch) and sole writer of segments in use. How far a batch makes the log
//! durable is settled before the sync, so what is appended meanwhile is not taken for durable. Any error is
//! final: nothing more is acknowledged, no sync is tried twice.

use crate::batch::{self, Tip};
use crate::event::{BatchStats, Committed, Event, LEAD_BYTES};
use crate::intake::{Batch, Content, Spare, Work};
use crate::options::Sabotage;
use crate::published::Segment;
use crate::segment::encode_link;
use crate::shared::Shared;
use crate::{Error, Lsn};
use std::num::NonZeroU64;
use std::sync::Arc;

/// Upper bound for the room that is made for companions ahead of a batch.
const COMPANIONS_AHEAD_MAX: usize = 4096;

/// A batch of this size is worth its sync: the next one is not made to wait.
const GATHERED_BYTES: u64 = 256 << 10;

pub(crate) struct Writer<T> {
    shared: Arc<Shared<T>>,
    /// Where the log stands after the last durable batch.
    tip: Tip,
    /// Segment that the last batch went to.
    segment: Option<Arc<Segment>>,
    /// The last batch is a watermark (or there is none), so nothing waits to be proved durable.
    watermarked: bool,
    /// Containers for the next open batch, made while no lock is held.
    spare: Option<Spare<T>>,
    /// Companions of the last batch, a guess at those of the next.
    companions: usize,
}

impl<T> Writer<T> {
    pub(crate) fn new(shared: Arc<Shared<T>>, tip: Tip, watermarked: bool) -> Writer<T> {
        Writer { shared, tip, segment: None, watermarked, spare: None, companions: 0 }
    }

    /// Works until the log is closed or an error poisons it.
    pub(crate) fn run(mut self, mut sink: impl FnMut(Event<T>)) {
        keep_sleeps_short();
        loop {
            match self.wait() {
                Work::Batch(batch) => match self.commit(batch) {
                    Ok(committed) => {
                        let stats = *committed.stats();
                        sink(Event::Committed(committed));
                        self.gather(&stats);
                    }
                    Err((error, companions)) => return sink(self.poison(error, companions)),
                },
                Work::Failed(error) => return sink(self.poison(error, Vec::new())),
                Work::Over => return self.shared.published.end(),
            }
        }
    }

    /// Whether the last batch is proved durable by a watermark, for tests that drive the log without its
    /// threads.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(crate) fn is_watermarked(&self) -> bool {
        self.watermarked
    }

    /// Lets the next batch fill. Nobody wakes the log thread until it has, so those who append make no system call.
    fn gather(&self, last: &BatchStats) {
        if last.records < 2 || last.bytes > GATHERED_BYTES {
            return;
        }
        let options = &self.shared.options;
        let wanted = options.gather_per_record.saturating_mul(last.records).min(options.gather_max);
        let left = wanted.saturating_sub(last.write + last.sync);
        if !left.is_zero() {
            self.shared.gather(left);
        }
    }

    fn wait(&mut self) -> Work<T> {
        self.prepare_spare();
        let options = &self.shared.options;
        let watermark_due = (!self.watermarked).then(|| options.clock.now() + options.watermark_after);
        self.shared.wait(&mut self.spare, watermark_due)
    }

    /// Makes the containers that the next open batch will be collected in, so that nobody has to under the
    /// lock.
    pub(crate) fn prepare_spare(&mut self) -> &mut Option<Spare<T>> {
        let ahead = self.companions.min(COMPANIONS_AHEAD_MAX);
        self.spare.get_or_insert_with(|| Spare::new(&self.shared.pool, ahead));
        &mut self.spare
    }

    /// One write, one sync; afterwards the batch is durable, or nobody knows.
    pub(crate) fn commit(&mut self, batch: Batch<T>) -> Result<Committed<T>, (Error, Vec<T>)> {
        let Batch { companions, content } = batch;
        self.companions = companions.len();
        let Some(mut content) = content else {
            let end = self.shared.published.durable();
            let stats = BatchStats::default();
            return Ok(Committed { companions, buffer: None, at: end, end, stats });
        };
        match self.make_durable(&mut content) {
            Ok((end, stats)) => {
                Ok(Committed { companions, buffer: Some(content.buffer), at: content.at, end, stats })
            }
            Err(error) => Err((error, companions)),
        }
    }

    fn make_durable(&mut self, content: &mut Content) -> Result<(Lsn, BatchStats), Error> {
        let identity = content.place.identity;
        let seed = identity.seed();
        let before = self.tip;
        let (tip, records) = batch::finish(content.buffer.batch_mut(), content.at, seed, &before);
        let bytes = content.buffer.batch_bytes() as u64;

        let clock = &self.shared.options.clock;
        let started = clock.now();
        self.write(content, &before, seed)?;
        let written = clock.now();
        self.sync(content)?;
        let synced = clock.now();

        let mut end = tip.end;
        if self.shared.options.sabotaged(Sabotage::PositionAfterSync) {
            end = self.shared.published.appended();
        }
        self.publish(content, before, tip);
        self.shared.published.advance_durable(end);
        self.watermarked = records == 0;
        self.tip = tip;
        let write = written.saturating_sub(started);
        let sync = synced.saturating_sub(written);
        Ok((end, BatchStats { records, bytes, write, sync }))
    }

    /// The first batch of a segment goes out together with the link in front of it.
    fn write(&self, content: &mut Content, before: &Tip, seed: u32) -> Result<(), Error> {
        let identity = content.place.identity;
        let mut offset = identity.offset_of(content.at);
        let bytes = if content.links {
            assert_eq!(content.at, identity.first(), "the link stands right before the first batch");
            offset -= LEAD_BYTES as u64;
            let whole = content.buffer.whole();
            whole[..LEAD_BYTES].copy_from_slice(&encode_link(before, seed));
            &whole[..]
        } else {
            content.buffer.batch()
        };
        assert!(offset + bytes.len() as u64 <= identity.capacity, "a batch lies in one segment");
        let written = content.place.file.write_at(offset, bytes);
        written.map_err(|source| Error::Write { segment: identity.number, offset, source })
    }

    fn sync(&self, content: &Content) -> Result<(), Error> {
        let file = &content.place.file;
        let mut synced = file.sync_data();
        if synced.is_err() && self.shared.options.sabotaged(Sabotage::RetrySync) {
            synced = file.sync_data();
        }
        synced.map_err(|source| Error::Sync { segment: content.place.identity.number, source })
    }

    /// Keeps the list of segments for readers.
    fn publish(&mut self, content: &Content, link: Tip, tip: Tip) {
        if content.links {
            let segment = Arc::new(Segment::new(content.place.identity, link, None));
            self.shared.published.add_segment(Arc::clone(&segment), Arc::clone(&content.place.file));
            self.segment = Some(segment);
        }
        if content.seals {
            let segment = self.segment.take().expect("a sealed segment had a first batch");
            segment.finish(tip.end);
        }
    }

    /// The end after an error. `companions` are those of the batch that failed.
    pub(crate) fn poison(&mut self, error: Error, mut companions: Vec<T>) -> Event<T> {
        let error = Arc::new(error);
        companions.extend(self.shared.poison(Arc::clone(&error)));
        self.shared.published.end();
        Event::Poisoned { error, companions }
    }
}

/// Linux ends a sleep up to 50 µs late to save wake-ups, which is much beside a sync. Without the right to change that,
/// batches only wait a little longer.
fn keep_sleeps_short() {
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}
