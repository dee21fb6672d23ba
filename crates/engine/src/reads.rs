//! Reads of what has happened: records by position, lists by the derived index. Everything here is below the delivered
//! position, and nothing here is ever asked for a balance.

use std::{sync::Arc, time::Duration};

use history::{Counterparty, DisputeRole, EntryKey, EntryKind, History, TokenRole};
use ledger::{
    AgentId, Fact, KeyPlace, Party, Payee, PaymentBatch, PaymentId, PaymentState, Position, SealedKind,
    ServiceChanged, TokenEnd, TokenReserved, WalletId, WalletOpened, WebhookChanged,
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

/// Payments that are asked of the index at a time when most of them are not wanted.
const LOOKED_AT_ONCE: usize = 1_000;
/// Payments that one list looks at.
const LOOKED_MAX: usize = 10_000;

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
        let (place, fact) = self.located(id).await?;
        let transaction = self.transaction_of(&fact, place).ok_or(Refusal::UnknownPayment)?;
        if self.is_party(caller, &transaction) { Ok(transaction) } else { Err(Refusal::UnknownPayment) }
    }

    /// Where a `tx_` id points; `None` for an id that this ledger never gave.
    pub(crate) fn place_of(&self, id: PaymentId) -> Option<KeyPlace> {
        let address = self.shared.sealer.open(SealedKind::Payment, id.raw())?;
        let is_ours = address.partition == self.shared.options.partition;
        is_ours.then_some(KeyPlace { lsn: address.lsn, item: address.item })
    }

    /// The record that a `tx_` id points at, whoever asks.
    pub(crate) async fn located(&self, id: PaymentId) -> Result<(KeyPlace, Fact), Refusal> {
        let place = self.place_of(id).ok_or(Refusal::UnknownPayment)?;
        if place.lsn >= self.shared.delivered.end().get() {
            return Err(Refusal::UnknownPayment);
        }
        Ok((place, self.fact(place.lsn).await?))
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

    /// Openings of disputes of an agent in one role or both, or of everybody's, newest first.
    pub(crate) async fn disputes(
        &self,
        whose: Option<(AgentId, Option<Party>)>,
        range: TimeRange,
        before: Option<EntryKey>,
        limit: usize,
    ) -> Result<history::Page<history::Entry>, Refusal> {
        let range = range_of(range);
        let roles = match whose {
            None => Vec::new(),
            Some((agent, Some(Party::Payee))) => vec![(agent, DisputeRole::Payee)],
            Some((agent, Some(Party::Payer | Party::Operator))) => vec![(agent, DisputeRole::Payer)],
            Some((agent, None)) => vec![(agent, DisputeRole::Payer), (agent, DisputeRole::Payee)],
        };
        self.indexed(move |history| history.disputes(&roles, before, range, limit)).await
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
    ) -> Result<(Page<Transaction>, Position), Refusal> {
        let wanted = match filter.status {
            None => None,
            Some(name) => match PaymentState::ALL.into_iter().find(|state| state.as_str() == name) {
                Some(state) => Some(state),
                // No payment is in any other state.
                None => return Ok((Page { items: Vec::new(), next: None }, Position::ZERO)),
            },
        };
        let counterparty = filter.counterparty.map(|text| match text.parse() {
            Ok(wallet) => Counterparty::Wallet(wallet),
            Err(_) => Counterparty::External(text.into()),
        });
        let range = range_of(filter.range);
        let filter = history::PaymentFilter { status: None, rail: filter.rail, counterparty, range };
        let (found, next, decided) = self.in_state(wallets, filter, wanted, page).await?;
        let mut items = Vec::with_capacity(found.len());
        // Items of one batch lie next to each other: its record is read once.
        let mut last: Option<(u64, Fact)> = None;
        for entry in found {
            let fact = match last.take() {
                Some((lsn, fact)) if lsn == entry.lsn => fact,
                _ => self.fact(entry.lsn).await?,
            };
            let place = KeyPlace { lsn: entry.lsn, item: entry.item };
            items.push(self.transaction_of(&fact, place).ok_or(Refusal::Damaged)?);
            last = Some((entry.lsn, fact));
        }
        Ok((Page { items, next: next.map(cursor_of) }, decided))
    }

    /// Places of payments in the wanted state, where the list goes on, and the position that has to be delivered before
    /// they are shown. The index knows no state: refunds come after the payment, and their claims are asked for them.
    async fn in_state(
        &self,
        wallets: Vec<WalletId>,
        filter: history::PaymentFilter,
        wanted: Option<PaymentState>,
        page: PageRequest,
    ) -> Result<(Vec<EntryKey>, Option<EntryKey>, Position), Refusal> {
        let (mut found, mut looked, mut decided) = (Vec::new(), 0, Position::ZERO);
        let mut before = page.cursor.map(key_of);
        // Few payments are refunded: those are looked for in larger steps.
        let is_usual = wanted.is_none_or(|wanted| wanted == PaymentState::Completed);
        let step = if is_usual { page.limit } else { LOOKED_AT_ONCE };
        loop {
            let (wallets, filter) = (wallets.clone(), filter.clone());
            let listed =
                self.indexed(move |history| history.payments(&wallets, &filter, before, step)).await?;
            let last = listed.items.last().map(|line| line.entry.key());
            for key in listed.items.iter().map(|line| line.entry.key()) {
                looked += 1;
                let payment = Position::of_item(key.lsn, key.item);
                let seen = self.shared.claims.read(payment, |claim| (claim.state(), claim.decided));
                let (state, at) = seen.unwrap_or((PaymentState::Completed, Position::ZERO));
                decided = decided.max(at);
                if wanted.is_none_or(|wanted| wanted == state) {
                    found.push(key);
                }
                let is_last = listed.next.is_none() && last == Some(key);
                if (found.len() == page.limit || looked >= LOOKED_MAX) && !is_last {
                    return Ok((found, Some(key), decided));
                }
            }
            match listed.next {
                Some(next) if found.len() < page.limit && looked < LOOKED_MAX => before = Some(next),
                next => return Ok((found, next, decided)),
            }
        }
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
        let mut items = Vec::with_capacity(found.items.len());
        for entry in found.items {
            items.push(EntryView {
                payment_id: self.payment_of(&entry).await?,
                kind: kind_of(entry.kind),
                delta: entry.delta,
                balance_after: entry.balance_after,
                counterparty: match entry.counterparty {
                    Counterparty::Wallet(wallet) => Some(wallet.to_string()),
                    Counterparty::External(label) => Some(label.into()),
                    Counterparty::Faucet | Counterparty::Outside => None,
                },
                at: entry.at,
            });
        }
        Ok(Page { items, next: found.next.map(cursor_of) })
    }

    /// The payment that a statement line is about. Lines of refunds and disputes are about an earlier one, which their
    /// record names.
    async fn payment_of(&self, entry: &history::Entry) -> Result<Option<PaymentId>, Refusal> {
        match entry.kind {
            EntryKind::TokenHeld | EntryKind::TokenReleased => Ok(None),
            kind if kind.is_of_claim() => {
                let change = self.fact(entry.lsn).await?.claim_change().ok_or(Refusal::Damaged)?;
                let KeyPlace { lsn, item } = change.terms.payment;
                Ok(Some(self.shared.payment_id(lsn, item)))
            }
            _ => Ok(Some(self.shared.payment_id(entry.lsn, entry.item))),
        }
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
        EntryKind::RefundSent => "refund_sent",
        EntryKind::RefundReceived => "refund_received",
        EntryKind::DisputeHeld => "dispute_held",
        EntryKind::DisputeReleased => "dispute_released",
        EntryKind::DisputeRefunded => "dispute_refunded",
        EntryKind::TokenListed | EntryKind::TokenClosed | EntryKind::DisputeListed => {
            unreachable!("no lines of a statement")
        }
    }
}
