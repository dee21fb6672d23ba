//! Facts from a seed, and what a naive reader would say about them.
//!
//! The model knows nothing of the index: the generator says what each fact means for each wallet when it makes it.

use std::collections::HashMap;

use ledger::{
    Amount, BatchPayment, Currency, Denial, Fact, Funding, ItemOutcome, KeyPlace, Parts, Payee, Payment,
    PaymentBatch, Rail, StatusChange, Timestamp, WalletId, WalletStatus,
};

use super::*;
use crate::{
    Counterparty, Entry, EntryKey, EntryKind, Page, PaymentFilter, PaymentLine, PaymentStatus, TimeRange,
};

pub(super) const LABELS: [&str; 3] = ["merchant:demo", "größe", ""];

/// Every entry of the log, oldest first, whatever of it an index knows.
#[derive(Default)]
pub(super) struct Model {
    lines: Vec<PaymentLine>,
    balances: HashMap<WalletId, Amount>,
}

/// A line of a fact that has no position yet.
struct Draft {
    wallet: WalletId,
    item: u32,
    kind: EntryKind,
    delta: i128,
    fee: i128,
    counterparty: Counterparty,
    rail: Option<Rail>,
}

pub(super) struct Generator {
    pub(super) random: Random,
    pub(super) wallets: Vec<WalletId>,
    clock: i64,
    pub(super) model: Model,
}

impl Generator {
    pub(super) fn new(seed: u64, wallets: usize) -> Generator {
        let mut random = Random::new(seed);
        let wallets = (0..wallets)
            .map(|_| WalletId::new(0, u128::from(random.draw()) << 64 | u128::from(random.draw())))
            .collect();
        Generator { random, wallets, clock: 1_700_000_000_000, model: Model::default() }
    }

    /// Appends `count` facts to the log and to the model.
    pub(super) fn append(&mut self, log: &mut TestLog, count: u64) {
        for _ in 0..count {
            let (fact, drafts) = self.fact();
            let lsn = log.append(&fact);
            self.model.add(lsn, fact.at(), drafts);
        }
        log.sync();
    }

    fn fact(&mut self) -> (Fact, Vec<Draft>) {
        let at = self.tick();
        match self.random.below(10) {
            0 => self.funding(at),
            1 => {
                let wallet = self.wallet();
                (StatusChange { wallet, status: WalletStatus::Frozen, at }.into(), Vec::new())
            }
            2 => self.batch(at),
            _ => self.payment(at),
        }
    }

    /// Time passes, and now and then a clock is set back.
    fn tick(&mut self) -> Timestamp {
        let step = i64::try_from(self.random.below(2_000)).expect("it is small");
        self.clock += if chance(&mut self.random, 3) { -10 * step } else { step };
        Timestamp::from_millis(self.clock)
    }

    pub(super) fn wallet(&mut self) -> WalletId {
        // The first is hot.
        let count = self.wallets.len() as u64;
        let index = if chance(&mut self.random, 30) { 0 } else { self.random.below(count) };
        self.wallets[usize::try_from(index).expect("it is small")]
    }

    fn payee(&mut self, payer: WalletId) -> Payee {
        let payee = self.wallet();
        if payee == payer || chance(&mut self.random, 25) {
            return Payee::External(
                LABELS[usize::try_from(self.random.below(3)).expect("it is small")].into(),
            );
        }
        Payee::Wallet(payee)
    }

    fn rail(&mut self) -> Rail {
        Rail::ALL[usize::try_from(self.random.below(Rail::COUNT as u64)).expect("it is small")]
    }

    fn amount(&mut self) -> i128 {
        let digits = u32::try_from(self.random.below(20)).expect("it is small");
        1 + i128::from(self.random.draw()) % 10_i128.pow(digits)
    }

    fn funding(&mut self, at: Timestamp) -> (Fact, Vec<Draft>) {
        let (wallet, nanos) = (self.wallet(), self.amount());
        let amount = Amount::from_nanos(nanos);
        let fact = Funding {
            wallet,
            amount,
            currency: Currency::USD,
            key: None,
            at,
            balance_after: Parts::default(),
        };
        let (kind, counterparty) = (EntryKind::Funding, Counterparty::Faucet);
        (fact.into(), vec![Draft { wallet, item: 0, kind, delta: nanos, fee: 0, counterparty, rail: None }])
    }

    fn payment(&mut self, at: Timestamp) -> (Fact, Vec<Draft>) {
        let payer = self.wallet();
        let (payee, amount, rail) = (self.payee(payer), self.amount(), self.rail());
        let fee = self.fee(amount);
        let drafts = drafts(payer, &payee, 0, amount, fee, rail);
        let fact = Payment {
            payee,
            amount: Amount::from_nanos(amount),
            fee: Amount::from_nanos(fee),
            rail,
            at,
            ..self::payment(payer, payer)
        };
        (fact.into(), drafts)
    }

    fn batch(&mut self, at: Timestamp) -> (Fact, Vec<Draft>) {
        let payer = self.wallet();
        let mut available = 10_i128.pow(25);
        let mut lines = Vec::new();
        let mut items = Vec::new();
        for item in 0..u32::try_from(self.random.below(8)).expect("it is small") {
            if chance(&mut self.random, 25) {
                items.push(match self.random.below(2) {
                    0 => ItemOutcome::Denied(Denial::AmountNotPositive),
                    _ => ItemOutcome::Replayed(KeyPlace { lsn: 1, item }),
                });
                continue;
            }
            let (payee, amount, rail) = (self.payee(payer), self.amount(), self.rail());
            let fee = self.fee(amount);
            available -= amount + fee;
            lines.extend(drafts(payer, &payee, item, amount, fee, rail));
            items.push(ItemOutcome::Paid(BatchPayment {
                payee,
                amount: Amount::from_nanos(amount),
                fee: Amount::from_nanos(fee),
                rail,
                description: None,
                metadata: None,
                key: None,
                available_after: Amount::from_nanos(available),
            }));
        }
        let (currency, held_after) = (Currency::USD, Amount::ZERO);
        (PaymentBatch { payer, currency, at, atomic: false, key: None, held_after, items }.into(), lines)
    }

    fn fee(&mut self, amount: i128) -> i128 {
        amount * i128::from(self.random.below(3)) / 250
    }
}

/// A plain payment of one unit without a fee.
pub(super) fn payment(payer: WalletId, payee: WalletId) -> Payment {
    Payment {
        payer,
        payee: Payee::Wallet(payee),
        amount: Amount::from_nanos(1_000_000_000),
        fee: Amount::ZERO,
        currency: Currency::USD,
        rail: Rail::Internal,
        description: None,
        metadata: None,
        key: None,
        at: Timestamp::from_millis(1_700_000_000_000),
        balance_after: Parts::default(),
    }
}

fn drafts(payer: WalletId, payee: &Payee, item: u32, amount: i128, fee: i128, rail: Rail) -> Vec<Draft> {
    let rail = Some(rail);
    let counterparty = match payee {
        Payee::Wallet(payee) => Counterparty::Wallet(*payee),
        Payee::External(label) => Counterparty::External(label.clone()),
    };
    let mut drafts = vec![Draft {
        wallet: payer,
        item,
        kind: EntryKind::PaymentSent,
        delta: -(amount + fee),
        fee,
        counterparty,
        rail,
    }];
    if let Payee::Wallet(payee) = payee {
        let (kind, counterparty) = (EntryKind::PaymentReceived, Counterparty::Wallet(payer));
        drafts.push(Draft { wallet: *payee, item, kind, delta: amount, fee: 0, counterparty, rail });
    }
    drafts
}

impl Model {
    fn add(&mut self, lsn: Lsn, at: Timestamp, drafts: Vec<Draft>) {
        for Draft { wallet, item, kind, delta, fee, counterparty, rail } in drafts {
            let balance = self.balances.entry(wallet).or_default();
            *balance = balance.plus(Amount::from_nanos(delta));
            let entry = Entry {
                lsn: lsn.get(),
                item,
                kind,
                delta: Amount::from_nanos(delta),
                fee: Amount::from_nanos(fee),
                balance_after: *balance,
                at,
                counterparty,
                rail,
                status: kind.is_payment().then_some(PaymentStatus::Completed),
            };
            self.lines.push(PaymentLine { wallet, entry });
        }
    }

    /// Entries of records below `end`.
    pub(super) fn count(&self, end: Lsn) -> usize {
        self.lines.iter().filter(|line| line.entry.lsn < end.get()).count()
    }

    /// Keys of all entries, for cursors that mean something.
    pub(super) fn key(&self, random: &mut Random) -> EntryKey {
        let index = usize::try_from(random.below(self.lines.len() as u64)).expect("it is small");
        self.lines[index].entry.key()
    }

    pub(super) fn at(&self, random: &mut Random) -> Timestamp {
        let index = usize::try_from(random.below(self.lines.len() as u64)).expect("it is small");
        self.lines[index].entry.at
    }

    /// What an index that knows the log below `end` should answer.
    pub(super) fn entries(
        &self,
        end: Lsn,
        wallet: WalletId,
        before: Option<EntryKey>,
        range: TimeRange,
        limit: usize,
    ) -> Page<Entry> {
        let matching =
            self.newest_first(end, before).filter(|line| line.wallet == wallet && is_inside(range, line));
        let page = page(matching.cloned().collect(), limit);
        Page { items: page.items.into_iter().map(|line| line.entry).collect(), next: page.next }
    }

    /// See [`Model::entries`].
    pub(super) fn payments(
        &self,
        end: Lsn,
        wallets: &[WalletId],
        filter: &PaymentFilter,
        before: Option<EntryKey>,
        limit: usize,
    ) -> Page<PaymentLine> {
        let matching = self.newest_first(end, before).filter(|line| {
            wallets.contains(&line.wallet)
                && line.entry.kind != EntryKind::Funding
                && is_inside(filter.range, line)
                && filter.status.is_none_or(|status| line.entry.status == Some(status))
                && filter.rail.is_none_or(|rail| line.entry.rail == Some(rail))
                && filter
                    .counterparty
                    .as_ref()
                    .is_none_or(|counterparty| line.entry.counterparty == *counterparty)
        });
        let mut once: Vec<PaymentLine> = Vec::new();
        for line in matching {
            match once.last_mut().filter(|last| last.entry.key() == line.entry.key()) {
                // The payer's line is the one with the fee in it.
                Some(last) if line.entry.delta.is_negative() => *last = line.clone(),
                Some(_) => {}
                None => once.push(line.clone()),
            }
        }
        page(once, limit)
    }

    fn newest_first(&self, end: Lsn, before: Option<EntryKey>) -> impl Iterator<Item = &PaymentLine> {
        let mut lines: Vec<&PaymentLine> = self.lines.iter().collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.entry.key()));
        lines.into_iter().filter(move |line| {
            let key = line.entry.key();
            key.lsn < end.get() && before.is_none_or(|before| key < before)
        })
    }
}

fn is_inside(range: TimeRange, line: &PaymentLine) -> bool {
    let at = line.entry.at;
    range.after.is_none_or(|after| at > after) && range.before.is_none_or(|before| at < before)
}

fn page(mut matching: Vec<PaymentLine>, limit: usize) -> Page<PaymentLine> {
    let has_more = matching.len() > limit;
    matching.truncate(limit);
    let next = matching.last().filter(|_| has_more).map(|line| line.entry.key());
    Page { items: matching, next }
}
