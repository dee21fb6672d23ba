//! What every owner and the face share: the log, the registry, the directory's published keys, positions and limits.

use std::sync::Arc;

use ledger::{DisputeId, IdSealer, PaymentId, Position, RecordAddress, Rules, SealedKind, TokenId};
use parking_lot::Mutex;
use spread::Rate;
use wal::Wal;

use crate::{
    admission::Admission,
    budget::Budgets,
    claim::Claims,
    clock::{Clock, Entropy},
    delivered::Delivered,
    denied::DeniedLately,
    directory::PublishedDirectory,
    keys::Keys,
    line::Line,
    metrics::Metrics,
    options::Options,
    refusal::Refusal,
    registry::Registry,
    release::{Companion, Decided, Parked, Reply, Requester},
    rush::Rush,
    service::Services,
    status::Status,
    timer::{Timekeeper, TimerInbox, TimerStats},
    token::Tokens,
    totals::TotalsAt,
    webhook::PublishedWebhooks,
};

pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) rules: Rules,
    pub(crate) wal: Wal<Companion>,
    pub(crate) registry: Registry,
    pub(crate) tokens: Tokens,
    pub(crate) services: Services,
    pub(crate) claims: Claims,
    pub(crate) time: Timekeeper,
    pub(crate) timers: TimerInbox,
    pub(crate) timer_stats: TimerStats,
    pub(crate) directory: PublishedDirectory,
    pub(crate) webhooks: PublishedWebhooks,
    pub(crate) budgets: Budgets,
    pub(crate) denied: DeniedLately,
    pub(crate) keys: Arc<Keys>,
    pub(crate) totals: Mutex<TotalsAt>,
    pub(crate) delivered: Arc<Delivered>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) line: Line,
    pub(crate) rush: Rush,
    /// What a snapshot may write per second.
    pub(crate) snapshot_rate: Arc<Rate>,
    pub(crate) sealer: IdSealer,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) status: Status,
    pub(crate) metrics: Metrics,
}

impl Shared {
    /// Answers without a record: at once when everything up to `decided` is delivered, else behind the batch that is
    /// open now. What a requester on this task gets is returned.
    pub(crate) fn answer(&self, decided: Position, requester: Requester, reply: Reply) -> Option<Decided> {
        match requester {
            Requester::Here(_) if self.delivered.covers(decided) => {
                Some(Decided { reply, position: Position::ZERO })
            }
            Requester::Here(seat) => {
                if let Some(companion) = seat.companion()
                    && self.wal.attach(companion).is_err()
                {
                    return Some(Decided {
                        reply: Reply::Refused(Refusal::OutcomeUnknown),
                        position: Position::ZERO,
                    });
                }
                Some(Decided { reply, position: decided })
            }
            Requester::There(parked) => {
                self.release(decided, parked, reply);
                None
            }
        }
    }

    /// The same for a requester on another task.
    pub(crate) fn release(&self, decided: Position, parked: Parked, reply: Reply) {
        if self.delivered.covers(decided) {
            parked.release(reply);
            return;
        }
        if let Err((_, companion)) = self.wal.attach(Companion::reply(parked, reply)) {
            // What this answer would show may be lost with the log.
            companion.fail();
        }
    }

    /// The id of item `item` of the record at `lsn`.
    pub(crate) fn payment_id(&self, lsn: u64, item: u32) -> PaymentId {
        let address = RecordAddress { partition: self.options.partition, lsn, item };
        PaymentId::from_raw(self.sealer.seal(SealedKind::Payment, address))
    }

    /// The id of the token whose reservation is the record at `token`.
    pub(crate) fn token_id(&self, token: Position) -> TokenId {
        let address = RecordAddress { partition: self.options.partition, lsn: token.get(), item: 0 };
        TokenId::from_raw(self.sealer.seal(SealedKind::Token, address))
    }

    /// The id of the dispute that the record at `opened` opened.
    pub(crate) fn dispute_id(&self, opened: Position) -> DisputeId {
        let address = RecordAddress { partition: self.options.partition, lsn: opened.get(), item: 0 };
        DisputeId::from_raw(self.sealer.seal(SealedKind::Dispute, address))
    }

    /// A new random number for an id.
    pub(crate) fn random(&self) -> u128 {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }
}
