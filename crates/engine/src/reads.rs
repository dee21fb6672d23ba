//! Reads of what has happened: records by position, lists by the derived index. Everything here is below the delivered
//! position, and nothing here is ever asked for a balance.

use std::{sync::Arc, time::Duration};

use history::{Counterparty, EntryKey, EntryKind, History, PaymentStatus, TokenRole};
use ledger::{
    AgentId, Fact, KeyPlace, Payee, PaymentBatch, PaymentId, Position, SealedKind, ServiceChanged, TokenEnd,
    TokenReserved, WalletId, WalletOpened, WebhookChanged,
};
use wal::{Lsn, ReadError, Reader};

use crate::{
    refusal::Refusal,
    shared::Shared,
    views::{
        Cursor, EntryView, FundReceipt, Page, PageRequest, PaymentFilter, PaymentReceipt, SettlementReceipt,
        TimeRange, Transaction,
    },
};

#[derive(Clone)]
pub(crate) struct Reads {
    shared: Arc<Shared>,
    reader: Reader,
    history: Option<Arc<History>>,
}

impl Reads {
    pub(crate) fn new(shared: Arc<Shared>, history: Option<Arc<History>>) -> Self {
        let reader = shared.wal.reader();
        Self { shared, reader, history }
    }

    /// How far the history index has come.
    pub(crate) fn history_cursor(&self) -> Option<u64> {
        self.history.as_ref().map(|history| history.cursor().get())
    }

    /// What a sealed id names, if `caller` is one of its parties.
    pub(crate) async fn transaction(&self, caller: AgentId, id: PaymentId) -> Result<Transaction, Refusal> {
        let address =
            self.shared.sealer.open(SealedKind::Payment, id.raw()).ok_or(Refusal::UnknownPayment)?;
        let delivered = self.shared.delivered.end();
        if address.partition != self.shared.options.partition || address.lsn >= delivered.get() {
            return Err(Refusal::UnknownPayment);
        }
        let place = KeyPlace { lsn: address.lsn, item: address.item };
        let fact = self.fact(place.lsn).await?;
        let transaction = self.transaction_of(&fact, place).ok_or(Refusal::UnknownPayment)?;
        if self.is_party(caller, &transaction) { Ok(transaction) } else { Err(Refusal::UnknownPayment) }
    }

    /// The payment that a remembered key points at.
    pub(crate) async fn payment(&self, place: KeyPlace) -> Result<PaymentReceipt, Refusal> {
        match self.transaction_of(&self.fact(place.lsn).await?, place) {
            Some(Transaction::Payment(receipt)) => Ok(receipt),
            _ => Err(Refusal::Damaged),
        }
    }

    /// The batch that a remembered key points at.
    pub(crate) async fn batch(&self, place: KeyPlace) -> Result<PaymentBatch, Refusal> {
        match self.fact(place.lsn).await? {
            Fact::PaymentBatch(batch) => Ok(batch),
            _ => Err(Refusal::Damaged),
        }
    }

    /// The funding that a remembered key points at.
    pub(crate) async fn funding(&self, place: KeyPlace) -> Result<FundReceipt, Refusal> {
        match self.transaction_of(&self.fact(place.lsn).await?, place) {
            Some(Transaction::Funding(receipt)) => Ok(receipt),
            _ => Err(Refusal::Damaged),
        }
    }

    /// The opening of a wallet that a remembered key points at.
    pub(crate) async fn opened(&self, place: KeyPlace) -> Result<WalletOpened, Refusal> {
        match self.fact(place.lsn).await? {
            Fact::WalletOpened(opened) => Ok(opened),
            _ => Err(Refusal::Damaged),
        }
    }

    /// The reservation that a remembered key points at.
    pub(crate) async fn reserved(&self, lsn: u64) -> Result<TokenReserved, Refusal> {
        match self.fact(lsn).await? {
            Fact::TokenReserved(reserved) => Ok(reserved),
            _ => Err(Refusal::Damaged),
        }
    }

    /// The registration that a remembered key points at.
    pub(crate) async fn service(&self, lsn: u64) -> Result<ServiceChanged, Refusal> {
        match self.fact(lsn).await? {
            Fact::ServiceChanged(changed) => Ok(changed),
            _ => Err(Refusal::Damaged),
        }
    }

    /// The change of a webhook that a remembered key points at.
    pub(crate) async fn webhook(&self, lsn: u64) -> Result<WebhookChanged, Refusal> {
        match self.fact(lsn).await? {
            Fact::WebhookChanged(changed) => Ok(changed),
            _ => Err(Refusal::Damaged),
        }
    }

    /// Reservations in which the agent has this role, newest first.
    pub(crate) async fn tokens(
        &self,
        agent: AgentId,
        role: TokenRole,
        range: TimeRange,
        before: Option<EntryKey>,
        limit: usize,
    ) -> Result<history::Page<history::Entry>, Refusal> {
        let range = range_of(range);
        self.indexed(move |history| history.tokens(agent, role, before, range, limit)).await
    }

    /// Whether there is an index to find things by.
    pub(crate) fn has_index(&self) -> bool {
        self.history.is_some()
    }

    /// The record that ended the token that was reserved at `token`. An index that is behind does not know, and says so.
    pub(crate) async fn token_end(&self, token: Position) -> Result<Option<Position>, Refusal> {
        let newest = self.shared.delivered.newest();
        let asked = self.indexed(move |history| Ok((history.token_end(token)?, history.cursor()))).await?;
        match asked {
            (Some(end), _) => Ok(Some(end)),
            (None, cursor) if cursor > newest => Ok(None),
            (None, _) => Err(Refusal::Overloaded),
        }
    }

    /// Payments of these wallets, newest first.
    pub(crate) async fn payments(
        &self,
        wallets: Vec<WalletId>,
        filter: PaymentFilter,
        page: PageRequest,
    ) -> Result<Page<Transaction>, Refusal> {
        let status = match filter.status {
            None => None,
            Some("completed") => Some(PaymentStatus::Completed),
            // No payment is in any other state.
            Some(_) => return Ok(Page { items: Vec::new(), next: None }),
        };
        let counterparty = filter.counterparty.map(|text| match text.parse() {
            Ok(wallet) => Counterparty::Wallet(wallet),
            Err(_) => Counterparty::External(text.into()),
        });
        let range = range_of(filter.range);
        let filter = history::PaymentFilter { status, rail: filter.rail, counterparty, range };
        let (before, limit) = (page.cursor.map(key_of), page.limit);
        let found = self.indexed(move |history| history.payments(&wallets, &filter, before, limit)).await?;
        let mut items = Vec::with_capacity(found.items.len());
        // Items of one batch lie next to each other: its record is read once.
        let mut last: Option<(u64, Fact)> = None;
        for entry in found.items.into_iter().map(|line| line.entry) {
            let fact = match last.take() {
                Some((lsn, fact)) if lsn == entry.lsn => fact,
                _ => self.fact(entry.lsn).await?,
            };
            let place = KeyPlace { lsn: entry.lsn, item: entry.item };
            items.push(self.transaction_of(&fact, place).ok_or(Refusal::Damaged)?);
            last = Some((entry.lsn, fact));
        }
        Ok(Page { items, next: found.next.map(cursor_of) })
    }

    /// The statement of one wallet, newest first.
    pub(crate) async fn entries(
        &self,
        wallet: WalletId,
        range: TimeRange,
        page: PageRequest,
    ) -> Result<Page<EntryView>, Refusal> {
        let (before, limit, range) = (page.cursor.map(key_of), page.limit, range_of(range));
        let found = self.indexed(move |history| history.entries(wallet, before, range, limit)).await?;
        let view = |entry: history::Entry| EntryView {
            payment_id: (!matches!(entry.kind, EntryKind::TokenHeld | EntryKind::TokenReleased))
                .then(|| self.shared.payment_id(entry.lsn, entry.item)),
            kind: kind_of(entry.kind),
            delta: entry.delta,
            balance_after: entry.balance_after,
            counterparty: match entry.counterparty {
                Counterparty::Wallet(wallet) => Some(wallet.to_string()),
                Counterparty::External(label) => Some(label.into()),
                Counterparty::Faucet => None,
            },
            at: entry.at,
        };
        Ok(Page { items: found.items.into_iter().map(view).collect(), next: found.next.map(cursor_of) })
    }

    /// Asks the index, once it has what was durable when the question came, or after the configured wait.
    async fn indexed<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&History) -> Result<T, history::Error> + Send + 'static,
    ) -> Result<T, Refusal> {
        let history = self.history.clone().ok_or(Refusal::NoIndex)?;
        let (newest, wait): (Lsn, Duration) =
            (self.shared.delivered.newest(), self.shared.options.history_wait);
        let asking = tokio::task::spawn_blocking(move || {
            if !history.wait_for(newest, wait) {
                tracing::debug!(newest = newest.get(), "the history index is behind; older state is listed");
            }
            ask(&history)
        });
        match asking.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                tracing::error!(%error, "the history index cannot be read");
                Err(Refusal::Damaged)
            }
            Err(_) => Err(Refusal::Stopping),
        }
    }

    /// The record at `lsn`, read back from the log.
    pub(crate) async fn fact(&self, lsn: u64) -> Result<Fact, Refusal> {
        let reader = self.reader.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let payload = reader.read(Lsn::new(lsn))?;
            Ok::<_, ReadError>(journal::decode(&payload))
        });
        match reading.await {
            Ok(Ok(Ok(fact))) => Ok(fact),
            // An id that was sealed by us names a record; anything else is an id that somebody guessed.
            Ok(Err(ReadError::NotARecord | ReadError::NotDurable)) => Err(Refusal::UnknownPayment),
            Ok(Err(error)) => {
                tracing::error!(lsn, %error, "a record cannot be read back");
                Err(Refusal::Damaged)
            }
            Ok(Ok(Err(error))) => {
                tracing::error!(lsn, %error, "a record cannot be decoded");
                Err(Refusal::Damaged)
            }
            Err(_) => Err(Refusal::Stopping),
        }
    }

    /// The transaction that item `place.item` of this record is.
    pub(crate) fn transaction_of(&self, fact: &Fact, place: KeyPlace) -> Option<Transaction> {
        let id = self.shared.payment_id(place.lsn, place.item);
        match fact {
            Fact::Payment(payment) if place.item == 0 => {
                Some(Transaction::Payment(PaymentReceipt { id, payment: Box::new(payment.clone()) }))
            }
            Fact::Funding(funding) if place.item == 0 => {
                Some(Transaction::Funding(FundReceipt { id, funding: funding.clone() }))
            }
            Fact::PaymentBatch(batch) => {
                let payment = batch.payment(usize::try_from(place.item).ok()?)?;
                Some(Transaction::Payment(PaymentReceipt { id, payment: Box::new(payment) }))
            }
            Fact::TokenEnded(ended) if ended.end == TokenEnd::Settled && place.item == 0 => {
                Some(Transaction::Settlement(SettlementReceipt {
                    id,
                    token: self.shared.token_id(ended.token),
                    service: ended.terms.service,
                    payer: ended.terms.payer,
                    payee: ended.terms.payee,
                    amount: ended.terms.price,
                    fee: ended.fee,
                    currency: ended.terms.currency,
                    at: ended.at,
                }))
            }
            _ => None,
        }
    }

    fn is_party(&self, caller: AgentId, transaction: &Transaction) -> bool {
        let owns = |wallet| self.shared.registry.facts(wallet).is_some_and(|(agent, _)| agent == caller);
        match transaction {
            Transaction::Funding(receipt) => owns(receipt.funding.wallet),
            Transaction::Settlement(receipt) => owns(receipt.payer) || owns(receipt.payee),
            Transaction::Payment(receipt) => {
                let payee_owned = match &receipt.payment.payee {
                    Payee::Wallet(payee) => owns(*payee),
                    Payee::External(_) => false,
                };
                payee_owned || owns(receipt.payment.payer)
            }
        }
    }
}

fn key_of(cursor: Cursor) -> EntryKey {
    EntryKey { lsn: cursor.lsn, item: cursor.item }
}

fn cursor_of(key: EntryKey) -> Cursor {
    Cursor { lsn: key.lsn, item: key.item }
}

fn range_of(range: TimeRange) -> history::TimeRange {
    history::TimeRange { after: range.after, before: range.before }
}

/// Name of a statement line's kind in the public contract.
fn kind_of(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::PaymentSent => "payment_sent",
        EntryKind::PaymentReceived => "payment_received",
        EntryKind::Funding => "funding",
        EntryKind::TokenHeld => "token_held",
        EntryKind::TokenReleased => "token_released",
        EntryKind::TokenPaid => "token_paid",
        EntryKind::TokenEarned => "token_earned",
        EntryKind::TokenListed | EntryKind::TokenClosed => unreachable!("no lines of a statement"),
    }
}
