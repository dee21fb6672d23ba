//! Taking a snapshot while payments go on: no pause, owner by owner. Each row carries its two positions, the totals
//! carry theirs, and replay starts at what the commit stream had delivered when the snapshot began, so a mixture of
//! moments leads to one state.

use std::sync::Arc;

use journal::{RowRef, Scratch};
use ledger::{Amount, Currency, Position, WalletId};
use snapshot::{Generation, SnapshotStore, SnapshotWriter, Summary};
use tokio::{runtime::Handle as Runtime, sync::oneshot};

use crate::{directory, shared::Shared, wallet::RowFacts};

/// Why a snapshot was not taken. The log holds everything, so this costs time at the next start and nothing else.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("the snapshot cannot be written")]
    Store(#[from] snapshot::Error),
    #[error("no thread can be started for it")]
    Thread(#[source] std::io::Error),
    #[error("the log failed while the snapshot waited for it")]
    LogFailed,
    #[error("the engine is shutting down")]
    Stopping,
}

/// Owners asked at a time; bounds the rows held in memory.
const ASKED_AT_ONCE: usize = 512;

/// Takes one generation and drops those beyond `snapshots_kept`. Blocks the calling thread, which must not be one of
/// the runtime's workers.
pub(crate) fn take(
    shared: &Arc<Shared>,
    directory: &directory::Handle,
    store: &dyn SnapshotStore,
    runtime: &Runtime,
) -> Result<Generation, SnapshotError> {
    // No token is forgotten before its row is written: a record above the start may speak of it.
    shared.tokens.hold();
    let _held = Held(shared);
    // Taken before any row: what is delivered from here on is replayed.
    let start = shared.delivered.end();
    let totals = shared.totals.lock().clone();
    assert!(totals.end >= start, "totals are posted before the delivered position moves");
    let mut writer = store.begin(shared.options.partition, start.get())?;
    writer.set_rate(Arc::clone(&shared.snapshot_rate));
    let mut taking = Taking { writer, tally: Tally::default() };

    let in_use = shared.registry.rows(|bytes, facts| taking.wallet(bytes, facts))?;
    for ids in in_use.chunks(ASKED_AT_ONCE) {
        taking.wallets_in_use(shared, ids)?;
    }
    // After all wallets: what a wallet decided below the start is in its claims by now.
    shared.claims.rows(|bytes, decided| taking.row(bytes, decided))?;
    taking.agents(directory)?;
    taking.webhooks(directory)?;
    shared.tokens.rows(|bytes, decided| taking.row(bytes, decided))?;
    taking.services(shared)?;
    taking.outages(shared)?;
    for (row, included) in shared.budgets.rows() {
        taking.row(&row, included)?;
    }
    let mut scratch = Scratch::default();
    journal::encode_row(RowRef::Totals(&totals.system, Position::new(totals.end.get())), &mut scratch);
    taking.writer.put(scratch.bytes())?;

    // After all rows: none of them was taken when owners had forgotten more.
    let spilled = shared.keys.floor();
    if spilled > 0 {
        journal::encode_row(RowRef::Spilled(Position::new(spilled)), &mut scratch);
        taking.writer.put(scratch.bytes())?;
    }

    // Rows may show decisions that are not durable yet; the generation counts only once they are.
    let decided = taking.tally.decided;
    runtime.block_on(async {
        tokio::select! {
            () = shared.delivered.reach(decided) => Ok(()),
            () = shared.status.failed() => Err(SnapshotError::LogFailed),
        }
    })?;
    let summary = Summary {
        start: start.get(),
        // Not the delivered position: a row may show a credit of the batch that is being delivered now.
        covers: shared.wal.durable_lsn().get(),
        wallets: taking.tally.wallets,
        agents: taking.tally.agents,
        sums: taking.tally.sums,
    };
    let generation = taking.writer.finish(summary, shared.clock.now())?;
    store.retain(shared.options.snapshots_kept)?;
    Ok(generation)
}

/// Keeps tokens in memory until the snapshot is done with them.
struct Held<'s>(&'s Shared);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.tokens.release();
    }
}

struct Taking {
    writer: Box<dyn SnapshotWriter>,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    wallets: u64,
    agents: u64,
    decided: Position,
    sums: Vec<(Currency, Amount)>,
}

impl Taking {
    fn wallet(&mut self, bytes: &[u8], facts: RowFacts) -> Result<(), SnapshotError> {
        self.writer.put(bytes)?;
        self.tally.wallet(facts);
        Ok(())
    }

    fn row(&mut self, bytes: &[u8], decided: Position) -> Result<(), SnapshotError> {
        self.writer.put(bytes)?;
        self.tally.decided = self.tally.decided.max(decided);
        Ok(())
    }

    fn services(&mut self, shared: &Shared) -> Result<(), SnapshotError> {
        let mut after = None;
        loop {
            let reply = shared.services.rows(after, ASKED_AT_ONCE);
            for row in &reply.rows {
                self.row(row, reply.decided)?;
            }
            if reply.rows.len() < ASKED_AT_ONCE {
                return Ok(());
            }
            after = reply.last;
        }
    }

    fn outages(&mut self, shared: &Shared) -> Result<(), SnapshotError> {
        let outages = shared.time.outages();
        let mut scratch = Scratch::default();
        journal::encode_row(RowRef::Outages(&outages), &mut scratch);
        self.row(scratch.bytes(), outages.decided)
    }

    fn wallets_in_use(&mut self, shared: &Arc<Shared>, ids: &[WalletId]) -> Result<(), SnapshotError> {
        let mut asked = Vec::with_capacity(ids.len());
        for id in ids {
            let (sender, receiver) = oneshot::channel();
            assert!(shared.registry.ask_row(*id, sender, shared), "wallets are never removed");
            asked.push(receiver);
        }
        for receiver in asked {
            let row = receiver.blocking_recv().map_err(|_| SnapshotError::Stopping)?;
            self.wallet(&row.bytes, row.facts)?;
        }
        Ok(())
    }

    fn agents(&mut self, directory: &directory::Handle) -> Result<(), SnapshotError> {
        let mut after = None;
        loop {
            let (reply, receiver) = oneshot::channel();
            directory.send(directory::Message::Rows { after, limit: ASKED_AT_ONCE, reply });
            let reply = receiver.blocking_recv().map_err(|_| SnapshotError::Stopping)?;
            for row in &reply.rows {
                self.writer.put(row)?;
            }
            self.tally.agents += reply.rows.len() as u64;
            self.tally.decided = self.tally.decided.max(reply.decided);
            if reply.next.is_none() {
                return Ok(());
            }
            after = reply.next;
        }
    }

    fn webhooks(&mut self, directory: &directory::Handle) -> Result<(), SnapshotError> {
        let mut after = None;
        loop {
            let (reply, receiver) = oneshot::channel();
            directory.send(directory::Message::WebhookRows { after, limit: ASKED_AT_ONCE, reply });
            let reply = receiver.blocking_recv().map_err(|_| SnapshotError::Stopping)?;
            for row in &reply.rows {
                self.row(row, reply.decided)?;
            }
            if reply.rows.len() < ASKED_AT_ONCE {
                return Ok(());
            }
            after = reply.last;
        }
    }
}

impl Tally {
    fn wallet(&mut self, facts: RowFacts) {
        self.wallets += 1;
        self.decided = self.decided.max(facts.decided);
        let index =
            self.sums.iter().position(|(currency, _)| *currency == facts.currency).unwrap_or_else(|| {
                self.sums.push((facts.currency, Amount::ZERO));
                self.sums.len() - 1
            });
        let sum = &mut self.sums[index].1;
        *sum = sum.checked_add(facts.total).expect("the supply bound keeps sums in range");
    }
}
