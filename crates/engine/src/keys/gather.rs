//! The idempotency keys that the records of a range of the log use.

use std::time::Duration;

use idempotency::SpilledKey;
use journal::Owner;
use ledger::{KeyPlace, Timestamp};
use wal::{Lsn, ReadError, Reader};

/// Why keys cannot be moved to disk or brought back.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    #[error("the runs cannot be read or written")]
    Store(#[from] idempotency::Error),
    #[error("the log cannot be read at {from}")]
    Log { from: u64, source: ReadError },
    #[error("the record at {lsn} cannot be read back")]
    Record { lsn: Lsn, source: journal::Error },
    #[error("the log ends before the keys of {from}..{end} are gathered")]
    Short { from: u64, end: u64 },
    #[error("keys of records below {spilled} are on disk, and no directory for them is configured")]
    NoDirectory { spilled: u64 },
}

/// Keys of the records of a range of the log that ends at `end`.
pub(super) struct Gathered {
    pub(super) keys: Vec<SpilledKey>,
    pub(super) end: u64,
}

/// Records between two breaths: some ten microseconds of work.
const BREATH_RECORDS: usize = 64;

/// Gathers from `from` on, up to `to` or the durable end, until there are `most` keys or a few more. Keys that were used
/// before `expired` are left out. `from` and `to` are positions where records begin, or the durable end of once.
pub(super) fn gather(
    reader: &Reader,
    from: u64,
    to: u64,
    most: usize,
    expired: Timestamp,
    breathe: &mut dyn FnMut(),
) -> Result<Gathered, GatherError> {
    let mut tail = reader.tail(Lsn::new(from));
    let mut gathered = Gathered { keys: Vec::new(), end: from };
    while gathered.end < to && gathered.keys.len() < most {
        let batch = match tail.next(Duration::ZERO) {
            Ok(Some(batch)) => batch,
            Ok(None) | Err(ReadError::Ended) => break,
            Err(source) => return Err(GatherError::Log { from: gathered.end, source }),
        };
        for (number, (lsn, payload)) in batch.records().take_while(|(lsn, _)| lsn.get() < to).enumerate() {
            if number % BREATH_RECORDS == 0 {
                breathe();
            }
            let view = journal::view(payload).map_err(|source| GatherError::Record { lsn, source })?;
            let owner = match view.owner() {
                Owner::Wallet(wallet) => wallet.raw(),
                Owner::Directory(agent) => agent.raw(),
                // Their keys, if any, stay with them.
                Owner::Token(_) | Owner::Service(_) | Owner::Budget(_) | Owner::Clock => continue,
            };
            let at = view.at();
            if at < expired {
                continue;
            }
            view.for_each_key(|hash, fingerprint, item| {
                let place = KeyPlace { lsn: lsn.get(), item };
                gathered.keys.push(SpilledKey { owner, hash, place, fingerprint, at });
            });
        }
        gathered.end = batch.end().get().min(to);
    }
    // The log may go on in another segment: what lies between the two holds no record.
    if gathered.end < to && tail.cursor().get() >= to && to != u64::MAX {
        gathered.end = to;
    }
    Ok(gathered)
}
